"""ESIM and KIM on word vectors and on a backbone, from the command to the prediction."""

import json
import shutil

import numpy as np
import pytest

import gptjax
from gptjax.cli import main
from gptjax.data.knowledge.table import write_knowledge
from gptjax.data.tokenizers.words import WordTokenizer
from gptjax.errors import UserError
from gptjax.evaluation.saliency import gradient_times_input, read_row
from gptjax.models.task_head import HeadShape
from gptjax.models.vectors import VectorsConfig
from gptjax.runs.head import read_head
from gptjax.runs.open import load
from tests.commands.conftest import cache_of, metrics
from tests.commands.finetune.common import QUICK, results, table
from tests.commands.finetune.test_related_words import KNOWLEDGE, WORDS, pairs
from tests.serving.conftest import serving

pytestmark = pytest.mark.usefixtures("own_cache")
MODEL = ("--task.model", "co-attention", "--task.units", "4")
KNOWN = ["the", *WORDS]
LACKS = ["old", "red"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A task, its words, vectors of some of them, and relations between some."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "train.tsv").write_text(pairs(0, 48))
    (folder / "dev.tsv").write_text(pairs(1, 12))
    words = WordTokenizer(["<unk>", "<|separator|>", *KNOWN, *LACKS], lower_case=True)
    words.write(folder / "words.json")
    lines = [f"{word} {n}.5 -1 0.25 {n}\n" for n, word in enumerate(KNOWN)]
    (folder / "vectors.txt").write_text("".join(lines))
    write_knowledge(KNOWLEDGE, folder / "tables")
    return folder


@pytest.fixture(scope="module")
def vectors(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors") / "run"
    source = f"vectors:{given / 'vectors.txt'}"
    words = ["import", "--init", source, "--tokenizer", str(given / "words.json")]
    assert main([*words, "--out", str(out)]) == 0
    return out


def options(folder, init, *more):
    return [
        *("finetune", "--task", "snli", "--init", str(init), *MODEL),
        *("--data", f"train={folder / 'train.tsv'}", f"valid={folder / 'dev.tsv'}"),
        *("--train.batch-size", "8", "--optimizer.learning-rate", "0.01", *QUICK, *more),
    ]


@pytest.fixture(scope="module")
def kim(given, vectors, tmp_path_factory, environment):
    """A run of KIM; vectors and tables are not there any more when it is used."""
    folder = tmp_path_factory.mktemp("kim")
    for name, source in {"given": given, "vectors": vectors}.items():
        shutil.copytree(source, folder / name)
    words = options(folder / "given", folder / "vectors", "--train.epochs", "2")
    words += ["--task.knowledge", str(folder / "given" / "tables"), "--checkpoint.every", "8"]
    with cache_of(environment):
        assert main([*words, "--out", str(folder / "run")]) == 0
    shutil.rmtree(folder / "given" / "tables")
    shutil.rmtree(folder / "vectors")
    return folder / "run"


def test_a_run_of_vectors_has_those_of_the_file(vectors, given):
    run = load(vectors)
    assert run.model == VectorsConfig(vocabulary_size=11, width=4)
    found = run.params["token_embedding"]
    for n, word in enumerate(KNOWN):
        (number,) = run.tokenizer.encode([word])[0]
        np.testing.assert_array_equal(found[number], [n + 0.5, -1, 0.25, n])
    drawn = found[[0, 1, 9, 10]]
    assert 0.002 < drawn.std() < 0.03
    assert json.loads((vectors / "meta.json").read_text())["imported"].startswith("vectors:")


def test_a_copied_folder_predicts_the_same(kim, given, tmp_path, capsys):
    moved = shutil.copytree(kim, tmp_path / "moved")
    run = load(moved)
    assert run.head == HeadShape(model="co-attention", units=4, knowledge=True)
    assert read_head(moved / "head.safetensors", run.model).shape == run.head
    shutil.copyfile(given / "dev.tsv", tmp_path / "rows.tsv")
    words = ["predict", "--run", str(moved), "--data", str(tmp_path / "rows.tsv")]
    assert main([*words, "--out", str(tmp_path / "p.tsv")]) == 0
    then, now = table(kim / "predictions.tsv"), table(tmp_path / "p.tsv")
    assert [row[3:6] for row in then] == [row[3:6] for row in now]
    assert main(["evaluate", "--run", str(moved), "--data", str(given / "dev.tsv")]) == 0
    assert f"{100 * results(kim)['metrics']['accuracy']:.2f}" in capsys.readouterr().out
    rows = [line.split("\t")[:2] for line in (given / "dev.tsv").read_text().splitlines()[1:]]
    asked = [{"premise": one, "hypothesis": other} for one, other in rows]
    answers = [[*one["probabilities"].values()] for one in gptjax.load(moved).predict(asked)]
    np.testing.assert_allclose(answers, [[*map(float, row[3:6])] for row in then[1:]], atol=2e-6)


def test_a_server_and_the_tokens_that_matter(kim, tmp_path):
    """A server looks words up as `predict` does. What is shown of single tokens is refused: it
    would be that of a model without the relations."""
    run = gptjax.load(kim)
    asked = [
        {"premise": "the old house", "hypothesis": f"the red {word}"}
        for word in ("house", "ship", "door")
    ]
    expected = [[*one["probabilities"].values()] for one in run.predict(asked)]
    with serving(run, length=run.model.context_length, batch_size=4) as served:
        answers = served.post("/predict", {"rows": asked})["predictions"]
    found = [[*one["probabilities"].values()] for one in answers]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-4
    with pytest.raises(UserError, match="reads the relations of words, which are not shown here"):
        read_row(run, asked[0])


def test_the_vectors_and_what_reads_the_relations_are_trained(kim, vectors):
    run, source = load(kim, "last"), load(vectors)
    moved = np.abs(run.backbone["token_embedding"] - source.params["token_embedding"]).sum(1) > 0
    assert moved[2:].all()
    own = run.params["adapter"]["head"]
    assert own["local_kernel"].shape == (4 * 8 + 5, 4)
    assert own["hidden_kernel"].shape == (12 * 4, 4)
    assert own["gate_kernel"].any()


def test_a_killed_run_goes_on_as_if_it_had_not_been(kim, tmp_path):
    copy = shutil.copytree(kim, tmp_path / "copy")
    assert main(["finetune", "--out", str(copy), "--resume", "8"]) == 0
    assert metrics(copy)[-1]["loss"] == metrics(kim)[-1]["loss"]
    ours, theirs = load(copy, "last").params, load(kim, "last").params
    for name, array in theirs["adapter"]["head"].items():
        np.testing.assert_array_equal(ours["adapter"]["head"][name], array)


@pytest.mark.slow
def test_esim_on_the_kept_states_of_a_backbone(given, pretrained, tmp_path, capsys):
    dropouts = [f"--model.{name}-dropout=0" for name in ("embedding", "attention", "residual")]
    frozen = ["--freeze-backbone", "--task.freeze-special-rows", "--task.classifier-dropout", "0"]
    frozen += ["--lm-coefficient", "0"]
    words = options(given, pretrained, *frozen, *dropouts, "--task.mix", "--train.epochs", "2")
    for keep in ("never", "always"):
        assert main([*words, "--task.keep-states", keep, "--out", str(tmp_path / keep)]) == 0
    assert "the states of the frozen backbone, 2 depths of each position" in capsys.readouterr().err
    losses = [[one["loss"] for one in metrics(tmp_path / keep)] for keep in ("never", "always")]
    np.testing.assert_allclose(*losses, rtol=1e-5, atol=1e-5)
    model = gptjax.load(tmp_path / "always")
    rows = [("the old house", "the red door"), ("the ship", "the ship")]
    asked = [{"premise": one, "hypothesis": other} for one, other in rows]
    tokens = model.sequences(asked)
    depths = model.module.apply(model.variables, tokens, method="layer_states")
    logits = np.asarray(model.head_logits(depths, tokens))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    answers = [[*one["probabilities"].values()] for one in model.predict(asked)]
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    reading = read_row(model, asked[0])
    np.testing.assert_allclose([*reading.probabilities.values()], expected[0], atol=1e-5)
    assert [len(one) for one in gradient_times_input(model, reading, reading.answer)] == [
        len(kinds) for kinds in reading.kinds
    ]


def test_the_table_of_a_run_alone(pretrained, given, tmp_path, capsys):
    out = tmp_path / "table"
    assert main(["import", "--init", f"vectors:{pretrained}", "--out", str(out)]) == 0
    run, source = load(out), load(pretrained)
    np.testing.assert_array_equal(run.params["token_embedding"], source.params["token_embedding"])
    assert list(run.params) == ["token_embedding"]
    assert run.tokenizer.fingerprint == source.tokenizer.fingerprint
    assert run.model.num_layers == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--init", "vectors:{vectors.txt}"), "name the vocabulary whose vectors are taken"),
        (("--init", "vectors:{vectors.txt}", "--tokenizer", "bytes"), "its tokens are no words"),
        (("--init", "vectors:none.txt", "--tokenizer", "{words.json}"), "none.txt: cannot be read"),
        (
            ("--init", "vectors:{tables}", "--tokenizer", "{words.json}"),
            "has its own; leave it out, or name",
        ),
        (("--init", "vectors:{tables}"), "no run folder"),
        (("--init", "hf:x", "--tokenizer", "{words.json}"), "--tokenizer: is for vectors:FILE"),
    ],
)
def test_what_cannot_be_imported(words, message, given, tmp_path, capsys):
    for name in ("vectors.txt", "words.json", "tables"):
        words = [word.replace(f"{{{name}}}", str(given / name)) for word in words]
    assert main(["import", *words, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lm-coefficient", "0.5"), "a table of vectors has no such loss beside a task's"),
        (("--task", "sst2"), "is for tasks of two texts, and sst2 has the format classification"),
        (("--init", "vectors:x"), "vectors:x: is no run yet; `gptjax import` makes one of it"),
        (("--task.no-knowledge-inference",), "is for task.model co-attention with"),
    ],
)
def test_what_cannot_be_trained(words, message, given, vectors, tmp_path, capsys):
    assert main([*options(given, vectors), *words, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
