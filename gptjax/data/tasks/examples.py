"""A task's rows as examples: texts and a target, with every refusal counted and named."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptjax.data.tables.columns import is_nested, with_nested
from gptjax.data.tables.containers import is_there
from gptjax.data.tables.format import Row
from gptjax.data.tables.lines import FileReading, clean_text
from gptjax.data.tasks.by_label import PLACE, Labelled, find_labelled, says_label
from gptjax.data.tasks.match import ANNOTATIONS, FILES, Advice, Matcher
from gptjax.data.tasks.options import check_options, listed_options
from gptjax.data.tasks.rows import columns_hint, files_of, read_rows
from gptjax.data.tasks.splits import Example, Split
from gptjax.data.tasks.targets import Targets, plain
from gptjax.data.tasks.task import CATEGORY, LABEL, OPTIONAL, Column, Task, named_columns, names_of
from gptjax.data.text.documents import digest_files
from gptjax.errors import UserError

# A split of which more rows than this share cannot be used was read wrongly.
MOST_UNUSABLE = 0.5
MOST_REASONS = 8  # that an error lists
NO_LABEL = "no label, or none that the annotators agreed on"


def read_split(
    path: Path,
    task: Task,
    name: str,
    *,
    strict: bool = False,
    reading: FileReading | None = None,
    labels: bool = True,
    required: Collection[str] = ANNOTATIONS,
    seen: list[Row] | None = None,
) -> Split:
    """The examples of a file or folder; see `to_split`. ``seen`` gets all rows, those too that
    cannot be used."""
    by_label = find_labelled(path, task) if says_label(path) else None
    if by_label is not None:
        present, root, kind = [file for _, file in by_label.files], by_label.root, PLACE
    else:
        present = [file for file in files_of(path) if is_there(file)]
        root, kind = path if path.is_dir() else path.parent, path.suffix.lower()
    digest = digest_files(root, present, kind)
    notes: list[str] = []
    rows = read_rows(path, task, reading, notes.append, labels=labels)
    split = to_split(
        rows if seen is None else _noted(rows, seen),
        task,
        name,
        source=str(path),
        fingerprint=digest.content,
        strict=strict,
        reading=reading,
        labels=labels,
        required=required,
    )
    if by_label is not None:
        split = count_others(split, by_label)
    return replace(split, earlier=digest.named, files=digest.files, notes=notes)


def count_others(split: Split, found: Labelled) -> Split:
    """The split, the files that belong to none of the labels counted with what is left out."""
    if not found.others:
        return split
    reason, first = found.left_out
    dropped = {**split.dropped, reason: len(found.others)}
    return replace(split, dropped=dropped, first={**split.first, reason: first})


def _noted(rows: Iterable[Row], seen: list[Row]) -> Iterator[Row]:
    for row in rows:
        seen.append(row)
        yield row


def to_split(
    rows: Iterable[Row],
    task: Task,
    name: str,
    *,
    source: str,
    fingerprint: str,
    strict: bool = False,
    reading: FileReading | None = None,
    labels: bool = True,
    required: Collection[str] = ANNOTATIONS,
    advice: Advice = FILES,
) -> Split:
    """Examples from rows.

    A row without a label that can be used (none agreed on, or hidden) is left out, unless no row
    of the split has one: then it is a split without labels. So are rows with the wrong number of
    columns, an empty text or an unknown label. ``strict`` stops at the first of them. Without
    ``labels`` no row is left out for its label, and those that cannot be used are None.

    A column that was named by hand (`Task.named`) has to be there; of the label and the category,
    if ``required``, in one row. ``reading`` is the task's own where it is None.
    ``advice`` says what errors tell people to do.

    Raises:
        UserError: a column is missing, or is named for two parts; a label number, a score or a
            number of options outside its range; nothing left, or less than half.
    """
    reader = _Reader(task, reading or task.reading, labels, advice)
    examples: list[Example] = []
    dropped: dict[str, int] = {}
    first: dict[str, str] = {}

    def drop(reason: str, where: str) -> None:
        if strict:
            raise UserError(f"{where}: {reason}; {advice.row}")
        dropped[reason] = dropped.get(reason, 0) + 1
        first.setdefault(reason, where)

    for index, row in enumerate(rows):
        result = row.fault if row.fault is not None else reader.read(row, index)
        if isinstance(result, str):
            drop(result, row.where)
        else:
            examples.append(result)
    reader.matcher.check(required)
    if labels and any(example.target is not None for example in examples):
        for example in examples:
            if example.target is None:
                drop(NO_LABEL, example.where)
        examples = [example for example in examples if example.target is not None]
    total = len(examples) + sum(dropped.values())
    if not examples or sum(dropped.values()) > MOST_UNUSABLE * total:
        raise UserError(
            f"{source}: {len(examples):,} of {total:,} rows can be used{_reasons(dropped, first)}; "
            f"{columns_hint(task)}"
        )
    return Split(name, source, examples, dropped, first, fingerprint)


def _reasons(dropped: Mapping[str, int], first: Mapping[str, str]) -> str:
    """Why rows were left out; of many reasons the first ones."""
    found = [f"{n:,} × {reason} (first: {first[reason]})" for reason, n in dropped.items()]
    if len(found) > MOST_REASONS:
        found = [*found[:MOST_REASONS], f"and {len(found) - MOST_REASONS:,} more reasons"]
    return f": {'; '.join(found)}" if found else ""


class _Reader:
    """Rows to examples."""

    def __init__(self, task: Task, reading: FileReading, labels: bool, advice: Advice) -> None:
        self.task = task
        self.reading = reading
        self.labels = labels
        self.advice = advice
        self.matcher = Matcher(task, advice)
        self._nested = [name for name in named_columns(task) if is_nested(name)]
        self._target = Targets(task)

    def read(self, row: Row, index: int) -> Example | str:
        """The example, or why there is none."""
        row = row._replace(cells=with_nested(row.cells, self._nested))
        columns = self.matcher.columns(row)
        texts: list[str] = []
        for part in self.task.parts:
            column = columns[part]
            if part == "options":
                options = self._options(row, column)
                if not all(options):
                    return "an empty option"
                texts += options
                continue
            text = self._text(row, column)
            if not text and part not in OPTIONAL:
                return f"an empty {part}"
            texts.append(text)
        category = self._text(row, columns[CATEGORY])
        label = columns[LABEL]
        if isinstance(label, tuple):
            raise UserError(
                f"`columns=label={','.join(label)}`: the label is one column, and one label a row "
                f"is supported: name one of them, such as `columns=label={label[0]}`"
            )
        try:
            target = None if label is None else self._target.read(row.cells[label], row.where)
            self._check_option(row, texts, target)
        except UserError:
            if self.labels:
                raise
            target = None
        if isinstance(target, str):
            if self.labels:
                return target
            target = None
        return Example(tuple(texts), target, row.where, index, category)

    def _check_option(self, row: Row, texts: list[str], target: object) -> None:
        """Refuse the number of an option that the row does not have."""
        if self.task.format == "choice" and isinstance(target, int):
            count = len(texts) - self.task.parts.index("options")
            if target >= count:
                raise UserError(
                    f"{row.where}: the label {self.task.labels[target]} is option {target + 1}, "
                    f"and the row has {count} options; correct or remove the row"
                )

    def _text(self, row: Row, column: Column | None) -> str:
        texts = (self._clean(row, row.cells[name], name) for name in names_of(column or ()))
        return " ".join(text for text in texts if text)

    def _clean(self, row: Row, value: Any, name: str) -> str:
        where = f"{row.where}: {name}"
        value = plain(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            other = self.advice.column.format(part="PART")
            raise UserError(f"{where}: a {type(value).__name__}, not text; another column? {other}")
        # Line ends and repeated spaces are how a table was written, not what it says.
        text = clean_text(value or "", where, self.reading.errors, self.advice.character)
        return " ".join(text.split())

    def _options(self, row: Row, column: Column | None) -> list[str]:
        if isinstance(column, tuple):
            options = [self._clean(row, row.cells[name], name) for name in column]
        else:
            assert column is not None
            values = listed_options(row.cells[column])
            if values is None:
                shown = str(row.cells[column])[:40]
                raise UserError(
                    f"{row.where}: {column} is no list of options ({shown!r}); "
                    'write one such as ["a", "b"], or name a column for each option: set '
                    "`columns=options=COLUMN,COLUMN`"
                )
            options = [self._clean(row, value, column) for value in values]
        return check_options(options, self.task, row.where)
