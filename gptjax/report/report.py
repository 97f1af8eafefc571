"""A report of runs: what was found as sections, every number with the run that it came from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from gptjax.data.tasks.metrics import LABELS
from gptjax.evaluation.perplexity import Reconstruction
from gptjax.report import fine_tuning, pretraining
from gptjax.report.entries import EXPERIMENT, Drawn, Measured, Sources
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.fine_tuning import VALID
from gptjax.report.sections import Report, Section, slug, with_numbers
from gptjax.report.summary import summary
from gptjax.runs.results import TextEvaluation, ZeroShot

N = TypeVar("N", Section, Figure, Table)
ASKED = ("task", "model", "checkpoint", "split", "questions")


def build(sources: Sources) -> Report:
    """The sections of a report, with figures of different names."""
    sections = [
        *pretraining.sections(sources.pretrained),
        *fine_tuning.sections(sources.tuned),
        *_untrained(sources.measured),
        *_told_apart([_drawn(one) for one in sources.drawn if one.figures or one.tables]),
    ]
    parts = _named_apart(sections)
    said = summary(sources, {part.name for part in parts})
    return Report(parts, tuple(sources.origins), tuple(sources.left_out), said)


def _named_apart(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The same with every name once, since names are anchors and files."""
    taken: set[str] = set()

    def fresh(item: N) -> N:
        name, number = item.name, 1
        while name in taken:
            number += 1
            name = f"{item.name}-{number}"
        taken.add(name)
        return replace(item, name=name)

    def renamed(section: Section) -> Section:
        own, figures = fresh(section), tuple(map(fresh, section.figures))
        return replace(own, figures=figures, tables=tuple(map(fresh, section.tables)))

    return tuple(map(renamed, sections))


def _told_apart(sections: Sequence[Section]) -> Iterator[Section]:
    """The same, those of one title with the end of the path that they came from."""
    titles = Counter(section.title for section in sections)
    for one in sections:
        folder = one.text[0].removesuffix(".").rpartition("/")[2]
        yield replace(one, title=f"{one.title} ({folder})") if titles[one.title] > 1 else one


def _drawn(drawn: Drawn) -> Section:
    path, figures, tables = drawn.origin.path, tuple(drawn.figures), tuple(drawn.tables)
    title = figures[0].title if figures else tables[0].title
    text = f"As an experiment wrote it to {path}."
    if (kind := drawn.origin.kind) != EXPERIMENT:
        text = f"{kind[0].upper()}{kind[1:]}, from {path}."
    return Section(slug(f"figures {path}"), title, text=(text,), tables=tables, figures=figures)


def _untrained(found: Sequence[Measured]) -> Iterator[Section]:
    pairs = [(one.origin.path, one.results) for one in found]
    if asked := {path: one for path, one in pairs if isinstance(one, ZeroShot)}:
        yield _zero_shot(asked)
    texts = {path: one for path, one in pairs if isinstance(one, TextEvaluation)}
    if models := {path: one for path, one in texts.items() if not _reconstructs(one)}:
        yield Section("texts", "Perplexity of texts", tables=(_perplexities(models),))
    if others := {path: one for path, one in texts.items() if _reconstructs(one)}:
        yield Section(
            "reconstructions", "Texts written once more", tables=(_reconstructions(others),)
        )


def _zero_shot(found: Mapping[str, ZeroShot]) -> Section:
    table = Table(
        name="zero-shot-table",
        title="Tasks without training on them",
        caption="The heuristics of the paper's section 5; metrics times 100. Normalised: 0 is "
        "guessing, 1 the paper's fine-tuned model.",
        columns=(*ASKED, "metric", "value", "normalised", "remarks"),
        rows=tuple(row for one in found.values() for row in _zero_shot_rows(one)),
        sources=tuple(path for path, one in found.items() for _ in one.metrics),
    )
    # Several checkpoints of a model are a curve, which bars cannot show.
    asked = Counter((one.run, _asked(one)) for one in found.values())
    bars: dict[str, dict[str, ZeroShot]] = {}
    for path, one in found.items():
        alone = asked[one.run, _asked(one)] == 1
        if one.normalised is not None and not one.data.sample and alone:
            bars.setdefault(one.run, {})[path] = one
    series = []
    for model, mine in bars.items():
        y = tuple(float(one.normalised or 0) for one in mine.values())
        series.append(Series(model, tuple(map(_asked, mine.values())), y, source=", ".join(mine)))
    figures: tuple[Figure, ...] = ()
    if series:
        figure = Figure(
            name="zero-shot-normalised",
            title="Without training, normalised",
            caption="0 is guessing, 1 the paper's model after fine-tuning on the task.",
            x_label="",
            y_label="normalised performance",
            series=tuple(series),
            kind="bars",
        )
        figures = (figure,)
    return Section("zero-shot", "Without training", tables=(table,), figures=figures)


def _zero_shot_rows(one: ZeroShot) -> Iterator[tuple[str, ...]]:
    """A row for each metric; the first one has the normalised value."""
    normalised = "–" if one.normalised is None else f"{one.normalised:.3f}"
    asked = (one.asked, one.run, one.checkpoint, one.split, f"{one.examples:,}")
    remark = "OFFLINE SAMPLE, not the task" if one.data.sample else ""
    for metric, value in one.metrics.items():
        shown = f"{value:,.2f}" if metric == "perplexity" else f"{100 * value:.2f}"
        yield *asked, LABELS.get(metric, metric), shown, normalised, remark
        normalised = "–"


def _asked(one: ZeroShot) -> str:
    return one.asked if one.split == VALID else f"{one.asked} ({one.split})"


def _perplexities(found: Mapping[str, TextEvaluation]) -> Table:
    rows = []
    for one in found.values():
        token, byte = (one.metrics[name] for name in ("perplexity", "bits_per_byte"))
        numbers = (f"{token:,.2f}", pretraining.per_word(one.metrics), f"{byte:.3f}")
        rows.append((one.run, one.split, f"{one.examples:,}", *numbers))
    names = ("model", "text", "tokens", "perplexity", "per word", "bits per byte")
    heads, cells = with_numbers(names, rows, ("per word",))
    return Table(
        name="perplexity-of-texts",
        title="Perplexity of texts",
        caption="Every token counted once.",
        columns=heads,
        rows=cells,
        sources=tuple(found),
    )


def _reconstructs(one: TextEvaluation) -> bool:
    """Whether it is of a sequence autoencoder."""
    return Reconstruction.NAME in one.metrics


def _reconstructions(found: Mapping[str, TextEvaluation]) -> Table:
    return Table(
        name="reconstructions",
        title="Texts written once more",
        caption="By sequence autoencoders, which have read a document before they write it: no "
        "perplexity of a text, and not to be compared with one.",
        columns=("model", "text", "tokens", "reconstruction perplexity", "accuracy"),
        rows=tuple(
            (
                *(one.run, one.split, f"{one.examples:,}"),
                f"{one.metrics[Reconstruction.NAME]:,.2f}",
                f"{one.metrics['accuracy']:.1%}",
            )
            for one in found.values()
        ),
        sources=tuple(found),
    )
