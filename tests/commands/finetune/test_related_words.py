"""Relations of words from the command to the prediction: a run has all that it needs."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

import gptjax
from gptjax.cli import main
from gptjax.commands import finetune_config
from gptjax.commands.finetune_config import FinetuneConfig, TaskConfig
from gptjax.data.knowledge.relations import Relations
from gptjax.data.knowledge.table import LEMMAS, PAIRS, Knowledge, read_knowledge, write_knowledge
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.relation_bias import WEIGHTS
from gptjax.models.task_head import HeadShape
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import read_head
from gptjax.runs.open import load
from tests.commands.conftest import cache_of, metrics
from tests.commands.finetune.common import ONE_STEP, QUICK, results, table

pytestmark = pytest.mark.usefixtures("own_cache")
UP, AGAINST = Relations(hypernymy=0.875), Relations(antonymy=1.0)
WORDS = ["house", "garden", "river", "ship", "light", "door"]
KNOWLEDGE = Knowledge(
    {
        ("house", "door"): UP,
        ("garden", "river"): AGAINST,
        ("river", "garden"): AGAINST,
        ("light", "ship"): UP,
    },
    {word: [word] for word in WORDS},
)


def pairs(seed, count):
    """Rows of SNLI: two short sentences that have words of the table."""
    draw = random.Random(seed)
    rows = ["sentence1\tsentence2\tgold_label"]
    for _ in range(count):
        one, other = (f"the {draw.choice(WORDS)} {draw.choice(['old', 'red'])}" for _ in range(2))
        label = draw.choice(["entailment", "neutral", "contradiction"])
        rows.append(f"{one}\t{other}\t{label}")
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A task, and tables of its words, which the tests may remove."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "train.tsv").write_text(pairs(0, 48))
    (folder / "dev.tsv").write_text(pairs(1, 12))
    write_knowledge(KNOWLEDGE, folder / "tables")
    return folder


def words_of(folder, pretrained, *more):
    return [
        *("finetune", "--task", "snli", "--init", str(pretrained)),
        *("--data", f"train={folder / 'train.tsv'}", f"valid={folder / 'dev.tsv'}"),
        *("--train.batch-size", "8", "--optimizer.learning-rate", "0.01", *QUICK),
        *("--task.knowledge", str(folder / "tables"), *more),
    ]


@pytest.fixture(scope="module")
def knowing(given, pretrained, tmp_path_factory, environment):
    """A run; what it was given is not there any more when it is used.

    Its only layer changes the states of words, of which the head has to read more than the end's.
    """
    folder = tmp_path_factory.mktemp("knowing")
    shutil.copytree(given, folder / "given")
    words = words_of(folder / "given", pretrained, "--train.epochs", "2", "--checkpoint.every", "4")
    words += ["--task.pooling", "mean"]
    with cache_of(environment):
        assert main([*words, "--out", str(folder / "run")]) == 0
    shutil.rmtree(folder / "given" / "tables")
    return folder / "run"


@pytest.fixture
def moved(knowing, tmp_path):
    """A copy of it elsewhere."""
    return shutil.copytree(knowing, tmp_path / "moved")


def test_the_run_keeps_its_tables_and_learns_from_them(knowing):
    run = load(knowing)
    assert read_knowledge(knowing / "knowledge") == run.knowledge == KNOWLEDGE
    assert run.head == HeadShape("mean", knowledge=True)
    weights = run.params["adapter"]["head"][WEIGHTS]
    assert weights.shape == (1, 2, 5)
    moved = np.abs(weights).sum((0, 1)) > 0
    # Of hypernymy, hyponymy, co-hyponymy, antonymy, synonymy; equal words are synonyms.
    assert moved.tolist() == [True, False, False, True, True]
    assert 'knowledge = "' in (knowing / "config.toml").read_text()
    fingerprints = json.loads((knowing / "meta.json").read_text())["fingerprints"]
    assert read_head(knowing / "head.safetensors", run.model).knowledge == fingerprints["knowledge"]


def test_a_copied_folder_predicts_the_same(knowing, moved, given, tmp_path, capsys):
    shutil.copyfile(given / "dev.tsv", tmp_path / "rows.tsv")
    words = ["predict", "--run", str(moved), "--data", str(tmp_path / "rows.tsv")]
    assert main([*words, "--out", str(tmp_path / "p.tsv")]) == 0
    then, now = table(knowing / "predictions.tsv"), table(tmp_path / "p.tsv")
    assert [row[3:6] for row in then] == [row[3:6] for row in now]
    words = ["evaluate", "--run", str(moved), "--data", str(given / "dev.tsv")]
    assert main(words) == 0
    assert f"{100 * results(knowing)['metrics']['accuracy']:.2f}" in capsys.readouterr().out
    model = gptjax.load(moved)
    rows = [line.split("\t")[:2] for line in (given / "dev.tsv").read_text().splitlines()[1:]]
    asked = [{"premise": one, "hypothesis": other} for one, other in rows]
    answers = [[*one["probabilities"].values()] for one in model.predict(asked)]
    np.testing.assert_allclose(answers, [[*map(float, row[3:6])] for row in then[1:]], atol=2e-6)
    # They come of the relations, too.
    head = model.params["adapter"]["head"]
    head[WEIGHTS] = 30 * np.ones_like(head[WEIGHTS])
    others = [[*one["probabilities"].values()] for one in model.predict(asked)]
    related = [(one.split()[1], other.split()[1]) for one, other in rows]
    expected = [bool(any(KNOWLEDGE.relations(*pair))) for pair in related]
    changed = (np.abs(np.array(others) - answers) > 1e-4).any(-1)
    assert changed.tolist() == expected


def test_a_run_goes_on_without_what_it_was_given(knowing, moved):
    """Bit by bit, from the middle of an epoch."""
    assert main(["finetune", "--out", str(moved), "--resume", "8"]) == 0
    ours, theirs = load(moved, "last").params, load(knowing, "last").params
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    losses = [[record["loss"] for record in metrics(run)] for run in (moved, knowing)]
    assert losses[0] == losses[1]


def test_other_tables_are_refused(moved, given, tmp_path, capsys):
    """By name, whoever opens the run."""
    write_knowledge(Knowledge({}, KNOWLEDGE.lemmas), moved / "knowledge")
    with pytest.raises(UserError, match=r"moved/knowledge: is not as it was .* its knowledge is"):
        load(moved)
    assert main(["finetune", "--out", str(moved), "--resume", "8"]) == 2
    assert "knowledge" in capsys.readouterr().err.strip().splitlines()[-1]
    shutil.rmtree(moved / "knowledge")
    with pytest.raises(UserError, match=r"knowledge/pairs\.tsv\.gz: no such table of knowledge"):
        load(moved)


def test_a_frozen_backbone_has_a_head_with_knowledge(given, pretrained, tmp_path):
    """It is used apart from its run, with the tables beside it."""
    out = tmp_path / "frozen"
    words = words_of(given, pretrained, "--freeze-backbone", "--train.steps", "2")
    assert main([*words, "--out", str(out)]) == 0
    assert load(out).params["adapter"]["head"][WEIGHTS].any()
    alone = tmp_path / "alone"
    alone.mkdir()
    head = shutil.copy(out / "head.safetensors", alone)
    shutil.copyfile(given / "dev.tsv", tmp_path / "rows.tsv")
    with pytest.raises(UserError, match=r"alone/knowledge/pairs\.tsv\.gz: no such table"):
        load(pretrained, head=head)
    shutil.copytree(out / "knowledge", alone / "knowledge")
    words = ["predict", "--run", str(pretrained), "--head", str(head)]
    words += ["--data", str(tmp_path / "rows.tsv"), "--out", str(tmp_path / "p.tsv")]
    assert main(words) == 0
    then, now = table(out / "predictions.tsv"), table(tmp_path / "p.tsv")
    assert [row[3:6] for row in then] == [row[3:6] for row in now]
    write_knowledge(Knowledge({}, {}), alone / "knowledge")
    with pytest.raises(UserError, match=r"is not what the task head head\.safetensors was trained"):
        load(pretrained, head=head)


def test_a_run_may_be_replaced_by_one_with_its_own_tables(moved, given, pretrained):
    words = words_of(given, pretrained, *ONE_STEP, "--overwrite", "--out", str(moved))
    words[words.index("--task.knowledge") + 1] = str(moved / "knowledge")
    assert main(words) == 0
    assert load(moved).knowledge == KNOWLEDGE


def test_what_begins_with_the_run_begins_without_its_weights(knowing, given, tmp_path):
    """They are of the task, as its head is."""
    words = words_of(given, knowing, *ONE_STEP, "--out", str(tmp_path / "next"))
    assert main(words) == 0
    weights = load(tmp_path / "next").params["adapter"]["head"][WEIGHTS]
    assert np.abs(weights).max() < 1e-6
    assert np.abs(load(knowing).params["adapter"]["head"][WEIGHTS]).max() > 1e-3


def test_what_has_no_place_for_it_refuses(knowing, tmp_path, capsys):
    assert main(["export", "--run", str(knowing), "--out", str(tmp_path / "x")]) == 2
    assert "no place in the hub's format" in capsys.readouterr().err
    model = gptjax.load(knowing)
    tokens = model.sequences([{"premise": "the house", "hypothesis": "the door"}])
    states = model.module.apply(model.variables, tokens)
    with pytest.raises(UserError, match="which are not in `states`; ask `predict`"):
        model.head_logits(states, tokens)


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("sst2", {}, "task.knowledge: is for tasks of two texts, and sst2 has the format class"),
        ("race", {}, "race has the format choice"),
        ("mrpc", {}, "task.knowledge: mrpc is read in both orders"),
        ("snli", {"kind": "lstm"}, "task.knowledge: an LSTM has no attention"),
        ("snli", {"kind": "mlstm"}, "has no attention"),
        ("snli", {"kind": "bilm"}, "has no attention"),
        (
            "snli",
            {"attention": "fused", "attention_dropout": 0.0},
            "task.knowledge: model.attention fused has no place for it",
        ),
    ],
)
def test_tasks_and_models_without_a_place_are_named(task, model, message, tmp_path):
    config = FinetuneConfig(
        task=TaskConfig(name=task, knowledge="tables"), model=ModelConfig(**model)
    )
    with pytest.raises(UserError, match=message):
        finetune_config.task_of(config, RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--freeze-backbone", "--task.freeze-special-rows"),
            "task.freeze_special_rows: trains the maps of the head alone, and task.knowledge",
        ),
        (
            ("--task.knowledge", "nowhere"),
            "nowhere/pairs.tsv.gz: no such table of knowledge; name a folder",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(words, message, given, pretrained, tmp_path, capsys):
    base = words_of(given, pretrained)
    if "--task.knowledge" in words:
        del base[base.index("--task.knowledge") :]
    assert main([*base, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_damaged_tables_are_refused(given, pretrained, tmp_path, capsys):
    shutil.copytree(given / "tables", tmp_path / "tables")
    for name in (PAIRS, LEMMAS):
        (tmp_path / "tables" / name).write_bytes(b"\x1f\x8bdamaged")
        words = words_of(given, pretrained)
        words[words.index("--task.knowledge") + 1] = str(tmp_path / "tables")
        assert main([*words, "--out", str(tmp_path / "run")]) == 2
        assert "is damaged; write it anew" in capsys.readouterr().err.strip().splitlines()[-1]
        shutil.copy(given / "tables" / name, tmp_path / "tables")


def test_a_config_file_may_name_the_tables(given):
    config = finetune_config.from_table({"task": {"knowledge": str(given / "tables")}}, "here")
    assert config.task.head_shape == HeadShape(knowledge=True)
