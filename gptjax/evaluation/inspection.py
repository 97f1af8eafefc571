"""What a model makes of texts, from the inside: logits, states, attention, pooled states.

A text is read as pre-training reads a document: the tokenizer's separator first, then its tokens.
So a text of n tokens has n + 1 positions, and position t tells of the token after it. Of a
fine-tuned run the backbone is asked.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.evaluation.features import (
    CELL,
    OfLayer,
    cells_after,
    in_words,
    layers_of,
    pooled_states,
)
from gptjax.evaluation.text_rows import Predict, one_or_several, read, rows_of, there
from gptjax.evaluation.text_scores import token_log_probabilities
from gptjax.models import backbone
from gptjax.models.config import ModelConfig
from gptjax.runs.open import Run
from gptjax.runs.spelled import for_texts


@dataclass(frozen=True, repr=False)
class Inspection(Run):
    """A `Run` that can be looked into."""

    def tokens(self, texts: str | Iterable[str]) -> Any:
        """The tokens of each text as text, by position.

        The separator is first: position t of `logits` tells of token t + 1.
        """

        def words(texts: Sequence[str]) -> list[list[str]]:
            run = for_texts(self, texts)
            ids = read(run, texts, truncate=True, whole=True)
            return [[run.tokenizer.decode([one]) for one in own] for own in ids]

        return one_or_several(texts, words)

    def logits(
        self, texts: str | Iterable[str], *, truncate: bool = False, batch_size: int = 16
    ) -> Any:
        """Logits over the vocabulary at each position of a text.

        Args:
            texts: a text, or a list of them.
            truncate: whether a text that is longer than the context loses its end.
            batch_size: texts at once, rounded up to a multiple of the devices.

        Returns:
            float32 [n + 1, V] for a text of n tokens; a list of these for a list.

        Raises:
            UserError: a text is longer than the context, or the model is bidirectional.
        """
        self.model.check_causal("tell of the next token")

        def ask(texts: Sequence[str]) -> list[np.ndarray]:
            ids = read(self, texts, truncate=truncate)
            found = rows_of(self, ids, _logits(self.model), batch_size)
            return [rows[: len(own)] for rows, own in zip(found, ids, strict=True)]

        return one_or_several(texts, ask)

    def states(
        self,
        texts: str | Iterable[str],
        layers: int | Sequence[int] | None = None,
        *,
        truncate: bool = False,
        batch_size: int = 16,
    ) -> Any:
        """The states of each position after the layers.

        Args:
            texts: a text, or a list of them.
            layers: 0 is the embeddings, N what block N gives; a number, several, or None for all.
            truncate: as of `logits`.
            batch_size: as of `logits`.

        Returns:
            float32 [layers, n + 1, D] for a text of n tokens, with a number for ``layers``
            [n + 1, D]; a list of these for a list of texts.
        """
        wanted = range(self.model.num_layers + 1) if layers is None else layers
        several = [wanted] if isinstance(wanted, int) else list(wanted)

        _check(several, layers_of(self.model, "last"))

        def ask(texts: Sequence[str]) -> list[np.ndarray]:
            run = for_texts(self, texts)
            ids = read(run, texts, truncate=truncate)
            rows = rows_of(run, ids, _states(run.model, tuple(several)), batch_size)
            found = [one[:, : len(own)] for one, own in zip(rows, ids, strict=True)]
            return [one[0] for one in found] if isinstance(wanted, int) else found

        return one_or_several(texts, ask)

    def attention(
        self, texts: str | Iterable[str], *, truncate: bool = False, batch_size: int = 16
    ) -> Any:
        """How much each position (row) takes of itself and those before it; rows add to 1.

        The arguments are those of `logits`.

        Returns:
            float32 [L, H, n + 1, n + 1] for L blocks of H heads; a list of these for a list.

        Raises:
            UserError: a model without attention, or a text is longer than the context.
        """

        def ask(texts: Sequence[str]) -> list[np.ndarray]:
            ids = read(self, texts, truncate=truncate)
            found = rows_of(self, ids, _attention(self.model), batch_size)
            sizes = map(len, ids)
            return [rows[..., :size, :size] for rows, size in zip(found, sizes, strict=True)]

        return one_or_several(texts, ask)

    def features(
        self,
        texts: str | Iterable[str],
        how: OfLayer = "last",
        layer: int | None = None,
        *,
        truncate: bool = False,
        batch_size: int = 32,
    ) -> Any:
        """One vector of each text, as `gptjax probe` reads it.

        Args:
            texts: a text, or a list of them.
            how: the state of the last token, the mean or the maximum over the tokens, or the memory
                cells of a recurrent model after the last one, for which no text is too long.
            layer: 0 is the embeddings; None is the last one.
            truncate: as of `logits`.
            batch_size: as of `logits`.

        Returns:
            float32 [E], or [N, E] for N texts.
        """
        number = self.model.num_layers if layer is None else layer
        _check([number], layers_of(self.model, how))
        make = cells_after if how == CELL else partial(pooled_states, how=how)

        def ask(texts: Sequence[str]) -> Float[np.ndarray, "N E"]:
            run = for_texts(self, texts)
            ids = read(run, texts, truncate=truncate, whole=how == CELL)
            found = rows_of(run, ids, make(run.model, (number,)), batch_size)
            return np.array([rows[0] for rows in found], np.float32)

        return one_or_several(texts, ask)

    def log_probability(self, texts: str | Iterable[str], batch_size: int = 16) -> Any:
        """The log-probability of each text in nats, each read as the beginning of a document.

        A text longer than the context is read in windows that do not overlap.

        Args:
            texts: a text, or a list of them; an empty one has probability 1.
            batch_size: windows at once, rounded up to a multiple of the devices.

        Returns:
            float, or float64 [N] for N texts.
        """

        def ask(texts: Sequence[str]) -> Float[np.ndarray, " N"]:
            found = token_log_probabilities(self, texts, batch_size)
            return np.array([math.fsum(values) for values in found], np.float64)

        return one_or_several(texts, ask)

    def perplexity(self, texts: str | Iterable[str], batch_size: int = 16) -> Any:
        """The perplexity per token of each text: exp(-log-probability / tokens).

        Arguments and result are as of `log_probability`; a text without tokens has NaN. For
        a whole corpus there is `gptjax.evaluate`.
        """

        def ask(texts: Sequence[str]) -> Float[np.ndarray, " N"]:
            found = token_log_probabilities(self, texts, batch_size)
            losses = [-math.fsum(one) / len(one) if len(one) else math.nan for one in found]
            return np.exp(np.array(losses, np.float64))

        return one_or_several(texts, ask)


def _check(layers: Sequence[int], there: range) -> None:
    for layer in layers:
        if layer not in there:
            raise UserError(f"`layer={layer}`: {in_words(there)}")


@functools.lru_cache(maxsize=16)
def _logits(config: ModelConfig) -> Predict:
    """The same function for the same model, so that it is compiled once. So are those below."""

    def predict(params: Any, batch: Batch) -> Array:
        found = backbone.states(config, params, jnp.asarray(batch.tokens)[:, 0])
        return backbone.logits(config, params, found)

    return predict


@functools.lru_cache(maxsize=16)
def _states(config: ModelConfig, layers: tuple[int, ...]) -> Predict:
    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        found = backbone.layer_states(config, params, tokens, there=there(batch))
        return jnp.stack([found[layer] for layer in layers], axis=1).astype(jnp.float32)

    return predict


@functools.lru_cache(maxsize=16)
def _attention(config: ModelConfig) -> Predict:
    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        return backbone.attention_weights(config, params, tokens).swapaxes(0, 1)

    return predict
