"""The options of fine-tuning, what lies below those that are typed, and what they name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from gptjax import config as configs
from gptjax.config import alias, since
from gptjax.data.tables.lines import EncodingErrors
from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import ClassWeights, Task, as_settled, with_columns
from gptjax.data.tasks.weights import check_class_weights
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import ModeConfig
from gptjax.errors import LARGEST, UserError, check_counts, check_settings, shown
from gptjax.models.config import ModelConfig
from gptjax.runs import start
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import check_label_gain
from gptjax.runs.head_options import HeadOptions
from gptjax.runs.knowledge import check_texts
from gptjax.runs.own_config import fine_tuning_rate, load_config
from gptjax.runs.published import short_name
from gptjax.runs.settings import RunConfig, Selection, with_length
from gptjax.runs.start import ABSENT
from gptjax.training.length import TrainConfig
from gptjax.training.optimizer import OptimizerConfig

EPOCHS = 3
BATCH_SIZE = 32
ALL = "all"
"""The size of a learning curve that is all training data."""
CURVE = "learning_curve.toml"
"""What a learning curve was begun with, in its folder."""


@dataclass(frozen=True)
class TaskSource:
    """Which task, and where its files are."""

    name: Annotated[str, alias("--task")] = ""
    """Task: snli mnli qnli rte scitail rocstories race race-middle race-high cola sst2 mrpc qqp
    stsb wnli imdb ag_news trec mr sst5 subj cr mpqa, or a TOML file of one's own."""
    data: Annotated[tuple[str, ...], alias("--data")] = ()
    """A folder with the published files, a file (train), train=FILE valid=FILE test=FILE, hub,
    hub:ID_OR_FOLDER, or sample. Absent: the hub, or the offline sample if it cannot be reached."""


@dataclass(frozen=True)
class TaskConfig(HeadOptions, TableOptions, TaskSource):
    """Section `task`: which task, from where, and how the backbone takes part."""

    # The options of their own names, which `TableOptions` describes.
    columns: Annotated[tuple[str, ...], alias("--columns")] = ()
    delimiter: Annotated[tuple[str, ...], alias("--delimiter")] = ()
    header: Annotated[bool | None, alias("--header")] = None
    quoting: Annotated[bool | None, alias("--quoting")] = None
    sheet: Annotated[str | None, alias("--sheet")] = None
    unlabelled: Annotated[tuple[str, ...], alias("--unlabelled")] = ()
    encoding: Annotated[str | None, alias("--encoding")] = None
    encoding_errors: Annotated[EncodingErrors, alias("--encoding-errors")] = "strict"
    exact_columns: bool | None = since(before=False, now=True)
    """Whether a column that is named must be in the file, and a column serves one part. None: yes;
    a run from before this setting goes on without."""
    detect: bool | None = since(before=False, now=True)
    """Whether a file's content tells its delimiter, header and quoting where they are not said, of
    a task file or of columns that are named. None: yes; an older run goes on without."""
    fewer_options: bool | None = since(before=False, now=True)
    """Whether a row of a choice of one's own may have fewer options than the task has labels. None:
    yes; a run from before this setting goes on without."""
    strict: Annotated[bool, alias("--strict")] = False
    """Stop at the first row that cannot be used instead of leaving it out."""
    max_train: Annotated[int | None, alias("--max-train")] = None
    """Train on so many examples, drawn with a fixed seed; None takes all."""
    draw: Literal["fixed", "by-label"] = "fixed"
    """How --max-train draws: the same rows in every run; or each label in its share and at least
    once, and other rows for another train.seed. A smaller draw is always part of a larger one."""
    max_valid: Annotated[int | None, alias("--max-valid")] = None
    """Validate on so many examples, drawn likewise."""
    lm_coefficient: Annotated[float, alias("--lm-coefficient")] = 0.5
    """Weight of the auxiliary LM loss (λ of equation 5 of the paper). Without a word it is 0 of a
    bidirectional model and of a table of vectors, which have no such loss."""
    class_weights: ClassWeights | None = None
    """How much the training examples of each class count: a number for each label, in their order,
    or balanced, which gives all classes the same sum. None: what the task file says, or all
    alike."""
    transfer_layers: Annotated[int | None, alias("--transfer-layers")] = None
    """Take only the embeddings and the first so many blocks from --init; None takes all."""
    freeze_backbone: Annotated[bool, alias("--freeze-backbone")] = False
    """Train the task head alone: its maps and the rows of the special tokens."""
    freeze_special_rows: bool = False
    """With --freeze-backbone: leave the rows of the special tokens as they are drawn. A step then
    costs the head alone."""
    keep_states: Literal["auto", "always", "never"] | None = since(before="never", now="auto")
    """Whether the states of a frozen backbone are computed once and kept in the cache: where that
    is possible and there is room on the disk (auto), or else refused (always). None: auto; a run
    from before this setting goes on with never."""
    label_gain: bool = False
    """Whether the label is learnt at every position of a text, and not at its end alone: the later,
    the more it counts (the linear gain of Dai and Le 2015, for long texts)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "task", "max_train max_valid")
        if self.freeze_special_rows and not self.freeze_backbone:
            raise UserError(
                "task.freeze_special_rows: is for task.freeze_backbone; set both, or neither"
            )
        if self.freeze_special_rows and self.knowledge and not self.head_shape.separate:
            raise UserError(
                "task.freeze_special_rows: trains the maps of the head alone, and task.knowledge "
                "acts inside the backbone; leave one of the two out"
            )
        check_counts(self, "task", "transfer_layers", least=0)
        check_settings(self, "task", "lm_coefficient", lambda x: x >= 0, "at least 0")


@dataclass(frozen=True)
class FinetuneSelection(Selection):
    """The options that choose what the others are defaults of."""

    config: str | None = configs.invocation(None)
    """TOML file with any of the options below."""
    out: str | None = configs.invocation(None)
    """Run folder; None is runs/finetune/TASK/NAME, with the stem of --config, or the name of the
    --init run, as NAME."""
    init: str | None = None
    """Pre-trained run to start from, openai:FOLDER, elmo:FOLDER or hf:ID_OR_FOLDER (what others
    published), or none for the same model and tokenizer untrained. Absent: the newest finished run
    under runs/pretrain."""
    like: str | None = None
    """With --init none: the run whose model and tokenizer to take. Absent: what --init would have
    been."""
    tokenizer: str | None = None
    """With --init none and no run to be like: the tokenizer; the model is that of the settings."""
    task: TaskConfig = field(default_factory=TaskConfig)


@dataclass(frozen=True)
class FinetuneConfig(FinetuneSelection, RunConfig):
    """Fine-tune a pre-trained model on a task (section 3.2 of the GPT-1 paper).

    The options of a TOML file (--config) are overridden by those given here.
    """

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=EPOCHS, batch_size=BATCH_SIZE)
    )
    seeds: tuple[int, ...] = configs.invocation(())
    """Run each of these seeds into OUT/seed-N, and report mean, spread, median and best."""
    train_sizes: tuple[str, ...] = configs.invocation(())
    """A learning curve: train with so many rows, such as 30 100 300 all, into OUT/size-N/seed-M.
    Without --seeds each size has the seeds 1 2 3."""
    least_updates: int = configs.invocation(100)
    """With --train-sizes: updates of a size whose epochs are fewer; 0 keeps to the epochs."""
    vocabulary: ModeConfig = field(default_factory=ModeConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(6.25e-5, schedule="linear")
    )

    WARMUP: ClassVar[float] = 0.002
    HAS_HEAD: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds {' '.join(map(shown, self.seeds))}: a seed occurs twice")
        for seed in self.seeds:
            if not 0 <= seed <= LARGEST:
                raise UserError(f"--seeds {shown(seed)}: a seed is from 0 to {LARGEST:,}")
        check_counts(self, "", "least_updates", least=0)
        if self.train.unfreeze and self.task.freeze_backbone:
            raise UserError(
                "train.unfreeze: says itself what is trained; leave task.freeze_backbone out"
            )
        if self.train_sizes:
            _check_sizes(self)


def _check_sizes(config: FinetuneConfig) -> None:
    """What can be refused of a learning curve before its data are known."""
    typed = f"--train-sizes {' '.join(config.train_sizes)}"
    for word in config.train_sizes:
        if word != ALL and not (word.isascii() and word.isdigit() and 0 < int(word) <= LARGEST):
            raise UserError(f"{typed}: {word!r} is no number of rows; give numbers and {ALL}")
    sizes = [word.lstrip("0") for word in config.train_sizes]
    if twice := [size for size in sizes if sizes.count(size) > 1]:
        raise UserError(f"{typed}: {twice[0]} occurs twice")
    if config.task.max_train is not None:
        raise UserError(
            f"{typed}: contradicts --max-train {config.task.max_train}; give one of the two"
        )
    if config.train.unfreeze and config.least_updates:
        raise UserError(
            f"{typed}: small sizes get updates instead of epochs, by which --train.unfreeze goes; "
            "set --least-updates 0"
        )
    if config.resume.isdigit():
        raise UserError(
            f"{typed}: contradicts --resume {config.resume}, as each size has its own steps; give "
            "--resume auto"
        )


def defaults(given: FinetuneSelection) -> FinetuneConfig:
    """What the command line overrides: the config file, over the model of --init.

    The learning rate is a quarter of the pre-training's, as in the paper. A run that is resumed
    keeps its own config.
    """
    file = None if given.config is None else configs.config_file(given.config)
    own = _own_config(given)
    if own is not None:
        config = configs.read_resolved(FinetuneConfig, own)
    elif file is None:
        config = _over_source(given, {}, lambda base: base)
    else:
        table = configs.read_table(file, "config file")
        config = _over_source(given, table, lambda base: configs.read(FinetuneConfig, file, base))
    return with_length(config, given.train, EPOCHS)


def from_table(table: Mapping[str, Any], where: str) -> FinetuneConfig:
    """The config that --config gives for a file with this table; errors name ``where``."""
    config = _over_source(
        FinetuneSelection(),
        table,
        lambda base: configs.from_table(FinetuneConfig, table, where=where, base=base),
    )
    return with_length(config, TrainConfig(), EPOCHS)


def _own_config(given: FinetuneSelection) -> Path | None:
    """The config of the run, of the first of its seeds, or of its curve, that is resumed."""
    if given.config is not None or given.resume == "never":
        return None
    if given.out is not None:
        out = Path(given.out)
    elif given.task.name and (given.init is not None or start.find_newest_run()):
        out = default_out(given)
    else:  # `run` says what is missing.
        return None
    files = [folder.config for folder in (RunFolder(out), *RunFolder(out).seeds())]
    files.append(out / CURVE)
    return next((file for file in files if file.exists()), None)


def _over_source(
    given: FinetuneSelection,
    table: Mapping[str, Any],
    layer: Callable[[FinetuneConfig], FinetuneConfig],
) -> FinetuneConfig:
    """A layer (the file of --config, which has this table) over what comes with the run of --init.

    The run says which settings its model has, so it is looked up before the settings are read.
    """
    plain = replace(FinetuneConfig(), train=TrainConfig(batch_size=BATCH_SIZE))
    names = ("init", "like", "tokenizer", "heads")
    own = {name: table[name] for name in names if name in table}
    named = configs.from_table(FinetuneConfig, own, where="config file", base=plain)
    init, like, tokenizer, heads = (
        getattr(named if getattr(given, name) is None else given, name) for name in names
    )
    if like is not None and init != "none":
        raise UserError("--like: is for --init none; --init names the run to start from")
    if init == "none" and like is None and named.init not in ABSENT:
        like = named.init
    if tokenizer is not None:
        if init != "none" or like is not None:
            raise UserError(
                "--tokenizer: is for --init none without --like; a run has its own tokenizer"
            )
        size = load_tokenizer(tokenizer).size
        named = layer(plain)
        named = layer(_without_lm_loss(plain, named.model))
        return replace(named, model=replace(named.model, vocabulary_size=size))
    source = like if init == "none" else init
    if source is None:
        newest = start.find_newest_run()
        if newest is None:  # Help is given all the same; `run` refuses.
            return layer(plain)
        source = str(newest)
    rate = fine_tuning_rate(source, plain.optimizer.learning_rate)
    optimizer = replace(plain.optimizer, learning_rate=rate)
    model = load_config(source, heads)
    below = replace(plain, model=model, optimizer=optimizer)
    base = layer(_without_lm_loss(below, model))
    if init == "none":
        return replace(base, init="none", like=source)
    return replace(base, init=source, like=None)


def _without_lm_loss(config: FinetuneConfig, model: ModelConfig) -> FinetuneConfig:
    """The config without the auxiliary LM loss where the model has none."""
    if model.has_lm_loss:
        return config
    return replace(config, task=replace(config.task, lm_coefficient=0.0))


def task_of(config: FinetuneConfig, folder: RunFolder) -> Task:
    """The task to train on; of a run that is resumed its own copy of a task file."""
    name = config.task.name
    if not name:
        raise UserError("--task is missing: name a task (such as snli) or a TOML file")
    if config.resume != "never" and folder.task_file.exists():
        task = replace(find_task(str(folder.task_file)), name=Path(name).stem)
    else:
        task = find_task(name)
    if task.trained_as is not None:
        raise UserError(
            f"--task {task.name}: a test set without training data; fine-tune on "
            f"{task.trained_as}, and evaluate that run with --task {task.name}"
        )
    section = config.task
    if (weights := section.class_weights) is not None:
        check_class_weights(weights, task)
        task = replace(task, class_weights=weights)
    if section.label_gain:
        check_label_gain(task, section.head_shape)
    check_texts(task, config.model, section.head_shape)
    if section.fewer_options is False:
        task = replace(task, fewer_options=False)
    return as_settled(
        with_columns(task, section.columns, section.unlabelled),
        exact_columns=section.exact_columns is not False,
        detect=section.detect is not False,
    )


def check_name(config: FinetuneConfig) -> None:
    """Refuse a task that does not exist, before anything else is missed."""
    if config.resume == "never" or not config.task.name:
        task_of(replace(config, resume="never"), RunFolder(Path()))


def task_folder(config: FinetuneConfig) -> Path | None:
    """Where a task file's own files lie, None of a published task."""
    return Path(config.task.name).parent if config.task.name.endswith(".toml") else None


def default_out(config: FinetuneSelection) -> Path:
    """runs/finetune/TASK/NAME."""
    if config.config is not None:
        name = Path(config.config).stem
    elif config.init == "none":
        name = "from-scratch"
    else:
        name = short_name(str(config.init or start.newest_run()))
    return Path("runs/finetune") / Path(config.task.name).stem / name
