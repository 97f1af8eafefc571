"""What a report is made of: runs, measurements and figures, each with where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gptjax.data.tasks.task import Task
from gptjax.models.config import ModelConfig
from gptjax.report.figures import Figure, Table
from gptjax.runs import results as kinds
from gptjax.runs.most_wrong import MostWrong
from gptjax.runs.predictions import Predictions

EXPERIMENT = "figures of an experiment"
"""The kind of an `Origin` whose figures were drawn by an experiment, a sweep or a curve."""


@dataclass(frozen=True)
class Made:
    """How the run at ``path`` was made, for people; "" is what is not recorded.

    Absolute paths in ``command`` are cut down to their last part: a page is for others to read.
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
class Found:
    """Something that lies in a folder."""

    origin: Origin


@dataclass(frozen=True)
class PretrainedRun(Found):
    """A pre-trained run.

    Attributes:
        settings: its config.toml, absolute paths cut down.
        results: None of an imported model.
        records: the lines of metrics.jsonl.
        data: what meta.json says of each split's text.
        samples: what it wrote, "" where there is nothing.
    """

    model: ModelConfig
    settings: str
    batch_size: int
    results: kinds.LanguageModelling | None
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
        splits: what was measured with labels, by the name of the split.
        collapsed: whether it gave every validation example the same class.
        predictions: of the validation split; None where the file is not there.
        evaluations: the records of evaluations on the way, in order.
        notices: what should make people doubt it.
        most_wrong: examples of the validation split with their texts; None: there is no file.
    """

    splits: Mapping[str, kinds.SplitResult | kinds.TaskEvaluation]
    collapsed: bool
    predictions: Predictions | None
    evaluations: Sequence[Mapping[str, Any]] = ()
    notices: Sequence[str] = ()
    most_wrong: MostWrong | None = None


@dataclass(frozen=True)
class TunedRun(Found):
    """A fine-tuned run, all its seeds together, or an evaluation of one on other data.

    ``sample`` says whether it was measured on the offline sample.
    """

    task: Task
    seeds: tuple[TunedSeed, ...]
    sample: bool


@dataclass(frozen=True)
class Measured(Found):
    """A model measured without training on it; ``results`` are without absolute paths."""

    results: kinds.ZeroShot | kinds.TextEvaluation


@dataclass(frozen=True)
class Drawn(Found):
    """Figures and tables that an experiment wrote."""

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

    def without_texts(self) -> "Sources":
        """The same without the texts of examples, which may not be for others to read."""
        tuned = [
            replace(run, seeds=tuple(replace(seed, most_wrong=None) for seed in run.seeds))
            for run in self.tuned
        ]
        return replace(self, tuned=tuned)

    @property
    def origins(self) -> list[Origin]:
        """Where all of it lies."""
        found: list[Found] = [*self.pretrained, *self.tuned, *self.measured, *self.drawn]
        return [one.origin for one in found]
