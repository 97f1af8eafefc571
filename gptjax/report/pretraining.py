"""Pre-trained runs in a report: what they are, their curves and what they write."""

import math
import statistics
from collections.abc import Iterator, Sequence

from gptjax.evaluation.perplexity import show_per_word
from gptjax.models.objective import lm, num_parameters
from gptjax.report.entries import PretrainedRun
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.readers import without_absolute
from gptjax.report.sections import Section, line_figures, slug, with_labels

SEEN = "million tokens seen (padding included)"
LOSS = "loss, nats per token"
MOST_POINTS = 400  # of a curve: more than a screen can show
QUALITY = ("perplexity", "per word", "bits per byte", "accuracy, %", "unigram perplexity")


def sections(runs: Sequence[PretrainedRun]) -> Iterator[Section]:
    """A table of all runs, and a section for each of them."""
    if not runs:
        return
    labelled = with_labels(runs)
    table = Table(
        name="pre-training-runs",
        title="Pre-trained runs",
        caption="Perplexity is of the whole validation text, each token counted once; beside it "
        "what token frequencies alone come to. The time is that of the updates, without "
        "evaluation, from their recorded speeds.",
        columns=("run", *QUALITY, "parameters", "updates", "tokens seen", "training"),
        rows=tuple((label, *_row(run)) for run, label in labelled),
        sources=tuple(run.origin.path for run in runs),
    )
    found = (_line(run, "valid", "loss", label) for run, label in labelled)
    lines = [line for line in found if line]
    together = line_figures(
        lines if len(lines) > 1 else [],
        name="pre-training-validation",
        title="Validation loss",
        caption="Of each run on its own validation text, which stands with the run.",
        axes=(SEEN, LOSS),
    )
    yield Section("pre-training", "Pre-training", tables=(table,), figures=tuple(together))
    for run in runs:
        yield _section(run)


def _tokens_per_update(run: PretrainedRun) -> int:
    return run.batch_size * run.model.context_length


def seconds(run: PretrainedRun) -> float:
    """How long the updates took: the tokens between two records at the speed of the later one."""
    train = [record for record in run.records if record["split"] == "train"]
    epochs = [0, *(record["epoch"] for record in train)]
    lasted: float = sum(
        (record["epoch"] - before) * run.data["train"]["tokens"] / record["tokens_per_second"]
        for before, record in zip(epochs[:-1], train, strict=True)
        if record["tokens_per_second"]
    )
    return lasted


def _row(run: PretrainedRun) -> tuple[str, ...]:
    def number(name: str, form: str, scale: int = 1) -> str:
        return form.format(scale * run.metrics[name]) if name in run.metrics else "–"

    training = ("–",) * 3
    if run.updates > 0:
        tokens, length = run.updates * _tokens_per_update(run), seconds(run)
        duration = f"{length / 3600:.1f} h" if length >= 3600 else f"{length / 60:.0f} min"
        training = (f"{run.updates:,}", f"{tokens / 1e6:,.1f} M", duration)
    return (
        number("perplexity", "{:,.2f}"),
        show_per_word(run.metrics),
        number("bits_per_byte", "{:.3f}"),
        number("accuracy", "{:.1f}", 100),
        number("unigram_perplexity", "{:,.1f}"),
        f"{num_parameters(lm(run.model)):,}",
        *training,
    )


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
    if "perplexity" in metrics:
        ended = f": perplexity {metrics['perplexity']:,.1f}"
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
