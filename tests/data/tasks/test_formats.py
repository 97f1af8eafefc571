"""The traversal transformations as tables of ids."""

import numpy as np
import pytest

from gptjax.data.tasks.formats import TRANSFORMATIONS, Specials, encode, fit
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError

S, D, E = 100, 101, 102
SPECIALS = Specials.after(100)


def ids(first, count):
    return np.arange(first, first + count, dtype=np.int32)


def transform(kind, parts, context_length=50):
    result = TRANSFORMATIONS[kind](parts, SPECIALS, context_length)
    assert all(x.dtype == np.int32 and len(x) <= context_length for x in result.tokens)
    return [x.tolist() for x in result.tokens], result


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("classification", [[1, 2]], [[S, 1, 2, E]]),
        ("entailment", [[1, 2], [7]], [[S, 1, 2, D, 7, E]]),
        ("similarity", [[1, 2], [7]], [[S, 1, 2, D, 7, E], [S, 7, D, 1, 2, E]]),
        (
            "choice",
            [[1, 2], [5], [7], [8, 9], []],
            [[S, 1, 2, 5, D, 7, E], [S, 1, 2, 5, D, 8, 9, E], [S, 1, 2, 5, D, E]],
        ),
    ],
)
def test_transformations(kind, parts, expected):
    tokens, result = transform(kind, [np.array(part, np.int32) for part in parts])
    assert tokens == expected
    assert not result.truncated
    assert result.lengths == tuple(len(x) for x in expected)


@pytest.mark.parametrize(
    ("kind", "parts", "context_length", "expected"),
    [
        ("classification", [ids(1, 9)], 6, [[S, 1, 2, 3, 4, E]]),
        # The hypothesis stays whole, the premise gives.
        ("entailment", [ids(1, 9), ids(20, 3)], 10, [[S, 1, 2, 3, 4, D, 20, 21, 22, E]]),
        # It cannot: both give, the longer one first.
        ("entailment", [ids(1, 2), ids(20, 30)], 10, [[S, 1, 2, D, 20, 21, 22, 23, 24, E]]),
        # It can, beside a single token.
        ("entailment", [ids(1, 9), ids(20, 6)], 10, [[S, 1, D, 20, 21, 22, 23, 24, 25, E]]),
        (
            "similarity",
            [ids(1, 9), ids(20, 3)],
            10,
            [[S, 1, 2, 3, 4, D, 20, 21, 22, E], [S, 20, 21, 22, D, 1, 2, 3, 4, E]],
        ),
        # The same cut of the context for all, decided by the longest option.
        (
            "choice",
            [ids(1, 9), ids(15, 2), ids(20, 3), ids(30, 1)],
            10,
            [[S, 1, 2, 15, 16, D, 20, 21, 22, E], [S, 1, 2, 15, 16, D, 30, E]],
        ),
    ],
)
def test_truncation(kind, parts, context_length, expected):
    tokens, result = transform(kind, parts, context_length)
    assert tokens == expected
    assert result.truncated


@pytest.mark.parametrize("protected", [None, 0, 1, 2])
def test_what_fits_is_kept_and_all_room_is_used(protected):
    rng = np.random.default_rng(0)
    for _ in range(300):
        lengths = rng.integers(0, 40, 3).tolist()
        room = int(rng.integers(3, 90))
        cut = fit(lengths, room, protected)
        assert all(0 <= new <= old for new, old in zip(cut, lengths, strict=True))
        assert sum(cut) == min(room, sum(lengths))
        if protected is None:
            # Nothing is cut below what a part that was not cut keeps.
            shortest = min(
                (new for new, old in zip(cut, lengths, strict=True) if new < old), default=0
            )
            assert all(new == old or new >= shortest for new, old in zip(cut, lengths, strict=True))


def test_special_tokens_cannot_be_spelled(tokenizer):
    text = "<start> <extract> <|separator|> </s>"
    (sequence,) = encode([Example((text,), 0, "", 0)], TASKS["sst2"], tokenizer, 200).sequences
    (tokens,) = sequence.tokens
    assert (tokens[1:-1] < tokenizer.size).all()
    assert tokens[0] == tokenizer.size
    assert tokens[-1] == tokenizer.size + 2
    assert tokenizer.decode(tokens[1:-1]) == text


def test_truncated_examples_are_counted(tokenizer):
    examples = [Example(("the river " * n,), 0, "", n) for n in (1, 40, 50)]
    assert encode(examples, TASKS["sst2"], tokenizer, 32).truncated == 2


def test_a_context_too_short_is_refused(tokenizer):
    with pytest.raises(UserError, match="at least 16"):
        encode([Example(("a",), 0, "", 0)], TASKS["sst2"], tokenizer, 8)
