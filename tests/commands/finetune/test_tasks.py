"""Tasks of all kinds: columns that are named, choices, the sample."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

import gptjax as package
from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands import finetune_config
from gptjax.report.find import find
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import load
from tests.commands.conftest import metrics
from tests.commands.finetune.common import ONE_STEP, QUICK, defaults_of, results, table

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_column_that_is_named_is_exact(tuned, tmp_path, capsys):
    """Wherever columns are named; what is wrong is said before anything is trained."""
    file = tmp_path / "new.csv"
    file.write_text("text,label,gold\nthe red house,1,0\nwalked slowly,0,1\n")
    out = str(tmp_path / "answers.tsv")
    run, data = ("--run", str(tuned)), ("--data", str(file))
    for words in (
        ["predict", *run, *data, "--out", out, "--columns", "text=clean_text"],
        ["predict", *run, *data, "--out", out, "--columns", "label=clean_text"],
        ["evaluate", *run, *data, "--columns", "text=clean_text"],
        ["evaluate", *run, *data, "--columns", "label=clean_text"],
        [
            *("finetune", "--task", "sst2", "--init", str(tuned), "--out", str(tmp_path / "run")),
            *(*data, "--columns", "text=text", "label=clean_text"),
        ],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no column 'clean_text' for the" in said
        assert "it has 'text', 'label', 'gold'" in said
        assert "--columns" in said
    assert not (tmp_path / "run" / "config.toml").exists()
    assert main(["predict", *run, *data, "--out", out, "--columns", "label=gold"]) == 0
    assert [row[1] for row in table(Path(out))[1:]] == ["negative", "positive"]


def test_runs_from_before_columns_were_exact_go_on_as_they_were(tuned, tmp_path):
    """Their config does not know the key; they are trained and asked as they were begun."""
    assert load(tuned).task.share_columns is False
    old = tmp_path / "old"
    shutil.copytree(tuned, old)
    lines = (old / "config.toml").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("exact_columns")]
    (old / "config.toml").write_text("\n".join(lines))
    task = load(old).task
    assert (task.named, task.share_columns) == (frozenset(), True)
    resumed = defaults_of("--task", "sst2", "--out", str(old), "--resume", "auto")
    assert finetune_config.task_of(resumed, RunFolder(old)) == task
    assert resumed.task.exact_columns is False
    fresh = defaults_of("--task", "sst2", "--init", str(tuned))
    assert configs.settled(fresh).task.exact_columns is True
    assert configs.settled(fresh, resumed).task.exact_columns is False


def test_a_task_of_ones_own(pretrained, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(
        'format = "choice"\nlabels = ["left", "right"]\n'
        '[columns]\ncontext = "story"\noptions = ["a", "b"]\nlabel = "which"\n'
    )
    rows = ["story,a,b,which"]
    rows += [f"the house {i},red,walked,{('left', 'right')[i % 2]}" for i in range(24)]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "run"
    words = [
        "finetune",
        "--task",
        str(tmp_path / "mine.toml"),
        "--data",
        str(tmp_path / "mine.csv"),
    ]
    words += ["--init", str(pretrained), "--train.batch-size", "8", "--train.epochs", "1", *QUICK]
    assert main([*words, "--out", str(out)]) == 0
    assert "held back" in capsys.readouterr().err
    (tmp_path / "mine.toml").unlink()  # the run has its own copy
    (answer,) = package.load(out).predict([{"story": "a house", "a": "red", "b": "walked"}])
    assert answer["prediction"] in ("left", "right")
    # A measurement knows its task, too: its folder alone makes a page.
    measured = tmp_path / "measured"
    words = ["evaluate", "--run", str(out), "--data", str(tmp_path / "mine.csv")]
    assert main([*words, "--out", str(measured)]) == 0
    (one,) = find([str(measured)]).tuned
    assert (one.task.name, one.task.labels) == ("mine", ("left", "right"))
    assert one.seeds[0].splits["test"].examples == 24
    assert len(one.seeds[0].predictions.gold) == 24
    # The results of a run are never replaced by those of a measurement.
    before = (out / "results.json").read_bytes()
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 2
    assert f"--out {out}: has the results of a run" in capsys.readouterr().err
    assert (out / "results.json").read_bytes() == before


def test_a_choice_among_two_to_four_options(pretrained, tmp_path):
    """Lists as pandas writes them; what a row lacks has no probability, in any command."""
    task = 'format = "choice"\nlabels = ["1", "2", "3", "4"]\ncolumns.context = "story"\n'
    (tmp_path / "mine.toml").write_text(task)
    words = ["red", "river", "old", "walked"]
    rows = [
        {"story": f"the house {i}", "options": words[: 2 + i % 3], "label": 1 + i % 2}
        for i in range(24)
    ]
    file, out, new = tmp_path / "mine.csv", tmp_path / "run", tmp_path / "new.tsv"
    pd.DataFrame(rows).to_csv(file, index=False)
    options = ["--init", str(pretrained), "--train.batch-size", "8", *ONE_STEP, *QUICK]
    begin = ["finetune", "--task", str(tmp_path / "mine.toml"), "--data", str(file)]
    assert main([*begin, *options, "--out", str(out)]) == 0
    assert main(["predict", "--run", str(out), "--data", str(file), "--out", str(new)]) == 0
    _, *found = table(new)
    assert [row[0] for row in found] == [str(i) for i in range(24)]
    for i, row in enumerate(found):
        probabilities = [float(cell) for cell in row[3:7]]
        assert sum(p > 0 for p in probabilities) == 2 + i % 3
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    # The loss of a model that knows nothing yet is the mean of the logarithms of the numbers of
    # options, and the auxiliary loss is the same for any number.
    (valid,) = (line for line in metrics(out) if line["split"] == "valid")
    assert 0.6 < valid["loss"] < 1.5
    settled = configs.settled(defaults_of("--task", str(tmp_path / "mine.toml")))
    assert settled.task.fewer_options is True
    before = dataclasses.replace(settled.task, fewer_options=False)
    config = dataclasses.replace(settled, task=before, resume="auto")
    assert finetune_config.task_of(config, RunFolder(out)).fewer_options is False


def test_without_data_the_sample_says_so_first_and_last(pretrained, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["finetune", "--task", "rte", "--init", str(pretrained), *QUICK]
    words += ["--train.steps", "1", "--train.batch-size", "8"]
    assert main([*words, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.strip().splitlines()
    assert lines[0].startswith("THE OFFLINE SAMPLE")
    assert lines[-1].startswith("THE OFFLINE SAMPLE")
    assert results(out)["data"]["sample"] is True
    assert "nyu-mll/glue" in captured.err
    (tmp_path / "new.tsv").write_text("premise\thypothesis\nA.\tB.\n")
    for command in (["predict"], ["evaluate"]):
        command += ["--out", str(tmp_path / f"{command[0]}.tsv")]
        words = [*command, "--run", str(out), "--data", str(tmp_path / "new.tsv")]
        assert main(words) == 0
        assert "WAS FINE-TUNED ON THE OFFLINE SAMPLE" in capsys.readouterr().out
    measured = results(tmp_path / "evaluate.tsv")
    assert measured["data"]["trained_on_sample"] is True
    assert measured["made"]["command"].startswith("gptjax")
