"""The table of tasks, which `tasks.toml` beside this file declares."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gptjax.config import nearest
from gptjax.data.tables.lines import FileReading
from gptjax.data.tasks.task import Holdout, Hub, Submission, Task, usual_files, usual_names
from gptjax.data.tasks.task_file import read_task_file
from gptjax.errors import UserError


def _plain(value: Any) -> Any:
    """Lists as tuples, also inside."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _files(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Split -> patterns, where "usual" and "usual:NAME" stand for several."""

    def patterns(split: str, word: str) -> tuple[str, ...]:
        usual, _, name = word.partition(":")
        if usual != "usual":
            return (word,)
        return usual_names(name) if name else usual_files()[split]

    return {
        split: tuple(pattern for word in words for pattern in patterns(split, word))
        for split, words in table.items()
    }


_SECTIONS: Mapping[str, Callable[[Any], Any]] = {
    "columns": lambda table: {part: _plain(names) for part, names in table.items()},
    "files": _files,
    "hub": lambda table: Hub(**table),
    "holdout": lambda table: Holdout(**table),
    "reading": lambda table: FileReading(**{key: _plain(value) for key, value in table.items()}),
    "submission": lambda table: Submission(table["files"], _plain(table.get("labels", []))),
}


def _task(name: str, entry: Mapping[str, Any]) -> Task:
    values = {key: _SECTIONS.get(key, _plain)(value) for key, value in entry.items()}
    return Task(name, **{"files": usual_files(), **values})


TASKS: Mapping[str, Task] = {
    name: _task(name, entry)
    for name, entry in tomllib.loads(
        Path(__file__).with_name("tasks.toml").read_text(encoding="utf-8")
    ).items()
}


def find_task(name: str) -> Task:
    """A task of the table, or of a TOML file."""
    if name.endswith(".toml"):
        return read_task_file(Path(name))
    if name not in TASKS:
        raise UserError(f"`task={name}`: {nearest(name, list(TASKS))} A task file ends in .toml")
    return TASKS[name]
