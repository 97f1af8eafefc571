"""Breaking NLI by category: what SNLI runs make of single words, beside published figures.

    .venv/bin/python experiments/breaking_nli.py --runs runs/finetune/snli/small \\
        --data FOLDER/breaking_nli/dataset.jsonl
    .venv/bin/python experiments/breaking_nli.py --init runs/pretrain/small \\
        --vectors runs/vectors --knowledge runs/knowledge/snli --data FOLDER

Premise and hypothesis differ in one word, whose kind is the category (Glockner et al. 2018). The
first form measures runs: each folder of ``--runs`` is one run or holds the seeds of one, as seed-N.

The second one trains on SNLI what it measures, with and without pre-training: GPT, ESIM, and both
with the relations of words, which makes KIM of ESIM. GPT begins with ``--init``, and ESIM reads the
vectors of ``--vectors``, such as `gptjax import --init vectors:runs/pretrain/small` makes. Each arm
takes the learning rate that is best on SNLI's validation rows with the first seed, and then has all
seeds. What has finished is not run again, so the same command goes on, and draws again.

Prints a table, and writes figures.json and the picture; `gptjax.report.figures` says how they look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from arms import RESAMPLES, ArmsConfig, Outcome, how, read_tasks, run_arms, with_interval
from script import start

from gptjax.commands import evaluate
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.evaluation.comparison import Group, compare
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown, mean_text, over_seeds
from gptjax.runs.folder import RunFolder
from gptjax.runs.predictions import Predictions, read_predictions
from gptjax.runs.results import TaskEvaluation, read_as

TASK, SNLI = TASKS["breaking_nli"], "snli"
ALL = "all"
GPT, ESIM, KNOWLEDGE, KIM = "GPT", "ESIM", "GPT + knowledge", "KIM"
WITHOUT = {KNOWLEDGE: GPT, KIM: ESIM}  # what each of them is without knowledge
UNTRAINED = ", untrained"
# Of all 8,193 pairs, per cent, after all of SNLI. KIM (Chen et al. 2018) and ESIM as Glockner et
# al. measured them; GPT-1's is in the table of tasks.
PUBLISHED_KIM, PUBLISHED_ESIM = 83.5, 65.6
# KIM's by category, as Glockner et al. have them. From memory, not verified.
KIM_BY_CATEGORY = {
    "antonyms": 86.5,
    "cardinals": 93.4,
    "nationalities": 73.5,
    "drinks": 96.6,
    "antonyms_wordnet": 78.8,
    "colors": 98.3,
    "ordinals": 56.6,
    "countries": 70.8,
    "rooms": 77.6,
    "materials": 98.7,
    "vegetables": 79.8,
    "instruments": 96.9,
    "planets": 5.0,
    "synonyms": 92.1,
}


@dataclass(frozen=True, kw_only=True)
class BreakingNliConfig(ArmsConfig):
    """Measure SNLI runs on Breaking NLI, by category; with --init, train them first."""

    data: Path
    """The file dataset.jsonl of Breaking NLI, a folder with it, or hub. With --init a folder with
    the folders snli and breaking_nli."""
    runs: tuple[Path, ...] = ()
    """Run folders, or folders with the seeds of a run."""
    init: str | None = None
    """The pre-trained transformer of the arms of GPT."""
    vectors: str | None = None
    """The vectors of the arms of ESIM, a run of `gptjax import --init vectors:…`."""
    knowledge: Path | None = None
    """The relations of words, from `gptjax knowledge --task snli --also breaking_nli=…`."""
    arms: Path = Path("runs/breaking-nli/arms")
    """Where the fine-tuned runs go."""
    out: Path = Path("runs/breaking-nli")
    """Where figures.json and the picture go; every run's results lie in a folder there."""
    batch_size: int = 32
    """Pairs at once."""


class Scores(NamedTuple):
    """What a run makes of the pairs."""

    results: TaskEvaluation
    predictions: Predictions

    def accuracy(self, name: str) -> float:
        """Per cent, over all pairs or over a category's."""
        categories = {one.name: one.metrics for one in self.results.categories}
        return 100 * {ALL: self.results.metrics, **categories}[name]["accuracy"]


def main(config: BreakingNliConfig) -> None:
    """Train what is missing, evaluate, and write the tables and the figure."""
    if config.init is None:
        if not config.runs:
            raise UserError("name `runs` to measure, or with `init` what they are trained from")
        folders = tuple(dict.fromkeys(config.runs))
        names = dict(zip(labels_of(folders), folders, strict=True))
        report(config, {name: measured(config, name, path) for name, path in names.items()}, {})
        return
    tasks = read_tasks(config.settings, [SNLI])
    outcomes = run_arms(config, tasks, arms(config))[SNLI]
    found = {name: measured(config, name, one.folder) for name, one in outcomes.items()}
    report(config, found, outcomes, how(config.seeds, tasks))


def arms(config: BreakingNliConfig) -> dict[str, dict[str, Any]]:
    """Settings of `gptjax finetune` by arm.

    Raises:
        UserError: vectors or relations are missing.
    """
    if config.vectors is None or config.knowledge is None:
        raise UserError("`init`: set `vectors` and `knowledge` too, which the other arms need")
    # As Chen et al. train them; a table of vectors cannot predict what follows.
    compared: dict[str, Any] = {"task.model": "co-attention", "lm_coefficient": 0.0}
    compared |= {"task.classifier_dropout": 0.5, "optimizer.clip_norm": 10.0}
    known = {"task.knowledge": str(config.knowledge)}
    found: dict[str, dict[str, Any]] = {}
    for source, plain, knowing, settings in (
        (config.init, GPT, KNOWLEDGE, {}),
        (config.vectors, ESIM, KIM, compared),
    ):
        fresh = {"init": "none", "like": source}
        for suffix, begin in (("", {"init": source}), (UNTRAINED, fresh)):
            found[plain + suffix] = {**begin, **settings}
            found[knowing + suffix] = {**begin, **settings, **known}
    return found


def labels_of(folders: tuple[Path, ...]) -> list[str]:
    """A short name for each folder: its own, with its parent's where two are the same."""
    names = [folder.name for folder in folders]
    return [
        folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}"
        for folder in folders
    ]


def measured(config: BreakingNliConfig, label: str, folder: Path) -> list[Scores]:
    """What a run, or each of its seeds, makes of the pairs; what was measured is not again."""
    data = config.data if config.init is None else config.data / TASK.name
    found = []
    for run in RunFolder(folder).seeds() or [RunFolder(folder)]:
        out = RunFolder(config.out / label.replace("/", "-") / run.path.name)
        if not _is_measured(out, run, data):
            evaluate.run(
                evaluate.EvaluateConfig(
                    run=str(run.path),
                    data=str(data),
                    task=TASK.name,
                    batch_size=config.batch_size,
                    out=str(out.path),
                )
            )
        results = read_as(TaskEvaluation, out.results)
        found.append(Scores(results, read_predictions(out.predictions, TASK)))
    return found


def _is_measured(out: RunFolder, run: RunFolder, data: Path) -> bool:
    """Whether results of this run and this data are there, and newer than the run."""
    if not (out.results.exists() and out.predictions.exists()):
        return False
    results = read_as(TaskEvaluation, out.results)
    same = results.run == str(run.path) and results.data.source.startswith(str(data))
    return same and out.results.stat().st_mtime > run.meta.stat().st_mtime


def report(
    config: BreakingNliConfig,
    found: Mapping[str, Sequence[Scores]],
    outcomes: Mapping[str, Outcome],
    trained: str = "",
) -> None:
    """Tables and figure."""
    first = next(iter(found.values()))[0]
    sizes = {ALL: first.results.examples}
    sizes |= {category.name: category.examples for category in first.results.categories}
    constant = 100 * np.bincount(first.predictions.gold.astype(int)).max() / sizes[ALL]
    about = caption(found, sizes[ALL], constant)
    values = {
        label: {name: [one.accuracy(name) for one in group] for name in sizes}
        for label, group in found.items()
    }
    folders = {label: str(Path(group[0].results.run).parent) for label, group in found.items()}
    tables = [by_category(values, sizes, about, folders)]
    if outcomes:
        tables.append(by_arm(found, outcomes, f"{about} {trained}", folders))
    figure = Figure(
        name="breaking-nli-categories",
        title="Breaking NLI by category",
        caption=about,
        x_label="kind of the word that was replaced",
        y_label="accuracy (%)",
        series=tuple(
            over_seeds(f"{label} (ours)", values[label], folders[label]) for label in found
        ),
        kind="bars",
        levels=(
            ("GPT-1, all (published)", TASK.paper or 0.0),
            ("KIM, all (published)", PUBLISHED_KIM),
            ("commonest label", constant),
        ),
    )
    save(config.out, [figure], tables)
    print("\n\n".join(map(markdown, tables)))
    print(config.out)


def caption(found: Mapping[str, Sequence[Scores]], pairs: int, constant: float) -> str:
    """What the numbers are."""
    about = (
        f"Accuracy in per cent on {pairs:,} pairs, mean and standard deviation over seeds. "
        f"Published, on all 8,193 pairs after all of SNLI: KIM (Chen et al. 2018) {PUBLISHED_KIM} "
        f"and ESIM {PUBLISHED_ESIM} as Glockner et al. (2018) measured them, GPT-1 (its authors' "
        f"post) {TASK.paper}; KIM's figures by category are from memory, not verified. The "
        f"commonest label alone has {constant:.1f}."
    )
    made_up = [
        label for label, group in found.items() if group[0].results.data.trained_on_sample is True
    ]
    if made_up:
        about += f" {', '.join(made_up)}: TRAINED ON THE OFFLINE SAMPLE, not on SNLI."
    return about


def by_category(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    sizes: Mapping[str, int],
    about: str,
    folders: Mapping[str, str],
) -> Table:
    """The accuracy of each on the pairs of each category."""
    kim = {ALL: PUBLISHED_KIM, **KIM_BY_CATEGORY}
    counts = {label: len(own[ALL]) for label, own in values.items()}
    heads = [f"{label} (ours, {n} seed{'s' * (n > 1)})" for label, n in counts.items()]
    published = ("KIM (published)", "ESIM (published)", "GPT-1 (published)")
    rows = []
    for name, size in sizes.items():
        ours = (mean_text(own[name], 1) for own in values.values())
        others = (f"{PUBLISHED_ESIM}", f"{TASK.paper}") if name == ALL else ("", "")
        rows.append((name, f"{size:,}", *ours, f"{kim.get(name, '')}", *others))
    return Table(
        name="breaking-nli",
        title="Breaking NLI by category",
        caption=about,
        columns=("category", "pairs", *heads, *published),
        rows=tuple(rows),
        sources=tuple(", ".join(folders.values()) for _ in sizes),
    )


def by_arm(
    found: Mapping[str, Sequence[Scores]],
    outcomes: Mapping[str, Outcome],
    about: str,
    folders: Mapping[str, str],
) -> Table:
    """What knowledge brings to each, and what each comes to on SNLI."""
    rows = []
    for label, outcome in outcomes.items():
        kind, suffix = (label.removesuffix(UNTRAINED), UNTRAINED if UNTRAINED in label else "")
        gain = ""
        if kind in WITHOUT:
            pair = (group_of(found[name]) for name in (WITHOUT[kind] + suffix, label))
            gain = with_interval(compare(*pair, resamples=RESAMPLES, seed=0))
        every = mean_text([one.accuracy(ALL) for one in found[label]], 1)
        rate = f"{outcome.learning_rate:g}"
        rows.append((label, outcome.sizes, outcome.text, every, gain, rate))
    return Table(
        name="breaking-nli-arms",
        title="What knowledge of words brings",
        caption=f"{about} What knowledge brings on Breaking NLI has the 95 % interval of a paired "
        "bootstrap over pairs and seeds.",
        columns=(
            *("arm", "train / valid", "SNLI, valid", "Breaking NLI"),
            *("what knowledge brings", "learning rate"),
        ),
        rows=tuple(rows),
        sources=tuple(folders[label] for label in outcomes),
    )


def group_of(scores: Sequence[Scores]) -> Group:
    """The answers of the seeds, to be compared."""
    first = scores[0].predictions
    return Group(TASK, first.index, first.gold, [one.predictions.predicted for one in scores])


if __name__ == "__main__":
    start(main, BreakingNliConfig, __doc__)
