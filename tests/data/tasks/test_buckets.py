"""Batches by length: every example once, in an order that is a pure function, little padding."""

import itertools

import numpy as np
import pytest

from gptjax.batch import Batches
from gptjax.data.tasks import buckets
from gptjax.data.tasks.buckets import Bucketed, choose_lengths
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS


def make(lengths, *, k=1, batch_size=4, shuffle=True, seed=0, context_length=64, **more):
    """Example i has tokens i+1 in every place, and the label i % 3."""
    sequences = [
        Sequences(tuple(np.full(n, i + 1, np.int32) for _ in range(k)), False)
        for i, n in enumerate(lengths)
    ]
    examples = [Example(("",), i % 3, f"line {i}", i) for i in range(len(lengths))]
    return Bucketed(
        sequences,
        examples,
        TASKS["snli"],
        context_length=context_length,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        **more,
    )


def lengths_like_snli(count, seed=0):
    """Pairs of sentences: about 14 and 8 words, right-skewed, and three special tokens."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.gamma(5.5, 3.2, count) + rng.gamma(5, 1.8, count) + 3, 8, 120).astype(int)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_example_once_with_its_target(k, shuffle):
    lengths = lengths_like_snli(103)
    data = make(lengths, k=k, shuffle=shuffle, context_length=128)
    assert isinstance(data, Batches)
    for epoch in (0, 1):
        seen = []
        for index in range(len(data)):
            batch = data.batch(epoch, index)
            assert batch.tokens.shape[:2] == (4, k)
            for row in range(4):
                if batch.weights[row] == 0:
                    assert not batch.lm_weights[row].any()
                    assert not batch.targets[row].any()
                    continue
                number = batch.tokens[row, 0, 0] - 1
                seen.append(number)
                n = lengths[number]
                assert (batch.tokens[row, :, :n] == number + 1).all()
                assert not batch.tokens[row, :, n:].any()
                assert (batch.lm_weights[row].sum(-1) == n - 1).all()
                assert (batch.lm_weights[row, :, 0] == 0).all()
                assert (batch.extract[row] == n - 1).all()
                assert batch.targets[row].argmax() == number % 3
                assert batch.targets[row].sum() == 1
        assert sorted(seen) == list(range(103))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    def order(data, epoch):
        return [data.members(epoch, i).tolist() for i in range(len(data))]

    lengths = lengths_like_snli(60)
    one, two = make(lengths, seed=3), make(lengths, seed=3)
    two.batch(5, 0)  # what was asked before does not matter
    assert order(one, 2) == order(two, 2)
    assert order(one, 2) != order(one, 3)
    assert order(one, 2) != order(make(lengths, seed=4), 2)


def test_an_epoch_has_no_order():
    """Where an example comes in a shuffled epoch says nothing of its length or its row."""
    lengths = np.sort(lengths_like_snli(400))
    data, epochs = make(lengths), 40
    batches = len(data)
    when = np.zeros(400)
    for epoch in range(epochs):
        for index in range(batches):
            when[data.members(epoch, index)] += index / epochs
    # Uniform over the batches, the mean of so many epochs.
    chance = np.sqrt((batches**2 - 1) / 12 / epochs)
    assert abs(when[:100].mean() - (batches - 1) / 2) < chance
    assert abs(when[300:].mean() - (batches - 1) / 2) < chance
    assert when.std() == pytest.approx(chance, rel=0.25)
    # In one epoch, neighbours come from all buckets.
    in_turn = [data.batch(0, index).tokens.shape[-1] for index in range(batches)]
    assert abs(np.corrcoef(np.arange(batches), in_turn)[0, 1]) < 4 / np.sqrt(batches)


def test_who_shares_a_batch_changes_from_epoch_to_epoch():
    def pairs(data, epoch):
        found = set()
        for index in range(len(data)):
            members = sorted(data.members(epoch, index).tolist())
            found |= set(itertools.combinations(members, 2))
        return found

    data = make(lengths_like_snli(400))
    first, second = pairs(data, 0), pairs(data, 1)
    assert len(first & second) < 0.2 * len(first)
    assert pairs(make(lengths_like_snli(400), shuffle=False), 1) == pairs(
        make(lengths_like_snli(400), shuffle=False), 0
    )


def test_rows_are_rows_of_the_whole_batch():
    data = make(lengths_like_snli(30))
    whole, part = data.batch(1, 2), data.batch(1, 2, slice(2, 4))
    assert whole.fresh is part.fresh is None
    assert whole.states is part.states is None
    assert whole.knowledge is part.knowledge is None
    assert whole.words is part.words is None
    for a, b in zip(whole[:5], part[:5], strict=True):
        np.testing.assert_array_equal(a[2:4], b)


def test_answers_come_back_in_file_order():
    data = make(lengths_like_snli(41), shuffle=False)
    rows = np.concatenate([data.batch(0, i).tokens[:, 0, :1] for i in range(len(data))])
    np.testing.assert_array_equal(data.in_order(rows)[:, 0], np.arange(41) + 1)


def test_little_padding_in_a_handful_of_shapes():
    data = make(lengths_like_snli(5000), batch_size=32, context_length=128)
    assert data.padding() < 0.15
    assert len(data.shapes()) <= buckets.MAX_BUCKETS
    # What is printed is what the batches hold.
    filled = sum(
        data.batch(0, i).lm_weights.sum() + data.batch(0, i).weights.sum() for i in range(len(data))
    )
    total = sum(data.batch(0, i).tokens.size for i in range(len(data)))
    assert data.padding() == pytest.approx(1 - filled / total)
    assert {data.batch(0, i).tokens.shape[-1] for i in range(len(data))} == set(data.shapes())


@pytest.mark.parametrize(("batches", "most"), [(5, 1), (23, 1), (24, 2), (72, 4)])
def test_fewer_shapes_where_each_epoch_compiles_them_anew(batches, most):
    lengths = lengths_like_snli(4 * batches)
    assert len(make(lengths, context_length=128).edges) > most
    found = make(lengths, context_length=128, compiled_anew=True)
    assert len(found.edges) == most
    assert found.edges[-1] >= lengths.max()


def test_lengths_are_the_best_there_are():
    rng = np.random.default_rng(1)
    for _ in range(20):
        lengths = rng.integers(1, 33, 40)
        chosen = choose_lengths(lengths, 64, most=4, multiple=4)
        assert chosen[-1] >= lengths.max()
        cost = chosen[np.searchsorted(chosen, lengths)].sum()
        top = -(-lengths.max() // 4) * 4
        others = range(4, top, 4)
        for edges in itertools.combinations(others, len(chosen) - 1):
            every = np.array([*edges, top])
            assert cost <= every[np.searchsorted(every, lengths)].sum()


def test_no_shape_is_longer_than_the_context():
    assert make([30, 30, 29], context_length=30).shapes() == [30]


def test_one_example():
    data = make([5])
    assert len(data) == 1
    assert data.batch(0, 0).weights.tolist() == [1, 0, 0, 0]


def test_describe_names_the_lines():
    data = make([5, 6], shuffle=False)
    assert data.describe(0, 0) == "line 0; line 1"
