"""Where the settings of a run come from, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands.pretrain import PretrainConfig
from gptjax.models.lstm_config import LSTMConfig
from gptjax.runs.open import load
from tests.commands.finetune.common import ONE_STEP, QUICK, defaults_of, write_config

pytestmark = pytest.mark.usefixtures("own_cache")

REFUSED = {
    "no task": ([], "--task is missing"),
    "unknown task": (["--task", "snil"], "did you mean 'snli'"),
    "a test set": (["--task", "breaking_nli"], "fine-tune on snli"),
    "wrong column": (
        ["--task", "sst2", "--data", "{data}", "--columns", "text=x"],
        "no column 'x' for the text",
    ),
    "unknown part": (["--task", "sst2", "--columns", "premise=x"], "the parts of sst2 are text"),
    "too many layers": (["--task", "sst2", "--transfer-layers", "9"], "the model has 1 blocks"),
    "another shape": (["--task", "sst2", "--model.width", "32"], "model.width 16"),
    "no such run": (["--task", "sst2", "--init", "nowhere"], "nowhere: no run folder"),
    "no such data": (["--task", "sst2", "--data", "nowhere"], "no such file or folder"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(words, message, pretrained, data, tmp_path, capsys):
    words = [word.format(data=data) for word in words]
    if "--init" not in words:
        words += ["--init", str(pretrained)]
    assert main(["finetune", *words, "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("gptjax: ")
    assert message in line


def test_what_lies_below_the_options(pretrained, tmp_path):
    """The model and a quarter of the learning rate of --init, then the file, then what is typed."""
    config = defaults_of("--init", str(pretrained))
    assert config.model == load(pretrained).model
    assert config.optimizer.learning_rate == pytest.approx(0.01 / 4)
    assert (config.train.epochs, config.train.batch_size) == (3, 32)
    file = write_config(tmp_path, f"init = '{pretrained}'\n[train]\nsteps = 50\n")
    for words in ([], ["--out", str(tmp_path / "x"), "--resume", "auto"]):
        config = defaults_of("--config", file, *words)
        assert config.model == load(pretrained).model
        assert (config.train.steps, config.train.epochs) == (50, None)
    config = defaults_of("--config", file, "--train.epochs", "2")
    assert (config.train.steps, config.train.epochs) == (None, 2)
    config = defaults_of("--config", file, "--init", "none")
    assert (config.init, config.like) == ("none", str(pretrained))


@pytest.mark.parametrize("begin", ["init = '{}'", "init = 'none'\nlike = '{}'"])
def test_a_file_may_have_settings_of_its_runs_kind_of_model(begin, tmp_path):
    """They are read after the run, which says what kind of model it is."""
    configs.write(PretrainConfig(model=LSTMConfig(width=16)), tmp_path / "config.toml")
    text = f"{begin.format(tmp_path)}\n[model]\ninput_dropout = 0.4\n"
    config = defaults_of("--config", write_config(tmp_path, text))
    assert config.model == LSTMConfig(width=16, input_dropout=0.4)


def test_a_run_keeps_its_own_settings(pretrained, data, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "--task", "sst2", "--data", str(data), "--init", str(pretrained), *QUICK]
    words += ["--train.steps", "2", "--train.batch-size", "8", "--optimizer.clip-norm", "None"]
    assert main([*words, "--out", str(out)]) == 0
    config = defaults_of("--out", str(out), "--resume", "auto")
    assert (config.train.steps, config.train.epochs) == (2, None)
    assert config.optimizer.clip_norm is None
    assert config.task.name == "sst2"
    assert main(["finetune", "--out", str(out), "--resume", "auto"]) == 0


def test_nothing_pretrained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--out", "run"], ["--init", "none"]):
        assert main(["finetune", "--task", "sst2", *words]) == 2
        assert "gptjax pretrain --config tiny" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--help"])
    assert ended.value.code == 0


def test_the_newest_finished_run_is_taken(pretrained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, started, status in (
        ("a", "2030", "finished"),
        ("b", "2031", "running"),
        ("c", "2029", "finished"),
    ):
        shutil.copytree(pretrained, Path("runs/pretrain") / name)
        meta = Path("runs/pretrain") / name / "meta.json"
        content = json.loads(meta.read_text())
        del content["checksum"]
        meta.write_text(json.dumps({**content, "started": started, "status": status}))
    words = ["finetune", "--task", "sst2", "--data", str(data), *ONE_STEP, *QUICK]
    assert main([*words, "--train.batch-size", "8"]) == 0
    assert "backbone: runs/pretrain/a" in capsys.readouterr().err
    assert (tmp_path / "runs/finetune/sst2/a/results.json").exists()
    # Without --out it is the same folder, and its settings are kept.
    resumed = defaults_of("--task", "sst2", "--resume", "auto")
    assert (resumed.train.steps, resumed.train.batch_size) == (1, 8)
    fresh = defaults_of("--task", "sst2")
    assert (fresh.train.epochs, fresh.train.batch_size) == (3, 32)
