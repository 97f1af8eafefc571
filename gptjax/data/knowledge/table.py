"""The knowledge of a task on disk: pairs of base forms with their relations, and base forms.

A folder with two packed tables, whose bytes depend on their content alone:

    pairs.tsv.gz     with a header: two words and the five values; no pair of equal words
    lemmas.tsv.gz    without one: a word, and its base forms with blanks between them
"""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from gptjax.data.knowledge.lemmas import Lemmas
from gptjax.data.knowledge.relations import ITSELF, NAMES, NONE, Pairs, Relations
from gptjax.errors import UserError
from gptjax.files import make_folder, read_bytes

PAIRS, LEMMAS = "pairs.tsv.gz", "lemmas.tsv.gz"
# Pairs whose relations are remembered; most texts have the same words.
MOST_PAIRS = 1_000_000
HEADER = ("word1", "word2", *NAMES)


@dataclass(frozen=True)
class Knowledge:
    """What is known of the words of a task."""

    pairs: Pairs
    lemmas: Lemmas

    def base_forms(self, word: str) -> Sequence[str]:
        """The base forms of a word, written like this or without capitals; none is known to
        WordNet of words that have none."""
        return self.lemmas.get(word) or self.lemmas.get(word.lower(), ())

    def relations(self, first: str, second: str) -> Relations:
        """The relations of two words as they stand in texts: the most that is said of any of
        their base forms."""
        key = (first, second)
        found = self._known.get(key)
        if found is None:
            if len(self._known) > MOST_PAIRS:
                self._known.clear()
            found = self._known[key] = self._relations(first, second)
        return found

    def between(
        self, first: Sequence[str], second: Sequence[str]
    ) -> Float32[np.ndarray, "m n relations"]:
        """`relations` of each of m words with each of n others."""
        found = np.zeros((len(first), len(second), len(NAMES)), np.float32)
        for row, one in enumerate(first):
            for column, other in enumerate(second):
                values = self.relations(one, other)
                if values is not NONE:
                    found[row, column] = values
        return found

    @cached_property
    def _known(self) -> dict[tuple[str, str], Relations]:
        return {}

    def _relations(self, first: str, second: str) -> Relations:
        values = [
            ITSELF if one == other else self.pairs.get((one, other), NONE)
            for one in self.base_forms(first)
            for other in self.base_forms(second)
        ]
        most = Relations(*map(max, zip(NONE, *values, strict=True)))
        return NONE if most == NONE else most


def write_knowledge(knowledge: Knowledge, folder: Path) -> None:
    """Write both tables into a folder, which is made if it is missing.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(folder)
    rows = ((*pair, *map("{:g}".format, values)) for pair, values in knowledge.pairs.items())
    _write(folder / PAIRS, (HEADER, *rows))
    lemmas = sorted(knowledge.lemmas.items())
    _write(folder / LEMMAS, ((word, " ".join(forms)) for word, forms in lemmas))


def read_knowledge(folder: Path) -> Knowledge:
    """What `write_knowledge` wrote.

    Raises:
        UserError: a table is not there, or damaged.
    """
    return Knowledge(read_pairs(folder / PAIRS), read_lemmas(folder / LEMMAS))


def read_pairs(file: Path) -> Pairs:
    """A table of pairs, packed or not."""
    rows = _read(file, len(HEADER))
    if next(rows, None) != list(HEADER):
        raise UserError(f"{file}: does not begin with the columns {' '.join(HEADER)}")
    pairs: Pairs = {}
    for number, (first, second, *values) in enumerate(rows, 2):
        try:
            found = Relations(*map(float, values))
        except ValueError:
            found = NONE
        if not all(0 <= value <= 1 for value in found) or found == NONE:
            raise UserError(f"{file}, line {number:,}: its values are not from 0 to 1, or all 0")
        pairs[first, second] = found
    return pairs


def read_lemmas(file: Path) -> dict[str, list[str]]:
    """A table of base forms, packed or not; a word may have none."""
    return {word: forms.split() for word, forms in _read(file, 2)}


def _write(file: Path, rows: Iterable[Sequence[str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in rows)
    packed = io.BytesIO()
    # Without the time and the file's name, which would be part of the bytes.
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as stream:
        stream.write(text.encode())
    temporary = file.with_name(f".{file.name}")
    try:
        temporary.write_bytes(packed.getvalue())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _read(file: Path, columns: int) -> Iterator[list[str]]:
    """The rows of a table."""
    content = read_bytes(file.expanduser(), "table of knowledge")
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        lines = content.decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise UserError(f"{file}: is damaged; write it anew with `gptjax knowledge`") from None
    for number, line in enumerate(lines, 1):
        row = line.split("\t")
        if len(row) != columns:
            raise UserError(f"{file}, line {number:,}: has {len(row)} columns, not {columns}")
        yield row
