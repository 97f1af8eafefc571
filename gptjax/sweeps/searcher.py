"""A search: points are drawn, run and told, by as many processes as share the sweep's folder."""

import fcntl
import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from io import BufferedRandom
from pathlib import Path

from gptjax.errors import NonFiniteError, UserError
from gptjax.runs.lock import LOCK
from gptjax.runs.sweep_results import SweepResults
from gptjax.sweeps import summary
from gptjax.sweeps.curves import GivenUp, Watch
from gptjax.sweeps.plan import Plan, PlannedPoint
from gptjax.sweeps.points import check_unchanged, interrupted, judge, locked, take_over, words
from gptjax.sweeps.processes import Launch, Start, run_all
from gptjax.sweeps.progress import End, Progress, say
from gptjax.sweeps.settings import Settings
from gptjax.sweeps.space import Search, plain
from gptjax.sweeps.study import Study, Tried
from gptjax.sweeps.summary import read_finished

DRAWS = 100  # without a point that is new and can run


def run_search(plan: Plan, jobs: int, start: Start) -> SweepResults:
    """Run points of a search until it is at its end, together with whoever else is at it.

    Raises:
        UserError: the folder is of another search, or the journal cannot be read.
        Interrupted: by SIGTERM or Ctrl-C; the same call goes on.
    """
    assert plan.search is not None
    sweep, axes = plan.sweep, plan.search.axes
    sweep.out.mkdir(parents=True, exist_ok=True)
    with locked(sweep.out, shared=True):
        study = Study(sweep.out, axes, plan.metric, plan.lower_is_better, say)
        searcher = _Searcher(plan, plan.search, study, jobs)
        searcher.begin()
        done = run_all(
            iter(searcher.next, None),
            jobs,
            start,
            on_start=searcher.started,
            on_end=searcher.ended,
            gives_up=searcher.gives_up,
        )
        with study.alone():
            searcher.refresh()
            results = searcher.progress.write()
            if not done:
                raise interrupted(searcher.plan, results)
            summary.save_figures(searcher.plan, results, study.importances())
    return results


class _Searcher:
    """What one process does for a search.

    It holds the lock on the log of each point that it runs, and so does the point's run itself. So
    a point that is said to run, whose log nobody has locked, is one whose machine or sweep died.
    """

    def __init__(
        self,
        plan: Plan,
        search: Search,
        study: Study,
        jobs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self._search, self._study, self._clock = search, study, clock
        trials = search.limits.trials
        self._wanted = min(math.inf if trials is None else trials, search.size())
        total = int(self._wanted) if self._wanted < math.inf else None
        self.progress = Progress(plan, jobs, 0, total)
        self._watch = Watch(clock)
        self._end = clock() + 60 * (search.limits.minutes or math.inf)
        self._known: dict[str, PlannedPoint] = {}  # by `_key` of its values
        self._newest: list[Tried] = []  # of each point of the plan its newest trial
        self._trials: dict[int, int] = {}  # number of a point that runs here -> of its trial
        self._logs: dict[int, BufferedRandom] = {}  # likewise; they are locked
        self._given_up: dict[int, GivenUp] = {}  # likewise

    def begin(self) -> None:
        """Put in what is to be tried first, and again what failed; say what is there."""
        with self._study.alone():
            for values in self._search.first:
                self._study.queue(values)
            self.refresh()
            for point in self.plan.points:
                check_unchanged(point, self.plan.command.config)
            for trial in self._newest:
                if trial.state == "failed" and trial.values is not None:
                    self._study.queue(trial.values, again=True)
            finished = sum(trial.state == "finished" for trial in self._newest)
            self.progress.begin(finished)

    def refresh(self) -> list[Tried]:
        """Read all trials, which are returned, of whatever process; a point keeps its number."""
        newest: dict[str, Tried] = {}
        trials = self._study.tried()
        for trial in trials:
            if trial.values is None or trial.left_out:
                continue
            key = _key(trial.values)
            if key not in self._known:
                try:
                    self._known[key] = self._point(trial.values)
                except UserError:
                    if trial.state == "running":  # who was about to leave it out was killed
                        continue
                    raise
            newest[key] = trial
        self.plan = replace(self.plan, points=tuple(self._known[key] for key in newest))
        self._newest = list(newest.values())
        self.progress.plan = self.plan
        return trials

    def _point(self, values: Settings) -> PlannedPoint:
        assert self.plan.point is not None
        return self.plan.point(values)

    def _begun(self) -> int:
        """How many points have been taken so far."""
        return sum(trial.state != "waiting" for trial in self._newest)

    def next(self) -> tuple[int, Launch] | None:
        """The next point and its process; None where this process has nothing more to start."""
        with self._study.alone():
            for _ in range(DRAWS):
                trials = self._queue_dead()
                known = {_key(one.values) for one in trials if one.values is not None}
                if self._is_over(len(known)):
                    return None
                trial = self._study.take()
                if not self._is_new(trial, known):
                    continue
                self.refresh()
                number = [one.number for one in self._newest].index(trial.number)
                point = self.plan.points[number]
                if read_finished(point) is not None:  # who ran it was killed before it told
                    self._tell(trial.number, point, End("finished", None))
                elif self._hold(number, trial.number):
                    log = point.beside(".log")
                    return number, Launch(words(self.plan, point), log, self._logs[number].fileno())
        say(f"{self.plan.sweep.out}: {DRAWS} draws had no new point that can run; that is the end")
        return None

    def _queue_dead(self) -> list[Tried]:
        """Queue again what is said to run and does not, as nobody beats; all trials, as it is."""
        trials = self.refresh()
        dead = [
            (trial, point)
            for number, (trial, point) in enumerate(
                zip(self._newest, self.plan.points, strict=True)
            )
            if trial.state == "running" and number not in self._trials and not _is_held(point)
        ]
        for trial, point in dead:
            self._study.fail(trial.number)
            take_over(point)
            self._study.queue(point.values, again=True)
        return self.refresh() if dead else trials

    def _is_over(self, known: int) -> bool:
        """Whether nothing more is to be started, where so many points are known."""
        exhausted = known >= self._search.size() and self._begun() == len(self._newest)
        return exhausted or self._begun() >= self._wanted or self._clock() >= self._end

    def _is_new(self, trial: Tried, known: Collection[str]) -> bool:
        """Whether a point that was taken is to be run; if not, it is left out."""
        assert trial.values is not None
        if trial.queued or _key(trial.values) not in known:
            try:
                self._point(trial.values)
                return True
            except UserError as error:
                say(f"left out: {error}")
        elif self._search.size() < math.inf:  # what is drawn more and more often is known
            others = (one for one in self._search.all_points() if _key(one) not in known)
            self._study.queue(next(others))
        self._study.leave_out(trial.number)
        return False

    def _hold(self, number: int, trial: int) -> bool:
        """Lock the log of a point, for this process and the point's run; whether that worked."""
        log = self.plan.points[number].beside(".log").open("a+b")
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # what was put in is what another process has drawn
            log.close()
            self._study.leave_out(trial)
            return False
        except OSError:  # no locks here, as `Study` says
            pass
        self._trials[number], self._logs[number] = trial, log
        return True

    def started(self, number: int) -> None:
        """A process is about to start."""
        with self._study.alone():
            self.progress.waiting = self._waiting() + 1
            self.progress.started(number)

    def _waiting(self) -> int:
        return 0 if self._wanted == math.inf else max(0, int(self._wanted) - self._begun())

    def gives_up(self, number: int) -> bool:
        """Whether a point that runs is given up."""
        given_up = self._watch.gives_up(self.plan, self.plan.points[number])
        if given_up is not None:
            self._given_up[number] = given_up
        return given_up is not None

    def ended(self, number: int, code: int, seconds: float, others: Collection[float]) -> None:
        """A process has ended: tell what its point came to."""
        with self._study.alone():
            point = self.plan.points[number]
            status, error = judge(point, code)
            end = End(status, code, error)
            given_up = self._given_up.pop(number, None)
            if given_up is not None and status == "interrupted":
                end = End("pruned", code, step=given_up.step)
            elif code == NonFiniteError.exit_code:
                end = End("pruned", code, error)  # it would be the same again
            self._tell(self._trials.pop(number), point, end, given_up)
            self.refresh()
            self.progress.waiting = self._waiting()
            self.progress.ended(number, end, seconds, others)
            self._logs.pop(number).close()

    def _tell(
        self, trial: int, point: PlannedPoint, end: End, given_up: GivenUp | None = None
    ) -> None:
        """Tell how a point ended. One that was interrupted is left to `_queue_dead`."""
        if end.status == "finished":
            mean = summary.read_point(point, self.plan.metric).mean
            if mean is not None and math.isfinite(mean):
                self._study.finish(trial, mean)
            else:
                self._study.prune(trial)
        elif end.status == "pruned":
            value = given_up.value if given_up else None
            at = (given_up.step, value) if given_up and value is not None else None
            self._study.prune(trial, at)
        elif end.status == "failed":
            self._study.fail(trial)


def _key(values: Settings) -> str:
    return plain(list(values.values()))


def _is_held(point: PlannedPoint) -> bool:
    """Whether a process has the lock of a point: a sweep, its run, or a run that was made by hand.

    Where nothing can be locked, it may be so.
    """
    return any(map(_is_locked, (point.beside(".log"), point.folder / LOCK)))


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
