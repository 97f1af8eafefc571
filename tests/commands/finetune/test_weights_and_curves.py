"""Class weights, and runs on a part of the rows."""

import json

import pytest

from gptjax.cli import main
from gptjax.commands import finetune_config
from gptjax.commands.finetune_config import FinetuneConfig, TaskConfig
from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import task_identity
from gptjax.runs.open import load, load_task
from tests.commands.conftest import metrics
from tests.commands.finetune.common import ONE_STEP, data_facts, results, table

pytestmark = pytest.mark.usefixtures("own_cache")


def test_class_weights_decide_what_is_learnt(options, data, tmp_path, capsys):
    """Of two classes only the first one counts, so that the other is never predicted."""
    out = tmp_path / "weighed"
    words = [*options, "--out", str(out), "--train.epochs", "12"]  # the program of `tuned`
    assert main([*words, "--task.class-weights", "1", "0"]) == 0
    labels = [row[1] for row in table(data / "train.tsv")[1:]]
    shown = f"negative 1 ({labels.count('0')}), positive 0 ({labels.count('1')})"
    assert f"class weights (and examples): {shown}\n" in capsys.readouterr().err
    assert {row[2] for row in table(out / "predictions.tsv")[1:]} == {"negative"}
    gold = [row[1] for row in table(data / "dev.tsv")[1:]]
    found = results(out)["metrics"]
    assert found["accuracy"] == pytest.approx(gold.count("0") / 21)
    assert found["loss"] > 0.7  # of all examples: there are no weights here
    train = [record for record in metrics(out) if record["split"] == "train"]
    # A batch without an example that counts has nothing to say.
    counted = [record for record in train if record["loss"]]
    assert 0 < len(counted) < len(train)
    assert counted[-1]["accuracy"] == 1
    assert counted[-1]["task_loss"] < 0.5
    assert load(out).task.class_weights == (1.0, 0.0)
    config = (out / "config.toml").read_text()
    for damaged, why in (("[0.5, 1.0]", "class_weights is"), ("[true]", "no weights")):
        there = config.replace(
            "class_weights = [\n    1.0,\n    0.0,\n]", f"class_weights = {damaged}"
        )
        assert there != config
        (out / "config.toml").write_text(there)
        with pytest.raises(UserError, match=rf"config\.toml: .*{why}"):
            load_task(out)


def test_class_weights_are_part_of_the_task(tmp_path):
    """A task without them is what it was before there were any."""
    file = tmp_path / "own.toml"
    plain = 'format = "classification"\nlabels = ["a", "b"]\n'

    def own(text, weights=None):
        file.write_text(text)
        config = FinetuneConfig(task=TaskConfig(name=str(file), class_weights=weights))
        return finetune_config.task_of(config, RunFolder(tmp_path / "run"))

    def identity(task):
        return task_identity(task, lm_coefficient=0.5, freeze_backbone=False, positions=None)

    assert "class_weights" not in identity(own(plain))
    balanced = own(f'{plain}class_weights = "balanced"')
    assert balanced.class_weights == "balanced"
    assert identity(balanced) == {**identity(own(plain)), "class_weights": "balanced"}
    assert own(f'{plain}class_weights = "balanced"', (1.0, 2.0)).class_weights == (1.0, 2.0)
    with pytest.raises(UserError, match=r"^`task\.class_weights`: 1 numbers for 2 labels"):
        own(plain, (1.0,))


def test_a_learning_curve(options, data, tmp_path, capsys):
    """Sizes and seeds have folders of their own; what they come to is one curve."""
    out = tmp_path / "curve"
    words = [*options, *ONE_STEP, "--out", str(out)]
    assert main([*words, "--train-sizes", "all", "16", "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("from 16 to 64 rows accuracy ")
    facts = {size: data_facts(out / f"size-{size}" / "seed-3") for size in (16, 64)}
    assert [facts[size]["train"]["examples"] for size in (16, 64)] == [16, 64]
    assert facts[16]["valid"] == facts[64]["valid"]
    assert "exact_columns = true\n" in (out / "learning_curve.toml").read_text()
    curve = json.loads((out / "learning_curve.json").read_text())
    assert list(curve["sizes"]) == ["16", "64"]
    for size, found in curve["sizes"].items():
        spread = results(out / f"size-{size}")["splits"]["valid"]["metrics"]["accuracy"]
        assert found["values_by_seed"] == {"3": spread["mean"]}
        assert (found["mean"], found["std"], found["updates"]) == (spread["mean"], None, 1)
    gold = [row[1] for row in table(data / "dev.tsv")[1:]]
    common = [row[1] for row in table(data / "train.tsv")[1:]]
    label = max(("0", "1"), key=common.count)
    assert curve["commonest"] == pytest.approx(gold.count(label) / 21)
    assert (out / "learning_curve.png").read_bytes()[1:4] == b"PNG"
    assert main([*words, "--train-sizes", "16", "32"]) == 2
    assert "add sizes to it, with --resume auto" in capsys.readouterr().err
    assert main([*words, "--resume", "auto"]) == 2
    assert "holds a learning curve; choose another --out for one run" in capsys.readouterr().err


@pytest.mark.slow  # many runs
def test_a_learning_curve_goes_on(options, tmp_path, capsys):
    """With further sizes, in the report, and from the beginning."""
    out, page = tmp_path / "curve", tmp_path / "page.html"
    words = [*options, *ONE_STEP, "--out", str(out), "--train-sizes", "16"]
    assert main([*words, "--seeds", "1"]) == 0
    before = (out / "size-16" / "seed-1" / "predictions.tsv").read_bytes()
    assert main([*words, "32", "--seeds", "1", "--resume", "auto"]) == 0
    assert (out / "size-16" / "seed-1" / "predictions.tsv").read_bytes() == before
    assert "with one seed, which may be chance: give several --seeds" in capsys.readouterr().out
    assert main(["report", "--runs", str(out), "--out", str(page)]) == 0
    assert "sst2: accuracy by training rows" in page.read_text(encoding="utf-8")
    assert main([*words, "64", "--seeds", "2", "3", "--overwrite"]) == 0
    assert sorted(path.name for path in out.glob("size-*")) == ["size-16", "size-64"]
    # Each seed draws its own part; all rows, and the validation rows, are the same.
    runs = {(path.parent.name, path.name): data_facts(path) for path in out.glob("size-*/seed-*")}
    assert len(runs) == 4
    assert len({facts["train"]["fingerprint"] for facts in runs.values()}) == 3
    assert len({facts["valid"]["fingerprint"] for facts in runs.values()}) == 1
    curve = json.loads((out / "learning_curve.json").read_text())
    spread = results(out / "size-16")["splits"]["valid"]["metrics"]["accuracy"]
    assert list(curve["sizes"]["16"]["values_by_seed"].values()) == spread["values"]
    assert curve["sizes"]["16"]["std"] == spread["std"]


def test_sizes_that_are_not_there(options, tmp_path, capsys):
    out = tmp_path / "curve"
    words = [*options, *ONE_STEP, "--out", str(out), "--train-sizes"]
    assert main([*words, "16", "65"]) == 2
    assert "--train-sizes 65: there are 64 rows to train on; give" in capsys.readouterr().err
    assert main([*words, "64", "all"]) == 2
    assert "there are 64 rows to train on, so that the two" in capsys.readouterr().err
    assert not out.exists()
