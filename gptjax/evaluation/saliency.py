"""What a fine-tuned run reads of a row, and which of its tokens the answer depends on.

Both measures are of the log-probability of one answer. They say what the model does with a token
where it stands, and nothing about why a person would give the answer.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.batch import Batch
from gptjax.data.tasks.formats import Specials
from gptjax.errors import UserError
from gptjax.evaluation.model import Model
from gptjax.evaluation.text_rows import width_for
from gptjax.evaluation.unit_values import pieces_of
from gptjax.models import backbone, objective
from gptjax.models.config import ModelConfig
from gptjax.models.inside import read_rows
from gptjax.models.task_head import NUM_SPECIALS, TaskHeadConfig, task_logits
from gptjax.models.task_states import is_text
from gptjax.runs.head import head_config
from gptjax.runs.predictions import class_names

Kind = Literal["start", "delimiter", "extract", "text"]
AT_ONCE = 16  # sequences without a token that are read together
Tokens = Int[np.ndarray, "K T"]


@dataclass(frozen=True)
class RowReading:
    """What a fine-tuned run made of one row.

    Attributes:
        probabilities: by label, in the order of the classes; as of `Model.predict`.
        pieces: of each sequence the tokens as text, from start to extract; nothing of the special
            ones. An option that is missing is an empty sequence.
        kinds: of each token whether it is text, or which of the special ones.
        tokens: int32 [K, T], the K sequences, padded with 0.
    """

    probabilities: dict[str, float]
    pieces: list[list[str]]
    kinds: list[list[Kind]]
    tokens: Tokens

    @property
    def answer(self) -> str:
        """The likeliest label."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])


def read_row(tuned: Model, row: str | Mapping[str, Any]) -> RowReading:
    """The probabilities of a row's labels, and the sequences that the traversal made of the row.

    Sequences are padded to one of a few lengths, so that a longer text seldom is a program to
    compile. ``row`` is as of `Model.predict`.

    Raises:
        UserError: not a fine-tuned run, one that reads relations of words, or the row lacks a part.
    """
    if tuned.head.knowledge:
        raise UserError(
            f"{tuned.folder.path}: reads the relations of words, which are not shown here; ask "
            "`predict`"
        )
    tokens = _sequences(tuned, row)
    assert tuned.task is not None
    lengths = _lengths(tuned, tokens)
    scores = _log_probabilities(tuned)(tuned.params, tokens[None], _ends(lengths)[None])[0]
    shares = np.exp(np.asarray(scores, np.float64)).tolist()
    own = [ids[:length] for ids, length in zip(tokens, lengths, strict=True)]
    return RowReading(
        dict(zip(class_names(tuned.task), shares, strict=True)),
        [_pieces(tuned, ids) for ids in own],
        [[_kind(tuned, one) for one in ids.tolist()] for ids in own],
        tokens,
    )


def gradient_times_input(tuned: Model, reading: RowReading, label: str) -> list[np.ndarray]:
    """The gradient of an answer's log-probability times the input, of each token.

    The input is the token's embedding e, without that of its position: the score of position t is
    the sum over the components of e_t * d log p(label) / d e_t. It is how much log p grows per
    unit as the embedding there is scaled up. Gradients at the input are of Simonyan et al. (2014,
    "Deep inside convolutional networks"), times the input of Shrikumar et al. (2016, "Not just a
    black box").

    Returns:
        float64 [n_k] of each sequence, nats.
    """
    assert tuned.task is not None
    lengths = _lengths(tuned, reading.tokens)
    number = jnp.int32(list(reading.probabilities).index(label))
    find = _gradient(tuned.model, _head(tuned))
    ends = jnp.asarray(_ends(lengths))
    found = np.asarray(find(tuned.params, jnp.asarray(reading.tokens), ends, number), np.float64)
    return [row[:length] for row, length in zip(found, lengths, strict=True)]


def leave_one_out(tuned: Model, reading: RowReading, label: str) -> list[np.ndarray]:
    """What an answer's log-probability loses without each token.

    The score of position t is log p(label) minus what it is if this token is taken out of its
    sequence; the tokens after it move up. Special tokens stay, with NaN.

    Returns:
        float64 [n_k] of each sequence, nats.
    """
    lengths, find = _lengths(tuned, reading.tokens), _log_probabilities(tuned)
    number = list(reading.probabilities).index(label)
    places = [
        (k, t)
        for k, row in enumerate(reading.kinds)
        for t, kind in enumerate(row)
        if kind == "text"
    ]
    found = [np.full(length, np.nan) for length in lengths]
    whole = np.log(reading.probabilities[label])
    for begin in range(0, len(places), AT_ONCE):
        now = places[begin : begin + AT_ONCE]
        tokens = np.repeat(reading.tokens[None], AT_ONCE, axis=0)
        ends = np.repeat(_ends(lengths)[None], AT_ONCE, axis=0)
        for one, (k, t) in enumerate(now):
            tokens[one, k, t:-1] = reading.tokens[k, t + 1 :]
            tokens[one, k, lengths[k] - 1 :] = 0
            ends[one, k] -= 1
        scores = np.asarray(find(tuned.params, tokens, ends), np.float64)[:, number]
        for (k, t), score in zip(now, scores, strict=False):
            found[k][t] = whole - score
    return found


def _sequences(tuned: Model, row: str | Mapping[str, Any]) -> Tokens:
    tokens = np.asarray(tuned.sequences([row]))
    wide = width_for(tokens.shape[1], tuned.model.context_length)
    return np.pad(tokens, ((0, 0), (0, wide - tokens.shape[1])))


def _lengths(tuned: Model, tokens: Tokens) -> list[int]:
    """The tokens of each sequence; 0 of an option that is missing."""
    is_end = tokens == Specials.after(tuned.tokenizer.size).extract
    found: list[int] = np.where(is_end.any(1), is_end.argmax(1) + 1, 0).tolist()
    return found


def _ends(lengths: list[int]) -> Int[np.ndarray, " K"]:
    """The places of the extract tokens; 0 where a sequence is missing."""
    return np.maximum(np.array(lengths, np.int32) - 1, 0)


def _kind(tuned: Model, token: int) -> Kind:
    names: tuple[Kind, ...] = ("start", "delimiter", "extract")
    specials = dict(zip(Specials.after(tuned.tokenizer.size), names, strict=True))
    return specials.get(token, "text")


def _pieces(tuned: Model, ids: Int[np.ndarray, " _"]) -> list[str]:
    """The text of each token; texts between special tokens are decoded apart."""
    found: list[str] = []
    size, begin = tuned.tokenizer.size, 0
    for place, token in enumerate(ids.tolist()):
        if token >= size:
            found += [*pieces_of(tuned.tokenizer, ids[begin:place].tolist()), ""]
            begin = place + 1
    return found


def _head(tuned: Model) -> TaskHeadConfig:
    assert tuned.task is not None
    fewer = tuned.task.format == "choice"
    return head_config(tuned.task, fewer=fewer, shape=tuned.head)


def _log_probabilities(tuned: Model) -> Callable[..., Array]:
    """(params, tokens [B, K, T], ends [B, K]) -> [B, C]."""
    return _answers(tuned.model, _head(tuned))


@functools.lru_cache(maxsize=16)
def _answers(model: ModelConfig, head: TaskHeadConfig) -> Callable[..., Array]:
    find = objective.task(model, head).log_probabilities

    @jax.jit
    def answers(
        params: Any, tokens: Int[Array, "B K T"], ends: Int[Array, "B K"]
    ) -> Float[Array, "B C"]:
        none = jnp.zeros(tokens.shape[:1], jnp.float32)
        weights = jnp.zeros(tokens.shape, jnp.float32)
        return find(params, Batch(tokens, weights, ends, none[:, None], none))

    return answers


@functools.lru_cache(maxsize=16)
def _gradient(model: ModelConfig, head: TaskHeadConfig) -> Callable[..., Array]:
    """(params, tokens [K, T], ends [K], class) -> the gradient times the input, [K, T].

    Each position is read as a further token of its own, whose row is what is differentiated.
    """

    @jax.jit
    def find(
        params: Any, tokens: Int[Array, "K T"], ends: Int[Array, " K"], number: Int[Array, ""]
    ) -> Float[Array, "K T"]:
        known = replace(model, vocabulary_size=model.vocabulary_size + NUM_SPECIALS)
        special = params["adapter"]["special_embedding"]
        longer = backbone.with_rows(model, params["backbone"], special)
        own = known.vocabulary_size + jnp.arange(tokens.size).reshape(tokens.shape)
        wide = replace(known, vocabulary_size=known.vocabulary_size + tokens.size)
        there = jnp.arange(tokens.shape[1])[None] <= ends[:, None]
        texts = is_text(tokens[None], ends[None], model.vocabulary_size)

        def log_probability(rows: Array) -> Array:
            every = backbone.with_rows(known, longer, rows)
            ask = backbone.layer_states if head.shape.mix else backbone.states
            states = ask(wide, every, own, there=there)
            states = states.reshape(*states.shape[:-3], 1, *states.shape[-3:])
            maps = params["adapter"]["head"]
            logits = task_logits(maps, states, texts, ends[None], head)
            found: Array = jax.nn.log_softmax(logits)[0, number]
            return found

        rows = read_rows(known, longer, tokens.reshape(-1))
        scores: Array = (jax.grad(log_probability)(rows) * rows).sum(-1)
        return scores.reshape(tokens.shape)

    return find
