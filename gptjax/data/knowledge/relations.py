"""The five relations of two words, as KIM counts them (Chen et al. 2018, and their released code).

A word has all meanings that WordNet gives it. Between two words stand

    hypernymy      1 − n / 8, where a meaning of the second is n ≤ 7 hypernyms above one of the
                   first; n is the shortest way
    hyponymy       the same the other way round
    co-hyponymy    1, where two meanings have a hypernym in common right above them
    antonymy       1, where WordNet names the one as the other's antonym
    synonymy       1, where they have a meaning in common

A word that WordNet has is its own synonym, and has no other relation to itself.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from gptjax.data.knowledge.wordnet import Key, WordNet

MOST_EDGES = 7
SCALE = 8


class Relations(NamedTuple):
    """The values of a pair of words, each from 0 (no relation) to 1."""

    hypernymy: float = 0.0
    hyponymy: float = 0.0
    co_hyponymy: float = 0.0
    antonymy: float = 0.0
    synonymy: float = 0.0


NAMES = Relations._fields
NONE, ITSELF = Relations(), Relations(synonymy=1.0)

Pairs = dict[tuple[str, str], Relations]
"""Two different words -> their relations, of pairs that have one."""

Members = Mapping[Key, Collection[str]]


def find_pairs(wordnet: WordNet, words: Collection[str]) -> Pairs:
    """The pairs of different words that have a relation, in the order of their characters.

    Words that WordNet lacks have none; capitals count.
    """
    wanted = set(words)
    members = {
        key: own
        for key, synset in wordnet.synsets.items()
        if (own := wanted.intersection(synset.words))
    }
    above = _above(wordnet, members)
    siblings = _siblings(wordnet, members)
    opposites = {pair for pair in _antonyms(wordnet) if wanted.issuperset(pair)}
    same = {pair for own in members.values() for pair in product(own, own)}
    below = {(second, first) for first, second in above}
    found = {}
    for pair in sorted(above.keys() | below | siblings | opposites | same):
        first, second = pair
        if first != second:
            found[pair] = Relations(
                above.get(pair, 0.0),
                above.get((second, first), 0.0),
                float(pair in siblings),
                float(pair in opposites),
                float(pair in same),
            )
    return found


def _above(wordnet: WordNet, members: Members) -> dict[tuple[str, str], float]:
    """Hypernymy: a word and one above it -> the value of the shortest way."""
    found: dict[tuple[str, str], float] = {}
    for start, own in members.items():
        for key, edges in _ancestors(wordnet, start):
            value = 1 - edges / SCALE
            for pair in product(own, members.get(key, ())):
                if value > found.get(pair, 0.0):
                    found[pair] = value
    return found


def _ancestors(wordnet: WordNet, start: Key) -> Iterator[tuple[Key, int]]:
    """The synsets above one, each with the fewest edges that lead there."""
    seen, level = {start}, {start}
    for edges in range(1, MOST_EDGES + 1):
        level = {up for key in level for up in wordnet.synsets[key].hypernyms} - seen
        seen |= level
        yield from ((key, edges) for key in level)


def _siblings(wordnet: WordNet, members: Members) -> set[tuple[str, str]]:
    """Co-hyponymy: words of two different synsets right below the same one."""
    below: dict[Key, list[Key]] = defaultdict(list)
    for key in members:
        for up in wordnet.synsets[key].hypernyms:
            below[up].append(key)
    # A word in several of the synsets, and words that share one, make it necessary to look at
    # pairs of synsets.
    return {
        pair
        for keys in below.values()
        for one, other in product(keys, keys)
        if one != other
        for pair in product(members[one], members[other])
    }


def _antonyms(wordnet: WordNet) -> Iterator[tuple[str, str]]:
    for synset in wordnet.synsets.values():
        for here, key, there in synset.antonyms:
            yield synset.words[here], wordnet.synsets[key].words[there]
