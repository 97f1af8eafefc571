"""Base forms of words by WordNet's own rules, morphy(7WN).

The rules know no part of speech of a word in its sentence, so that a word may have several base
forms: of "left" they are "left" and "leave".
"""

from collections.abc import Iterable, Mapping, Sequence

from gptjax.data.knowledge.wordnet import WordNet

# Ends of inflected words, and of their base forms.
RULES: Mapping[str, Sequence[tuple[str, str]]] = {
    "noun": (
        *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z")),
        *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
    ),
    "verb": (
        *(("s", ""), ("ies", "y"), ("es", "e"), ("es", "")),
        *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}

SHORTEST = 2  # letters of a word that the rules leave alone

Lemmas = Mapping[str, Sequence[str]]
"""Word -> its base forms."""


def base_forms(word: str, wordnet: WordNet) -> tuple[str, ...]:
    """The base forms of a word that WordNet has, with their capitals; none of unknown words.

    A word that begins a sentence may be one of two: of "Turkeys" these are the base forms of
    "Turkeys" and of "turkeys".
    """
    forms = _forms(word, wordnet)
    if word != word.lower():
        forms += _forms(word.lower(), wordnet)
    return tuple(dict.fromkeys(form for form in forms if form in wordnet.known))


def find_lemmas(words: Iterable[str], wordnet: WordNet, given: Lemmas) -> dict[str, list[str]]:
    """Of each word the base forms that are in WordNet; words without any are left out.

    They are those of ``given``, where it has the word or the word without capitals, else by the
    rules.
    """
    found = {}
    for word in words:
        forms = given.get(word, given.get(word.lower()))
        if forms is None:
            forms = base_forms(word, wordnet)
        if known := [form for form in forms if form in wordnet.known]:
            found[word] = known
    return found


def _forms(word: str, wordnet: WordNet) -> list[str]:
    """Of each part of speech what the list of exceptions says, else the word itself, else what the
    first rule makes of it."""
    found: list[str] = []
    for part, rules in RULES.items():
        known = wordnet.words[part]
        forms = wordnet.exceptions[part].get(word, ())[:1]
        if not forms and word in known:
            forms = [word]
        # An owner and a number are no comparatives, glass and us no plurals.
        short = len(word) <= SHORTEST or word.endswith("ss")
        if not (forms or short or (part == "adj" and found)):
            made = (word.removesuffix(end) + base for end, base in rules if word.endswith(end))
            forms = [form for form in made if form in known][:1]
        found += forms
    return found
