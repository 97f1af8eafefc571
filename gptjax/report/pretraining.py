"""Pre-trained runs in a report: what they are, their curves and what they write."""

import math
import statistics
from collections.abc import Iterator, Sequence

from gptjax.models.objective import lm, num_parameters
from gptjax.report.entries import PretrainedRun
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.readers import without_absolute
from gptjax.report.sections import Listing, Section, in_parts, labels_of, slug

SEEN = "million tokens seen (padding included)"
MOST_POINTS = 400  # of a curve: more than a screen can show


def sections(runs: Sequence[PretrainedRun]) -> Iterator[Section]:
    """A table of all runs, and a section for each of them."""
    if not runs:
        return
    labels = labels_of([run.origin.path for run in runs])
    quality = ("perplexity", "per word", "bits per byte", "accuracy, %", "unigram perplexity")
    table = Table(
        name="pre-training-runs",
        title="Pre-trained runs",
        caption="Perplexity is of the whole validation text, each token counted once; beside it "
        "what token frequencies alone come to. The time is that of the updates, without "
        "evaluation, from their recorded speeds.",
        columns=("run", *quality, "parameters", "updates", "tokens seen", "training"),
        rows=tuple((label, *_pretrained_row(run)) for label, run in zip(labels, runs, strict=True)),
        sources=tuple(run.origin.path for run in runs),
    )
    lines = [
        line
        for run, label in zip(runs, labels, strict=True)
        if (line := _line(run, "valid", "loss", label))
    ]
    together: list[Figure] = []
    if len(lines) > 1:
        together += in_parts(
            Figure(
                name="pre-training-validation",
                title="Validation loss",
                caption="Of each run on its own validation text, which stands with the run.",
                x_label=SEEN,
                y_label="loss, nats per token",
                series=tuple(lines),
            )
        )
    yield Section("pre-training", "Pre-training", tables=(table,), figures=tuple(together))
    for run in runs:
        yield _pretrained(run)


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


def _duration(length: float) -> str:
    return f"{length / 3600:.1f} h" if length >= 3600 else f"{length / 60:.0f} min"


def _pretrained_row(run: PretrainedRun) -> tuple[str, ...]:
    trained = run.updates > 0

    def number(name: str, form: str, scale: int = 1) -> str:
        return form.format(scale * run.metrics[name]) if name in run.metrics else "–"

    return (
        number("perplexity", "{:,.2f}"),
        number("word_perplexity", "{:,.1f}"),
        number("bits_per_byte", "{:.3f}"),
        number("accuracy", "{:.1f}", 100),
        number("unigram_perplexity", "{:,.1f}"),
        f"{num_parameters(lm(run.model)):,}",
        f"{run.updates:,}" if trained else "–",
        f"{run.updates * _tokens_per_update(run) / 1e6:,.1f} M" if trained else "–",
        _duration(seconds(run)) if trained else "–",
    )


def _pretrained(run: PretrainedRun) -> Section:
    name, path, model = slug(run.origin.path), run.origin.path, run.model
    size = f"context {model.context_length} tokens, vocabulary {model.vocabulary_size:,}"
    shape = f"{model.describe()}, {size}."
    texts = [
        f"{split}: {without_absolute(facts['source'])}, "
        f"{facts['documents']:,} documents, {facts['tokens']:,} tokens"
        for split, facts in run.data.items()
    ]
    listings = [Listing("Settings (config.toml)", run.settings)]
    if run.samples:
        listings.insert(0, Listing("What it writes (samples.txt)", run.samples.rstrip()))
    return Section(
        name=f"run-{name}",
        title=path,
        level=3,
        text=(shape, *([f"Text: {'; '.join(texts)}."] if texts else [])),
        figures=_curves(run, name),
        listings=tuple(listings),
    )


def _curves(run: PretrainedRun, name: str) -> tuple[Figure, ...]:
    """Losses and learning rate over the tokens seen, of a run that recorded any."""
    path, ended = run.origin.path, ""
    if "perplexity" in run.metrics:
        ended = f": perplexity {run.metrics['perplexity']:,.1f}"
    train = _line(run, "train", "loss", "training, one batch")
    valid = _line(run, "valid", "loss", f"validation, whole{ended}")
    losses = [one for one in (train, valid) if one]
    if not losses:
        return ()
    levels: tuple[tuple[str, float], ...] = ()
    if "unigram_perplexity" in run.metrics:
        levels = (("token frequencies alone", math.log(run.metrics["unigram_perplexity"])),)
    records = sum(record["split"] == "train" for record in run.records)
    mean = ""
    if records > MOST_POINTS:
        each = -(-records // MOST_POINTS)
        mean = f" A point of the training loss is the mean of {each} records."
    curve = Figure(
        name=f"{name}-loss",
        title=f"Loss of {path}",
        caption=f"Loss over the tokens of {run.updates:,} updates, with dropout in training and "
        f"without it in validation.{mean}",
        x_label=SEEN,
        y_label="loss, nats per token",
        series=tuple(losses),
        levels=levels,
    )
    rate = _line(run, "train", "learning_rate", "")
    if rate is None:
        return (curve,)
    schedule = Figure(
        name=f"{name}-learning-rate",
        title=f"Learning rate of {path}",
        caption="The learning rate of each recorded update.",
        x_label=SEEN,
        y_label="learning rate",
        series=(rate,),
    )
    return curve, schedule


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
