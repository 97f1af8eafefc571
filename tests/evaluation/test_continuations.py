"""What follows a context: its tokens, its text, and what is said where the harness is missing."""

import sys

import pytest

from gptjax.cli import main
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.evaluation.sampling import added_text
from gptjax.evaluation.text_scores import continuations_of


@pytest.fixture(scope="module")
def tokenizer():
    return train_sentencepiece([["the old house was very quiet and bright. " * 40]], 330)[0]


def test_without_the_harness_one_line_names_the_extra(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "gptjax.evaluation.harness", raising=False)
    monkeypatch.delitem(sys.modules, "gptjax.commands.lm_eval", raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["lm-eval", "--tasks", "hellaswag"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install 'gptjax[lm-eval]'")


def test_the_separator_stands_before_every_text_or_where_there_is_no_context(tokenizer):
    pairs = [("the old", " house"), ("", "quiet"), ("the", "")]
    always = continuations_of(tokenizer, pairs)
    needed = continuations_of(tokenizer, pairs, separator=False)
    for (context, target), first, second in zip(pairs, always, needed, strict=True):
        (text,) = tokenizer.encode([context + target])
        assert [*first.context, *first.target] == [tokenizer.separator, *text]
        assert [*second.context, *second.target] == [*first.context, *first.target][bool(context) :]
        assert tokenizer.decode(first.target) == target


def test_what_new_tokens_add_to_a_text(tokenizer):
    """Also where a character is spelled across the border."""
    (prompt,) = tokenizer.encode(["the old"])
    (sample,) = tokenizer.encode([" house \u00e9"])
    assert added_text(tokenizer, prompt.tolist(), sample.tolist()) == " house \u00e9"
    whole = [*prompt.tolist(), *sample.tolist()]
    assert added_text(tokenizer, whole[:-1], whole[-1:]) == "\u00e9"
    assert added_text(tokenizer, whole, []) == ""
