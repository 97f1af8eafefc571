"""Settings by name, and the config file that a run is started with."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gptjax import config as configs
from gptjax import options
from gptjax.commands import finetune_config, pretrain
from gptjax.commands.sweep import COMMANDS
from gptjax.errors import UserError
from gptjax.sweeps.plan import Plan, PlannedPoint, Sweep
from gptjax.sweeps.plan import make_plan as plan_of
from gptjax.sweeps.settings import flatten, options_of


def make_plan(sweep: Sweep) -> Plan:
    return plan_of(sweep, COMMANDS)


def config_of(point: PlannedPoint, command: str, folder: Path) -> Any:
    """The config of a run that is started with the point's config file."""
    file = folder / "point.toml"
    configs.write_table(point.table, file)
    seeds = ["--seeds", *map(str, point.seeds)] if point.seeds else []
    words = ["--config", str(file), *seeds, "--out", str(folder / "new"), "--resume", "auto"]
    return parse(command, words)


def parse(command: str, words: list[str]) -> Any:
    """The config of a command line."""
    module = {"pretrain": pretrain, "finetune": finetune_config}[command]
    cls = COMMANDS[command].config
    return options.parse(cls, words, prog=command, defaults=module.defaults)


def test_the_settings_are_those_of_the_command_line(pretrained, tmp_path):
    settings = {
        "task": "sst2",
        "data": "sample",
        "init": pretrained,
        "seeds": [3, 4],
        "tracking": {"tensorboard": False},
        "lm-coefficient": 0.25,
    }
    variants = {"v": {"task.lm_coefficient": 1.0, "strict": True}, "w": {}}
    grid = {"optimizer.learning_rate": [2.5e-5], "transfer_layers": ["None", 2]}
    plan = make_plan(Sweep("finetune", Path("out"), settings, grid, variants))
    line = f"--task sst2 --data sample --init {pretrained} --seeds 3 4 --tracking.no-tensorboard"
    more = "--optimizer.learning-rate 2.5e-5"
    expected = [
        f"{line} --lm-coefficient 1 --strict {more}",
        f"{line} --lm-coefficient 1 --strict {more} --transfer-layers 2",
        f"{line} --lm-coefficient 0.25 {more}",
        f"{line} --lm-coefficient 0.25 {more} --transfer-layers 2",
    ]
    for point, words in zip(plan.points, expected, strict=True):
        config = configs.to_table(parse("finetune", words.split()))
        assert configs.to_table(config_of(point, "finetune", tmp_path)) == config
        assert point.settings == config
        assert point.seeds == config_of(point, "finetune", tmp_path).seeds == (3, 4)
    assert plan.points[1].values == {"optimizer.learning_rate": 2.5e-5, "transfer_layers": 2}
    assert [point.variant for point in plan.points] == ["v", "v", "w", "w"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_of_a_config_can_be_given(command, pretrained, tmp_path):
    """The whole config of a run, as settings, is that config again."""
    config = COMMANDS[command].config(init=pretrained)
    train = dataclasses.replace(config.train, steps=7, epochs=None, patience=2, batch_size=5)
    tracking = dataclasses.replace(config.tracking, tensorboard=False, wandb_project="a b=c")
    optimizer = dataclasses.replace(config.optimizer, learning_rate=1.5e-7, clip_norm=None)
    config = dataclasses.replace(config, train=train, tracking=tracking, optimizer=optimizer)
    if command == "finetune":
        task = dataclasses.replace(config.task, name="sst2", data=("sample",))
        config = dataclasses.replace(config, task=task)
    settings = {f"--{n.replace('_', '-')}": v for n, v in flatten(configs.to_table(config)).items()}
    settings["optimizer.clip_norm"] = None
    (point,) = make_plan(Sweep(command, Path("out"), settings, variants={"a": {}})).points
    assert point.settings == configs.to_table(config)
    assert configs.to_table(config_of(point, command, tmp_path)) == point.settings


def test_aliases_are_known():
    known = dict(options_of(COMMANDS["finetune"].config))
    assert known["lm_coefficient"] == known["task.lm_coefficient"]
    assert known["lm_coefficient"].path == "task.lm_coefficient"
    assert known["data"] == known["task.data"]
    assert known["data"].several
    assert dict(options_of(COMMANDS["pretrain"].config))["data"].path == "corpus.data"


def test_configs_below_the_settings(tmp_path):
    (tmp_path / "c.toml").write_text("[train]\nepochs = 9\nbatch_size = 16\nseed = 5\n")
    settings = {"config": str(tmp_path / "c.toml"), "train.steps": 7}
    plan = make_plan(Sweep("pretrain", Path("out"), settings, {"train.batch_size": [2, 4]}))
    for point, size in zip(plan.points, (2, 4), strict=True):
        train = {"batch_size": size, "seed": 5, "steps": 7}
        assert point.table == {"train": train}
        assert point.settings["train"].items() >= train.items()
    (tmp_path / "c.toml").write_text("[train]\nepoch = 9\n")
    with pytest.raises(UserError, match=r"c\.toml: unknown key 'train.epoch'"):
        make_plan(Sweep("pretrain", Path("out"), settings, {"train.batch_size": [2, 4]}))


def test_a_preset_below_the_settings():
    settings = {"config": "tiny", "train.steps": 7}
    (point,) = make_plan(Sweep("pretrain", Path("out"), settings, variants={"a": {}})).points
    words = ["--config", "tiny", "--train.steps", "7"]
    assert point.settings == configs.to_table(parse("pretrain", words))


def test_from_scratch_is_like_the_run_of_the_config_file(pretrained, tmp_path):
    (tmp_path / "c.toml").write_text(f'init = "{pretrained}"\n[task]\nmax_train = 3\n')
    settings = {"config": str(tmp_path / "c.toml"), "task": "sst2", "data": "sample"}
    variants = {"pre-trained": {}, "from-scratch": {"init": "none"}}
    plan = make_plan(Sweep("finetune", Path("out"), settings, variants=variants))
    found = [(point.table["init"], point.table.get("like")) for point in plan.points]
    assert found == [(pretrained, None), ("none", pretrained)]
    assert [point.settings["model"]["vocabulary_size"] for point in plan.points] == [300, 300]
    line = f"--config {tmp_path}/c.toml --task sst2 --data sample --init none"
    assert configs.to_table(parse("finetune", line.split())) == plan.points[1].settings


@pytest.mark.parametrize("command", COMMANDS)
def test_the_model_is_that_of_init(command, pretrained, tmp_path):
    """In a config file, as on the command line."""
    settings = {"init": pretrained, "train.steps": 3}
    if command == "finetune":
        settings |= {"task": "sst2", "data": "sample"}
    (point,) = make_plan(Sweep(command, Path("out"), settings, variants={"a": {}})).points
    assert point.settings["model"]["vocabulary_size"] == 300
    config = config_of(point, command, tmp_path)
    assert config.model.vocabulary_size == 300
    # A run that goes on has its model, even where the run of init is gone.
    if command == "pretrain":
        (tmp_path / "new").mkdir()
        configs.write(config, tmp_path / "new" / "config.toml")
        (Path(pretrained) / "config.toml").unlink()
        assert configs.to_table(config_of(point, command, tmp_path)) == point.settings


def test_the_newest_run_is_the_same_for_all(pretrained, tmp_path, monkeypatch):
    """It is chosen once, before the first run starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "pretrain").symlink_to(Path(pretrained).parent)
    (Path(pretrained) / "meta.json").write_text('{"status": "finished", "started": "2026"}')
    settings = {"task": "sst2", "data": "sample"}
    plan = make_plan(Sweep("finetune", Path("out"), settings, {"train.seed": [1, 2]}))
    newest = "runs/pretrain/pretrained"
    assert [point.table["init"] for point in plan.points] == [newest, newest]


def test_kinds_of_a_section_are_compared():
    """Every kind has its own options; each run takes those of its kind."""
    settings = {"config": "tiny", "train.steps": 7}
    grid = {"model.kind": ["transformer", "lstm"]}
    plan = make_plan(Sweep("pretrain", Path("out"), settings, grid))
    assert [point.settings["model"]["kind"] for point in plan.points] == grid["model.kind"]
    known = dict(options_of(COMMANDS["pretrain"].config))
    assert {"model.norm", "model.num_layers"} <= known.keys()
