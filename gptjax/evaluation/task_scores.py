"""What a model says to the examples of a task, and how good that is."""

import dataclasses
import functools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gptjax.data.tasks.buckets import Bucketed, KeptStates
from gptjax.data.tasks.formats import Sequences, encode, lacks_options
from gptjax.data.tasks.metrics import LABELS, measure
from gptjax.data.tasks.splits import Example, targets_of
from gptjax.data.tasks.task import Task
from gptjax.evaluation.by_class import by_class, class_table
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import TaskHeadConfig
from gptjax.runs.head import head_config
from gptjax.runs.memory import rows_at_once
from gptjax.runs.open import Run
from gptjax.runs.predictions import Predictions, class_names
from gptjax.runs.results import Category, ClassScores, Data, Seeds, SplitSpread, Spread, TaskRun
from gptjax.training.evaluation import Predictor


@dataclass(frozen=True)
class SplitScores:
    """A model's answers to one split, in file order.

    Attributes:
        probabilities: [N, C], of the classes, the choices, or the points of the scale.
        predicted: [N], the number of the likeliest class or choice, or the expected score.
        gold: the targets of the examples, None where there is no label.
        index: the row of each example in its split; rows that were left out are missing.
        metrics: the task's metrics and ``loss`` (nats per example); empty without labels.
        truncated: how many examples lost some text to fit the context.
        tokens: of each example's longest sequence, special ones included, after truncation; empty
            where nothing was encoded.
        seconds: that tokenizing and answering took, without compilation; 0 where it is not known.
        categories: the metrics of each, the largest first; of a task that has them, and labels.
        classes: precision, recall and F1 of each; of a task that has classes, and labels.
    """

    probabilities: Float[np.ndarray, "N C"]
    predicted: np.ndarray
    gold: Sequence[int | float | None]
    index: Sequence[int]
    metrics: Mapping[str, float]
    truncated: int = 0
    tokens: Sequence[int] = ()
    seconds: float = 0.0
    categories: tuple[Category, ...] = ()
    classes: tuple[ClassScores, ...] | None = None

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.predicted)

    @property
    def collapsed(self) -> bool:
        """Whether every example got the same answer."""
        return self.num_examples > 1 and bool(np.ptp(self.predicted) == 0)

    def predictions(self, task: Task) -> Predictions:
        """What stands in predictions.tsv."""
        index = np.array(self.index, np.int64)
        gold = np.array([np.nan if gold is None else gold for gold in self.gold], np.float64)
        tokens = np.array(self.tokens, np.int64) if self.tokens else None
        answers = (self.predicted, self.probabilities, tokens)
        return Predictions(task.labels, class_names(task), index, gold, *answers)


def score(
    log_probabilities: Float[np.ndarray, "N C"], examples: Sequence[Example], task: Task
) -> SplitScores:
    """Answers and metrics over a whole split; the score of a scale is its expectation."""
    log_p = log_probabilities.astype(np.float64)
    probabilities = np.exp(log_p)
    if task.scores is not None:
        predicted = probabilities @ np.array(task.points)
    else:
        predicted = log_p.argmax(-1)
    gold, index = [one.target for one in examples], [one.row for one in examples]
    metrics: dict[str, float] = {}
    categories: tuple[Category, ...] = ()
    classes: tuple[ClassScores, ...] | None = None
    if gold and all(target is not None for target in gold):
        loss = -(targets_of(examples, task) * log_p).sum(-1).mean()
        metrics = {"loss": float(loss), **measure(task.metrics, np.array(gold), predicted)}
        categories = _by_category(examples, np.array(gold), predicted, task)
        classes = by_class(np.array(gold), predicted, task)
    shown = probabilities.astype(np.float32)
    answers = (shown, predicted, gold, index, metrics)
    return SplitScores(*answers, categories=categories, classes=classes)


def _by_category(
    examples: Sequence[Example], gold: np.ndarray, predicted: np.ndarray, task: Task
) -> tuple[Category, ...]:
    names = np.array([example.category for example in examples])
    counts = Counter(names.tolist()) if any(names) else Counter()
    found = []
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        metrics = measure(task.metrics, gold[names == name], predicted[names == name])
        found.append(Category(name, counts[name], metrics))
    return tuple(found)


class TaskEvaluator:
    """Scores of a model on one split; the compiled step is kept from call to call.

    ``log_probabilities`` is (params, batch) -> [B, C]; ``sequences`` are those of the examples;
    ``batch_size`` is over all devices and processes, and ``states`` are those of `Bucketed`.
    """

    def __init__(
        self,
        log_probabilities: Callable[[Any, Any], Any],
        sequences: Sequence[Sequences],
        examples: Sequence[Example],
        task: Task,
        *,
        context_length: int,
        batch_size: int,
        states: KeptStates | None = None,
    ) -> None:
        self._examples, self._task = examples, task
        self._tokens = [max(item.lengths) for item in sequences]
        self._batches = Bucketed(
            sequences,
            examples,
            task,
            context_length=context_length,
            batch_size=batch_size,
            seed=0,
            shuffle=False,
            states=states,
        )
        self._predict = Predictor(log_probabilities, self._batches)

    def __call__(self, params: Any) -> SplitScores:
        """The scores of ``params`` (on the devices or on the host)."""
        log_probabilities = self._batches.in_order(self._predict(params))
        scores = score(log_probabilities, self._examples, self._task)
        return dataclasses.replace(scores, tokens=self._tokens, seconds=self._predict.seconds)


@functools.lru_cache(maxsize=16)
def _log_probabilities(model: ModelConfig, head: TaskHeadConfig) -> Callable[[Any, Any], Any]:
    """The same function for the same model, so that it is compiled once."""
    return objective.task(model, head).log_probabilities


def predict_split(
    run: Run, examples: Sequence[Example], batch_size: int = 32, task: Task | None = None
) -> SplitScores:
    """A fine-tuned run's answers to examples, with metrics where they have labels.

    ``task`` is another one with the same classes, whose metrics are wanted. ``batch_size`` is
    rounded up to a multiple of the devices.
    """
    assert run.task is not None
    task = run.task if task is None else task
    batch_size = rows_at_once(run.model, batch_size, len(examples))
    context = run.model.context_length
    begin = time.perf_counter()
    how: dict[str, Any] = {"separate": run.head.separate, "knowledge": run.knowledge}
    encoded = encode(examples, task, run.tokenizer, context, **how)
    encoding = time.perf_counter() - begin
    fewer = lacks_options(encoded.sequences, task)
    head = head_config(run.task, fewer=fewer, shape=run.head)
    predict = _log_probabilities(run.model, head)
    evaluator = TaskEvaluator(
        predict,
        encoded.sequences,
        examples,
        task,
        context_length=context,
        batch_size=batch_size,
    )
    scores = evaluator(run.params)
    seconds = encoding + scores.seconds
    return dataclasses.replace(scores, truncated=encoded.truncated, seconds=seconds)


def report(task: Task, scores: Mapping[str, SplitScores], comparable: bool) -> list[str]:
    """A line for each metric of each split, the paper's figure beside the first if it is the same
    task's (``comparable``)."""
    lines = []
    for name, split in scores.items():
        if not split.metrics:
            lines.append(f"  {name:16} no labels: {split.num_examples:,} examples predicted")
        for number, metric in enumerate(task.metrics if split.metrics else ()):
            paper = _paper(task) if comparable and number == 0 else ""
            lines.append(
                f"  {name:16} {LABELS[metric]:22} {100 * split.metrics[metric]:6.2f}"
                f"   on {split.num_examples:,} examples{paper}"
            )
        lines += [*class_table(split.classes), *_category_table(task, split)]
        if split.truncated:
            lines.append(f"  {name:16} {split.truncated:,} truncated to the model's context")
        if split.collapsed:
            lines.append(f"  {name:16} every prediction is the same class")
    return lines


def _paper(task: Task) -> str:
    return "" if task.paper is None else f"   (paper: {task.paper:.1f}, {task.paper_split})"


def _category_table(task: Task, split: SplitScores) -> list[str]:
    """A line for each category: its name, examples and metrics."""
    if not split.categories:
        return []
    titles = [f"{LABELS[metric]:>6}" for metric in task.metrics]
    width = max(len("category"), *(len(one.name) for one in split.categories))
    lines = ["", "  ".join([f"  {'category':{width}}", "examples", *titles])]
    for found in split.categories:
        pairs = zip(task.metrics, titles, strict=True)
        values = [f"{100 * found.metrics[metric]:{len(title)}.2f}" for metric, title in pairs]
        shown = found.name or "(none)"
        lines.append("  ".join([f"  {shown:{width}}", f"{found.examples:8,}", *values]))
    return [*lines, ""]


def summarise(runs: Sequence[TaskRun]) -> Seeds:
    """Mean, sample standard deviation, median and best of every metric on every split."""
    first, splits = runs[0], []
    for number, split in enumerate(first.splits):
        found = [run.splits[number].metrics for run in runs]
        spreads = [_spread(metric, [one[metric] for one in found]) for metric in split.metrics]
        splits.append(SplitSpread(split.name, split.examples, tuple(spreads)))
    (valid,) = (split for split in splits if split.name == first.split)
    return Seeds(
        task=first.task,
        split=first.split,
        examples=first.examples,
        metrics={spread.metric: spread.mean for spread in valid.metrics},
        seeds=tuple(run.seed for run in runs),
        majority_class_only=tuple(run.seed for run in runs if run.majority_class_only),
        notices=tuple(f"seed {run.seed}: {notice}" for run in runs for notice in run.notices),
        data=Data(sample=first.data.sample),
        paper=first.paper,
        splits=tuple(splits),
    )


def _spread(metric: str, values: Sequence[float]) -> Spread:
    """What several seeds have in common; the best is the highest value, of a loss the lowest."""
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    best = min(values) if metric == "loss" else max(values)
    mean, median = statistics.fmean(values), statistics.median(values)
    return Spread(metric, mean, std, median, best, tuple(values))


def report_seeds(task: Task, summary: Seeds) -> list[str]:
    """A line for each metric of each split, the paper's figure beside the first."""
    several = len(summary.seeds) > 1
    how_many = f"{len(summary.seeds)} seed{'s' if several else ''}"
    lines = [
        f"{task.name}, {how_many} ({', '.join(map(str, summary.seeds))})",
        f"  {'split':16} {'metric':22} {'mean':>7} {'std':>6} {'median':>7} {'best':>7}",
    ]
    for split in summary.splits:
        for found in split.metrics:
            if found.metric not in task.metrics:
                continue
            first = found.metric == task.metrics[0]
            paper = _paper(task) if first and not summary.data.sample else ""
            deviation = f"{100 * found.std:6.2f}" if several else f"{'-':>6}"
            lines.append(
                f"  {split.name:16} {LABELS[found.metric]:22} {100 * found.mean:7.2f} {deviation} "
                f"{100 * found.median:7.2f} {100 * found.best:7.2f}{paper}"
            )
    for seed in summary.majority_class_only:
        lines.append(f"  seed {seed} collapsed: every prediction is the same class")
    return lines
