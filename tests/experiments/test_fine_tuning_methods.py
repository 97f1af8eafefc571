"""Every method of experiments/fine_tuning_methods.py is what it says, as options of fine-tuning."""

from pathlib import Path

import arms
import fine_tuning_methods as script
import pytest

from gptjax import config as configs
from gptjax.commands import finetune_config
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.sweep import run_sweep
from gptjax.models.config import ModelConfig
from gptjax.report import drawing, figures
from gptjax.training.optimizer import settle_warmup
from gptjax.training.stages import read_stages
from tests.experiments.played import Trainer
from tests.sweep.conftest import config_of, option

BLOCKS = 4


MODEL = ModelConfig(vocabulary_size=300, num_layers=BLOCKS, width=32, num_heads=2)


def folder_of(launch):
    return Path(*option(launch.words, "--out"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The launches of a run of the script on one task, and its options."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(drawing, "save_pictures", lambda folder, figure: None)
        return play(tmp_path_factory.mktemp("methods"), monkeypatch)


def play(tmp_path, monkeypatch):
    trainer = Trainer()
    for module in (arms, script):
        monkeypatch.setattr(
            module, "run_sweep", lambda sweep, jobs: run_sweep(sweep, jobs, trainer)
        )
    monkeypatch.setattr(script, "difference", lambda before, after: None)
    monkeypatch.setattr(script, "with_interval", lambda comparison: "+1.0 (0.0 to 2.0)")
    (tmp_path / "init").mkdir()
    configs.write(PretrainConfig(model=MODEL), tmp_path / "init" / "config.toml")
    (tmp_path / "trec").mkdir()
    (tmp_path / "trec" / "TREC.train").write_text("NUM:x how many ?\n")
    config = script.MethodsConfig(
        init=str(tmp_path / "init"),
        data=tmp_path,
        arms=tmp_path / "arms",
        out=tmp_path / "out",
        tasks=("trec",),
    )
    script.main(config)
    return trainer, config


def test_every_method_is_accepted_by_fine_tuning(made):
    trainer, _ = made
    seen = {}
    for launch in trainer.launches:
        table = config_of(launch.words)
        if "corpus" in table:
            continue
        config = finetune_config.from_table(table, "here")
        settle_warmup(config.optimizer, config.WARMUP)
        assert config.train.epochs is not None
        stages = read_stages(
            config.train.unfreeze, config.train.epochs, config.highest_depth, head=True
        )
        name = folder_of(launch).name.rpartition("-at-")[0]
        seen[name] = [list(stage.depths) for stage in stages], config
    assert len(seen) == len(script.methods("x", BLOCKS)) + 1
    head, everything = BLOCKS + 1, list(range(BLOCKS + 2))
    (last,) = seen["last"][0]
    assert last == [head]
    freez = [list(range(low, head + 1)) for low in range(head, -1, -1)]
    assert seen["freez"][0] == seen["all-three"][0] == freez
    assert seen["chain-thaw"][0] == [[head], *([one] for one in range(head)), everything]
    assert seen["full"][0] == []
    three = seen["all-three"][1].optimizer
    assert (three.schedule, three.layer_decay) == ("slanted", 1 / 2.6)
    assert seen["full"][1].optimizer.schedule == "constant"


def test_the_language_model_is_trained_on_the_text_of_the_task_first(made):
    trainer, config = made
    (first, *_) = trainer.launches
    table = config_of(first.words)
    assert table["corpus"]["data"] == f"task:trec={config.data / 'trec'}"
    assert table["init"] == config.init
    begun = {config_of(one.words).get("init") for one in trainer.launches}
    assert str(folder_of(first)) in begun


def test_the_table_has_the_published_figures_beside_ours(made):
    _, config = made
    _, (table,) = figures.load(config.out)
    rows = {row[3]: row for row in table.rows}
    assert rows["full"][6:8] == ("93.14", "")
    assert rows["chain-thaw"][6:8] == ("93.29", "+0.15")
    assert rows[script.LM][6] == "94.31"
    assert rows["last, GPT-1 head"][6] == ""
