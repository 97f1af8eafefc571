"""What an update of a model costs, by arithmetic."""

from functools import partial

import jax

from gptjax.models.backbone import init_backbone, matrices
from gptjax.models.config import ModelConfig


def flops_per_token(config: ModelConfig, *, attention: bool = True, output: bool = True) -> float:
    """FLOPs of a training step per token (Chowdhery et al. 2022, appendix B).

    6 × (W + V D) + 12 × L × D × T for W weights in the matrices of the blocks, vocabulary V, width
    D, L blocks and context T: 2 for a multiplication and an addition, times 3 for the forward and
    the backward pass. The last part is the T × T scores of attention, of which causality would let
    one skip half. Computing a block again is not counted as work.

    Args:
        config: the model.
        attention: whether the scores are counted, at the full context; only a transformer has them.
        output: whether the product with the output table is.
    """
    params = jax.eval_shape(partial(init_backbone, config), jax.random.key(0))
    kept = zip(*map(jax.tree.leaves, (params, matrices(config, params))), strict=True)
    weights: int = sum(leaf.size for leaf, is_matrix in kept if is_matrix)
    if output:
        weights += config.vocabulary_size * config.width
    return 6.0 * weights + (12.0 * config.attention_scores() if attention else 0.0)
