"""What one asks of a backbone to look inside of it, beside `gptjax.models.backbone`."""

from typing import Any

from jaxtyping import Array, Float, Int

from gptjax.models.backbone import logits, make_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.family import Tokens


def lens_logits(
    config: ModelConfig, params: Any, tokens: Tokens
) -> dict[int, Float[Array, "B T V"]]:
    """The logit lens: the logits that the output makes of the states after each depth.

    It is of nostalgebraist (2020, "interpreting GPT: the logit lens"). Where the last states go
    through a final LayerNorm, so do all others. A depth whose states have another width than the
    output reads is left out.

    Returns:
        By the number of the depth, 0 (what the first block reads) to L; those of L are the model's
        own.
    """
    states: Any = make_backbone(config).apply({"params": params}, tokens, method="lens_states")
    return {
        depth: logits(config, params, states[depth, ..., : config.width])
        for depth, width in enumerate(config.depth_widths)
        if width == config.width
    }


def read_rows(config: ModelConfig, params: Any, tokens: Int[Array, " S"]) -> Float[Array, "S R"]:
    """Rows for `backbone.with_rows`, so that further tokens are read as these are.

    What a row has for the prediction of its token, where that is something else, is 0.
    """
    found: Array = make_backbone(config).read_rows(params, tokens)
    return found
