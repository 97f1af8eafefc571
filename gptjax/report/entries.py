"""What a report is made of: runs, measurements and figures, each with where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptjax.data.tasks.task import Task
from gptjax.models.config import ModelConfig
from gptjax.report.figures import Figure, Table
from gptjax.runs.predictions import Predictions
from gptjax.runs.results import LanguageModelling, SplitResult, TextEvaluation, ZeroShot


@dataclass(frozen=True)
class Made:
    """How one run was made, from its meta.json and results.json; "" is what is not recorded.

    Attributes:
        path: as in the report.
        seed, started, commit, hardware, command, checkpoint: as recorded; absolute paths of the
            command are cut down to their last part, since a page is for others to read.
    """

    path: str
    seed: str = ""
    started: str = ""
    commit: str = ""
    hardware: str = ""
    command: str = ""
    checkpoint: str = ""


@dataclass(frozen=True)
class Origin:
    """Where numbers come from: an entry of the list of runs.

    Attributes:
        path: as the user named it; the key of the entry.
        kind: in words.
        made: each run of it, but for those that have entries of their own.
        names: other paths that lead here, those of an experiment's runs.
    """

    path: str
    kind: str
    made: tuple[Made, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PretrainedRun:
    """A pre-trained run.

    Attributes:
        origin: where it lies.
        model: its shape.
        settings: its config.toml, absolute paths cut down.
        batch_size: examples per update.
        results: what it came to; None of an imported model.
        records: the lines of metrics.jsonl.
        data: what meta.json says of each split's text.
        samples: what it wrote, "" where there is nothing.
    """

    origin: Origin
    model: ModelConfig
    settings: str
    batch_size: int
    results: LanguageModelling | None
    records: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    samples: str

    @property
    def updates(self) -> int:
        """How many there were."""
        return self.results.steps if self.results else 0

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the validation text, by name."""
        return self.results.metrics if self.results else {}


@dataclass(frozen=True)
class TunedSeed:
    """One fine-tuned run.

    Attributes:
        splits: what was measured, with and without labels.
        collapsed: whether it gave every validation example the same class.
        predictions: of the validation split; None where the file is not there.
        evaluations: the records of evaluations on the way, in order.
    """

    splits: tuple[SplitResult, ...]
    collapsed: bool
    predictions: Predictions | None
    evaluations: Sequence[Mapping[str, Any]] = ()

    @property
    def labelled(self) -> dict[str, SplitResult]:
        """The splits that have metrics, by name."""
        return {split.name: split for split in self.splits if split.metrics}


@dataclass(frozen=True)
class TunedRun:
    """A fine-tuned run, all its seeds together, or an evaluation of one on other data.

    Attributes:
        origin: where it lies.
        task: what it was measured on.
        seeds: of each seed what came out.
        sample: whether it was measured on the offline sample.
    """

    origin: Origin
    task: Task
    seeds: tuple[TunedSeed, ...]
    sample: bool


@dataclass(frozen=True)
class Measured:
    """A model measured without training on it: zero-shot, or the perplexity of a text.

    Attributes:
        origin: where the numbers lie.
        results: what they are, without absolute paths.
    """

    origin: Origin
    results: ZeroShot | TextEvaluation


@dataclass(frozen=True)
class Drawn:
    """Figures and tables that an experiment wrote."""

    origin: Origin
    figures: Sequence[Figure]
    tables: Sequence[Table]


@dataclass
class Sources:
    """Everything that was found, in the order of the folders, and what was left out."""

    pretrained: list[PretrainedRun] = field(default_factory=list)
    tuned: list[TunedRun] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def origins(self) -> list[Origin]:
        """Where all of it lies."""
        return [
            *(run.origin for run in self.pretrained),
            *(run.origin for run in self.tuned),
            *(one.origin for one in self.measured),
            *(one.origin for one in self.drawn),
        ]
