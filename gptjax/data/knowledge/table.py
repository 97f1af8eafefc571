"""The knowledge of a task on disk: pairs of base forms with their relations, and base forms.

A folder with two packed tables, whose bytes depend on their content alone:

    pairs.tsv.gz     with a header: two words and the five values; no pair of equal words
    lemmas.tsv.gz    without one: a word, and its base forms with blanks between them
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        for _, _, values in self.related([first], [second]):
            return values
        return NONE

    def related(
        self, first: Sequence[str], second: Sequence[str]
    ) -> Iterator[tuple[int, int, Relations]]:
        """The places of words that are related, among some words and among others, and how."""
        forms = [self.base_forms(word) for word in second]
        there = {form for own in forms for form in own}
        for row, word in enumerate(first):
            partners = self._partners(word)
            if partners.keys().isdisjoint(there):
                continue
            for column, own in enumerate(forms):
                if found := [partners[form] for form in own if form in partners]:
                    yield row, column, _most(found)

    def between(
        self, first: Sequence[str], second: Sequence[str]
    ) -> Float32[np.ndarray, "m n relations"]:
        """`relations` of each of m words with each of n others."""
        found = np.zeros((len(first), len(second), len(NAMES)), np.float32)
        for row, column, values in self.related(first, second):
            found[row, column] = values
        return found

    def _partners(self, word: str) -> Mapping[str, Relations]:
        """The base forms that a word has a relation to, and which."""
        forms = self.base_forms(word)
        if len(forms) < 2:
            return self._beside.get(forms[0], {}) if forms else {}
        found = self._joined.get(word)
        if found is None:
            several = [self._beside[form] for form in forms]
            others = dict.fromkeys(other for one in several for other in one)
            found = self._joined[word] = {
                other: _most([one[other] for one in several if other in one]) for other in others
            }
        return found

    @cached_property
    def _beside(self) -> dict[str, dict[str, Relations]]:
        """The pairs by their first word; each base form is beside itself, too."""
        found = {form: {form: ITSELF} for forms in self.lemmas.values() for form in forms}
        for (first, second), values in self.pairs.items():
            found.setdefault(first, {})[second] = values
        return found

    @cached_property
    def _joined(self) -> dict[str, dict[str, Relations]]:
        """What `_partners` has found of words with several base forms."""
        return {}


def _most(several: Sequence[Relations]) -> Relations:
    """The highest value of each relation."""
    return several[0] if len(several) == 1 else Relations(*map(max, *several))


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


def digest_of(folder: Path) -> str:
    """sha256 (hex) of the bytes of both tables; a UserError where one is not there."""
    digest = hashlib.sha256()
    for name in (PAIRS, LEMMAS):
        content = read_bytes(folder / name, "table of knowledge")
        digest.update(f"{name} {len(content)}\0".encode() + content)
    return digest.hexdigest()


def read_pairs(file: Path) -> Pairs:
    """A table of pairs, packed or not."""
    rows = _read(file, len(HEADER))
    if next(rows, None) != list(HEADER):
        raise UserError(f"{file}: does not begin with the columns {' '.join(HEADER)}")
    pairs: Pairs = {}
    known: dict[tuple[str, ...], Relations] = {}  # most values are those of other pairs, too
    for number, (first, second, *numbers) in enumerate(rows, 2):
        found = known.get(values := tuple(numbers))
        if found is None:
            found = known[values] = _values(values, f"{file}, line {number:,}")
        pairs[first, second] = found
    return pairs


def _values(numbers: Sequence[str], where: str) -> Relations:
    try:
        found = Relations(*map(float, numbers))
    except ValueError:
        found = NONE
    if not all(0 <= value <= 1 for value in found) or found == NONE:
        raise UserError(f"{where}: its values are not from 0 to 1, or all 0")
    return found


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
