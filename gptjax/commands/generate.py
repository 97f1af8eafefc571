"""`gptjax generate`: continue a prompt with a trained model."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from gptjax.config import repeated
from gptjax.evaluation.held_units import parse
from gptjax.evaluation.writing import write
from gptjax.runs.open import Reading


@dataclass(frozen=True)
class GenerateConfig(Reading):
    """Continue a prompt with a trained model."""

    prompt: str = ""
    """Text to continue; empty begins a new document."""
    max_tokens: int = 100
    """The most tokens to add. A text may end before."""
    stop: Annotated[tuple[str, ...], repeated] = ()
    """A text to stop before, which is not printed. Give the option once for each of several."""
    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 wilder; 0 always takes the likeliest token."""
    top_k: int = 0
    """Draw from the k likeliest tokens only; 0 for all."""
    top_p: float = 1.0
    """Draw from the fewest tokens whose probabilities add up to p (nucleus sampling)."""
    num_samples: int = 1
    """Independent samples."""
    seed: int = 0
    """Of the draws: the same seed and options give the same text."""
    set_unit: Annotated[tuple[str, ...], repeated] = ()
    """INDEX=VALUE holds a memory cell of a recurrent model at a value, after the prompt and after
    each token. LAYER:INDEX=VALUE is of another layer than the last one, counted from 1. Give the
    option once for each of several."""


def run(config: GenerateConfig) -> list[str]:
    """Print the samples while they are written, the prompt included."""
    units = parse(config.set_unit)
    written = write(
        config.open(substitute=True),
        config.prompt,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        num_samples=config.num_samples,
        seed=config.seed,
        stop=config.stop,
        set_unit=units,
    )
    return _show(written, config.num_samples)


def _show(written: Iterable[tuple[int, str, bool]], count: int) -> list[str]:
    """Print the samples one after another, of which the first that has not ended grows.

    All of them are written at the same time; what the later ones have so far waits for its turn.
    """
    texts, ended = [""] * count, [False] * count
    current, shown = 0, None  # characters of the current sample; None before its headline
    for number, added, end in written:
        texts[number] += added
        ended[number] = end
        while current < count:
            if shown is None and count > 1:
                print(f"--- sample {current + 1} of {count}")
            sys.stdout.write(texts[current][shown:])
            sys.stdout.flush()
            shown = len(texts[current])
            if not ended[current]:
                break
            print(flush=True)
            current, shown = current + 1, None
    return texts
