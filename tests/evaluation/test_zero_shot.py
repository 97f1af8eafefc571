"""Zero-shot: the questions, their scores token by token, the threshold, and the command."""

import json
import math
from functools import partial

import jax
import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from gptjax.cli import main
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.zero_shot import (
    ZERO_SHOT,
    Candidate,
    Question,
    ask_race,
    ask_sst2,
    read_lambada,
    read_winograd,
)
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation.text_scores import Span, score_spans
from gptjax.evaluation.zero_shot import ask, fit_threshold, judge, normalised, spans_of
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.models.transformer import Transformer
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import Run
from gptjax.runs.predictions import read_predictions
from gptjax.runs.results import ZeroShot, read_as

PROSE = (
    "the old house was very quiet and bright. " * 40 + "positive negative flowers bee hive. " * 9
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tokenizer, _ = train_sentencepiece([[PROSE]], 330)
    model = ModelConfig(
        vocabulary_size=tokenizer.size, context_length=12, num_layers=1, num_heads=2, width=8
    )
    params = jax.tree.map(lambda x: np.asarray(x) * 20, lm(model).init(jax.random.key(0)))
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    return Run(folder, model, tokenizer, params, 0, "last/0")


@partial(jax.jit, static_argnums=0)
def apply(model, params, tokens):
    return Transformer(model).apply({"params": params}, tokens)


def one_by_one(run, span):
    """log p and argmax of each target token, from a forward pass of its own."""
    whole = [*span.context.tolist(), *span.target.tolist()]
    context, room = len(span.context), run.model.context_length
    count = len(span.target)
    answers = []
    for t in range(context, len(whole)):
        if count <= room:
            begin = max(len(whole) - 1 - room, 0)
        else:
            begin = context - 1 + (t - context) // room * room
        tokens = np.zeros((1, room), np.int32)  # what follows is never seen
        tokens[0, : t - begin] = whole[begin:t]
        states = apply(run.model, run.params, tokens)
        logits = np.asarray(states[0, t - begin - 1], np.float64)
        logits = logits @ run.params["token_embedding"].T
        logs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        answers.append((logs[whole[t]], logs.argmax() == whole[t]))
    return answers


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_equal_a_loop_over_tokens(run, batch_size):
    rng = np.random.default_rng(0)
    sizes = [(1, 3), (5, 2), (40, 4), (1, 30), (7, 12), (9, 13), (3, 0)]
    spans = [
        Span(*(rng.integers(3, run.model.vocabulary_size, n).astype(np.int32) for n in size))
        for size in sizes
    ]
    for span, found in zip(spans, score_spans(run, spans, batch_size), strict=True):
        expected = one_by_one(run, span)
        assert len(found.log_probabilities) == len(span.target)
        np.testing.assert_allclose(
            found.log_probabilities, [log for log, _ in expected], rtol=1e-4, atol=1e-4
        )
        assert found.likeliest.tolist() == [hit for _, hit in expected]


def question(*pairs, gold=0):
    return Question(tuple(Candidate(*pair) for pair in pairs), gold, "here")


def test_context_and_target_are_one_text(run):
    (span,) = spans_of(run.tokenizer, [question(("the old house was very", " quiet and"))])
    text = np.concatenate([span.context[1:], span.target])
    (whole,) = run.tokenizer.encode(["the old house was very quiet and"])
    np.testing.assert_array_equal(text, whole)
    assert run.tokenizer.decode(span.target) == " quiet and"
    assert span.context[0] == run.tokenizer.separator
    # A token across the border: "hou" + "se" is one in the text.
    (span,) = spans_of(run.tokenizer, [question(("the old hou", "se"))])
    assert run.tokenizer.decode(span.target).endswith("house")
    with pytest.raises(UserError, match="here: the tokenizer has nothing for ''"):
        spans_of(run.tokenizer, [question(("the", ""))])


def test_means_and_sums(run):
    questions = [question(("the old", " house was"), ("the old", " bee"))]
    values = [s.log_probabilities for s in score_spans(run, spans_of(run.tokenizer, questions), 4)]
    means, _ = ask(run, ZERO_SHOT["race"], questions, 4)
    sums, _ = ask(run, ZERO_SHOT["sst2"], questions, 4)
    np.testing.assert_allclose(means[0], [v.mean() for v in values], rtol=1e-6)
    np.testing.assert_allclose(sums[0], [v.sum() for v in values], rtol=1e-6)
    result = judge(ZERO_SHOT["race"], questions, [[-2.0, -1.0]], [])
    assert (result.predicted.tolist(), result.metrics) == ([1], {"accuracy": 0.0})


def test_hidden_answers_are_refused():
    with pytest.raises(UserError, match="here: no label"):
        judge(ZERO_SHOT["race"], [question(("a", " b"), gold=None)], [[0.0]], [])


def test_the_papers_heuristics():
    asked = ask_sst2(Example(("a fine film",), 1, "line 2", 0))
    assert asked.candidates == (
        ("a fine film very", " negative"),
        ("a fine film very", " positive"),
    )
    assert asked.gold == 1
    asked = ask_race(Example(("A day.", "When?", "now", "then", "no", "yes"), 3, "line 1", 0))
    assert asked.candidates[3] == ("A day. When?", " yes")
    assert normalised(ZERO_SHOT["race"], 0.42) == pytest.approx((0.42 - 0.25) / (0.59 - 0.25))
    assert normalised(ZERO_SHOT["winograd"], 0.5) is None


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 40)
    scores = np.round(rng.standard_normal(40) + 0.7 * labels, 1)  # with equal ones
    best = max(
        matthews_corrcoef(labels, scores > cut)
        for cut in [*(scores - 0.05), *(scores + 0.05), -99, 99]
    )
    found = matthews_corrcoef(labels, scores > fit_threshold(scores, labels))
    assert found == pytest.approx(max(best, 0.0))
    cut = fit_threshold(scores, labels)
    assert cut == pytest.approx((scores[scores <= cut].max() + scores[scores > cut].min()) / 2)


def test_the_threshold_is_halfway_between_two_scores():
    """Scores that were not seen fall on the side that is nearer to them."""
    scores, labels = np.array([6.0, -1.0, 4.0, 1.0]), np.array([1, 0, 1, 0])
    assert fit_threshold(scores, labels) == 2.5
    unseen = [question(("", "a"), gold=gold) for gold in (1, 0)]
    result = judge(ZERO_SHOT["cola"], unseen, [[2.6], [2.4]], [], 2.5)
    assert result.predicted.tolist() == [1, 0]


XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<collection><schema>
<text><txt1>
The trophy doesn't fit into the caf\u00e9 because </txt1><pron> it </pron><txt2> is too large.
</txt2></text>
<answers><answer>The trophy </answer><answer>the caf\u00e9 </answer></answers>
<correctAnswer> A.  </correctAnswer></schema></collection>"""
DPR = """The bee landed on the flower because it had pollen.
it
The bee,the flower
the flower

The dog chased the cat, so it ran.
it
the dog,the cat
The cat
"""


@pytest.mark.parametrize("name", ["winograd", "lambada"])
def test_questions_with_files_of_their_own_have_no_sample(name):
    with pytest.raises(UserError, match="no offline sample; name a file"):
        ZERO_SHOT[name].questions("sample", "test")


def test_winograd_schemas(tmp_path):
    (tmp_path / "a.xml").write_bytes(XML.encode("latin-1"))
    (found,) = read_winograd(tmp_path / "a.xml")
    assert found.candidates == (
        ("The trophy doesn't fit into the caf\u00e9 because the trophy", " is too large."),
        ("The trophy doesn't fit into the caf\u00e9 because the caf\u00e9", " is too large."),
    )
    assert found.gold == 0
    (tmp_path / "b.txt").write_text(DPR)
    first, second = read_winograd(tmp_path / "b.txt")
    assert first.candidates[0] == ("The bee landed on the flower because the bee", " had pollen.")
    assert (first.gold, second.gold) == (1, 1)
    assert second.where.endswith("line 6")
    with pytest.raises(UserError, match="name one file of schemas"):
        read_winograd(tmp_path)
    for old, new, message in (
        ("\nit\n", "\nthey\n", "the pronoun 'they' is not in the sentence"),
        ("The cat\n", "The cow\n", "the answer 'The cow' is none of the two"),
        ("the dog,the cat\n", "\n", "not four lines"),
    ):
        (tmp_path / "b.txt").write_text(new.join(DPR.rsplit(old, 1)))
        with pytest.raises(UserError, match=rf"b\.txt: line 6: {message}"):
            read_winograd(tmp_path / "b.txt")
    (tmp_path / "a.xml").write_text("<collection><schema></schema></collection>")
    with pytest.raises(UserError, match="schema 1: has no text"):
        read_winograd(tmp_path / "a.xml")
    for broken in ("<collection>", '<?xml version="1.0" encoding="x-none"?><collection/>'):
        (tmp_path / "a.xml").write_text(broken)
        with pytest.raises(UserError, match="is not XML"):
            read_winograd(tmp_path / "a.xml")
    for empty in ("<collection/>", "", "\n \n"):
        (tmp_path / "a.xml").write_text(empty)
        with pytest.raises(UserError, match=r"a\.xml: no "):
            read_winograd(tmp_path / "a.xml")


def test_lambada(tmp_path, run):
    file = tmp_path / "l.jsonl"
    file.write_text(json.dumps({"text": "He said.\n\nA very bright house"}) + "\n")
    (found,) = read_lambada(file)
    assert found.candidates == (("He said.\n\nA very bright", " house"),)
    scores, tokens = ask(run, ZERO_SHOT["lambada"], [found], 2)
    result = judge(ZERO_SHOT["lambada"], [found], scores, tokens)
    assert result.metrics["perplexity"] == pytest.approx(math.exp(-scores[0][0]))
    assert result.metrics["accuracy"] == float(tokens[0][0].likeliest.all())
    for name, content, message in (
        ("l.txt", "word\n", "one word alone"),
        ("l.jsonl", "word\n", "no JSON object"),
        ("l.jsonl", "{}\n", "no JSON object"),
        ("l.jsonl", "[" * 20_000 + "\n", "no JSON object"),
        ("l.jsonl", "", "no t"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=message):
            read_lambada(tmp_path / name)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--train.steps", "2", "--train.batch-size", "4", "--optimizer.warmup", "0"]
    words += ["--model.width", "8", "--model.num-heads", "2", "--model.num-layers", "1"]
    words += ["--model.context-length", "32", "--model.vocabulary-size", "380"]
    book = tmp_path / "book.txt"
    book.write_text(PROSE.replace(". ", ".\n") * 5)
    words += ["--data", str(book), "--tracking.no-tensorboard", "--out", str(out)]
    assert main(["pretrain", *words]) == 0
    capsys.readouterr()
    base = ["zeroshot", "--run", str(out), "--batch-size", "8"]
    folder = tmp_path / "results"
    data = ["--data", "sample", "--out", str(folder), "--max-examples", "20"]
    assert main([*base, "--task", "cola", *data]) == 0
    shown = capsys.readouterr().out
    assert "Matthews correlation" in shown
    assert "fitted on train" in shown
    assert "THE OFFLINE SAMPLE" in shown
    results = json.loads((folder / "results.json").read_text())
    assert (results["examples"], results["split"]) == (20, "valid")
    assert results["data"]["sample"]
    assert (results["kind"], results["task"]) == ("zero-shot", "cola, zero-shot")
    head, *lines = (folder / "predictions.tsv").read_text().splitlines()
    assert head.split("\t") == ["index", "gold", "prediction", "score"]
    assert len(lines) == 20
    assert {line.split("\t")[1] for line in lines} == set(TASKS["cola"].labels)
    for line in lines:
        _, _, answer, score = line.split("\t")
        assert answer == TASKS["cola"].labels[float(score) > results["threshold"]]
    both = {}
    for most in ([], ["--max-examples", "5"]):
        words = [
            *base,
            "--task",
            "sst2",
            "--data",
            "sample",
            "--out",
            str(tmp_path / "sst2"),
            *most,
        ]
        assert main(words) == 0
        lines = (tmp_path / "sst2" / "predictions.tsv").read_text().splitlines()[1:]
        both[len(most)] = [line.split("\t")[:3] for line in lines]
    assert "0 guessing, 50" in capsys.readouterr().out
    # The file is read as that of a fine-tuned model.
    found = read_predictions(tmp_path / "sst2" / "predictions.tsv", TASKS["sst2"])
    assert found.scores.shape == (5, 2)
    assert found.predicted.tolist() == found.scores.argmax(-1).tolist()
    known = read_as(ZeroShot, tmp_path / "sst2" / "results.json")
    assert known.metrics["accuracy"] == (found.gold == found.predicted).mean()
    # What is drawn is spread over the file, and is called by its place in it.
    assert all(row in both[0] for row in both[2])
    assert int(both[2][-1][0]) > len(both[0]) / 2
    # A single file cannot be both what the threshold is fitted on and what it is measured on.
    rows = tmp_path / "rows.tsv"
    rows.write_text("sentence\tlabel\n" + "the house\t1\nhouse the\t0\n" * 3)
    assert main([*base, "--task", "cola", "--data", str(rows)]) == 2
    assert "would be fitted on what it is measured on" in capsys.readouterr().err
    (tmp_path / "w.txt").write_text(DPR)
    words = [*base, "--data", str(tmp_path / "w.txt"), "--out", str(tmp_path / "w")]
    assert main([*words, "--task", "winograd"]) == 0
    head, *lines = (tmp_path / "w" / "predictions.tsv").read_text().splitlines()
    assert head.split("\t") == ["index", "gold", "prediction", "A", "B"]
    assert [line.split("\t")[:2] for line in lines] == [["0", "B"], ["1", "B"]]
    assert main([*base, "--task", "lambada", "--data", str(tmp_path / "w.txt")]) == 2
    assert "one word alone" in capsys.readouterr().err
    assert main([*base, "--task", "winograd", "--data", "nowhere"]) == 2
    assert "--data nowhere: no such file" in capsys.readouterr().err
