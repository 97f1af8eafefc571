"""Text written by a trained model."""

import os
from collections.abc import Sequence

import jax

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import LARGEST, UserError, shown
from gptjax.models.decode import generate
from gptjax.runs.open import Run


def continuations(
    run: Run,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    num_samples: int,
    seed: int,
) -> list[list[str]]:
    """Continue each prompt as text; options as in `gptjax.models.decode.generate`.

    A prompt is read as the beginning of a document. The texts returned contain the prompts.
    """
    if not 0 <= seed <= LARGEST:
        raise UserError(f"`seed={shown(seed)}`: it must be from 0 to {LARGEST:,}")
    separator = run.tokenizer.separator
    encoded = run.tokenizer.encode_beginnings(prompts)
    ids = [[separator, *prompt.tolist()] for prompt in encoded]
    samples = generate(
        run.model,
        run.backbone,
        ids,
        jax.random.key(seed),
        max_tokens=max_tokens,
        end=run.tokenizer.end,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        num_samples=num_samples,
    )
    # Decoded together with the prompt: a character may be spelled across the border.
    return [
        [run.tokenizer.decode([*prompt[1:], *sample]) for sample in group]
        for prompt, group in zip(ids, samples, strict=True)
    ]


def added_text(tokenizer: Tokenizer, prompt: Sequence[int], sample: Sequence[int]) -> str:
    """What new tokens add to the text of a prompt.

    Both are decoded together: a character may be spelled across the border, and then belongs to
    what is new.
    """
    before, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *sample])
    # It compares characters, in spite of where it lives.
    return whole[len(os.path.commonprefix([before, whole])) :]  # noqa: RUF071
