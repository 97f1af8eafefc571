"""Files of a byte pair encoding: OpenAI's, the hub's, and those of a run.

encoder_bpe_40000.json + vocab_40000.bpe      GPT-1 as OpenAI published it
encoder.json + vocab.bpe                      GPT-2 as OpenAI published it
vocab.json + merges.txt                       the hub's, and what a run folder keeps
tokenizer.json                                the hub's newer form, all in one
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.errors import UserError
from gptjax.files import read_json, read_text

HUB = ("vocab.json", "merges.txt")
OPENAI_GPT1 = ("encoder_bpe_40000.json", "vocab_40000.bpe")
OPENAI_GPT2 = ("encoder.json", "vocab.bpe")
WHOLE = "tokenizer.json"
# Pieces that stand for themselves, such as <unk> and <|endoftext|>.
_NAMED = re.compile(r"<.+>|\[.+\]|\s(</w>)?")
# The merges files begin with a line that names their format.
HEADER = "#version: 0.2"


@dataclass(frozen=True)
class Bpe:
    """A byte pair encoding (Sennrich et al. 2016)."""

    vocabulary: Mapping[str, int]  # piece -> id; the ids are 0 … size - 1
    merges: Sequence[tuple[str, str]]  # of pieces, the most frequent first


def find(folder: Path) -> tuple[Path, ...]:
    """The files of a byte pair encoding in a folder, or nothing."""
    for names in (HUB, OPENAI_GPT1, OPENAI_GPT2, (WHOLE,)):
        files = tuple(folder / name for name in names)
        if files[0].exists():
            return files
    return ()


def read(folder: Path) -> Bpe:
    """The byte pair encoding in a folder, checked: ids without gaps, merges of known pieces."""
    files = find(folder)
    if not files:
        raise UserError(f"{folder}: no {' and '.join(HUB)} (or {WHOLE}) there")
    if len(files) == 1:
        model: Any = _object(files[0]).get("model")
        try:
            vocabulary, merges = dict(model["vocab"]), [_pair(merge) for merge in model["merges"]]
        except (TypeError, KeyError, ValueError):
            raise UserError(
                f"{files[0]}: is no tokenizer with a byte pair encoding (model.vocab, model.merges)"
            ) from None
    else:
        vocabulary, merges = _object(files[0]), _read_merges(files[1])
    _check(vocabulary, merges, files)
    return Bpe(vocabulary, merges)


def write(bpe: Bpe, folder: Path, names: tuple[str, str] = HUB) -> None:
    """Write the vocabulary and the merges into a folder, by default as the hub names them."""
    # In the order in which it was read, so that a file is given back as it came.
    (folder / names[0]).write_text(json.dumps(dict(bpe.vocabulary)), encoding="utf-8")
    lines = [HEADER, *(" ".join(pair) for pair in bpe.merges)]
    (folder / names[1]).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _object(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: is no JSON object")
    return content


def _read_merges(file: Path) -> list[tuple[str, str]]:
    merges = []
    # Not splitlines: a piece may be a character that Unicode counts among the line ends.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        merges.append(_pair(line))
        if len(merges[-1]) != 2:
            raise UserError(f"{file}: line {number} is no pair of pieces: {line[:60]!r}")
    return merges


def _pair(merge: Any) -> Any:
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not all(isinstance(part, str) for part in pair):
        raise TypeError("a merge is two strings")
    return tuple(pair)


def _check(
    vocabulary: Mapping[str, Any], merges: Sequence[tuple[str, ...]], files: Sequence[Path]
) -> None:
    ids = [value for value in vocabulary.values() if type(value) is int]
    if sorted(ids) != list(range(len(vocabulary))):
        raise UserError(
            f"{files[0]}: the ids of its {len(vocabulary):,} pieces are not 0 to "
            f"{len(vocabulary) - 1:,}, each once"
        )
    for number, merge in enumerate(merges, start=1):
        missing = [part for part in ("".join(merge), *merge) if part not in vocabulary]
        if len(merge) != 2 or missing:
            raise UserError(
                f"{files[-1]}: merge {number} ({' + '.join(merge)}) disagrees with the vocabulary "
                f"{files[0].name}, which lacks {missing[0] if missing else 'it'!r}: are both files "
                "of the same tokenizer?"
            )
    made = {"".join(merge) for merge in merges}
    if len(set(merges)) < len(merges):
        raise UserError(f"{files[-1]}: holds the same merge twice")
    for piece in vocabulary:
        whole = len(piece.removesuffix("</w>")) > 1
        if whole and piece not in made and not _NAMED.fullmatch(piece):
            raise UserError(
                f"{files[-1]}: no merge makes the piece {piece!r} of {files[0].name}: is the file "
                "cut off, or of another tokenizer?"
            )
