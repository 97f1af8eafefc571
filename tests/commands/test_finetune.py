"""Fine-tuning from end to end: what lies in the folder, and what the other commands make of it."""

import csv
import dataclasses
import json
import random
import re
import shutil
import signal
import zipfile
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import gptjax as package
from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands import finetune_config
from gptjax.commands.finetune_config import FinetuneConfig, TaskConfig
from gptjax.commands.predict import PredictConfig, check_probability
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.evaluation.comparison import read_group
from gptjax.evaluation.text_scores import token_log_probabilities
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import task_identity
from gptjax.runs.open import load, load_task
from gptjax.runs.results import Seeds, SplitResult, TaskRun, read_as, write_results
from tests import wandb_files
from tests.commands.conftest import TINY, last_step, metrics

pytestmark = pytest.mark.usefixtures("own_cache")

# Branches of a useful size in so narrow a model: 0.02 × sqrt(768 / 16).
CONTEXT = ("--model.context-length", "32", "--model.initial-std", "0.14")
COMPILED = "/jax/core/compile/backend_compile_duration"
# Hardly an update; it is compiled once for all tests that have it.
ONE_STEP = ("--train.steps", "1", "--optimizer.learning-rate", "1e-9")
QUICK = ("--tracking.no-tensorboard", "--train.log-every", "1")


@pytest.fixture(scope="module")
def pretrained(books, tmp_path_factory, own_cache) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *CONTEXT, "--train.steps", "4"]
    assert main([*words, "--out", str(out)]) == 0
    return out


def reviews(seed: int, count: int, *, labels: bool = True) -> str:
    """A file that a model of one layer learns: the sentiment is one of two words."""
    draw = random.Random(seed)
    lines = ["sentence\tlabel" if labels else "index\tsentence"]
    for number in range(count):
        label = draw.randrange(2)
        words = [
            draw.choice(["a", "old", "house", "river", "walked"]) for _ in range(draw.randint(1, 2))
        ]
        words.insert(draw.randint(0, len(words)), ("red", "slowly")[label])
        sentence = " ".join(words)
        lines.append(f"{sentence}\t{label}" if labels else f"{number}\t{sentence}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sst2")
    for name, seed, count, labels in (
        ("train", 0, 64, True),
        ("dev", 1, 21, True),
        ("test", 2, 10, False),
    ):
        (folder / f"{name}.tsv").write_text(reviews(seed, count, labels=labels))
    return folder


@pytest.fixture(scope="module")
def options(pretrained, data) -> list[str]:
    return [
        *("finetune", "--task", "sst2", "--data", str(data), "--init", str(pretrained)),
        *("--train.batch-size", "8", "--optimizer.learning-rate", "0.01", *QUICK),
    ]


@pytest.fixture(scope="module")
def tuned(options, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "sst2"
    assert main([*options, "--train.epochs", "12", "--out", str(out)]) == 0
    return out


@contextmanager
def compilations():
    """What is compiled meanwhile."""
    found = []

    def listen(event, duration, **_):
        if event == COMPILED:
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_it_learns_and_the_folder_is_complete(tuned, data):
    found = results(tuned)
    assert found["task"] == "sst2"
    assert found["split"] == "valid"
    assert found["examples"] == 21
    assert found["metrics"]["accuracy"] > 0.85
    assert found["data"]["sample"] is False
    assert found["checkpoint"].startswith("best/")
    assert found["splits"]["test"] == {"examples": 10, "left_out": 0, "metrics": {}}
    classes = found["splits"]["valid"]["classes"]
    gold = [line.split("\t")[1] for line in (data / "dev.tsv").read_text().splitlines()[1:]]
    numbers = {name: one["examples"] for name, one in classes.items()}
    assert numbers == {"negative": gold.count("0"), "positive": gold.count("1")}
    train = [r["task_loss"] for r in metrics(tuned) if r["split"] == "train"]
    assert train[-1] < 0.7 * train[0]
    meta = json.loads((tuned / "meta.json").read_text())
    assert meta["status"] == "finished"
    assert meta["data"]["train"]["examples"] == 64


def test_predictions_are_in_file_order_and_say_what_was_measured(tuned, data):
    rows = table(tuned / "predictions.tsv")
    assert rows[0] == ["index", "gold", "prediction", "negative", "positive", "tokens"]
    gold = [line.split("\t")[1] for line in (data / "dev.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(21)]
    assert [row[1] for row in rows[1:]] == [("negative", "positive")[int(x)] for x in gold]
    right = sum(row[1] == row[2] for row in rows[1:])
    assert right / 21 == pytest.approx(results(tuned)["metrics"]["accuracy"])
    for row in rows[1:]:
        scores = dict(zip(rows[0][3:5], map(float, row[3:5]), strict=True))
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        assert row[2] == max(scores, key=scores.__getitem__)
    assert [row[1] for row in table(tuned / "predictions-test.tsv")[1:]] == [""] * 10


def test_the_most_wrong_rows_and_their_texts(tuned, data, tmp_path, capsys):
    """On a file whose labels are the other way round, so that many are wrong."""
    wrong, out = tmp_path / "wrong.tsv", tmp_path / "wrong"
    head, *lines = (data / "dev.tsv").read_text().splitlines()
    turned = [f"{line[:-1]}{1 - int(line[-1])}" for line in lines]
    wrong.write_text("\n".join([head, *turned]) + "\n")
    words = ["--run", str(tuned), "--data", str(wrong), "--out"]
    assert main(["evaluate", *words, str(out)]) == 0
    told = capsys.readouterr().out
    assert main(["predict", *words, str(tmp_path / "new.tsv")]) == 0
    again = capsys.readouterr().out
    _, *worst = table(out / "most_wrong.tsv")
    _, *rows = table(out / "predictions.tsv")
    gold = {row[0]: float(row[3:5][("negative", "positive").index(row[1])]) for row in rows}
    missed = sorted((gold[row[0]], int(row[0])) for row in rows if row[1] != row[2])
    assert len(missed) > 10
    assert [(float(row[3]), int(row[0])) for row in worst] == missed[:20]
    assert [row[4] for row in worst] == [lines[n].split("\t")[0] for _, n in missed[:20]]
    for said in (told, again):
        shown = said.partition("most wrong, with the probability of gold:\n")[2].splitlines()[:10]
        assert [line.split(":")[0] for line in shown] == [f"  line {n + 2}" for _, n in missed[:10]]
    (_, *own), names = table(tuned / "most_wrong.tsv"), results(tuned)["metrics"]
    assert len(own) == round(21 * (1 - names["accuracy"]))
    assert not (tuned / "most_wrong-test.tsv").exists()


def test_evaluate_and_predict_agree_with_the_run(tuned, data, tmp_path, capsys):
    out = tmp_path / "evaluated"
    words = ["evaluate", "--run", str(tuned), "--split", "valid", "--batch-size", "4"]
    assert main([*words, "--data", str(data), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "on 21 examples" in shown
    assert "  class     examples  precision  recall      F1\n  negative " in shown
    assert results(out)["classes"] == results(tuned)["splits"]["valid"]["classes"]
    assert f"on {data / 'dev.tsv'}: 21 of 21 rows" in shown
    measured = results(out)["data"]
    assert (measured["source"], measured["rows"]) == (str(data / "dev.tsv"), 21)
    assert list(measured["files"]) == ["dev.tsv"]
    assert results(out)["metrics"] == pytest.approx(results(tuned)["metrics"], rel=1e-5)
    assert main(["evaluate", "--run", str(tuned), "--data", str(data), "--split", "tset"]) == 2
    assert "has the splits train, valid, test" in capsys.readouterr().err
    (tmp_path / "new.csv").write_text("text,label\nthe red house,\nwalked slowly,?\n")
    words = ["predict", "--run", str(tuned), "--data", str(tmp_path / "new.csv")]
    assert main([*words, "--out", str(tmp_path / "new.tsv")]) == 0
    rows = table(tmp_path / "new.tsv")
    assert [row[2] for row in rows[1:]] == ["negative", "positive"]


def test_predict_keeps_the_input_and_leaves_out_what_is_not_sure(tuned, tmp_path, capsys):
    """Every row once and in order, also one without a text and one without all columns."""
    data, out = tmp_path / "new.csv", tmp_path / "answers.csv"
    texts = ["the red\nhouse", "", "walked, slowly", "a house"]
    notes = ['say "x"', "empty", "", "d"]
    data.write_text(
        "index,note,text,label\n"
        + "".join(
            f'{number},"{note.replace(chr(34), chr(34) * 2)}","{text}",1\n'
            for number, (note, text) in enumerate(zip(notes, texts, strict=True), start=7)
        )
        + "11,short\n"
    )
    words = ["predict", "--run", str(tuned), "--data", str(data), "--out"]
    assert main([*words, str(out)]) == 0
    with out.open(newline="") as file:
        head, *lines = csv.reader(file)
    own = ["index", "gold", "prediction", "negative", "positive", "tokens"]
    assert head == [*own, "input.index", "note", "text", "label"]
    assert [line[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert [line[2] != "" for line in lines] == [True, False, True, True, False]
    assert [line[6:9] for line in lines] == [
        *([str(n), note, text] for n, (note, text) in enumerate(zip(notes, texts, strict=True), 7)),
        ["", "", ""],
    ]
    said = capsys.readouterr().out
    assert "1 left out: an empty text" in said
    assert re.search(r"3 predictions by .*, [\d.,]+ rows per second without compilation", said)
    sure = [max(map(float, line[3:5])) for line in lines if line[2]]
    least = sorted(sure)[1]  # one is below
    answers = tmp_path / "answers.jsonl"
    assert main([*words, str(answers), "--min-probability", f"{least:.6f}"]) == 0
    assert "1 of them (33.3%) are left empty: their probability is below" in capsys.readouterr().out
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    expected = [line[2] or None for line in lines]
    expected[int([line[0] for line in lines if line[2]][sure.index(min(sure))])] = None
    assert [line["prediction"] for line in found] == expected
    assert found[0]["text"] == texts[0]
    for wrong, said in (
        ((str(data),), f"--out {data}: is the file of --data"),
        ((str(out), "--min-probability", "1.1"), "--min-probability 1.1: it must be from 0 to 1"),
        ((str(out), "--min-probability", "nan"), "it must be from 0 to 1"),
        ((str(tmp_path / "a.parquet"),), "a file that ends in .parquet is not written"),
    ):
        assert main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err


def test_scores_have_no_least_probability():
    config = PredictConfig(run="r", data="d", out="o", min_probability=0.5)
    check_probability(config, TASKS["sst2"])
    with pytest.raises(UserError, match=r"--min-probability 0\.5: the answers of stsb are scores"):
        check_probability(config, TASKS["stsb"])
    check_probability(dataclasses.replace(config, min_probability=None), TASKS["stsb"])


def test_labels_in_another_order_are_the_same_labels(tuned, data, tmp_path):
    """They are read by name: WNLI's order is not that of RTE, whose runs are measured on it."""
    own, rows = tmp_path / "reversed.toml", tmp_path / "named.tsv"
    labels = 'format = "classification"\nlabels = ["positive", "negative"]\n'
    own.write_text(f'{labels}[columns]\ntext = "sentence"\nlabel = "label"\n')
    found = table(data / "dev.tsv")
    names = {"label": "label", "0": "negative", "1": "positive"}
    rows.write_text("".join(f"{row[0]}\t{names[row[1]]}\n" for row in found))
    words = ["evaluate", "--run", str(tuned), "--data", str(rows)]
    assert main([*words, "--out", str(tmp_path / "trained")]) == 0
    assert main([*words, "--task", str(own), "--out", str(tmp_path / "own")]) == 0
    accuracies = [results(tmp_path / name)["metrics"]["accuracy"] for name in ("own", "trained")]
    assert accuracies[0] == accuracies[1] > 0.6
    answers = [table(tmp_path / name / "predictions.tsv")[1:] for name in ("own", "trained")]
    assert [row[:3] for row in answers[0]] == [row[:3] for row in answers[1]]


def test_metrics_by_category(tuned, data, tmp_path, capsys):
    """Against a loop over the predictions, in any column that the user names."""
    head, *lines = (data / "dev.tsv").read_text().splitlines()
    kinds = ["a", "b b", "a", "", "c"] * 5
    rows = [f"{line}\t{kind}" for line, kind in zip(lines, kinds, strict=False)]
    file, out = tmp_path / "valid.tsv", tmp_path / "by-kind"
    file.write_text("\n".join([f"{head}\tkind", *rows]) + "\n")
    words = ["evaluate", "--run", str(tuned), "--data", str(file), "--out", str(out)]
    assert main([*words, "--columns", "category=kind"]) == 0
    predictions = table(out / "predictions.tsv")[1:]
    expected = {}
    for kind in ("a", "", "b b", "c"):  # 9, 4, 4 and 4 of 21
        chosen = [row for row, own in zip(predictions, kinds, strict=False) if own == kind]
        accuracy = sum(row[1] == row[2] for row in chosen) / len(chosen)
        expected[kind] = {"examples": len(chosen), "metrics": {"accuracy": accuracy}}
    assert results(out)["categories"] == expected
    assert list(expected) == list(results(out)["categories"])
    shown = capsys.readouterr().out
    assert f"  b b              4    {100 * expected['b b']['metrics']['accuracy']:6.2f}" in shown
    assert "  (none) " in shown
    assert "examples  accuracy" in shown
    assert main(words) == 0
    assert results(out)["categories"] == {}
    assert "examples  accuracy" not in capsys.readouterr().out


def test_the_python_object(tuned, pretrained):
    model = package.load(tuned)
    answers = model.predict([{"text": "the red house"}, {"text": "walked slowly"}])
    assert [answer["prediction"] for answer in answers] == ["negative", "positive"]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert model.predict([]) == []
    assert model.predict(["the red house", "walked slowly"]) == answers
    with compilations() as compiled:  # the same shape again
        model.predict([{"text": "the house"}])
    assert not compiled
    texts = ["the old house", "", "walked slowly " * 30]
    found = package.load(pretrained).log_probability(texts)
    assert found.shape == (3,)
    assert found[1] == 0
    assert found[0] < 0
    assert found[2] < found[0]
    step = int(model.checkpoint.partition("/")[2])
    assert package.load(tuned, checkpoint=step).step == step
    assert package.load(tuned, str(step)).checkpoint == package.load(tuned, step).checkpoint
    with pytest.raises(UserError, match=r"several texts are needed, and 'A sentence\.' is one"):
        package.load(pretrained).log_probability("A sentence.")


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


def test_log_probabilities_are_those_of_the_model(pretrained):
    run = load(pretrained)
    text = "the old house walked because the river"
    (found,) = token_log_probabilities(run, [text], 2)
    ids = run.tokenizer.encode([text])[0]
    tokens = np.concatenate([[run.tokenizer.separator], ids])[None, :33]
    inputs, params = jnp.asarray(tokens[:, :-1], jnp.int32), jax.tree.map(jnp.asarray, run.params)
    states = package.Transformer(run.model).apply({"params": params}, inputs)
    log_p = jax.nn.log_softmax(states @ params["token_embedding"].T)[0]
    expected = np.asarray(log_p)[np.arange(tokens.shape[1] - 1), tokens[0, 1:]]
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-4, atol=1e-4)
    assert len(found) == len(ids)


def test_a_fine_tuned_run_hands_on_its_learning_rate(tuned):
    assert defaults_of("--init", str(tuned)).optimizer.learning_rate == pytest.approx(0.01)


def test_a_moved_folder_works(tuned, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tuned, moved)
    (answer,) = package.load(moved).predict([{"text": "the red house"}])
    assert answer == package.load(tuned).predict([{"text": "the red house"}])[0]


def test_resuming_another_problem_is_refused(tuned, options, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tuned, copy)
    words = [*options, "--out", str(copy), "--resume", "auto", "--lm-coefficient", "0.1"]
    assert main(words) == 2
    assert "another task" in capsys.readouterr().err


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


def _facts(run: Path) -> dict:
    """What meta.json says of the data."""
    return json.loads((run / "meta.json").read_text())["data"]


def test_a_learning_curve(options, data, tmp_path, capsys):
    """Sizes and seeds have folders of their own; what they come to is one curve."""
    out = tmp_path / "curve"
    words = [*options, *ONE_STEP, "--out", str(out)]
    assert main([*words, "--train-sizes", "all", "16", "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("from 16 to 64 rows accuracy ")
    facts = {size: _facts(out / f"size-{size}" / "seed-3") for size in (16, 64)}
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
    runs = {(path.parent.name, path.name): _facts(path) for path in out.glob("size-*/seed-*")}
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


@pytest.mark.slow  # a kill; one of pre-training and one of a sweep are quick
def test_resumed_is_uninterrupted(options, gptjax, gptjax_until, tmp_path):
    words = [*options, "--train.epochs", "4", "--checkpoint.every", "5"]
    words += ["--train.evaluate-every", "8"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*words, "--out", str(whole)]) == 0
    four = {"JAX_NUM_CPU_DEVICES": "4"}  # as here, so that the programs are the same
    words += ["--out", str(cut)]
    code = gptjax_until(words, lambda: last_step(cut) >= 13, signal.SIGKILL, **four)
    assert code == -signal.SIGKILL
    done = gptjax(*words, "--resume", "auto", **four)
    assert done.returncode == 0, done.stderr
    assert metrics(cut) == metrics(whole)
    assert (cut / "predictions.tsv").read_bytes() == (whole / "predictions.tsv").read_bytes()
    a, b = load(whole, "last").params, load(cut, "last").params
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_two_processes_train_as_one(options, two_processes, tmp_path):
    """Every answer is there, in file order, from whichever process it came; no dropout."""
    rates = ("embedding", "attention", "residual")
    words = [*options, "--train.steps", "3", "--task.classifier-dropout", "0"]
    words += [word for rate in rates for word in (f"--model.{rate}-dropout", "0")]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    printed = two_processes(*words, "--out", str(tmp_path / "two"))
    assert "predicted" not in printed[1]
    one, two = (table(tmp_path / name / "predictions.tsv") for name in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two]
    scores = [[list(map(float, row[3:])) for row in rows[1:]] for rows in (one, two)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_a_model_without_any_run(data, pretrained, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "--task", "sst2", "--data", str(data), "--init", "none", *QUICK]
    words += ["--tokenizer", str(pretrained / "tokenizer"), "--model.num-layers", "1"]
    words += ["--model.width", "16", "--model.num-heads", "2", "--model.context-length", "32"]
    words += [*ONE_STEP, "--train.batch-size", "8"]
    assert main([*words, "--out", str(out)]) == 0
    assert load(out).model.vocabulary_size == load(pretrained).model.vocabulary_size


def test_a_frozen_backbone_is_the_pretrained_one(options, pretrained, tmp_path):
    out = tmp_path / "frozen"
    words = [*options, "--freeze-backbone", "--train.steps", "2", "--lm-coefficient", "0"]
    assert main([*words, "--out", str(out)]) == 0
    run, source = load(out), load(pretrained)
    jax.tree.map(np.testing.assert_array_equal, run.backbone, source.params)
    # Its adapter alone, on the pre-trained run, is the same model.
    both = package.load(pretrained, head=out / "head.safetensors")
    rows = [{"text": "the red house"}, {"text": "walked slowly"}]
    assert both.predict(rows) == package.load(out).predict(rows)


def test_an_adapter_of_another_backbone_is_refused(tuned, pretrained):
    with pytest.raises(UserError, match="trained on another backbone"):
        load(pretrained, head=tuned / "head.safetensors")


def test_from_nothing(options, pretrained, tmp_path, capsys):
    position = options.index("--init")
    words = [*options[:position], *options[position + 2 :]]
    out = tmp_path / "scratch"
    words += ["--init", "none", "--like", str(pretrained), *ONE_STEP]
    assert main([*words, "--out", str(out)]) == 0
    assert "untrained" in capsys.readouterr().err
    fresh, source = load(out).backbone, load(pretrained).params
    assert np.abs(fresh["token_embedding"] - source["token_embedding"]).max() > 0.01
    assert fresh["token_embedding"].std() == pytest.approx(0.14, rel=0.1)


def test_transferred_layers(options, pretrained, tmp_path):
    out = tmp_path / "transferred"
    words = [*options, "--transfer-layers", "0", *ONE_STEP]
    assert main([*words, "--out", str(out)]) == 0
    tuned, source = load(out).backbone, load(pretrained).params
    np.testing.assert_allclose(tuned["token_embedding"], source["token_embedding"], atol=1e-6)
    leaves = (jax.tree.leaves(params["blocks_0"]) for params in (tuned, source))
    for ours, theirs in zip(*leaves, strict=True):
        assert ours.ndim == 1 or np.abs(ours - theirs).max() > 0.01


def test_seeds_and_comparison(options, tuned, tmp_path, capsys, monkeypatch):
    out = tmp_path / "seeds"
    words = [*options, *ONE_STEP, "--seeds", "1", "2", "--out", str(out)]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main([*words, "--tracking.wandb"]) == 0
    assert "2 seeds (1, 2)" in capsys.readouterr().out
    for seed in (1, 2):
        (shown,) = wandb_files.read(out / f"seed-{seed}")
        name = load(out / f"seed-{seed}").task.name
        assert (shown["name"], shown["group"]) == (f"{name}/seeds/{seed}", f"{name}/seeds")
        config = configs.read_resolved(FinetuneConfig, out / f"seed-{seed}/config.toml")
        assert shown["config"] == configs.to_table(config)
        assert [one["_step"] for one in shown["history"]] == [1]
    summary = results(out)
    values = summary["splits"]["valid"]["metrics"]["accuracy"]
    each = [results(out / f"seed-{seed}") for seed in (1, 2)]
    assert values["values"] == [one["metrics"]["accuracy"] for one in each]
    assert [one["seed"] for one in each] == [1, 2]
    assert values["mean"] == pytest.approx(np.mean(values["values"]))
    assert values["std"] == pytest.approx(np.std(values["values"], ddof=1))
    assert main(["predict", "--run", str(out), "--data", "x", "--out", "y"]) == 2
    assert "holds several seeds; name one of them" in capsys.readouterr().err
    assert main(["compare", str(out), str(tuned), "--resamples", "200"]) == 0
    text = capsys.readouterr().out
    assert "difference B - A" in text
    assert "mean of 2 seeds" in text
    assert main(["compare", str(tuned), str(tuned), "--resamples", "50"]) == 0
    assert "+0.00 to +0.00" in capsys.readouterr().out
    (alone,) = read_group(str(out), "predictions.tsv", seeds=[2]).predicted
    assert np.array_equal(alone, read_group(str(out), "predictions.tsv").predicted[1])


def test_a_report_of_these_runs(tuned, pretrained, data, tmp_path, capsys):
    """The files that the commands write are those that the report reads."""
    out, measured = tmp_path / "report.html", tmp_path / "measured"
    sst2 = ["--data", str(data), "--split", "valid"]
    asked = ["zeroshot", "--task", "sst2", "--max-examples", "8", *sst2]
    assert main([*asked, "--run", str(pretrained), "--out", str(measured / "asked")]) == 0
    assert main(["evaluate", "--run", str(tuned), *sst2, "--out", str(measured / "task")]) == 0
    (tmp_path / "book.txt").write_text("the old house walked because the river\n" * 9)
    book = ["--data", str(tmp_path / "book.txt"), "--out", str(measured / "text")]
    assert main(["evaluate", "--run", str(pretrained), *book]) == 0
    capsys.readouterr()
    runs = [str(tuned), str(pretrained), str(measured)]
    assert main(["report", "--runs", *runs, "--out", str(out)]) == 0
    assert "left out" not in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert f"{100 * results(tuned)['metrics']['accuracy']:.2f}" in page
    assert f"{results(pretrained)['metrics']['perplexity']:,.2f}" in page
    assert f"{results(pretrained)['metrics']['unigram_perplexity']:,.1f}" in page
    for name in ("confusion", "calibration", "length"):
        assert f'<figure id="sst2-{name}' in page
    assert f"{100 * results(measured / 'asked')['metrics']['accuracy']:.2f}" in page
    assert f"{results(measured / 'asked')['normalised']:.3f}" in page
    assert f"{results(measured / 'text')['metrics']['perplexity']:,.2f}" in page
    assert results(measured / "task")["metrics"] == pytest.approx(results(tuned)["metrics"])
    assert "measured on sst2" in page


def test_glue_submission(tuned, tmp_path, capsys):
    out = tmp_path / "glue.zip"
    assert main(["glue-submission", str(tuned), "--out", str(out)]) == 0
    assert "not in it yet: AX.tsv, CoLA.tsv" in capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["SST-2.tsv"]
        lines = archive.read("SST-2.tsv").decode().splitlines()
    assert lines[0] == "index\tprediction"
    predicted = [row[2] for row in table(tuned / "predictions-test.tsv")[1:]]
    expected = [f"{i}\t{['negative', 'positive'].index(x)}" for i, x in enumerate(predicted)]
    assert lines[1:] == expected


def test_glue_refusals(tuned, tmp_path, capsys):
    one = read_as(TaskRun, tuned / "results.json")
    several = Seeds(
        task="sst2",
        split="valid",
        examples=1,
        metrics={},
        seeds=(1, 2),
        majority_class_only=(),
        data=one.data,
        splits=(),
    )
    sampled = dataclasses.replace(one.data, sample=True)
    for found, message in [
        (several, "several seeds"),
        (dataclasses.replace(one, data=sampled), "the offline sample"),
        (
            dataclasses.replace(one, splits=(SplitResult("valid", 9, 0, {}),)),
            "has no predictions of test",
        ),
        (
            dataclasses.replace(one, splits=(SplitResult("test", 9, 3, {}),)),
            "3 rows of test were left out",
        ),
    ]:
        folder = tmp_path / "copy"
        shutil.copytree(tuned, folder, dirs_exist_ok=True)
        write_results(folder / "results.json", found)
        assert main(["glue-submission", str(folder), "--out", str(tmp_path / "x.zip")]) == 2
        assert message in capsys.readouterr().err


def test_overwriting_forgets_the_old_predictions(tuned, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tuned, folder)
    RunFolder(folder).clear()
    assert not list(folder.iterdir())


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


def write_config(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    return str(tmp_path / "c.toml")


def defaults_of(*words):
    return configs.parse(FinetuneConfig, words, prog="test", defaults=finetune_config.defaults)


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
