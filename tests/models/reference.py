"""GPT-1 and GPT-2 in numpy, float64, a loop per row and head: what the model is checked against."""

import numpy as np


def forward(params, tokens, num_heads, norm):
    """States [B, T, D] of tokens [B, T]."""
    params = _wide(params)
    return np.stack([_states(params, row, num_heads, norm) for row in tokens])


def _wide(tree):
    if isinstance(tree, dict):
        return {name: _wide(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def _states(p, row, num_heads, norm):
    x = p["token_embedding"][row] + p["position_embedding"][: len(row)]
    for i in range(sum(name.startswith("blocks_") for name in p)):
        b = p[f"blocks_{i}"]
        if norm == "post":
            x = _norm(b["norm_1"], x + _attention(b["attention"], x, num_heads))
            x = _norm(b["norm_2"], x + _mlp(b["mlp"], x))
        else:
            x = x + _attention(b["attention"], _norm(b["norm_1"], x), num_heads)
            x = x + _mlp(b["mlp"], _norm(b["norm_2"], x))
    return x if norm == "post" else _norm(p["final_norm"], x)


def _linear(p, x):
    return x @ p["kernel"] + p["bias"]


def _norm(p, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * p["scale"] + p["bias"]


def _mlp(p, x):
    u = _linear(p["expansion"], x)
    u = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
    return _linear(p["projection"], u)


def _attention(p, x, num_heads):
    q, k, v = np.split(_linear(p["qkv"], x), 3, axis=-1)
    heads = []
    for q_h, k_h, v_h in zip(*(np.split(a, num_heads, axis=-1) for a in (q, k, v)), strict=True):
        out = np.zeros_like(v_h)
        for t in range(len(x)):
            scores = k_h[: t + 1] @ q_h[t] / np.sqrt(q_h.shape[-1])
            weights = np.exp(scores - scores.max())
            out[t] = weights / weights.sum() @ v_h[: t + 1]
        heads.append(out)
    return _linear(p["projection"], np.concatenate(heads, axis=-1))
