"""The first sentences of a page: what came out of runs whose numbers are known."""

import json
from dataclasses import replace

import made_runs
import pytest

from gptjax.report.find import find
from gptjax.report.fine_tuning import ranked
from gptjax.report.pretraining import per_word
from gptjax.report.report import build
from gptjax.report.sections import with_labels
from gptjax.runs.folder import RunFolder
from gptjax.runs.results import LanguageModelling, read_as, write_results


def said(*folders):
    return build(find([str(folder) for folder in folders])).summary


def test_three_sentences_say_what_came_out(report, answers):
    what, best, following = report.summary
    assert what.text == (
        "This page has 1 pre-trained run, 4 fine-tuned runs (5 seeds) on 3 tasks, 1 task without "
        "training and 1 set of figures of an experiment; 2 more could not be shown."
    )
    assert (best.text, best.section) == ("The best of each task:", "fine-tuning")
    assert len(best.items) == 3
    rte = next(item for item in best.items if item.startswith("rte"))
    old = made_runs.answers("rte", [0, 1] * 30, 3, lengths=False)
    both = 50 * sum(one.metrics["accuracy"] for one in answers)
    alone = 100 * old.metrics["accuracy"]
    name, seeds = ("a", "2 seeds") if both >= alone else ("old", "1 seed")
    assert rte == (
        f"rte: accuracy {max(both, alone):.2f} by {name} (of 2 runs, {seeds}, valid) – the "
        "commonest label alone has 50.00, the paper 56 on test"
    )
    snli = next(item for item in best.items if item.startswith("snli"))
    assert "offline sample, not the task" in snli
    assert "paper" not in snli
    assert following.text.startswith("Look next at the warnings of snli (1 run); then at rte, ")
    assert following.section == "task-snli"


def test_runs_without_a_mistake_are_told_from_none_but_themselves(tmp_path):
    right = made_runs.answers("rte", [0, 1] * 10, 1, sure=100.0)
    made_runs.tuned(tmp_path / "a", "rte", right)
    assert "within" not in said(tmp_path)[-1].text
    made_runs.tuned(tmp_path / "b", "rte", right)
    assert "where 1 run is within 0.0 points of the best" in said(tmp_path)[-1].text


def test_what_few_examples_cannot_tell_apart_is_said(tmp_path):
    """60 examples: of two runs of one accuracy, and of one far behind."""
    good = made_runs.answers("rte", [0, 1] * 30, 1)
    for name in ("a", "b"):
        made_runs.tuned(tmp_path / name, "rte", good)
    _, best, following = said(tmp_path)
    share = good.metrics["accuracy"]
    error = 196 * (2 * share * (1 - share) / 60) ** 0.5
    assert (best.text, following.section) == ("The best of the task:", "task-rte")
    assert following.text.startswith(
        f"Look next at rte, where 1 run is within {error:.1f} points of the best, which is the "
        "sampling error of 60 examples, and a takes "
    )
    counts = [
        (sum((good.predicted == 1 - gold)[i] for i in range(gold, 60, 2)), gold) for gold in (0, 1)
    ]
    wrong, gold = max(counts, key=lambda one: one[0])
    names = ("entailment", "not_entailment")
    assert f"a takes {wrong} of 30 {names[gold]} for {names[1 - gold]}." in following.text


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 2.5), "still fell at the end, by 0.500 nats between the last two evaluations: more"),
        ((2.0, 2.25), "rose at the end, by 0.250 nats over its lowest: it was trained for too"),
        ((2.0, 2.001), ""),
    ],
)
def test_perplexity_stands_beside_that_of_token_frequencies(tmp_path, losses, expected):
    folder = made_runs.pretrained(tmp_path / "a")
    lines = [{"step": n, "split": "valid", "loss": loss} for n, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, best, *following = said(folder)
    assert first.text == "This page has 1 pre-trained run."
    assert best.text == ("Lowest perplexity: 6.69 by a, where token frequencies alone have 20.0.")
    assert [expected in one.text for one in following] == ([True] if expected else [])


def test_perplexities_of_one_text_are_compared(tmp_path):
    for name, perplexity in (("a", 6.5), ("b", 5.25)):
        run = RunFolder(made_runs.pretrained(tmp_path / name))
        text = run.read_meta()["data"]["train"]
        run.update_meta(data={"train": text, "valid": {**text, "tokens": 7}})
        found = read_as(LanguageModelling, run.results)
        metrics = {**found.metrics, "perplexity": perplexity}
        write_results(run.results, replace(found, metrics=metrics))
    _, best, *_ = said(tmp_path)
    assert best.text == "Lowest perplexity: 5.25 by b, where token frequencies alone have 20.0."


def test_perplexities_of_several_texts_are_not_compared(tmp_path):
    made_runs.pretrained(tmp_path / "a")
    other = RunFolder(made_runs.pretrained(tmp_path / "b"))
    text = other.read_meta()["data"]["train"]
    other.update_meta(data={"train": text, "valid": {**text, "tokens": 7}})
    _, best, *_ = said(tmp_path)
    assert best.text == "Perplexities, on different texts or tokens:"
    assert best.items == tuple(
        f"6.69 by {name}, where token frequencies alone have 20.0" for name in "ab"
    )
    for name in ("c", "d"):
        made_runs.pretrained(tmp_path / name)
    _, best, *_ = said(tmp_path)
    assert best.text == "4 perplexities, on different texts or tokens, are from 6.69 to 6.69."


def test_other_measurements_have_their_sentence(tmp_path):
    made_runs.zero_shot(tmp_path / "zero", "sst2", 0.7, 0.484)
    (what, best) = said(tmp_path)
    assert what.text == "This page has 1 task without training."
    assert best.text.startswith("Without training the best is runs/a on sst2: 0.484, where 0 is")
    made_runs.perplexity(tmp_path / "wiki")
    assert said(tmp_path / "wiki")[1].text == (
        "Fewest bits: 1.062 bits per byte by runs/pretrain/a on wiki.txt."
    )


def test_the_best_of_many_runs_come_first(tmp_path):
    for seed in range(1, 7):
        found = made_runs.answers("rte", [0, 1] * 30, seed)
        made_runs.tuned(tmp_path / f"run-{seed}", "rte", found)
    runs = with_labels(find([str(tmp_path)]).tuned)
    values = [run.seeds[0].splits["valid"].metrics["accuracy"] for run, _ in ranked(runs)]
    assert values == sorted(values, reverse=True)
    assert ranked(runs[:4]) == runs[:4]


def test_a_perplexity_that_nobody_can_read_is_left_out():
    known = {"words": 10, "bytes": 50}
    assert per_word({**known, "word_perplexity": 33.25}) == "33.2"
    assert per_word({**known, "word_perplexity": 3.9e7}) == "–"
    assert per_word({}) == "–"
    assert per_word({"word_perplexity": 33.25, "words": 1, "bytes": 10_000}) == "–"
