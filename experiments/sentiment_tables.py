"""The tables and figures of `sentiment_unit.py`: ours beside the published ones, and controls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gptjax.errors import one_line
from gptjax.evaluation.probe_report import c_text, mean_of, nonzero_text, std_of
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.probe import SIZES, drawn
from gptjax.runs.results import ProbeResults

SST, IMDB = "sst2_raw", "imdb"
FOLDS = 10
FREE = "as it is"


class Place(NamedTuple):
    """Of which run all is, and where the folders of its probes lie."""

    run: str
    folder: Path


class Published(NamedTuple):
    """An accuracy in per cent, and whether it was looked up; otherwise it is from memory."""

    value: float
    looked_up: bool

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if self.looked_up else " *")


# Of 4,096 cells, trained on 82 million reviews.
PUBLISHED = {
    SST: Published(91.8, True),
    "mr": Published(86.9, False),
    "cr": Published(91.4, True),
    "subj": Published(94.6, True),
    "mpqa": Published(88.5, False),
    IMDB: Published(92.88, False),
}
UNIT_ALONE = Published(92.30, False)  # unit 2388, on IMDb's test set
FROM_MEMORY = "Published figures with a * are from memory, and not looked up."
FEW_LABELS = (
    "Published, from memory and not looked up: 11 labels do as well as NB-SVM with all of them "
    "(81.8), and 232 as well as the best result before."
)


def score_of(found: ProbeResults) -> tuple[str, float, str]:
    """On what a probe is measured, its accuracy in per cent, and the same for people."""
    (layer,) = found.layers
    if found.folds is not None:
        mean, std = 100 * mean_of(layer), 100 * std_of(layer)
        return f"{found.folds} folds", mean, f"{mean:.2f} ± {std:.2f}"
    metrics = {one.name: one.metrics for one in layer.splits}
    name = "test" if "test" in metrics else "valid"
    accuracy = 100 * metrics[name]["accuracy"]
    return name, accuracy, f"{accuracy:.2f}"


def accuracy_table(where: Place, found: Mapping[str, ProbeResults]) -> Table:
    """Every task beside the published figure."""
    rows = []
    for task, results in found.items():
        (layer,) = results.layers
        split, _, text = score_of(results)
        counts = " / ".join(f"{one.examples:,}" for one in layer.splits)
        ours = (text, c_text(layer), nonzero_text(layer))
        rows.append((task, counts, split, *ours, str(PUBLISHED[task])))
    return Table(
        name="sentiment-unit-table",
        title="Probes of memory cells",
        caption=f"{where.run}. {how()} {FROM_MEMORY}",
        columns=(
            *("task", "rows", "measured on", "accuracy, %", "C", "weights that are not 0"),
            "published, %",
        ),
        rows=tuple(rows),
        sources=tuple(str(where.folder / task) for task in found),
    )


def how() -> str:
    """How all of it was fitted, for captions."""
    return (
        "Logistic regression (L1) on the memory cells after each text. C was chosen on valid, and "
        f"in {FOLDS} folds inside of each; their spread is the sample standard deviation. Rows: "
        "train / valid / test, or all. Published: Radford et al. (2017), 4,096 cells."
    )


def accuracy_figure(where: Place, found: Mapping[str, ProbeResults]) -> Figure:
    """The same as bars."""
    tasks, spread = tuple(found), []
    for results in found.values():
        (layer,) = results.layers
        spread.append(100 * std_of(layer) if results.folds is not None else 0.0)
    ours = [score_of(results)[1] for results in found.values()]
    ends = [(y - d, y + d) for y, d in zip(ours, spread, strict=True)]
    low, high = zip(*ends, strict=True)
    published = tuple(PUBLISHED[task].value for task in tasks)
    return Figure(
        name="sentiment-unit",
        title="Probes of memory cells",
        caption=f"{where.run}. {how()} Of {', '.join(from_memory(tasks)) or 'none'} the "
        "published figure is from memory, and not looked up.",
        x_label="task",
        y_label="accuracy, %",
        series=(
            Series("ours", tasks, tuple(ours), low, high, str(where.folder)),
            Series("published", tasks, published, source="Radford et al. (2017)"),
        ),
        kind="bars",
    )


def from_memory(tasks: Sequence[str]) -> list[str]:
    """Those of which the published figure was not looked up."""
    return [task for task in tasks if not PUBLISHED[task].looked_up]


def unit_figures(where: Place, sst: ProbeResults) -> list[Figure]:
    """The few-label curve of SST-2, and its strongest unit by class."""
    assert sst.units is not None
    figures, _ = drawn(sst, "accuracy", str(where.folder / SST))
    by_name = {figure.name: figure for figure in figures}
    histogram = by_name[f"unit-{sst.units.strongest[0]}"]
    made = [replace(histogram, name="sentiment-unit-by-class")]
    if SIZES in by_name:
        curve = by_name[SIZES]
        levels = (("published, all labels", PUBLISHED[SST].value), ("NB-SVM, all labels *", 81.8))
        made.append(
            replace(
                curve,
                name="sentiment-unit-few-labels",
                caption=f"{curve.caption} {FEW_LABELS}",
                levels=levels,
            )
        )
    return made


def unit_table(
    where: Place, found: Mapping[str, ProbeResults], alone: Mapping[str, Mapping[str, float]]
) -> Table:
    """What one unit tells alone, and what it has to be above.

    Args:
        where: for the caption.
        found: the probes, that of SST-2 with units.
        alone: by task, with units too, the accuracy of SST-2's strongest unit on every split.
    """
    units = found[SST].units
    assert units is not None
    strongest, weight = units.strongest[0], units.weights[0]
    names = list(dict.fromkeys(name for own in alone.values() for name in own))
    rows, sources = [], []
    for task, own in alone.items():
        lines = {f"unit {strongest}, the strongest on {SST}": own, **controls(found[task])}
        for what, values in lines.items():
            shown = [f"{100 * values[name]:.2f}" if name in values else "" for name in names]
            published = task == IMDB and values is own
            rows.append((task, what, *shown, str(UNIT_ALONE) if published else ""))
            sources.append(str(where.folder / task))
    return Table(
        name="unit-alone-table",
        title="One unit alone, beside its controls",
        caption=f"{where.run}. A threshold on one memory cell, chosen on train; accuracy, %. The "
        f"strongest unit has the largest weight in the probe of {SST} ({weight:+.4f}). The "
        "controls are the best unit of all on train: of this model, of an untrained one of the "
        f"same shape, and for permuted training labels. {FROM_MEMORY}",
        columns=("task", "unit", *names, "published, test"),
        rows=tuple(rows),
        sources=tuple(sources),
    )


def controls(found: ProbeResults) -> dict[str, dict[str, float]]:
    """By what a unit is, its accuracy on every split."""
    units = found.units
    assert units is not None
    permuted = f"the best for permuted labels, {units.permutations} times"
    return {
        f"unit {units.unit}, the best on train": {x.name: x.accuracy for x in units.splits},
        f"unit {units.untrained_unit} of an untrained model": {
            x.name: x.untrained for x in units.splits
        },
        f"{permuted}: mean": {x.name: x.permuted_mean for x in units.splits},
        f"{permuted}: 95 % quantile": {x.name: x.permuted_95 for x in units.splits},
        f"{permuted}: maximum": {x.name: x.permuted_max for x in units.splits},
    }


def sample_table(
    where: Place,
    unit: int,
    written: Mapping[str, Sequence[str]],
    means: Mapping[str, float],
) -> Table:
    """What the model writes with the unit at each mean, and as it is."""
    rows = []
    for name, texts in written.items():
        held = f"{means[name]:+.3f} (mean of {name})" if name in means else name
        rows += [(held, one_line(text)) for text in texts]
    return Table(
        name="unit-samples-table",
        title=f"Samples with unit {unit} held",
        caption=f"{where.run}. The cell is overwritten after the prompt and after each token, "
        f"with its mean over the training rows of a class of {SST}. The draws are the same for "
        "each value, and these are the first samples.",
        columns=("value", "sample"),
        rows=tuple(rows),
        sources=(where.run,) * len(rows),
    )
