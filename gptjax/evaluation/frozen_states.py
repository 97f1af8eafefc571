"""The states of a frozen backbone, computed once for each example of a task and kept on disk.

Fine-tuning reads them in the place of the backbone, so that an update costs the task head alone.
They are without dropout, in the compute type: what the head would read.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.batch import Batch
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.evaluation.array_files import (
    features_cache,
    finish_array,
    key_of,
    new_array,
    open_array,
    temporary,
)
from gptjax.models.config import ModelConfig
from gptjax.runs.head import backbone_fingerprint
from gptjax.screen import progress_bar
from gptjax.training.evaluation import Predictor

BAR: dict[str, Any] = {"unit": "batch", "mininterval": 0.5, "leave": False}


class Part(NamedTuple):
    """The examples of a split, and their sequences."""

    sequences: Sequence[Sequences]
    examples: Sequence[Example]


class FrozenStates:
    """The states of the sequences of some examples, as batches have them.

    ``rows`` are those of all positions, one sequence after the other; of each sequence ``ends`` has
    the last position alone.
    """

    def __init__(
        self, rows: Float[np.ndarray, "P N D"], sequences: Sequence[Sequences], ends: bool
    ) -> None:
        self._rows, self._ends = rows, ends
        self._counts = [counts_of(one, ends) for one in sequences]
        after = np.cumsum([sum(counts) for counts in self._counts])
        self._begins = [0, *after.tolist()]

    def batch(
        self, members: Int[np.ndarray, " B"], width: int, length: int
    ) -> Float[np.ndarray, "B K T N D"]:
        """Those of examples by their numbers, -1 for none, of ``width`` sequences at most."""
        shape = (len(members), width, 1 if self._ends else length, *self._rows.shape[1:])
        found = np.zeros(shape, self._rows.dtype)
        for row in np.flatnonzero(members >= 0):
            begin = self._begins[members[row]]
            for k, count in enumerate(self._counts[members[row]]):
                found[row, k, :count] = self._rows[begin : begin + count]
                begin += count
        return found


@dataclass(frozen=True)
class FrozenBackbone:
    """What computes the states.

    Attributes:
        model: of the backbone.
        params: of a fine-tuned model; the backbone, and the rows of the special tokens, decide.
        read: `gptjax.models.objective.TaskFunctions.states`.
        depths: N, how many of them it gives.
        ends: whether it gives the state at the extract token alone.
        sizes: ``context_length`` and ``batch_size``, as of `Bucketed`.
    """

    model: ModelConfig
    params: Any
    read: Callable[[Any, Batch], Array]
    depths: int
    ends: bool
    sizes: Mapping[str, int]

    @cached_property
    def _fingerprint(self) -> str:
        rows = self.params["adapter"]["special_embedding"]
        return backbone_fingerprint({"backbone": self.params["backbone"], "rows": rows})

    def file(self, sequences: Sequence[Sequences]) -> Path:
        """Where the states of these sequences lie, named by all that decides about them."""
        what = {"states": self.depths, "ends": self.ends, "model": asdict(self.model)}
        name = key_of(**what, backbone=self._fingerprint, tokens=_hash_of(sequences))
        return features_cache() / f"{name}.npy"

    def shape(self, sequences: Sequence[Sequences]) -> tuple[int, int, int]:
        """[P, N, D] of these sequences, with P positions in all."""
        positions = sum(sum(counts_of(one, self.ends)) for one in sequences)
        return positions, self.depths, self.model.widest if self.depths > 1 else self.model.width

    @property
    def stored(self) -> np.dtype[Any]:
        """The type in a file: numpy's files know no bfloat16, whose bits are kept as integers."""
        dtype = np.dtype(jnp.dtype(self.model.dtype))
        return np.dtype(np.uint16) if dtype == jnp.bfloat16 else dtype

    def opened(self, part: Part, rows: np.ndarray) -> FrozenStates:
        """What lies in a file."""
        return FrozenStates(rows.view(jnp.dtype(self.model.dtype)), part.sequences, self.ends)

    def write(self, path: Path, part: Part, task: Task, name: str) -> None:
        """Compute the states of a part; the file is whole, or not there."""
        order = {"seed": 0, "shuffle": False, **self.sizes}
        batches = Bucketed(part.sequences, part.examples, task, **order)  # type: ignore[arg-type]
        counts = [counts_of(one, self.ends) for one in part.sequences]
        begins = [0, *np.cumsum([sum(one) for one in counts]).tolist()]
        unfinished = temporary(path)
        try:
            array = new_array(unfinished, self.shape(part.sequences), self.stored)
            predict = Predictor(self.read, batches)
            with progress_bar(len(batches), desc=f"states of {name}", **BAR) as bar:
                for index, found in enumerate(predict.each(self.params)):
                    found = found.view(self.stored)
                    for row, member in enumerate(batches.members(0, index)):
                        begin = begins[member]
                        for k, count in enumerate(counts[member]):
                            array[begin : begin + count] = found[row, k, :count]
                            begin += count
                    bar.update()
            array.flush()
            finish_array(unfinished, path, array)
        finally:
            unfinished.unlink(missing_ok=True)


def keep(
    backbone: FrozenBackbone,
    parts: Mapping[str, Part],
    task: Task,
    *,
    must: bool,
    say: Callable[[str], None],
) -> dict[str, FrozenStates]:
    """The states of each part by its name: those that are kept, and the others computed.

    Args:
        backbone: what computes them.
        parts: by name.
        task: of all of them.
        must: refuse what the disk has no room for. Else nothing is kept then, nor where it would
            take more than half of the room that is left; the answer is empty.
        say: tells people.

    Raises:
        UserError: no room, or no folder that can be written.
    """
    files = {name: backbone.file(part.sequences) for name, part in parts.items()}
    shapes = {name: backbone.shape(part.sequences) for name, part in parts.items()}
    missing = [name for name in parts if open_array(files[name], shapes[name]) is None]
    size = backbone.stored.itemsize
    needed = size * sum(int(np.prod(shapes[name])) for name in missing)
    whole = size * sum(int(np.prod(shape)) for shape in shapes.values())
    folder = features_cache()
    room = room_in(folder)
    if needed > (room if must else room // 2):
        lacks = (
            f"the states of the frozen backbone take {_gb(needed)}, and {folder} has {_gb(room)}"
        )
        if must:
            raise UserError(
                f"task.keep_states always: {lacks}; make room, or choose another disk with the "
                "environment variable GPTJAX_CACHE"
            )
        say(f"notice: {lacks} left: they are not kept, and the backbone runs at every update")
        return {}
    say(
        f"the states of the frozen backbone, {backbone.depths} "
        f"depth{'s' if backbone.depths > 1 else ''} of each "
        f"{'extract token' if backbone.ends else 'position'}, are kept: {_gb(whole)} in {folder}"
    )
    for name in missing:
        backbone.write(files[name], parts[name], task, name)
    return {
        name: backbone.opened(part, np.load(files[name], mmap_mode="r"))
        for name, part in parts.items()
    }


def room_in(folder: Path) -> int:
    """Bytes that are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def counts_of(sequences: Sequences, ends: bool) -> Iterable[int]:
    """How many positions of each sequence are kept."""
    return [1] * len(sequences.tokens) if ends else sequences.lengths


def _gb(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _hash_of(sequences: Sequence[Sequences]) -> str:
    digest = hashlib.sha256()
    for one in sequences:
        digest.update(f"{one.lengths}".encode())
        for ids in one.tokens:
            digest.update(np.ascontiguousarray(ids, np.int32).tobytes())
    return digest.hexdigest()
