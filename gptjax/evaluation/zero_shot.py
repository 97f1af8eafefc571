"""Zero-shot: what a language model knows of a task without being trained on it (section 5)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gptjax.data.tasks.metrics import measure
from gptjax.data.tasks.zero_shot import Question, ZeroShotTask
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.text_scores import Span, TokenScores, continuations_of, score_spans
from gptjax.runs.open import Run


@dataclass(frozen=True)
class ZeroShotScores:
    """Answers and how good they are.

    Attributes:
        metrics: accuracy; of cola Matthews' correlation first; of lambada perplexity too.
        predicted: int [N], the candidate (or label) that is answered.
        gold: int [N].
        scores: a row of one score per candidate for every question, nats.
        threshold: of cola.
    """

    metrics: dict[str, float]
    predicted: Int[np.ndarray, " N"]
    gold: Int[np.ndarray, " N"]
    scores: list[list[float]]
    threshold: float | None = None

    @property
    def metric(self) -> float:
        """The first metric."""
        return next(iter(self.metrics.values()))


def spans_of(tokenizer: Tokenizer, questions: Sequence[Question]) -> list[Span]:
    """Every candidate of every question as tokens, cut as `continuations_of` does.

    Raises:
        UserError: a target without a token.
    """
    candidates = [(q.where, c.context, c.target) for q in questions for c in q.candidates]
    spans = continuations_of(tokenizer, [(context, target) for _, context, target in candidates])
    for (where, context, target), span in zip(candidates, spans, strict=True):
        if not len(span.target):
            missing = f"{target!r} after {context[-40:]!r}"
            raise UserError(f"{where}: the tokenizer has nothing for {missing}")
    return spans


def ask(
    run: Run, task: ZeroShotTask, questions: Sequence[Question], batch_size: int
) -> tuple[list[list[float]], list[list[TokenScores]]]:
    """The score of every candidate of every question, and what it is made of.

    Raises:
        UserError: a target without a token, or a model that gives no probability of a text.
    """
    run.model.check_causal("answer without training")
    flat = iter(score_spans(run, spans_of(run.tokenizer, questions), batch_size))
    tokens = [[next(flat) for _ in question.candidates] for question in questions]

    def score(found: TokenScores) -> float:
        values = found.log_probabilities.astype(np.float64)
        return float(values.mean() if task.per_token else values.sum())

    return [[score(found) for found in row] for row in tokens], tokens


def fit_threshold(scores: Float[np.ndarray, " N"], labels: Int[np.ndarray, " N"]) -> float:
    """The threshold with the best Matthews correlation of ``scores > threshold`` and the labels.

    The lowest of the best ones, in the middle between two scores.
    """
    order = np.argsort(scores, kind="stable")
    ordered, gold = scores[order], labels[order]
    # Predicting 1 above position k: counts of everything at every cut.
    ones = np.concatenate([[0], np.cumsum(gold)])
    zeros = np.arange(len(gold) + 1) - ones
    tp, fn = ones[-1] - ones, ones
    fp, tn = zeros[-1] - zeros, zeros
    product = (tp + fp).astype(float) * (tp + fn) * (tn + fp) * (tn + fn)
    correlation = np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(np.maximum(product, 1)), 0.0)
    # A cut between equal scores cannot be made.
    correlation[1:-1][ordered[1:] == ordered[:-1]] = -2.0
    best = int(np.argmax(correlation))
    if best == 0:
        return float(ordered[0]) - 1.0
    if best == len(ordered):
        return float(ordered[-1])
    return float(ordered[best - 1] + ordered[best]) / 2


def check_labels(questions: Sequence[Question]) -> None:
    """Refuse the first question without its answer."""
    for question in questions:
        if question.gold is None:
            raise UserError(f"{question.where}: no label, which zero-shot evaluation needs")


def judge(
    task: ZeroShotTask,
    questions: Sequence[Question],
    scores: list[list[float]],
    tokens: list[list[TokenScores]],
    threshold: float | None = None,
) -> ZeroShotScores:
    """Answers from scores; a question without its answer is refused."""
    check_labels(questions)
    gold = np.array([question.gold for question in questions], np.int64)
    if task.decision == "choose":
        predicted = np.array([int(np.argmax(row)) for row in scores])
    elif task.decision == "threshold":
        assert threshold is not None
        predicted = np.array([int(row[0] > threshold) for row in scores])
    else:
        predicted = np.array([0 if row[0].likeliest.all() else 1 for row in tokens])
    names = ("matthews", "accuracy") if task.decision == "threshold" else ("accuracy",)
    metrics = measure(names, gold, predicted)
    if task.decision == "exact":
        nats = [-float(row[0].log_probabilities.astype(np.float64).sum()) for row in tokens]
        metrics["perplexity"] = math.exp(min(math.fsum(nats) / len(nats), 700))
    return ZeroShotScores(metrics, predicted, gold, scores, threshold)


def normalised(task: ZeroShotTask, value: float) -> float | None:
    """(value - guess) / (supervised - guess), like figure 2 of the paper, None without the latter.

    The paper divides by the best supervised result of its time; this by GPT-1's own.
    """
    best = task.supervised
    return None if best is None else (value - task.guess) / (best - task.guess)
