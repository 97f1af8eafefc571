"""experiments/ulmfit.py and elmo.py: every arm is accepted by fine-tuning, and is what it says."""

from pathlib import Path

import arms
import elmo
import pytest
import ulmfit

from gptjax import config as configs
from gptjax.commands import finetune_config
from gptjax.commands.pretrain import PretrainConfig, from_table
from gptjax.commands.sweep import run_sweep
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.config import ModelConfig
from gptjax.models.lstm_config import LSTMConfig
from gptjax.report import drawing, figures
from gptjax.runs.folder import RunFolder
from gptjax.training.stages import read_stages
from tests.experiments.played import Trainer
from tests.sweep.conftest import config_of, option

AWD = LSTMConfig(vocabulary_size=300, num_layers=3, width=32, map_back=False, context_length=70)
GPT = ModelConfig(vocabulary_size=300, num_layers=4, width=32, num_heads=2)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with pre-trained runs and data, and a function that plays a script."""
    folder = tmp_path_factory.mktemp("ancestors")
    models = {"awd": AWD, "gpt": GPT, "bilm": BiLMConfig(vocabulary_size=300)}
    for name, model in models.items():
        (folder / name).mkdir()
        configs.write(PretrainConfig(model=model), folder / name / "config.toml")
    for name in ("trec/TREC.train", "rte/train.tsv"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("")

    def play(script, config):
        trainer = Trainer()
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(drawing, "save_pictures", lambda folder, figure: None)
            for module in {arms, script}:
                monkeypatch.setattr(
                    module, "run_sweep", lambda *one: run_sweep(*one, trainer), raising=False
                )
            monkeypatch.setattr(script, "difference", lambda before, after: None)
            monkeypatch.setattr(script, "with_interval", lambda comparison: "+1.0 (0.0 to 2.0)")
            script.main(config)
        found = {}
        for launch in trainer.launches:
            out = Path(*option(launch.words, "--out"))
            found[out.name.rpartition("-at-")[0] or out.name] = config_of(launch.words)
        return found, figures.load(config.out)[1][0].rows

    return folder, play


def test_ulmfit(begun):
    folder, play = begun
    config = ulmfit.UlmfitConfig(
        init=str(folder / "awd"),
        data=folder,
        arms=folder / "ulmfit",
        out=folder / "ulmfit-out",
        tasks=("trec",),
    )
    tables, rows = play(ulmfit, config)
    language = {name: from_table(one, "here") for name, one in tables.items() if "corpus" in one}
    assert {one.optimizer.schedule for one in language.values()} == {"constant", "slanted"}
    assert {one.optimizer.layer_decay for one in language.values()} == {1.0, ulmfit.DECAY}
    assert len(language) == 3
    for one in language.values():
        assert (one.init, one.vocabulary.tokenizer) == (config.init, "words")
        assert one.corpus.order == "streams"
    seen = {
        name: finetune_config.from_table(one, "here")
        for name, one in tables.items()
        if "corpus" not in one
    }
    assert len(seen) == len(ulmfit.PUBLISHED) + 1
    for one in seen.values():
        finetune_config.task_of(one, RunFolder(folder))
        read_stages(one.train.unfreeze, one.train.epochs, one.highest_depth, head=True)
        assert one.task.pooling == "concat"
        assert one.task.lm_coefficient == 0
    best = next(name for name in seen if name.startswith("all-three") and "stlr" in name)
    assert seen[best].init == str(folder / "ulmfit/language-models/trec/full-+-discr-+-stlr")
    assert seen[best].train.unfreeze == ("head", "3:", "2:", "1:", "0:")
    assert {one.init for name, one in seen.items() if "no-LM" in name} == {config.init}
    assert rows[0][3:7] == ("from scratch", "88.0 ± 1.0", "+1.0 (0.0 to 2.0)", "86.64")
    assert len(rows) == len(seen)


def test_elmo(begun):
    folder, play = begun
    config = elmo.ElmoConfig(
        bilm=str(folder / "bilm"),
        gpt=str(folder / "gpt"),
        data=folder,
        arms=folder / "elmo",
        out=folder / "elmo-out",
        tasks=("rte",),
    )
    tables, rows = play(elmo, config)
    seen = {name: finetune_config.from_table(one, "here") for name, one in tables.items()}
    assert len(seen) == len(rows) == 6
    for name, one in seen.items():
        finetune_config.task_of(one, RunFolder(folder))
        assert one.task.freeze_backbone is (("GPT-f" in name and "mixed" in name) or "biLM" in name)
        assert one.task.mix is ("mixed" in name)
        assert one.task.model == ("bilstm" if one.task.freeze_backbone else "linear")
    assert rows[-1][2:6] == ("GPT fine-tuned", "88.0 ± 1.0", "+1.0 (0.0 to 2.0)", "56.0")
