"""What a search has tried and what it tries next, by Optuna, which no other file knows.

The journal is a file in the sweep's folder that several machines append to. Nothing in it names a
folder, so that each of them may have the sweep at a path of its own.
"""

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptjax.errors import UserError
from gptjax.sweeps.plan import JOURNAL, STUDY_LOCK
from gptjax.sweeps.settings import Settings
from gptjax.sweeps.space import Axis, plain

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.importance import get_param_importances
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError as error:
    raise UserError(
        f"[search] needs Optuna, which cannot be imported ({error}); pip install 'gptjax[search]'"
    ) from error

State = Literal["waiting", "running", "finished", "pruned", "failed"]
STATES: Mapping[Any, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
NAME = "sweep"
LEFT_OUT = "left out"  # marks what was drawn and not run: it was there, or cannot run
LEAST_FOR_IMPORTANCES = 10  # finished points


@dataclass(frozen=True)
class Tried:
    """A trial: a point that waits, runs, or has been tried."""

    number: int
    state: State
    values: Settings | None  # name of the option -> value; None where nothing was drawn yet
    queued: bool  # whether its values were put in, not drawn
    left_out: bool


class _Lock(JournalFileOpenLock):
    """The lock on the journal, whose end is whole once it is held.

    Who was killed while writing has left a torn last line. What is appended to one is lost, and no
    line after it can be read. Nobody is writing while the lock is held, so it can be cut off.

    It is not the lock by a symbolic link, Optuna's own choice: that waits for ever for a process
    that was killed, where the link's path leads nowhere from the folder that it lies in.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def acquire(self) -> bool:
        held = bool(super().acquire())
        cut_torn_line(self._path)
        return held


def cut_torn_line(path: Path) -> None:
    """Cut a file at its last line end."""
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 4096)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            end = begin if found < 0 else begin + found + 1
            if found >= 0:
                break
        if end < size:
            file.truncate(end)


class Study:
    """The trials of a search, which several processes on several machines share.

    Args:
        folder: of the sweep.
        axes: what is searched; as long as the folder is there, the same.
        metric: what is told of a point.
        lower_is_better: whether it is minimised.
        say: prints a line for people.

    Raises:
        UserError: the journal is damaged, or of a search of something else.
    """

    def __init__(
        self,
        folder: Path,
        axes: Sequence[Axis],
        metric: str,
        lower_is_better: bool,
        say: Callable[[str], None],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._axes, self._say = axes, say
        self._mutex, self._told = folder / STUDY_LOCK, False
        self._asked: dict[int, Trial] = {}
        path = folder / JOURNAL
        with self.alone():
            try:
                backend = JournalFileBackend(str(path), _Lock(path))
                self._study = optuna.create_study(
                    storage=JournalStorage(backend),
                    study_name=NAME,
                    direction="minimize" if lower_is_better else "maximize",
                    load_if_exists=True,
                )
            except (ValueError, KeyError) as error:
                advice = "put back what was there, or give another out"
                raise UserError(f"{path}: is damaged ({error}); {advice}") from None
            self._check_same(path, metric)
            # With one seed two workers would draw the same points, and so would one that goes on.
            worker = self._study.user_attrs.get("workers", 0)
            self._study.set_user_attr("workers", worker + 1)
            seed = int(np.random.SeedSequence(worker).generate_state(1)[0])
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)

    def _check_same(self, path: Path, metric: str) -> None:
        now = {axis.name: {axis.kind: list(axis.values)} for axis in self._axes}
        content = {"metric": metric, **now}
        before = self._study.user_attrs.get("search")
        if before is None:
            self._study.set_user_attr("search", content)
            return
        for name in (*before, *content):
            old, new = before.get(name), content.get(name)
            if plain(old) != plain(new):
                change = f"{name} = {old}, and now it is {new}"
                advice = "change it back, or give another out"
                raise UserError(f"{path}: was made with {change}; {advice}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While entered, no other process is here. It cannot be entered twice."""
        with self._mutex.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems have no locks
                if not self._told:
                    self._say(
                        f"notice: {self._mutex}: cannot be locked ({error.strerror}); start this "
                        "search on no other machine"
                    )
                self._told = True
            yield

    def tried(self) -> list[Tried]:
        """All trials, in their order."""
        return [self._tried(trial) for trial in self._study.get_trials(deepcopy=False)]

    def _tried(self, trial: FrozenTrial) -> Tried:
        queued = trial.system_attrs.get("fixed_params", {})
        params = {**trial.params, **queued}
        whole = all(axis.option.path in params for axis in self._axes)
        return Tried(
            number=trial.number,
            state=STATES[trial.state],
            values={axis.name: _value(axis, params, queued) for axis in self._axes}
            if whole
            else None,
            queued=bool(queued),
            left_out=trial.user_attrs.get(LEFT_OUT, False),
        )

    def queue(self, values: Settings, *, again: bool = False) -> None:
        """Put in a point, to be taken before any is drawn; ``again`` though it is there."""
        params = {axis.option.path: _param(axis, values[axis.name]) for axis in self._axes}
        self._study.enqueue_trial(params, skip_if_exists=not again)

    def take(self) -> Tried:
        """The next point: the first that waits, or a new one. It is running from now on."""
        trial = self._study.ask({axis.option.path: _distribution(axis) for axis in self._axes})
        self._asked[trial.number] = trial
        return self._tried(self._study.get_trials(deepcopy=False)[trial.number])

    def finish(self, number: int, value: float) -> None:
        """Tell what a point came to."""
        self._study.tell(number, value)

    def fail(self, number: int) -> None:
        """Tell that a point that was running came to nothing."""
        self._study.tell(number, state=TrialState.FAIL)

    def prune(self, number: int, at: tuple[int, float] | None = None) -> None:
        """Tell that a point was given up, and its value ``at`` that step, if it had one.

        Without a value it is the worst of all, so that the next ones are drawn elsewhere.
        """
        if at is not None:
            step, value = at
            self._asked[number].report(value, step)
        self._study.tell(number, state=TrialState.PRUNED)

    def leave_out(self, number: int) -> None:
        """Tell that a point that was drawn is not run."""
        self._asked[number].set_user_attr(LEFT_OUT, True)
        self.fail(number)

    def importances(self) -> dict[str, float]:
        """Option -> its share in what sets the best points apart (PED-ANOVA of Watanabe et al.,
        2023); nothing of too few points, or of points that are all equally good."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < LEAST_FOR_IMPORTANCES or len(self._axes) < 2:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                shares = get_param_importances(self._study)
        except UserWarning:  # the best points are all points, so that the shares mean nothing
            return {}
        return {axis.name: float(shares[axis.option.path]) for axis in self._axes}


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.kind == "choice":  # as text, because Optuna takes 1 and true for the same
        return CategoricalDistribution([plain(value) for value in axis.values])
    if axis.kind == "integer":
        return IntDistribution(*axis.values)
    low, high = map(float, axis.values)
    return FloatDistribution(low, high, log=axis.kind == "log_uniform")


def _param(axis: Axis, value: Any) -> Any:
    return plain(value) if axis.kind == "choice" else value


def _value(axis: Axis, params: Mapping[str, Any], queued: Mapping[str, Any]) -> Any:
    """The value of an option in a trial; what was drawn is rounded, what was put in is not."""
    found = params[axis.option.path]
    if axis.kind == "choice":
        return next(value for value in axis.values if plain(value) == found)
    if axis.kind == "integer" or axis.option.path in queued:
        return found
    return axis.rounded(found)
