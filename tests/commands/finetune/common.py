"""What the tests of fine-tuning share."""

import json
import random
from contextlib import contextmanager
from pathlib import Path

import jax

from gptjax import options
from gptjax.commands import finetune_config
from gptjax.commands.finetune_config import FinetuneConfig

# Branches of a useful size in so narrow a model: 0.02 × sqrt(768 / 16).
CONTEXT = ("--model.context-length", "32", "--model.initial-std", "0.14")
COMPILED = "/jax/core/compile/backend_compile_duration"
# Hardly an update; it is compiled once for all tests that have it.
ONE_STEP = ("--train.steps", "1", "--optimizer.learning-rate", "1e-9")
QUICK = ("--tracking.no-tensorboard", "--train.log-every", "1")


def reviews(seed: int, count: int, *, labels: bool = True) -> str:
    """A file that a model of one layer learns: the sentiment is one of two words."""
    draw = random.Random(seed)
    lines = ["sentence\tlabel" if labels else "index\tsentence"]
    for number in range(count):
        label = draw.randrange(2)
        words = [
            draw.choice(["a", "old", "house", "river", "walked"]) for _ in range(draw.randint(1, 2))
        ]
        words.insert(draw.randint(0, len(words)), ("red", "slowly")[label])
        sentence = " ".join(words)
        lines.append(f"{sentence}\t{label}" if labels else f"{number}\t{sentence}")
    return "\n".join(lines) + "\n"


@contextmanager
def compilations():
    """What is compiled meanwhile."""
    found = []

    def listen(event, duration, **_):
        if event == COMPILED:
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def data_facts(run: Path) -> dict:
    """What meta.json says of the data."""
    return json.loads((run / "meta.json").read_text())["data"]


def write_config(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    return str(tmp_path / "c.toml")


def defaults_of(*words):
    return options.parse(FinetuneConfig, words, prog="test", defaults=finetune_config.defaults)
