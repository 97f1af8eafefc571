"""What a probe measures of a model: every layer, folds, single units, and fewer training rows."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from gptjax.data.tasks.metrics import measure
from gptjax.data.tasks.splits import Split, draw_by_label
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.evaluation import units
from gptjax.evaluation.features import Features, Kind, features_of, in_words
from gptjax.evaluation.probe import Probe, ProbeSettings, X, Y, choose, cross_validate
from gptjax.evaluation.task_scores import SplitScores, score
from gptjax.models import backbone
from gptjax.runs.open import Run
from gptjax.runs.probe_results import ProbeLayer, ProbeSize, ProbeSplit, ProbeUnits, UnitSplit
from gptjax.runs.spelled import spelling_of
from gptjax.runs.sweep_results import SeedValue

ALL = "all"
"""All layers, or the size that is all training data."""
TRAIN, VALID = "train", "valid"


@dataclass(frozen=True)
class Rows:
    """The rows of a split, and what a model says of them."""

    split: Split
    features: Features

    @property
    def gold(self) -> Y:
        """The number of each row's class; of a split with labels."""
        return np.array([example.target for example in self.split.examples], np.int64)

    def of_layer(self, layer: int) -> tuple[X, Y]:
        """What a probe of this layer reads, and the labels."""
        return np.asarray(self.features.layers[layer], np.float64), self.gold


@dataclass(frozen=True)
class Measured:
    """The probe of one layer, and its answers to the splits.

    Attributes:
        result: what stands in the results.
        scores: of each split; of a cross-validation of train alone, each row by its own fold.
        probe: the one probe; None of a cross-validation.
        notices: what people should know.
    """

    result: ProbeLayer
    scores: Mapping[str, SplitScores]
    probe: Probe | None
    notices: tuple[str, ...]
    one_vs_rest: bool


@dataclass(frozen=True)
class Further:
    """What may be measured of the best layer besides."""

    units: ProbeUnits | None = None
    sizes: tuple[ProbeSize, ...] = ()
    notices: tuple[str, ...] = ()  # what people should know of these


def layer_numbers(words: Sequence[str], there: range) -> list[int]:
    """The layers that are asked, in order; without words the last one.

    ``there`` are those that can be (`gptjax.evaluation.features.layers_of`).
    """
    if not words:
        return [there[-1]]
    if ALL in words:
        return list(there)
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word) in there):
            raise UserError(f"`layer={word}`: {in_words(there)}, or the word {ALL}")
    return sorted(set(map(int, words)))


def read_rows(
    run: Run,
    splits: Mapping[str, Split],
    task: Task,
    *,
    layers: Sequence[int],
    how: Kind,
    batch_size: int,
) -> dict[str, Rows]:
    """Each split with its features; arguments and errors as of `features_of`."""
    return {
        name: Rows(
            split,
            features_of(run, split.examples, task, layers=layers, how=how, batch_size=batch_size),
        )
        for name, split in splits.items()
    }


def measure_layer(
    rows: Mapping[str, Rows], layer: int, task: Task, settings: ProbeSettings
) -> Measured:
    """The probe of a layer, fitted on train with the C of valid; its answers to all other splits.

    Raises:
        UserError: all training rows have the same label, or a grid that cannot be tried.
    """
    probe = choose(rows[TRAIN].of_layer(layer), rows[VALID].of_layer(layer), task, settings)
    scores = {name: _answers(probe, one, layer, task) for name, one in rows.items()}
    result = ProbeLayer(
        layer=layer,
        c=(probe.c,),
        nonzero=(probe.nonzero,),
        weights=probe.weights.size,
        splits=_as_splits(scores),
        mix=probe.mix,
    )
    del scores[TRAIN]
    return Measured(result, scores, probe, probe.notices, probe.one_vs_rest)


def measure_folds(
    rows: Rows, layer: int, task: Task, settings: ProbeSettings, folds: int
) -> Measured:
    """The cross-validation of a layer's probe over these rows; metrics are means over the folds.

    Raises:
        UserError: too many folds or one, or a fold whose training rows have one label.
    """
    features, gold = rows.of_layer(layer)
    found = cross_validate(features, gold, folds, task, settings)
    scores = score(found.log_probabilities, rows.split.examples, task)
    scores = replace(scores, tokens=rows.features.tokens, truncated=rows.features.cut)
    each = [measure(task.metrics, gold[own], scores.predicted[own]) for own in found.rows]
    means = {str(name): statistics.fmean(one[name] for one in each) for name in task.metrics}
    result = ProbeLayer(
        layer=layer,
        c=tuple(probe.c for probe in found.probes),
        nonzero=tuple(probe.nonzero for probe in found.probes),
        weights=found.probes[0].weights.size,
        splits=(ProbeSplit(TRAIN, len(gold), means),),
        by_fold=tuple(one[task.metrics[0]] for one in each),
        mix=tuple(np.mean([probe.mix for probe in found.probes], axis=0).tolist()),
    )
    one_vs_rest = any(probe.one_vs_rest for probe in found.probes)
    return Measured(result, {TRAIN: scores}, None, found.notices, one_vs_rest)


def _answers(probe: Probe, rows: Rows, layer: int, task: Task) -> SplitScores:
    features = np.asarray(rows.features.layers[layer], np.float64)
    scores = score(probe.log_probabilities(features), rows.split.examples, task)
    return replace(scores, tokens=rows.features.tokens, truncated=rows.features.cut)


def _as_splits(scores: Mapping[str, SplitScores]) -> tuple[ProbeSplit, ...]:
    """The metrics of the splits that have labels."""
    return tuple(
        ProbeSplit(name, one.num_examples, dict(one.metrics))
        for name, one in scores.items()
        if one.metrics
    )


def best_of(found: Sequence[Measured], task: Task) -> Measured:
    """The layer with the best first metric on valid, or over the folds; of equals the lowest."""

    def value(one: Measured) -> float:
        splits = {split.name: split.metrics for split in one.result.splits}
        return splits.get(VALID, splits[TRAIN])[task.metrics[0]]

    return max(found, key=value)


def notices(rows: Mapping[str, Rows], found: Sequence[Measured], further: Further) -> list[str]:
    """What people should know, each with its layer if there are several."""
    said = [
        f"{one.features.cut:,} of {len(one.features.lengths):,} texts of {name} are longer than "
        f"the context of {one.features.context:,} tokens, and were cut at their end"
        for name, one in rows.items()
        if one.features.cut
    ]
    for one in found:
        where = f"layer {one.result.layer}: " if len(found) > 1 else ""
        said += [where + notice for notice in one.notices]
    return [*said, *further.notices]


def measure_units(
    rows: Mapping[str, Rows],
    untrained: Mapping[str, Rows],
    measured: Measured,
    task: Task,
    settings: ProbeSettings,
    count: int,
) -> Further:
    """The strongest units of a layer's probe, and the best classifier that reads one unit.

    Args:
        rows: the splits, with train and valid.
        untrained: the same of a model of the same shape that was never trained.
        measured: the probe of the layer.
        task: of the rows.
        settings: how these units alone are probed again; its seed is that of the permutations.
        count: how many units; all, if there are fewer.
    """
    assert measured.probe is not None
    layer, labels = measured.result.layer, task.labels
    order, weights = units.strongest(measured.probe, count)
    labelled = {name: one for name, one in rows.items() if one.split.labelled}
    few = {name: (one.of_layer(layer)[0][:, order], one.gold) for name, one in labelled.items()}
    alone = choose(few[TRAIN], few[VALID], task, settings)
    splits = []
    for name, (features, gold) in few.items():
        answers = alone.log_probabilities(features).argmax(1)
        splits.append(ProbeSplit(name, len(gold), measure(task.metrics, gold, answers)))
    features, gold = rows[TRAIN].features.layers[layer], rows[TRAIN].gold
    search = units.Search(features)
    best, other = search.best(gold), units.Search(untrained[TRAIN].features.layers[layer])
    plain = other.best(gold)
    histograms = [
        units.histogram(unit, features[:, unit], gold, labels)
        for unit in dict.fromkeys((order[0], best.unit))
    ]
    result = ProbeUnits(
        strongest=tuple(order),
        weights=tuple(weights),
        alone_c=alone.c,
        alone=tuple(splits),
        unit=best.unit,
        threshold=best.threshold if np.isfinite(best.threshold) else None,
        below=labels[best.below],
        above=labels[best.above],
        untrained_unit=plain.unit,
        permutations=units.PERMUTATIONS,
        splits=_beside_chance(labelled, untrained, layer, (best, plain), search, settings.seed),
        histograms=tuple(histograms),
    )
    said = tuple(f"the {len(order)} strongest units alone: {one}" for one in alone.notices)
    return Further(units=result, notices=said)


def _beside_chance(
    rows: Mapping[str, Rows],
    untrained: Mapping[str, Rows],
    layer: int,
    found: tuple[units.Threshold, units.Threshold],
    search: units.Search,
    seed: int,
) -> tuple[UnitSplit, ...]:
    """The accuracy of one unit on every split, beside an untrained model's and permutations'.

    Permuted labels are those of train: its accuracy with them is that of the search, and the
    accuracy on another split is of its own labels.
    """
    best, plain = found
    chance: dict[str, list[float]] = {name: [] for name in rows}
    for one, labels in units.permuted(search, rows[TRAIN].gold, seed):
        for name, own in rows.items():
            gold = labels if name == TRAIN else own.gold
            chance[name].append(one.accuracy(own.features.layers[layer], gold))
    return tuple(
        UnitSplit(
            name=name,
            accuracy=best.accuracy(own.features.layers[layer], own.gold),
            untrained=plain.accuracy(untrained[name].features.layers[layer], own.gold),
            permuted_mean=float(np.mean(chance[name])),
            permuted_95=float(np.quantile(chance[name], 0.95)),
            permuted_max=max(chance[name]),
        )
        for name, own in rows.items()
    )


def untrained_like(run: Run, seed: int) -> Run:
    """A model of the same shape that was never trained, with the same tokenizer."""
    params = backbone.init_backbone(run.model, jax.random.key(seed))
    params = backbone.with_spelling(run.model, params, spelling_of(run.model, run.tokenizer))
    return replace(run, params=jax.device_get(params), task=None)


def size_numbers(words: Sequence[str], total: int) -> list[int]:
    """The numbers of training rows that are asked, the smallest first."""
    for word in words:
        number = word.isascii() and word.isdigit() and 1 < int(word) <= total
        if word != ALL and not number:
            raise UserError(
                f"`train_sizes={word}`: there are {total:,} rows to train on; give numbers from 2 "
                f"to {total:,}, and the word {ALL}"
            )
    return sorted({total if word == ALL else int(word) for word in words})


def measure_sizes(
    rows: Mapping[str, Rows],
    layer: int,
    task: Task,
    settings: ProbeSettings,
    sizes: Sequence[int],
    seeds: Sequence[int],
) -> Further:
    """The first metric of probes of fewer training rows, on every other split with labels.

    The rows are those that fine-tuning with these sizes and seeds draws. Of all rows nothing is
    drawn, and one fit is that of every seed.
    """
    metric, train = task.metrics[0], rows[TRAIN].split
    said, fits, results = Counter[str](), 0, []
    x, gold = rows[TRAIN].of_layer(layer)
    place = {example.row: number for number, example in enumerate(train.examples)}
    others = {name: one for name, one in rows.items() if name != TRAIN and one.split.labelled}
    for size in sizes:
        values: dict[str, dict[int, float]] = {name: {} for name in others}
        for seed in seeds:
            if size == len(gold) and seed != seeds[0]:
                for of_seeds in values.values():
                    of_seeds[seed] = of_seeds[seeds[0]]
                continue
            drawn = draw_by_label(train, size, task, seed).examples
            own = np.array([place[example.row] for example in drawn])
            fitted = choose((x[own], gold[own]), rows[VALID].of_layer(layer), task, settings)
            said.update({*fitted.notices})
            fits += 1
            for name, one in others.items():
                answers = fitted.log_probabilities(one.of_layer(layer)[0]).argmax(1)
                values[name][seed] = measure([metric], one.gold, answers)[metric]
        for name, by_seed in values.items():
            found = list(by_seed.values())
            std = statistics.stdev(found) if len(found) > 1 else None
            each = tuple(SeedValue(*pair) for pair in by_seed.items())
            results.append(ProbeSize(size, name, statistics.fmean(found), std, each))
    texts = tuple(f"in {count} of {fits} fits of fewer rows: {one}" for one, count in said.items())
    return Further(sizes=tuple(results), notices=texts)
