"""The offline sample: a few hundred examples of each task, made by a small grammar.

For a first look without network or files: the labels are known because the grammar chose them.
The sentences have the published tasks' form and none of their difficulty.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from gptjax.data.tables.reader import Row
from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import LABEL, Task
from gptjax.errors import UserError

SIZES = {"train": 480, "valid": 120, "test": 120}
VERSION = 1

SUBJECTS = ["farmer", "teacher", "doctor", "sailor", "painter", "baker", "student", "captain"]
SUBJECTS += ["nurse", "writer"]
# The action in the third person, in its base form, as a participle, and its object.
ACTIONS = (
    ("paints", "paint", "painted", "a fence"),
    ("repairs", "repair", "repaired", "a boat"),
    ("reads", "read", "read", "a letter"),
    ("carries", "carry", "carried", "a basket"),
    ("bakes", "bake", "baked", "a cake"),
    ("draws", "draw", "drawn", "a map"),
    ("washes", "wash", "washed", "a window"),
    ("sells", "sell", "sold", "a horse"),
)
PLACES = (
    "in the garden",
    "at the station",
    "near the river",
    "behind the church",
    "on the beach",
    "in the kitchen",
    "at the market",
    "under the bridge",
)
TIMES = ("in the morning", "after lunch", "at night", "on Sunday", "before breakfast")
REASONS = ("for a brother", "because of a promise", "to earn some money", "for the first time")
GOOD = ["warm", "funny", "brilliant", "charming", "moving", "delightful", "clever", "gripping"]
BAD = ["dull", "clumsy", "boring", "shallow", "tedious", "lifeless", "awful", "pointless"]
WORKS = ["film", "story", "script", "performance", "plot", "comedy", "drama", "ending"]
HOPES = (
    ("entered a baking contest", "won the first prize", "dropped the cake"),
    ("took a hard exam", "got the best mark", "failed every part"),
    ("planted a tree", "saw it grow tall and green", "found it dry and dead"),
    ("looked for a lost dog", "found it safe at home", "never saw it again"),
    ("sent a book to a printer", "was praised by everybody", "was laughed at by everybody"),
)
HAPPY = ["smiled", "danced", "cheered", "celebrated"]
SAD = ["cried", "wept", "despaired", "sulked"]


ABSURD = (
    "ate the moon with a spoon",
    "turned into a blue bicycle",
    "sang to a sleeping whale",
    "put the river in a pocket",
)
VAGUE = ("somebody", "does something", "somewhere", "at some time")


class Scene(NamedTuple):
    """Who does what, where and when; numbers of the lists above."""

    subject: int
    action: int
    place: int
    time: int

    def other(self, part: str, rng: random.Random) -> "Scene":
        """The same scene but for one part."""
        size = {"subject": SUBJECTS, "action": ACTIONS, "place": PLACES, "time": TIMES}[part]
        choices = [i for i in range(len(size)) if i != getattr(self, part)]
        return self._replace(**{part: rng.choice(choices)})


def sample_split(task: Task, name: str) -> Split:
    """The sample's train, valid or test split of a task.

    Raises:
        UserError: there is no sample of this task (a task of one's own).
    """
    kind = task.trained_as or task.name
    kind = "race" if kind.startswith("race") else kind
    if kind not in _GRAMMAR:
        raise UserError(f"{task.name}: there is no sample of this task; set `data`")
    cells = _generate(kind)[name]
    rows = (Row(f"sample {name} {i}", row) for i, row in enumerate(cells))
    plain = replace(task, columns={part: (part,) for part in (*task.parts, LABEL)})
    source = "the offline sample (made by a grammar)"
    fingerprint = f"sample {kind} {name} {VERSION}"
    return to_split(rows, plain, name, source=source, fingerprint=fingerprint, strict=True)


def _generate(kind: str) -> dict[str, list[dict[str, object]]]:
    """The rows of every split, no text twice."""
    rng = random.Random(f"{kind} {VERSION}")
    seen: set[str] = set()
    splits = {}
    for name, size in SIZES.items():
        cells: list[dict[str, object]] = []
        while len(cells) < size:
            # Labels in turn, so that each is as frequent as the others.
            row = _GRAMMAR[kind](rng, len(cells))
            texts = repr([text for part, text in row.items() if part != LABEL])
            if texts not in seen:
                seen.add(texts)
                cells.append(row)
        rng.shuffle(cells)
        splits[name] = cells
    return splits


def _scene(rng: random.Random) -> Scene:
    sizes = (len(SUBJECTS), len(ACTIONS), len(PLACES), len(TIMES))
    return Scene(*(rng.randrange(size) for size in sizes))


def _words(scene: Scene) -> tuple[str, str, str, str]:
    verb, _, _, thing = ACTIONS[scene.action]
    return (
        f"the {SUBJECTS[scene.subject]}",
        f"{verb} {thing}",
        PLACES[scene.place],
        TIMES[scene.time],
    )


def _say(*words: str) -> str:
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:] + "."


def _premise(scene: Scene) -> str:
    return _say(*_words(scene))


def _consequence(scene: Scene, rng: random.Random) -> str:
    who, does, where, when = _words(scene)
    rest = rng.choice([(where,), (when,), ()])
    return _say(rng.choice([who, "a person", "somebody"]), does, *rest)


def _contradiction(scene: Scene, rng: random.Random) -> str:
    who, does, where, when = _words(scene)
    _, base, _, thing = ACTIONS[scene.action]
    return rng.choice(
        [
            _say(who, "does not", base, thing, rng.choice([where, when, ""])),
            _say("nobody", does, rng.choice([where, when, ""])),
            _say(who, "is asleep", rng.choice([where, when])),
        ]
    )


def _open(scene: Scene, rng: random.Random) -> str:
    who, does, *_ = _words(scene)
    return _say(rng.choice([who, "a person"]), does, rng.choice(REASONS))


def _three_way(rng: random.Random, number: int) -> dict[str, object]:
    scene = _scene(rng)
    label = ("entailment", "neutral", "contradiction")[number % 3]
    make = {"entailment": _consequence, "neutral": _open, "contradiction": _contradiction}[label]
    return {"premise": _premise(scene), "hypothesis": make(scene, rng), LABEL: label}


def _two_way(yes: str, no: str) -> Callable[[random.Random, int], dict[str, object]]:
    def make(rng: random.Random, number: int) -> dict[str, object]:
        scene = _scene(rng)
        if number % 2:
            return {"premise": _premise(scene), "hypothesis": _consequence(scene, rng), LABEL: yes}
        wrong = rng.choice([_contradiction, _open])(scene, rng)
        return {"premise": _premise(scene), "hypothesis": wrong, LABEL: no}

    return make


def _question(rng: random.Random, number: int) -> dict[str, object]:
    scene = _scene(rng)
    who, does, where, when = _words(scene)
    _, base, _, thing = ACTIONS[scene.action]
    question = _say("where does", who, base, thing).replace(".", "?")
    answer = _say(who, does, where) if number % 2 else _say(who, does, when)
    label = "entailment" if number % 2 else "not_entailment"
    return {"premise": question, "hypothesis": answer, LABEL: label}


def _acceptability(rng: random.Random, number: int) -> dict[str, object]:
    scene = _scene(rng)
    who, does, where, when = _words(scene)
    _, base, _, thing = ACTIONS[scene.action]
    if number % 2:
        return {"text": _say(who, does, rng.choice([where, when])), LABEL: "acceptable"}
    broken = rng.choice(
        [
            _say(does, who, where),
            _say(who, base, thing, where),
            _say(who, does, *where.split()[:-1]),
            _say(who, thing, ACTIONS[scene.action][0], where),
        ]
    )
    return {"text": broken, LABEL: "unacceptable"}


def _sentiment(rng: random.Random, number: int) -> dict[str, object]:
    words = GOOD if number % 2 else BAD
    first, second = rng.sample(words, 2)
    work = rng.choice(WORKS)
    text = rng.choice(
        [
            f"a {first} and {second} {work}",
            f"the {work} is {first} and the ending {second}",
            f"this {work} is never {rng.choice(BAD if number % 2 else GOOD)} but always {first}",
        ]
    )
    return {"text": text, LABEL: "positive" if number % 2 else "negative"}


def _passive(scene: Scene) -> str:
    who, _, where, when = _words(scene)
    _, _, participle, thing = ACTIONS[scene.action]
    return _say(thing, "is", participle, "by", who, where, when)


def _paraphrase(yes: str, no: str) -> Callable[[random.Random, int], dict[str, object]]:
    def make(rng: random.Random, number: int) -> dict[str, object]:
        scene = _scene(rng)
        who, does, where, when = _words(scene)
        if number % 2:
            same = rng.choice([_passive(scene), _say(f"{when},", who, does, where)])
            return {"first": _premise(scene), "second": same, LABEL: yes}
        other = _scene(rng).other("subject", rng)
        return {"first": _premise(scene), "second": _premise(other), LABEL: no}

    return make


def _similarity(rng: random.Random, number: int) -> dict[str, object]:
    scene = _scene(rng)
    # 0 to 4 of the parts are said again and the others left vague; the score is 1.25 for each.
    kept = number % 5
    vague = set(rng.sample(range(4), 4 - kept))
    words = [VAGUE[i] if i in vague else word for i, word in enumerate(_words(scene))]
    return {"first": _premise(scene), "second": _say(*words), LABEL: kept * 1.25}


def _story(rng: random.Random, number: int) -> dict[str, object]:
    who, friend = rng.sample(SUBJECTS, 2)
    hope, good, bad = rng.choice(HOPES)
    happy = rng.random() < 0.5
    context = " ".join(
        [
            _say(f"the {who} {hope}"),
            _say(f"the {friend} helped a little"),
            _say("it took", rng.choice(["all day", "a week", "a whole summer"])),
            _say(f"at last the {who} {good if happy else bad}"),
        ]
    )
    right = rng.choice(HAPPY if happy else SAD)
    wrong = rng.choice(ABSURD)
    endings = [_say(f"the {who} {word}") for word in (right, wrong)]
    if number % 2:
        endings.reverse()
    return {"context": context, "options": endings, LABEL: "2" if number % 2 else "1"}


def _reading(rng: random.Random, number: int) -> dict[str, object]:
    scenes = [_scene(rng) for _ in range(3)]
    chosen = rng.choice(scenes)
    who, does, where, when = _words(chosen)
    wrong = [chosen.other("action", rng) for _ in range(3)]
    options = [_say(who, _words(other)[1], rng.choice(REASONS)) for other in wrong]
    options.insert(number % 4, _say(who, does, rng.choice([where, when])))
    return {
        "context": " ".join(_premise(scene) for scene in scenes),
        "question": f"What does the {SUBJECTS[chosen.subject]} do?",
        "options": options,
        LABEL: "ABCD"[number % 4],
    }


_GRAMMAR: Mapping[str, Callable[[random.Random, int], dict[str, object]]] = {
    "snli": _three_way,
    "mnli": _three_way,
    "qnli": _question,
    "rte": _two_way("entailment", "not_entailment"),
    "wnli": _two_way("entailment", "not_entailment"),
    "scitail": _two_way("entails", "neutral"),
    "rocstories": _story,
    "race": _reading,
    "cola": _acceptability,
    "sst2": _sentiment,
    "mrpc": _paraphrase("equivalent", "not_equivalent"),
    "qqp": _paraphrase("duplicate", "not_duplicate"),
    "stsb": _similarity,
}
