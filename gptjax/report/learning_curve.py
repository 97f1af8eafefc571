"""A learning curve as a figure and a table, for pictures in its folder and for the page."""

from collections.abc import Mapping
from pathlib import Path

from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.data.tasks.metrics import LABELS
from gptjax.errors import as_options
from gptjax.evaluation.learning_curve import LearningCurve, answer, gain_text
from gptjax.report.figures import Figure, Table, mean_text, over_seeds
from gptjax.report.fine_tuning import unit

NAME = "learning_curve"


def drawn(curve: LearningCurve, folders: Mapping[int, Path], length: str) -> tuple[Figure, Table]:
    """The metric over the number of training rows, with the spread over the seeds.

    Args:
        curve: what was measured.
        folders: of the runs of each size.
        length: for how long each size was trained, as a sentence.
    """
    values = {one.size: [100 * v.value for v in one.values_by_seed] for one in curve.sizes}
    count, title = len(curve.seeds), f"{curve.task}: {LABELS[curve.metric]} by training rows"
    levels: tuple[tuple[str, float], ...] = ()
    if curve.commonest is not None:
        levels = (("commonest label alone", 100 * curve.commonest),)
    caption = _caption(curve, length)
    figure = Figure(
        name=NAME,
        title=title,
        caption=caption,
        x_label="training rows",
        y_label=unit(curve.metric),
        series=(
            over_seeds(
                f"mean of {count} seeds" if count > 1 else "one seed",
                values,
                ", ".join(str(folders[size]) for size in values),
            ),
        ),
        log_x=True,
        levels=levels,
    )
    table = Table(
        name=f"{NAME}-table",
        title=title,
        caption=caption,
        columns=(
            *("rows", "mean ± std", "gain over the size before", "updates"),
            *(f"seed {seed}" for seed in curve.seeds),
        ),
        rows=tuple(
            (
                f"{one.size:,}",
                mean_text(values[one.size], 2),
                gain_text(one.gain),
                f"{one.updates:,}",
                *(f"{value:.2f}" for value in values[one.size]),
            )
            for one in curve.sizes
        ),
        sources=tuple(str(folders[one.size]) for one in curve.sizes),
    )
    return figure, table


def _caption(curve: LearningCurve, length: str) -> str:
    said = as_options(answer(curve))
    text = f"{said[0].upper()}{said[1:]}. "
    text += f"Measured on {curve.split} ({curve.examples:,} examples), the same at every size. "
    if len(curve.seeds) > 1:
        text += "The spread is the sample standard deviation over the seeds. "
    text += "Each seed draws its own rows, and a smaller size is a part of a larger one. " + length
    if curve.sample:
        text += f" {SAMPLE_WARNING.format(task=curve.task)}."
    return text
