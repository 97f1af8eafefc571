# %% [markdown]
# # LoRA on a frozen backbone
#
# A model is a pure function of its parameters. So a method that gptjax does not have is a few lines
# of JAX. Here it is low-rank adaptation (Hu et al. 2021) of the attention's matrices, W + A B, with
# a loss and an optax loop of one's own. The backbone stays as it is.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gptjax

run = gptjax.load("runs/pretrain/tiny")  # of `make pretrain`
RANK = 4
TEXTS = ["Roses are red, violets are blue."] * 16

# %% [markdown]
# ## Further parameters

# %%
paths = [("blocks_" + str(n), "attention", "qkv", "kernel") for n in range(run.model.num_layers)]


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def replaced(tree, path, value):
    key, *rest = path
    return {**tree, key: replaced(tree[key], rest, value) if rest else value}


def init(key):
    shapes = [at(run.params, path).shape for path in paths]
    keys = jax.random.split(key, len(shapes))
    return [
        {"a": 0.02 * jax.random.normal(key, (rows, RANK)), "b": jnp.zeros((RANK, columns))}
        for key, (rows, columns) in zip(keys, shapes, strict=True)
    ]


def adapted(backbone, lora):
    for path, low in zip(paths, lora, strict=True):
        backbone = replaced(backbone, path, at(backbone, path) + low["a"] @ low["b"])
    return backbone


# %% [markdown]
# ## An own loss, an own loop

# %%
ids = run.tokenizer.encode(TEXTS)
tokens = jnp.asarray([[run.tokenizer.separator, *one] for one in ids])  # [B, T]


def loss(lora, backbone, tokens):
    params = adapted(backbone, lora)
    states = run.module.apply({"params": params}, tokens[:, :-1])  # [B, T, D]
    logits = states @ params["token_embedding"].T  # [B, T, V]
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


optimizer = optax.adam(1e-2)


@jax.jit
def step(lora, state, backbone, tokens):
    value, gradients = jax.value_and_grad(loss)(lora, backbone, tokens)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(lora, updates), state, value


lora = init(jax.random.key(0))
state = optimizer.init(lora)
losses = []
for _ in range(60):
    lora, state, value = step(lora, state, run.params, tokens)
    losses.append(float(value))
print(f"nats per token: {losses[0]:.2f} before, {losses[-1]:.2f} after")

# %%
number = sum(x.size for x in jax.tree.leaves(lora))
print(f"{number:,} parameters beside {run.model.num_parameters():,}")
assert losses[-1] < 0.5 * losses[0]
assert number < 0.05 * run.model.num_parameters()
# Before the first step B is 0, and the model is the one that it was.
before = float(loss(init(jax.random.key(0)), run.params, tokens))
np.testing.assert_allclose(before, -run.log_probability(TEXTS[0]) / len(ids[0]), rtol=1e-4)
