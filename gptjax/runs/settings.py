"""The settings that every training command has."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from gptjax import config as configs
from gptjax.models.config import ModelConfig
from gptjax.training.checkpoint import CheckpointConfig
from gptjax.training.length import TrainConfig
from gptjax.training.optimizer import WARMUP, OptimizerConfig
from gptjax.training.processes import DistributedConfig
from gptjax.training.tracking import TrackingConfig

C = TypeVar("C", bound="RunConfig")


@dataclass(frozen=True)
class Selection:
    """The options that choose what the others are defaults of."""

    config: str | None = configs.invocation(None)
    """A preset (tiny, tiny-fast, small, small-fast, small-lstm, small-awd, small-bilm, gpt1,
    gpt1-1gpu, gpt1-lstm, awd-lstm, bilm, gpt2, mlstm, reviews) or a TOML file with any of the
    options below."""
    out: str | None = configs.invocation(None)
    """Run folder; None is runs/pretrain/NAME, with the preset or the stem of the file as NAME."""
    resume: str = configs.invocation("never")
    """For a folder that is not empty: auto continues from its newest good checkpoint, a number
    from the checkpoint of that step, never refuses."""
    overwrite: bool = configs.invocation(False)
    """Remove the files of an earlier run in the folder first."""
    init: str | None = None
    """A run folder, openai:FOLDER or hf:ID_OR_FOLDER (what others published) to take model,
    parameters and tokenizer from, with a fresh optimiser."""
    heads: int | None = None
    """Attention heads of openai:FOLDER, whose files do not tell; None: heads of 64."""
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class RunConfig(Selection):
    """The sections that every training command has."""

    WARMUP: ClassVar[float] = WARMUP  # where none is said
    HAS_HEAD: ClassVar[bool] = False  # whether a task head stands on the backbone

    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    distributed: DistributedConfig = field(
        default_factory=DistributedConfig, metadata={"toml": False}
    )

    @property
    def highest_depth(self) -> int:
        """The depth of the head, or of the last block (see `gptjax.models.backbone.groups`)."""
        return self.model.num_layers + self.HAS_HEAD


def with_length(config: C, typed: TrainConfig, otherwise: int | None = None) -> C:
    """Without a length where one is typed, which takes its place; one without any gets epochs."""
    length = config.train
    if typed.steps is not None or typed.epochs is not None:
        length = replace(length, steps=None, epochs=None)
    elif length.steps is None and length.epochs is None:
        length = replace(length, epochs=otherwise)
    return replace(config, train=length)
