"""Fine-tuning's speed, for `make bench`: steps with the auxiliary loss, and preparing rows."""

import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from step_benchmark import widest
from turns import Side

from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.formats import Sequences, encode
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.text.embedded import embedded_documents
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.runs.head import head_config
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer

BATCH = 32
# Tokens of premise and hypothesis in SNLI: about 14 and 8 words, skewed to the right.
PREMISE, HYPOTHESIS = (5.5, 3.2), (5.0, 1.8)
ROWS = 100_000


def pair_lengths(count: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in tokens of SNLI-like premises and hypotheses."""
    rng = np.random.default_rng(0)
    premise = np.clip(rng.gamma(*PREMISE, count), 3, context // 2).astype(int)
    hypothesis = np.clip(rng.gamma(*HYPOTHESIS, count), 2, context // 2 - 3).astype(int)
    return premise, hypothesis


def random_pairs(model: ModelConfig, count: int) -> tuple[list[Sequences], list[Example]]:
    """Sequences start premise delimiter hypothesis extract of random tokens, and labels."""
    rng = np.random.default_rng(1)
    size = model.vocabulary_size
    sequences, examples = [], []
    for number, (a, b) in enumerate(zip(*pair_lengths(count, model.context_length), strict=True)):
        words = rng.integers(0, size, a + b)
        ids = np.concatenate([[size], words[:a], [size + 1], words[a:], [size + 2]])
        sequences.append(Sequences((ids.astype(np.int32),), False))
        examples.append(Example((), int(rng.integers(3)), "", number))
    return sequences, examples


def measure(model: ModelConfig, compare: bool, blocks: int, steps: int = 12) -> dict[str, Any]:
    """The row of a model: examples per second with the auxiliary LM loss on, and the ratio to
    transformers' Trainer, which has none, and computes a bfloat16 model under autocast.

    Blocks of the training loop take turns with blocks of the Trainer's; the medians are compared.
    The first epoch, in which the shapes are compiled, does not count.
    """
    task = TASKS["snli"]
    sequences, examples = random_pairs(model, 2 * steps * BATCH)
    batches = Bucketed(
        sequences,
        examples,
        task,
        context_length=model.context_length,
        batch_size=BATCH,
        seed=0,
        shuffle=True,
    )
    warm = 2  # an epoch
    ours_seconds: list[float] = []
    theirs_seconds: list[float] = []
    turn = {"ended": 0.0, "count": 0}

    def take_turns(params: Any) -> dict[str, float]:
        now = time.perf_counter()
        turn["count"] += 1
        if turn["count"] > warm:
            ours_seconds.append((now - turn["ended"]) / steps)
        if theirs is not None and turn["count"] >= warm:
            theirs_seconds.append(theirs(steps)["result"])
        turn["ended"] = time.perf_counter()
        return {"loss": 0.0}

    with ExitStack() as stack:
        theirs = None
        if compare:
            theirs = stack.enter_context(fastest_trainer(model, len(sequences)))
        config = TrainConfig(
            steps=steps * (warm + blocks), batch_size=BATCH, evaluate_every=steps, seed=0
        )
        functions = objective.task(model, head_config(task), lm_coefficient=0.5)
        optimizer = make_optimizer(OptimizerConfig(warmup=0.0), config.steps or 0)
        fit(functions.objective, batches, config, optimizer, evaluate=take_turns)
    ours = statistics.median(ours_seconds)
    ratio = statistics.median(theirs_seconds) / ours if theirs_seconds else None
    return {
        "fine-tuning": f"{model.num_layers} × {model.width}, {BATCH} rows, {model.dtype}",
        "examples/s": BATCH / ours,
        "vs Trainer": ratio,
        "padding": batches.padding(),
        "shapes": len(batches.shapes()),
    }


def trainer(model: Mapping[str, Any], count: int, attention: str) -> Callable[[int], float]:
    """Steps of transformers' Trainer on as many rows, for a process of its own; seconds each."""
    import pytorch_gpt1

    config = ModelConfig(**model)
    rows = [
        {"input_ids": item.tokens[0].tolist(), "labels": example.target}
        for item, example in zip(*random_pairs(config, count), strict=True)
    ]
    return pytorch_gpt1.make_trainer(config, rows, BATCH, attention)


@contextmanager
def fastest_trainer(model: ModelConfig, count: int) -> Iterator[Side]:
    """Trainer with its faster attention, which is printed, and MKL at its widest."""
    with widest() as environment:

        def side(attention: str) -> Side:
            given = {"model": asdict(model), "count": count, "attention": attention}
            return Side("finetune_benchmark:trainer", given, environment=environment)

        seconds = {}
        for name in ("eager", "sdpa"):
            with side(name) as tried:
                tried(2)
                seconds[name] = tried(6)["result"]
        best = min(seconds, key=seconds.__getitem__)
        print(f"Trainer's fastest attention: {best}")
        with side(best) as chosen:
            chosen(2)
            yield chosen


def preparing_seconds() -> tuple[float, int]:
    """Seconds to read, tokenize and transform SNLI-like rows of text, and how many there were."""
    words = [word for _, text in embedded_documents() for word in text.split() if word.isalpha()]
    tokenizer, _ = train_sentencepiece(([text] for _, text in embedded_documents()), 8000)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.tsv"
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            out.writerow(["premise", "hypothesis", "label"])
            for number in range(ROWS):
                at = rng.integers(0, len(words) - 40, 2)
                a, b = " ".join(words[at[0] : at[0] + 14]), " ".join(words[at[1] : at[1] + 8])
                out.writerow([a, b, TASKS["snli"].labels[number % 3]])
        start = time.perf_counter()
        split = read_split(path, TASKS["snli"], "train")
        encoded = encode(split.examples, TASKS["snli"], tokenizer, 256)
        Bucketed(
            encoded.sequences,
            split.examples,
            TASKS["snli"],
            context_length=256,
            batch_size=BATCH,
            seed=0,
            shuffle=True,
        ).shapes()
        return time.perf_counter() - start, len(split.examples)
