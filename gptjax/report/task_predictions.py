"""What the predictions of fine-tuned runs show: by length, how sure, what is mistaken for what."""

from collections.abc import Iterator, Sequence

import numpy as np

from gptjax.data.tasks.task import Task
from gptjax.report.entries import TunedRun
from gptjax.report.figures import Figure, Series, over_seeds
from gptjax.report.predictions import by_length, confusion, length_edges, reliability
from gptjax.report.sections import in_parts, slug
from gptjax.runs.predictions import Predictions, class_names

FEW = 10  # predictions of a bin, below which its share says nothing

Predicted = Sequence[tuple[TunedRun, str, list[Predictions]]]
"""Runs of a task, what each is called, and the predictions of its seeds."""


def of_predictions(task: Task, predicted: Predicted) -> Iterator[Figure]:
    """All figures of a task's predictions; of a scale agreement in the place of classes."""
    yield from _lengths(task, predicted)
    if task.scores is None:
        yield from _calibration(task, predicted)
        yield from _confusions(task, predicted)
    else:
        yield from _agreement(task, predicted)


def _lengths(task: Task, predicted: Predicted) -> Iterator[Figure]:
    """Accuracy (of a scale the mean distance) by the length of the input."""
    known = [item for item in predicted if all(p.tokens is not None for p in item[2])]
    if not known:
        return
    lengths = [found.tokens for _, _, seeds in known for found in seeds if found.tokens is not None]
    edges = length_edges(np.concatenate(lengths))
    series = []
    for run, label, seeds in known:
        x = by_length(_tokens(seeds[0]), _tokens(seeds[0]), edges)
        y = np.array([by_length(_tokens(found), _goodness(task, found), edges) for found in seeds])
        kept = ~np.isnan(x)
        values = dict(zip(x[kept].tolist(), y[:, kept].T.tolist(), strict=True))
        series.append(over_seeds(label, values, run.origin.path))
    what = "accuracy" if task.scores is None else "distance"
    meaning = "Accuracy" if task.scores is None else "The mean distance of prediction and gold"
    yield from in_parts(
        Figure(
            name=f"{slug(task.name)}-length",
            title=f"{task.name}: {what} by length of the input",
            caption=f"{meaning} on {_examples(known)} in bins of about equally many, by the tokens "
            "of the longest sequence of an example, special ones included; those cut to fit the "
            "context are as long as it is. The band is the sample standard deviation over seeds.",
            x_label="tokens (mean of the bin)",
            y_label="accuracy, %" if task.scores is None else "mean |prediction - gold|",
            series=tuple(series),
        )
    )


def _tokens(found: Predictions) -> np.ndarray:
    assert found.tokens is not None
    return found.tokens


def _goodness(task: Task, found: Predictions) -> np.ndarray:
    if task.scores is None:
        return np.where(found.gold == found.predicted, 100.0, 0.0)
    return np.asarray(np.abs(found.gold - found.predicted))


def _examples(predicted: Predicted) -> str:
    counts = sorted({len(seeds[0].gold) for _, _, seeds in predicted})
    return " or ".join(f"{count:,}" for count in counts) + " examples"


def _calibration(task: Task, predicted: Predicted) -> Iterator[Figure]:
    series = []
    for run, label, seeds in predicted:
        confidence = np.concatenate([found.scores.max(-1) for found in seeds])
        right = np.concatenate([found.gold == found.predicted for found in seeds])
        found = reliability(confidence, right)
        kept = found.count >= FEW
        if kept.any():
            series.append(
                Series(
                    f"{label}: error {100 * found.error:.1f} %",
                    tuple((100 * found.confidence[kept]).tolist()),
                    tuple((100 * found.accuracy[kept]).tolist()),
                    source=run.origin.path,
                )
            )
    if series:
        yield from in_parts(
            Figure(
                name=f"{slug(task.name)}-calibration",
                title=f"{task.name}: calibration",
                caption="How often predictions are right by the probability of the predicted "
                "class, in 10 bins, the seeds together; bins of fewer than "
                f"{FEW} predictions are not drawn. In the legend the expected calibration error, "
                "over all bins.",
                x_label="probability of the predicted class, %",
                y_label="accuracy, %",
                series=tuple(series),
                diagonal="as often right as sure",
            )
        )


def _confusions(task: Task, predicted: Predicted) -> Iterator[Figure]:
    names = class_names(task)
    for run, label, seeds in predicted:
        counts = sum(confusion(found) for found in seeds)
        several = f", summed over {len(seeds)} seeds" if len(seeds) > 1 else ""
        yield Figure(
            name=f"{slug(task.name)}-confusion-{slug(label)}",
            title=f"{task.name}: confusion of {label}",
            caption=f"Examples by gold class and predicted class{several}.",
            x_label="predicted",
            y_label="gold",
            series=tuple(
                Series(name, names, tuple(map(float, row)), source=run.origin.path)
                for name, row in zip(names, np.asarray(counts).tolist(), strict=True)
            ),
            kind="heatmap",
        )


def _agreement(task: Task, predicted: Predicted) -> Iterator[Figure]:
    """Predicted by gold score, for a scale."""
    assert task.scores is not None
    low, high = task.scores
    centres = np.arange(low, high + 0.25, 0.5)
    series = []
    for run, label, seeds in predicted:
        gold = np.concatenate([found.gold for found in seeds])
        answers = np.concatenate([found.predicted for found in seeds])
        place = np.rint((gold - low) * 2).astype(int)
        bins = [
            (float(centre), answers[place == number])
            for number, centre in enumerate(centres)
            if (place == number).sum() >= FEW
        ]
        if bins:
            series.append(
                Series(
                    label,
                    tuple(centre for centre, _ in bins),
                    tuple(float(found.mean()) for _, found in bins),
                    tuple(float(np.percentile(found, 10)) for _, found in bins),
                    tuple(float(np.percentile(found, 90)) for _, found in bins),
                    source=run.origin.path,
                )
            )
    if series:
        yield from in_parts(
            Figure(
                name=f"{slug(task.name)}-agreement",
                title=f"{task.name}: predicted by gold score",
                caption=f"Mean prediction for the examples of a gold score (rounded to halves, "
                f"those with {FEW} predictions and more), the seeds together; the band holds 80 % "
                "of the predictions.",
                x_label="gold score",
                y_label="predicted score",
                series=tuple(series),
                diagonal="prediction = gold",
            )
        )
