"""Rows that a script has in memory, as a file that every command reads.

The file lies in the cache under the hash of its content, where a run that goes on finds it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptjax.config import cache_folder
from gptjax.errors import UserError
from gptjax.files import make_folder

SPLITS = ("train", "valid", "validation", "test")
Rows = Iterable[Mapping[str, Any] | str]


def records(given: Any) -> list[Any]:
    """Rows as a list: of any iterable, of a pandas DataFrame, of a `datasets.Dataset`.

    A missing value of a DataFrame becomes None, and a class label of a Dataset its name.

    Raises:
        UserError: it is none of these.
    """
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # a DataFrame of pandas
        missing = given.isna()
        return list(given.astype(object).where(~missing, None).to_dict("records"))
    if not isinstance(given, Iterable):
        raise UserError(f"rows: a {type(given).__name__}; give a list of rows")
    rows, names = list(given), _class_names(given)
    if not names:
        return rows
    return [
        {
            column: names[column][cell] if column in names and _is_class(cell) else cell
            for column, cell in row.items()
        }
        for row in rows
    ]


def _class_names(given: Any) -> dict[str, list[str]]:
    """By column the names of the class labels of a `datasets.Dataset`."""
    features = getattr(given, "features", None)
    if not isinstance(features, Mapping):
        return {}
    found = {column: getattr(kind, "names", None) for column, kind in features.items()}
    return {column: list(names) for column, names in found.items() if names}


def _is_class(cell: Any) -> bool:
    return isinstance(cell, int) and cell >= 0  # -1 is no label


def as_path(data: Any, what: str = "data") -> str:
    """Where data lie: a path as it is; rows, or rows by split, in files that are written here.

    Args:
        data: a path, or what `records` takes, or a mapping of these by split (train, valid or
            validation, test).
        what: what to call it in an error.

    Raises:
        UserError: no rows, an unknown split, or a value that JSON has no word for.
    """
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    by_split: Mapping[str, Any] = data if isinstance(data, Mapping) else {"": data}
    if unknown := [str(name) for name in by_split if name not in (*SPLITS, "")]:
        raise UserError(
            f"`{what}`: has no split {unknown[0]!r}; give rows, or a mapping with "
            f"{', '.join(SPLITS)}"
        )
    files = {name: _lines(rows, what) for name, rows in by_split.items()}
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    folder = cache_folder() / "rows" / digest.hexdigest()[:32]
    make_folder(folder)
    for name, content in files.items():
        _write(_file(folder, name), content)
    return str(_file(folder, "")) if "" in files else str(folder)


def _file(folder: Path, split: str) -> Path:
    names = {"": "rows", "validation": "valid"}
    return folder / f"{names.get(split, split)}.jsonl"


def _lines(rows: Any, what: str) -> bytes:
    found = [{"text": row} if isinstance(row, str) else row for row in records(rows)]
    if not found:
        raise UserError(f"`{what}`: has no rows")
    lines = []
    for number, row in enumerate(found):
        if not isinstance(row, Mapping):
            raise UserError(
                f"`{what}`: row {number} is a {type(row).__name__}; give a text, or a mapping"
            )
        try:
            lines.append(json.dumps(dict(row), ensure_ascii=False, default=_plain))
        except (TypeError, ValueError) as error:
            raise UserError(f"`{what}`: row {number}: {error}") from None
    return ("\n".join(lines) + "\n").encode("utf-8", errors="surrogatepass")


def _plain(value: Any) -> Any:
    """A number of numpy or an array, as Python has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.stat().st_size == len(content):
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
