"""`gptjax probe`: what the features of a model say of a task, without training the model."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gptjax.commands.advice import OPENING, ROWS, again, suggest
from gptjax.commands.probe_config import ProbeConfig
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData, for_training, load_task_data
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, with_columns
from gptjax.errors import UserError
from gptjax.evaluation import probing, task_scores
from gptjax.evaluation.features import MIX, check_task, layers_of
from gptjax.evaluation.probe import ProbeSettings
from gptjax.evaluation.probe_report import lines
from gptjax.evaluation.probing import TRAIN, VALID, Further, Measured, Rows
from gptjax.evaluation.unit_values import unit_to_show, unit_values
from gptjax.report import unit_text
from gptjax.report.probe import drawn
from gptjax.runs.folder import Provenance, RunFolder
from gptjax.runs.open import Run, sample_notice
from gptjax.runs.predictions import write_predictions
from gptjax.runs.published import short_name
from gptjax.runs.results import (
    Data,
    ProbeResults,
    data_files,
    dropped,
    folder_for_measurement,
    read_as,
    write_results,
)
from gptjax.runs.train import say
from gptjax.training import parallel

OLD = ("predictions*.tsv", "layers.*", "sizes.*", "unit-*.*", "*-table.md")
"""What a probe writes besides its results; all of it is written anew."""


def run(config: ProbeConfig) -> ProbeResults | None:
    """Fit, measure, print and write; with ``show`` colour a text instead."""
    if config.show is not None:
        _show(config, config.show)
        return None
    task, out = _task(config), _out(config)
    folder_for_measurement(str(out))
    loaded = config.open()
    layers = probing.layer_numbers(config.layer, layers_of(loaded.model, config.how))
    data = _data(config, task)
    if data.sample:
        print(SAMPLE_WARNING.format(task=task.name))
    if (notice := sample_notice(loaded)) is not None:
        print(notice)
    for split in data.splits.values():
        print("\n".join(split.report()))
    sizes = probing.size_numbers(config.train_sizes, len(data.splits[TRAIN].examples))
    rows = _rows(config, loaded, data, task, layers)
    settings = config.settings(loaded.model)
    found = [_measure(config, rows, layer, task, settings) for layer in layers]
    best = probing.best_of(found, task)
    further = _further(config, loaded, data, rows, best, task, sizes)
    results = _results(config, loaded, data, task, rows, found, best, further)
    print("\n".join(lines(results, task.metrics[0])))
    _show_best(config, task, best, data.sample)
    for line in results.notices:
        say(f"notice: {line}")
    _write(out, task, best, results)
    if data.sample:
        print(SAMPLE_WARNING.format(task=task.name))
    _advise(config, out, results)
    return results


def _show_best(config: ProbeConfig, task: Task, best: Measured, sample: bool) -> None:
    """The metrics and classes of the best layer."""
    scores = dict(best.scores)
    if config.folds is not None:
        scores = {f"{config.folds} folds": scores[TRAIN]}
    # Published figures are of other ways to a task, but for those of cross-validations.
    published = config.folds is not None and "cross-validation" in task.paper_split
    print(f"{_named(config, best.result.layer)}:")
    print("\n".join(task_scores.report(task, scores, published and not sample)))


def _task(config: ProbeConfig) -> Task:
    """The task, which has classes and training rows."""
    if not config.task:
        raise UserError("--task is missing: name a task (such as sst2) or a TOML file")
    task = find_task(config.task)
    if task.trained_as is not None:
        raise UserError(
            f"--task {task.name}: a test set without training data; probe {task.trained_as}"
        )
    check_task(task)
    return with_columns(task, config.columns, config.unlabelled)


def _out(config: ProbeConfig) -> Path:
    """Where the results lie."""
    if config.out is not None:
        return Path(config.out)
    return Path("runs/probe") / Path(config.task).stem / short_name(config.run)


def _data(config: ProbeConfig, task: Task) -> TaskData:
    """The splits to probe; of a cross-validation the training rows alone."""
    folder = Path(config.task).parent if config.task.endswith(".toml") else None
    reading = config.reading(task.reading)
    data = load_task_data(config.data, task, strict=config.strict, reading=reading, folder=folder)
    for notice in data.notices:
        say(notice)
    ready = for_training(data, task)  # it refuses what has no labels
    if config.folds is None:
        return ready
    if TRAIN not in data.splits:
        raise UserError(f"--folds: no training rows here, only {', '.join(data.splits)}")
    if others := [name for name in data.splits if name != TRAIN]:
        say(f"notice: `folds` are of train alone; {' and '.join(others)} are not read")
    return replace(data, splits={TRAIN: data.splits[TRAIN]})


def _rows(
    config: ProbeConfig, loaded: Run, data: TaskData, task: Task, layers: Sequence[int]
) -> dict[str, Rows]:
    """Every split with its features."""
    return probing.read_rows(
        loaded,
        data.splits,
        task,
        layers=layers,
        how=config.how,
        batch_size=config.batch_size,
    )


def _measure(
    config: ProbeConfig, rows: dict[str, Rows], layer: int, task: Task, settings: ProbeSettings
) -> Measured:
    each = f" in each of {config.folds} folds" if config.folds else ""
    say(f"{_named(config, layer)}: {len(config.grid)} fits{each}")
    if config.folds is None:
        return probing.measure_layer(rows, layer, task, settings)
    return probing.measure_folds(rows[TRAIN], layer, task, settings, config.folds)


def _named(config: ProbeConfig, layer: int) -> str:
    return "mix of all layers" if config.how == MIX else f"layer {layer}"


def _further(
    config: ProbeConfig,
    loaded: Run,
    data: TaskData,
    rows: dict[str, Rows],
    best: Measured,
    task: Task,
    sizes: Sequence[int],
) -> Further:
    """The units of the best layer, and its probe with fewer rows, where they are asked."""
    found, layer, settings = Further(), best.result.layer, config.settings(loaded.model)
    if config.units is not None:
        say(f"layer {layer}: single units, beside those of an untrained model")
        plain = probing.untrained_like(loaded, config.seed)
        labelled = {name: split for name, split in data.splits.items() if split.labelled}
        other = _rows(config, plain, replace(data, splits=labelled), task, [layer])
        found = probing.measure_units(rows, other, best, task, settings, config.units)
    if sizes:
        say(f"{_named(config, layer)}: {len(sizes)} numbers of training rows")
        fewer = probing.measure_sizes(rows, layer, task, settings, sizes, config.seeds)
        found = replace(fewer, units=found.units, notices=found.notices + fewer.notices)
    return found


def _results(
    config: ProbeConfig,
    loaded: Run,
    data: TaskData,
    task: Task,
    rows: dict[str, Rows],
    found: Sequence[Measured],
    best: Measured,
    further: Further,
) -> ProbeResults:
    name = TRAIN if config.folds else VALID
    (main,) = (split for split in best.result.splits if split.name == name)
    split = data.splits[name]
    return ProbeResults(
        task=task.name,
        split=name,
        examples=main.examples,
        metrics=main.metrics,
        data=_facts(split, data.sample, loaded),
        checkpoint=loaded.checkpoint,
        run=config.run,
        made=Provenance.now(parallel.describe_devices()),
        features=config.how,
        penalty=config.penalty,
        standardised=config.standardise,
        one_vs_rest=any(one.one_vs_rest for one in found),
        seed=config.seed,
        cut=sum(one.features.cut for one in rows.values()),
        layer=best.result.layer,
        layers=tuple(one.result for one in found),
        folds=config.folds,
        units=further.units,
        sizes=further.sizes,
        notices=tuple(probing.notices(rows, found, further)),
    )


def _facts(split: Split, sample: bool, loaded: Run) -> Data:
    return Data(
        source=split.source,
        fingerprint=split.fingerprint,
        dropped=dropped(split.dropped),
        rows=split.rows,
        files=data_files(split.files),
        sample=sample,
        trained_on_sample=sample_notice(loaded) is not None,
    )


def _write(out: Path, task: Task, best: Measured, results: ProbeResults) -> None:
    """Results, predictions and pictures; of an earlier probe there nothing stays."""
    from gptjax.report import drawing  # matplotlib takes a second to import.

    folder = RunFolder(out)
    old = [path for kind in OLD for path in out.glob(kind)]
    for path in (*old, folder.task_file):
        path.unlink(missing_ok=True)
    for name, scores in best.scores.items():
        suffix = "" if name == results.split else f"-{name}"
        write_predictions(out / f"predictions{suffix}.tsv", scores.predictions(task))
    if task.file_text:  # for those who read the predictions
        folder.task_file.write_text(task.file_text, encoding="utf-8")
    drawing.save(out, *drawn(results, task.metrics[0], str(out)))
    write_results(folder.results, results)
    say(f"results: {folder.results}, {out / 'predictions.tsv'}")


def _advise(config: ProbeConfig, out: Path, results: ProbeResults) -> None:
    words = ["--run", config.run, *again(config, OPENING)]
    if results.units is not None:
        suggest("a unit", "probe", *words, "--out", out, "--show", "A text to look at.")
    elif config.folds is None and config.how != MIX:
        read = again(config, f"data features layer penalty {ROWS}")
        suggest("its units", "probe", *words, "--task", config.task, *read, "--units", 10)
    suggest("a page", "report", "--runs", out, "--out", "report.html")


def _show(config: ProbeConfig, text: str) -> None:
    """Colour a text, in the terminal and as a page beside the results."""
    out = _out(config) if config.out is not None or config.task else None
    known = None
    if out is not None and RunFolder(out).results.exists():
        known = read_as(ProbeResults, RunFolder(out).results)
    loaded = config.open()
    unit = unit_to_show(loaded.model, known, config.features, config.layer, config.unit)
    if out is not None:
        folder_for_measurement(str(out))
    found = unit_values(loaded, text, unit)
    if found.cut:
        room = loaded.model.context_length - 1
        say(f"notice: only the first {room:,} tokens are read, the model's context")
    if sys.stdout.isatty():
        print(unit_text.coloured(found.pieces, found.values))
    else:
        print("\n".join(unit_text.plain(found.pieces, found.values)))
    if out is not None:
        path = out / f"unit-{unit.number}.html"
        unit_text.write(path, f"{unit}, {short_name(config.run)}", found.pieces, found.values)
        say(f"page: {path}")
