"""What a task's columns say about a file: whether a row has their names, or is a row of data."""

from collections.abc import Sequence

from gptjax.data.tables.format import Telling
from gptjax.data.tasks.match import Missing, resolve
from gptjax.data.tasks.targets import Targets
from gptjax.data.tasks.task import LABEL, OPTIONAL, Task, Typed, Wanted, names_of


def telling_of(task: Task, *, labels: bool = True) -> Telling:
    """For the files of a task, which have ``labels`` or may have none."""
    texts = [part for part in task.parts if part not in OPTIONAL or part in task.named]
    numbers = [number for part in texts for number in _numbers(_wanted(task, part))]
    label = _numbers(_wanted(task, LABEL))
    known = Targets(task)
    columns = [names_of(_wanted(task, part)) for part in (*texts, LABEL)]

    def finds(names: Sequence[str]) -> bool:
        return all(_found(task, part, names) for part in texts)

    def names_any(names: Sequence[str]) -> bool:
        there = set(names)
        plain = {name for one in columns for name in one if not _is_number(name)}
        folded = {name.lower() for name in there}
        own = {part for part in (*task.parts, LABEL) if part not in task.named}
        if there & plain or folded & own:
            return True
        # Names that are numbers: a row of data has not all of them by chance.
        typed = [one for one in columns if one]
        return len(typed) > 1 and all(there & set(one) for one in typed)

    def labelled(cells: Sequence[str]) -> bool | None:
        if len(label) != 1 or label[0] > len(cells):
            return None
        return known.is_one(cells[label[0] - 1]) or (None if not labels else False)

    def like_labels(cells: Sequence[str]) -> Sequence[int]:
        return [place for place, cell in enumerate(cells, start=1) if known.is_one(cell)]

    named = sum(len(names_of(_wanted(task, part))) or 1 for part in texts)
    return Telling(
        finds=finds,
        names_any=names_any,
        labelled=labelled,
        like_labels=like_labels,
        part=texts[0],
        names=sorted({name for one in columns for name in one}),
        needed=max([*numbers, *(label if labels else ())], default=named + labels),
        label_last=bool(label) and label[0] > max(numbers, default=0),
    )


def numbers_of(task: Task) -> list[int]:
    """The numbers of the columns that were named by number."""
    return [number for part in sorted(task.named) for number in _numbers(task.columns[part][0])]


def _wanted(task: Task, part: str) -> Wanted:
    """What is asked for by hand; without that, the part's own name."""
    if part in task.named:
        return task.columns[part][0]
    return part


def _is_number(name: str) -> bool:
    return name.isdecimal()


def _numbers(wanted: Wanted) -> list[int]:
    """The numbers of columns in it."""
    if isinstance(wanted, Typed):
        return [int(one) for one in wanted.several if _is_number(one)]
    several = wanted if isinstance(wanted, tuple) else (wanted,)
    return [one for one in several if isinstance(one, int)]


def _found(task: Task, part: str, names: Sequence[str]) -> bool:
    if part in task.named:
        return not isinstance(resolve(task.columns[part][0], names), Missing)
    return part in {name.lower().strip() for name in names}
