"""What does pre-training teach: how much of its gain is longer context, how much is knowledge?

    .venv/bin/python experiments/context_or_knowledge.py --books FOLDER --validation FOLDER \\
        --tokenizer FILE --data FOLDER

The paper's authors leave the question open. Three models of one size read the same words once: the
books as they are; the same books with the sentences of each shuffled (all that a sentence tells,
nothing beyond it); and snippets of 21 words (32 tokens) in random order, a window filled with as
many as fit, so that all but the last few positions are trained but nothing further back bears on
what follows. Windows of snippets hold 234 tokens of 256, so that model makes a twelfth more
updates. Each is fine-tuned on tasks, beside the same model untrained, and what is asked is which
part of the gain is lost. What has finished is not run again, so the same command goes on, and
draws again.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arms import (
    PRETRAINED,
    UNTRAINED,
    ArmsConfig,
    Outcome,
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

from gptjax.evaluation.figures import Figure, Table, save

SHUFFLED, SNIPPETS = "shuffled sentences", "snippets"
WORDS = {PRETRAINED: "books", SHUFFLED: SHUFFLED, SNIPPETS: SNIPPETS, UNTRAINED: "nothing"}


@dataclass(frozen=True, kw_only=True)
class ContextConfig(ArmsConfig):
    """Pre-train on books, on shuffled sentences and on snippets, and fine-tune each."""

    books: Path
    """Folder of .txt books to train on."""
    validation: Path
    """Text to measure all three on, as it is."""
    tokenizer: str
    """Tokenizer of all of them."""
    full: Path | None = None
    """A finished run on the books, made with the same --config; None trains one."""
    config: str = "experiments/configs/small.toml"
    """Of the pre-training, which has one seed, that of this file."""
    out: Path = Path("runs/context")
    """Where texts, pre-trained runs and figures go."""
    tasks: tuple[str, ...] = ("rocstories", "sst2", "stsb")
    """On which tasks."""


def main(config: ContextConfig) -> None:
    """Train what is missing, and write the table."""
    text = config.out / "text"
    write_shuffled(config.books, text / "shuffled", seed=0)
    write_snippets(config.books, text / "snippets.jsonl", seed=0)
    models = {
        PRETRAINED: config.full or config.out / "books",
        SHUFFLED: config.out / "shuffled",
        SNIPPETS: config.out / "snippets",
    }
    pretrain(config, models[PRETRAINED], config.books)
    pretrain(config, models[SHUFFLED], text / "shuffled")
    pretrain(config, models[SNIPPETS], text / "snippets.jsonl", "--corpus.short-documents", "pack")

    tasks = read_tasks(config.settings, config.tasks)
    arms = {name: {"init": str(run)} for name, run in models.items()}
    arms[UNTRAINED] = {"init": "none", "like": str(models[PRETRAINED])}
    found = run_arms(config, tasks, arms)
    perplexities = ", ".join(
        f"{WORDS[name]} {results(run)['metrics']['perplexity']:.1f}" for name, run in models.items()
    )
    caption = (
        f"Pre-training: one pass over the same words each, one seed; perplexity on whole books: "
        f"{perplexities}. Fine-tuning: {how(config.seeds, tasks)} Differences have the 95 % "
        "interval of a paired bootstrap over examples and seeds; which part of the gain is lost is "
        "said where that of the whole gain is above 0."
    )
    report(config, caption, found)


def results(run: Path) -> dict:
    """What a run came to."""
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def pretrain(config: ContextConfig, out: Path, text: Path, *options: str) -> None:
    """Train on a text, or go on with it, unless that has finished."""
    if (out / "results.json").exists():
        return
    command = [sys.executable, "-m", "gptjax", "pretrain", "--config", config.config]
    command += ["--data", str(text), "--corpus.validation", str(config.validation)]
    command += ["--tokenizer", config.tokenizer, "--out", str(out), "--resume", "auto", *options]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


def report(config: ContextConfig, caption: str, found: Mapping[str, Mapping[str, Outcome]]) -> None:
    """Print the table, and write table and figure."""
    rows: list[Sequence[str]] = []
    runs = []
    for task, outcomes in found.items():
        full, nothing = outcomes[PRETRAINED], outcomes[UNTRAINED]
        shown = difference(nothing, full).interval[0] > 0
        for name, outcome in outcomes.items():
            gain = "" if name == UNTRAINED else with_interval(difference(nothing, outcome))
            change = "" if name == PRETRAINED else with_interval(difference(full, outcome))
            lost = ""
            if shown and name in (SHUFFLED, SNIPPETS):
                lost = f"{(full.mean - outcome.mean) / (full.mean - nothing.mean):.0%}"
            words = (task, outcome.sizes, metric_of(task), WORDS[name])
            rate = f"{outcome.learning_rate:g}"
            rows.append((*words, outcome.text, gain, change, lost, rate))
            runs.append(sources(outcome))
    title = "Which part of the gain is lost without context"
    heads = (
        *("task", "train / valid", "metric", "pre-trained on", "result"),
        *("gain over nothing", "difference from books", "gain lost", "learning rate"),
    )
    table = Table(
        "context-or-knowledge-table", title, caption, heads, tuple(map(tuple, rows)), tuple(runs)
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
    for cells in (heads, *rows):
        print(" | ".join(cells))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, ContextConfig, __doc__)
