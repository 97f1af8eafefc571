"""The arms of experiments/sequence_learning.py are what they are called; its runs are played."""

from pathlib import Path

import arms
import pytest
import sequence_learning as script

from gptjax.commands import finetune_config
from gptjax.commands.pretrain import from_table
from gptjax.commands.sweep import run_sweep
from gptjax.data.tasks.texts import named
from gptjax.models.lstm_config import LSTMConfig
from gptjax.report import drawing, figures
from gptjax.runs.folder import RunFolder
from tests.experiments.played import Trainer
from tests.sweep.conftest import config_of, option

MODEL = LSTMConfig(vocabulary_size=300, num_layers=1, width=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The launches of a run of the script, its options, and its table by task and arm."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(drawing, "save_pictures", lambda folder, figure: None)
        trainer, config = play(tmp_path_factory.mktemp("sequence"), monkeypatch)
    _, (table,) = figures.load(config.out)
    return trainer, config, {(row[0], row[2]): row for row in table.rows}


def play(folder, monkeypatch):
    trainer = Trainer()
    for module in (arms, script):
        monkeypatch.setattr(
            module, "run_sweep", lambda sweep, jobs: run_sweep(sweep, jobs, trainer)
        )
    monkeypatch.setattr(script, "difference", lambda before, after: None)
    monkeypatch.setattr(script, "with_interval", lambda comparison: "+1.0 (0.0 to 2.0)")
    for name in ("mr/rt-polarity.neg", "mr/rt-polarity.pos", "imdb/train.jsonl", "imdb/test.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('{"text": "a film", "label": 1}\n')
    config = script.SequenceConfig(data=folder, arms=folder / "arms", out=folder / "out")
    script.main(config)
    return trainer, config


def tables(trainer, section):
    """The config file of each launch of a command, by the folder of its run."""
    found = {Path(*option(one.words, "--out")): config_of(one.words) for one in trainer.launches}
    return {folder: table for folder, table in found.items() if section in table}


def test_both_models_are_trained_on_the_text_of_the_task(made):
    trainer, config, _ = made
    found = tables(trainer, "corpus")
    assert len(found) == 4
    for folder, table in found.items():
        read = from_table(table, "here")
        assert (read.model.kind, read.model.num_layers) == ("lstm", 1)
        assert read.vocabulary.tokenizer == "words"
        autoencodes = script.SA in folder.parts
        assert read.corpus.layout == ("autoencode" if autoencodes else "lm")
        name, words = named(read.corpus.data)
        files = [f"{split}={config.data}/imdb/{split_file}" for split, split_file in SPLITS]
        assert list(words) == (files if name == "imdb" else [f"{config.data}/mr"])


SPLITS = [("train", "train.jsonl"), ("valid", "test.jsonl")]


def test_every_arm_is_what_it_is_called(made):
    trainer, config, _ = made
    seen = {}
    for folder, table in tables(trainer, "task").items():
        read = finetune_config.from_table(table, "here")
        finetune_config.task_of(read, RunFolder(folder))
        seen[folder.parent.name, folder.name.rpartition("-at-")[0]] = read
    assert len(seen) == 2 * 2 * 4  # tasks, gain, arms
    model = {
        kind: str(config.arms / "pretrained" / kind / "imdb" / "imdb")
        for kind in (script.LM, script.SA)
    }
    expected = {
        "from-scratch": ("none", model[script.LM], 0.0),
        "LM-LSTM": (model[script.LM], None, 0.0),
        "SA-LSTM": (model[script.SA], None, 0.0),
        "joint": ("none", model[script.LM], script.JOINT_COEFFICIENT),
    }
    for name, wanted in expected.items():
        for gain in (False, True):
            read = seen["imdb", name + "-+-gain" * gain]
            assert (read.init, read.like, read.task.lm_coefficient) == wanted
            assert read.task.label_gain is gain
            assert (read.task.head_width, read.task.max_train) == (30, 1000)


def test_the_table_has_errors_beside_the_published_ones(made):
    _, _, rows = made
    assert len(rows) == 16
    assert rows["imdb", "SA-LSTM"][3:6] == ("12.0 ± 1.0", "+1.0 (0.0 to 2.0)", "7.24")
    assert rows["imdb", "from scratch"][4:7] == ("", "13.50", script.TABLES)
    assert rows["mr", "from scratch"][6] == script.MEMORY
    assert rows["imdb", "SA-LSTM + gain"][5] == "9.17"
    assert rows["mr", "joint"][5:7] == ("", "")
