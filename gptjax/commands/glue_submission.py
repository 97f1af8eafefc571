"""`gptjax glue-submission`: an archive of predictions for the GLUE server."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from gptjax.data.tasks import TASKS, Submission, Task
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
    if content.get("split") == "valid":  # a run's own folder
        paths = {split: folder / f"predictions-{split}.tsv" for split in task.submission.files}
    else:
        paths = {content["split"]: folder / "predictions.tsv"}
    found = {}
    for split, path in paths.items():
        if split not in task.submission.files:
            raise UserError(f"{folder}: the split {split} is not what the GLUE server wants")
        if not path.exists():
            raise UserError(
                f"{path}: missing; fine-tune with data that have the split {split}, or write it "
                f"with gptjax evaluate --run {folder} --data FILE --split {split} --out FOLDER"
            )
        found[task.submission.files[split]] = _convert(path, task, task.submission)
    return found


def _convert(path: Path, task: Task, submission: Submission) -> str:
    lines = ["index\tprediction"]
    strings = dict(zip(task.labels, submission.labels, strict=False))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:]):
        index, _, prediction = line.split("\t")[:3]
        if int(index) != number:
            raise UserError(
                f"{path}: row {number} is missing (it was left out as unusable); the server wants "
                "every row: correct the test file and evaluate again"
            )
        if task.scores is not None:
            answer = f"{min(max(float(prediction), task.scores[0]), task.scores[1]):.3f}"
        else:
            answer = strings[prediction]
        lines.append(f"{index}\t{answer}")
    return "\n".join(lines) + "\n"
