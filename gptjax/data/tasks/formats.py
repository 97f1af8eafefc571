"""The traversal transformations: an example's texts as sequences (section 3.3, figure 1).

Pure functions from token ids to sequences of token ids. Special tokens are inserted by id, so
that no text can spell one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gptjax.data.knowledge.table import Knowledge
from gptjax.data.tasks.related import Related, Words
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Format, Task
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError

Ids = Int[np.ndarray, " _"]
MIN_CONTEXT = 16  # the special tokens, and a few of every part


class Specials(NamedTuple):
    """Ids of the special tokens: the three after the vocabulary of ``size`` tokens."""

    start: int
    delimiter: int
    extract: int

    @classmethod
    def after(cls, size: int) -> "Specials":
        """The ids that follow a vocabulary."""
        return cls(size, size + 1, size + 2)


NO_WORDS = Specials(-1, -1, -1)
"""In the place of the special tokens, where words are numbered."""


class Sequences(NamedTuple):
    """One example, ready to be padded."""

    tokens: tuple[Ids, ...]  # K arrays int32 [n_k], each from start to extract
    truncated: bool  # whether some text was cut to fit
    related: Related | None = None  # what is known of their words; None: nothing was looked up

    @property
    def lengths(self) -> tuple[int, ...]:
        """n_k, at most the context length."""
        return tuple(len(ids) for ids in self.tokens)


def classification(parts: Sequence[Ids], specials: Specials, context_length: int) -> Sequences:
    """start text extract."""
    (text,) = parts
    (length,) = fit([len(text)], context_length - 2)
    return Sequences((_sequence(specials, [text[:length]]),), length < len(text))


def entailment(parts: Sequence[Ids], specials: Specials, context_length: int) -> Sequences:
    """start premise delimiter hypothesis extract; the premise is cut before the hypothesis."""
    premise, hypothesis = parts
    a, b = fit([len(premise), len(hypothesis)], context_length - 3, protected=1)
    tokens = _sequence(specials, [premise[:a]], hypothesis[:b])
    return Sequences((tokens,), a < len(premise) or b < len(hypothesis))


def similarity(parts: Sequence[Ids], specials: Specials, context_length: int) -> Sequences:
    """start a delimiter b extract, and start b delimiter a extract: there is no natural order."""
    first, second = parts
    a, b = fit([len(first), len(second)], context_length - 3)
    one = _sequence(specials, [first[:a]], second[:b])
    other = _sequence(specials, [second[:b]], first[:a])
    return Sequences((one, other), a < len(first) or b < len(second))


def apart(parts: Sequence[Ids], specials: Specials, context_length: int) -> Sequences:
    """start text extract, for each of two texts: for models that compare two sequences."""
    lengths = [min(len(text), context_length - 2) for text in parts]
    tokens = [_sequence(specials, [text[:n]]) for text, n in zip(parts, lengths, strict=True)]
    return Sequences(tuple(tokens), lengths != [len(text) for text in parts])


def choice(parts: Sequence[Ids], specials: Specials, context_length: int) -> Sequences:
    """start context question delimiter option extract, for every option.

    The context and the question are cut alike for all options, so that they differ in their
    options only; options are cut last.
    """
    context, question, *options = parts
    longest = max(len(option) for option in options)
    lengths = [len(context), len(question), longest]
    a, b, c = fit(lengths, context_length - 3, protected=2)
    shared = [context[:a], question[:b]]
    tokens = tuple(_sequence(specials, shared, option[:c]) for option in options)
    return Sequences(tokens, [a, b, c] != lengths)


TRANSFORMATIONS: Mapping[Format, Callable[[Sequence[Ids], Specials, int], Sequences]] = {
    "classification": classification,
    "entailment": entailment,
    "similarity": similarity,
    "choice": choice,
}


def fit(lengths: Sequence[int], room: int, protected: int | None = None) -> list[int]:
    """How much of each part fits into ``room`` tokens together: the longest part gives first.

    The ``protected`` part stays whole if it fits beside one token of each other part, and
    otherwise gives like them.
    """
    lengths = list(lengths)
    if sum(lengths) <= room:
        return lengths
    others = len(lengths) - 1
    if protected is not None and lengths[protected] <= room - others:
        rest = [n for i, n in enumerate(lengths) if i != protected]
        cut = fit(rest, room - lengths[protected])
        return [*cut[:protected], lengths[protected], *cut[protected:]]
    # Fill up from the shortest: a part is cut only to the size of the longest that are left.
    result = [0] * len(lengths)
    for done, index in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        result[index] = min(lengths[index], room // (len(lengths) - done))
        room -= result[index]
    return result


def _sequence(specials: Specials, before: Sequence[Ids], after: Ids | None = None) -> Ids:
    parts: list[Ids | list[int]] = [[specials.start], *before]
    if after is not None:
        parts += [[specials.delimiter], after]
    return np.concatenate([*parts, [specials.extract]]).astype(np.int32)


def lacks_options(examples: Iterable[Sequences], task: Task) -> bool:
    """Whether an example has fewer sequences than its choice has labels."""
    return task.format == "choice" and any(len(one.tokens) < task.num_classes for one in examples)


class EncodedExamples(NamedTuple):
    """The sequences of a split's examples, in order."""

    sequences: list[Sequences]
    truncated: int  # how many examples lost some text


def encode(
    examples: Sequence[Example],
    task: Task,
    tokenizer: Tokenizer,
    context_length: int,
    *,
    separate: bool = False,
    knowledge: Knowledge | None = None,
) -> EncodedExamples:
    """Tokenize and transform examples; a text that occurs several times is encoded once.

    Args:
        examples: of one split.
        task: theirs.
        tokenizer: the model's.
        context_length: the most tokens of a sequence.
        separate: whether the two texts of an example are sequences of their own (`apart`).
        knowledge: what is known of words; of examples with two texts in one order.

    Raises:
        UserError: the context is too short for the special tokens and some text.
    """
    if context_length < MIN_CONTEXT:
        raise UserError(
            f"model.context_length is {context_length}: fine-tuning needs at least {MIN_CONTEXT}"
        )
    specials = Specials.after(tokenizer.size)
    texts = list(dict.fromkeys(text for example in examples for text in example.texts))
    ids = dict(zip(texts, tokenizer.encode(texts), strict=True))
    transform = apart if separate else TRANSFORMATIONS[task.format]
    sequences = [
        transform([ids[text] for text in example.texts], specials, context_length)
        for example in examples
    ]
    if knowledge is not None:
        words = Words(tokenizer, texts)
        for number, example in enumerate(examples):
            first, second = example.texts
            # The numbers of the words go the way of the tokens.
            moved = transform(words.numbered(first, second), NO_WORDS, context_length).tokens
            related = words.related(first, second, moved, knowledge)
            sequences[number] = sequences[number]._replace(related=related)
    return EncodedExamples(sequences, sum(item.truncated for item in sequences))
