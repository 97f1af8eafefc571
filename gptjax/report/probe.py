"""A probe as figures and tables, for pictures in its folder and for the page of a report."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.data.tasks.metrics import LABELS
from gptjax.evaluation.probe_report import c_text, mean_of, mix_text, nonzero_text, rule, std_of
from gptjax.report.figures import Figure, Series, Table, over_seeds
from gptjax.report.fine_tuning import unit as axis
from gptjax.runs.probe_results import ProbeLayer, ProbeUnits, UnitHistogram
from gptjax.runs.results import ProbeResults

LAYERS, UNITS, STRONGEST, SIZES = "layers", "units", "strongest", "sizes"


def drawn(found: ProbeResults, metric: str, source: str) -> tuple[list[Figure], list[Table]]:
    """Everything of a probe.

    Args:
        found: its results.
        metric: the task's first one.
        source: the folder of the results.
    """
    caption = _caption(found)
    figures, tables = [], [_layer_table(found, metric, caption, source)]
    if len(found.layers) > 1:
        figures.append(_by_layer(found, metric, caption, source))
    if found.sizes:
        figures.append(_by_size(found, metric, caption, source))
    if found.units is not None:
        tables += _unit_tables(found, found.units, source)
        figures += [_histogram(found, one, source) for one in found.units.histograms]
    return figures, tables


def _caption(found: ProbeResults) -> str:
    """What was fitted, and on how much."""
    how = {
        "last": "the last token's state of each text",
        "mean": "the mean of each text",
        "max": "the maximum of each text",
        "cell": "the memory cells after each text",
        "mix": "a mix of the means of all layers",
    }
    text = f"Logistic regression ({found.penalty.upper()}) on {how[found.features]}"
    text += ", one class against the rest. " if found.one_vs_rest else ". "
    if found.folds is not None:
        text += f"Cross-validation with {found.folds} folds over {found.examples:,} rows. "
    else:
        counts = [f"{one.name} {one.examples:,}" for one in found.layers[0].splits]
        text += f"Rows: {', '.join(counts)}. C was chosen on valid. "
    for one in found.layers:
        if one.mix:
            text += f"Weights of layers 0 to {one.layer}: {mix_text(one)}. "
    if found.data.sample:
        text += f"{SAMPLE_WARNING.format(task=found.task)}. "
    return text


def _by_layer(found: ProbeResults, metric: str, caption: str, source: str) -> Figure:
    layers, series = tuple(one.layer for one in found.layers), []
    for split in found.layers[0].splits:
        if split.name == "train" and found.folds is None:
            continue
        y = tuple(100 * _of(one, split.name, metric) for one in found.layers)
        low, high = _spread(found.layers) if found.folds else (None, None)
        label = f"{found.folds} folds" if found.folds else split.name
        series.append(Series(label, layers, y, low, high, source))
    if found.folds is not None:
        caption += "The spread is the sample standard deviation over the folds. "
    return Figure(
        name=LAYERS,
        title=f"{found.task}: {LABELS[metric]} of a probe by layer",
        caption=caption + ("Layer 0 is the embeddings." if 0 in layers else ""),
        x_label="layer",
        y_label=axis(metric),
        series=tuple(series),
    )


def _of(layer: ProbeLayer, split: str, metric: str) -> float:
    return next(one.metrics[metric] for one in layer.splits if one.name == split)


def _spread(layers: Sequence[ProbeLayer]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ends of mean ± standard deviation over the folds, in per cent."""
    means, stds = [mean_of(one) for one in layers], [std_of(one) for one in layers]
    ends = list(zip(means, stds, strict=True))
    low, high = (tuple(100 * (mean + sign * std) for mean, std in ends) for sign in (-1, 1))
    return low, high


def _layer_table(found: ProbeResults, metric: str, caption: str, source: str) -> Table:
    names = [one.name for one in found.layers[0].splits]
    titles = [f"{name}, %" if metric == "accuracy" else name for name in names]
    rows = []
    for one in found.layers:
        values = [f"{100 * _of(one, name, metric):.2f}" for name in names]
        if one.by_fold:
            values = [f"{100 * mean_of(one):.2f} ± {100 * std_of(one):.2f}"]
        rows.append((str(one.layer), *values, c_text(one), nonzero_text(one)))
    return Table(
        name=f"{LAYERS}-table",
        title=f"{found.task}: {LABELS[metric]} of a probe",
        caption=caption,
        columns=("layer", *titles, "C", "weights that are not 0"),
        rows=tuple(rows),
        sources=(source,) * len(rows),
    )


def _by_size(found: ProbeResults, metric: str, caption: str, source: str) -> Figure:
    series = []
    for split in dict.fromkeys(one.split for one in found.sizes):
        own = [one for one in found.sizes if one.split == split]
        values = {one.size: [100 * v.value for v in one.values_by_seed] for one in own}
        series.append(over_seeds(split, values, source))
    seeds = len(found.sizes[0].values_by_seed)
    spread = f"Mean and sample standard deviation over {seeds} seeds, each with rows of its own. "
    return Figure(
        name=SIZES,
        title=f"{found.task}: {LABELS[metric]} of a probe by training rows",
        caption=caption + (spread if seeds > 1 else "") + f"Layer {found.layer}.",
        x_label="training rows",
        y_label=axis(metric),
        series=tuple(series),
        log_x=True,
    )


def _unit_tables(found: ProbeResults, units: ProbeUnits, source: str) -> Iterator[Table]:
    how = f"Unit {units.unit} of layer {found.layer} answers {rule(units)}"
    yield Table(
        name=f"{UNITS}-table",
        title=f"{found.task}: accuracy of one unit, beside chance",
        caption=f"{how}; unit and threshold were chosen on train. The best of many units is high "
        "by chance, too: beside it stand the best unit of a model of the same shape that was never "
        f"trained (unit {units.untrained_unit}), and the best unit for {units.permutations} random "
        "orders of the training labels.",
        columns=("split", "unit, %", "untrained, %", "permuted, mean", "permuted, 95 %", "max"),
        rows=tuple(
            (
                one.name,
                *(
                    f"{100 * value:.2f}"
                    for value in (
                        *(one.accuracy, one.untrained),
                        *(one.permuted_mean, one.permuted_95, one.permuted_max),
                    )
                ),
            )
            for one in units.splits
        ),
        sources=(source,) * len(units.splits),
    )
    metrics = [f"{one.name} {100 * next(iter(one.metrics.values())):.2f}" for one in units.alone]
    yield Table(
        name=f"{STRONGEST}-table",
        title=f"{found.task}: the {len(units.strongest)} strongest units",
        caption=f"By their weights in the probe of layer {found.layer}. A probe of these units "
        f"alone has (× 100): {', '.join(metrics)} (C {units.alone_c:g}).",
        columns=("unit", "weight"),
        rows=tuple(
            (str(unit), f"{weight:.4f}")
            for unit, weight in zip(units.strongest, units.weights, strict=True)
        ),
        sources=(source,) * len(units.strongest),
    )


def _histogram(found: ProbeResults, one: UnitHistogram, source: str) -> Figure:
    middles = tuple((low + high) / 2 for low, high in pairwise(one.edges))
    series = tuple(
        Series(own.name or "(no name)", middles, own.counts, source=source) for own in one.classes
    )
    return Figure(
        name=f"unit-{one.unit}",
        title=f"{found.task}: unit {one.unit} of layer {found.layer} by class",
        caption="How many training rows have which value.",
        x_label="value of the unit",
        y_label="training rows",
        series=series,
    )
