"""The arms of experiments/breaking_nli.py, and what is measured of them; training is played."""

from pathlib import Path

import arms
import breaking_nli as script
import numpy as np
import pytest

from gptjax import config as configs
from gptjax.commands import evaluate, finetune_config
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.sweep import run_sweep
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.report import figures
from gptjax.runs.folder import Provenance, RunFolder, write_json
from gptjax.runs.predictions import Predictions, class_names, write_predictions
from gptjax.runs.results import Category, Data, TaskEvaluation, write_results
from tests.sweep.conftest import Player, config_of, finish_seeds, option

pytestmark = pytest.mark.usefixtures("no_pictures")
TASK = TASKS["breaking_nli"]
GOLD = np.array([0.0, 1, 2, 2, 2, 2, 2, 2, 2, 2])
NAMES = [
    *("GPT", "GPT + knowledge", "ESIM", "KIM"),
    *("GPT, untrained", "GPT + knowledge, untrained", "ESIM, untrained", "KIM, untrained"),
]


class Trainer(Player):
    """Plays fine-tuning."""

    def finish(self, words, folder):
        seeds = [int(word) for word in option(words, "--seeds")]
        finish_seeds(folder, {seed: 0.5 + seed / 100 for seed in seeds})
        for seed in seeds:
            splits = {"train": {"examples": 50}, "valid": {"examples": 1234}, "sample": False}
            write_json(RunFolder(folder / f"seed-{seed}").meta, {"data": splits})


def answer(config):
    """Plays `gptjax evaluate`: runs that know words have two more answers right, or, of those that
    are not pre-trained, one."""
    arm = Path(config.out).parent.name
    knows = "knowledge" in arm or "KIM" in arm
    right = 4 + knows if "untrained" in arm else 5 + 2 * knows
    predicted = np.where(np.arange(10) < right, GOLD, (GOLD + 1) % 3)
    folder = RunFolder(Path(config.out))
    folder.path.mkdir(parents=True, exist_ok=True)
    scores = np.eye(3)[predicted.astype(int)]
    index = np.arange(10)
    found = Predictions(TASK.labels, class_names(TASK), index, GOLD, predicted, scores, None)
    write_predictions(folder.predictions, found)
    results = TaskEvaluation(
        task=TASK.name,
        split="test",
        examples=10,
        metrics={"accuracy": right / 10},
        data=Data(source=f"{config.data}/dataset.jsonl"),
        checkpoint="best/3",
        run=config.run,
        made=Provenance.now("none"),
        categories=(
            Category("colors", 6, {"accuracy": min(right, 6) / 6}),
            Category("planets", 4, {"accuracy": max(right - 6, 0) / 4}),
        ),
    )
    write_results(folder.results, results)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """The options of the script; who trains; and the runs that are measured, one by one."""
    trainer, asked = Trainer(), []
    monkeypatch.setattr(arms, "run_sweep", lambda sweep, jobs: run_sweep(sweep, jobs, trainer))
    monkeypatch.setattr(evaluate, "run", lambda config: (asked.append(config.run), answer(config)))
    for name, model in {
        "gpt": ModelConfig(vocabulary_size=300),
        "vectors": ModelConfig(kind="vectors", vocabulary_size=300, width=8),
    }.items():
        (tmp_path / name).mkdir()
        configs.write(PretrainConfig(model=model), tmp_path / name / "config.toml")
    (tmp_path / "data" / "snli").mkdir(parents=True)
    (tmp_path / "data" / "snli" / "train.tsv").touch()
    config = script.BreakingNliConfig(
        data=tmp_path / "data",
        init=str(tmp_path / "gpt"),
        vectors=str(tmp_path / "vectors"),
        knowledge=tmp_path / "tables",
        arms=tmp_path / "arms",
        out=tmp_path / "out",
        seeds=(1, 2),
    )
    return config, trainer, asked


def test_each_arm_is_what_it_is_called(played):
    config, _, _ = played
    found = script.arms(config)
    assert sorted(found) == sorted(NAMES)
    for name, settings in found.items():
        table = {key: value for key, value in settings.items() if "." not in key}
        section = {key[5:]: value for key, value in settings.items() if key.startswith("task.")}
        section |= {"lm_coefficient": table.pop("lm_coefficient", 0.5), "name": "snli"}
        read = finetune_config.from_table({**table, "task": section}, name)
        finetune_config.task_of(read, RunFolder(Path("nowhere")))  # refuses what cannot be
        knows = "knowledge" in name or "KIM" in name
        assert read.task.head_shape.knowledge == knows
        assert read.task.head_shape.separate == ("GPT" not in name)
        assert read.model.kind == ("transformer" if "GPT" in name else "vectors")
        source = config.init if "GPT" in name else config.vectors
        begins = ("none", source) if "untrained" in name else (source, None)
        assert (read.init, read.like) == begins


def test_what_knowledge_brings_stands_beside_the_published_figures(played):
    config, trainer, asked = played
    script.main(config)
    _, (table, by_arm) = figures.load(config.out)
    assert [row[0] for row in table.rows] == ["all", "colors", "planets"]
    assert table.columns[2 : 2 + len(NAMES)] == tuple(
        f"{row[0]} (ours, 2 seeds)" for row in by_arm.rows
    )
    everything = dict(zip(table.columns, table.rows[0], strict=True))
    assert everything["KIM (ours, 2 seeds)"] == "70.0 ± 0.0"
    assert everything["ESIM, untrained (ours, 2 seeds)"] == "40.0 ± 0.0"
    published = [everything[f"{name} (published)"] for name in ("KIM", "ESIM", "GPT-1")]
    assert published == ["83.5", "65.6", "83.75"]
    assert dict(zip(table.columns, table.rows[2], strict=True))["KIM (published)"] == "5.0"
    assert "The commonest label alone has 80.0" in table.caption
    gains = {row[0]: row[4] for row in by_arm.rows}
    for name, gain in gains.items():
        expected = "+10.0 (" if "untrained" in name else "+20.0 ("
        assert gain.startswith(expected if "knowledge" in name or "KIM" in name else "")
        assert bool(gain) == ("knowledge" in name or "KIM" in name)
    assert len(asked) == len(set(asked)) == 2 * len(NAMES)
    # Both rates of the first seed, then the best one of both seeds.
    seeds = [option(one.words, "--seeds") for one in trainer.launches]
    assert seeds.count(["1"]) == 2 * len(NAMES)
    assert seeds.count(["1", "2"]) == len(NAMES)
    tables = [config_of(one.words) for one in trainer.launches]
    assert {one["task"]["data"][0] for one in tables} == {str(config.data / "snli")}


@pytest.mark.slow
def test_the_same_command_goes_on(played):
    config, trainer, asked = played
    script.main(config)
    launches, measured = len(trainer.launches), len(asked)
    script.main(config)
    assert (len(trainer.launches), len(asked)) == (launches, measured)
    again = RunFolder(Path(asked[0]))
    lost = next(config.out.glob("*/seed-2")) / "results.json"
    lost.unlink()
    write_json(again.meta, again.read_meta())  # as newly trained
    script.main(config)
    assert len(trainer.launches) == launches
    assert len(asked) == measured + 2


def test_runs_that_are_there_are_measured_alone(played, tmp_path):
    config, trainer, asked = played
    folder = tmp_path / "own"
    finish_seeds(folder, {1: 0.5})
    write_json(RunFolder(folder / "seed-1").meta, {"data": {"sample": False}})
    script.main(
        script.BreakingNliConfig(data=tmp_path / "file.jsonl", runs=(folder,), out=config.out)
    )
    assert (trainer.launches, asked) == ([], [str(folder / "seed-1")])
    _, (table,) = figures.load(config.out)
    assert table.columns[2] == "own (ours, 1 seed)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": None}, "name `runs` to measure"),
        ({"knowledge": None}, "`init`: set `vectors` and `knowledge` too"),
        ({"vectors": None}, "`init`: set `vectors` and `knowledge` too"),
    ],
)
def test_what_is_missing_is_said(changes, message, played):
    config, _, _ = played
    with pytest.raises(UserError, match=message):
        script.main(script.BreakingNliConfig(**{**vars(config), **changes}))
