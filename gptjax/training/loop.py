"""The one training loop. It knows no model, no book and no task."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax

from gptjax.batch import Batch, Batches, Objective
from gptjax.errors import Interrupted, UserError
from gptjax.training import parallel
from gptjax.training.average import evaluated
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.feed import Feeder
from gptjax.training.history import Best, History
from gptjax.training.interrupt import StopRequest
from gptjax.training.length import TrainConfig, total_steps
from gptjax.training.observer import Observer
from gptjax.training.optimizer import Optimizer
from gptjax.training.programs import Programs
from gptjax.training.resume import Settings, back_to_best, items_of, resume_or_start
from gptjax.training.step import TrainState
from gptjax.training.tracking import Tracker

PyTree = Any
NOWHERE_TO_GO_BACK = (
    "optimizer.schedule halve: needs validation data and a folder for the best checkpoint, to "
    "which it goes back; give both, or take another schedule"
)


class FitResult(NamedTuple):
    """What `fit` leaves behind: parameters (on the devices), updates done, evaluations.

    With an average the parameters are that.
    """

    params: PyTree
    step: int
    history: History


def fit(
    objective: Objective,
    batches: Batches,
    config: TrainConfig,
    optimizer: Optimizer,
    *,
    params: PyTree | None = None,
    evaluate: Callable[[PyTree], Mapping[str, float]] | None = None,
    best: Best = Best("loss", "min"),  # noqa: B008
    checkpoints: Checkpoints | None = None,
    tracker: Tracker | None = None,
    resume: str = "auto",
    on_start: Callable[[], None] | None = None,
    flops_per_token: float | None = None,
) -> FitResult:
    """Train: update after update, with evaluations, checkpoints and metrics on the way.

    Every process calls this with the same arguments; process 0 alone writes.

    Args:
        objective: what to minimise.
        batches: the training data, ``config.batch_size`` examples at a time.
        config: how long, and what happens on the way.
        optimizer: made for ``total_steps(config, len(batches))`` updates.
        params: initial parameters (copied); None takes ``objective.init``.
        evaluate: replicated parameters -> metrics; called on every process. It must not keep
            the parameters, which the next step overwrites.
        best: which metric of ``evaluate`` decides about the best checkpoint and patience.
        checkpoints: where to save and resume from; None keeps nothing.
        tracker: where metrics go; None keeps none.
        resume: "auto" (from the newest good checkpoint, if any), "never", or a checkpoint's number.
        on_start: called on process 0 before anything is written, unless the run has finished.
        flops_per_token: of the model, for the share of the devices' peak that is reached.

    Raises:
        UserError: the batch does not split over the devices, or disk or checkpoint do not fit.
        NoCheckpointError: there are checkpoints, but none is intact.
        NonFiniteError: a loss or gradient was not finite. No checkpoint holds its effect.
        Interrupted: SIGTERM or Ctrl-C, after saving.
    """
    total = total_steps(config, len(batches))
    if optimizer.halvings is not None and (evaluate is None or checkpoints is None):
        raise UserError(NOWHERE_TO_GO_BACK)
    _check_batches(batches, config)
    state, info, notices = resume_or_start(
        objective, optimizer, config.seed, params, checkpoints, resume, _settings(config), total
    )
    del params
    own = tracker if parallel.is_main() else None
    programs = Programs(objective, optimizer, config.accumulate)
    updates = Observer(batches, total, config.log_every, checkpoints, own, flops_per_token)
    run = _Run(batches, config, total, best, checkpoints, own, state, info, programs, updates)
    run.start(notices, on_start)
    try:
        run.train(evaluate)
    finally:
        if checkpoints is not None and parallel.is_main():
            checkpoints.wait()
    parallel.barrier("end of training")
    return FitResult(run.evaluated, run.step, run.history)


def _check_batches(batches: Batches, config: TrainConfig) -> None:
    parallel.check_batch_size(config.batch_size, config.accumulate, "train.batch_size")
    if batches.batch_size != config.batch_size:
        raise ValueError(f"batches of {batches.batch_size}, but config says {config.batch_size}")


def _settings(config: TrainConfig) -> Settings:
    devices, processes = parallel.device_count(), jax.process_count()
    return Settings(
        fixed={"train.seed": config.seed, "train.batch_size": config.batch_size},
        layout={"devices": devices, "processes": processes, "micro-batches": config.accumulate},
    )


@dataclass(eq=False)
class _Run:
    """The host's side of training: which step it is, and what is due at it."""

    batches: Batches
    config: TrainConfig
    total: int
    best: Best
    checkpoints: Checkpoints | None
    tracker: Tracker | None
    state: TrainState
    info: Mapping[str, Any]  # of the checkpoint that the run goes on from
    programs: Programs
    updates: Observer

    def __post_init__(self) -> None:
        self.history = History.from_json(self.info)
        self.step = int(jax.device_get(self.state.progress.step))
        self._began = self.reaching = self.step
        self._saved = self.step  # the step of the newest checkpoint

    def start(self, notices: Sequence[str], on_start: Callable[[], None] | None) -> None:
        if self.step > self.total:
            raise UserError(
                f"the checkpoint is of step {self.step}, and this run ends after {self.total}: "
                "give the train.steps (or epochs) that the run was started with, or more"
            )
        if on_start is not None and parallel.is_main() and not self.finished():
            on_start()
        if self.checkpoints is not None and parallel.is_main():
            self.checkpoints.begin()
        if self.tracker:
            self.tracker.start(self.step, self.total)
            for notice in notices:
                self.tracker.message(notice)
            if self.checkpoints is not None and not self.finished():
                self.tracker.message(self.checkpoints.forecast)

    def train(self, evaluate: Callable[[PyTree], Mapping[str, float]] | None) -> None:
        """The loop."""
        with (
            StopRequest(self.before_stopping) as stop,
            Feeder(self.batches, self.step, self.total) as feeder,
        ):
            while True:
                if evaluate is not None and self.evaluation_due():
                    self.evaluate(evaluate)
                self.keep_for_curve()
                if self.finished() or self.save_due():
                    self.save()
                self.updates.trace(self.step)
                if self.finished():
                    self.say(self.programs.ending())
                    return
                if self.updates.stop_agreed or (stop.requested and jax.process_count() == 1):
                    self.interrupt()
                self.reaching = self.step + 1
                batch = feeder.take(self.step)
                votes = parallel.vote(stop.requested)
                *changed, metrics = self.dispatch(batch, votes)
                self.advance(TrainState(*changed), metrics)

    def dispatch(self, batch: Batch, votes: Any) -> tuple[Any, ...]:
        """Start an update. The first one of a shape compiles its program, which takes a while."""
        programs, shape = self.programs, batch.tokens.shape
        before = programs.ending()
        if programs.enter(self.step):
            self.say([*before, *programs.beginning()])
        if shape in programs.compiled:
            return programs.train_step(*self.state, batch, votes)
        self.updates.settle()
        *sequences, length = shape
        with self.waiting(f"compiling for {math.prod(sequences)} × {length} tokens"):
            started = programs.compile(shape, *self.state, batch, votes)
        self.updates.restart_clock()  # speed is that of updates alone
        return started

    def say(self, lines: Sequence[str]) -> None:
        """Tell people, a line each."""
        if self.tracker is not None:
            for line in lines:
                self.tracker.message(line)

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """Tell people what the run waits for."""
        return nullcontext() if self.tracker is None else self.tracker.waiting(what)

    @property
    def evaluated(self) -> PyTree:
        """The parameters that are evaluated, and kept as the best ones."""
        return evaluated(self.state.params, self.state.optimizer_state)

    def evaluation_due(self) -> bool:
        every = self.config.evaluate_every or len(self.batches)
        at = self.step > 0 and (self.step % every == 0 or self.step == self.total)
        return at and self.history.evaluated != self.step

    def before_stopping(self) -> str | None:
        """What a request to stop does; None before the first update, as in compiling."""
        nothing = self.step == self._began and jax.process_count() == 1
        return None if nothing else f"saving step {self.reaching}"

    def save_due(self) -> bool:
        return self.checkpoints is not None and self.checkpoints.due(self.step)

    def finished(self) -> bool:
        patience = self.config.patience
        stale = patience is not None and self.stale() >= patience
        return self.step == self.total or stale or self.is_halved_out()

    def is_halved_out(self) -> bool:
        return self.programs.halvings is not None and self.history.halvings > self.programs.halvings

    def stale(self) -> int:
        """Evaluations since the best one, those before the last stage not counted."""
        begins = self.programs.last_begins
        if not begins:
            return self.history.stale
        every = self.config.evaluate_every or len(self.batches)
        return min(self.history.stale, max(self.step // every - begins // every, 0))

    def advance(self, state: TrainState, metrics: dict[str, Any]) -> None:
        """Take note of a step that was dispatched; look at the one before, now done or nearly."""
        self.state, self.step = state, self.step + 1
        self.updates.settle((self.step, metrics))

    def evaluate(self, function: Callable[[PyTree], Mapping[str, float]]) -> None:
        self.updates.settle()
        with self.waiting("evaluating"):
            metrics = function(self.evaluated)
        self.history = self.history.after(self.step, metrics, self.best)
        if self.tracker:
            self.tracker.log({"step": self.step, "split": "valid", **self.history.metrics})
        is_best = self.history.best_step == self.step
        if self.checkpoints is not None and is_best and parallel.is_main():
            # Before the checkpoint that says so: a kill in between repeats the evaluation.
            state = self.state.optimizer_state if self.programs.halvings is not None else None
            params, state = parallel.fetch((self.evaluated, state))
            self.checkpoints.save_best(self.step, params, self._info(), state)
        if self.programs.halvings is not None and self.history.is_worse(self.best):
            self.halve()
        self.updates.restart_clock()

    def halve(self) -> None:
        """Go back to the best evaluation, with half the learning rate."""
        before, name = self.history, self.best.metric
        assert self.checkpoints is not None
        assert before.best_step is not None
        self.history = replace(before, halvings=before.halvings + 1)
        self.state = back_to_best(
            self.checkpoints, self.state, before.best_step, self.history.halvings
        )
        lines = [
            f"{name} {before.metrics[name]:.4g} after step {self.step} is worse than "
            f"{before.best_metrics[name]:.4g} after step {before.best_step}: back to that, with "
            f"half the learning rate (halving {self.history.halvings})"
        ]
        if self.is_halved_out():
            lines.append(f"more than {self.programs.halvings} halvings: training ends here")
        self.say(lines)

    def keep_for_curve(self) -> None:
        if self.checkpoints is None or not self.checkpoints.on_curve(self.step):
            return
        self.updates.settle()
        if parallel.is_main():
            self.checkpoints.save_curve(self.step, parallel.fetch(self.evaluated))
        self.updates.restart_clock()

    def save(self) -> None:
        self.updates.settle()
        if self.checkpoints is None:
            return
        if self._saved != self.step:
            carry = parallel.unshard(self.state.carry)  # of all processes
            if parallel.is_main():
                params, state = parallel.fetch((self.state.params, self.state.optimizer_state))
                items = items_of(params, state, carry)
                self.checkpoints.save_last(self.step, items, self._info())
        self._saved = self.step
        self.updates.restart_clock()

    def interrupt(self) -> None:
        """Save and leave, by raising `Interrupted`."""
        self.save()
        if self.checkpoints is not None and parallel.is_main():
            self.checkpoints.wait()
        parallel.barrier("interrupted")
        where = f"stopped after step {self.step} of {self.total}"
        if self.checkpoints is None:
            raise Interrupted(f"{where}; nothing was saved")
        raise Interrupted(f"{where}, which is saved: go on with `resume=auto`")

    def _info(self) -> dict[str, Any]:
        return _settings(self.config)._asdict() | {"history": self.history.to_json()}
