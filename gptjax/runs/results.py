"""results.json: a dataclass for each kind of result, one writer and one reader.

Every file names its `kind`; files from before there were kinds are told apart in one place here.
`gptjax.runs.records` says how a dataclass becomes JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from gptjax.errors import UserError
from gptjax.files import make_folder, read_json
from gptjax.runs.folder import Provenance, RunFolder, write_json
from gptjax.runs.probe_results import ProbeLayer, ProbeSize, ProbeUnits
from gptjax.runs.records import from_plain, keyed, to_plain
from gptjax.runs.sweep_results import SweepResults

LANGUAGE_MODELLING = "language-modelling"
"""What stands in the place of a task's name where a text was measured."""
ZERO_SHOT = ", zero-shot"
"""What follows a task's name where it was measured without training on it."""

R = TypeVar("R")


@dataclass(frozen=True)
class Dropped:
    """Documents or rows that were left out: why, and how many."""

    reason: str
    count: int


def dropped(counts: Mapping[str, int]) -> tuple[Dropped, ...]:
    """What was left out, from the counts by reason."""
    return tuple(Dropped(*pair) for pair in counts.items())


@dataclass(frozen=True)
class DataFile:
    """A file of the data, with its size and a hash."""

    name: str
    content: str


def data_files(found: Mapping[str, str]) -> tuple[DataFile, ...] | None:
    """The files of a split, from their content by name; None where there are none."""
    return tuple(DataFile(*pair) for pair in found.items()) or None


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was measured on; None is what is not known or not recorded."""

    source: str | None = None  # the text, file or dataset, for people
    fingerprint: str | None = None  # a hash of the content
    dropped: tuple[Dropped, ...] | None = keyed("reason", None)
    examples: int | None = None
    rows: int | None = None  # that were read, those that were left out too
    files: tuple[DataFile, ...] | None = keyed("name", None)  # None of what is no file
    sample: bool | None = None  # whether it is the offline sample; None of a text
    trained_on_sample: bool | None = None  # whether the model was trained on the offline sample


@dataclass(frozen=True)
class Paper:
    """The task's metric that the paper has, and its value in per cent, if it has one."""

    metric: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What every measurement has."""

    task: str
    split: str  # of the task, or the text's name
    examples: int  # of a text its tokens
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class _OfModel(_Measured):
    """A measurement of one checkpoint of a model."""

    data: Data
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class LanguageModelling(_OfModel):
    """A pre-trained run on its validation text, after ``steps`` updates."""

    steps: int
    seed: int
    task: str = LANGUAGE_MODELLING


@dataclass(frozen=True)
class ClassScores:
    """What is measured of one class, each from 0 to 1, and how many examples have it."""

    name: str
    examples: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class SplitResult:
    """A fine-tuned run on one split; without labels it has no metrics.

    ``classes`` is None of scores and choices too, and of runs from before it was recorded.
    """

    name: str
    examples: int
    left_out: int
    metrics: dict[str, float]
    classes: tuple[ClassScores, ...] | None = keyed("name", None)


@dataclass(frozen=True, kw_only=True)
class TaskRun(_OfModel):
    """A fine-tuned run: its validation split, and all splits."""

    seed: int
    majority_class_only: bool  # every validation example got the same answer
    notices: tuple[str, ...] = ()  # what should make people doubt it
    paper: Paper | None = None
    splits: tuple[SplitResult, ...] = keyed("name")


@dataclass(frozen=True)
class Spread:
    """A metric over several seeds: sample standard deviation, and the value of each seed."""

    metric: str
    mean: float
    std: float
    median: float
    best: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class SplitSpread:
    """Several seeds on one split."""

    name: str
    examples: int
    metrics: tuple[Spread, ...] = keyed("metric")


@dataclass(frozen=True, kw_only=True)
class Seeds(_Measured):
    """Several seeds of a fine-tuned run; ``metrics`` are the means of the validation split."""

    seeds: tuple[int, ...]
    majority_class_only: tuple[int, ...]  # that gave every validation example the same answer
    notices: tuple[str, ...] = ()  # of all seeds, each with its seed
    data: Data
    paper: Paper | None = None
    splits: tuple[SplitSpread, ...] = keyed("name")

    def by_seed(self, metric: str) -> dict[int, float]:
        """A metric of each seed on the validation split; KeyError where it was not measured."""
        (split,) = (split for split in self.splits if split.name == self.split)
        spreads = {spread.metric: spread for spread in split.metrics}
        return dict(zip(self.seeds, spreads[metric].values, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Asked(_OfModel):
    """A measurement with a command of its own, of a model as it was named (``run``)."""

    run: str
    made: Provenance | None = None


@dataclass(frozen=True, kw_only=True)
class TextEvaluation(_Asked):
    """The perplexity of a text, with windows of ``context`` tokens every ``stride`` tokens.

    With ``streams`` what is remembered goes on within a document; a single one is cut into so many.
    """

    context: int
    stride: int
    streams: int | None = None
    task: str = LANGUAGE_MODELLING


@dataclass(frozen=True)
class Category:
    """The metrics of the examples of one category."""

    name: str
    examples: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TaskEvaluation(_Asked):
    """A fine-tuned model on some examples, with and without labels."""

    categories: tuple[Category, ...] = keyed("name", ())
    classes: tuple[ClassScores, ...] | None = keyed("name", None)


@dataclass(frozen=True, kw_only=True)
class ZeroShot(_Asked):
    """A model on a task that it was not trained on; ``task`` ends with `ZERO_SHOT`."""

    normalised: float | None  # 0 is guessing, 1 the paper's fine-tuned model
    threshold: float | None  # above which a score means yes; None: the best candidate is taken
    step: int  # of the checkpoint
    run_started: str | None  # so that another run in its place is told apart

    @property
    def asked(self) -> str:
        """The task's name alone."""
        return self.task.removesuffix(ZERO_SHOT)


@dataclass(frozen=True, kw_only=True)
class ProbeResults(_Asked):
    """Classifiers on the features of a model that stays as it is.

    ``metrics`` are those of ``layer`` on ``split``; of a cross-validation the means over the folds.
    """

    features: str  # last, mean, max or cell
    penalty: str
    standardised: bool
    one_vs_rest: bool  # whether the classes were fitted one against the rest
    seed: int
    cut: int  # texts longer than the context
    layer: int  # of those that were asked the best on ``split``
    layers: tuple[ProbeLayer, ...] = keyed("layer")
    folds: int | None = None  # of a cross-validation
    units: ProbeUnits | None = None
    sizes: tuple[ProbeSize, ...] = ()
    notices: tuple[str, ...] = ()


Measurement = TextEvaluation | TaskEvaluation | ZeroShot | ProbeResults
"""What has a command and a folder of its own, which the next one of its kind may replace."""
Results = LanguageModelling | TaskRun | Seeds | Measurement | SweepResults
KINDS: dict[str, Any] = {
    "language-modelling": LanguageModelling,
    "task-run": TaskRun,
    "seeds": Seeds,
    "text-evaluation": TextEvaluation,
    "task-evaluation": TaskEvaluation,
    "zero-shot": ZeroShot,
    "probe": ProbeResults,
    "sweep": SweepResults,
}
NAMES = {cls: name for name, cls in KINDS.items()}


def write_results(path: Path, results: Results) -> None:
    """Write a results.json; the file is replaced whole."""
    write_json(path, {"kind": NAMES[type(results)], **to_plain(results)})


def read_results(path: Path) -> Results:
    """Read a results.json, also one from before files named their kind."""
    table = read_json(path)
    try:
        if not isinstance(table, dict):
            raise ValueError("its content is no table")
        if "kind" not in table:
            table = _with_kind(table)
        if table["kind"] not in KINDS:
            raise ValueError(f"kind is {table['kind']!r}, none of {', '.join(KINDS)}")
        return cast(Results, from_plain(KINDS[table["kind"]], table))
    except ValueError as error:
        raise UserError(f"{path}: is damaged, or of another version of gptjax ({error})") from None


def folder_for_measurement(out: str) -> RunFolder:
    """The folder ``out``, made, for the results of a measurement.

    Raises:
        UserError: it is that of a run, of several seeds or of a sweep: their results are kept.
    """
    folder = RunFolder(Path(out))
    taken = folder.config.exists() or folder.meta.exists() or bool(folder.seeds())
    if not taken and folder.results.exists():
        taken = not isinstance(read_results(folder.results), Measurement)
    if taken:
        raise UserError(
            f"`out={out}`: has the results of a run, which would be replaced; name another folder"
        )
    make_folder(folder.path)
    return folder


def read_as(kind: type[R], path: Path) -> R:
    """`read_results` where only one kind of result can be used."""
    found = read_results(path)
    if not isinstance(found, kind):
        here, wanted = NAMES[type(found)], NAMES[kind]
        raise UserError(f"{path}: is of the kind {here}, and {wanted} is wanted")
    return found


def _with_kind(table: dict[str, Any]) -> dict[str, Any]:
    """A file that names no kind, told apart by its keys, with what old ones do not have."""
    task = str(table.get("task", LANGUAGE_MODELLING))
    if "points" in table:
        kind = "sweep"
    elif "seeds" in table:
        kind = "seeds"
    elif task.endswith(ZERO_SHOT):
        kind = "zero-shot"
    elif "run" in table:
        kind = "text-evaluation" if task == LANGUAGE_MODELLING else "task-evaluation"
    else:
        kind = "language-modelling" if task == LANGUAGE_MODELLING else "task-run"
    absent = {"normalised": None, "threshold": None, "run_started": None}
    return {"kind": kind, **(absent if kind == "zero-shot" else {}), **table}
