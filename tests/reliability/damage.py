"""Damaged files of runs and of the cache: opened, resumed and reported.

What a damaged run answers is the answer of the whole one, or it says that something is damaged.
"""

import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability import inputs
from tests.reliability.commands import Ended, fault, forked
from tests.reliability.trials import Found

ANSWERS = "answers.json"
# What a command says where something is not as it was written.
SAID = re.compile(r"damag|instead|notice|changed|not as|left out|cannot|no longer|without", re.I)
SPEED = re.compile(r"[\d.,]+ rows per second")
TIMES = ("tokens_per_second", "seconds", "started", "resumed", "made", "run_started", "command")


@dataclass(frozen=True)
class Action:
    """What is done with a run, and the files in which its answer lies, beside what it prints."""

    damaged: str  # a run, the files of which are damaged
    words: tuple[str, ...]
    answer: tuple[str, ...] = ()


def _action(damaged: str, words: str, *answer: str) -> Action:
    return Action(damaged, tuple(words.split()), answer)


NO_MODEL = ("report", "compare")  # open no model
ROWS = "--data rows.tsv --out x.tsv"
ALL: Sequence[Action] = (
    _action("pretrained", "report --runs pretrained --out page.html", "page.html"),
    _action("seeds", "report --runs seeds --out page.html", "page.html"),
    _action("sweep", "report --runs sweep --out page.html", "page.html"),
    _action("pretrained", "generate --run pretrained --prompt The --max-tokens 12 --seed 3"),
    _action("pretrained", "evaluate --run pretrained --data text.txt --out m", "m/results.json"),
    _action("seeds/seed-2", f"predict --run seeds/seed-2 {ROWS}", "x.tsv"),
    _action("hub", "generate --run hf:hub --prompt The --max-tokens 12 --seed 3"),
    _action("seeds", "compare seeds seeds/seed-2 --resamples 50"),
    *(
        _action(
            damaged,
            "pretrain --out interrupted-pretraining --resume auto",
            *(f"interrupted-pretraining/{name}" for name in ("results.json", "samples.txt")),
        )
        for damaged in ("interrupted-pretraining", "cache")
    ),
    _action(
        "interrupted-finetuning",
        "finetune --out interrupted-finetuning --resume auto",
        *(f"interrupted-finetuning/{name}" for name in ("results.json", "predictions.tsv")),
    ),
)


def prepare(folder: Path) -> None:
    """What the whole runs answer; once for a folder of trials."""
    inputs.prepare(folder)
    path = folder / ANSWERS
    if path.exists():
        return
    answers = {}
    for number, action in enumerate(ALL):
        work = folder / "work" / f"answer-{number}"
        _copy(folder, work)
        ended = forked(action.words, work, GPTJAX_CACHE=str(work / "cache"))
        assert ended.code == 0, (action, ended.err)
        said = _lines(ended)
        answers[str(number)] = {"answer": _answer(action, ended, work), "said": sorted(said)}
        if action.damaged == "cache":  # filled by this command
            filled = folder / inputs.SPECIMENS / "cache"
            shutil.copytree(work / "cache", filled, dirs_exist_ok=True)
        shutil.rmtree(work)
    path.write_text(json.dumps(answers))


def _lines(ended: Ended) -> set[str]:
    """What it said, without numbers."""
    return {re.sub(r"[\d.,]+", "0", line) for line in (ended.err + ended.out).splitlines()}


def _copy(folder: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / inputs.SPECIMENS, work)


def _answer(action: Action, ended: Ended, work: Path) -> list[Any]:
    """What it printed and wrote, without times."""
    found: list[Any] = [SPEED.sub("", ended.out)]
    for name in action.answer:
        text = (work / name).read_text(encoding="utf-8", errors="replace")
        found.append(_timeless(json.loads(text)) if name.endswith(".json") else text)
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """One damage to one file, and one command."""
    place = draw.randrange(len(ALL))
    return damaged(place, draw, work, folder)


def damaged(place: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """The same, of the action at ``place``."""
    action = ALL[place]
    _copy(folder, work)
    files = sorted(path for path in (work / action.damaged).rglob("*") if path.is_file())
    if action.words[0] in NO_MODEL:
        files = [path for path in files if not {"checkpoints", "tokenizer"} & set(path.parts)]
    # Of equal chance by name: a checkpoint has many files of a few names.
    name = draw.choice(sorted({path.name for path in files}))
    file = draw.choice([path for path in files if path.name == name])
    kind = draw.choice(DAMAGES)
    what = f"{' '.join(action.words)}, {file.relative_to(work)}: {kind(file, draw)}"
    ended = forked(action.words, work, GPTJAX_CACHE=str(work / "cache"))
    if found := fault(ended, what):
        return found
    answers = folder / ANSWERS
    if ended.code == 0 and answers.exists():
        expected = json.loads(answers.read_text())[str(place)]
        new = _lines(ended) - set(expected["said"])
        if not any(map(SAID.search, new)) and _answer(action, ended, work) != expected["answer"]:
            return Found("silent", what, ended.last)
    return Found("good", what, str(ended.code))


def flip(file: Path, draw: random.Random) -> str:
    """One bit."""
    content = bytearray(file.read_bytes())
    if not content:
        return delete(file, draw)
    place = draw.randrange(len(content))
    content[place] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return f"a bit of byte {place}"


def truncate(file: Path, draw: random.Random) -> str:
    """The end is missing."""
    size = draw.randrange(file.stat().st_size + 1)
    with file.open("r+b") as stream:
        stream.truncate(size)
    return f"cut to {size} bytes"


def delete(file: Path, draw: random.Random) -> str:
    """The file is missing."""
    file.unlink()
    return "deleted"


def zero(file: Path, draw: random.Random) -> str:
    """A block of zeros, as a file system leaves it after a power failure."""
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content) + 1)
    end = min(len(content), start + draw.choice((1, 16, 512, 1 << 20)))
    content[start:end] = bytes(end - start)
    file.write_bytes(content)
    return f"zeros from {start} to {end}"


DAMAGES: Sequence[Callable[[Path, random.Random], str]] = (flip, flip, truncate, delete, zero)
