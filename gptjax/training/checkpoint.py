"""Checkpoints of a run: `last/N` to resume from, `best/N` and `curve/N` to keep; after N updates.

Which are written, kept, removed and used is decided here; `archive.py` has the files.
"""

import errno
import math
import os
import shutil
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gptjax.errors import NoCheckpointError, UserError, check_counts
from gptjax.training import archive
from gptjax.training.archive import Items, Json
from gptjax.training.place import Place
from gptjax.training.stored import BEST, CURVE, LAST, first_good

PyTree = Any
OWN = "optimizer"  # the item that only a best checkpoint has to which a run goes back
FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class CheckpointConfig:
    """Section `checkpoint`."""

    every: int = 1000
    """Updates between checkpoints to resume from; there is always one at the end of a run and
    when it is interrupted."""
    keep: int = 2
    """How many of them are kept; at least 2, so that a damaged one has another before it."""
    per_doubling: int | None = None
    """Keep the parameters for good so many times while the updates double (1: after 0, 1, 2, 4,
    8, … updates), to look at how something is learnt; None keeps none of them."""

    def __post_init__(self) -> None:
        check_counts(self, "checkpoint", "every per_doubling")
        check_counts(self, "checkpoint", "keep", least=2)


class Restored(NamedTuple):
    """A checkpoint, back from the disk, with numpy arrays and the ``info`` it was saved with."""

    step: int
    items: dict[str, PyTree]
    info: dict[str, Any]
    best: int | None
    """The step of the best checkpoint, if there is an intact one."""
    notices: list[str]
    """What people should know, one line each."""


class Checkpoints:
    """The checkpoints of one run, written by one process in a thread of its own.

    Nothing is touched on the disk before the first call. Saving only starts to write the numpy
    arrays that it is given, so that they must not change afterwards; an error (no room, no
    permission) is the UserError of the next save or of ``wait``.

    Args:
        folder: holds `last/`, `best/` and `curve/`; made when needed.
        config: the section `checkpoint`.
        fingerprints: what a checkpoint belongs to (model, tokenizer, data, ...), by name;
            resuming with others is refused.
        earlier: what earlier versions recorded as the fingerprint of the same thing, by name.
    """

    def __init__(
        self,
        folder: str | Path,
        config: CheckpointConfig,
        fingerprints: Mapping[str, str],
        earlier: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._folder = Path(folder)
        self._config = config
        self.forecast = ""  # what `check_space` found, for people
        self._fingerprints = dict(fingerprints)
        earlier = earlier or {}
        self._accepted = {
            name: (value, *earlier.get(name, ())) for name, value in fingerprints.items()
        }
        # Damaged, or of updates that are undone by going back: removed by the next save.
        self._stale: dict[str, set[int]] = {LAST: set(), BEST: set(), CURVE: set()}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self._place: Place | None = None

    def begin(self) -> None:
        """Make the folder, and see to it from now on that it stays where it is."""
        if self._place is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._place = Place(self._folder.parent)
        self.check_place()

    def check_place(self) -> None:
        """Raise a UserError if the run folder was moved or removed since `begin`."""
        if self._place is not None:
            self._place.check()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after ``step`` updates."""
        return step > 0 and step % self._config.every == 0

    def on_curve(self, step: int) -> bool:
        """Whether the parameters after ``step`` updates are to be kept for good.

        It is 0, or the whole number nearest to a power of 2^(1 / per_doubling).
        """
        per_doubling = self._config.per_doubling
        if per_doubling is None or step == 0:
            return per_doubling is not None
        return round(2 ** (round(per_doubling * math.log2(step)) / per_doubling)) == step

    def save_last(self, step: int, items: Items, info: Json) -> None:
        """Save a checkpoint to resume from; ``info`` is JSON to remember with it.

        The trees of arrays are ``params``, ``optimizer`` and, where there is one, ``average`` and
        ``carry``.
        """
        self._write(LAST, step, items, info)

    def save_best(
        self, step: int, params: PyTree, info: Json, optimizer: PyTree | None = None
    ) -> None:
        """Save the best parameters, which replace the best ones before.

        A run that goes back to them gives the optimiser's state, too. The best ones before then
        stay as long as a checkpoint to resume from names them.
        """
        items = {"params": params}
        self._write(BEST, step, items if optimizer is None else {**items, OWN: optimizer}, info)

    def save_curve(self, step: int, params: PyTree) -> None:
        """Save parameters that are kept for good."""
        self._write(CURVE, step, {"params": params}, {})

    def wait(self) -> None:
        """Wait until everything is on the disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def read_best(self, step: int, targets: Items) -> dict[str, PyTree]:
        """Parameters and the optimiser's state that `save_best` was given, as numpy arrays.

        Args:
            step: of them.
            targets: as of `restore`.

        Raises:
            NoCheckpointError: it is damaged or gone.
        """
        self.wait()
        path = self._folder / BEST / str(step)
        try:
            return archive.read(path, _best_of(targets, goes_back=True), self._accepted)[0]
        except (archive.DamagedError, UserError) as error:
            raise NoCheckpointError(
                f"{path}: is damaged or gone ({error}), and optimizer.schedule halve goes back to "
                "it; go on with `resume=auto`, for which the next evaluation is the best one"
            ) from error

    def check_space(self, targets: Items, steps: int, *, goes_back: bool = False) -> None:
        """See to it that the disk has room for all checkpoints of a run of ``steps`` updates.

        At the fullest moment there are ``keep`` + 1 checkpoints, two best ones and the whole curve;
        those of an earlier part of this run will be replaced, so their room counts as free. A run
        that goes back to the best one has one for each of these checkpoints, and a new one.
        """
        curve = (self._config.per_doubling or 0) * math.ceil(math.log2(steps + 1))
        curve += self._config.per_doubling is not None
        most = (self._config.keep + 1) * archive.size(targets)
        most += curve * archive.size(targets["params"])
        best = archive.size(_best_of(targets, goes_back=goes_back))
        most += (self._config.keep + 2 if goes_back else 2) * best
        present = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        existing = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        self.forecast = (
            f"disk: the checkpoints take at most {most / 1e9:.2f} GB; {free / 1e9:.1f} GB are free"
        )
        if free + present < most:
            raise UserError(
                f"{self._folder}: the checkpoints need {most / 1e9:.2f} GB, but the disk has "
                f"{free / 1e9:.2f} GB free; make room, choose another folder with `out`, or lower "
                "checkpoint.keep or checkpoint.per_doubling"
            )

    def restore(self, targets: Items, resume: str, *, goes_back: bool = False) -> Restored | None:
        """The checkpoint to go on from, or None if the run is to start from nothing.

        Args:
            targets: shapes and dtypes of the items that `save_last` was given.
            resume: "auto" is the newest good checkpoint, "never" none, a number that one.
            goes_back: whether the best checkpoint has the optimiser's state too.

        Raises:
            UserError: the checkpoint belongs to something else, or "never" and there are some.
            NoCheckpointError: checkpoints exist, but not the one asked for or no good one.
        """
        steps = archive.steps(self._folder / LAST)
        if resume == "never" and steps:
            raise UserError(
                f"{self._folder}: has checkpoints already; continue with `resume=auto`, or choose "
                "another `out`"
            )
        if resume == "never" or (resume == "auto" and not steps):
            return None
        if resume != "auto" and int(resume) not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise NoCheckpointError(f"{self._folder}: no checkpoint {resume}; there are: {there}")
        wanted = [int(resume)] if resume != "auto" else reversed(steps)
        paths = {f"checkpoint {step}": self._folder / LAST / str(step) for step in wanted}
        path, items, info, notices = first_good(
            self._folder, paths, lambda path: targets, self._accepted
        )
        step = int(path.name)
        if notices:
            notices.append(f"using checkpoint {step} instead")
        for kind in self._stale:
            self._stale[kind] = {n for n in archive.steps(self._folder / kind) if n > step}
        best = self._intact_best(_best_of(targets, goes_back=goes_back), notices)
        return Restored(step, items, info, best, notices)

    def _intact_best(self, targets: Items, notices: list[str]) -> int | None:
        """The step of the best checkpoint; a damaged one is stale, and gets a notice."""
        for step in reversed(archive.steps(self._folder / BEST)):
            if step in self._stale[BEST]:
                continue
            try:
                archive.read(self._folder / BEST / str(step), targets, self._accepted)
                return step
            except (archive.DamagedError, UserError) as error:
                notices.append(f"best/{step} is damaged ({error})")
                self._stale[BEST].add(step)
        return None

    def _write(self, kind: str, step: int, items: Items, info: Json) -> None:
        self.wait()  # one at a time, and an error of the one before surfaces here
        self._writing = self._thread.submit(self._write_now, kind, step, items, info)

    def _write_now(self, kind: str, step: int, items: Items, info: Json) -> None:
        folder = self._folder / kind
        try:
            self.begin()
            for other in (BEST, CURVE):
                while self._stale[other]:
                    archive.delete(self._folder / other, self._stale[other].pop())
            stale = self._stale[LAST] if kind == LAST else ()
            remove = [other for other in archive.steps(folder) if other >= step or other in stale]
            keep = {LAST: self._config.keep, BEST: 1, CURVE: None}[kind]
            if kind == BEST and OWN in items:
                keep, named = None, self._named_best()
                there = archive.steps(folder)
                remove = [other for other in there if other >= step or other not in named]
            content = {"info": dict(info), "fingerprints": self._fingerprints}
            archive.write(folder, step, items, content, keep=keep, remove=remove)
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as ValueError
            self.check_place()
            raise UserError(
                f"{folder / str(step)}: the checkpoint could not be written "
                f"({_reason(error)}); earlier ones are intact; make room or mend it, "
                "then go on with `resume=auto`"
            ) from error

    def _named_best(self) -> set[int]:
        """The best checkpoints that those to resume from name."""
        named = set()
        for step in archive.steps(self._folder / LAST):
            with suppress(archive.DamagedError):
                content = archive.read_content(self._folder / LAST / str(step))
                if (best := content["info"].get("history", {}).get("best_step")) is not None:
                    named.add(best)
        return named


def _best_of(targets: Items, *, goes_back: bool) -> Items:
    """What the best checkpoint has, of what one to resume from has."""
    return {name: targets[name] for name in (("params", OWN) if goes_back else ("params",))}


def _reason(error: Exception) -> str:
    """Why a checkpoint could not be written, in the words that the system has for it."""
    if FULL in str(error):  # tensorstore says it in the middle of a paragraph
        return FULL
    return (isinstance(error, OSError) and error.strerror) or archive.one_line(error)
