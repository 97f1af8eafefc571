"""Questions that a language model answers without being trained on them (paper, section 5).

A question has candidates, each a context that is read and a target whose tokens are scored:

- cola: the sentence; acceptable if its score is above a threshold.
- sst2: the sentence and `very`; `negative` or `positive`.
- race: passage and question; each answer.
- winograd: the text with each candidate in the pronoun's place; what follows it.
- lambada: a text; its last word.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Literal, NamedTuple

from gptjax.data.tables.columns import absent
from gptjax.data.tables.lines import READING, clean_text, read_lines
from gptjax.data.tasks.load import load_split
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.files import parse_json

Name = Literal["cola", "sst2", "race", "race-middle", "race-high", "winograd", "lambada"]


class Candidate(NamedTuple):
    """What is read first, and what is scored after it; together they are the text."""

    context: str
    target: str


class Question(NamedTuple):
    """One question: candidates of which one is right; a single one has its own rule."""

    candidates: tuple[Candidate, ...]
    gold: int | None  # the right one's number, or the label of a single one; None if it is hidden
    where: str  # file and line
    row: int | None = None  # its number in its split; None where the file has no rows


@dataclass(frozen=True)
class ZeroShotTask:
    """How a task is asked and judged."""

    # The candidate with the highest score; a score above a threshold that is fitted on the
    # training split; or every token of the target is the likeliest one.
    decision: Literal["choose", "threshold", "exact"]
    per_token: bool  # a target's score is the mean over its tokens, or else the sum (a whole word)
    task: Task | None = None  # of the table, whose examples are asked
    ask: Callable[[Example], Question] | None = None  # one of them
    read: Callable[[Path], list[Question]] | None = None  # else, a file of its own format

    @property
    def guess(self) -> float:
        """What random guessing gets in the task's first metric."""
        if self.decision != "choose":
            return 0.0
        return 1 / (2 if self.task is None else self.task.num_classes)  # two of a Winograd schema

    @property
    def supervised(self) -> float | None:
        """GPT-1's result after fine-tuning, or None.

        It stands for the best supervised one of its time, by which the paper's figure 2 divides.
        """
        return self.task.paper / 100 if self.task and self.task.paper is not None else None

    def questions(self, data: str, split: str) -> tuple[list[Question], str, bool]:
        """The questions, where they are from, and whether they are the offline sample's."""
        if self.task is None or self.ask is None:
            assert self.read is not None
            if data == "sample" and not Path(data).exists():
                raise UserError("`data=sample`: they have no offline sample; name a file")
            return self.read(Path(data).expanduser()), data, False
        found, sample = load_split(data, self.task, split)
        return [self.ask(example) for example in found.examples], found.source, sample


def ask_cola(example: Example) -> Question:
    """The sentence alone."""
    return _question(example, [("", example.texts[0])])


def ask_sst2(example: Example) -> Question:
    """`SENTENCE very`, and then `negative` or `positive`."""
    context = f"{example.texts[0]} very"
    return _question(example, [(context, " negative"), (context, " positive")])


def ask_race(example: Example) -> Question:
    """Passage and question, and then each answer."""
    passage, question, *options = example.texts
    return _question(example, [(f"{passage} {question}", f" {option}") for option in options])


def _question(example: Example, candidates: Iterable[tuple[str, str]]) -> Question:
    gold = None if example.target is None else int(example.target)
    return Question(tuple(starmap(Candidate, candidates)), gold, example.where, example.row)


def read_winograd(path: Path) -> list[Question]:
    """Winograd schemas: the XML collection, or Rahman and Ng's blocks of lines (DPR)."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".xml", ".txt"))
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise UserError(f"`data={path}`: name one file of schemas (there: {names})")
        path = files[0]
    if not path.is_file():
        raise UserError(f"`data={path}`: no such file")
    head = path.read_bytes()[:256].lstrip()
    found = list(_xml_schemas(path) if head.startswith(b"<") else _line_schemas(path))
    if not found:
        raise UserError(f"{path}: no schemas in it")
    return found


def _xml_schemas(path: Path) -> Iterator[Question]:
    try:
        root = ElementTree.parse(path).getroot()
    # Of an encoding that it does not know, the parser says so by other errors than its own.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{path}: is not XML ({error})") from None
    number = 0
    for number, schema in enumerate(root.iter("schema"), start=1):
        where = f"{path}: schema {number}"
        before, pronoun, after = (
            _inside(schema.find(f"text/{t}")) for t in ("txt1", "pron", "txt2")
        )
        answers = [_inside(answer) for answer in schema.iter("answer")]
        letter = _inside(schema.find("correctAnswer")).strip(" .")
        right = [found for found in ("A", "B") if found == letter]
        if not (pronoun and after and len(answers) == 2 and all(answers) and right):
            raise UserError(
                f"{where}: has no text, pronoun, two answers and A or B (the correct answer is "
                f"{letter[:40]!r}); correct or remove it"
            )
        yield _schema(before, after, answers, "AB".index(letter), where)
    if not number:
        raise UserError(f"{path}: no <schema> in it; give a file of Winograd schemas")


def _inside(element: ElementTree.Element | None) -> str:
    """All the text of an element, that of inner ones too; none of an absent one."""
    return "" if element is None else _tidy("".join(element.itertext()))


def _line_schemas(path: Path) -> Iterator[Question]:
    lines = [line.strip() for line in read_lines(path, READING)]
    done = 0
    for number, line in enumerate(lines):
        if number < done or not line:
            continue
        where, done = f"{path}: line {number + 1}", number + 4
        if len(lines) < done or not all(lines[number:done]):
            raise UserError(f"{where}: not four lines (sentence, pronoun, candidates, answer)")
        sentence, pronoun, pair, right = lines[number:done]
        candidates = [_tidy(name) for name in pair.split(",")]
        wanted = [name.lower() for name in candidates]
        if len(candidates) != 2 or _tidy(right).lower() not in wanted:
            raise UserError(f"{where}: the answer {right!r} is none of the two candidates {pair!r}")
        places = list(re.finditer(rf"\b{re.escape(pronoun)}\b", sentence))
        if not places:
            raise UserError(f"{where}: the pronoun {pronoun!r} is not in the sentence")
        before, after = sentence[: places[-1].start()], sentence[places[-1].end() :]
        yield _schema(before, after, candidates, wanted.index(_tidy(right).lower()), where)


def _schema(before: str, after: str, candidates: Sequence[str], gold: int, where: str) -> Question:
    before, after = _tidy(before), _tidy(after)
    joint = "" if after[:1] in ".,;:!?'" else " "
    if before and not before.endswith((".", "!", "?")):
        article = re.compile(r"^(The|A|An|My|His|Her|Their)\b")
        candidates = [article.sub(lambda found: found[0].lower(), name) for name in candidates]
    found = (Candidate(f"{before} {name}".strip(), joint + after) for name in candidates)
    return Question(tuple(found), gold, where)


def read_lambada(path: Path) -> list[Question]:
    """LAMBADA: texts whose last word is to be guessed; JSON lines, or a text a line."""
    if not path.is_file():
        raise UserError(f"`data={path}`: no such file")
    questions = []
    rows_of_json = path.suffix.lower() in (".json", ".jsonl", ".ndjson")
    for number, line in enumerate(read_lines(path, READING), start=1):
        where, text = f"{path}: line {number}", line.strip()
        if rows_of_json or text.startswith("{"):
            text = _json_text(text, where) if text else ""
        if not text:
            continue
        last = re.search(r"\s\S+$", text)
        if last is None:
            raise UserError(f"{where}: one word alone; there is nothing to guess it from")
        context, target = text[: last.start()], " " + last[0].strip()
        questions.append(Question((Candidate(context, target),), 0, where))
    if not questions:
        raise UserError(f"{path}: no texts in it")
    return questions


def _json_text(line: str, where: str) -> str:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise UserError(f"{where}: is no JSON object with a text ({error})") from None
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(value, dict) or not isinstance(text, str):
        there = f"the text is a {type(text).__name__}" if isinstance(value, dict) else "no object"
        if isinstance(value, dict) and "text" not in value:
            there = absent("text", value)
        raise UserError(f"{where}: is no JSON object with a text ({there}); correct or remove it")
    return clean_text(text, where, "strict").strip()


def _tidy(text: str) -> str:
    return " ".join(text.split())


ZERO_SHOT: Mapping[Name, ZeroShotTask] = {
    "cola": ZeroShotTask("threshold", True, TASKS["cola"], ask_cola),
    "sst2": ZeroShotTask("choose", False, TASKS["sst2"], ask_sst2),
    "race": ZeroShotTask("choose", True, TASKS["race"], ask_race),
    "race-middle": ZeroShotTask("choose", True, TASKS["race-middle"], ask_race),
    "race-high": ZeroShotTask("choose", True, TASKS["race-high"], ask_race),
    "winograd": ZeroShotTask("choose", True, read=read_winograd),
    "lambada": ZeroShotTask("exact", False, read=read_lambada),
}
