"""`gptjax glue-submission`: an archive of predictions for the GLUE server."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Submission, Task
from gptjax.errors import UserError
from gptjax.files import make_folder
from gptjax.runs.folder import RunFolder
from gptjax.runs.predictions import read_predictions
from gptjax.runs.results import Seeds, TaskRun, read_results
from gptjax.runs.sweep_results import SweepResults


@dataclass(frozen=True)
class GlueSubmissionConfig:
    """Write the test predictions of fine-tuned runs as the GLUE server wants them."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run folders (with predictions-test.tsv), and folders that `gptjax evaluate --out` wrote for
    other test sets (AX, of an MNLI run)."""
    out: str
    """Archive to write, ending in .zip."""


def run(config: GlueSubmissionConfig) -> list[str]:
    """Write the archive; returns the names of the files in it."""
    files: dict[str, str] = {}
    for folder in config.runs:
        for name, text in _files_of(Path(folder)).items():
            if name in files:
                raise UserError(f"{folder}: {name} is in another of the runs too; leave one out")
            files[name] = text
    if not files:
        raise UserError("name one or more run folders")
    out = Path(config.out)
    make_folder(out.parent)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(name, text)
    submissions = (task.submission for task in TASKS.values() if task.submission)
    wanted = {name for one in submissions for name in one.files.values()}
    print(f"{out}: {', '.join(sorted(files))}")
    if missing := sorted(wanted - files.keys()):
        print(f"the server wants all tasks; not in it yet: {', '.join(missing)}")
    return sorted(files)


def _files_of(folder: Path) -> dict[str, str]:
    found = read_results(RunFolder(folder).results)
    name = "a sweep" if isinstance(found, SweepResults) else found.task
    task = TASKS.get(name)
    if isinstance(found, SweepResults) or task is None or task.submission is None:
        raise UserError(f"{folder}: {name} is no task of GLUE")
    if isinstance(found, Seeds):
        raise UserError(f"{folder}: several seeds; name one of them, such as {folder}/seed-1")
    if found.data.sample:
        raise UserError(f"{folder}: was measured on the offline sample, not on {task.name}")
    wanted = task.submission.files
    if isinstance(found, TaskRun):
        left_out = {split.name: split.left_out for split in found.splits if split.name in wanted}
        paths = {name: folder / f"predictions-{name}.tsv" for name in left_out}
    else:
        left_out = {found.split: sum(one.count for one in found.data.dropped or ())}
        paths = {found.split: RunFolder(folder).predictions}
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
    found = read_predictions(path, task, labelled=False)
    lines = ["index\tprediction"]
    for number, (index, value) in enumerate(zip(found.index, found.predicted, strict=True)):
        if index != number:
            raise UserError(f"{path}: row {number} is missing, and the server wants every row")
        if task.scores is not None:
            answer = f"{min(max(value, task.scores[0]), task.scores[1]):.3f}"
        else:
            answer = submission.labels[int(value)]
        lines.append(f"{index}\t{answer}")
    return "\n".join(lines) + "\n"
