"""`gptjax evaluate`: the perplexity of a text, or the metrics of a task."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from gptjax.commands.advice import OPENING, ROWS, again, suggest
from gptjax.data.tables.containers import is_file
from gptjax.data.tables.lines import UTF_8
from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.labels import known_labels
from gptjax.data.tasks.load import SAMPLE_WARNING, load_split
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, with_columns
from gptjax.data.tasks.texts import is_task, open_split
from gptjax.data.text.autoencoder import AutoencoderRows
from gptjax.data.text.batches import to_evaluate
from gptjax.data.text.corpus import Corpus, prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.streams import WholeDocuments
from gptjax.data.text.vocabulary import not_kept
from gptjax.data.text.windows import Windows
from gptjax.errors import UserError, check_counts
from gptjax.evaluation import most_wrong
from gptjax.evaluation.notices import one_answer
from gptjax.evaluation.perplexity import Perplexity, Reconstruction, measured, show_per_word
from gptjax.evaluation.task_scores import SplitScores, predict_split, report
from gptjax.models.objective import lm
from gptjax.runs.folder import Provenance, RunFolder
from gptjax.runs.memory import rows_at_once
from gptjax.runs.most_wrong import write_most_wrong
from gptjax.runs.open import Reading, Run, sample_notice
from gptjax.runs.predictions import write_predictions
from gptjax.runs.results import (
    Data,
    TaskEvaluation,
    TextEvaluation,
    data_files,
    dropped,
    folder_for_measurement,
    write_results,
)
from gptjax.runs.train import say
from gptjax.training import parallel
from gptjax.training.evaluation import Evaluator


@dataclass(frozen=True)
class EvaluateConfig(TableOptions, Reading):
    """Of a pre-trained run the perplexity of a text; of a fine-tuned one its task's metrics."""

    data: str
    """Of a pre-trained run a text: a .txt file or a folder of them, .jsonl, .parquet, .csv, .tsv
    or .xlsx with a text column, hub:ID[:CONFIG][@REVISION], task:NAME[=DATA] (the texts of a
    task's rows), or embedded. Of a fine-tuned run a file, a folder with the task's published files,
    hub, or sample."""
    task: str | None = None
    """Another task with the same labels to measure a fine-tuned run on (breaking_nli of an SNLI
    run, ax of an MNLI run); None is its own."""
    split: str = "test"
    """Which split of a folder or of the hub; the name of what a single file is."""
    strict: bool = False
    """Stop at the first row that cannot be used instead of leaving it out."""
    context: int | None = None
    """Tokens the model sees at once; None is its full context."""
    stride: int | None = None
    """Tokens by which the window moves on: a smaller stride gives each token more context and
    takes longer. None is the context: windows do not overlap."""
    streams: int | None = None
    """Of a recurrent model: read each document from its beginning to its end with what is
    remembered, and cut a text of a single document into so many parts. None: as the run was
    trained."""
    batch_size: int = 16
    """Windows at once, rounded up to a multiple of the devices."""
    text_column: str = CorpusConfig.text_column
    """Name of the column with the text, where the data has columns."""
    suffixes: tuple[str, ...] = ()
    """Of a pre-trained run: further endings of files that are read as text in a folder."""
    unescape_html: bool = CorpusConfig.unescape_html
    """Of a pre-trained run: whether the escapes of HTML in documents are undone."""
    out: str | None = None
    """Folder for results.json, and of a task predictions.tsv; None writes none."""

    def __post_init__(self) -> None:
        check_counts(self, "", "context stride streams batch_size")


def run(config: EvaluateConfig) -> Perplexity | Reconstruction | SplitScores:
    """Print perplexity per token and word, and bits per byte; or a task's metrics."""
    if config.out is not None:  # before the run is opened, which takes a while
        folder_for_measurement(config.out)
    return measure(config, config.open())


def measure(config: EvaluateConfig, loaded: Run) -> Perplexity | Reconstruction | SplitScores:
    """`run` of a run that is open."""
    if config.out is not None:
        folder_for_measurement(config.out)
    if loaded.task is not None:
        return _task(config, loaded, loaded.task)
    if config.task is not None:
        raise UserError(f"{config.run}: a pre-trained run has no task; fine-tune it first")
    return _text(config, loaded)


def _read_text(config: EvaluateConfig, loaded: Run) -> Corpus:
    settings = CorpusConfig(
        data=config.data,
        text_column=config.text_column,
        encoding_errors=config.encoding_errors,
        encoding=config.encoding or UTF_8,
        sheet=config.sheet,
        suffixes=config.suffixes,
        unescape_html=config.unescape_html,
    )
    source = open_split(config.data, settings, config.split) if is_task(config.data) else None
    return prepare_whole(settings, loaded.tokenizer, source)


def _text(config: EvaluateConfig, loaded: Run) -> Perplexity | Reconstruction:
    whole = loaded.model.context_length
    context = whole if config.context is None else config.context
    if not 1 <= context <= whole:
        raise UserError(
            f"--context {context}: the model of {config.run} sees from 1 to {whole} tokens"
        )
    stride = context if config.stride is None else config.stride
    if stride > context:
        raise UserError(f"--stride {stride}: it must be from 1 to the context of {context} tokens")
    for name, value in (("stride", config.stride), ("streams", config.streams)):
        if loaded.reconstructs and value is not None:
            raise UserError(
                f"--{name} {value}: {config.run} is a sequence autoencoder, which reads a document "
                "whole, or its last tokens; leave it out"
            )
    if loaded.model.bidirectional and config.stride is not None:
        raise UserError(
            f"--stride {config.stride}: {config.run} reads a window from its end, too; leave it out"
        )
    streams = loaded.streams if config.streams is None else config.streams
    if streams and config.stride is not None:
        raise UserError("--stride: windows do not overlap where what is remembered goes on")
    apart = loaded.tokenizer.end if loaded.predicts_end else None
    objective = lm(loaded.model.for_perplexity(), apart, streams=streams is not None)
    corpus = _read_text(config, loaded)
    windows = _batches(config, loaded, corpus, context, stride, streams)
    means = Evaluator(objective, windows)(loaded.params)
    result = measured(means, windows)
    print(f"{config.run} ({loaded.checkpoint}) on {corpus}")
    how = f"context {context}, stride {stride}"
    if isinstance(windows, WholeDocuments):
        how = windows.report()
    once = f"{how}: every token counted once"
    print(windows.report() if isinstance(windows, AutoencoderRows) else once)
    _show(result, means["accuracy"])
    if (line := not_kept(loaded.tokenizer, {"text": corpus})) is not None:
        print(f"  {line}")
    if config.out is not None:
        left_out = dropped(corpus.dropped)
        results = TextEvaluation(
            split=corpus.name,
            examples=result.tokens,
            metrics={**means, **result.metrics()},
            data=Data(source=corpus.name, fingerprint=corpus.fingerprint, dropped=left_out),
            checkpoint=loaded.checkpoint,
            run=config.run,
            made=Provenance.now(parallel.describe_devices()),
            context=context,
            stride=stride,
            streams=streams,
        )
        write_results(RunFolder(Path(config.out)).results, results)
    if loaded.model.bidirectional:  # which writes nothing
        return result
    opened = again(config, OPENING)
    suggest("write text", "generate", "--run", config.run, *opened, "--prompt", "The ")
    return result


def _show(result: Perplexity | Reconstruction, accuracy: float) -> None:
    """What a text came to, a line for each unit."""
    nats = f"({result.loss:.4f} nats)"
    if isinstance(result, Perplexity):
        per_word = show_per_word(result.metrics(), "{:.3f}")
        print(f"  perplexity per token  {result.perplexity:12.3f}   {nats}")
        if per_word != "-":
            print(f"  perplexity per word   {per_word:>12s}   (split at white space)")
        print(f"  bits per byte         {result.bits_per_byte:12.4f}")
    else:
        print(f"  reconstruction perplexity {result.reconstruction_perplexity:8.3f}   {nats}")
    print(f"  accuracy              {accuracy:12.4f}   (next token)")
    if result.end_loss is not None:
        print(f"  loss of the ends      {result.end_loss:12.4f}   (nats, of each document's end)")


def _batches(
    config: EvaluateConfig,
    loaded: Run,
    corpus: Corpus,
    context: int,
    stride: int,
    streams: int | None,
) -> Windows | WholeDocuments | AutoencoderRows:
    most = corpus.num_tokens // stride + corpus.num_documents
    if loaded.reconstructs:
        settings, most = CorpusConfig(layout="autoencode"), corpus.num_documents
    elif streams is None:
        settings = CorpusConfig(predict_end=loaded.predicts_end)
    else:
        ends = loaded.predicts_end
        settings = CorpusConfig(predict_end=ends, order="streams", streams=streams)
    size = rows_at_once(loaded.model, config.batch_size, most, context)
    return to_evaluate(settings, corpus, context_length=context, batch_size=size, stride=stride)


def _asked(config: EvaluateConfig, trained: Task) -> Task:
    """The task to measure on, which has the labels of the run's own."""
    task = trained if config.task is None else find_task(config.task)
    if sorted(task.labels) == sorted(trained.labels):  # read by name; WNLI's order is not RTE's
        task = dataclasses.replace(task, labels=trained.labels)
    if (task.format, task.labels, task.scores) != (trained.format, trained.labels, trained.scores):
        raise UserError(
            f"--task {task.name}: has other labels than {trained.name}, which {config.run} was "
            f"trained on: {known_labels(task.labels) or task.scores}, not "
            f"{known_labels(trained.labels) or trained.scores}"
        )
    return with_columns(task, config.columns, config.unlabelled)


def _task(config: EvaluateConfig, loaded: Run, trained: Task) -> SplitScores:
    task = _asked(config, trained)
    split, sample = load_split(
        config.data,
        task,
        config.split,
        strict=config.strict,
        reading=config.reading(task.reading),
    )
    if sample:
        print(SAMPLE_WARNING.format(task=task.name))
    if (notice := sample_notice(loaded)) is not None:
        print(notice)
    for line in split.report():
        print(line)
    scores = predict_split(loaded, split.examples, config.batch_size, task)
    print(f"{config.run} ({loaded.checkpoint}) on {_measured(split)}")
    print("\n".join(report(task, {split.name: scores}, not sample and notice is None)))
    _show_doubts(task, split, scores)
    if config.out is not None:
        folder = RunFolder(Path(config.out))
        _write_rows(folder, task, split, scores)
        results = TaskEvaluation(
            task=task.name,
            split=split.name,
            examples=scores.num_examples,
            metrics=dict(scores.metrics),
            data=Data(
                source=split.source,
                fingerprint=split.fingerprint,
                dropped=dropped(split.dropped),
                rows=split.rows,
                files=data_files(split.files),
                sample=sample,
                trained_on_sample=notice is not None,
            ),
            checkpoint=loaded.checkpoint,
            run=config.run,
            made=Provenance.now(parallel.describe_devices()),
            categories=scores.categories,
            classes=scores.classes,
        )
        write_results(folder.results, results)
    if sample:
        print(SAMPLE_WARNING.format(task=task.name))
    if is_file(Path(config.data)):
        words = ("--run", config.run, "--data", config.data, *again(config, f"{OPENING} {ROWS}"))
        suggest("each row", "predict", *words, "--out", "predictions.tsv")
    else:
        written = () if config.out is None else (config.out,)
        suggest("a page", "report", "--runs", config.run, *written, "--out", "report.html")
    return scores


def _show_doubts(task: Task, split: Split, scores: SplitScores) -> None:
    for line in most_wrong.shown(task, scores, split.examples, split.source):
        print(line)
    if (doubt := one_answer(task, split.name, scores)) is not None:
        say(f"warning: {doubt}")


def _write_rows(folder: RunFolder, task: Task, split: Split, scores: SplitScores) -> None:
    """What belongs to these rows; of an earlier measurement there nothing stays."""
    for old in (folder.most_wrong, folder.task_file):
        old.unlink(missing_ok=True)
    write_predictions(folder.predictions, scores.predictions(task))
    if scores.metrics:
        worst = most_wrong.most_wrong(task, scores, split.examples)
        write_most_wrong(folder.most_wrong, worst)
    if task.file_text:  # for `gptjax report`
        folder.task_file.write_text(task.file_text, encoding="utf-8")


def _measured(split: Split) -> str:
    """What was measured on: its path, and how many of its rows."""
    files = f" ({len(split.files):,} files)" if len(split.files) > 1 else ""
    return f"{split.source}{files}: {len(split.examples):,} of {split.rows:,} rows"
