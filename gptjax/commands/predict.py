"""`gptjax predict`: label new rows with a fine-tuned model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gptjax.commands.advice import OPENING, ROWS, again, suggest
from gptjax.config import alias
from gptjax.data.tables.format import Row
from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.task import Task, with_new_columns
from gptjax.errors import UserError, check_counts, check_settings
from gptjax.evaluation import most_wrong
from gptjax.evaluation.notices import one_answer
from gptjax.evaluation.task_scores import SplitScores, predict_split
from gptjax.files import make_folder
from gptjax.runs.answers import below, check_name, write_answers
from gptjax.runs.open import Reading, sample_notice
from gptjax.runs.train import say


@dataclass(frozen=True)
class PredictConfig(TableOptions, Reading):
    """Label new rows with a fine-tuned model."""

    run: str
    """Run folder of `gptjax finetune`."""
    data: str
    """File (or folder of files) in any format that the task knows, with or without labels."""
    out: str
    """File to write, as CSV or JSON lines if its name ends in .csv or .jsonl, and else as TSV:
    index (the row's number, from 0), gold, prediction, a probability for each class, the number
    of tokens, and then the columns of the data."""
    min_probability: float | None = None
    """Leave the prediction empty where its probability is below this one (from 0 to 1)."""
    batch_size: int = 32
    """Rows at once, rounded up to a multiple of the devices."""
    head: Annotated[str | None, alias("--adapter")] = None
    """A head.safetensors, with --run the pre-trained run whose backbone it was trained on."""

    def __post_init__(self) -> None:
        check_counts(self, "", "batch_size")
        check_settings(self, "", "min_probability", lambda p: 0 <= p <= 1, "from 0 to 1")


def run(config: PredictConfig) -> SplitScores:
    """Write the predictions, and say how many."""
    out = Path(config.out)
    _check_out(config, out)
    loaded = config.open(config.head)
    if loaded.task is None:
        raise UserError(f"{config.run}: a pre-trained run has no task; give a fine-tuned one")
    task, rows = with_new_columns(loaded.task, config.columns, config.unlabelled), list[Row]()
    check_probability(config, task)
    split = read_split(
        Path(config.data),
        task,
        "rows",
        reading=config.reading(task.reading),
        labels=False,
        required=[word.partition("=")[0] for word in config.columns],
        seen=rows,
    )
    if notice := sample_notice(loaded):
        print(notice)
    for line in split.report():
        print(line)
    scores = predict_split(loaded, split.examples, config.batch_size)
    found, least = scores.predictions(task), config.min_probability or 0.0
    write_answers(out, found, rows, least)
    if scores.truncated:
        print(f"{scores.truncated:,} truncated to the model's context")
    print(
        f"{scores.num_examples:,} predictions by {config.run} ({loaded.checkpoint}), "
        f"{_per_second(scores)} rows per second without compilation: {out}"
    )
    if config.min_probability is not None:
        empty = int(below(found, least).sum())
        print(
            f"  {empty:,} of them ({empty / scores.num_examples:.1%}) are left empty: their "
            f"probability is below {least:g}"
        )
    for line in most_wrong.shown(task, scores, split.examples, split.source):
        print(line)
    if (doubt := one_answer(task, "these rows", scores)) is not None:
        say(f"warning: {doubt}")
    if scores.metrics:
        words = ("--run", config.run, "--data", config.data, *again(config, f"{OPENING} {ROWS}"))
        suggest("metrics", "evaluate", *words)
    else:
        suggest("a page", "report", "--runs", config.run, "--out", "report.html")
    return scores


def _check_out(config: PredictConfig, out: Path) -> None:
    """Refuse a file that cannot be written, or must not be."""
    if out.is_dir() or not out.name:
        raise UserError(f"--out {config.out}: is a folder; name a file to write")
    check_name(out)
    if out.exists() and Path(config.data).exists() and out.samefile(config.data):
        raise UserError(f"--out {config.out}: is the file of --data; name another one")
    make_folder(out.parent)


def check_probability(config: PredictConfig, task: Task) -> None:
    """Refuse a least probability of scores, which have none."""
    if config.min_probability is not None and task.scores is not None:
        raise UserError(
            f"--min-probability {config.min_probability:g}: the answers of {task.name} are scores, "
            "which have no probability; leave it out"
        )


def _per_second(scores: SplitScores) -> str:
    """Three digits of it are right at best."""
    return f"{float(f'{scores.num_examples / max(scores.seconds, 1e-9):.3g}'):,.10g}"
