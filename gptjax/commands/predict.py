"""`gptjax predict`: label new rows with a fine-tuned model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gptjax.commands.advice import suggest
from gptjax.config import alias
from gptjax.data.tables.lines import UTF_8, EncodingErrors, FileReading
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.task import with_columns
from gptjax.errors import UserError, check_counts
from gptjax.evaluation.task_scores import SplitScores, predict_split
from gptjax.runs.open import Reading, sample_notice
from gptjax.runs.predictions import write_predictions


@dataclass(frozen=True)
class PredictConfig(Reading):
    """Label new rows with a fine-tuned model."""

    run: str
    """Run folder of `gptjax finetune`."""
    data: str
    """File (or folder of files) in any format that the task knows, with or without labels."""
    out: str
    """TSV file to write: index (the row's number, from 0), gold, prediction, a probability for
    each class, and the number of tokens."""
    columns: tuple[str, ...] = ()
    """PART=COLUMN for files with other column names, such as text=review. A column of this name
    must be there."""
    encoding_errors: EncodingErrors = "strict"
    """What to do with bytes that are not UTF-8: refuse the file, or replace them by U+FFFD."""
    encoding: str = UTF_8
    """Encoding of the files, such as utf-16 or cp1252. It is never guessed."""
    batch_size: int = 32
    """Rows at once, rounded up to a multiple of the devices."""
    head: Annotated[str | None, alias("--adapter")] = None
    """A head.safetensors, with --run the pre-trained run whose backbone it was trained on."""

    def __post_init__(self) -> None:
        check_counts(self, "", "batch_size")


def run(config: PredictConfig) -> SplitScores:
    """Write the predictions, and say how many."""
    out = Path(config.out)
    if out.is_dir() or not out.name:
        raise UserError(f"--out {config.out}: is a folder; name a file to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    loaded = config.open(config.head)
    if loaded.task is None:
        raise UserError(f"{config.run}: a pre-trained run has no task; give a fine-tuned one")
    task = with_columns(loaded.task, config.columns)
    split = read_split(
        Path(config.data),
        task,
        "rows",
        reading=FileReading(config.encoding, config.encoding_errors),
        labels=False,
        required=[word.partition("=")[0] for word in config.columns],
    )
    if notice := sample_notice(loaded):
        print(notice)
    for line in split.report():
        print(line)
    scores = predict_split(loaded, split.examples, config.batch_size)
    write_predictions(out, scores.predictions(task))
    if scores.truncated:
        print(f"{scores.truncated:,} truncated to the model's context")
    print(f"{scores.num_examples:,} predictions by {config.run} ({loaded.checkpoint}): {out}")
    if scores.metrics:
        suggest("metrics", "evaluate", "--run", config.run, "--data", config.data)
    else:
        suggest("a page", "report", "--runs", config.run, "--out", "report.html")
    return scores
