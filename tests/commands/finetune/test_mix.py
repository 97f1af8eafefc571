"""A mix of depths and an LSTM on a backbone, frozen or not, from the command to the prediction."""

import shutil

import jax
import numpy as np
import pytest

import gptjax
from gptjax.cli import main
from gptjax.errors import UserError
from gptjax.evaluation import frozen_states
from gptjax.models.task_head import HeadShape
from gptjax.runs.head import read_head
from gptjax.runs.open import load
from tests.commands.conftest import metrics
from tests.commands.finetune.common import results, table

pytestmark = pytest.mark.usefixtures("own_cache")
MIXED = ("--task.mix", "--task.mix-l2", "0.01", "--task.pooling", "max")
BILSTM = ("--task.model", "bilstm", "--task.units", "4")
FROZEN = ("--freeze-backbone", "--task.freeze-special-rows", "--task.classifier-dropout", "0")
UNDROPPED = [f"--model.{name}-dropout=0" for name in ("embedding", "attention", "residual")]


def losses(run):
    return [record["loss"] for record in metrics(run)]


@pytest.fixture(scope="module")
def kept(options, tmp_path_factory):
    """A run on the kept states of a frozen backbone."""
    out = tmp_path_factory.mktemp("mix") / "kept"
    words = [*options, *FROZEN, *UNDROPPED, *MIXED, *BILSTM, "--train.epochs", "2"]
    words += ["--checkpoint.every", "8"]
    assert main([*words, "--task.keep-states", "always", "--out", str(out)]) == 0
    return out


@pytest.fixture
def frozen(options):
    return [*options, *FROZEN, *UNDROPPED, "--train.epochs", "2"]


def no_backbone(*_):
    raise AssertionError("the backbone ran")


def test_kept_states_give_the_losses_of_the_backbone(kept, frozen, tmp_path):
    out = tmp_path / "never"
    words = [*frozen, *MIXED, *BILSTM, "--task.keep-states", "never", "--out", str(out)]
    assert main(words) == 0
    assert len(losses(out)) == 18
    np.testing.assert_allclose(losses(kept), losses(out), rtol=1e-5, atol=1e-5)
    ours, theirs = load(kept, "last").params, load(out, "last").params
    assert not np.array_equal(ours["adapter"]["head"]["mix_weights"], np.zeros(2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


def test_a_run_with_a_mix_predicts_as_it_did(kept, data, tmp_path, capsys):
    run = load(kept)
    assert run.head == HeadShape("max", None, False, True, False, "bilstm", 4)
    head = read_head(kept / "head.safetensors", run.model)
    assert head.shape == run.head
    for name, array in run.params["adapter"]["head"].items():
        assert np.array_equal(head.params["head"][name], array)
    words = ["evaluate", "--run", str(kept), "--data", str(data), "--split", "valid"]
    assert main(words) == 0
    assert f"{100 * results(kept)['metrics']['accuracy']:.2f}" in capsys.readouterr().out
    assert main(["export", "--run", str(kept), "--out", str(tmp_path / "x")]) == 2
    assert "no place in the hub's format" in capsys.readouterr().err


def test_rows_are_predicted_by_hand_as_by_the_run(kept):
    model = gptjax.load(kept)
    rows = ["red house", "slowly"]
    tokens = model.sequences(rows)
    depths = model.module.apply(model.variables, tokens, method="layer_states")
    found = jax.nn.softmax(model.head_logits(depths, tokens))
    answers = [list(one["probabilities"].values()) for one in model.predict(rows)]
    np.testing.assert_allclose(found, answers, atol=1e-5)
    with pytest.raises(UserError, match="reads the states of all depths"):
        model.head_logits(depths[-1], tokens)


def test_a_run_goes_on_with_the_states_that_it_kept(kept, tmp_path, monkeypatch):
    """Bit by bit, though its source is not asked for."""
    copy = tmp_path / "copy"
    shutil.copytree(kept, copy)
    monkeypatch.setattr(frozen_states.FrozenBackbone, "write", no_backbone)
    assert main(["finetune", "--out", str(copy), "--resume", "8"]) == 0
    ours, theirs = load(copy, "last").params, load(kept, "last").params
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert results(copy)["metrics"] == results(kept)["metrics"]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("--train.accumulate", "2"), 1e-5),
        pytest.param(("--model.dtype", "bfloat16"), 1e-2, marks=pytest.mark.slow),
    ],
)
def test_of_the_usual_head_the_ends_alone_are_kept(words, near, frozen, tmp_path):
    """On four devices: in micro-batches, and in the compute type."""
    for keep in ("never", "auto"):
        given = [*frozen, *words, "--task.mix", "--task.keep-states", keep]
        assert main([*given, "--out", str(tmp_path / keep)]) == 0
    np.testing.assert_allclose(
        losses(tmp_path / "auto"), losses(tmp_path / "never"), rtol=near, atol=near
    )


@pytest.mark.slow
def test_a_trained_backbone_is_mixed_too(options, data, tmp_path, pretrained):
    out = tmp_path / "trained"
    words = [*options, "--task.mix", "--task.pooling", "mean", "--train.steps", "3"]
    assert main([*words, "--out", str(out)]) == 0
    run, source = load(out, "last"), load(pretrained)
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(run.backbone), jax.tree.leaves(source.params), strict=True)
    ]
    assert all(moved)
    assert any("lm_loss" in record for record in metrics(out))
    shutil.copyfile(data / "dev.tsv", tmp_path / "rows.tsv")
    given = ["predict", "--run", str(out), "--data", str(tmp_path / "rows.tsv")]
    assert main([*given, "--checkpoint", "best", "--out", str(tmp_path / "p")]) == 0
    then, now = table(out / "predictions.tsv"), table(tmp_path / "p")
    assert [row[2] for row in then] == [row[2] for row in now]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the backbone is trained: set task.freeze_backbone too"),
        (("--freeze-backbone",), "set task.freeze_special_rows too"),
        (FROZEN, "dropout acts in the backbone: set model.embedding_dropout"),
    ],
)
def test_what_cannot_be_kept_is_refused(words, message, options, tmp_path, capsys):
    given = [*options, *words, "--task.keep-states", "always", "--out", str(tmp_path / "run")]
    assert main(given) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_disk_without_room_is_refused_or_the_backbone_runs(frozen, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frozen_states, "room_in", lambda _: 1000)
    words = [*frozen, "--task.pooling", "last", "--train.steps", "9"]
    words = [word for word in words if word not in ("--train.epochs", "2")]
    assert main([*words, "--task.keep-states", "always", "--out", str(tmp_path / "a")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "make room, or choose another disk" in error
    monkeypatch.setattr(frozen_states.FrozenBackbone, "write", no_backbone)
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    assert "the backbone runs at every update" in capsys.readouterr().err
