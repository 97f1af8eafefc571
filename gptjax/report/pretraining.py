"""Pre-trained runs in a report: what they are, their curves and what they write."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptjax.evaluation.perplexity import Reconstruction, show_per_word
from gptjax.models.objective import lm, num_parameters
from gptjax.report.entries import PretrainedRun
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.readers import without_absolute
from gptjax.report.sections import Section, line_figures, slug, with_labels, with_numbers

SEEN = "million tokens seen (padding included)"
LOSS = "loss, nats per token"
MOST_POINTS = 400  # of a curve: more than a screen can show
MOST_PER_WORD = 10_000  # above this it says no more than that the text has no such words
QUALITY = ("perplexity", "per word", "bits per byte", "accuracy, %", "unigram perplexity")
TRAINING = ("parameters", "updates", "tokens seen", "training")
TIME = "The time is that of the updates, without evaluation, from their recorded speeds."
Labelled = Sequence[tuple[PretrainedRun, str]]


def sections(runs: Sequence[PretrainedRun]) -> Iterator[Section]:
    """Tables of all runs, and a section for each of them.

    Language models and sequence autoencoders stand apart: their losses are of different things.
    """
    if not runs:
        return
    labelled = with_labels(runs)
    models = [pair for pair in labelled if not _reconstructs(pair[0])]
    autoencoders = [pair for pair in labelled if _reconstructs(pair[0])]
    tables = [*_models(models), *_autoencoders(autoencoders)]
    figures = [
        *_together(models, "pre-training-validation", "Validation loss"),
        *_together(autoencoders, "reconstruction-validation", "Validation loss, written once more"),
    ]
    yield Section("pre-training", "Pre-training", tables=tuple(tables), figures=tuple(figures))
    for run in runs:
        yield _section(run)


def _reconstructs(run: PretrainedRun) -> bool:
    """Whether it is a sequence autoencoder."""
    return Reconstruction.NAME in run.metrics


def _models(runs: Labelled) -> Iterator[Table]:
    if runs:
        columns, rows = with_numbers(
            ("run", *QUALITY, *TRAINING),
            [(label, *_quality(run), *_training(run)) for run, label in runs],
            QUALITY,
        )
        yield Table(
            name="pre-training-runs",
            title="Pre-trained runs",
            caption="Perplexity is of the whole validation text, each token counted once; beside "
            f"it what token frequencies alone come to. {TIME}",
            columns=columns,
            rows=rows,
            sources=tuple(run.origin.path for run, _ in runs),
        )


def _autoencoders(runs: Labelled) -> Iterator[Table]:
    if runs:
        names = {Reconstruction.NAME: "{:,.2f}", "accuracy": "{:.1%}"}
        yield Table(
            name="sequence-autoencoders",
            title="Sequence autoencoders",
            caption="Of the tokens of the validation documents, which are written once more after "
            "they were read: no perplexity of a text, and not to be compared with one. "
            f"{TIME}",
            columns=("run", "reconstruction perplexity", "accuracy", *TRAINING),
            rows=tuple(
                (
                    label,
                    *(form.format(run.metrics[name]) for name, form in names.items()),
                    *_training(run),
                )
                for run, label in runs
            ),
            sources=tuple(run.origin.path for run, _ in runs),
        )


def _together(runs: Labelled, name: str, title: str) -> Iterator[Figure]:
    """The losses of several runs in one figure."""
    found = (_line(run, "valid", "loss", label) for run, label in runs)
    lines = [line for line in found if line]
    return line_figures(
        lines if len(lines) > 1 else [],
        name=name,
        title=title,
        caption="Of each run on its own validation text, which stands with the run.",
        axes=(SEEN, LOSS),
    )


def _tokens_per_update(run: PretrainedRun) -> int:
    return run.batch_size * run.model.context_length


def seconds(run: PretrainedRun) -> float:
    """How long the updates took: the tokens between two records at the speed of the later one."""
    train = [record for record in run.records if record["split"] == "train"]
    epochs = [0, *(record["epoch"] for record in train)]
    facts = run.data["train"]
    each = facts.get("predicted", facts["tokens"])  # in an epoch
    parts = [
        (record["epoch"] - before) * each / record["tokens_per_second"]
        for before, record in zip(epochs[:-1], train, strict=True)
        if record["tokens_per_second"]
    ]
    return math.fsum(parts)


def _quality(run: PretrainedRun) -> tuple[str, ...]:
    def number(name: str, form: str, scale: int = 1) -> str:
        return form.format(scale * run.metrics[name]) if name in run.metrics else "–"

    return (
        number("perplexity", "{:,.2f}"),
        per_word(run.metrics),
        number("bits_per_byte", "{:.3f}"),
        number("accuracy", "{:.1f}", 100),
        number("unigram_perplexity", "{:,.1f}"),
    )


def per_word(metrics: Mapping[str, Any]) -> str:
    """The perplexity per word, where it is one that a person can read; bits per byte always are."""
    if metrics.get("word_perplexity", math.inf) >= MOST_PER_WORD:
        return "–"
    return show_per_word(metrics).replace("-", "–")


def _training(run: PretrainedRun) -> tuple[str, ...]:
    size = f"{num_parameters(lm(run.model)):,}"
    if run.updates <= 0:
        return (size, *("–",) * 3)
    tokens, length = run.updates * _tokens_per_update(run), seconds(run)
    duration = f"{length / 3600:.1f} h" if length >= 3600 else f"{length / 60:.0f} min"
    return (size, f"{run.updates:,}", f"{tokens / 1e6:,.1f} M", duration)


def _section(run: PretrainedRun) -> Section:
    name, path, model = slug(run.origin.path), run.origin.path, run.model
    size = f"context {model.context_length} tokens, vocabulary {model.vocabulary_size:,}"
    text = [f"{model.describe()}, {size}."]
    texts = [
        f"{split}: {without_absolute(facts['source'])}, "
        f"{facts['documents']:,} documents, {facts['tokens']:,} tokens"
        for split, facts in run.data.items()
    ]
    text += [f"Text: {'; '.join(texts)}."] if texts else []
    if "end_loss" in run.metrics:
        text.append(f"Loss of the ends of documents: {run.metrics['end_loss']:.3f} nats.")
    written = run.samples.rstrip()
    listings = [("What it writes (samples.txt)", written)] if run.samples else []
    listings.append(("Settings (config.toml)", run.settings))
    figures, folded = _curves(run, name), tuple(listings)
    return Section(f"run-{name}", path, 3, tuple(text), figures=figures, listings=folded)


def _curves(run: PretrainedRun, name: str) -> tuple[Figure, ...]:
    """Losses and learning rate over the tokens seen, of a run that recorded any."""
    path, ended, metrics = run.origin.path, "", run.metrics
    for quality in ("perplexity", Reconstruction.NAME):
        if quality in metrics:
            ended = f": {quality.replace('_', ' ')} {metrics[quality]:,.1f}"
    train = _line(run, "train", "loss", "training, one batch")
    valid = _line(run, "valid", "loss", f"validation, whole{ended}")
    losses = tuple(one for one in (train, valid) if one)
    if not losses:
        return ()
    levels: tuple[tuple[str, float], ...] = ()
    if "unigram_perplexity" in metrics:
        levels = (("token frequencies alone", math.log(metrics["unigram_perplexity"])),)
    records = sum(record["split"] == "train" for record in run.records)
    caption = (
        f"Loss over the tokens of {run.updates:,} updates, with dropout in training and "
        "without it in validation."
    )
    if _reconstructs(run):
        caption += " Of the tokens of a document that are written once more after they were read."
    if records > MOST_POINTS:
        each = -(-records // MOST_POINTS)
        caption += f" A point of the training loss is the mean of {each} records."
    title = f"Loss of {path}"
    curve = Figure(f"{name}-loss", title, caption, SEEN, LOSS, losses, levels=levels)
    rate = _line(run, "train", "learning_rate", "")
    if rate is None:
        return (curve,)
    name, title = f"{name}-learning-rate", f"Learning rate of {path}"
    caption = "The learning rate of each recorded update."
    return curve, Figure(name, title, caption, SEEN, "learning rate", (rate,))


def _line(run: PretrainedRun, split: str, key: str, label: str) -> Series | None:
    """What was recorded of a split, over the tokens seen; None where that is nothing."""
    per_update = _tokens_per_update(run) / 1e6
    points = [
        (record["step"] * per_update, float(record[key]))
        for record in run.records
        if record["split"] == split and record[key] is not None
    ]
    if not points:
        return None
    x, y = (thin(values) for values in zip(*points, strict=True))
    return Series(label, x, y, source=run.origin.path)


def thin(values: Sequence[float], most: int = MOST_POINTS) -> tuple[float, ...]:
    """At most so many numbers: the means of neighbours, equally many but for the last."""
    each = -(-len(values) // most)
    return tuple(statistics.fmean(values[i : i + each]) for i in range(0, len(values), each))
