"""A language model on the texts of a task, before it is fine-tuned."""

import json
import shutil

import pytest

from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands.pretrain import PretrainConfig
from gptjax.data.tokenizers.open import load_tokenizer
from tests.commands.conftest import TINY, metrics
from tests.commands.finetune.common import CONTEXT, results

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.slow
def test_it_trains_goes_on_and_is_measured(pretrained, data, tmp_path, capsys):
    own, out = tmp_path / "sst2", tmp_path / "run"
    shutil.copytree(data, own)
    named = f"task:sst2={own}"
    words = ["pretrain", "--init", str(pretrained), "--data", named, *TINY, *CONTEXT]
    assert main([*words, "--train.steps", "4", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert f"train: the text of 64 rows from {own / 'train.tsv'}" in told
    assert "held back" not in told
    assert f"gptjax evaluate --run {out} --data {named} --split valid" in told
    assert f"gptjax finetune --init {out} --task sst2 --data {own}" in told
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))["data"]
    assert [meta[split]["documents"] for split in ("train", "valid")] == [64, 21]

    # The run's own config knows the task.
    assert main(["pretrain", "--out", str(out), "--train.steps", "8", "--resume", "auto"]) == 0
    assert configs.read_resolved(PretrainConfig, out / "config.toml").corpus.data == named
    losses = {r["step"]: r["loss"] for r in metrics(out) if r["split"] == "train"}
    assert list(losses) == list(range(1, 9))
    assert losses[8] < losses[1]

    measured = ["evaluate", "--run", str(out), "--data", named, "--split", "valid"]
    assert main([*measured, "--out", str(tmp_path / "measured")]) == 0
    found, expected = (results(folder)["metrics"] for folder in (tmp_path / "measured", out))
    assert found["tokens"] == expected["tokens"]
    assert found["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-4)

    rows = (own / "train.tsv").read_text(encoding="utf-8")
    (own / "train.tsv").write_text(rows + "another row\t1\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["pretrain", "--out", str(out), "--resume", "auto"]) == 2
    assert "corpus" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_held_back_is_measured_with_the_training_rows(pretrained, data, tmp_path, capsys):
    train = tmp_path / "rows.tsv"
    shutil.copy(data / "train.tsv", train)
    words = ["pretrain", "--init", str(pretrained), "--data", f"task:sst2={train}", *TINY, *CONTEXT]
    assert main([*words, "--train.steps", "1", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().err
    assert "held back to validate" in told
    assert f"--data task:sst2={train} --split train" in told


def test_a_tokenizer_learns_the_texts_of_a_task(data, tmp_path, capsys):
    out = tmp_path / "t.model"
    words = ["tokenizer", "--data", f"task:sst2={data}", "--vocab-size", "300"]
    assert main([*words, "--out", str(out)]) == 0
    assert load_tokenizer(str(out)).size == 300
    assert f"--data task:sst2={data}" in capsys.readouterr().err


def test_an_unknown_task_is_one_line(tmp_path, capsys):
    words = ["pretrain", "--data", "task:sst3", *TINY, "--train.steps", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "gptjax: --data task:sst3: did you mean 'sst5'? A task file ends in .toml"
    )
    assert not (tmp_path / "run").exists()
