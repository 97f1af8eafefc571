"""What lies in the folders that a report is made of, told by their content and read.

A folder is a pre-trained run, a fine-tuned run or several seeds of one, what `gptjax evaluate` or
`gptjax zeroshot` wrote, figures and tables of an experiment, or a folder of such folders. What was
measured for an experiment, and lies below its figures, is in these and not reported once more.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptjax import config
from gptjax.data.task import Task
from gptjax.data.tasks import TASKS
from gptjax.errors import UserError
from gptjax.evaluation import figures
from gptjax.evaluation.predictions import Predictions, read_predictions
from gptjax.evaluation.report_entries import (
    LANGUAGE_MODELLING,
    Drawn,
    Made,
    Measured,
    Origin,
    PretrainedRun,
    Sources,
    TunedRun,
    TunedSeed,
)
from gptjax.models.config import ModelConfig
from gptjax.run import load_task, read_table
from gptjax.run_folder import RunFolder, read_json

ZERO_SHOT_SUFFIX = ", zero-shot"
# Folders inside of a run, where nothing else is looked for.
INNER = ("checkpoints", "tokenizer", "tensorboard")
ABSOLUTE = re.compile(r"(?<![\w.…~])/(?:[^\s/'\"]+/)*(?=[^\s/'\"])")


def without_absolute(text: str) -> str:
    """The text with absolute paths cut down to their last part."""
    return ABSOLUTE.sub("…/", text)


def find(runs: Sequence[str]) -> Sources:
    """Read everything in the folders, and below them.

    Args:
        runs: folders, as the user names them.

    Raises:
        UserError: no such folder, nothing to report in it, or a damaged file.
    """
    sources = Sources()
    seen: set[Path] = set()
    for given in runs:
        base = Path(given)
        if not base.is_dir():
            raise UserError(f"{given}: no such folder; name run folders, or a folder of them")
        before = len(sources.origins), len(sources.left_out)
        again = any(path.is_relative_to(base.resolve()) for path in seen)
        experiments: list[Path] = []
        for folder in _walk(base, seen):
            inside = any(folder.is_relative_to(experiment) for experiment in experiments)
            _read(folder, _shown(given, base, folder), sources, inside=inside)
            if (folder / figures.FILE).exists():
                experiments.append(folder)
        if len(sources.origins) == before[0] and not again:
            left_out = sources.left_out[before[1] :]
            why = f": {left_out[0]}" if left_out else " (no run, results.json or figures.json)"
            raise UserError(f"{given}: nothing to report in it{why}")
    sources.drawn = [_without(drawn, sources) for drawn in sources.drawn]
    paths = [origin.path for origin in sources.origins]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise UserError(
            f"--runs: two folders would both be called {twice[0]}; name them relative to here"
        )
    return sources


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The folder and those below it, in order, each once; not the inside of runs."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    yield folder
    if _is_run(folder):
        return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith(".") and inner.name not in INNER:
            yield from _walk(inner, seen)


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).config.exists() or bool(RunFolder(folder).seeds())


def _shown(given: str, base: Path, folder: Path) -> str:
    """How the report calls a folder: as the user did, but never by an absolute path."""
    if base.is_absolute():
        here = Path.cwd()
        base = base.relative_to(here) if base.is_relative_to(here) else Path("…", base.name)
    return (base / folder.relative_to(given)).as_posix()


def _read(folder: Path, shown: str, sources: Sources, *, inside: bool) -> None:
    """Add what a folder itself holds; ``inside`` of an experiment no measurement."""
    try:
        if (folder / figures.FILE).exists():
            sources.drawn.append(_drawn(folder, shown))
        if seeds := [run.path for run in RunFolder(folder).seeds()]:
            _add_tuned(shown, {path: f"{shown}/{path.name}" for path in seeds}, sources)
        elif RunFolder(folder).config.exists():
            if "task" in read_table(folder):
                _add_tuned(shown, {folder: shown}, sources)
            elif reason := _incomplete(folder):
                sources.left_out.append(f"{shown}: {reason}")
            else:
                sources.pretrained.append(_pretrained(folder, shown))
        elif (folder / "results.json").exists() and not inside:
            _add_results(folder, shown, sources)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder}: its files are damaged, or of another version of gptjax ({what})"
        ) from None


def _incomplete(folder: Path) -> str | None:
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
    results = {"seed": "", "checkpoint": ""} if imported else read_json(folder / "results.json")
    return Made(
        path=shown,
        seed=str(results["seed"]),
        started=meta["started"],
        commit=", ".join(dict.fromkeys(filter(None, commits))),
        hardware="" if imported else meta["devices"],
        command=without_absolute(meta["command"]),
        checkpoint=results["checkpoint"],
    )


def _drawn(folder: Path, shown: str) -> Drawn:
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


def _without(drawn: Drawn, sources: Sources) -> Drawn:
    """The same, without listing the runs that have entries of their own, as those of a sweep."""
    origins = [*(run.origin for run in sources.pretrained), *(run.origin for run in sources.tuned)]
    own = {one.path for origin in origins for one in origin.made}
    made = tuple(one for one in drawn.origin.made if one.path not in own)
    return replace(drawn, origin=replace(drawn.origin, made=made or (Made(drawn.origin.path),)))


def _made_of(folder: Path) -> list[Made]:
    """How a run or each of its seeds was made, as far as that can be read here."""
    runs = RunFolder(folder).seeds() or [RunFolder(folder)]
    return [
        Made(without_absolute(str(run.path)))
        if _incomplete(run.path)
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


def _pretrained(folder: Path, shown: str) -> PretrainedRun:
    run = RunFolder(folder)
    table = read_table(folder)
    meta = run.read_meta()
    imported = "imported" in meta
    results: Mapping[str, Any] = {"metrics": {}, "steps": 0}
    if not imported:
        results = read_json(run.results)
    kind = f"imported from {without_absolute(meta['imported'])}" if imported else "pre-trained"
    return PretrainedRun(
        origin=Origin(shown, kind, (_made(folder, shown),)),
        model=config.from_table(ModelConfig, table["model"], where=str(run.config)),
        settings=without_absolute(run.config.read_text(encoding="utf-8")),
        batch_size=0 if imported else table["train"]["batch_size"],
        updates=results["steps"],
        metrics=results["metrics"],
        records=_read_records(folder / "metrics.jsonl"),
        data={} if imported else meta["data"],
        samples=run.samples.read_text(encoding="utf-8") if run.samples.exists() else "",
    )


def _add_tuned(shown: str, names: Mapping[Path, str], sources: Sources) -> None:
    """A fine-tuned run of one or several seeds; the seeds that are not finished are left out."""
    folders = list(names)
    reasons = {path: _incomplete(path) for path in folders}
    sources.left_out += [f"{names[path]}: {why}" for path, why in reasons.items() if why]
    complete = [path for path, why in reasons.items() if not why]
    if not complete:
        return
    tasks = [load_task(path) for path in complete]
    task = tasks[0]
    assert task is not None
    if any(other is None or other.name != task.name for other in tasks):
        raise UserError(f"{folders[0].parent}: its seeds are of different tasks")
    results = [read_json(path / "results.json") for path in complete]
    made = tuple(_made(path, names[path]) for path in complete)
    seeds = tuple(
        TunedSeed(
            metrics={n: split["metrics"] for n, split in one["splits"].items() if split["metrics"]},
            examples={name: split["examples"] for name, split in one["splits"].items()},
            collapsed=one["majority_class_only"],
            predictions=_predictions(path, task),
            evaluations=[
                record
                for record in _read_records(path / "metrics.jsonl")
                if record["split"] == "valid"
            ],
        )
        for path, one in zip(complete, results, strict=True)
    )
    sample = any(one["data"]["sample"] for one in results)
    origin = Origin(shown, f"fine-tuned on {task.name}", made)
    sources.tuned.append(TunedRun(origin, task, seeds, sample))


def _predictions(folder: Path, task: Task) -> Predictions | None:
    path = RunFolder(folder).predictions
    return read_predictions(path, task) if path.exists() else None


def _add_results(folder: Path, shown: str, sources: Sources) -> None:
    """What `gptjax zeroshot --out` or `gptjax evaluate --out` wrote."""
    found = read_json(folder / "results.json")
    if "points" in found:  # of a sweep, whose figures and runs are read by themselves
        return
    if "seeds" in found:
        sources.left_out.append(f"{shown}: is a summary of seeds whose runs are not there")
        return
    name, run = found["task"], without_absolute(found["run"])
    how = found.get("made", {})  # recorded since November 2026
    made = Made(
        shown,
        started=how.get("started", ""),
        commit=how.get("commit") or "",
        hardware=how.get("devices", ""),
        command=without_absolute(how.get("command", "")),
        checkpoint=f"{found['checkpoint']} of {run}",
    )
    sample = bool(found["data"].get("sample"))  # of a text there is no sample
    sample = sample or bool(found["data"].get("trained_on_sample"))
    zero_shot = name.endswith(ZERO_SHOT_SUFFIX)
    if zero_shot or name == LANGUAGE_MODELLING:
        kind = "asked without training" if zero_shot else "perplexity of a text"
        sources.measured.append(
            Measured(
                origin=Origin(shown, kind, (made,)),
                run=run,
                checkpoint=found["checkpoint"],
                task=name.removesuffix(ZERO_SHOT_SUFFIX),
                split=Path(found["split"]).name,
                examples=found["examples"],
                metrics=found["metrics"],
                normalised=found["normalised"] if zero_shot else None,
                sample=sample,
            )
        )
        return
    if name not in TASKS:
        sources.left_out.append(f"{shown}: measured on {name}, which is no task of the table")
        return
    if not found["metrics"]:
        sources.left_out.append(f"{shown}: predictions of {name} without labels")
        return
    predictions = _predictions(folder, TASKS[name])
    seed = TunedSeed(
        metrics={found["split"]: found["metrics"]},
        examples={found["split"]: found["examples"]},
        collapsed=predictions is not None and len(set(predictions.predicted)) == 1,
        predictions=predictions,
    )
    origin = Origin(shown, f"{run} measured on {name}", (made,))
    sources.tuned.append(TunedRun(origin, TASKS[name], (seed,), sample))
