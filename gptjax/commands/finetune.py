"""`gptjax finetune`: train a pre-trained model on a task."""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from gptjax import backbone, job, run_folder
from gptjax import config as configs
from gptjax import run as runs
from gptjax.data.buckets import Bucketed
from gptjax.data.examples import Split
from gptjax.data.formats import encode
from gptjax.data.readers import EncodingErrors
from gptjax.data.task_data import SAMPLE_WARNING, TaskData, for_training, load_task_data
from gptjax.data.tasks import TRAINED_AS, Task, find_task, with_columns
from gptjax.data.tokenizer import Tokenizer, load_tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.task_scores import SplitScores, TaskEvaluator, report, write_predictions
from gptjax.models import objective
from gptjax.models.adapter import adapter_only
from gptjax.models.transformer import ModelConfig
from gptjax.training import parallel
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.history import Best
from gptjax.training.loop import TrainConfig, fit, total_steps
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.parallel import DistributedConfig
from gptjax.training.tracking import Tracker, TrackingConfig

# The paper fine-tunes with a quarter of the pre-training's learning rate (6.25e-5 of 2.5e-4).
LEARNING_RATE_SHARE = 0.25
EPOCHS = 3
BATCH_SIZE = 32
ABSENT = (None, "none")  # of --init: no run is named


@dataclass(frozen=True)
class TaskConfig:
    """Section `task`: which task, from where, and how the backbone takes part."""

    name: Annotated[str, tyro.conf.arg(aliases=("--task",))] = ""
    """Task: snli mnli qnli rte scitail rocstories race race-middle race-high cola sst2 mrpc qqp
    stsb wnli, or a TOML file of one's own."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--data",))] = ()
    """A folder with the published files, a file (train), train=FILE valid=FILE test=FILE, hub,
    hub:ID_OR_FOLDER, or sample. Absent: the hub, or the offline sample if it cannot be reached."""
    columns: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--columns",))] = ()
    """PART=COLUMN for files with other column names, such as text=review label=stars."""
    strict: Annotated[bool, tyro.conf.arg(aliases=("--strict",))] = False
    """Stop at the first row that cannot be used instead of leaving it out."""
    encoding_errors: Annotated[EncodingErrors, tyro.conf.arg(aliases=("--encoding-errors",))] = (
        "strict"
    )
    """What to do with bytes that are not UTF-8: refuse the file, or replace them by U+FFFD."""
    max_train: Annotated[int | None, tyro.conf.arg(aliases=("--max-train",))] = None
    """Train on so many examples, drawn with a fixed seed; None takes all."""
    max_valid: Annotated[int | None, tyro.conf.arg(aliases=("--max-valid",))] = None
    """Validate on so many examples, drawn likewise."""
    lm_coefficient: Annotated[float, tyro.conf.arg(aliases=("--lm-coefficient",))] = 0.5
    """Weight of the auxiliary LM loss (λ of equation 5 of the paper)."""
    transfer_layers: Annotated[int | None, tyro.conf.arg(aliases=("--transfer-layers",))] = None
    """Take only the embeddings and the first so many blocks from --init; None takes all."""
    freeze_backbone: Annotated[bool, tyro.conf.arg(aliases=("--freeze-backbone",))] = False
    """Train the adapter alone: the head and the rows of the special tokens."""
    classifier_dropout: float = 0.1
    """Probability of dropping a component of the state before the classifier."""

    def __post_init__(self) -> None:
        for name in ("max_train", "max_valid"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"task.{name} is {value}: it must be at least 1")
        if self.lm_coefficient < 0:
            raise UserError(f"task.lm_coefficient is {self.lm_coefficient}: it must be at least 0")
        if self.transfer_layers is not None and self.transfer_layers < 0:
            raise UserError(f"task.transfer_layers is {self.transfer_layers}: at least 0")
        if not 0 <= self.classifier_dropout < 1:
            raise UserError(
                f"task.classifier_dropout is {self.classifier_dropout}: it must be at least 0 "
                "and less than 1"
            )


@dataclass(frozen=True)
class Selection:
    """The options that choose what the others are defaults of."""

    config: str | None = configs.invocation(None)
    """TOML file with any of the options below."""
    out: str | None = configs.invocation(None)
    """Run folder; None is runs/finetune/TASK/NAME, with the stem of --config, or the name of the
    --init run, as NAME."""
    resume: str = configs.invocation("never")
    """For a folder that is not empty: auto continues from its newest good checkpoint, a number
    from the checkpoint of that step, never refuses."""
    overwrite: bool = configs.invocation(False)
    """Remove the files of an earlier run in the folder first."""
    init: str | None = None
    """Pre-trained run to start from, or none for the same model and tokenizer untrained. Absent:
    the newest finished run under runs/pretrain."""
    like: str | None = None
    """With --init none: the run whose model and tokenizer to take. Absent: what --init would have
    been."""
    tokenizer: str | None = None
    """With --init none and no run to be like: the tokenizer; the model is that of the settings."""
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class FinetuneConfig(Selection):
    """Fine-tune a pre-trained model on a task (section 3.2 of the GPT-1 paper).

    The options of a TOML file (--config) are overridden by those given here.
    """

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=EPOCHS, batch_size=BATCH_SIZE)
    )
    seeds: tuple[int, ...] = configs.invocation(())
    """Run each of these seeds into OUT/seed-N, and report mean, spread, median and best."""
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=6.25e-5, warmup=0.002, schedule="linear"
        )
    )
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    distributed: DistributedConfig = field(
        default_factory=DistributedConfig, metadata={"toml": False}
    )


@dataclass(frozen=True)
class FinetuneResult:
    """What a run came to.

    Attributes:
        out: the run folder.
        task: the task.
        checkpoint: the checkpoint that the scores describe (`best/N`).
        scores: split -> metrics and predictions, for every split.
        sample: whether the data were the offline sample.
    """

    out: Path
    task: Task
    checkpoint: str
    scores: Mapping[str, SplitScores]
    sample: bool


def defaults(given: Selection) -> FinetuneConfig:
    """What the command line overrides: the config file, over the model of --init.

    The learning rate is a quarter of the pre-training's, as in the paper. A run that is resumed
    keeps its own config.
    """
    own = _own_config(given)
    base = configs.read_resolved(FinetuneConfig, own) if own else _over_source(given)
    length = base.train
    if given.train.steps is not None or given.train.epochs is not None:
        length = dataclasses.replace(length, steps=None, epochs=None)
    elif length.steps is None and length.epochs is None:
        length = dataclasses.replace(length, epochs=EPOCHS)
    return dataclasses.replace(base, train=length)


def _own_config(given: Selection) -> Path | None:
    """The config of the run, or of the first seed of the sweep, that is resumed."""
    if given.config is not None or given.out is None or given.resume == "never":
        return None
    folders = [Path(given.out), *sorted(Path(given.out).glob("seed-*"))]
    files = (run_folder.RunFolder(folder).config for folder in folders)
    return next((file for file in files if file.exists()), None)


def _over_source(given: Selection) -> FinetuneConfig:
    """The file of --config over what comes with the run of --init."""
    start = dataclasses.replace(FinetuneConfig(), train=TrainConfig(batch_size=BATCH_SIZE))

    def with_file(base: FinetuneConfig) -> FinetuneConfig:
        return base if given.config is None else configs.read(FinetuneConfig, given.config, base)

    named = with_file(start)
    init = given.init if given.init is not None else named.init
    like = given.like if given.like is not None else named.like
    if like is not None and init != "none":
        raise UserError("--like: is for --init none; --init names the run to start from")
    if init == "none" and like is None and named.init not in ABSENT:
        like = named.init
    tokenizer = given.tokenizer if given.tokenizer is not None else named.tokenizer
    if tokenizer is not None:
        if init != "none" or like is not None:
            raise UserError(
                "--tokenizer: is for --init none without --like; a run has its own tokenizer"
            )
        size = load_tokenizer(tokenizer).size
        model = dataclasses.replace(named.model, vocabulary_size=size)
        return dataclasses.replace(named, model=model)
    source = like if init == "none" else init
    if source is None:
        newest = backbone.find_newest_run()
        if newest is None:  # Help is given all the same; `run` refuses.
            return named
        source = str(newest)
    table = runs.read_table(source)
    share = 1 if "task" in table else LEARNING_RATE_SHARE  # a run that was fine-tuned already
    rate = table["optimizer"]["learning_rate"] * share
    base = dataclasses.replace(
        start,
        model=runs.load_config(source),
        optimizer=dataclasses.replace(start.optimizer, learning_rate=rate),
    )
    scratch = init == "none"
    return dataclasses.replace(
        with_file(base), init="none" if scratch else source, like=source if scratch else None
    )


def run(config: FinetuneConfig) -> FinetuneResult:
    """Read the task, train, evaluate every split, and print a table.

    Raises:
        UserError: see `gptjax finetune --help`; one line says what to do.
        NoCheckpointError, NonFiniteError, Interrupted: see `gptjax.training.loop.fit`.
    """
    parallel.initialize(config.distributed)
    with parallel.end_together():
        return _run(config)


def _run(config: FinetuneConfig) -> FinetuneResult:
    out = config.out if config.out is not None else str(default_out(config))
    # What can be refused at once is refused before anything is read.
    task = task_of(config, run_folder.RunFolder(Path(out)))
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate, "train.batch_size")
    total_steps(config.train, 1)
    folder, resume = run_folder.open_folder(out, resume=config.resume, overwrite=config.overwrite)
    if resume == "never" and not (config.like or config.tokenizer or config.init not in ABSENT):
        backbone.newest_run()
    layers = config.task.transfer_layers
    if layers is not None and config.init == "none":
        raise UserError("--transfer-layers: with --init none there is nothing to transfer")
    if layers is not None and layers > config.model.num_layers:
        raise UserError(
            f"--transfer-layers {layers}: the model has {config.model.num_layers} blocks"
        )
    data = _data(config, task)
    if data.sample and parallel.is_main():
        print(SAMPLE_WARNING.format(task=task.name), flush=True)
    devices = job.greet()
    if resume != "never":
        tokenizer, loaded = load_tokenizer(folder.tokenizer, config.model.vocabulary_size), None
    else:
        _check_not_source(config, folder)
        tokenizer, loaded = backbone.open_source(
            config.model, init=config.init, like=config.like, tokenizer=config.tokenizer
        )
    if parallel.is_main():
        folder.path.mkdir(parents=True, exist_ok=True)
    for notice in data.notices:
        job.say(notice)
    encoded = {
        name: encode(split.examples, task, tokenizer, config.model.context_length)
        for name, split in data.splits.items()
    }
    for name, split in data.splits.items():
        for line in split.report():
            job.say(line)
        if cut := encoded[name].truncated:
            job.say(
                f"  {cut:,} ({cut / len(split.examples):.1%}) truncated to the context of "
                f"{config.model.context_length} tokens"
            )
    train = data.splits["train"]
    batches = Bucketed(
        encoded["train"].sequences,
        train.examples,
        task,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )
    job.say(batches.report())

    fingerprints = {
        "model": job.shape_fingerprint(config.model),
        "tokenizer": tokenizer.fingerprint,
        "task": job.fingerprint(_identity(config, task)),
        "data": train.fingerprint,
        "data order": job.fingerprint({"seed": config.train.seed}),
    }
    steps = total_steps(config.train, len(batches))
    functions = objective.task(
        config.model,
        runs.adapter_config(task, config.task.classifier_dropout),
        lm_coefficient=config.task.lm_coefficient,
        freeze_backbone=config.task.freeze_backbone,
    )
    optimizer = make_optimizer(
        config.optimizer, steps, adapter_only if config.task.freeze_backbone else None
    )
    job.prepare_folder(folder, config, fingerprints, resume=resume, overwrite=config.overwrite)
    evaluators = {
        name: TaskEvaluator(
            functions.log_probabilities,
            encoded[name].sequences,
            split.examples,
            task,
            context_length=config.model.context_length,
            batch_size=config.train.batch_size // config.train.accumulate,
        )
        for name, split in data.splits.items()
        if name != "train"
    }
    job.say(
        f"model: {job.num_parameters(functions.objective):,} parameters; {steps:,} updates of "
        f"{config.train.batch_size} examples"
    )
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint, fingerprints)
    with job.recorded(folder), Tracker(folder.path, config.tracking) as tracker:
        result = fit(
            functions.objective,
            batches,
            config.train,
            optimizer,
            params=None
            if loaded is None
            else backbone.initial_params(
                config.model, task, loaded, config.task.transfer_layers, config.train.seed
            ),
            evaluate=lambda params: evaluators["valid"](params).metrics,
            best=Best(task.metrics[0], "max"),
            checkpoints=checkpoints,
            tracker=tracker,
            resume=resume,
            on_start=lambda: _describe(
                config, folder, tokenizer, fingerprints, devices, data, task
            ),
        )
    best = None
    if parallel.is_main():
        kept = (folder.checkpoints / f"best/{result.history.best_step}").exists()
        best = runs.load(folder.path, "best" if kept else "last")
    # Process 0 alone is sure to see the folder; all of them evaluate.
    params = parallel.broadcast_arrays(best.params if best else parallel.fetch(result.params))
    checkpoint = parallel.broadcast_json({"name": best.checkpoint} if best else None)["name"]
    scores = {name: evaluator(params) for name, evaluator in evaluators.items()}
    outcome = FinetuneResult(folder.path, task, checkpoint, scores, data.sample)
    if best is not None:
        _write(config, folder, best, outcome, data)
        _show(outcome)
    parallel.barrier("concluded")
    return outcome


def task_of(config: FinetuneConfig, folder: run_folder.RunFolder) -> Task:
    """The task to train on; of a run that is resumed its own copy of a task file.

    Raises:
        UserError: none named, or it has no training data.
    """
    name = config.task.name
    if not name:
        raise UserError("--task is missing: name a task (such as snli) or a TOML file")
    if config.resume != "never" and folder.task_file.exists():
        task = dataclasses.replace(find_task(str(folder.task_file)), name=Path(name).stem)
    else:
        task = find_task(name)
    if task.name in TRAINED_AS:
        raise UserError(
            f"--task {task.name}: a test set without training data; fine-tune on "
            f"{TRAINED_AS[task.name]}, and evaluate that run with --task {task.name}"
        )
    return with_columns(task, config.task.columns)


def default_out(config: FinetuneConfig) -> Path:
    """runs/finetune/TASK/NAME."""
    if config.config is not None:
        name = Path(config.config).stem
    elif config.init == "none":
        name = "from-scratch"
    else:
        name = Path(config.init or backbone.newest_run()).resolve().name
    return Path("runs/finetune") / Path(config.task.name).stem / name


def _check_not_source(config: FinetuneConfig, folder: run_folder.RunFolder) -> None:
    sources = [name for name in (config.init, config.like) if name not in ABSENT]
    if config.overwrite and folder.path.resolve() in [Path(str(s)).resolve() for s in sources]:
        raise UserError(f"--out {folder.path}: is the run of --init too; choose another --out")


def _data(config: FinetuneConfig, task: Task) -> TaskData:
    own = Path(config.task.name).parent if config.task.name.endswith(".toml") else None
    data = load_task_data(
        config.task.data,
        task,
        strict=config.task.strict,
        encoding_errors=config.task.encoding_errors,
        folder=own,
    )
    return for_training(
        data, task, {"train": config.task.max_train, "valid": config.task.max_valid}
    )


def _identity(config: FinetuneConfig, task: Task) -> dict[str, Any]:
    """What makes the training problem the same problem."""
    return {
        "task": task.name,
        "format": task.format,
        "labels": task.labels,
        "scores": task.scores,
        "columns": {part: list(names) for part, names in task.columns.items()},
        "aliases": dict(task.aliases),
        "lm_coefficient": config.task.lm_coefficient,
        "freeze_backbone": config.task.freeze_backbone,
    }


def _facts(split: Split) -> dict[str, Any]:
    return {
        "source": split.source,
        "fingerprint": split.fingerprint,
        "examples": len(split.examples),
        "dropped": dict(split.dropped),
    }


def _describe(
    config: FinetuneConfig,
    folder: run_folder.RunFolder,
    tokenizer: Tokenizer,
    fingerprints: Mapping[str, str],
    devices: str,
    data: TaskData,
    task: Task,
) -> None:
    if config.task.name.endswith(".toml") and (
        config.resume == "never" or not folder.task_file.exists()
    ):
        shutil.copyfile(config.task.name, folder.task_file)
    facts: dict[str, Any] = {name: _facts(split) for name, split in data.splits.items()}
    job.describe(
        folder,
        config,
        tokenizer,
        fingerprints=fingerprints,
        devices=devices,
        data={**facts, "sample": data.sample},
    )


def _write(
    config: FinetuneConfig,
    folder: run_folder.RunFolder,
    best: runs.Run,
    outcome: FinetuneResult,
    data: TaskData,
) -> None:
    valid = outcome.scores["valid"]
    results = {
        "task": outcome.task.name,
        "split": "valid",
        "examples": valid.num_examples,
        "metrics": valid.metrics,
        "data": {**_facts(data.splits["valid"]), "sample": data.sample},
        "checkpoint": outcome.checkpoint,
        "seed": config.train.seed,
        "majority_class_only": valid.collapsed,
        "paper": {"metric": outcome.task.metrics[0], "value": outcome.task.paper},
        "splits": {
            name: {
                "examples": scores.num_examples,
                "left_out": sum(data.splits[name].dropped.values()),
                "metrics": scores.metrics,
            }
            for name, scores in outcome.scores.items()
        },
    }
    run_folder.write_json(folder.results, results)
    for name, scores in outcome.scores.items():
        file = folder.predictions if name == "valid" else folder.path / f"predictions-{name}.tsv"
        write_predictions(file, scores, outcome.task)
    runs.save_adapter(best)
    folder.update_meta(status="finished")


def _show(outcome: FinetuneResult) -> None:
    task = outcome.task
    print(f"{task.name}, {outcome.checkpoint}:")
    print("\n".join(report(task, outcome.scores, not outcome.sample)), flush=True)
    job.say(f"run folder: {outcome.out}")
    if outcome.sample:
        print(SAMPLE_WARNING.format(task=task.name), flush=True)
