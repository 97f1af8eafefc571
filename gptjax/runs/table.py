"""Tables of vectors as models: those of a text file for some words, and the embedding of a run."""

from pathlib import Path
from typing import Any

import numpy as np

from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.data.tokenizers.words import WordTokenizer
from gptjax.errors import UserError
from gptjax.interchange.word_vectors import read_word_vectors
from gptjax.models.vectors import VectorsConfig
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.own_config import VECTORS
from gptjax.runs.train import say


def open_table(source: str, tokenizer: str | None) -> runs.Run:
    """The vectors that ``source`` names, as a model of kind `vectors`.

    Args:
        source: vectors:FILE, with a text file in the format of GloVe or word2vec, or vectors:RUN,
            whose embedding is taken without what stands above it.
        tokenizer: of a file, the vocabulary of words whose vectors are taken. Words that the file
            lacks are drawn: N(0, `VectorsConfig.initial_std`), the same ones each time.

    Raises:
        UserError: nothing usable there, no vocabulary of words, or one for a run.
    """
    path = Path(source.removeprefix(VECTORS)).expanduser()
    if path.is_dir():
        if tokenizer is not None:
            raise UserError(
                f"`tokenizer={tokenizer}`: the run {path} has its own; leave it out, or name a "
                "file of vectors"
            )
        return _of_run(path, source)
    if tokenizer is None:
        raise UserError(
            f"`init={source}`: name the vocabulary whose vectors are taken as `tokenizer`, such as "
            "words.json; `gptjax tokenizer` makes one of a task's texts"
        )
    words = load_tokenizer(tokenizer)
    if not isinstance(words, WordTokenizer):
        raise UserError(f"`tokenizer={tokenizer}`: its tokens are no words; take one of words")
    found = read_word_vectors(path, words.words)
    model = VectorsConfig(vocabulary_size=words.size, width=found.values.shape[1])
    drawn = np.random.default_rng(0).normal(0.0, model.initial_std, found.values.shape)
    table = np.where(found.there[:, None], found.values, drawn.astype(np.float32))
    say(
        f"{path}: has {found.there.sum():,} of {words.size:,} words; the vectors of the others are "
        f"drawn, with a standard deviation of {model.initial_std:g}"
    )
    return _run(path, source, model, words, table)


def _of_run(path: Path, source: str) -> runs.Run:
    loaded = runs.load(path)
    table: Any = loaded.backbone.get("token_embedding")
    if table is None:
        raise UserError(f"{path}: {loaded.model.called} that reads characters has no table")
    model = VectorsConfig(
        vocabulary_size=loaded.model.vocabulary_size,
        context_length=loaded.model.context_length,
        width=table.shape[1],
    )
    return _run(path, source, model, loaded.tokenizer, np.asarray(table))


def _run(
    path: Path, source: str, model: VectorsConfig, tokenizer: Tokenizer, table: np.ndarray
) -> runs.Run:
    params = {"token_embedding": table}
    return runs.Run(RunFolder(path), model, tokenizer, params, 0, "published", source=source)
