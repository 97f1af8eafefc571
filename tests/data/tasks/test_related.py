"""Words of a batch's tokens, and their relations: for words and for pieces of them."""

from dataclasses import replace

import numpy as np
import pytest

from gptjax.data.knowledge.relations import Relations
from gptjax.data.knowledge.table import Knowledge
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import encode
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.words import train_words

UP, DOWN, OPPOSITE = Relations(0.875), Relations(0.0, 0.875), Relations(antonymy=1.0)
SAME = Relations(synonymy=1.0)
KNOWLEDGE = Knowledge(
    {
        ("poodle", "dog"): UP,
        ("dog", "poodle"): DOWN,
        ("cold", "hot"): OPPOSITE,
        ("hot", "cold"): OPPOSITE,
    },
    {"poodles": ["poodle"], **{word: [word] for word in ("poodle", "dog", "cold", "hot")}},
)
PAIRS = [
    ("Two poodles, cold.", "The dog is hot"),
    ("nothing at all", "dog"),
    ("dog dog", "poodle"),
]
EXAMPLES = [Example(pair, 0, f"row {row}", row) for row, pair in enumerate(PAIRS)]
SNLI = TASKS["snli"]
# Of each pair the words that are related, and how.
RELATED = [
    {("poodles", "dog"): UP, ("cold", "hot"): OPPOSITE},
    {},
    {("dog", "poodle"): DOWN},
]


@pytest.fixture(params=["words", "pieces", "bytes"])
def any_tokenizer(request, tokenizer):
    """Tokens are words, pieces of words, or bytes."""
    if request.param == "words":
        return train_words([[" ".join(" ".join(pair) for pair in PAIRS)]], 13)[0]
    return tokenizer if request.param == "pieces" else ByteTokenizer(257)


def batch_of(encoded, *, batch_size=4, context_length=64):
    """The only batch of the examples, in their order."""
    sequences = encoded.sequences
    settings = {"context_length": context_length, "batch_size": batch_size, "seed": 0}
    data = Bucketed(sequences, EXAMPLES, SNLI, shuffle=False, **settings)
    found, order = data.batch(0, 0), [*np.argsort(data.members(0, 0)), 3]
    return type(found)(*(None if array is None else array[order] for array in found))


@pytest.mark.parametrize("separate", [False, True])
def test_all_pieces_of_a_word_have_its_relations(any_tokenizer, separate):
    encoded = encode(EXAMPLES, SNLI, any_tokenizer, 64, separate=separate, knowledge=KNOWLEDGE)
    plain = encode(EXAMPLES, SNLI, any_tokenizer, 64, separate=separate)
    batch = batch_of(encoded)
    rows, sequences, length = batch.tokens.shape
    assert batch.knowledge.shape == (rows, length, length, 5)
    assert batch.knowledge.dtype == np.float32
    assert (batch.words.shape, batch.words.dtype) == (batch.tokens.shape, np.int32)
    assert sequences == 1 + separate
    for row, (texts, related) in enumerate(zip(PAIRS, RELATED, strict=True)):
        expected = np.zeros((length, length, 5), np.float32)
        first, second = (own_positions(any_tokenizer, text) for text in texts)
        before = 1 if separate else 2 + len(any_tokenizer.encode([texts[0]])[0])
        for (word, other), values in related.items():
            for i in (at for name, at in first if name == word):
                for j in (at for name, at in second if name == other):
                    expected[1 + i, before + j] = values
        np.testing.assert_array_equal(batch.knowledge[row], expected)
        assert expected.any() == bool(related)
    assert not batch.knowledge[3].any()  # what pads the batch
    assert (batch.words[3] == -1).all()
    for one, other in zip(plain.sequences, encoded.sequences, strict=True):
        assert other.related is not None
        assert one.related is None
        assert [ids.tolist() for ids in one.tokens] == [ids.tolist() for ids in other.tokens]
    assert batch_of(plain).knowledge is None
    assert batch_of(plain).words is None


def own_positions(tokenizer, text):
    """The word that each token of a text is a piece of, by what stands there."""
    found = []
    for position, (begin, end) in enumerate(tokenizer.spans([text])[0]):
        piece = text[begin:end].strip(" ,.")
        start = len(text[:end]) - len(text[:end].split(" ")[-1]) if piece else 0
        word = text[start:].split(" ")[0].strip(",.")
        found.append((word if piece else None, position))
    return found


def test_words_are_numbered_in_their_own_text():
    words = train_words([[" ".join(" ".join(pair) for pair in PAIRS)]], 13)[0]
    encoded = encode(EXAMPLES, SNLI, words, 64, knowledge=KNOWLEDGE)
    # start two poodles , cold . delimiter the dog is hot extract
    assert batch_of(encoded).words[0, 0].tolist()[:12] == [
        *(-1, 0, 1, -1, 2, -1),
        *(-1, 0, 1, 2, 3, -1),
    ]
    encoded = encode(EXAMPLES, SNLI, words, 64, separate=True, knowledge=KNOWLEDGE)
    found = batch_of(encoded).words[0, :, :7].tolist()
    assert found == [[-1, 0, 1, -1, 2, -1, -1], [-1, 0, 1, 2, 3, -1, -1]]


@pytest.mark.parametrize("separate", [False, True])
def test_what_was_cut_has_no_relations(separate):
    """The last words of the premise, among them cold, have no room."""
    words = train_words([[" ".join(" ".join(pair) for pair in PAIRS)]], 13)[0]
    long = "Two poodles " + "nothing " * 20 + "cold"
    examples = [Example((long, "The dog is hot"), 0, "row 0", 0)]
    encoded = encode(examples, SNLI, words, 16, separate=separate, knowledge=KNOWLEDGE)
    assert encoded.truncated == 1
    (one,) = encoded.sequences
    assert [len(places) for places in one.related.words] == list(one.lengths)
    (place,) = one.related.places.tolist()
    assert place == ([2, 2] if separate else [2, 12])  # poodles, and dog
    assert one.related.values.tolist() == [list(UP)]


def test_a_pair_of_sequences_is_cut_by_itself():
    """Each text has the whole context."""
    examples = [Example(("abc " * 10, "xy"), 0, "row 0", 0)]
    encoded = encode(examples, SNLI, ByteTokenizer(257), 16, separate=True)
    (one,) = encoded.sequences
    assert (one.lengths, one.truncated, encoded.truncated) == ((16, 4), True, 1)
    start, delimiter, extract = 257, 258, 259
    for ids in one.tokens:
        assert (ids[0], ids[-1]) == (start, extract)
        assert delimiter not in ids
    two = replace(SNLI, format="similarity")
    again = encode(examples, two, ByteTokenizer(257), 16, separate=True)
    assert [ids.tolist() for ids in again.sequences[0].tokens] == [
        ids.tolist() for ids in one.tokens
    ]


def test_rows_of_a_batch_that_only_pad_have_arrays_as_well():
    """Each process asks for its own rows, and all programs have the same inputs."""
    encoded = encode(EXAMPLES, SNLI, ByteTokenizer(257), 64, knowledge=KNOWLEDGE)
    settings = {"context_length": 64, "batch_size": 8, "seed": 0, "shuffle": False}
    data = Bucketed(encoded.sequences, EXAMPLES, SNLI, **settings)
    batch = data.batch(0, 0, slice(4, 8))
    assert not batch.weights.any()
    assert batch.knowledge.shape == (4, *2 * batch.tokens.shape[-1:], 5)
    assert (batch.words == -1).all()
