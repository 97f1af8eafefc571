"""Examples and the splits that they are in: read, held back by a task's rule, or drawn."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError


class Example(NamedTuple):
    """One example."""

    texts: tuple[str, ...]  # as `task.parts` names them, each option of a choice one
    target: int | float | None  # the number of the class or option, a score, or no label
    where: str  # file and line
    row: int  # its number in its split, from 0, rows that were left out counted too
    category: str = ""  # what its row says in the task's column of that name


@dataclass(frozen=True)
class Split:
    """The examples of one split."""

    name: str  # "train", "valid", "test", …
    source: str  # the file or dataset they are from, and how, for people
    examples: Sequence[Example]  # in file order
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows that were left out
    first: Mapping[str, str] = field(default_factory=dict)  # reason -> the first such row
    fingerprint: str = ""  # sha256 (hex) of the content
    earlier: str = ""  # the same with the files' names, as runs recorded it at first
    files: Mapping[str, str] = field(default_factory=dict)  # name -> size and hash
    notes: Sequence[str] = ()  # lines for people: what the content of a file told

    @property
    def labelled(self) -> bool:
        """Whether every example has a target."""
        return all(example.target is not None for example in self.examples)

    @property
    def rows(self) -> int:
        """How many were read, those that were left out too."""
        return len(self.examples) + sum(self.dropped.values())

    def report(self) -> Iterable[str]:
        """Lines for people: what was read, and what was left out and why."""
        labels = "" if self.labelled else ", without labels"
        yield f"{self.name}: {len(self.examples):,} examples{labels} from {self.source}"
        yield from (f"  {note}" for note in self.notes)
        for reason, count in self.dropped.items():
            yield f"  {count:,} left out: {reason} (first: {self.first[reason]})"


def hold_back(split: Split, task: Task, into: str) -> tuple[Split, Split]:
    """Two splits out of one, by the task's rule: what remains, and what is held back as ``into``.

    The examples are shuffled with the task's own seed (scikit-learn), the same in every run; where
    the rule says so, those with the same first text (a premise, a passage) stay together.
    """
    rule, count = task.holdout, len(split.examples)
    held = max(round(rule.fraction * count), 1)
    if count < 2:
        raise UserError(f"{split.source}: one example cannot be split into train and valid")
    if not 1 <= held < count:
        raise UserError(
            f"{split.source}: of {count} examples {held} would be held back, which leaves none; "
            "give more examples, or a validation file"
        )
    # To import it takes as long as the rest of `gptjax pretrain` together, which seldom needs it.
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    groups = [example.texts[0] for example in split.examples]
    indices = np.arange(count)
    if rule.grouped and len(set(groups)) > 1:
        splitter = GroupShuffleSplit(1, test_size=rule.fraction, random_state=rule.seed)
        rest, taken = next(splitter.split(indices, groups=groups))
    else:
        rest, taken = train_test_split(indices, test_size=held, random_state=rule.seed)

    def part(name: str, chosen: np.ndarray) -> Split:
        examples = [split.examples[i] for i in sorted(chosen)]
        source = f"{split.source} ({len(chosen):,} of {count:,}, held back by rule)"
        return _part_of(split, f"{rule}:{name}", name=name, source=source, examples=examples)

    remaining = part(split.name if split.name != into else "train", rest)
    return remaining, replace(part(into, taken), dropped={}, first={}, notes=())


def draw(split: Split, count: int) -> Split:
    """So many of a split's examples, drawn with a fixed seed, in file order."""
    total = len(split.examples)
    chosen = np.sort(np.random.default_rng(0).permutation(total)[:count])
    source = f"{split.source} ({count:,} of {total:,}, drawn)"
    examples = [split.examples[i] for i in chosen]
    return _part_of(split, f"draw:{count}", source=source, examples=examples)


def draw_by_label(split: Split, count: int, task: Task, seed: int) -> Split:
    """So many of a split's examples, drawn with this seed, in file order.

    Each label has its share, and at least one example where there is room for all labels. What is
    drawn of scores, and of options, whose place says nothing, is left to chance. With the same seed
    a smaller draw is a part of a larger one.
    """
    total = len(split.examples)
    classes = bool(task.labels) and task.format != "choice"
    labels = [example.target if classes else 0 for example in split.examples]
    chosen = np.sort(nested_order(labels, seed)[:count])
    source = f"{split.source} ({count:,} of {total:,}, drawn by label with seed {seed})"
    examples = [split.examples[i] for i in chosen]
    return _part_of(split, f"draw by label:{count}:{seed}", source=source, examples=examples)


def nested_order(labels: Sequence[int | float | None], seed: int) -> Int[np.ndarray, " N"]:
    """Numbers of examples in an order of which every beginning has each label in its share.

    All labels come once before one comes again. Which label is next is decided as Adams
    apportions seats: nobody has more than its share rounded up, and a larger house takes no seat
    away (Balinski and Young, Fair Representation, 1982). Chance decides within a label.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    _, label, counts = np.unique(np.asarray(labels)[order], return_inverse=True, return_counts=True)
    before = np.empty(len(labels))  # examples of the same label that come before
    for number, size in enumerate(counts):
        before[label == number] = np.arange(size)
    return order[np.argsort(before / counts[label], kind="stable")]


def _part_of(split: Split, how: str, **changes: Any) -> Split:
    """Some examples of a split, with fingerprints that say ``how`` they were chosen."""
    now, earlier = (
        hashlib.sha256(f"{whole}:{how}".encode()).hexdigest() if whole else ""
        for whole in (split.fingerprint, split.earlier)
    )
    return replace(split, fingerprint=now, earlier=earlier, **changes)


def targets_of(examples: Sequence[Example], task: Task) -> Float[np.ndarray, "N C"]:
    """The target of each example as a distribution over classes, zeros where there is none.

    A score between two points of its scale is shared between them, so that its expectation is
    the score: 3.4 puts 0.6 on 3 and 0.4 on 4.
    """
    targets = np.zeros((len(examples), task.num_classes), np.float32)
    for row, example in enumerate(examples):
        if example.target is None:
            continue
        place = example.target
        if task.scores is not None:
            place = (place - task.points[0]) / (task.points[1] - task.points[0])
        low = min(int(place), task.num_classes - 1)
        targets[row, low] = 1 - (place - low)
        if place > low:
            targets[row, low + 1] = place - low
    return targets
