"""The models that can be played with: runs, and the checkpoints that each of them has."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptjax.data.tokenizers.tokenizer import Mode
from gptjax.errors import UserError
from gptjax.evaluation.model import Model, load
from gptjax.runs.folder import RunFolder
from gptjax.runs.published import is_published
from gptjax.training.archive import steps
from gptjax.training.stored import BEST, CURVE, LAST

SIDES = 2  # that stand side by side
KEPT = 4  # models in memory


@dataclass(frozen=True)
class Place:
    """Where the parameters of a model lie."""

    run: str
    checkpoint: str

    def __str__(self) -> str:
        """For people."""
        return self.run if self.checkpoint == "auto" else f"{self.run} · {self.checkpoint}"


class Shelf:
    """Models, opened when somebody looks at them.

    Args:
        runs: one or two, as of `gptjax.load`.
        checkpoints: none, one for each run, or two of one run.
        num_heads: of OpenAI's files.
        mode: of GPT-1's tokenizer.

    Attributes:
        places: all that can be opened, by name; the checkpoints of each run in the order of their
            steps.
        shown: the names of those that are shown first, one or two.

    Raises:
        UserError: too many runs, or checkpoints that do not fit them.
    """

    def __init__(
        self,
        runs: Sequence[str],
        checkpoints: Sequence[str] = (),
        *,
        num_heads: int | None = None,
        mode: Mode | None = None,
    ) -> None:
        if not 1 <= len(runs) <= SIDES:
            raise UserError(f"`run`: give one or two of them, and not {len(runs)}")
        if len(runs) == 1 and len(checkpoints) == SIDES:
            runs = (*runs, *runs)
        if len(checkpoints) not in (0, len(runs)):
            raise UserError(
                f"`checkpoint`: give one for each `run`, or two of one run; there are "
                f"{len(checkpoints)} for {len(runs)}"
            )
        first = [
            Place(*one) for one in zip(runs, checkpoints or ("auto",) * len(runs), strict=True)
        ]
        every = [*first, *(place for run in dict.fromkeys(runs) for place in _checkpoints(run))]
        self.places = {str(place): place for place in every}
        self.shown = [str(place) for place in first]
        self._num_heads, self._mode = num_heads, mode
        self._lock = threading.Lock()
        self._open = functools.lru_cache(maxsize=KEPT)(self._load)

    def open(self, name: str) -> Model:
        """The model of a name; the last few of them stay open.

        Raises:
            UserError: as of `gptjax.load`.
            NoCheckpointError: likewise.
        """
        with self._lock:
            return self._open(name)

    def _load(self, name: str) -> Model:
        place = self.places[name]
        return load(place.run, place.checkpoint, num_heads=self._num_heads, mode=self._mode)


def _checkpoints(run: str) -> list[Place]:
    """Those of a run folder, by their steps; what others published has none."""
    if is_published(run):
        return []
    folder = RunFolder(Path(run)).checkpoints
    found = [(step, kind) for kind in (CURVE, LAST, BEST) for step in steps(folder / kind)]
    return [Place(run, f"{kind}/{step}") for step, kind in sorted(found, key=lambda one: one[0])]
