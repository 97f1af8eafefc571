"""Parameters to and from the names and layouts that others use: OpenAI's list, the hub's names.

All three keep a linear map as [inputs, outputs] and the queries, keys and values of one product
side by side, so that no number moves inside an array.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.models.transformer import TransformerConfig

PyTree = Any
Path = tuple[str, ...]

PREFIX = "transformer."  # of the hub's models with a head
TIED = "lm_head.weight"  # the token embedding again
_BLOCK = 12  # tensors of a block
_MASKS = ("bias", "masked_bias")


def _parameters(config: TransformerConfig) -> dict[Path, tuple[str, tuple[int, ...]]]:
    """The hub's name, without a model's prefix, and the shape of every parameter of a backbone.

    They are in the order of OpenAI's list (the facts: params_shapes.json).
    """
    width, hidden = config.width, config.hidden_width
    block = [
        ("attention/qkv", "attn.c_attn", (width, 3 * width)),
        ("attention/projection", "attn.c_proj", (width, width)),
        ("norm_1", "ln_1", (width,)),
        ("mlp/expansion", "mlp.c_fc", (width, hidden)),
        ("mlp/projection", "mlp.c_proj", (hidden, width)),
        ("norm_2", "ln_2", (width,)),
    ]
    modules = [
        (f"blocks_{number}/{ours}", f"h.{number}.{theirs}", shape)
        for number in range(config.num_layers)
        for ours, theirs, shape in block
    ]
    post = config.norm == "post"
    if not post:
        modules.append(("final_norm", "ln_f", (width,)))
    places, tokens = ("positions_embed", "tokens_embed") if post else ("wpe", "wte")
    found: dict[Path, tuple[str, tuple[int, ...]]] = {
        ("position_embedding",): (f"{places}.weight", (config.context_length, width)),
        ("token_embedding",): (f"{tokens}.weight", (config.vocabulary_size, width)),
    }
    for ours, theirs, shape in modules:
        path = tuple(ours.split("/"))
        found[*path, "kernel" if len(shape) == 2 else "scale"] = f"{theirs}.weight", shape
        found[*path, "bias"] = f"{theirs}.bias", shape[-1:]
    return found


def shapes(config: TransformerConfig) -> dict[Path, tuple[int, ...]]:
    """The shape of every parameter of a backbone, by its path, in OpenAI's order."""
    return {path: shape for path, (_, shape) in _parameters(config).items()}


def to_hub(params: PyTree, config: TransformerConfig) -> dict[str, np.ndarray]:
    """A backbone's parameters by the hub's names, as they stand in a model with a head."""
    flat = flatten_dict(params)
    return {
        PREFIX + name: np.asarray(flat[path]) for path, (name, _) in _parameters(config).items()
    }


def from_hub(tensors: Mapping[str, np.ndarray], config: TransformerConfig, where: str) -> PyTree:
    """A backbone's parameters, float32, from the hub's tensors, with or without their prefix.

    Raises:
        UserError: a tensor is missing, surplus or of another shape, or the output table is not
            the token embedding; names it, and ``where`` it is.
    """
    there: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(PREFIX)
        if bare in there:
            raise UserError(f"{where}: holds both {bare} and {PREFIX}{bare}")
        there[bare] = tensor
    table = there.pop(TIED, None)
    wanted = _parameters(config)
    # Masks and numbers that older files hold, without a parameter in them.
    buffers = {f"h.{n}.attn.{mask}" for n in range(config.num_layers) for mask in _MASKS}
    known = {"position_ids", *buffers, *(name for name, _ in wanted.values())}
    if surplus := sorted(there.keys() - known):
        raise UserError(
            f"{where}: holds the tensor {surplus[0]}, which a {_describe(config)} does not have"
        )
    flat: dict[Path, np.ndarray] = {}
    for path, (name, shape) in wanted.items():
        if name not in there:
            raise UserError(f"{where}: the tensor {name} of a {_describe(config)} is missing")
        flat[path] = _checked(there[name], shape, name, where)
    if table is not None and not np.array_equal(table, flat["token_embedding",]):
        raise UserError(
            f"{where}: {TIED} is not the token embedding; a model with another output table "
            "cannot be taken over"
        )
    return unflatten_dict(flat)


def to_openai(params: PyTree, config: TransformerConfig) -> list[np.ndarray]:
    """A GPT-1's parameters as OpenAI's list: kernels of blocks have a leading 1."""
    if config.norm != "post":
        raise UserError("OpenAI's format of 2018 holds a GPT-1 (model.norm post), no GPT-2")
    flat, wanted = flatten_dict(params), _openai_shapes(config)
    return [np.asarray(flat[path]).reshape(shape) for path, shape in wanted.items()]


def from_openai(tensors: Sequence[np.ndarray], config: TransformerConfig, where: str) -> PyTree:
    """A backbone's parameters from OpenAI's list, whose tensors are checked as in `from_hub`."""
    wanted = _openai_shapes(config)
    if len(tensors) != len(wanted):
        raise UserError(
            f"{where}: lists {len(tensors)} tensors, and a {_describe(config)} has {len(wanted)}"
        )
    ours, flat = shapes(config), {}
    for number, ((path, shape), tensor) in enumerate(zip(wanted.items(), tensors, strict=True)):
        name = f"number {number} ({'.'.join(path)})"
        flat[path] = _checked(tensor, shape, name, where).reshape(ours[path])
    return unflatten_dict(flat)


def config_of_openai(
    listed: Sequence[Sequence[int]], num_heads: int | None, where: str
) -> TransformerConfig:
    """The config of a GPT-1 whose shapes are listed as in params_shapes.json.

    No shape tells ``num_heads``: None is GPT-1's heads of 64.
    """
    blocks, rest = divmod(len(listed) - 2, _BLOCK)
    ranks = [len(shape) for shape in listed]
    if blocks < 1 or rest or ranks[:2] != [2, 2] or 0 in ranks:
        raise UserError(
            f"{where}: {len(listed)} shapes are not positions, tokens and {_BLOCK} for each "
            "block of a GPT-1"
        )
    width = listed[0][1]
    if num_heads is None and width % 64:
        raise UserError(
            f"{where}: a width of {width} is no multiple of 64, GPT-1's size of a head; say how "
            "many heads there are (`heads`)"
        )
    hidden = listed[2 + 6][-1]  # of the kernel of the first block's mlp/expansion
    return TransformerConfig(
        vocabulary_size=listed[1][0],
        context_length=listed[0][0],
        num_layers=blocks,
        num_heads=width // 64 if num_heads is None else num_heads,
        width=width,
        mlp_width=None if hidden == 4 * width else hidden,
    )


def _openai_shapes(config: TransformerConfig) -> dict[Path, tuple[int, ...]]:
    ours = shapes(config).items()
    return {path: (1, *shape) if path[-1] == "kernel" else shape for path, shape in ours}


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
    with np.errstate(over="ignore"):  # of a larger type: infinite, and refused for it
        array = np.asarray(tensor, np.float32)
    if fault := non_finite([(name, array)]):
        raise UserError(f"{where}: the tensor {fault}; no model can be computed with that")
    return array
