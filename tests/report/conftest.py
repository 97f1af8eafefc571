"""A folder of everything that a report may find, and the report of it."""

import made_runs
import pytest

from gptjax.report import drawing
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.find import find
from gptjax.report.report import build

GOLD = {"rte": [0, 1] * 30, "stsb": [0, 1.2, 2.5, 3.75, 5] * 24, "snli": [0, 1, 2] * 20}


@pytest.fixture(scope="session")
def answers():
    """Of two seeds on RTE."""
    return [made_runs.answers("rte", GOLD["rte"], seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def scored():
    """Of one seed on STS-B."""
    return made_runs.answers("stsb", GOLD["stsb"], 4)


@pytest.fixture(scope="session")
def runs(tmp_path_factory, answers, scored):
    """A folder of everything that can be reported, and of what cannot."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    made_runs.pretrained(folder / "pretrain" / "a")
    made_runs.pretrained(folder / "pretrain" / "unfinished", status="running")
    tuned = folder / "finetune"
    for seed, found in enumerate(answers, 1):
        made_runs.tuned(tuned / "rte" / "a" / f"seed-{seed}", "rte", found, seed)
    made_runs.tuned(tuned / "rte" / "a" / "seed-10", "rte", answers[0], status="interrupted")
    old = made_runs.answers("rte", GOLD["rte"], 3, lengths=False)
    made_runs.tuned(tuned / "rte" / "old", "rte", old)
    made_runs.tuned(tuned / "stsb", "stsb", scored)
    sample = made_runs.answers("snli", GOLD["snli"], 5)
    made_runs.tuned(tuned / "snli", "snli", sample, sample=True)
    made_runs.zero_shot(folder / "zero-shot", "sst2", 0.7, 0.484)
    experiment = [
        Figure(
            name="curve",
            title="Tokens & <loss>",
            caption="Of an experiment.",
            x_label="x",
            y_label="y",
            series=(Series("s", (1, 2), (3.0, 4.0), source="runs/pretrain/a"),),
        )
    ]
    table = Table("curve-table", "T", "C", ("n",), (("12",),), ("runs/pretrain/a/best",))
    drawing.save(folder / "experiment", experiment, [table])
    return folder


@pytest.fixture(scope="session")
def report(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(runs.parent)
        return build(find(["runs"]))
