"""What a terminal shows of a probe's results."""

import statistics
from collections.abc import Iterator

from gptjax.data.tasks.metrics import LABELS
from gptjax.runs.probe_results import ProbeLayer, ProbeUnits
from gptjax.runs.results import ProbeResults

MOST_UNITS = 10  # in a line


def mean_of(layer: ProbeLayer) -> float:
    """The mean of the first metric over the folds."""
    return statistics.fmean(layer.by_fold)


def std_of(layer: ProbeLayer) -> float:
    """Its sample standard deviation."""
    return statistics.stdev(layer.by_fold)


def c_text(layer: ProbeLayer) -> str:
    """C, or where the folds have several the smallest and the largest."""
    low, high = min(layer.c), max(layer.c)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def nonzero_text(layer: ProbeLayer) -> str:
    """How many weights are not 0, of all."""
    low, high = min(layer.nonzero), max(layer.nonzero)
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{count} of {layer.weights:,}"


def mix_text(layer: ProbeLayer) -> str:
    """The weight of each depth in a mix."""
    return " ".join(f"{weight:.2f}" for weight in layer.mix)


def lines(found: ProbeResults, metric: str) -> Iterator[str]:
    """All of it but for the classes; ``metric`` is the task's first one, shown times 100."""
    yield from _layers(found, metric)
    if found.units is not None:
        yield from _units(found, found.units, metric)
    if found.sizes:
        which = "mix of all layers" if found.layers[0].mix else f"layer {found.layer}"
        yield f"{which} with fewer training rows; {LABELS[metric]}"
    for one in found.sizes:
        spread = "" if one.std is None else f" ± {100 * one.std:.2f}"
        yield f"  {one.size:9,}  {one.split:16} {100 * one.mean:6.2f}{spread}"


def _layers(found: ProbeResults, metric: str) -> Iterator[str]:
    ovr = ", one class against the rest" if found.one_vs_rest else ""
    yield (
        f"{found.run} ({found.checkpoint}): {found.penalty.upper()} probes of {found.task}{ovr}, "
        f"{found.features} features; {LABELS[metric]}"
    )
    names = [split.name for split in found.layers[0].splits]
    columns = [f"{found.folds} folds"] if found.folds else names
    heads = "  ".join(f"{name:>14}" for name in columns)
    yield f"  layer  {'C':>16}  {'weights not 0':>22}  {heads}"
    for one in found.layers:
        values = [f"{100 * split.metrics[metric]:.2f}" for split in one.splits]
        if one.by_fold:
            values = [f"{100 * mean_of(one):.2f} ± {100 * std_of(one):.2f}"]
        shown = "  ".join(f"{value:>14}" for value in values)
        name = "mix" if one.mix else str(one.layer)
        yield f"  {name:>5}  {c_text(one):>16}  {nonzero_text(one):>22}  {shown}"
        if one.mix:
            yield f"  weights of layers 0 to {one.layer}: {mix_text(one)}"


def _units(found: ProbeResults, units: ProbeUnits, metric: str) -> Iterator[str]:
    pairs = list(zip(units.strongest, units.weights, strict=True))[:MOST_UNITS]
    shown = ", ".join(f"{unit} ({weight:+.3f})" for unit, weight in pairs)
    yield f"strongest units of layer {found.layer}, with their weights: {shown}"
    for split in units.alone:
        value, count = 100 * split.metrics[metric], len(units.strongest)
        yield f"  {split.name:16} {value:6.2f}   (a probe of {count} of them alone)"
    yield f"unit {units.unit} alone, {rule(units)}; accuracy"
    yield f"  {'':16} {'':>6} {'':>10}   labels permuted {units.permutations} times"
    yield f"  {'split':16} {'unit':>6} {'untrained':>10}   {'mean':>6} {'95 %':>6} {'max':>6}"
    for one in units.splits:
        chance = (one.permuted_mean, one.permuted_95, one.permuted_max)
        numbers = " ".join(f"{100 * value:6.2f}" for value in chance)
        values = f"{100 * one.accuracy:6.2f} {100 * one.untrained:10.2f}"
        yield f"  {one.name:16} {values}   {numbers}"


def rule(units: ProbeUnits) -> str:
    """What the best unit answers when."""
    if units.threshold is None:
        return f"always {units.above}"
    return f"{units.below} up to {units.threshold:.4g} and {units.above} above"
