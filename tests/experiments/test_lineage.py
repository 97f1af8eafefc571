"""experiments/lineage.py: every model is pre-trained by the same rule, every method is a method."""

import re
from pathlib import Path

import arms
import fine_tuning_methods
import jax
import lineage
import lineage_models
import pytest
import ulmfit

from gptjax.commands import finetune_config
from gptjax.commands.pretrain import from_table
from gptjax.commands.sweep import run_sweep
from gptjax.models import backbone
from gptjax.report import drawing, figures
from gptjax.runs.folder import RunFolder
from gptjax.training.stages import read_stages
from tests.experiments.played import Trainer
from tests.sweep.conftest import config_of, option


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a run of the script starts, and its tables."""
    folder, trainer = tmp_path_factory.mktemp("lineage"), Trainer()
    for name in ("train", "valid"):
        (folder / name).mkdir()
        for number in range(12):
            (folder / name / f"{number}.txt").write_text("A long novel. " * 40)
    (folder / "trec").mkdir()
    (folder / "trec" / "TREC.train").write_text("")
    config = lineage.LineageConfig(
        books=folder, data=folder, arms=folder / "arms", out=folder / "out", tasks=("trec",)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "save_pictures", lambda folder, figure: None)
        for module in (arms, fine_tuning_methods, lineage_models, ulmfit):
            patch.setattr(module, "run_sweep", lambda *one: run_sweep(*one, trainer))
        patch.setattr(lineage, "difference", lambda before, after: None)
        patch.setattr(lineage, "with_interval", lambda comparison: "+1.0 (0.0 to 2.0)")
        patch.setattr(lineage, "probed", lambda *_: lineage.Cell(single=0.5, source="probe"))
        lineage.main(config)
    started = {Path(*option(one.words, "--out")): config_of(one.words) for one in trainer.launches}
    return folder, started, figures.load(config.out)[1]


def test_every_model_has_two_rates_on_a_tenth_and_the_better_one_on_all(made):
    folder, started, _ = made
    for name in lineage_models.read_models(lineage.MODELS_FILE):
        part = [one for out, one in started.items() if out.parent == folder / "arms/part" / name]
        whole = [one for out, one in started.items() if out.parent == folder / "arms/models" / name]
        rates = sorted(one["optimizer"]["learning_rate"] for one in part)
        assert len(rates) == 2
        assert [one["optimizer"]["learning_rate"] for one in whole] == rates[:1]
        read = from_table(whole[0], "here")
        assert read.train.epochs == 1
        if name == "sa-lstm":
            assert read.corpus.layout == "autoencode"
            assert read.corpus.data.endswith("train-passages-80.jsonl")
        else:
            assert read.corpus.data == str(folder / "train")
    assert len(list((folder / "arms/text/part").iterdir())) == 2


def test_all_models_have_about_the_same_size():
    sizes = {}
    for name, spec in lineage_models.read_models(lineage.MODELS_FILE).items():
        own = (lineage_models.RATES, lineage_models.PASSAGES, lineage_models.TOKENIZER)
        model = from_table({k: v for k, v in spec.items() if k not in own}, name).model
        params = jax.eval_shape(
            lambda model=model: backbone.init_backbone(model, jax.random.key(0))
        )
        sizes[name] = lineage_models.weights_of(params)
    assert sizes["gpt"] == 3_159_040
    for size in sizes.values():
        assert abs(size / sizes["gpt"] - 1) < 0.1


def test_every_method_is_accepted_by_fine_tuning(made):
    folder, started, _ = made
    seen = {}
    for out, table in started.items():
        if out.parent == folder / "arms/trec":
            read = finetune_config.from_table(table, "here")
            finetune_config.task_of(read, RunFolder(folder))
            read_stages(read.train.unfreeze, read.train.epochs, read.highest_depth, head=True)
            seen[out.name.rpartition("-at-")[0]] = read
    methods = set(lineage.ROWS) - {lineage.BYTES, lineage.ZERO}
    assert {re.sub(r"[ ,]+", "-", name) for name in methods} == set(seen)
    kinds = {name: read.model.kind for name, read in seen.items()}
    assert kinds["biLM-mixed-BiLSTM"] == "bilm"
    assert kinds["AWD-LSTM-ULMFiT"] == kinds["LM-LSTM"] == kinds["joint"] == "lstm"
    assert kinds["GPT"] == kinds["from-scratch"] == "transformer"
    assert (seen["GPT"].task.lm_coefficient, seen["GPT-no-LM-loss"].task.lm_coefficient) == (0.5, 0)
    assert {name for name, read in seen.items() if read.task.freeze_backbone} == {
        "biLM-mixed-BiLSTM",
        "GPT-frozen-mixed",
    }
    assert seen["AWD-LSTM-ULMFiT"].model.context_length == 64


def test_the_tables(made):
    _, _, tables = made
    accuracy, differences, models = tables
    rows = {row[0]: row for row in accuracy.rows}
    assert tuple(rows) == lineage.ROWS
    assert rows["GPT"][1] == "88.0 ± 1.0"
    assert rows[lineage.AWD][1] == "88.0 ± 1.0 [94.3]"
    assert rows[lineage.BYTES][1] == "50.0"
    assert rows[lineage.ZERO][1] == "–"
    assert rows[lineage.SCRATCH][3:] == ("–", "–")
    assert float(rows["GPT"][3]) > 0
    assert {row[0]: row[1] for row in differences.rows}["GPT"] == "–"
    assert len(models.rows) == 6
