"""The offline sample: a few hundred examples of each task, made by a small grammar.

For a first look without network or files: the labels are known because the grammar chose them.
The sentences have the published tasks' form and none of their difficulty.
"""

import random
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from gptjax.data.tables.format import Row
from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import LABEL, Task
from gptjax.errors import UserError

SIZES = {"train": 480, "valid": 120, "test": 120}
VERSION = 1
WORDS: Mapping[str, Any] = tomllib.loads(
    Path(__file__).with_name("samples.toml").read_text(encoding="utf-8")
)
Texts = tuple[str | tuple[str, ...], ...]  # of each part of a task, options in one


def sample_split(task: Task, name: str) -> Split:
    """The sample's train, valid or test split of a task; a task of one's own has none."""
    kind = task.trained_as or task.name
    kind = "race" if kind.startswith("race") else kind
    if kind not in _GRAMMAR:
        raise UserError(f"{task.name}: there is no sample of this task; set `data`")
    columns = (*task.parts, LABEL)
    rows = (
        Row(f"sample {name} {i}", dict(zip(columns, cells, strict=True)))
        for i, cells in enumerate(_generate(kind)[name])
    )
    plain = replace(task, columns={part: (part,) for part in columns}, named=frozenset())
    source = "the offline sample (made by a grammar)"
    fingerprint = f"sample {kind} {name} {VERSION}"
    return to_split(rows, plain, name, source=source, fingerprint=fingerprint, strict=True)


def _generate(kind: str) -> dict[str, list[tuple[object, ...]]]:
    """The texts and labels of every split, no texts twice."""
    make, labels = _GRAMMAR[kind]
    rng = random.Random(f"{kind} {VERSION}")
    seen: set[Texts] = set()
    splits = {}
    for name, size in SIZES.items():
        rows: list[tuple[object, ...]] = []
        while len(rows) < size:
            turn = len(rows) % len(labels)  # so that each label is as frequent as the others
            texts = make(rng, turn)
            if texts not in seen:
                seen.add(texts)
                rows.append((*texts, labels[turn]))
        rng.shuffle(rows)
        splits[name] = rows
    return splits


class Scene(NamedTuple):
    """Who does what, where and when; the action in three forms, and its object."""

    who: str
    verb: str
    base: str
    participle: str
    thing: str
    where: str
    when: str

    @property
    def words(self) -> tuple[str, str, str, str]:
        """Who, does what, where, when."""
        return self.who, f"{self.verb} {self.thing}", self.where, self.when


def _scene(rng: random.Random) -> Scene:
    who, action, where, when = (rng.choice(WORDS[k]) for k in ("who", "action", "where", "when"))
    return Scene._make((who, *action, where, when))


def _say(*words: str) -> str:
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:] + "."


def _consequence(scene: Scene, rng: random.Random) -> str:
    who, does, where, when = scene.words
    rest = rng.choice([where, when, ""])
    return _say(rng.choice([who, "a person", "somebody"]), does, rest)


def _contradiction(scene: Scene, rng: random.Random) -> str:
    who, does, where, when = scene.words
    return rng.choice(
        [
            _say(who, "does not", scene.base, scene.thing, rng.choice([where, when, ""])),
            _say("nobody", does, rng.choice([where, when, ""])),
            _say(who, "is asleep", rng.choice([where, when])),
        ]
    )


def _open(scene: Scene, rng: random.Random) -> str:
    who, does, *_ = scene.words
    return _say(rng.choice([who, "a person"]), does, rng.choice(WORDS["why"]))


def _three_way(rng: random.Random, turn: int) -> Texts:
    scene = _scene(rng)
    return _say(*scene.words), (_consequence, _open, _contradiction)[turn](scene, rng)


def _two_way(rng: random.Random, turn: int) -> Texts:
    scene = _scene(rng)
    make = _consequence if turn else rng.choice([_contradiction, _open])
    return _say(*scene.words), make(scene, rng)


def _question(rng: random.Random, turn: int) -> Texts:
    scene = _scene(rng)
    who, does, where, when = scene.words
    question = _say("where does", who, scene.base, scene.thing).replace(".", "?")
    return question, _say(who, does, where if turn else when)


def _acceptability(rng: random.Random, turn: int) -> Texts:
    scene = _scene(rng)
    who, does, where, when = scene.words
    if turn:
        return (_say(who, does, rng.choice([where, when])),)
    broken = (
        (does, who, where),
        (who, scene.base, scene.thing, where),
        (who, does, *where.split()[:-1]),
        (who, scene.thing, scene.verb, where),
    )
    return (_say(*rng.choice(broken)),)


def _sentiment(rng: random.Random, turn: int) -> Texts:
    words, opposite = (WORDS["good"], WORDS["bad"]) if turn else (WORDS["bad"], WORDS["good"])
    first, second = rng.sample(words, 2)
    work = rng.choice(WORDS["work"])
    texts = (
        f"a {first} and {second} {work}",
        f"the {work} is {first} and the ending {second}",
        f"this {work} is never {rng.choice(opposite)} but always {first}",
    )
    return (rng.choice(texts),)


def _paraphrase(rng: random.Random, turn: int) -> Texts:
    scene = _scene(rng)
    who, does, where, when = scene.words
    if turn:
        passive = (scene.thing, "is", scene.participle, "by", who, where, when)
        return _say(*scene.words), _say(*rng.choice([passive, (f"{when},", who, does, where)]))
    other = _scene(rng)
    other = other._replace(who=rng.choice([who for who in WORDS["who"] if who != other.who]))
    return _say(*scene.words), _say(*other.words)


def _similarity(rng: random.Random, turn: int) -> Texts:
    words = _scene(rng).words
    # So many of the words are said again and the others left vague; each is worth 1.25.
    vague = rng.sample(range(len(words)), len(words) - turn)
    second = [WORDS["vague"][i] if i in vague else word for i, word in enumerate(words)]
    return _say(*words), _say(*second)


def _story(rng: random.Random, turn: int) -> Texts:
    who, friend = rng.sample(WORDS["who"], 2)
    hope, good, bad = rng.choice(WORDS["hope"])
    happy = rng.random() < 0.5
    context = (
        _say(who, hope),
        _say(friend, "helped a little"),
        _say("it took", rng.choice(WORDS["effort"])),
        _say("at last", who, good if happy else bad),
    )
    right, wrong = rng.choice(WORDS["happy" if happy else "sad"]), rng.choice(WORDS["absurd"])
    options = [_say(who, wrong)]
    options.insert(turn, _say(who, right))
    return " ".join(context), "", tuple(options)


def _reading(rng: random.Random, turn: int) -> Texts:
    scenes = [_scene(rng) for _ in range(3)]
    chosen = rng.choice(scenes)
    who, does, where, when = chosen.words
    others = [action for action in WORDS["action"] if action[0] != chosen.verb]
    wrong = [rng.choice(others) for _ in range(3)]
    options = [_say(who, verb, thing, rng.choice(WORDS["why"])) for verb, _, _, thing in wrong]
    options.insert(turn, _say(who, does, rng.choice([where, when])))
    context = " ".join(_say(*scene.words) for scene in scenes)
    return context, f"What does {who} do?", tuple(options)


def _stars(rng: random.Random, turn: int) -> Texts:
    """From very bad to very good."""
    bad, good = (rng.sample(WORDS[kind], 2) for kind in ("bad", "good"))
    work = rng.choice(WORDS["work"])
    texts = (
        f"an extremely {bad[0]} and {bad[1]} {work}",
        f"the {work} is {bad[0]} and never {good[0]}",
        f"a {work} that is as {good[0]} as it is {bad[0]}",
        f"the {work} is {good[0]} and never {bad[0]}",
        f"an extremely {good[0]} and {good[1]} {work}",
    )
    return (f"{texts[turn]} {rng.choice(WORDS['when'])}",)


def _news(rng: random.Random, turn: int) -> Texts:
    who, does = (rng.choice(words) for words in WORDS["news"][turn])
    return (_say(who, does, rng.choice(WORDS["where"]), rng.choice(WORDS["when"])),)


def _what_is_asked(rng: random.Random, turn: int) -> Texts:
    """An abbreviation, a thing, a reason, a person, a place, a number."""
    scene = _scene(rng)
    who, does, where, when = scene.words
    letters = "".join(rng.sample(WORDS["letters"], 3))
    questions = (
        ("what does", letters, "stand for", rng.choice([where, when])),
        ("what does", who, scene.base, where, when),
        ("why does", who, scene.base, scene.thing, rng.choice([where, when])),
        ("who", does, where, when),
        ("where does", who, scene.base, scene.thing, when),
        ("how many times does", who, scene.base, scene.thing, rng.choice([where, when])),
    )
    return (_say(*questions[turn]).replace(".", "?"),)


def _subjectivity(rng: random.Random, turn: int) -> Texts:
    if turn:
        return _sentiment(rng, rng.randrange(2))
    return (_say(*_scene(rng).words),)


# What makes the texts of a task's example, told which of the labels is in turn.
_GRAMMAR: Mapping[str, tuple[Callable[[random.Random, int], Texts], tuple[str | float, ...]]] = {
    "snli": (_three_way, ("entailment", "neutral", "contradiction")),
    "mnli": (_three_way, ("entailment", "neutral", "contradiction")),
    "qnli": (_question, ("not_entailment", "entailment")),
    "rte": (_two_way, ("not_entailment", "entailment")),
    "wnli": (_two_way, ("not_entailment", "entailment")),
    "scitail": (_two_way, ("neutral", "entails")),
    "rocstories": (_story, ("1", "2")),
    "race": (_reading, ("A", "B", "C", "D")),
    "cola": (_acceptability, ("unacceptable", "acceptable")),
    "sst2": (_sentiment, ("negative", "positive")),
    "mrpc": (_paraphrase, ("not_equivalent", "equivalent")),
    "qqp": (_paraphrase, ("not_duplicate", "duplicate")),
    "stsb": (_similarity, (0.0, 1.25, 2.5, 3.75, 5.0)),
    **dict.fromkeys(("imdb", "mr", "cr", "mpqa"), (_sentiment, ("neg", "pos"))),
    "sst5": (_stars, ("0", "1", "2", "3", "4")),
    "ag_news": (_news, ("World", "Sports", "Business", "Sci/Tech")),
    "trec": (_what_is_asked, ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")),
    "subj": (_subjectivity, ("objective", "subjective")),
}
