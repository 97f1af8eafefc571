"""Heads of other shapes, stages and rates by depth, from the command to the prediction."""

import json
import shutil

import numpy as np
import pytest

import gptjax
from gptjax.cli import main
from gptjax.commands import finetune
from gptjax.data.tasks.buckets import Bucketed
from gptjax.models.task_head import USUAL, HeadShape
from gptjax.runs.head import backbone_fingerprint, read_head
from gptjax.runs.open import load
from tests.commands.finetune.common import ONE_STEP, defaults_of, results, table

pytestmark = pytest.mark.usefixtures("own_cache")
# ULMFiT's classifier on this backbone, but for BatchNorm.
ULMFIT = [
    *("--task.pooling", "concat", "--task.head-width", "6", "--task.head-norm"),
    *("--optimizer.schedule", "slanted", "--optimizer.layer-decay", "0.3846"),
    *("--train.unfreeze", "head", "0:", "--train.epochs", "3"),
]


@pytest.fixture(scope="module")
def ulmfit(options, tmp_path_factory):
    out = tmp_path_factory.mktemp("methods") / "ulmfit"
    anew = []

    def noted(*given, **settings):
        anew.append(settings["compiled_anew"])
        return Bucketed(*given, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "Bucketed", noted)
        assert main([*options, *ULMFIT, "--out", str(out)]) == 0
    assert anew == [True]  # each stage compiles its shapes
    return out


def test_a_run_with_another_head_is_opened_and_predicts_as_it_did(ulmfit, data, tmp_path, capsys):
    run = load(ulmfit)
    assert run.head == HeadShape("concat", 6, norm=True)
    (tmp_path / "rows.tsv").write_text((data / "dev.tsv").read_text())
    rows = tmp_path / "rows.tsv"
    words = ["predict", "--run", str(ulmfit), "--data", str(rows), "--out", str(tmp_path / "p")]
    assert main(words) == 0
    then, now = table(ulmfit / "predictions.tsv"), table(tmp_path / "p")
    assert [row[2] for row in then] == [row[2] for row in now]
    assert main(["evaluate", "--run", str(ulmfit), "--data", str(data), "--split", "valid"]) == 0
    accuracy = results(ulmfit)["metrics"]["accuracy"]
    assert f"{100 * accuracy:.2f}" in capsys.readouterr().out
    assert len(gptjax.load(ulmfit).predict(["red house"])) == 1


@pytest.mark.slow
def test_the_file_of_another_head_has_its_shape(ulmfit):
    run = load(ulmfit)
    head = read_head(ulmfit / "head.safetensors", run.model)
    assert head.shape == run.head
    for name, array in run.params["adapter"]["head"].items():
        assert np.array_equal(head.params["head"][name], array)


@pytest.mark.slow
def test_another_head_is_not_exported_to_the_hub(ulmfit, tmp_path, capsys):
    words = ["export", "--run", str(ulmfit), "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert "no place in the hub's format" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_other_stages_or_another_head_are_no_way_to_go_on(ulmfit, options, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(ulmfit, copy)
    words = ["finetune", "--out", str(copy), "--resume", "auto"]
    assert main([*words, "--train.unfreeze", "0:"]) == 2
    assert "train.unfreeze was ('head', '0:')" in capsys.readouterr().err
    assert main([*words, "--task.pooling", "mean"]) == 2
    assert "another task" in capsys.readouterr().err


@pytest.mark.parametrize("pooling", ["extract", pytest.param("concat", marks=pytest.mark.slow)])
def test_a_frozen_backbone_with_its_special_rows_trains_the_maps_alone(
    pooling, options, pretrained, tmp_path, capsys
):
    out = tmp_path / "frozen"
    words = [*options, "--freeze-backbone", "--task.freeze-special-rows", "--train.steps", "2"]
    assert main([*words, "--task.pooling", pooling, "--out", str(out)]) == 0
    assert "notice: the rows of the special tokens" not in capsys.readouterr().err
    run, source = load(out, "last"), load(pretrained)
    assert backbone_fingerprint(run.backbone) == backbone_fingerprint(source.params)
    shapes = [*words[:-2], *ONE_STEP, "--task.pooling", pooling, "--out", str(tmp_path / "one")]
    assert main(shapes) == 0
    one = load(tmp_path / "one", "last").params["adapter"]
    ours = run.params["adapter"]
    assert np.array_equal(ours["special_embedding"], one["special_embedding"])  # as drawn
    assert not np.allclose(ours["head"]["kernel"], one["head"]["kernel"], atol=1e-4)


def test_a_worse_validation_halves_the_rate_by_the_tasks_metric(options, tmp_path, capsys):
    """A head alone, at a rate that soon spoils it."""
    out = tmp_path / "halved"
    words = [*options, "--freeze-backbone", "--task.freeze-special-rows", "--train.epochs", "8"]
    words += ["--optimizer.learning-rate", "3", "--optimizer.warmup", "0"]
    words += [
        "--optimizer.schedule",
        "halve",
        "--optimizer.halvings",
        "0",
        "--train.log-every",
        "1",
    ]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "accuracy 0." in said
    assert "more than 0 halvings: training ends here" in said
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = [line["accuracy"] for line in lines if line["split"] == "valid"]
    assert found[-1] < max(found), "it ended for another reason"
    assert results(out)["metrics"]["accuracy"] == max(found)
    again = ["finetune", "--out", str(out), "--resume", "auto", "--optimizer.schedule", "linear"]
    assert main(again) == 2
    assert "optimizer.schedule was halve" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--optimizer.schedule", "halve", "--optimizer.average-from", "2"],
            "leave one of them out",
        ),
        (["--task.freeze-special-rows"], "is for task.freeze_backbone"),
        (["--freeze-backbone", "--train.unfreeze", "0:"], "says itself what is trained"),
        (["--train.unfreeze", "head", "--train.steps", "3"], "set train.epochs"),
        (["--train.unfreeze", "0:", "--train-sizes", "8", "all"], "set --least-updates 0"),
        (["--train.unfreeze", "4:"], "the depths are 0 (embeddings) to 2 (head)"),
        (["--optimizer.schedule", "slanted", "--optimizer.warmup", "0.1"], "leave the warm-up out"),
        (["--optimizer.layer-decay", "2.6"], "at most 1"),
    ],
)
def test_refusals(words, message, options, tmp_path, capsys):
    assert main([*options, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_warm_up_is_what_the_schedule_has(pretrained, tuned):
    """0.2 % of 96 updates: the second update has the whole rate, which falls by a 96th in each."""
    lines = map(json.loads, (tuned / "metrics.jsonl").read_text().splitlines())
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    assert [rates[1], rates[2]] == pytest.approx([0, 0.01 * 95 / 96])
    config = defaults_of("--init", str(pretrained))
    assert (config.optimizer.warmup, config.WARMUP) == (None, 0.002)
    assert config.task.head_shape == USUAL
