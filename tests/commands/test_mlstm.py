"""The multiplicative LSTM through the same commands: pre-trained, fine-tuned, asked, probed."""

import json

import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from tests.commands.conftest import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

MLSTM = ("--model.kind", "mlstm", "--model.units", "24", "--model.embedding-width", "8")


@pytest.fixture(scope="module")
def pretrained(books, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("mlstm") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *MLSTM, "--model.context-length", "32"]
    words += ["--train.steps", "20", "--checkpoint.per-doubling", "1"]
    assert main([*words, "--train.evaluate-every", "20", "--out", str(out)]) == 0
    return out


def test_it_learns(pretrained):
    text = ["The captain found the letter."]
    first, last = (
        package.load(pretrained, step).log_probability(text)[0] for step in ("0", "auto")
    )
    assert last > first + 5  # nats
    names = {"token_embedding", "blocks_0", "output_table", "output_bias"}
    assert set(package.load(pretrained).params) == names


def test_it_is_fine_tuned_with_a_head_of_its_own_file_and_writes(pretrained, tmp_path, capsys):
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "64"]
    words += ["--max-valid", "32", "--train.epochs", "1", "--tracking.no-tensorboard"]
    words += ["--task.lm-coefficient", "0.5", "--freeze-backbone"]
    out = tmp_path / "tuned"
    assert main([*words, "--init", str(pretrained), "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["examples"] == 32
    tuned = package.load(out)
    assert len(tuned.predict([{"text": "A fine day."}])) == 1
    # The special tokens have an embedding of 8 and an output of 24.
    special = tuned.params["adapter"]["special_embedding"]
    assert special.shape == (3, 32)
    attached = package.load(pretrained, head=out / "head.safetensors")
    np.testing.assert_array_equal(attached.params["adapter"]["special_embedding"], special)
    capsys.readouterr()
    assert main(["generate", "--run", str(pretrained), "--prompt", "The", "--max-tokens", "8"]) == 0
    assert capsys.readouterr().out.startswith("The")


@pytest.mark.slow
def test_it_is_probed_at_every_depth(pretrained, tmp_path):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", "sample"]
    words += ["--layer", "all", "--grid", "1", "--out", str(tmp_path / "probe")]
    assert main(words) == 0
    found = json.loads((tmp_path / "probe" / "results.json").read_text())
    assert sorted(found["layers"]) == ["0", "1"]


def test_others_formats_refuse_it_in_one_line(pretrained, tmp_path, capsys):
    for format in ("hf", "openai"):
        words = ["export", "--run", str(pretrained), "--format", format]
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "multiplicative LSTM" in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
