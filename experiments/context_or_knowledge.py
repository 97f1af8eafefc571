"""What does pre-training teach: how much of its gain is longer context, how much is knowledge?

    .venv/bin/python experiments/context_or_knowledge.py --books FOLDER --validation FOLDER \\
        --tokenizer FILE --data FOLDER

The paper's authors leave the question open. Three models of one size read the same words once: the
books as they are; the same books with the sentences of each shuffled (all that a sentence tells,
nothing beyond it); and snippets of 21 words (32 tokens) in random order, a window filled with as
many as fit, so that all but the last few positions are trained but nothing further back bears on
what follows. Windows of snippets hold about 233 tokens of 256, so that model makes a tenth more
updates. Each is fine-tuned on tasks, beside the same model untrained, and what is asked is which
part of the gain is lost. What has finished is not run again, so the same command goes on, and
draws again.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arms import (
    PRETRAINED,
    UNTRAINED,
    ArmsConfig,
    Outcome,
    check_finished,
    difference,
    how,
    metric_of,
    read_tasks,
    run_arms,
    series,
    sources,
    with_interval,
)
from corpora import write_shuffled, write_snippets
from script import start

from gptjax.commands.sweep import run_sweep
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import shape_fingerprint
from gptjax.runs.results import LanguageModelling, read_as
from gptjax.sweeps.plan import Sweep

SHUFFLED, SNIPPETS = "shuffled sentences", "snippets"
WORDS = {PRETRAINED: "books", SHUFFLED: SHUFFLED, SNIPPETS: SNIPPETS, UNTRAINED: "nothing"}


@dataclass(frozen=True, kw_only=True)
class ContextConfig(ArmsConfig):
    """Pre-train on books, on shuffled sentences and on snippets, and fine-tune each."""

    books: str
    """Books to train on, as --data of gptjax pretrain."""
    validation: str
    """Text to measure all three on, as it is."""
    tokenizer: str
    """Tokenizer of all of them."""
    full: Path | None = None
    """A finished run on the books, made with the same --config; None trains one. It has to be
    measured on --validation, like the others."""
    shuffled: Path | None = None
    """The same for shuffled sentences."""
    snippets: Path | None = None
    """The same for snippets."""
    config: Path = Path(__file__).with_name("configs") / "small.toml"
    """Of the pre-training, which has one seed, that of this file."""
    out: Path = Path("runs/context")
    """Where texts, pre-trained runs and figures go."""
    tasks: tuple[str, ...] = ("rocstories", "sst2", "stsb")
    """On which tasks."""


def main(config: ContextConfig) -> None:
    """Train what is missing, and write the table."""
    models = pretrained(config)
    measured = {name: results(run) for name, run in models.items()}
    check_comparable(models, measured)
    tasks = read_tasks(config.settings, config.tasks)
    arms = {name: {"init": str(run)} for name, run in models.items()}
    arms[UNTRAINED] = {"init": "none", "like": str(models[PRETRAINED])}
    found = run_arms(config, tasks, arms)
    perplexities = ", ".join(
        f"{WORDS[name]} {one.metrics['perplexity']:.1f}" for name, one in measured.items()
    )
    caption = (
        f"Pre-training: one pass over the same words each, one seed; perplexity on whole books: "
        f"{perplexities}. Fine-tuning: {how(config.seeds, tasks)} Differences have the 95 % "
        "interval of a paired bootstrap over examples and seeds; which part of the gain is lost is "
        "said where that of the whole gain is above 0."
    )
    report(config, caption, found)


def pretrained(config: ContextConfig) -> dict[str, Path]:
    """The three models; those that are not given are trained, or gone on with."""
    models = {PRETRAINED: config.full, SHUFFLED: config.shuffled, SNIPPETS: config.snippets}
    missing = [name for name, run in models.items() if run is None]
    if missing:
        books = open_source(config.books)
        # Named after the books, so that other books are never taken for these.
        text = config.out / "text" / books.fingerprint()[:12]
        data = {PRETRAINED: config.books}
        if SHUFFLED in missing:
            data[SHUFFLED] = str(text / "shuffled.jsonl")
            write_shuffled(books, Path(data[SHUFFLED]), seed=0)
        if SNIPPETS in missing:
            data[SNIPPETS] = str(text / "snippets.jsonl")
            write_snippets(books, Path(data[SNIPPETS]), seed=0)
        settings = tomllib.loads(config.config.read_text(encoding="utf-8"))
        settings["corpus"] = {"validation": config.validation}
        settings["vocabulary"] = {"tokenizer": config.tokenizer}
        variants: dict[str, dict[str, str]] = {
            WORDS[name]: {"corpus.data": data[name]} for name in missing
        }
        if SNIPPETS in missing:
            variants[WORDS[SNIPPETS]]["corpus.short_documents"] = "pack"
        out = config.out / "models"
        sweep = Sweep("pretrain", out, settings, variants=variants, source=str(out))
        points = {point.variant: point for point in run_sweep(sweep, config.jobs)}
        check_finished(out, list(points.values()))
        models |= {name: out / points[WORDS[name]].folder for name in missing}
    return {name: run for name, run in models.items() if run is not None}


def results(run: Path) -> LanguageModelling:
    """What a run came to.

    Raises:
        UserError: it is not finished.
    """
    path = RunFolder(run).results
    if not path.exists():
        raise UserError(f"{run}: is no finished run; go on with it first")
    return read_as(LanguageModelling, path)


def check_comparable(models: Mapping[str, Path], measured: Mapping[str, LanguageModelling]) -> None:
    """See to it that all were measured on the same text, by the same tokenizer, in one shape.

    Raises:
        UserError: two were not; names them.
    """
    first = models[PRETRAINED]
    for name, run in models.items():
        same: dict[str, list[str | None]] = {
            "validation text": [measured[n].data.fingerprint for n in (PRETRAINED, name)],
            "tokenizer": [runs.load_own_tokenizer(one).fingerprint for one in (first, run)],
            "model": [shape_fingerprint(runs.load_config(one)) for one in (first, run)],
        }
        for what, (wanted, found) in same.items():
            if wanted != found:
                raise UserError(f"{first} and {run} have another {what}, and cannot be compared")


def share_lost(full: float, nothing: float, one: float) -> str:
    """Which part of the gain from nothing to full is missing, for people; below 0 if it grew."""
    return f"{round(100 * (full - one) / (full - nothing))} %"


def report(config: ContextConfig, caption: str, found: Mapping[str, Mapping[str, Outcome]]) -> None:
    """Print the table, and write table and figure."""
    rows: list[Sequence[str]] = []
    origins = []
    for task, outcomes in found.items():
        full, nothing = outcomes[PRETRAINED], outcomes[UNTRAINED]
        shown = difference(nothing, full).interval[0] > 0
        for name, outcome in outcomes.items():
            gain = "" if name == UNTRAINED else with_interval(difference(nothing, outcome))
            change = "" if name == PRETRAINED else with_interval(difference(full, outcome))
            lost = ""
            if shown and name in (SHUFFLED, SNIPPETS):
                lost = share_lost(full.mean, nothing.mean, outcome.mean)
            words = (task, outcome.sizes, metric_of(task), WORDS[name])
            rate = f"{outcome.learning_rate:g}"
            rows.append((*words, outcome.text, gain, change, lost, rate))
            origins.append(sources(outcome))
    title = "Which part of the gain is lost without context"
    heads = (
        *("task", "train / valid", "metric", "pre-trained on", "result"),
        *("gain over nothing", "difference from books", "gain lost", "learning rate"),
    )
    table = Table(
        "context-or-knowledge-table", title, caption, heads, tuple(map(tuple, rows)), tuple(origins)
    )
    figure = Figure(
        name="context-or-knowledge",
        title=title,
        caption=caption,
        x_label="task",
        y_label="validation metric (×100)",
        series=tuple(
            series(WORDS[name], {task: outcomes[name] for task, outcomes in found.items()})
            for name in (UNTRAINED, SNIPPETS, SHUFFLED, PRETRAINED)
        ),
        kind="bars",
    )
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, ContextConfig, __doc__)
