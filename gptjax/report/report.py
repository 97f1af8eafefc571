"""A report of runs: what was found as sections, every number with the run that it came from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gptjax.data.tasks.metrics import LABELS
from gptjax.report import fine_tuning as report_fine_tuning
from gptjax.report import pretraining as report_pretraining
from gptjax.report.entries import Measured, Sources
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.fine_tuning import VALID
from gptjax.report.sections import Report, Section, slug
from gptjax.runs.results import TextEvaluation, ZeroShot


def build(sources: Sources) -> Report:
    """The sections of a report, with figures of different names."""
    sections = [
        *report_pretraining.sections(sources.pretrained),
        *report_fine_tuning.sections(sources.tuned),
        *_untrained(sources.measured),
        *(
            Section(
                name=slug(f"figures {drawn.origin.path}"),
                title=drawn.figures[0].title if drawn.figures else drawn.tables[0].title,
                text=(f"As an experiment wrote it to {drawn.origin.path}.",),
                tables=tuple(drawn.tables),
                figures=tuple(drawn.figures),
            )
            for drawn in sources.drawn
            if drawn.figures or drawn.tables
        ),
    ]
    return Report(_named_apart(sections), tuple(sources.origins), tuple(sources.left_out))


def _named_apart(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The same with every name once, since names are anchors and files."""
    taken: set[str] = set()

    def fresh(name: str) -> str:
        numbers = iter(range(2, 10**9))
        candidate = name
        while candidate in taken:
            candidate = f"{name}-{next(numbers)}"
        taken.add(candidate)
        return candidate

    return tuple(
        replace(
            section,
            name=fresh(section.name),
            figures=tuple(replace(item, name=fresh(item.name)) for item in section.figures),
            tables=tuple(replace(item, name=fresh(item.name)) for item in section.tables),
        )
        for section in sections
    )


def _untrained(found: Sequence[Measured]) -> Iterator[Section]:
    asked, texts = {}, {}  # by where they lie
    for one in found:
        if isinstance(one.results, ZeroShot):
            asked[one.origin.path] = one.results
        else:
            texts[one.origin.path] = one.results
    if asked:
        yield _zero_shot(asked)
    if texts:
        yield Section("texts", "Perplexity of texts", tables=(_perplexities(texts),))


def _zero_shot(found: Mapping[str, ZeroShot]) -> Section:
    rows = [
        (
            one.asked,
            one.run,
            one.checkpoint,
            one.split,
            f"{one.examples:,}",
            LABELS.get(metric, metric),
            f"{value:,.2f}" if metric == "perplexity" else f"{100 * value:.2f}",
            f"{one.normalised:.3f}" if number == 0 and one.normalised is not None else "–",
            "OFFLINE SAMPLE, not the task" if one.data.sample else "",
        )
        for one in found.values()
        for number, (metric, value) in enumerate(one.metrics.items())
    ]
    table = Table(
        name="zero-shot-table",
        title="Tasks without training on them",
        caption="The heuristics of the paper's section 5; metrics times 100. Normalised: 0 is "
        "guessing, 1 the paper's fine-tuned model.",
        columns=(
            *("task", "model", "checkpoint", "split", "questions"),
            *("metric", "value", "normalised", "remarks"),
        ),
        rows=tuple(rows),
        sources=tuple(path for path, one in found.items() for _ in one.metrics),
    )
    return Section(
        "zero-shot", "Without training", tables=(table,), figures=tuple(_normalised(found))
    )


def _normalised(found: Mapping[str, ZeroShot]) -> Iterator[Figure]:
    """Bars of what can be compared; several checkpoints of a model are a curve, and left out."""
    asked = Counter((one.run, _asked(one)) for one in found.values())
    comparable = {
        path: (one.run, _asked(one), one.normalised)
        for path, one in found.items()
        if one.normalised is not None and not one.data.sample and asked[one.run, _asked(one)] == 1
    }
    if not comparable:
        return
    series = []
    for model in dict.fromkeys(run for run, _, _ in comparable.values()):
        mine = {path: (x, y) for path, (run, x, y) in comparable.items() if run == model}
        x, y = zip(*mine.values(), strict=True)
        series.append(Series(model, x, y, source=", ".join(mine)))
    yield Figure(
        name="zero-shot-normalised",
        title="Without training, normalised",
        caption="0 is guessing, 1 the paper's model after fine-tuning on the task.",
        x_label="",
        y_label="normalised performance",
        series=tuple(series),
        kind="bars",
    )


def _asked(one: ZeroShot) -> str:
    return one.asked if one.split == VALID else f"{one.asked} ({one.split})"


def _perplexities(found: Mapping[str, TextEvaluation]) -> Table:
    def cells(metrics: Mapping[str, float]) -> tuple[str, ...]:
        return (
            f"{metrics['perplexity']:,.2f}",
            f"{metrics['word_perplexity']:,.1f}",
            f"{metrics['bits_per_byte']:.3f}",
        )

    return Table(
        name="perplexity-of-texts",
        title="Perplexity of texts",
        caption="Every token counted once.",
        columns=("model", "text", "tokens", "perplexity", "per word", "bits per byte"),
        rows=tuple(
            (one.run, one.split, f"{one.examples:,}", *cells(one.metrics)) for one in found.values()
        ),
        sources=tuple(found),
    )
