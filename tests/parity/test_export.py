"""What `gptjax export` writes, opened by transformers: the same labels, texts and ids.

The rows are real ones where GPTJAX_SHARED names the folder with the published files, and those of
the offline sample otherwise.
"""

import itertools
import json
import os
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from tokenizers import pre_tokenizers

import gptjax
from gptjax.batch import Batch
from gptjax.cli import main
from gptjax.data.tasks import formats
from gptjax.data.tasks.load import load_split, load_task_data
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer, Gpt2Tokenizer
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.errors import UserError
from gptjax.interchange import export as hub_export
from gptjax.interchange import gptjax_predict
from gptjax.interchange import tokenizer as hub_tokenizer
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import TaskHeadConfig

SHARED = os.environ.get("GPTJAX_SHARED")
# Of each task. Rows of RACE are long, and MRPC only differs from STS-B in its answers.
ROWS = {"cola": 200, "rte": 200, "rocstories": 200, "stsb": 200, "race": 40, "mrpc": 40}
LETTERS = "abcdefghijklmnopqrstuvwxyz.,<>|'"
TINY = [
    "--model.vocabulary-size",
    "800",
    "--model.context-length",
    "128",
    "--model.num-layers",
    "2",
]
TINY += [
    "--model.num-layers",
    "2",
    "--model.num-heads",
    "2",
    "--model.width",
    "32",
    "--model.initial-std",
    "0.1",
]
FOLDERS = {name: name for name in ("cola", "rte", "rocstories", "race", "stsb", "mrpc")}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained") / "run"
    words = ["--train.steps", "20", "--train.batch-size", "8", "--optimizer.warmup", "2"]
    assert main(["pretrain", *TINY, *words, "--out", str(out), "--tracking.no-tensorboard"]) == 0
    return out


def test_a_language_model(pretrained, tmp_path):
    out = tmp_path / "exported"
    assert main(["export", "--run", str(pretrained), "--out", str(out)]) == 0
    ours = gptjax.load(pretrained)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    text = "The house.\n\n  It is\told; caf\u00e9 \U0001f600."
    ids = [ours.tokenizer.separator, *ours.tokenizer.encode([text])[0].tolist()]
    assert tokenizer(text).input_ids == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0]
    chosen = torch.log_softmax(logits, -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    np.testing.assert_allclose(chosen.sum().item(), ours.log_probability([text]), rtol=1e-5)
    greedy = theirs.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=12, do_sample=False,
    )  # fmt: skip
    from gptjax.models.decode import generate

    expected = generate(
        ours.model, ours.params, [ids], jax.random.key(0),
        max_tokens=12, end=ours.tokenizer.end, temperature=0.0,
    )[0][0]  # fmt: skip
    assert greedy[0, len(ids) :].tolist()[: len(expected)] == expected
    assert "## Results" in (out / "README.md").read_text()


def small_bpe(kind):
    if kind == "gpt1":
        pieces = ["<unk>", *LETTERS, *(x + "</w>" for x in LETTERS), "\n</w>", "th", "the</w>"]
        merges = [("t", "h"), ("th", "e</w>")]
        return Gpt1Tokenizer(Bpe({piece: i for i, piece in enumerate(pieces)}, merges), "fast")
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "\u0120th", "<|endoftext|>"]
    merges = [("t", "h"), ("\u0120", "th")]
    return Gpt2Tokenizer(Bpe({piece: i for i, piece in enumerate(pieces)}, merges))


@pytest.mark.parametrize("kind", ["gpt1", "gpt2"])
@pytest.mark.parametrize("specials", [False, True])
def test_gpt_tokenizers(kind, specials, tmp_path):
    """The same ids, and nothing in a text is a control id."""
    tokenizer = small_bpe(kind)
    hub_tokenizer.write(tmp_path, tokenizer, 64, specials=specials)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("the Thing, then\n\n it's", "<|start|> the <unk> <|endoftext|> <|extract|>"):
        (ids,) = tokenizer.encode([" ".join(text.split()) if specials else text])
        start, delimiter, extract = range(tokenizer.size, tokenizer.size + 3)
        expected = [start, *ids, extract] if specials else ids.tolist()
        assert theirs(text).input_ids == expected
        if specials:
            pair = [start, *ids, delimiter, *ids, extract]
            assert theirs(text, text).input_ids == pair
    again = load_tokenizer(tmp_path, mode="fast" if kind == "gpt1" else None)
    assert again.fingerprint == tokenizer.fingerprint


def test_a_gpt2_classifier(tmp_path):
    """With LayerNorm before the branches the head's bias goes into the final one."""
    tokenizer = small_bpe("gpt2")
    config = ModelConfig(
        vocabulary_size=tokenizer.size, context_length=32, num_layers=2, num_heads=2, width=16,
        norm="pre",
    )  # fmt: skip
    adapter = TaskHeadConfig("classify", 3)
    functions = objective.task(config, adapter)
    params = jax.device_get(functions.objective.init(jax.random.key(0)))
    params["adapter"]["head"]["bias"] = np.array([0.5, -1.0, 2.0], np.float32)
    head = hub_export.Head("single", ("a", "b", "c"), params["adapter"])
    hub_export.write(tmp_path, config, params["backbone"], tokenizer, head)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(tmp_path)("the cat", return_tensors="pt")
    with torch.no_grad():
        theirs = torch.log_softmax(model(input_ids=inputs["input_ids"]).logits, -1).numpy()
    tokens = inputs["input_ids"].numpy()[:, None].astype(np.int32)
    extract = np.full((1, 1), tokens.shape[-1] - 1, np.int32)
    weights = np.ones(tokens.shape, np.float32)
    batch = Batch(tokens, weights, extract, np.zeros((1, 3), np.float32), np.ones(1, np.float32))
    ours = jax.jit(functions.log_probabilities)(params, batch)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5)


def test_a_bias_that_no_state_gives_is_refused(tmp_path):
    tokenizer = small_bpe("gpt2")
    config = ModelConfig(
        vocabulary_size=tokenizer.size, context_length=16, num_layers=1, num_heads=2, width=4,
        norm="pre",
    )  # fmt: skip
    functions = objective.task(config, TaskHeadConfig("classify", 9))
    params = jax.device_get(functions.objective.init(jax.random.key(0)))
    params["adapter"]["head"]["bias"] = np.arange(9, dtype=np.float32) ** 2
    head = hub_export.Head("single", tuple("abcdefghi"), params["adapter"])
    with pytest.raises(UserError, match="bias of 9 classes cannot be expressed"):
        hub_export.write(tmp_path, config, params["backbone"], tokenizer, head)


def rows_of(task):
    """The parts of real rows, every third of them untidy, and of rows longer than the context."""
    if SHARED is not None:
        folder = Path(SHARED) / "data" / FOLDERS[task.name]
        name = "train" if task.name in ("rocstories", "rte", "race") else "valid"
        examples = load_split(str(folder), task, name)[0].examples
    else:
        data = load_task_data(("sample",), task)
        examples = [*data.splits["valid"].examples, *data.splits["test"].examples]
    rows = [example.texts for example in examples][: ROWS[task.name]]
    for number in range(0, len(rows), 3):
        rows[number] = tuple(map(untidy, rows[number]))
    first, *others = rows[0]
    rows.append((" ".join([first] * 40), *others))
    rows.append((rows[1][0], *(" ".join([text] * 20) for text in others)))
    return rows


def untidy(text):
    """The same words to a task."""
    spaces = itertools.cycle(["\n", "  ", "\u00a0", "\r\n\r\n", "\u3000 ", "\x1c", " "])
    return "\t" + "".join(word + next(spaces) for word in text.split(" ")) + "\u2028"


def card_of(folder, **names):
    """What is there after the snippet of a model card has run."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    there = {"FOLDER": str(folder), **names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", list(sys.path))
        patch.delitem(sys.modules, "gptjax_predict", raising=False)
        exec(compile(snippet, "README.md", "exec"), there)
    return there


def tuned(pretrained, task, folder, data="sample"):
    """A run of a task, by default on the sample, and the folder of its export."""
    words = ["--init", str(pretrained), "--task", str(task), "--data", str(data)]
    words += ["--train.steps", "60", "--optimizer.learning-rate", "0.003"]
    words += ["--train.batch-size", "16", "--tracking.no-tensorboard"]
    out = folder / "run"
    assert main(["finetune", *words, "--out", str(out)]) == 0
    assert main(["export", "--run", str(out), "--out", str(folder / "exported")]) == 0
    return gptjax.load(out), folder / "exported"


def close(found, answer):
    """The same answer, and the same probabilities by the same names in the same order."""
    assert list(found["probabilities"]) == list(answer["probabilities"])
    values = [list(one["probabilities"].values()) for one in (found, answer)]
    np.testing.assert_allclose(*values, rtol=0, atol=1e-4)
    if isinstance(answer["prediction"], str):
        assert found["prediction"] == answer["prediction"]
    else:
        assert found["prediction"] == pytest.approx(answer["prediction"], abs=1e-3)


@pytest.mark.parametrize("name", ["cola", "rte"])
def test_a_classifier_answers_as_predict(pretrained, name, tmp_path):
    """Through the pipeline of the model card, one by one and in batches."""
    task = TASKS[name]
    run, folder = tuned(pretrained, name, tmp_path)
    rows = rows_of(task)
    answers = run.predict([dict(zip(task.parts, texts, strict=True)) for texts in rows])
    classify = card_of(folder, TEXT="A text.", FIRST="One.", SECOND="Two.")["classify"]
    if name == "cola":
        inputs = [text for (text,) in rows]
    else:
        inputs = [{"text": first, "text_pair": second} for first, second in rows]
    one_by_one = [classify(one) for one in inputs[:-1]]
    # The second text alone fills the context: the card says what to do.
    one_by_one.append(classify(inputs[-1], truncation=True))
    batched = classify(inputs, batch_size=8) if name == "cola" else one_by_one
    for found, other, answer in zip(one_by_one, batched, answers, strict=True):
        found = found[0] if isinstance(found[0], list) else found
        by_name = {one["label"]: one["score"] for one in found}
        in_order = {label: by_name[label] for label in answer["probabilities"]}
        close({"prediction": max(by_name, key=by_name.get), "probabilities": in_order}, answer)
        other = other[0] if isinstance(other[0], list) else other
        for label, score in ((one["label"], one["score"]) for one in other):
            assert score == pytest.approx(by_name[label], abs=1e-5)
    assert len({answer["prediction"] for answer in answers}) > 1
    assert len(rows) == ROWS[name] + 2
    lengths = [sum(map(len, run.tokenizer.encode(texts))) for texts in rows[-2:]]
    # One text is beyond the context, or both of a pair's rows are.
    assert sum(length > run.model.context_length for length in lengths) == len(task.parts)


@pytest.mark.parametrize("name", ["rocstories", "race", "stsb", "mrpc"])
def test_choices_and_similarity_answer_as_predict(pretrained, name, tmp_path):
    """Through the helper that the model card calls; RACE has questions, MRPC has no scale."""
    task = TASKS[name]
    run, folder = tuned(pretrained, name, tmp_path)
    rows = [
        {"context": row[0], "question": row[1], "options": list(row[2:])}
        if task.format == "choice"
        else dict(zip(task.parts, row, strict=True))
        for row in rows_of(task)
    ]
    answers = run.predict(rows)
    predict = card_of(folder, **{part.upper(): rows[0][part] for part in task.parts})["predict"]
    for row, answer in zip(rows, answers, strict=True):
        close(predict(row), answer)
    facts = json.loads((folder / "gptjax_head.json").read_text())
    assert facts["labels"] == list(answers[0]["probabilities"])
    assert all(f"`{label}`" in (folder / "README.md").read_text() for label in facts["labels"])
    assert len(rows) == ROWS[name] + 2


def test_rows_with_fewer_options_answer_as_predict(pretrained, tmp_path):
    """Two to four options of RACE's rows, also of those that are cut."""
    rows = []
    for number, (context, question, *options) in enumerate(rows_of(TASKS["race"])):
        fewer = options[: 4 - number % 3]
        rows.append({"context": context, "question": question, "options": fewer})
    assert {len(row["options"]) for row in rows[-2:]} == {2, 3}  # those beyond the context
    (tmp_path / "mine.toml").write_text('format = "choice"\nlabels = ["1", "2", "3", "4"]\n')
    lines = (json.dumps({**row, "label": 1 + n % 2}) for n, row in enumerate(rows))
    (tmp_path / "mine.jsonl").write_text("\n".join(lines) + "\n")
    run, folder = tuned(pretrained, tmp_path / "mine.toml", tmp_path, tmp_path / "mine.jsonl")
    predict = card_of(folder, **{part.upper(): rows[0][part] for part in rows[0]})["predict"]
    for row, answer in zip(rows, run.predict(rows), strict=True):
        close(predict(row), answer)
        there = [name for name, p in answer["probabilities"].items() if p > 0]
        assert there == ["1", "2", "3", "4"][: len(row["options"])]


def test_the_helper_cuts_as_training_does():
    """The one copy of `fit` that stands outside the package."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        lengths = [int(n) for n in rng.integers(0, 40, rng.integers(2, 4))]
        room = int(rng.integers(8, 60))
        for protected in (None, len(lengths) - 1):
            ours = formats.fit(lengths, room, protected)
            assert gptjax_predict.fit(lengths, room, protected) == ours
