"""One folder of a report, read: a run, several seeds of one, a measurement, or drawn figures.

Whatever a page is to show of it comes without absolute paths.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptjax import config
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.report import figures
from gptjax.report.entries import (
    Drawn,
    Made,
    Measured,
    Origin,
    PretrainedRun,
    Sources,
    TunedRun,
    TunedSeed,
)
from gptjax.runs.folder import RunFolder, read_json
from gptjax.runs.open import load_task, read_table
from gptjax.runs.predictions import Predictions, read_predictions
from gptjax.runs.results import (
    LanguageModelling,
    Seeds,
    SplitResult,
    SweepResults,
    TaskEvaluation,
    TaskRun,
    TextEvaluation,
    ZeroShot,
    read_as,
    read_results,
)

ABSOLUTE = re.compile(r"(?<![\w.…~])/(?:[^\s/'\"]+/)*(?=[^\s/'\"])")


def without_absolute(text: str) -> str:
    """The text with absolute paths cut down to their last part."""
    return ABSOLUTE.sub("…/", text)


def incomplete(folder: Path) -> str | None:
    """Why a run cannot be reported yet, or None."""
    if not RunFolder(folder).meta.exists():
        return "has no meta.json, so that the run never began"
    meta = read_json(RunFolder(folder).meta)
    if (status := meta["status"]) != "finished":
        return f"is not finished ({status})"
    if "imported" not in meta and not RunFolder(folder).results.exists():
        return "has no results.json"
    return None


def _made(folder: Path, shown: str) -> Made:
    meta = read_json(RunFolder(folder).meta)
    imported = "imported" in meta
    commits = [once["commit"] for once in (meta, *meta.get("resumed", []))]
    found = None if imported else read_results(RunFolder(folder).results)
    if not isinstance(found, LanguageModelling | TaskRun | None):
        raise UserError(f"{RunFolder(folder).results}: is not of a run that was trained")
    return Made(
        path=shown,
        seed=str(found.seed) if found else "",
        started=meta["started"],
        commit=", ".join(dict.fromkeys(filter(None, commits))),
        hardware="" if imported else meta["devices"],
        command=without_absolute(meta["command"]),
        checkpoint=found.checkpoint if found else "",
    )


def read_drawn(folder: Path, shown: str) -> Drawn:
    """Figures and tables, and how the runs were made that they name."""
    drawn, tables = figures.load(folder)
    named = [series.source for figure in drawn for series in figure.series]
    named += [source for table in tables for source in table.sources]
    paths = list(dict.fromkeys(path for source in named for path in source.split(", ") if path))
    made = tuple(one for path in paths for one in _made_of(Path(path)))
    names = tuple(map(without_absolute, paths))
    return Drawn(
        Origin(shown, "figures of an experiment", made or (Made(shown),), names),
        [
            replace(
                figure,
                caption=without_absolute(figure.caption),
                series=tuple(
                    replace(series, source=without_absolute(series.source))
                    for series in figure.series
                ),
            )
            for figure in drawn
        ],
        [
            replace(
                table,
                caption=without_absolute(table.caption),
                sources=tuple(map(without_absolute, table.sources)),
            )
            for table in tables
        ],
    )


def _made_of(folder: Path) -> list[Made]:
    """How a run or each of its seeds was made, as far as that can be read here."""
    runs = RunFolder(folder).seeds() or [RunFolder(folder)]
    return [
        Made(without_absolute(str(run.path)))
        if incomplete(run.path)
        else _made(run.path, without_absolute(str(run.path)))
        for run in runs
    ]


def _read_records(path: Path) -> list[Mapping[str, Any]]:
    """The lines of a metrics.jsonl."""
    records = []
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: is damaged, no JSON ({error})") from None
    return records


def read_pretrained(folder: Path, shown: str) -> PretrainedRun:
    run = RunFolder(folder)
    table = read_table(folder)
    meta = run.read_meta()
    imported = "imported" in meta
    kind = f"imported from {without_absolute(meta['imported'])}" if imported else "pre-trained"
    return PretrainedRun(
        origin=Origin(shown, kind, (_made(folder, shown),)),
        model=config.from_table(ModelConfig, table["model"], where=str(run.config)),
        settings=without_absolute(run.config.read_text(encoding="utf-8")),
        batch_size=0 if imported else table["train"]["batch_size"],
        results=None if imported else read_as(LanguageModelling, run.results),
        records=_read_records(folder / "metrics.jsonl"),
        data={} if imported else meta["data"],
        samples=run.samples.read_text(encoding="utf-8") if run.samples.exists() else "",
    )


def add_tuned(shown: str, names: Mapping[Path, str], sources: Sources) -> None:
    """A fine-tuned run of one or several seeds; the seeds that are not finished are left out."""
    folders = list(names)
    reasons = {path: incomplete(path) for path in folders}
    sources.left_out += [f"{names[path]}: {why}" for path, why in reasons.items() if why]
    complete = [path for path, why in reasons.items() if not why]
    if not complete:
        return
    tasks = [load_task(path) for path in complete]
    task = tasks[0]
    assert task is not None
    if any(other is None or other.name != task.name for other in tasks):
        raise UserError(f"{folders[0].parent}: its seeds are of different tasks")
    results = [read_as(TaskRun, RunFolder(path).results) for path in complete]
    made = tuple(_made(path, names[path]) for path in complete)
    seeds = tuple(
        TunedSeed(
            splits=one.splits,
            collapsed=one.majority_class_only,
            predictions=_predictions(path, task),
            evaluations=[
                record
                for record in _read_records(path / "metrics.jsonl")
                if record["split"] == "valid"
            ],
        )
        for path, one in zip(complete, results, strict=True)
    )
    sample = any(bool(one.data.sample) for one in results)
    origin = Origin(shown, f"fine-tuned on {task.name}", made)
    sources.tuned.append(TunedRun(origin, task, seeds, sample))


def _predictions(folder: Path, task: Task) -> Predictions | None:
    path = RunFolder(folder).predictions
    return read_predictions(path, task) if path.exists() else None


def add_results(folder: Path, shown: str, sources: Sources) -> None:
    """What `gptjax zeroshot --out` or `gptjax evaluate --out` wrote."""
    found = read_results(RunFolder(folder).results)
    if isinstance(found, SweepResults):  # its figures and runs are read by themselves
        return
    if isinstance(found, Seeds | LanguageModelling | TaskRun):
        what = (
            "a summary of seeds whose runs" if isinstance(found, Seeds) else "of a run whose files"
        )
        sources.left_out.append(f"{shown}: is {what} are not there")
        return
    run, made = without_absolute(found.run), _measured(found, shown)
    if isinstance(found, ZeroShot | TextEvaluation):
        kind = "asked without training" if isinstance(found, ZeroShot) else "perplexity of a text"
        clean = replace(found, run=run, split=Path(found.split).name)
        sources.measured.append(Measured(Origin(shown, kind, (made,)), clean))
        return
    if found.task not in TASKS:
        sources.left_out.append(f"{shown}: measured on {found.task}, which is no task of the table")
        return
    if not found.metrics:
        sources.left_out.append(f"{shown}: predictions of {found.task} without labels")
        return
    task = TASKS[found.task]
    predictions = _predictions(folder, task)
    seed = TunedSeed(
        splits=(SplitResult(found.split, found.examples, 0, found.metrics),),
        collapsed=predictions is not None and len(set(predictions.predicted)) == 1,
        predictions=predictions,
    )
    origin = Origin(shown, f"{run} measured on {task.name}", (made,))
    sample = bool(found.data.sample or found.data.trained_on_sample)
    sources.tuned.append(TunedRun(origin, task, (seed,), sample))


def _measured(found: ZeroShot | TextEvaluation | TaskEvaluation, shown: str) -> Made:
    """How a measurement was made; the oldest ones do not say."""
    checkpoint = f"{found.checkpoint} of {without_absolute(found.run)}"
    how = found.made
    if how is None:
        return Made(shown, checkpoint=checkpoint)
    return Made(
        shown,
        started=how.started,
        commit=how.commit or "",
        hardware=how.devices,
        command=without_absolute(how.command),
        checkpoint=checkpoint,
    )
