"""Which parameters a fine-tuned model takes over, and which of them are trained."""

from typing import Any

import jax

from gptjax.errors import UserError
from gptjax.models.backbone import depth, names_of
from gptjax.models.config import ModelConfig

PyTree = Any


def transfer(config: ModelConfig, fresh: PyTree, loaded: PyTree, num_layers: int | None) -> PyTree:
    """The embeddings and ``num_layers`` blocks of a loaded backbone, the rest as in ``fresh``.

    ``num_layers`` None takes everything (paper, figure 2, left).

    Raises:
        UserError: a parameter is missing, unknown or of another shape; names it.
    """
    leaves, structure = jax.tree.flatten(fresh)
    names = names_of(fresh)
    there = dict(zip(names_of(loaded), jax.tree.leaves(loaded), strict=True))
    if unknown := sorted(there.keys() - set(names)):
        raise UserError(f"the loaded backbone has parameters that the model lacks: {unknown[0]}")
    deepest = config.num_layers + 2 if num_layers is None else min(num_layers, config.num_layers)
    chosen = []
    for name, leaf in zip(names, leaves, strict=True):
        if name not in there:
            raise UserError(f"the loaded backbone lacks the parameter {name}")
        if there[name].shape != leaf.shape:
            raise UserError(
                f"the parameter {name} is {list(there[name].shape)} in the loaded backbone and "
                f"{list(leaf.shape)} in the model"
            )
        chosen.append(there[name] if depth(config, name) <= deepest else leaf)
    return jax.tree.unflatten(structure, chosen)


def head_only(params: PyTree) -> PyTree:
    """True for the arrays of the task head, False for those of the backbone."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "adapter", params)


def maps_only(params: PyTree) -> PyTree:
    """True for the head's own arrays, False for the special tokens' rows and the backbone."""

    def of_head(path: Any, leaf: Any) -> bool:
        del leaf
        return [key.key for key in path[:2]] == ["adapter", "head"]

    return jax.tree_util.tree_map_with_path(of_head, params)
