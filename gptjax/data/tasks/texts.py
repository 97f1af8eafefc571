"""The texts of a task's rows as documents, to train a language model on before fine-tuning.

Howard and Ruder (2018, section 3.2) call it target task LM fine-tuning. The source of documents is
written ``task:NAME[=DATA]``, where a corpus is named.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from gptjax.config import nearest
from gptjax.data.tables.lines import UTF_8
from gptjax.data.tasks.by_label import find_labelled, says_label, unlabelled_rows
from gptjax.data.tasks.examples import count_others, to_split
from gptjax.data.tasks.load import SAMPLE_WARNING, find_task_files
from gptjax.data.tasks.rows import read_rows
from gptjax.data.tasks.samples import SIZES, sample_split
from gptjax.data.tasks.splits import Example, Split
from gptjax.data.tasks.table import TASKS, find_task
from gptjax.data.tasks.task import Task
from gptjax.data.text import corpus
from gptjax.data.text.documents import Digest, Document, Source, Sources
from gptjax.data.text.settings import CorpusConfig
from gptjax.errors import UserError

PREFIX = "task:"
SPLITS = ("train", "valid", "test")
# Of a dataset on the hub: our name of a split that fine-tuning has no use for -> theirs (of imdb).
UNLABELLED = {"unlabelled": "unsupervised"}
# Where one of several SPLIT=PATH ends.
BETWEEN = re.compile(r"\s+(?=[a-z-]+=)")


class Named(NamedTuple):
    """What ``task:NAME[=DATA]`` names."""

    name: str  # of a task in the table, or a task file
    data: tuple[str, ...]  # as `gptjax.data.tasks.load.load_task_data` takes it


class TaskTexts:
    """The rows of some splits as documents, as `gptjax.data.text.documents.Source`."""

    def __init__(self, name: str, splits: Sequence[Split], task: Task) -> None:
        self.name = name
        self.splits = splits
        self._texts = [[row_text(one, task) for one in split.examples] for split in splits]
        lengths = (len(text.encode()) for texts in self._texts for text in texts)
        self.total_bytes: int | None = sum(lengths)
        reasons: Counter[str] = Counter()
        for split in splits:
            reasons.update({f"rows ({why})": count for why, count in split.dropped.items()})
        self.left_out: Mapping[str, int] = dict(reasons)

    def fingerprint(self) -> str:
        """sha256 of every text, in order."""
        content = hashlib.sha256(b"rows of a task\0")
        for text in chain.from_iterable(self._texts):
            content.update(f"{len(text.encode())}\0{text}".encode())
        return content.hexdigest()

    def digest(self) -> Digest:
        """The fingerprint, which has no names of files."""
        found = self.fingerprint()
        return Digest(found, found)

    def documents(self) -> Iterator[Document]:
        """One document per row, in file order."""
        for split, texts in zip(self.splits, self._texts, strict=True):
            for text in texts:
                yield Document(split.source, iter([text]))

    def report(self) -> Iterable[str]:
        """Lines for people: what was read, and what was left out and why."""
        for split in self.splits:
            count = len(split.examples)
            yield f"{split.name}: the text of {count:,} row{'s'[: count > 1]} from {split.source}"
            yield from (f"  {note}" for note in split.notes)
            for reason, count in split.dropped.items():
                yield f"  {count:,} left out: {reason} (first: {split.first[reason]})"


def is_task(data: str) -> bool:
    """Whether a corpus is named that is a task's rows."""
    return data.startswith(PREFIX)


def row_text(example: Example, task: Task) -> str:
    """The texts of a row in the order of the task's format, each a line; empty ones are left out.

    Of a choice they are the context, the question and the right option, which a row without a
    label does not have.
    """
    texts = example.texts
    if task.format == "choice":
        first = task.parts.index("options")
        right = () if example.target is None else (texts[first + int(example.target)],)
        texts = (*texts[:first], *right)
    return "\n".join(text for text in texts if text)


def named(data: str) -> Named:
    """The task and the words for its data.

    Raises:
        UserError: a task that does not exist, or one without training rows.
    """
    name, _, path = data.removeprefix(PREFIX).partition("=")
    if name.endswith(".toml"):
        name = str(Path(name).expanduser())
    elif name not in TASKS:
        raise UserError(f"`data={data}`: {nearest(name, list(TASKS))} A task file ends in .toml")
    elif (source := TASKS[name].trained_as) is not None:
        raise UserError(
            f"`data={data}`: {name} is a test set without training rows; take those of {source}"
        )
    several = path.partition("=")[0] in SPLITS
    return Named(name, tuple(BETWEEN.split(path)) if several else (path,) if path else ())


def check(config: CorpusConfig) -> None:
    """Refuse what can be refused before any text is read: also a task that does not exist, or files
    of it that are not there. Else as `gptjax.data.text.corpus.check`."""
    others = config
    if is_task(config.data):
        _find(config.data)
        others = replace(others, data=CorpusConfig.data)
    if config.validation is not None and is_task(config.validation):
        _find(config.validation)
        others = replace(others, validation=CorpusConfig.data)
    corpus.check(others)


def open_sources(config: CorpusConfig) -> Sources:
    """The documents that the settings name, which may be the rows of a task.

    A task's training rows are trained on, with a label or without. Its validation rows validate,
    unless ``validation`` names other text. Its test rows are not read.

    Raises:
        UserError: nothing there, or what is there cannot be read.
    """
    check(config)
    valid: Source | None = None
    if is_task(config.data):
        names = ("train", *UNLABELLED, *(() if config.validation else ("valid",)))
        task, splits = _read(config.data, config, names)
        if (own := splits.pop("valid", None)) is not None:
            valid = TaskTexts(f"{config.data} (valid)", [own], task)
        train: Source = TaskTexts(config.data, list(splits.values()), task)
    else:
        train = corpus.open_source_of(config)
    if config.validation is not None:
        if is_task(config.validation):
            valid = open_split(config.validation, config, "valid")
        else:
            valid = corpus.open_source_of(config, "validation")
    return Sources(train, valid)


def open_split(data: str, config: CorpusConfig, name: str) -> TaskTexts:
    """The rows of one split of ``data``, a task; of a single file all rows. Raises as above."""
    task, splits = _read(data, config, (name,))
    return TaskTexts(data, list(splits.values()), task)


def report(sources: Sources) -> Iterator[str]:
    """Lines for people: what was read of tasks, and what was left out and why."""
    for source in sources:
        if isinstance(source, TaskTexts):
            yield from source.report()


def _find(data: str) -> tuple[Task, tuple[str, ...], Mapping[str, Path] | None]:
    """The task, the words for its data, and the file of every split where the data are files."""
    name, words = named(data)
    task = find_task(name)
    folder = Path(name).parent if name.endswith(".toml") else None
    try:
        return task, words, find_task_files(words, task, folder)
    except UserError as error:  # which is of what stands after the name
        raise UserError(f"{PREFIX}{name}: {error}") from error


def _read(data: str, config: CorpusConfig, names: Sequence[str]) -> tuple[Task, dict[str, Split]]:
    """The splits with these names, of which the first one has to be there."""
    task, words, files = _find(data)
    there: Collection[str]
    if files is not None:
        if len(words) == 1 and files == {"train": Path(words[0]).expanduser()}:
            files = {names[0]: files["train"]}
        there = files
        splits = {
            name: _read_file(files[name], task, name, config) for name in names if name in there
        }
    elif words == ("sample",):
        there = SIZES
        note = SAMPLE_WARNING.format(task=task.name)
        splits = {
            name: replace(sample_split(task, name), notes=(note,))
            for name in names
            if name in there
        }
    else:
        splits = _read_hub(task, words[0].partition(":")[2] if words else "", names)
        there = splits
    if names[0] not in splits:
        raise UserError(
            f"`data={data}`: no rows of the split {names[0]} here, only of {', '.join(there)}; "
            f"name their file: {PREFIX}{named(data).name}={names[0]}=FILE"
        )
    return task, splits


def _read_hub(task: Task, source: str, names: Sequence[str]) -> dict[str, Split]:
    from gptjax.data.tasks.hub import hub_splits  # `datasets` takes a second to import.

    if task.hub is not None:
        theirs = {**task.hub.splits, **UNLABELLED}
        wanted = {name: theirs[name] for name in names if name in theirs}
        task = replace(task, hub=replace(task.hub, splits=wanted))
    return dict(hub_splits(task, source or None, strict=False, labels=False))


def _read_file(path: Path, task: Task, name: str, config: CorpusConfig) -> Split:
    """The rows of a file, read as fine-tuning reads it, whatever their labels are."""
    encoding = task.reading.encoding if config.encoding == UTF_8 else config.encoding
    sheet = config.sheet or task.reading.sheet
    reading = replace(task.reading, encoding=encoding, sheet=sheet, errors=config.encoding_errors)
    notes: list[str] = []
    rows = read_rows(path, task, reading, notes.append)
    found = find_labelled(path, task) if says_label(path) else None
    if found is not None:
        rows = chain(rows, unlabelled_rows(found.texts, task, reading))
    split = to_split(
        rows,
        task,
        name,
        source=str(path),
        fingerprint="",  # `TaskTexts` has one of the texts
        reading=reading,
        labels=False,
        required=(),
    )
    if found is not None:
        texts = set(found.texts)
        others = [file for file in found.others if file not in texts]
        split = count_others(split, replace(found, others=others))
    return replace(split, notes=notes)
