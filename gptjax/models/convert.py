"""Parameters to and from the names and layouts that others use: OpenAI's list, the hub's names.

All three keep a linear map as [inputs, outputs] and the queries, keys and values of one product
side by side, so that no number moves inside an array.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.errors import UserError
from gptjax.models.transformer import TransformerConfig

PyTree = Any
Path = tuple[str, ...]

# Ours -> the hub's, in the order of OpenAI's list (the facts: params_shapes.json).
_BLOCK: tuple[tuple[Path, str], ...] = (
    (("attention", "qkv", "kernel"), "attn.c_attn.weight"),
    (("attention", "qkv", "bias"), "attn.c_attn.bias"),
    (("attention", "projection", "kernel"), "attn.c_proj.weight"),
    (("attention", "projection", "bias"), "attn.c_proj.bias"),
    (("norm_1", "scale"), "ln_1.weight"),
    (("norm_1", "bias"), "ln_1.bias"),
    (("mlp", "expansion", "kernel"), "mlp.c_fc.weight"),
    (("mlp", "expansion", "bias"), "mlp.c_fc.bias"),
    (("mlp", "projection", "kernel"), "mlp.c_proj.weight"),
    (("mlp", "projection", "bias"), "mlp.c_proj.bias"),
    (("norm_2", "scale"), "ln_2.weight"),
    (("norm_2", "bias"), "ln_2.bias"),
)
_EMBEDDINGS = {
    "post": {"tokens": "tokens_embed.weight", "positions": "positions_embed.weight"},
    "pre": {"tokens": "wte.weight", "positions": "wpe.weight"},
}
PREFIX = "transformer."  # of the hub's models with a head
TIED = "lm_head.weight"  # the token embedding again
# Masks and numbers that older files hold, without a parameter in them.
_BUFFERS = ("attn.bias", "attn.masked_bias")
_POSITIONS = "position_ids"


def shapes(config: TransformerConfig) -> dict[Path, tuple[int, ...]]:
    """The shape of every parameter of a backbone, by its path, in OpenAI's order."""
    width, hidden = config.width, config.hidden_width
    last: dict[Path, tuple[int, ...]] = {
        ("attention", "qkv", "kernel"): (width, 3 * width),
        ("attention", "qkv", "bias"): (3 * width,),
        ("attention", "projection", "kernel"): (width, width),
        ("mlp", "expansion", "kernel"): (width, hidden),
        ("mlp", "expansion", "bias"): (hidden,),
        ("mlp", "projection", "kernel"): (hidden, width),
    }
    found: dict[Path, tuple[int, ...]] = {
        ("position_embedding",): (config.context_length, width),
        ("token_embedding",): (config.vocabulary_size, width),
    }
    for number in range(config.num_layers):
        for path, _ in _BLOCK:
            found[(f"blocks_{number}", *path)] = last.get(path, (width,))
    if config.norm == "pre":
        found[("final_norm", "scale")] = found[("final_norm", "bias")] = (width,)
    return found


def hub_names(config: TransformerConfig) -> dict[Path, str]:
    """The hub's name of every parameter of a backbone, without a model's prefix."""
    embeddings = _EMBEDDINGS[config.norm]
    names: dict[Path, str] = {
        ("position_embedding",): embeddings["positions"],
        ("token_embedding",): embeddings["tokens"],
    }
    for number in range(config.num_layers):
        for path, name in _BLOCK:
            names[(f"blocks_{number}", *path)] = f"h.{number}.{name}"
    if config.norm == "pre":
        names[("final_norm", "scale")] = "ln_f.weight"
        names[("final_norm", "bias")] = "ln_f.bias"
    return names


def to_hub(params: PyTree, config: TransformerConfig) -> dict[str, np.ndarray]:
    """A backbone's parameters by the hub's names, as they stand in a model with a head."""
    return {PREFIX + name: _get(params, path) for path, name in hub_names(config).items()}


def from_hub(tensors: Mapping[str, np.ndarray], config: TransformerConfig, where: str) -> PyTree:
    """A backbone's parameters, float32, from the hub's tensors.

    Args:
        tensors: by name, with or without the prefix of a model with a head.
        config: what they have to be.
        where: the file or folder, for messages.

    Raises:
        UserError: a tensor is missing, surplus or of another shape, or the output table is not
            the token embedding; names it.
    """
    there: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(PREFIX)
        if bare in there:
            raise UserError(f"{where}: holds both {bare} and {PREFIX}{bare}")
        there[bare] = tensor
    table = there.pop(TIED, None)
    names = hub_names(config)
    masks = {f"h.{n}.{mask}" for n in range(config.num_layers) for mask in _BUFFERS}
    masks.add(_POSITIONS)
    if surplus := sorted(there.keys() - set(names.values()) - masks):
        raise UserError(
            f"{where}: holds the tensor {surplus[0]}, which a {_describe(config)} does not have"
        )
    params: PyTree = {}
    for path, shape in shapes(config).items():
        name = names[path]
        if name not in there:
            raise UserError(f"{where}: the tensor {name} of a {_describe(config)} is missing")
        _set(params, path, _checked(there[name], shape, name, where))
    if table is not None and not np.array_equal(table, params["token_embedding"]):
        raise UserError(
            f"{where}: {TIED} is not the token embedding; a model with another output table "
            "cannot be taken over"
        )
    return params


def to_openai(params: PyTree, config: TransformerConfig) -> list[np.ndarray]:
    """A backbone's parameters as OpenAI's list: kernels of blocks have a leading 1.

    Raises:
        UserError: not a GPT-1.
    """
    if config.norm != "post":
        raise UserError("OpenAI's format of 2018 holds a GPT-1 (model.norm post), no GPT-2")
    return [_get(params, path).reshape(shape) for path, shape in _openai_shapes(config).items()]


def from_openai(tensors: Sequence[np.ndarray], config: TransformerConfig, where: str) -> PyTree:
    """A backbone's parameters from OpenAI's list.

    Raises:
        UserError: a tensor is missing, surplus or of another shape; names it.
    """
    wanted = _openai_shapes(config)
    if len(tensors) != len(wanted):
        raise UserError(
            f"{where}: lists {len(tensors)} tensors, and a {_describe(config)} has {len(wanted)}"
        )
    ours = shapes(config)
    params: PyTree = {}
    for number, ((path, shape), tensor) in enumerate(zip(wanted.items(), tensors, strict=True)):
        name = f"number {number} ({'.'.join(path)})"
        _set(params, path, _checked(tensor, shape, name, where).reshape(ours[path]))
    return params


def config_of_openai(
    listed: Sequence[Sequence[int]], num_heads: int | None, where: str
) -> TransformerConfig:
    """The config that a list of shapes describes.

    Args:
        listed: as in params_shapes.json.
        num_heads: which no shape tells; None is GPT-1's heads of 64.
        where: the file, for messages.

    Raises:
        UserError: not the shapes of a GPT-1, or a width that 64 does not divide.
    """
    blocks, rest = divmod(len(listed) - 2, len(_BLOCK))
    if (
        blocks < 1
        or rest
        or any(len(shape) != 2 for shape in listed[:2])
        or not all(len(shape) for shape in listed)
    ):
        raise UserError(
            f"{where}: {len(listed)} shapes are not positions, tokens and {len(_BLOCK)} for each "
            "block of a GPT-1"
        )
    width = listed[0][1]
    if num_heads is None and width % 64:
        raise UserError(
            f"{where}: a width of {width} is no multiple of 64, GPT-1's size of a head; say how "
            "many heads there are (`heads`)"
        )
    hidden = listed[2 + 6][-1]
    return TransformerConfig(
        vocabulary_size=listed[1][0],
        context_length=listed[0][0],
        num_layers=blocks,
        num_heads=width // 64 if num_heads is None else num_heads,
        width=width,
        mlp_width=None if hidden == 4 * width else hidden,
    )


def _openai_shapes(config: TransformerConfig) -> dict[Path, tuple[int, ...]]:
    return {
        path: (1, *shape) if path[-1] == "kernel" else shape
        for path, shape in shapes(config).items()
    }


def _describe(config: TransformerConfig) -> str:
    kind = "GPT-1" if config.norm == "post" else "GPT-2"
    return f"{kind} of {config.num_layers} blocks and width {config.width}"


def _checked(tensor: np.ndarray, shape: tuple[int, ...], name: str, where: str) -> np.ndarray:
    if tuple(tensor.shape) != shape:
        raise UserError(
            f"{where}: the tensor {name} is {list(tensor.shape)}, and has to be {list(shape)}"
        )
    if tensor.dtype.kind in "iub":
        raise UserError(
            f"{where}: the tensor {name} holds {tensor.dtype}; quantised weights cannot be read"
        )
    return np.asarray(tensor, np.float32)


def _get(params: PyTree, path: Path) -> np.ndarray:
    for key in path:
        params = params[key]
    return np.asarray(params)


def _set(params: PyTree, path: Path, value: np.ndarray) -> None:
    for key in path[:-1]:
        params = params.setdefault(key, {})
    params[path[-1]] = value
