"""All splits of a task: from files, from the hub, or from the offline sample."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptjax.data.tables.containers import is_file, is_there, split_archive
from gptjax.data.tables.lines import FileReading
from gptjax.data.tasks.by_label import find_files, says_label
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.match import annotations_of
from gptjax.data.tasks.samples import SIZES, sample_split
from gptjax.data.tasks.splits import Split, draw, draw_by_label, hold_back
from gptjax.data.tasks.task import Task
from gptjax.errors import UnreachableError, UserError

SAMPLE_WARNING = (
    "THE OFFLINE SAMPLE: sentences made by a grammar, not the published task; figures on it say "
    "nothing about {task}"
)


@dataclass(frozen=True)
class TaskData:
    """The splits of a task."""

    splits: Mapping[str, Split]  # by name, at least train and valid where they are for training
    sample: bool = False  # whether it is the offline sample, which every report must say
    notices: Sequence[str] = ()  # lines for people

    def texts(self) -> Iterator[str]:
        """The texts of all examples, those without a label too."""
        for split in self.splits.values():
            for example in split.examples:
                yield from example.texts


def load_task_data(
    data: Sequence[str],
    task: Task,
    *,
    strict: bool = False,
    reading: FileReading | None = None,
    folder: Path | None = None,
) -> TaskData:
    """Every split of a task.

    Args:
        data: nothing (the hub, or else the sample), ("hub",), ("hub:ID_OR_FOLDER",), ("sample",),
            (FOLDER or FILE,), or several SPLIT=PATH.
        task: the task.
        strict: see `gptjax.data.tasks.examples.to_split`.
        reading: see there.
        folder: where a task file's own files lie; used when ``data`` is empty.

    Raises:
        UserError: nothing there, or what is there cannot be read.
    """

    def read(path: Path, name: str) -> Split:
        return read_split(
            path,
            task,
            name,
            strict=strict,
            reading=reading,
            required=annotations_of(name),
        )

    files = find_task_files(data, task, folder)
    if files is not None:
        return TaskData({name: read(path, name) for name, path in files.items()})
    notices: tuple[str, ...] = ()
    if tuple(data) != ("sample",):
        from gptjax.data.tasks.hub import hub_splits  # `datasets` takes a second to import.

        source = data[0].partition(":")[2] if data else ""
        try:
            return TaskData(hub_splits(task, source or None, strict=strict))
        except UnreachableError as error:
            if data:
                raise
            notices = (f"notice: {error}", "notice: using the sample")
    return TaskData({name: sample_split(task, name) for name in SIZES}, True, notices)


def find_task_files(
    data: Sequence[str], task: Task, folder: Path | None = None
) -> dict[str, Path] | None:
    """The file of every split, or None where the data are not files (the hub, the sample).

    Nothing is read, so that what is missing can be said long before. Arguments and errors are
    those of `load_task_data`.
    """
    if not data and folder is not None:
        for name in sorted(task.own_files):
            if _first(folder, task.files[name][:1]) is None:
                raise UserError(
                    f"{folder / task.files[name][0]}: no such file; {task.name} names it under "
                    f"[files], {name}"
                )
        return _in_folder(folder, task)
    if not data or (len(data) == 1 and _no_file(data[0])):
        return None
    if all("=" in word for word in data) and not Path(data[0]).exists():
        return _named(data, task)
    if len(data) > 1:
        raise UserError(
            f"`data={' '.join(data)}`: give one folder or file, or SPLIT=PATH for every split"
        )
    path = Path(data[0]).expanduser()
    if is_file(path) or says_label(path):
        return {"train": path}
    if not path.is_dir():
        raise UserError(
            f"`data={path}`: no such file or folder (else: hub, sample, or train=FILE valid=FILE)"
        )
    return _in_folder(path, task)


def load_split(
    data: str,
    task: Task,
    name: str,
    *,
    strict: bool = False,
    reading: FileReading | None = None,
) -> tuple[Split, bool]:
    """One split to measure on, and whether it is the offline sample's.

    ``data`` is a file or a folder that is the whole split; a folder with the task's published
    files, of which those of the split ``name`` are taken; hub, hub:ID_OR_FOLDER, or sample.
    """
    path = Path(data).expanduser()
    if not is_there(path) and _no_file(data):
        found = load_task_data((data,), task, strict=strict)
        if name not in found.splits:
            raise UserError(f"`split={name}`: {data} has {', '.join(found.splits)}")
        return found.splits[name], found.sample
    if path.is_dir():
        there = _published(path, task)
        if name in there:
            path = there[name]
        elif there:
            raise UserError(
                f"`split={name}`: {data} has the splits {', '.join(there)}; choose one of them"
            )
    return read_split(path, task, name, strict=strict, reading=reading), False


def for_training(
    data: TaskData,
    task: Task,
    most: Mapping[str, int | None] | None = None,
    by_label: int | None = None,
) -> TaskData:
    """With a training and a validation split: the missing one is held back from the other.

    ``most`` says for a split how many of its examples to keep; None keeps all. ``by_label`` is the
    seed to draw the training examples with by label; None draws them as all others, by `draw`.

    Raises:
        UserError: neither is there, or they have no labels.
    """
    splits = dict(data.splits)
    given = {name: splits.pop(name) for name in ("train", "valid") if name in splits}
    if not given:
        raise UserError(
            f"{task.name}: no training data here, only {', '.join(splits) or 'nothing'}; set "
            "`data=train=FILE`"
        )
    for name, split in given.items():
        if not split.labelled:
            raise UserError(
                f"{split.source}: no labels, which the split {name} needs; name their "
                "column: set `columns=label=COLUMN`"
            )
    first, *others = given.values()
    train, valid = (first, *others) if others else hold_back(first, task, "valid")
    splits = {"train": train, "valid": valid, **splits}
    for chosen, count in (most or {}).items():
        if count is None or count >= len(splits[chosen].examples):
            continue
        if chosen == "train" and by_label is not None:
            splits[chosen] = draw_by_label(splits[chosen], count, task, by_label)
        else:
            splits[chosen] = draw(splits[chosen], count)
    return TaskData(splits, data.sample, data.notices)


def _no_file(data: str) -> bool:
    """Whether it names the hub or the offline sample."""
    return data in ("hub", "sample") or data.startswith("hub:")


def _named(data: Sequence[str], task: Task) -> dict[str, Path]:
    files = {}
    known = dict.fromkeys(("train", "valid", "test", *task.files))
    for word in data:
        name, _, path = word.partition("=")
        if name not in known:
            raise UserError(f"`data={word}`: the splits of {task.name} are {', '.join(known)}")
        files[name] = Path(path).expanduser()
        if not (says_label(path) or is_there(files[name])):
            raise UserError(f"{files[name]}: no such file or folder")
    return files


def _in_folder(folder: Path, task: Task) -> dict[str, Path]:
    files = _published(folder, task)
    if not files:
        usual = [pattern for group in task.files.values() for pattern in group[:3]]
        raise UserError(
            f"`data={folder}`: none of the files of {task.name} in this folder (such as "
            f"{', '.join(usual[:4])}); name them: set `data=train=FILE valid=FILE`"
        )
    return files


def _published(folder: Path, task: Task) -> dict[str, Path]:
    """The file of every split of which one is in the folder."""
    found = {name: _first(folder, patterns) for name, patterns in task.files.items()}
    return {name: path for name, path in found.items() if path is not None}


def _first(folder: Path, patterns: Iterable[str]) -> Path | None:
    """The first file of a folder that fits the first pattern that any fits."""
    for pattern in patterns:
        own = folder / pattern
        if says_label(own) and not find_files(own):
            continue
        if Path(pattern).is_absolute() or says_label(own) or split_archive(own)[1] is not None:
            return own
        if found := sorted(folder.glob(pattern)):
            return found[0]
    return None
