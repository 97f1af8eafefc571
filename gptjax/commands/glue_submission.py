"""`gptjax glue-submission`: an archive of predictions for the GLUE server."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Submission, Task
from gptjax.errors import UserError


@dataclass(frozen=True)
class GlueSubmissionConfig:
    """Write the test predictions of fine-tuned runs as the GLUE server wants them."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders (with predictions-test.tsv), and folders that `gptjax evaluate --out` wrote for
    other test sets (AX, of an MNLI run)."""
    out: str
    """Archive to write, ending in .zip."""


def run(config: GlueSubmissionConfig) -> list[str]:
    """Write the archive; returns the names of the files in it.

    Raises:
        UserError: a folder without test predictions, of no GLUE task, or two of one task.
    """
    files: dict[str, str] = {}
    for folder in config.runs:
        for name, text in _files_of(Path(folder)).items():
            if name in files:
                raise UserError(f"{folder}: {name} is in another of the runs too; leave one out")
            files[name] = text
    if not files:
        raise UserError("name one or more run folders")
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(name, text)
    wanted = {
        name
        for task in TASKS.values()
        if task.submission
        for name in task.submission.files.values()
    }
    print(f"{out}: {', '.join(sorted(files))}")
    if missing := sorted(wanted - files.keys()):
        print(f"the server wants all tasks; not in it yet: {', '.join(missing)}")
    return sorted(files)


def _files_of(folder: Path) -> dict[str, str]:
    results = folder / "results.json"
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{results}: no results of a run ({error})") from error
    task = TASKS.get(content.get("task", ""))
    if task is None or task.submission is None:
        raise UserError(f"{folder}: {content.get('task')} is no task of GLUE")
    if "seeds" in content:
        raise UserError(f"{folder}: several seeds; name one of them, such as {folder}/seed-1")
    if content["data"].get("sample"):
        raise UserError(f"{folder}: was measured on the offline sample, not on {task.name}")
    wanted = task.submission.files
    if content.get("split") == "valid":  # a run's own folder
        splits = content["splits"]
        left_out = {name: split["left_out"] for name, split in splits.items() if name in wanted}
        paths = {name: folder / f"predictions-{name}.tsv" for name in left_out}
    else:
        left_out = {content["split"]: sum(content["data"]["dropped"].values())}
        paths = {content["split"]: folder / "predictions.tsv"}
    if not paths.keys() & wanted.keys():
        raise UserError(
            f"{folder}: has no predictions of {' or '.join(wanted)}; write them with gptjax "
            f"evaluate --run {folder} --data FILE --split {next(iter(wanted))} --out FOLDER, and "
            "name that folder"
        )
    for name, count in left_out.items():
        if count:
            raise UserError(
                f"{folder}: {count} rows of {name} were left out as unusable, and the server "
                "wants every row; correct the file and evaluate again"
            )
    return {wanted[name]: _convert(path, task, task.submission) for name, path in paths.items()}


def _convert(path: Path, task: Task, submission: Submission) -> str:
    lines = ["index\tprediction"]
    strings = dict(zip(task.labels, submission.labels, strict=False))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:]):
        index, _, prediction = line.split("\t")[:3]
        if int(index) != number:
            raise UserError(f"{path}: row {number} is missing, and the server wants every row")
        if task.scores is not None:
            answer = f"{min(max(float(prediction), task.scores[0]), task.scores[1]):.3f}"
        else:
            answer = strings[prediction]
        lines.append(f"{index}\t{answer}")
    return "\n".join(lines) + "\n"
