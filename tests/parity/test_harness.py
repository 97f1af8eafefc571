"""Our model in EleutherAI's harness: beside the harness's own model, and beside our own commands.

The same random weights and tokenizer are opened by transformers and by us; tasks are YAML files
over local rows, run by the harness's `simple_evaluate` without a network.
"""

import json
import math

import jax
import numpy as np
import pytest
import torch
import transformers
import yaml
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from test_export import small_bpe

from gptjax.cli import main
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation import harness
from gptjax.evaluation.harness import GptjaxLM, Writing
from gptjax.evaluation.text_scores import continuations_of, token_log_probabilities
from gptjax.interchange import tokenizer as hub_tokenizer
from gptjax.models.transformer import Transformer

CONTEXT = 48
PROSE = (
    "the old house was very quiet and bright. the river ran by the house, and nobody saw it. "
    "they thought that the weather would hold; then came the other letter. "
)
WORDS = PROSE.split()
# What the model reads: with the separator before every text, and as the harness reads GPT-2.
KINDS = {"sentencepiece": True, "gpt2": False}


def words(seed, count):
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    """A GPT-2 of random weights, wide enough apart that tokens have unlike probabilities."""
    folder = tmp_path_factory.mktemp(kind)
    if kind == "gpt2":
        tokenizer = small_bpe("gpt2")
    else:
        tokenizer, _ = train_sentencepiece([[PROSE * 20]], 330)
    torch.manual_seed(0)
    end = tokenizer.separator
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, n_positions=CONTEXT, vocab_size=tokenizer.size,
        initializer_range=0.4, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).eval().save_pretrained(folder)
    hub_tokenizer.write(folder, tokenizer, CONTEXT, specials=False)
    return folder


@pytest.fixture(scope="module")
def ours(kind, folder):
    return GptjaxLM(f"hf:{folder}", batch_size=7, add_bos_token=KINDS[kind])


@pytest.fixture(scope="module")
def theirs(folder):
    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)


LAMBADA = [{"text": f"{words(i, 3 + 4 * i)} {word}"} for i, word in enumerate(WORDS[:11])]
LAMBADA += LAMBADA[2:4]
CHOICES = [
    {
        "question": words(30 + i, 2 + 3 * i) + " " * (i % 3),
        "options": [words(60 + i, 1), words(70 + i, 4), "house", "house"],
        "answer": i % 4,
    }
    for i in range(9)
]
DOCUMENTS = [{"text": words(90 + i, 1 + i)} for i in range(7)]
LONG = [*DOCUMENTS, {"text": words(99, 60)}, {"text": words(98, 110)}]
PROMPTS = [{"text": words(120 + i, 1 + 9 * (i % 4)), "answer": WORDS[i]} for i in range(7)]

TASKS = {
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.rpartition(' ')[0]}}",
        "doc_to_target": " {{text.rpartition(' ')[2]}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    },
    "options": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "options",
        "doc_to_target": "answer",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm")],
    },
    "no_context": {
        "output_type": "multiple_choice",
        "doc_to_text": "",
        "target_delimiter": "",
        "doc_to_choice": "options",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
    },
    **{
        name: {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{text}}",
            "metric_list": [
                {"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")
            ],
        }
        for name in ("documents", "long_documents")
    },
    "continue": {
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["e", "\n\n"], "max_gen_toks": 9, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}
ROWS = {
    "last_word": LAMBADA,
    "options": CHOICES,
    "no_context": CHOICES,
    "documents": DOCUMENTS,
    "long_documents": LONG,
    "continue": PROMPTS,
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The folder with a YAML file and a file of rows for each task."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, entry in TASKS.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
        data = {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
        fields = {"dataset_path": "json", "dataset_kwargs": data, "test_split": "test"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **fields, **entry}))
    return folder


def evaluate(model, tasks, names=tuple(TASKS), **more):
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    return simple_evaluate(
        model=model,
        tasks=list(names),
        task_manager=manager,
        bootstrap_iters=0,
        num_fewshot=0,
        **more,
    )


@pytest.fixture(scope="module")
def found(ours, tasks):
    return evaluate(ours, tasks)


@pytest.fixture(scope="module")
def expected(theirs, tasks):
    return evaluate(theirs, tasks)


def answers(results, name):
    """What the model said to every request of a task, in the order of the rows."""
    rows = sorted(results["samples"][name], key=lambda row: row["doc_id"])
    return [response[0] for row in rows for response in row["resps"]]


def metric(results, name, metric):
    return results["results"][name][f"{metric},none"]


@pytest.mark.parametrize("name", ["last_word", "options", "no_context"])
def test_log_likelihoods_are_the_harness_models_own(found, expected, name):
    said, wanted = answers(found, name), answers(expected, name)
    count = 1 if name == "last_word" else 4
    assert len(said) == len(wanted) == count * len(ROWS[name])
    np.testing.assert_allclose([x for x, _ in said], [x for x, _ in wanted], rtol=1e-4, atol=1e-4)
    assert [greedy for _, greedy in said] == [greedy for _, greedy in wanted]
    for key, value in expected["results"][name].items():
        if isinstance(value, float):
            assert found["results"][name][key] == pytest.approx(value, rel=1e-3), key


def test_rolling_log_likelihoods_are_the_harness_models_own(folder, found, tasks):
    names = ("documents", "long_documents")
    # Where a tokenizer puts a separator by itself, the harness's model would score that one too.
    plain = HFLM(
        pretrained=str(folder), device="cpu", dtype="float32", batch_size=4, add_bos_token=False
    )
    expected = evaluate(plain, tasks, names)
    for name in names:
        said, wanted = answers(found, name), answers(expected, name)
        assert len(said) == len(ROWS[name])
        np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-3)
        for kind in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
            value = metric(expected, name, kind)
            assert metric(found, name, kind) == pytest.approx(value, rel=1e-3)


def test_texts_are_the_harness_models_own(kind, ours, theirs, found, expected):
    """Prompts that fit and prompts that are cut, greedy, up to the first string that ends them."""
    said, tokenizer, room = answers(found, "continue"), ours.run.tokenizer, CONTEXT - 9
    assert len(set(said)) > 3
    assert not any("e" in text for text in said)
    if kind == "gpt2":  # The other one's decoders differ in bytes that are no UTF-8.
        assert said == answers(expected, "continue")
    cut = 0
    for row, text in zip(PROMPTS, said, strict=True):
        ids = tokenizer.encode([row["text"]])[0].tolist()
        whole = [tokenizer.separator] * ours.add_bos_token + ids
        cut += len(whole) > room
        prompt = torch.tensor([whole[-room:]])
        new = theirs.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=9, do_sample=False,
            pad_token_id=tokenizer.separator,
        )[0, prompt.shape[1] :].tolist()  # fmt: skip
        before = tokenizer.decode(ids)
        assert text == tokenizer.decode(ids + new)[len(before) :].split("e")[0].split("\n\n")[0]
    assert 0 < cut < len(PROMPTS)


def test_last_words_as_gptjax_zeroshot_scores_them(folder, ours, found, tasks, tmp_path):
    """With the separator before the text, as everywhere in gptjax."""
    words = ["zeroshot", "--run", f"hf:{folder}", "--task", "lambada", "--out", str(tmp_path)]
    assert main([*words, "--data", str(tasks / "last_word.jsonl")]) == 0
    results = json.loads((tmp_path / "results.json").read_text())["metrics"]
    if not ours.add_bos_token:
        found = evaluate(GptjaxLM(ours.run), tasks, ["last_word"])
    assert metric(found, "last_word", "acc") == pytest.approx(results["accuracy"])
    perplexity = metric(found, "last_word", "perplexity")
    assert perplexity == pytest.approx(results["perplexity"], rel=1e-4)


def test_perplexity_as_gptjax_evaluate_measures_it(folder, found, tasks, tmp_path, monkeypatch):
    """Of documents that fit: a window that reaches back differs only beyond the context."""
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    words = ["evaluate", "--run", f"hf:{folder}", "--data", str(tasks / "documents.jsonl")]
    assert main([*words, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())["metrics"]
    for kind in ("word_perplexity", "bits_per_byte"):
        assert metric(found, "documents", kind) == pytest.approx(results[kind], rel=1e-4)


def test_choices_equal_a_loop_over_single_sequences(ours, found):
    """No batch, no padding, no window: a forward pass of each text by itself."""
    run = ours.run
    apply = jax.jit(Transformer(run.model).apply)
    start = [run.tokenizer.separator] if ours.add_bos_token else []
    right = []
    for row, said in zip(
        CHOICES, np.array(answers(found, "options")).reshape(-1, 4, 2), strict=True
    ):
        question = row["question"].rstrip()
        context = start + run.tokenizer.encode([question])[0].tolist()
        scores = []
        for option in row["options"]:
            # The harness puts its delimiter, a space, before an option.
            text = run.tokenizer.encode([f"{row['question']} {option}"])[0].tolist()
            whole = (start + text)[-(CONTEXT + 1) :]
            count = len(start + text) - len(context)
            tokens = np.zeros((1, CONTEXT), np.int32)
            tokens[0, : len(whole) - 1] = whole[:-1]
            logits = np.asarray(apply({"params": run.params}, tokens)[0], np.float64)
            logits = logits @ run.params["token_embedding"].T.astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            scores.append(
                sum(logs[at - 1, whole[at]] for at in range(len(whole) - count, len(whole)))
            )
        np.testing.assert_allclose(said[:, 0].astype(float), scores, rtol=1e-4, atol=1e-4)
        right.append(int(np.argmax(scores)) == row["answer"])
    assert metric(found, "options", "acc") == pytest.approx(np.mean(right))


def requests(pairs, kind="loglikelihood"):
    return [
        Instance(kind, {}, pair, 0, metadata=("a task", number, 1))
        for number, pair in enumerate(pairs)
    ]


def test_order_batches_and_duplicates_change_nothing(ours, monkeypatch):
    pairs = [(words(i, 1 + (7 * i) % 23), f" {WORDS[i]}") for i in range(12)]
    pairs = [*pairs, *pairs[3:6], ("", WORDS[0]), ("", f" {WORDS[0]}")]
    alone = [ours.loglikelihood(requests([pair]), disable_tqdm=True)[0] for pair in pairs]
    # Two batches to a sign of progress: the groups are many.
    monkeypatch.setattr(harness, "CHUNK", 2)
    together = GptjaxLM(ours.run, batch_size=2, add_bos_token=ours.add_bos_token).loglikelihood(
        requests(pairs), disable_tqdm=True
    )
    np.testing.assert_allclose([x for x, _ in together], [x for x, _ in alone], rtol=1e-4)
    assert [greedy for _, greedy in together] == [greedy for _, greedy in alone]


def test_greedy_is_what_greedy_writing_writes(ours):
    """The flag of a continuation that the model itself wrote, and of another one."""
    (text,) = ours.generate_until(
        requests([("the old house", {"max_gen_toks": 4, "until": []})]), disable_tqdm=True
    )
    said = ours.loglikelihood(
        requests([("the old house", text), ("the old house", text + "zq")]), disable_tqdm=True
    )
    assert said[1][1] is False
    # Another cut of the same text would be another question.
    (whole,) = ours.run.tokenizer.encode(["the old house" + text])
    (context,) = ours.run.tokenizer.encode(["the old house"])
    if len(whole) == len(context) + 4:
        assert said[0][1] is True


def test_tokens_are_the_harness_rule(ours):
    """Wherever a context's tokens begin the text's; else a token across the border is kept."""

    class Rule(TemplateLM):
        eot_token_id = 0

        def tok_encode(self, string, add_special_tokens=None, **_):
            return ours.run.tokenizer.encode([string])[0].tolist()

        def _loglikelihood_tokens(self, requests, **_):
            raise NotImplementedError

        loglikelihood_rolling = generate_until = _loglikelihood_tokens

    pairs = [
        (row["question"], f" {x}") for row in CHOICES for x in row["options"] if row["question"]
    ]
    pairs += [("the ho", "use"), ("the  ", "river"), ("t", "he other")]
    whole_words = 0
    for context, continuation in pairs:
        kept = context.rstrip()
        moved = context[len(kept) :] + continuation
        (span,) = continuations_of(ours.run.tokenizer, [(kept, moved)], separator=False)
        before, after = Rule()._encode_pair(context, continuation)
        (text,) = ours.run.tokenizer.encode([kept + moved])
        if text.tolist()[: len(before)] == before:
            assert (span.context.tolist(), span.target.tolist()) == (before, after)
            whole_words += 1
        else:
            assert len(span.target) > len(after)
            kept_tokens = [x for x in span.context.tolist() if x != ours.run.tokenizer.separator]
            assert [*kept_tokens, *span.target.tolist()] == text.tolist()
    assert whole_words >= len(pairs) - 2


def test_a_continuation_longer_than_the_context(ours):
    text = words(5, 60)
    (scored,) = ours.loglikelihood(requests([("", text)]), disable_tqdm=True)
    (values,) = token_log_probabilities(ours.run, [text], 4)
    assert len(values) > CONTEXT
    assert scored[0] == pytest.approx(values.sum(), rel=1e-4)


def test_sampling(ours):
    options = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 12, "until": ["\n"]}
    asked = requests([("the old house", options)] * 5, "generate_until")
    one, other = (GptjaxLM(ours.run, batch_size=3, seed=seed) for seed in (0, 1))
    first, again = (one.generate_until(asked, disable_tqdm=True) for _ in range(2))
    assert first == again
    assert len(set(first)) == 5  # also across batches
    other = other.generate_until(asked, disable_tqdm=True)
    assert not set(other) & set(first)


def test_how_to_write():
    assert Writing.read({}) == Writing(256, (), 0.0, 0, 1.0)
    given = {"until": "a", "max_new_tokens": 3, "temperature": 0.7, "top_k": 5, "top_p": 0.9}
    assert Writing.read(given) == Writing(3, ("a",), 0.7, 5, 0.9)
    assert Writing.read({"do_sample": True}).temperature == 1.0
    assert Writing.read({"do_sample": False, "temperature": 0.5}).temperature == 0.0
    assert Writing(9, ("cd", "b"), 0.0, 0, 1.0).cut("aabcd") == "aa"
    assert Writing(9, ("x",), 0.0, 0, 1.0).cut("aabcd") == "aabcd"
    with pytest.raises(UserError, match="gen_kwargs num_beams: unknown"):
        Writing.read({"num_beams": 4})


def test_bad_requests_and_arguments(ours):
    with pytest.raises(UserError, match="a task, document 1: the tokenizer has nothing for"):
        ours.loglikelihood(requests([("the", " old"), ("the", "")]), disable_tqdm=True)
    with pytest.raises(UserError, match="runn: unknown; known are run, checkpoint"):
        GptjaxLM(ours.run, runn="x")
    with pytest.raises(UserError, match="batch_size 0"):
        GptjaxLM(ours.run, batch_size="0")
    assert GptjaxLM(ours.run, batch_size="auto", device="cuda:0").batch_size == 16


# With one model: the harness reads thousands of task files first.
@pytest.mark.parametrize("kind", ["gpt2"], indirect=True)
def test_the_command(kind, folder, ours, found, tasks, tmp_path, capsys):
    """`gptjax lm-eval`: the harness's options, our model without being named."""
    arguments = f"run=hf:{folder},add_bos_token={ours.add_bos_token}"
    line = ["lm-eval", "--model_args", arguments, "--include_path", str(tasks), "--limit", "5"]
    assert main([*line, "--tasks", "last_word", "--output_path", str(tmp_path)]) == 0
    assert "|last_word|" in capsys.readouterr().out
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())
    assert results["config"]["model"] == "gptjax"
    assert results["config"]["batch_size"] == "16"
    assert results["config"]["checkpoint"] == "published"
    first = [value for value, _ in answers(found, "last_word")[:5]]
    expected = math.exp(-np.mean(first))
    assert metric(results, "last_word", "perplexity") == pytest.approx(expected, rel=1e-4)
