"""Files that say the label in their path: `rt-polarity.{label}`, `train/{label}/*.txt`.

In such a path `{label}` stands for each of the task's labels, as the files spell it.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.data.tables.columns import listed
from gptjax.data.tables.files import read_folder, suffix_of
from gptjax.data.tables.format import Row, TableFormat
from gptjax.data.tables.lines import FileReading, read_lines
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.task import LABEL, OPTIONAL, Task, names_of
from gptjax.data.text.sources import SUFFIXES, TEXT, read_text
from gptjax.errors import UserError

PLACE = "{label}"
WILD = "*?"
IN_TAG = re.compile(r"<(\w+)>.*</\1>")


def says_label(path: Path | str) -> bool:
    """Whether a path has a place for the label."""
    return PLACE in str(path)


def find_files(path: Path) -> list[Path]:
    """The files that a path stands for, with any label."""
    return _expand(*_split(path), None)


@dataclass(frozen=True)
class Labelled:
    """The files of each label, and those that belong to none."""

    root: Path  # the folder that all are in
    files: list[tuple[str, Path]]  # label as the path spells it, file; by label, then by path
    others: list[Path]
    whole: bool  # a file is one text; otherwise each of its lines is one

    @property
    def left_out(self) -> tuple[str, str]:
        """Why the other files are left out, and the first of them."""
        return "files that belong to none of the labels", str(self.others[0])

    @property
    def texts(self) -> list[Path]:
        """Of the others those that are a text each, where the files with a label are, too."""
        kinds = [SUFFIXES.get(suffix_of(file.name), TEXT) for file in self.others]
        pairs = zip(self.others, kinds, strict=True)
        return [file for file, kind in pairs if self.whole and kind == TEXT]


def find_labelled(path: Path, task: Task) -> Labelled:
    """The files that a path with a place for the label stands for.

    Raises:
        UserError: a task without labels or with several texts, or a label without a file.
    """
    if task.scores is not None:
        raise UserError(f"{path}: {PLACE} stands for a label, and {task.name} has scores")
    root, pattern = _split(path)
    files: list[tuple[str, Path]] = []
    missing = []
    for label in task.labels:
        spellings = (label, *(other for other, of in task.aliases.items() if of == label))
        found = [(one, file) for one in spellings for file in _expand(root, pattern, one)]
        files += found
        missing += [] if found else [label]
    taken = {file for _, file in files}
    others = [file for file in _expand(root, pattern, None) if file not in taken]
    if missing:
        there = listed(os.path.relpath(file, root) for file in others)
        raise UserError(
            f"{path}: no file of the label {missing[0]!r} (other files: {there}); write the labels "
            "as they stand in the names of the files"
        )
    return Labelled(root, files, others, _is_whole(root, pattern))


def labelled_rows(
    path: Path, task: Task, format: TableFormat, say: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """A row for each line, file, or row of a table, with the label that the path says.

    ``say`` gets a line for each table whose content told how it is read.
    """
    found = find_labelled(path, task)
    text, label = (_own_name(task, part) for part in (task.parts[0], LABEL))
    for spelled, file in found.files:
        if suffix_of(file.name) in SUFFIXES and SUFFIXES[suffix_of(file.name)] != TEXT:
            for row in read_table(file, format, say):
                yield row._replace(cells={**row.cells, label: spelled})
            continue
        if len([part for part in task.parts if part not in OPTIONAL]) > 1:
            raise UserError(
                f"{file}: a line is one text, and {task.name} has {', '.join(task.parts)}; give a "
                "table with them"
            )
        for where, content in _texts(file, found.whole, format.reading, say):
            yield Row(where, {text: content, label: spelled})


def unlabelled_rows(files: Iterable[Path], task: Task, reading: FileReading) -> Iterator[Row]:
    """A row without a label for each file, which is a text (see `Labelled.texts`)."""
    for file in files:
        content = "".join(read_text(file, reading))
        yield Row(str(file), {_own_name(task, task.parts[0]): content})


def _texts(
    file: Path, whole: bool, reading: FileReading, say: Callable[[str], None] | None
) -> Iterator[tuple[str, str]]:
    if whole:
        yield str(file), "".join(read_text(file, reading))
        return
    tag = _tag(file, reading)
    if tag and say:
        say(f"{file}: read without the <{tag}> that each of its lines stands in")
    for number, line in enumerate(read_lines(file, reading), start=1):
        text = line.rstrip("\r\n")
        if tag and text.strip():
            text = text.strip()[len(tag) + 2 : -len(tag) - 3]
        yield f"{file}: line {number}", text


def _tag(file: Path, reading: FileReading) -> str | None:
    """The tag that every line stands in, as in <Pros>cheap</Pros>: it would say the label."""
    tag = None
    for line in read_lines(file, reading):
        if text := line.strip():
            found = IN_TAG.fullmatch(text)
            if found is None or tag not in (None, found[1]):
                return None
            tag = found[1]
    return tag


def _own_name(task: Task, part: str) -> Any:
    """The column that is named for a part, or the part's own name."""
    names = names_of(task.columns[part][0]) if part in task.named else ()
    return names[0] if names else part


def _split(path: Path) -> tuple[Path, str]:
    """The folder before the first part that is not to be taken literally, and the rest."""
    for number, part in enumerate(path.parts):
        if PLACE in part or any(letter in part for letter in WILD):
            return Path(*path.parts[:number]), "/".join(path.parts[number:])
    return path, ""


def _is_whole(root: Path, pattern: str) -> bool:
    """Whether a file is one text: its name is not said, or the pattern leads to folders."""
    return any(letter in pattern for letter in WILD) or any(
        found.is_dir() for found in root.glob(pattern.replace(PLACE, "*"))
    )


def _expand(root: Path, pattern: str, label: str | None) -> list[Path]:
    """The files of a label, or of any (None), sorted; those in folders that the pattern names."""
    spelled = "*" if label is None else glob.escape(label)
    files: list[Path] = []
    for found in sorted(root.glob(pattern.replace(PLACE, spelled))):
        if not any(part.startswith(".") for part in found.relative_to(root).parts):
            files += read_folder(found).files if found.is_dir() else [found]
    return files
