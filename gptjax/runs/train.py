"""The one way to train a run: where it may start or go on, what it records, how it ends.

Pre-training and fine-tuning give it what differs: a `Problem`, and what is made of a trained run.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import jax

from gptjax import __version__
from gptjax import config as configs
from gptjax.batch import Batches, Objective
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import as_options
from gptjax.models.objective import num_parameters
from gptjax.runs.folder import Provenance, RunFolder, open_folder
from gptjax.runs.head import backbone_fingerprint
from gptjax.runs.identity import (
    check_data,
    file_digests,
    fingerprint,
    finish,
    notices,
    shape_fingerprint,
)
from gptjax.runs.lock import only_run
from gptjax.runs.optimizer import check_same_state, make, stages
from gptjax.runs.records import to_plain
from gptjax.runs.settings import C, RunConfig
from gptjax.runs.status import Status, recorded
from gptjax.screen import SCREEN
from gptjax.training import parallel, processes
from gptjax.training.agreement import check_same
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.history import Best
from gptjax.training.length import total_steps
from gptjax.training.loop import FitResult, fit
from gptjax.training.optimizer import check_warmup, settle_warmup
from gptjax.training.stored import has_checkpoint
from gptjax.training.tracking import Tracker
from gptjax.training.weights_and_biases import Identity

PyTree = Any
Outcome = TypeVar("Outcome")
# Settings that may differ from process to process. Most name files, whose content is compared.
LOCAL = {
    *("config", "out", "init", "like", "tokenizer", "vocabulary.tokenizer", "task.name"),
    *("corpus.data", "corpus.validation", "corpus.cache", "task.data", "task.knowledge"),
    *("distributed.coordinator", "distributed.process_id"),
}


@dataclass(frozen=True)
class Problem(Generic[Outcome]):
    """What is trained, on what, and what is made of it."""

    config: RunConfig  # with nothing left open
    called: str  # what is learnt, in a word: the task's name, or pretrain
    tokenizer: Tokenizer  # the run keeps a copy of it
    objective: Objective  # what is minimised
    batches: Batches  # the training data
    unit: str  # what a batch consists of, in words
    # Replicated parameters -> metrics of the validation data.
    evaluate: Callable[[PyTree], Mapping[str, float]]
    # Evaluates what was trained, and writes and shows what came out; called on every process.
    conclude: Callable[["Trained"], Outcome]
    # Fingerprints of the data and of what is learnt; a run goes on with the same ones only.
    content: Mapping[str, str]
    facts: Mapping[str, Any]  # what meta.json says of the data, as JSON
    # Name of a fingerprint -> what earlier versions recorded for the same thing.
    earlier: Mapping[str, Collection[str]] = field(default_factory=dict)
    # What fingerprints of `content` are hashes of, where meta.json is to say it.
    identity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    best: Best = field(default_factory=lambda: Best("loss", "min"))  # decides about checkpoints
    # Settings beside the seed that decide about the order of the data.
    order: Mapping[str, Any] = field(default_factory=dict)
    params: Callable[[], PyTree] | None = None  # to begin with; None: those of objective.init
    source: PyTree | None = None  # the parameters that `init` names, if it does
    # params -> True for each array that is trained; None: all are.
    trainable: Callable[[PyTree], PyTree] | None = None
    untouched: bool = False  # no gradients of the others are computed
    flops_per_token: float | None = None  # of an update, where all of the model is trained
    # Replicated parameters and how many -> texts that the model writes.
    write: Callable[[PyTree, int], list[str]] | None = None
    on_start: Callable[[], None] | None = None  # writes further files when the run is accepted


@dataclass(frozen=True)
class Trained:
    """A run that has come to its end."""

    folder: RunFolder
    steps: int  # updates done
    checkpoint: str  # the best one that is still there, such as best/120
    metrics: Mapping[str, float]  # of the validation data at that checkpoint
    params: PyTree  # after the last update, on the devices


def train_run(
    config: C, out: str, prepare: Callable[[C, RunFolder, str], Problem[Outcome]]
) -> Outcome:
    """Train a run in the folder ``out``, or go on with it; returns what ``conclude`` does.

    What can be refused at once is refused before any data are read: by ``prepare``. It is given the
    config with what `gptjax.config.since` leaves open settled, the folder, and "never" (the run
    starts from nothing) or where it goes on.

    Raises:
        UserError: a setting, the folder or the data are refused; one line says what to do.
        NoCheckpointError, NonFiniteError, Interrupted: see `gptjax.training.loop.fit`.
    """
    configs.finite(config)
    config = replace(config, optimizer=settle_warmup(config.optimizer, config.WARMUP))
    with joined(config):
        devices = parallel.describe_devices()
        say(f"devices: {devices}")
        if warning := parallel.unused_accelerator():
            say(f"warning: {warning}")
        train = config.train
        parallel.check_batch_size(train.batch_size, train.accumulate, "train.batch_size")
        steps = total_steps(train, 1)
        stages(config)  # refuses what is no range
        if train.steps is not None:
            check_warmup(config.optimizer, steps)
        with only_run(out):
            folder, resume = open_folder(out, resume=config.resume, overwrite=config.overwrite)
            before = None
            if resume != "never":
                before = configs.read_resolved(type(config), folder.config)
                check_same_state(before, config)
            problem = prepare(configs.settled(config, before), folder, resume)
            if parallel.is_one_of_several():
                _check_same_content(problem)
            with recorded(folder) as status:
                trained = _train(problem.config, folder, resume, problem, devices, status)
                status.begin()
                outcome = problem.conclude(trained)
                if parallel.is_main():
                    finish(folder)
            # The others wait, or they would leave before process 0 has written and shown it.
            parallel.barrier("concluded")
            return outcome


@contextmanager
def joined(config: RunConfig) -> Iterator[None]:
    """Of several processes, join the others, which must have the same settings; end together."""
    processes.initialize(config.distributed)
    with processes.end_together():
        versions = {"version of gptjax": __version__, "version of jax": jax.__version__}
        command = type(config).__name__.removesuffix("Config").lower()
        settings = {name: repr(value) for name, value in _flat(config) if name not in LOCAL}
        check_same({**versions, "command": command, **settings})
        yield


def _flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a config by its name, such as train.steps."""
    for one in fields(config):
        value = getattr(config, one.name)
        if is_dataclass(value):
            yield from _flat(value, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, value


def _check_same_content(problem: Problem[Any]) -> None:
    """See to it that all processes train the same parameters on the same text or task."""
    parts = {name: part for name, part in problem.facts.items() if isinstance(part, Mapping)}
    content = {
        "tokenizer": problem.tokenizer.fingerprint,
        **problem.content,
        **{f"{name} data": str(part["fingerprint"]) for name, part in parts.items()},
    }
    if problem.source is not None:
        content["parameters of init"] = backbone_fingerprint(problem.source)
    check_same({name: value[:12] for name, value in content.items()})


def _train(
    config: RunConfig,
    folder: RunFolder,
    resume: str,
    problem: Problem[Any],
    devices: str,
    status: Status,
) -> Trained:
    train, fingerprints = config.train, _fingerprints(config, problem)
    each, untouched = len(problem.batches), problem.untouched
    steps = total_steps(train, each)
    optimizer = make(config, steps, each, problem.trainable, untouched=untouched)
    kept = Checkpoints(folder.checkpoints, config.checkpoint, fingerprints, problem.earlier)
    if resume != "never":
        check_data(folder, fingerprints, problem.earlier, problem.facts)
        for notice in (*notices(folder), *_differences(folder, config)):
            say(f"notice: {notice}")
    elif config.overwrite and parallel.is_main():
        folder.clear()
    say(
        f"model: {num_parameters(problem.objective):,} parameters; {steps:,} updates of "
        f"{train.batch_size} {problem.unit}"
    )

    def on_start() -> None:
        """The run has been accepted; meta.json of one that goes on keeps how it was started."""
        status.begin()
        if problem.on_start is not None:
            problem.on_start()
        made = to_plain(Provenance.now(devices))
        if has_checkpoint(folder.checkpoints):
            made = {"resumed": [*folder.read_meta().get("resumed", []), made]}
        configs.write(config, folder.config)
        problem.tokenizer.save(folder.tokenizer)
        folder.update_meta(
            status="running",
            reason=None,
            **made,
            fingerprints=fingerprints,
            identity={"model": config.model.shape(), **problem.identity},
            files=file_digests(folder),
            data=dict(problem.facts),
        )

    with Tracker(folder.path, config.tracking, _identity(config, folder, problem)) as tracker:
        result = fit(
            problem.objective,
            problem.batches,
            train,
            optimizer,
            params=None if problem.params is None else problem.params(),
            evaluate=_watched(problem, config.tracking.samples, tracker),
            best=problem.best,
            checkpoints=kept,
            tracker=tracker,
            resume=resume,
            on_start=on_start,
            flops_per_token=problem.flops_per_token,
        )
    return _trained(folder, result)


def _watched(
    problem: Problem[Any], samples: int, tracker: Tracker
) -> Callable[[PyTree], Mapping[str, float]]:
    """The evaluation, with so many texts of the model for the tracker."""
    write = problem.write
    if write is None or not samples or not parallel.is_main():
        return problem.evaluate

    def evaluate(params: PyTree) -> Mapping[str, float]:
        tracker.keep(write(params, samples))
        return problem.evaluate(params)

    return evaluate


def _fingerprints(config: RunConfig, problem: Problem[Any]) -> dict[str, str]:
    """What a checkpoint belongs to, by name."""
    return {
        "model": shape_fingerprint(config.model),
        "tokenizer": problem.tokenizer.fingerprint,
        **problem.content,
        "data order": fingerprint({"seed": config.train.seed, **problem.order}),
    }


def _identity(config: RunConfig, folder: RunFolder, problem: Problem[Any]) -> Identity:
    """task/name/seed, and task/name of the runs that differ by the seed alone."""
    path, seed = folder.path.resolve(), config.train.seed
    name = path.parent.name if path.name == f"seed-{seed}" else path.name
    group = f"{problem.called}/{name}"
    return Identity(f"{group}/{seed}", group, configs.to_table(config))


def _trained(folder: RunFolder, result: FitResult) -> Trained:
    best, history = f"best/{result.history.best_step}", result.history
    # Going back to an earlier step may have lost the best one; the last is always there. Process 0
    # alone is sure to see the folder.
    there = {"kept": (folder.checkpoints / best).exists()} if parallel.is_main() else None
    kept = parallel.broadcast_json(there)["kept"]
    if not kept and history.best_metrics:
        say(f"notice: the best checkpoint is lost; what follows is of last/{result.step}")
    return Trained(
        folder,
        result.step,
        best if kept else f"last/{result.step}",
        history.best_metrics if kept else history.metrics,
        result.params,
    )


def say(text: str) -> None:
    """A line for people on standard error, from one process of several."""
    if parallel.is_main():
        print(as_options(text), file=SCREEN, flush=True)


def show(text: str) -> None:
    """A result on standard output, which stops nothing where nobody reads it: it has a file."""
    with suppress(OSError):
        print(text, flush=True)


def create(folder: RunFolder) -> None:
    """Make the folder, on process 0: before anything that takes long."""
    if parallel.is_main():
        folder.path.mkdir(parents=True, exist_ok=True)


def _differences(folder: RunFolder, config: Any) -> Iterator[str]:
    """What is set otherwise than when the run was started, a line each."""
    before = configs.to_table(configs.read_resolved(type(config), folder.config))
    now = configs.to_table(config)
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            old, new = {"": old}, {"": new}
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                name = f"{section}.{key}".rstrip(".")
                yield f"{name} was {old.get(key)} when the run was started, and is {new.get(key)}"
