"""A task's splits from its dataset on the hub, or from a local folder with the hub's layout."""

from collections.abc import Iterator, Mapping
from typing import Any

import datasets

from gptjax.data.tables.format import Row
from gptjax.data.tables.reader import name_classes
from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.match import annotations_of
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import Task
from gptjax.data.text.hub import asking, locate
from gptjax.errors import UnreachableError, UserError


def hub_splits(
    task: Task, source: str | None, *, strict: bool, labels: bool = True
) -> Mapping[str, Split]:
    """Every split that the task names and the dataset has.

    ``source`` is another id or a local folder with the same configurations; None is the task's own.
    ``strict`` and ``labels``: see `gptjax.data.tasks.examples.to_split`.
    """
    if task.hub is None:
        raise UnreachableError(
            f"{task.name}: there is no dataset of it on the hub; set `data` to a folder, "
            "or to sample (the offline sample)"
        )
    name = f"hub:{source or task.hub.id}"
    identifier, revision, content = locate(source or task.hub.id, None, name)
    config = task.hub.config
    with asking(name):
        there = datasets.get_dataset_split_names(identifier, config, revision=revision)
        wanted = {ours: theirs for ours, theirs in task.hub.splits.items() if theirs in there}
        loaded = {
            ours: datasets.load_dataset(identifier, config, split=theirs, revision=revision)
            for ours, theirs in wanted.items()
        }
    if not loaded:
        raise UserError(
            f"`data={name}`: none of the splits {', '.join(task.hub.splits.values())} in "
            f"{config}; it has {', '.join(there)}"
        )
    return {
        ours: to_split(
            _rows(split, f"{name} {wanted[ours]}"),
            task,
            ours,
            source=f"{name} ({config}, {wanted[ours]})",
            fingerprint=f"{content}:{config}:{wanted[ours]}",
            strict=strict,
            labels=labels,
            required=annotations_of(ours) if labels else (),
        )
        for ours, split in loaded.items()
    }


def _rows(split: Any, name: str) -> Iterator[Row]:
    """Rows with the names of labels: their numbers differ between datasets."""
    names = {
        column: feature.names
        for column, feature in split.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for number, cells in enumerate(split):
        yield Row(f"{name}: row {number}", name_classes(cells, names))
