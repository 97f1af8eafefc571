"""Models that read words by their characters: what their vocabulary is, and how it is spelled."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from gptjax.batch import Objective
from gptjax.data.tokenizers.open_words import OpenWords
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.data.tokenizers.words import WordTokenizer, all_words
from gptjax.errors import UserError
from gptjax.models import backbone
from gptjax.models.config import ModelConfig
from gptjax.runs.open import Run
from gptjax.runs.train import say
from gptjax.spelling import begin, spell

R = TypeVar("R", bound=Run)


def for_texts(run: R, texts: Iterable[str]) -> R:
    """The run that reads these texts: of a model without a list of words, one with theirs."""
    if not isinstance(run.tokenizer, OpenWords):
        return run
    tokenizer = OpenWords(texts)
    model = replace(run.model, vocabulary_size=tokenizer.size)
    params = backbone.with_spelling(model, run.backbone, tokenizer.spelling())
    return replace(run, model=model, tokenizer=tokenizer, params=params)


def with_words_of(run: R, texts: Iterable[str]) -> R:
    """The run to train, with a vocabulary that can be kept: of a model without a list of words, one
    with all words of these texts."""
    if not isinstance(run.tokenizer, OpenWords):
        return run
    tokenizer = all_words(texts)
    say(
        f"vocabulary: the {tokenizer.size:,} words of the task's texts, which are read by their "
        "characters; any other word will be <unk>"
    )
    model = replace(run.model, vocabulary_size=tokenizer.size)
    params = backbone.with_spelling(model, run.params, spelling_of(model, tokenizer))
    return replace(run, model=model, tokenizer=tokenizer, params=params)


def spelling_of(model: ModelConfig, tokenizer: Tokenizer) -> Int[np.ndarray, "V 50"] | None:
    """How each word of a vocabulary is spelled (`gptjax.spelling`); None if the model has no use.

    Raises:
        UserError: the model reads characters of words, and these tokens are no words.
    """
    if not model.reads_spelling:
        return None
    if isinstance(tokenizer, OpenWords):
        return tokenizer.spelling()
    if not isinstance(tokenizer, WordTokenizer):
        raise UserError(
            "`model.tokens=characters`: the characters are those of words, and this tokenizer has "
            "other tokens; set `vocabulary.tokenizer=words`, or `model.tokens=table`"
        )
    found = spell(tokenizer.words)
    found[tokenizer.separator] = begin()
    return found


def spelling_out(learnt: Objective, model: ModelConfig, tokenizer: Tokenizer) -> Objective:
    """The objective, whose initial parameters know how the tokenizer's words are spelled.

    Raises:
        UserError: as of `spelling_of`.
    """
    spelled = spelling_of(model, tokenizer)
    if spelled is None:
        return learnt

    def init(key: Any) -> Any:
        params = learnt.init(key)
        if "backbone" not in params:
            return backbone.with_spelling(model, params, spelled)
        own = backbone.with_spelling(model, params["backbone"], spelled)
        return {**params, "backbone": own}

    return learnt._replace(init=init)
