"""Breaking NLI by category: what SNLI runs make of single words, beside published figures.

    .venv/bin/python experiments/breaking_nli.py --runs runs/finetune/snli/small \\
        --data FOLDER/dataset.jsonl --out runs/breaking-nli

Premise and hypothesis differ in one word, whose kind is the category (Glockner et al. 2018). Each
folder of ``--runs`` is one run or holds the seeds of one, as seed-N. Prints every run's table, and
writes figures.json and the picture; `gptjax.report.figures` says how they look.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from script import start

from gptjax.commands import evaluate
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.task_scores import SplitScores
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown, mean_text, over_seeds
from gptjax.runs.folder import RunFolder

TASK = TASKS["breaking_nli"]
ALL = "all"
# Of all 8,193 pairs, per cent: the model of Chen et al. (2018), which reads WordNet, as measured by
# Glockner et al. GPT-1's is in the table of tasks.
KIM = 83.5


@dataclass(frozen=True)
class BreakingNliConfig:
    """Measure SNLI runs on Breaking NLI, by category."""

    runs: tuple[Path, ...]
    """Run folders, or folders with the seeds of a run."""
    data: str
    """The file dataset.jsonl, a folder with it, or hub."""
    out: Path = Path("runs/breaking-nli")
    """Where figures.json and the picture go; every run's results lie in a folder there."""
    batch_size: int = 32
    """Pairs at once."""


def main(config: BreakingNliConfig) -> None:
    """Evaluate, and write the table and the figure."""
    folders = tuple(dict.fromkeys(config.runs))
    labels = dict(zip(map(str, folders), labels_of(folders), strict=True))
    found = {
        str(folder): [
            measure(config, run.path, labels[str(folder)])
            for run in RunFolder(folder).seeds() or [RunFolder(folder)]
        ]
        for folder in folders
    }
    first = next(iter(found.values()))[0]
    names = [ALL, *(category.name for category in first.categories)]
    gold = np.array(first.gold)
    constant = 100 * np.bincount(gold).max() / len(gold)
    about = (
        f"Accuracy in per cent on {len(gold):,} pairs, mean and standard deviation over seeds. "
        f"Published, on all 8,193 pairs after all of SNLI: KIM (Chen et al. 2018) {KIM}, GPT-1 "
        f"(its authors' post) {TASK.paper}. The commonest label alone has {constant:.1f}."
    )
    made_up = [
        labels[str(folder)]
        for folder in folders
        for run in RunFolder(folder).seeds()[:1] or [RunFolder(folder)]
        if run.read_meta()["data"]["sample"]
    ]
    if made_up:
        about += f" {', '.join(made_up)}: TRAINED ON THE OFFLINE SAMPLE, not on SNLI."
    values = {
        folder: {name: [accuracy(scores, name) for scores in group] for name in names}
        for folder, group in found.items()
    }
    sizes = {ALL: len(gold), **{c.name: c.examples for c in first.categories}}
    heads = [f"{labels[folder]} (ours, {len(group)} seeds)" for folder, group in found.items()]
    table = Table(
        name="breaking-nli",
        title="Breaking NLI by category",
        caption=about,
        columns=("category", "pairs", *heads, "KIM (published)", "GPT-1 (published)"),
        rows=tuple(
            (
                name,
                f"{sizes[name]:,}",
                *(mean_text(values[folder][name], 1) for folder in found),
                f"{KIM}" if name == ALL else "",
                f"{TASK.paper}" if name == ALL else "",
            )
            for name in names
        ),
        sources=tuple(", ".join(found) for _ in names),
    )
    figure = Figure(
        name="breaking-nli-categories",
        title="Breaking NLI by category",
        caption=about,
        x_label="kind of the word that was replaced",
        y_label="accuracy (%)",
        series=(
            *(over_seeds(f"{labels[folder]} (ours)", values[folder], folder) for folder in found),
        ),
        kind="bars",
        levels=(
            ("GPT-1, all (published)", TASK.paper or 0.0),
            ("KIM, all (published)", KIM),
            ("commonest label", constant),
        ),
    )
    save(config.out, [figure], [table])
    print(markdown(table))
    print(config.out)


def labels_of(folders: tuple[Path, ...]) -> list[str]:
    """A short name for each folder: its own, with its parent's where two are the same."""
    names = [folder.name for folder in folders]
    return [
        folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}"
        for folder in folders
    ]


def measure(config: BreakingNliConfig, run: Path, label: str) -> SplitScores:
    """One run's answers, which also lie in a folder of --out."""
    out = config.out / label.replace("/", "-") / run.name
    scores = evaluate.run(
        evaluate.EvaluateConfig(
            run=str(run),
            data=config.data,
            task=TASK.name,
            batch_size=config.batch_size,
            out=str(out),
        )
    )
    assert isinstance(scores, SplitScores)
    return scores


def accuracy(scores: SplitScores, name: str) -> float:
    """Per cent, over all pairs or over a category's."""
    found = {ALL: scores.metrics, **{c.name: c.metrics for c in scores.categories}}
    return 100 * found[name]["accuracy"]


if __name__ == "__main__":
    start(main, BreakingNliConfig, __doc__)
