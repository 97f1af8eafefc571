"""The multiplicative LSTM through the same commands: pre-trained, fine-tuned, asked, probed."""

import json
import re
import sys

import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.features import features_of
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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def bytewise(books, tmp_path_factory, own_cache):
    """A model of two layers that reads bytes, trained for a step."""
    out = tmp_path_factory.mktemp("bytes") / "run"
    words = ["pretrain", "--data", str(books), *TINY, *MLSTM, "--model.num-layers", "2"]
    words += ["--tokenizer", "bytes", "--model.vocabulary-size", "256", "--train.steps", "1"]
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_its_memory_cells_are_probed_unit_by_unit(bytewise, tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "probe")
    words = ["probe", "--run", str(bytewise), "--out", out]
    asked = ["--task", "sst2", "--data", "sample", "--grid", "1", "--units", "2"]
    assert main([*words, *asked, "--features", "cell", "--layer", "all"]) == 0
    found = json.loads((tmp_path / "probe" / "results.json").read_text())
    assert (found["features"], found["cut"]) == ("cell", 0)
    assert sorted(found["layers"]) == ["1", "2"]
    assert found["layers"]["1"]["weights"] == 24
    assert set(found["units"]["splits"]) == {"train", "valid", "test"}
    assert "on the memory cells" in (tmp_path / "probe" / "layers-table.md").read_text()
    # A text of more bytes than the context is read whole, and a character is one piece.
    text = "So naïve – a day out."
    capsys.readouterr()
    assert main([*words, "--show", text]) == 0
    lines = capsys.readouterr().out.splitlines()
    pieces = [eval(line.split(None, 1)[1]) for line in lines]
    assert pieces == list(f" {text} ")
    run = package.load(bytewise)
    unit = found["units"]["strongest"][0]
    read = features_of(
        run, [Example((text,), 0, "", 0)], TASKS["sst2"], layers=[found["layer"]], how="cell"
    )
    last = float(lines[-1].split()[0])
    assert last == pytest.approx(read.layers[found["layer"]][0, unit], abs=1e-4)
    page = (tmp_path / "probe" / f"unit-{unit}.html").read_text()
    assert f"unit {unit} of the cells of layer {found['layer']}" in page
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main([*words, "--show", text, "--features", "last", "--unit", "3"]) == 0
    coloured = capsys.readouterr()
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured.out).rstrip("\n") == " So naïve – "
    assert "only the first 15 tokens are read" in coloured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "0"], "--layer 0: the layers of cells are 1 to 2, or the word all"),
        (["--show", "x", "--unit", "24"], "--unit 24: the units are 0 to 23"),
        (["--show", "x"], "--show: name a unit with --unit, or with --out the folder"),
        (["--show", "x", "--unit", "1", "--layer", "all"], "--show: shows one --layer"),
    ],
)
def test_cells_that_it_lacks_are_refused_in_one_line(bytewise, capsys, words, message):
    asked = ["probe", "--run", str(bytewise), "--features", "cell", *words]
    if "--show" not in words:
        asked += ["--task", "sst2", "--data", "sample"]
    assert main(asked) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gptjax:")]
    assert message in line


def test_a_unit_is_held_while_it_writes(bytewise, capsys):
    words = ["generate", "--run", str(bytewise), "--prompt", "A", "--max-tokens", "20"]
    words += ["--temperature", "0"]

    def written(*more):
        assert main([*words, *more]) == 0
        return capsys.readouterr().out.removesuffix("\n")

    units = {**dict.fromkeys(range(24), 90.0), (1, 5): -90.0}
    given = [*(f"{unit}=90" for unit in range(24)), "1:5=-90"]
    held = written(*(word for unit in given for word in ("--set-unit", unit)))
    assert held != written()
    run = package.load(bytewise)
    (text,) = run.generate("A", max_tokens=20, temperature=0.0, set_unit=units)
    assert text == held
    assert main([*words, "--set-unit", "3=1", "--set-unit", "2:3=1"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("gptjax:")]
    assert line == "gptjax: --set-unit: unit 3 of layer 2 is there twice"


def test_others_formats_refuse_it_in_one_line(pretrained, tmp_path, capsys):
    for format in ("hf", "openai"):
        words = ["export", "--run", str(pretrained), "--format", format]
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "multiplicative LSTM" in error
        assert len(error.splitlines()) == 1
        assert not (tmp_path / "out").exists()
