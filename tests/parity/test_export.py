"""What `gptjax export` writes, opened by transformers: the same labels, texts and ids.

The rows are real ones where GPTJAX_SHARED names the folder with the published files, and those of
the offline sample otherwise.
"""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors import numpy as safetensors
from tokenizers import pre_tokenizers

import gptjax
from gptjax.batch import Batch
from gptjax.cli import main
from gptjax.data.tasks.load import load_split, load_task_data
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer, Gpt2Tokenizer
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.errors import UserError
from gptjax.interchange import export as hub_export
from gptjax.interchange import tokenizer as hub_tokenizer
from gptjax.interchange.tokenizer import SPECIALS
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import TaskHeadConfig

SHARED = os.environ.get("GPTJAX_SHARED")
ROWS = 200
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
FOLDERS = {"cola": "cola", "rte": "rte", "rocstories": "rocstories", "stsb": "stsb"}


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
        (ids,) = tokenizer.encode([text])
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


def rows_of(task, run):
    """The first rows that are not cut to the context: there they are cut by other rules."""
    if SHARED is not None:
        folder = Path(SHARED) / "data" / FOLDERS[task.name]
        name = "train" if task.name in ("rocstories", "rte") else "valid"
        examples = load_split(str(folder), task, name)[0].examples
    else:
        data = load_task_data(("sample",), task)
        examples = [*data.splits["valid"].examples, *data.splits["test"].examples]
    texts = [example.texts for example in examples]
    lengths = [sum(map(len, run.tokenizer.encode(parts))) for parts in texts]
    room = run.model.context_length - 3
    return [parts for parts, n in zip(texts, lengths, strict=True) if n <= room][:ROWS]


def tuned(pretrained, task, folder):
    """A run on the sample, and what it says to each row."""
    words = ["--init", str(pretrained), "--task", task.name, "--data", "sample"]
    words += [
        "--train.steps",
        "60",
        "--optimizer.learning-rate",
        "0.003",
        "--train.batch-size",
        "16",
    ]
    out = folder / "run"
    assert main(["finetune", *words, "--out", str(out), "--tracking.no-tensorboard"]) == 0
    assert main(["export", "--run", str(out), "--out", str(folder / "exported")]) == 0
    return gptjax.load(out), folder / "exported"


def ask(run, task, rows):
    if task.format == "choice":
        cells = [{"context": c, "question": q, "options": o} for c, q, *o in rows]
    else:
        cells = [dict(zip(task.parts, texts, strict=True)) for texts in rows]
    return run.predict(cells)


@pytest.mark.parametrize("name", ["cola", "rte"])
def test_a_classifier_predicts_the_same_labels(pretrained, name, tmp_path):
    task = TASKS[name]
    run, folder = tuned(pretrained, task, tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = rows_of(task, run)
    answers = ask(run, task, rows)
    for texts, answer in zip(rows, answers, strict=True):
        clean = [" ".join(text.split()) for text in texts]
        inputs = tokenizer(*clean, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        expected = list(answer["probabilities"].values())
        np.testing.assert_allclose(torch.softmax(logits, -1).numpy(), expected, rtol=0, atol=1e-4)
        assert model.config.id2label[logits.argmax().item()] == answer["prediction"]
    assert len({answer["prediction"] for answer in answers}) > 1
    assert len(rows) == ROWS
    # In batches too, padded on the right.
    inputs = tokenizer(
        *([" ".join(t.split()) for t in part] for part in zip(*rows[:8], strict=True)),
        return_tensors="pt", padding=True, return_token_type_ids=False,
    )  # fmt: skip
    with torch.no_grad():
        found = torch.softmax(model(**inputs).logits, -1).numpy()
    expected = [list(answer["probabilities"].values()) for answer in answers[:8]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_choice_by_the_double_heads_model(pretrained, tmp_path):
    task = TASKS["rocstories"]
    run, folder = tuned(pretrained, task, tmp_path)
    model = transformers.OpenAIGPTDoubleHeadsModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = rows_of(task, run)
    answers = ask(run, task, rows)
    for (context, question, *options), answer in zip(rows, answers, strict=True):
        assert question == ""
        inputs = tokenizer([context] * len(options), options, padding=True, return_tensors="pt")
        last = inputs["attention_mask"].sum(1)[None] - 1
        with torch.no_grad():
            logits = model(input_ids=inputs["input_ids"][None], mc_token_ids=last).mc_logits[0]
        expected = list(answer["probabilities"].values())
        np.testing.assert_allclose(torch.softmax(logits, -1).numpy(), expected, rtol=0, atol=1e-4)
    assert len(rows) == ROWS


def test_similarity_by_the_documented_head(pretrained, tmp_path):
    task = TASKS["stsb"]
    run, folder = tuned(pretrained, task, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    head = safetensors.load_file(folder / "gptjax_head.safetensors")
    labels = json.loads((folder / "gptjax_head.json").read_text())["labels"]
    rows = rows_of(task, run)
    for (first, second), answer in zip(rows, ask(run, task, rows), strict=True):
        added = 0.0
        for texts in ((first, second), (second, first)):
            inputs = tokenizer(*texts, return_tensors="pt", return_token_type_ids=False)
            assert inputs["input_ids"][0, -1] == tokenizer.convert_tokens_to_ids(SPECIALS[2])
            with torch.no_grad():
                added = added + model.transformer(**inputs).last_hidden_state[0, -1].numpy()
        logits = torch.tensor(added @ head["kernel"] + head["bias"])
        probabilities = torch.softmax(logits, -1).numpy()
        expected = list(answer["probabilities"].values())
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-4)
        score = sum(float(label) * p for label, p in zip(labels, probabilities, strict=True))
        assert abs(score - answer["prediction"]) < 1e-3
    assert len(rows) == ROWS
