"""WordNet's database files, read as wndb(5WN) describes them.

A line of ``data.POS`` is a synset: its offset, words and pointers to other synsets, then a gloss.
Of the pointers two are used: `@`, a hypernym (`@i`, of which the synset is an instance, is another
one), and `!`, an antonym, which stands between two words of the synsets.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gptjax.errors import UserError
from gptjax.files import read_text

PARTS = ("noun", "verb", "adj", "adv")
LETTERS = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
HYPERNYM, ANTONYM = "@", "!"
VERSION = "3.0"  # the one that KIM used
PHRASE = "_"  # what is written for the blank of a phrase
UNKNOWN_VERSION = "of an unknown version"
INSTALL = "Debian's package wordnet-base has it in /usr/share/wordnet"

Key = tuple[str, int]  # part of speech and offset in its file
_HEADER = re.compile(r"WordNet (\d+(?:\.\d+)+)")
# Where an adjective may stand: galore(ip).
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


@dataclass(frozen=True)
class Synset:
    """Words of one meaning."""

    part: str  # one of `PARTS`
    words: tuple[str, ...]  # as they are written, a phrase with `PHRASE`
    hypernyms: tuple[Key, ...]
    # Of each antonym: the place of the word here, the other synset and the place there, from 0.
    antonyms: tuple[tuple[int, Key, int], ...]


@dataclass(frozen=True)
class WordNet:
    """The synsets of the database, and the base forms of irregular words."""

    version: str
    synsets: Mapping[Key, Synset]
    # Part of speech -> word -> base forms, from the files NAME.exc; empty without them.
    exceptions: Mapping[str, Mapping[str, Sequence[str]]]

    @cached_property
    def words(self) -> dict[str, frozenset[str]]:
        """Part of speech -> its words, with their capitals and without phrases."""
        found: dict[str, set[str]] = {part: set() for part in PARTS}
        for synset in self.synsets.values():
            found[synset.part].update(word for word in synset.words if PHRASE not in word)
        return {part: frozenset(words) for part, words in found.items()}

    @cached_property
    def known(self) -> frozenset[str]:
        """The words of all parts of speech."""
        return frozenset().union(*self.words.values())

    @property
    def notice(self) -> str | None:
        """A line for people where it is another version than KIM's."""
        if self.version == VERSION:
            return None
        return f"notice: this is WordNet {self.version}; KIM used {VERSION}, so that values differ"


def read_wordnet(folder: Path) -> WordNet:
    """The database in a folder: ``data.noun``, ``data.verb``, ``data.adj`` and ``data.adv``, and
    ``noun.exc`` and so on where they are.

    Raises:
        UserError: a file is missing or no WordNet file, or a pointer leads nowhere.
    """
    folder = folder.expanduser()
    if not (folder / "data.noun").exists():
        raise UserError(f"`wordnet={folder}`: no file data.noun in this folder; {INSTALL}")
    version = UNKNOWN_VERSION
    synsets: dict[Key, Synset] = {}
    for part in PARTS:
        file = folder / f"data.{part}"
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if line.startswith("  "):  # of the licence, which begins the file
                if version == UNKNOWN_VERSION and (header := _HEADER.search(line)):
                    version = header[1]
            elif line:
                try:
                    key, synset = _synset(line)
                except (ValueError, IndexError, KeyError):
                    raise UserError(f"{file}, line {number:,}: is no synset of WordNet") from None
                synsets[key] = synset
    _check(synsets, folder)
    exceptions = {part: dict(_exceptions(folder / f"{part}.exc")) for part in PARTS}
    return WordNet(version, synsets, exceptions)


def _synset(line: str) -> tuple[Key, Synset]:
    """A synset of its line; numbers of words, and places of words, are hexadecimal."""
    offset, _, letter, count, *rest = line.partition("|")[0].split()
    end = 2 * int(count, 16)
    words = tuple(_MARKER.sub("", word) for word in rest[0:end:2])
    pointers = rest[end + 1 : end + 1 + 4 * int(rest[end])]
    if not words or len(words) * 2 != end or len(pointers) != 4 * int(rest[end]):
        raise ValueError(line)
    hypernyms, antonyms = [], []
    for symbol, target, part, places in zip(*(iter(pointers),) * 4, strict=True):
        other = (LETTERS[part], int(target))
        if symbol == HYPERNYM:
            hypernyms.append(other)
        # The place 0 would be the whole synset.
        elif symbol == ANTONYM and (here := int(places[:2], 16)) and (there := int(places[2:], 16)):
            antonyms.append((here - 1, other, there - 1))
    part = LETTERS[letter]
    return (part, int(offset)), Synset(part, words, tuple(hypernyms), tuple(antonyms))


def _check(synsets: Mapping[Key, Synset], folder: Path) -> None:
    """See to it that every pointer leads to a synset, and that it has the words."""
    for (part, offset), synset in synsets.items():
        places = [(key, 0) for key in synset.hypernyms]
        for here, key, there in synset.antonyms:
            places += [((part, offset), here), (key, there)]
        for key, place in places:
            if key not in synsets or place >= len(synsets[key].words):
                raise UserError(
                    f"{folder / f'data.{part}'}: synset {offset:08} points to {key[0]} {key[1]:08}"
                    ", which is not there; the files must be of one version"
                )


def _exceptions(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Irregular words and their base forms; none if there is no file."""
    if file.exists():
        for line in read_text(file).split("\n"):
            word, *forms = line.split() or [""]
            if forms:
                yield word, forms
