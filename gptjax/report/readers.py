"""One folder of a report, read: a run, several seeds of one, a measurement, or drawn figures.

Whatever a page is to show of it comes without absolute paths.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Task
from gptjax.data.tasks.task_file import read_task_file
from gptjax.errors import UserError
from gptjax.evaluation.perplexity import Reconstruction
from gptjax.files import parse_json, read_text
from gptjax.report import entries, figures
from gptjax.report.entries import EXPERIMENT, Made, Origin, Sources
from gptjax.runs import results as kinds
from gptjax.runs import sweep_results as sweeps
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import check_results, notices
from gptjax.runs.most_wrong import MostWrong, read_most_wrong
from gptjax.runs.own_config import load_config, load_task, read_table
from gptjax.runs.predictions import Predictions, read_predictions
from gptjax.runs.train import say

LARGEST = 1e300  # a number that can be drawn and converted
ABSOLUTE = re.compile(r"(?<![\w.…~])/(?:[^\s/'\"]+/)*(?=[^\s/'\"])")


def without_absolute(text: str) -> str:
    """The text with absolute paths cut down to their last part."""
    return ABSOLUTE.sub("…/", text)


def incomplete(folder: Path) -> str | None:
    """Why a run cannot be reported yet, or None."""
    run = RunFolder(folder)
    if not run.meta.exists():
        return "has no meta.json, so that the run never began"
    meta = run.read_meta()
    if (status := meta["status"]) != "finished":
        return f"is not finished ({status})"
    if "imported" not in meta and not run.results.exists():
        return "has no results.json"
    return None


def _made(folder: Path, shown: str) -> Made:
    run = RunFolder(folder)
    meta = run.read_meta()
    check_results(run)
    for notice in notices(run):
        say(f"notice: {notice}")
    commits = [once["commit"] for once in (meta, *meta.get("resumed", []))]
    made = Made(
        shown,
        started=meta["started"],
        commit=", ".join(dict.fromkeys(filter(None, commits))),
        command=without_absolute(meta["command"]),
    )
    if "imported" in meta:
        return made
    found = kinds.read_results(run.results)
    if not isinstance(found, kinds.LanguageModelling | kinds.TaskRun):
        raise UserError(f"{run.results}: is not of a run that was trained")
    hardware, seed = meta["devices"], str(found.seed)
    return replace(made, seed=seed, hardware=hardware, checkpoint=found.checkpoint)


def read_drawn(folder: Path, shown: str) -> entries.Drawn:
    """Figures and tables, and how the runs were made that they name."""
    drawn, tables = figures.load(folder)
    named = [series.source for figure in drawn for series in figure.series]
    named += [source for table in tables for source in table.sources]
    paths = list(dict.fromkeys(path for source in named for path in source.split(", ") if path))
    made = tuple(one for path in paths for one in _made_of(Path(path)))
    names = tuple(map(without_absolute, paths))
    kind = EXPERIMENT
    if (probe := _probe(folder)) is not None:
        kind = f"{without_absolute(probe.run)} probed on {probe.task}"
        made = (replace(_measured(probe, shown), seed=str(probe.seed)),)
    origin = Origin(shown, kind, made or (Made(shown),), names)
    clean_figures = []
    for figure in drawn:
        lines = (replace(one, source=without_absolute(one.source)) for one in figure.series)
        caption = without_absolute(figure.caption)
        clean_figures.append(replace(figure, caption=caption, series=tuple(lines)))
    clean_tables = []
    for table in tables:
        sources, caption = map(without_absolute, table.sources), without_absolute(table.caption)
        clean_tables.append(replace(table, caption=caption, sources=tuple(sources)))
    return entries.Drawn(origin, clean_figures, clean_tables)


def _probe(folder: Path) -> kinds.ProbeResults | None:
    """What `gptjax probe` wrote beside its figures, or None."""
    path = RunFolder(folder).results
    found = kinds.read_results(path) if path.exists() else None
    return found if isinstance(found, kinds.ProbeResults) else None


def _made_of(folder: Path) -> list[Made]:
    """How a run or each of its seeds was made, as far as that can be read here."""
    runs = [run.path for run in RunFolder(folder).seeds()] or [folder]
    named = [(path, without_absolute(str(path))) for path in runs]
    return [Made(name) if incomplete(path) else _made(path, name) for path, name in named]


def _read_records(folder: Path) -> list[Mapping[str, Any]]:
    """The lines of a run's metrics.jsonl, each with its step, its split, and numbers or None."""
    path, records = folder / "metrics.jsonl", []
    if path.exists():
        for number, line in enumerate(read_text(path).splitlines(), 1):
            try:
                record = parse_json(line)
                if not isinstance(record, dict) or record.get("split") != "samples":  # texts
                    records.append(_checked(record))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: is damaged, no JSON ({error})") from None
    return records


def _checked(record: Any) -> Mapping[str, Any]:
    if not isinstance(record, dict) or not isinstance(record.get("split"), str):
        raise ValueError("it has no split")
    for name, value in record.items():
        if name == "split" or (value is None and name != "step"):
            continue
        if type(value) not in (int, float) or abs(value) > LARGEST:
            raise ValueError(f"{name} is {value!r}")
    return record


def read_pretrained(folder: Path, shown: str) -> entries.PretrainedRun:
    """A run of `gptjax pretrain`, or one that was imported."""
    run = RunFolder(folder)
    meta = run.read_meta()
    imported = "imported" in meta
    kind = f"imported from {without_absolute(meta['imported'])}" if imported else "pre-trained"
    return entries.PretrainedRun(
        origin=Origin(shown, kind, (_made(folder, shown),)),
        model=load_config(folder),
        settings=without_absolute(read_text(run.config)),
        batch_size=0 if imported else read_table(folder)["train"]["batch_size"],
        results=None if imported else kinds.read_as(kinds.LanguageModelling, run.results),
        records=_read_records(folder),
        data={} if imported else meta["data"],
        samples=read_text(run.samples) if run.samples.exists() else "",
    )


def add_tuned(shown: str, names: Mapping[Path, str], sources: Sources) -> None:
    """A fine-tuned run of one or several seeds; the seeds that are not finished are left out."""
    reasons = {path: incomplete(path) for path in names}
    sources.left_out += [f"{names[path]}: {why}" for path, why in reasons.items() if why]
    complete = [path for path, why in reasons.items() if not why]
    if not complete:
        return
    tasks = [load_task(path) for path in complete]
    task = tasks[0]
    assert task is not None
    if any(other is None or other.name != task.name for other in tasks):
        raise UserError(f"{complete[0].parent}: its seeds are of different tasks")
    results = [kinds.read_as(kinds.TaskRun, RunFolder(path).results) for path in complete]
    made = tuple(_made(path, names[path]) for path in complete)
    seeds = tuple(
        entries.TunedSeed(
            splits={split.name: split for split in one.splits if split.metrics},
            collapsed=one.majority_class_only,
            predictions=_predictions(path, task),
            evaluations=[record for record in _read_records(path) if record["split"] == "valid"],
            notices=one.notices,
            most_wrong=_most_wrong(path),
        )
        for path, one in zip(complete, results, strict=True)
    )
    sample = any(bool(one.data.sample) for one in results)
    origin = Origin(shown, f"fine-tuned on {task.name}", made)
    sources.tuned.append(entries.TunedRun(origin, task, seeds, sample))


def _predictions(folder: Path, task: Task) -> Predictions | None:
    path = RunFolder(folder).predictions
    return read_predictions(path, task) if path.exists() else None


def _most_wrong(folder: Path) -> MostWrong | None:
    path = RunFolder(folder).most_wrong
    return read_most_wrong(path) if path.exists() else None


def add_results(folder: Path, shown: str, sources: Sources) -> None:
    """What `gptjax zeroshot --out` or `gptjax evaluate --out` wrote."""
    found = kinds.read_results(RunFolder(folder).results)
    if isinstance(found, sweeps.SweepResults | kinds.ProbeResults):
        # Their figures, and a sweep's runs, are read by themselves.
        if not (folder / figures.FILE).exists():
            what = "sweep" if isinstance(found, sweeps.SweepResults) else "probe"
            why = "it has not finished, or the file is lost"
            sources.left_out.append(f"{shown}: is of a {what} that has no {figures.FILE} ({why})")
        return
    if isinstance(found, kinds.Seeds):
        sources.left_out.append(f"{shown}: is a summary of seeds whose runs are not there")
    elif isinstance(found, kinds.LanguageModelling | kinds.TaskRun):
        sources.left_out.append(f"{shown}: is of a run whose files are not there")
    elif isinstance(found, kinds.TaskEvaluation):
        _add_task(found, folder, shown, sources)
    else:
        kind = "perplexity of a text"
        if isinstance(found, kinds.ZeroShot):
            kind = "asked without training"
        elif Reconstruction.NAME in found.metrics:
            kind = "a text written once more"
        origin = Origin(shown, kind, (_measured(found, shown),))
        clean = replace(found, run=without_absolute(found.run), split=Path(found.split).name)
        sources.measured.append(entries.Measured(origin, clean))


def _add_task(found: kinds.TaskEvaluation, folder: Path, shown: str, sources: Sources) -> None:
    task = _task_of(found, folder)
    if task is None:
        why = f"measured on {found.task}, whose task file is not there (measure once more)"
        sources.left_out.append(f"{shown}: {why}")
        return
    if not found.metrics:
        sources.left_out.append(f"{shown}: predictions of {found.task} without labels")
        return
    predictions = _predictions(folder, task)
    collapsed = predictions is not None and len(set(predictions.predicted)) == 1
    worst = _most_wrong(folder)
    seed = entries.TunedSeed({found.split: found}, collapsed, predictions, most_wrong=worst)
    kind = f"{without_absolute(found.run)} measured on {task.name}"
    origin = Origin(shown, kind, (_measured(found, shown),))
    sample = bool(found.data.sample or found.data.trained_on_sample)
    sources.tuned.append(entries.TunedRun(origin, task, (seed,), sample))


def _task_of(found: kinds.TaskEvaluation, folder: Path) -> Task | None:
    """A task of one's own has its file beside the results; earlier versions did not copy it."""
    own = RunFolder(folder).task_file
    if own.exists():
        return replace(read_task_file(own), name=found.task)
    return TASKS.get(found.task)


def _measured(found: kinds.Measurement, shown: str) -> Made:
    """How a measurement was made; the oldest ones do not say."""
    made = Made(shown, checkpoint=f"{found.checkpoint} of {without_absolute(found.run)}")
    if (how := found.made) is None:
        return made
    command, commit = without_absolute(how.command), how.commit or ""
    return replace(made, started=how.started, commit=commit, hardware=how.devices, command=command)
