"""The log-probability of every token of some texts, or of what follows some contexts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gptjax.batch import Batch
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.models import backbone
from gptjax.models.config import ModelConfig
from gptjax.runs.memory import rows_at_once
from gptjax.runs.open import Run
from gptjax.training.evaluation import Predictor

LENGTH_MULTIPLE = 32


class Span(NamedTuple):
    """Tokens to score, and what is read before them.

    Attributes:
        context: at least one id; of a long one its end is read.
        target: the ids to score.
    """

    context: np.ndarray
    target: np.ndarray


class TokenScores(NamedTuple):
    """What a model says to the tokens of a target.

    Attributes:
        log_probabilities: float32 [n], nats, each given all before it that its window holds.
        likeliest: bool [n], whether no other token is likelier.
    """

    log_probabilities: Float[np.ndarray, " n"]
    likeliest: np.ndarray


class Window(NamedTuple):
    """Tokens that are read together, and how many of them, at the end, are scored."""

    owner: int  # the number of its span
    tokens: np.ndarray
    targets: int


def windows_of(spans: Sequence[Span], room: int) -> list[Window]:
    """Windows of at most ``room`` + 1 tokens that score every target once.

    A target that fits is scored in one window, with as much of the end of its context as there is
    room for; of a longer one the windows do not overlap.
    """
    found = []
    for owner, span in enumerate(spans):
        count = len(span.target)
        whole = np.concatenate([span.context, span.target])
        if 0 < count <= room:
            found.append(Window(owner, whole[-room - 1 :], count))
            continue
        for begin in range(0, count, room):
            tokens = whole[len(span.context) - 1 + begin :][: room + 1]
            found.append(Window(owner, tokens, len(tokens) - 1))
    return found


class _SpanWindows:
    """The windows of some spans, of T + 1 tokens, as `gptjax.batch.Batches`."""

    def __init__(self, spans: Sequence[Span], context: int, batch: int) -> None:
        self.batch_size = batch
        longest = max((len(span.context) + len(span.target) - 1 for span in spans), default=1)
        # Coarse, so that other texts probably have a shape that is compiled already.
        room = min(context, -(-max(longest, 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)
        self._length = room + 1
        self.windows = windows_of(spans, room)

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        begin = index * self.batch_size
        wanted = np.arange(begin, begin + self.batch_size)[rows]
        tokens = np.zeros((len(wanted), 1, self._length), np.int32)
        weights = np.zeros(tokens.shape, np.float32)
        for row, window in enumerate(self.windows[begin : begin + self.batch_size][rows]):
            tokens[row, 0, : len(window.tokens)] = window.tokens
            weights[row, 0, 1 : len(window.tokens)] = 1
        extract, targets = (
            np.zeros((len(wanted), 1), np.int32),
            np.ones((len(wanted), 1), np.float32),
        )
        real = (wanted < len(self.windows)).astype(np.float32)
        return Batch(tokens, weights, extract, targets, real)

    def describe(self, epoch: int, index: int) -> str:
        return f"windows of batch {index}"


@functools.lru_cache(maxsize=16)
def _token_scores(config: ModelConfig) -> Callable[[Any, Batch], Array]:
    """The same function for the same model, so that it is compiled once."""

    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        states = backbone.states(config, params, tokens[:, :-1])
        logits = backbone.logits(config, params, states)
        chosen = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
        likeliest = (chosen >= logits.max(-1)).astype(jnp.float32)
        return jnp.stack([chosen - jax.nn.logsumexp(logits, axis=-1), likeliest], axis=-1)

    return predict


def score_spans(run: Run, spans: Sequence[Span], batch_size: int) -> list[TokenScores]:
    """What a model says to every token of every target.

    Of a fine-tuned run the backbone is asked. ``batch_size`` windows are read at once, rounded up
    to a multiple of the devices.
    """
    rows = read_spans(run, spans, _token_scores(run.model), batch_size)
    return [TokenScores(part[:, 0], part[:, 1] > 0) for part in rows]


def read_spans(
    run: Run, spans: Sequence[Span], predict: Callable[[Any, Batch], Array], batch_size: int
) -> list[Float[np.ndarray, "_ S"]]:
    """What ``predict`` says to every token of every target.

    Its rows are windows of T + 1 tokens, and it gives [B, T, S]: S numbers of each token but the
    first. The rest is as of `score_spans`.
    """
    run.model.check_causal("give a text's probability")
    context = run.model.context_length
    most = sum(1 + len(span.target) // context for span in spans)
    batch = rows_at_once(run.model, batch_size, most)
    windows = _SpanWindows(spans, context, batch)
    found: list[list[np.ndarray]] = [[] for _ in spans]
    if len(windows):
        rows = Predictor(predict, windows)(run.backbone)
        for window, row in zip(windows.windows, rows, strict=False):
            end = len(window.tokens) - 1
            found[window.owner].append(row[end - window.targets : end])
    size = next((part.shape[1] for parts in found for part in parts), 2)
    empty = np.zeros((0, size), np.float32)
    return [np.concatenate(parts) if parts else empty for parts in found]


def continuations_of(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], separator: bool = True
) -> list[Span]:
    """Contexts and what follows each of them, as tokens.

    Both are encoded as one text, so that a word is cut as it would be there; what the context alone
    shares with it is the context. A token across the border belongs to the target.

    Args:
        tokenizer: the model's.
        pairs: context and target; together they are the text. The target of a span is empty if
            the tokenizer has nothing for it.
        separator: whether a separator is read before each text, or only before what has no token
            of context.
    """
    whole = tokenizer.encode_beginnings([context + target for context, target in pairs])
    alone = tokenizer.encode_beginnings([context for context, _ in pairs])
    start = np.array([tokenizer.separator], np.int32)
    spans = []
    for text, context in zip(whole, alone, strict=True):
        shared = min(len(text), len(context))
        differ = np.nonzero(text[:shared] != context[:shared])[0]
        cut = int(differ[0]) if len(differ) else shared
        before = np.concatenate([start, text[:cut]]) if separator or cut == 0 else text[:cut]
        spans.append(Span(before, text[cut:]))
    return spans


def token_log_probabilities(
    run: Run, texts: Sequence[str], batch_size: int
) -> list[Float[np.ndarray, " _"]]:
    """log p of each token of each text given those before it (float32, nats).

    Each text is read as the beginning of a document; the rest is as of `score_spans`.
    """
    start = np.array([run.tokenizer.separator], np.int32)
    spans = [Span(start, ids) for ids in run.tokenizer.encode(texts)]
    return [scores.log_probabilities for scores in score_spans(run, spans, batch_size)]
