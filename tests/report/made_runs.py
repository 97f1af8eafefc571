"""Run folders as the commands write them, with numbers that are known, and without training."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w

from gptjax import config
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.task_scores import SplitScores, score
from gptjax.models.config import ModelConfig
from gptjax.runs.predictions import write_predictions

MODEL = ModelConfig(vocabulary_size=50, context_length=16, num_layers=1, num_heads=2, width=8)


def as_read(page: Path) -> str:
    """A page's HTML without what says where a path may be broken."""
    return re.sub(r"</?span>|<wbr>", "", page.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def meta(folder: Path, command: str, status: str = "finished", **more: object) -> None:
    """meta.json of a run."""
    write_json(
        folder / "meta.json",
        {
            "status": status,
            "command": command,
            "started": "2026-11-20T10:00:00+00:00",
            "commit": "0123456789ab",
            "devices": "1 × cpu (cpu)",
            **more,
        },
    )


def settings(folder: Path, **sections: object) -> None:
    """config.toml of a run."""
    table = {"model": config.to_table(MODEL), "train": {"batch_size": 8}, **sections}
    (folder / "config.toml").write_text(tomli_w.dumps(table))


def pretrained(folder: Path, status: str = "finished") -> Path:
    """A pre-trained run of 40 updates, 8 × 16 tokens each, recorded every other update."""
    folder.mkdir(parents=True)
    settings(folder, corpus={"data": "/secret/place/books"})
    text = {"source": "/secret/place/books", "documents": 3, "tokens": 4800}
    meta(folder, "gptjax pretrain --data /secret/place/books", status, data={"train": text})
    train = [
        {
            "step": step,
            "split": "train",
            "loss": 4 - step / 20,
            "learning_rate": 1e-3 * step,
            "tokens_per_second": 64.0,
            "epoch": step / 40,
        }
        for step in range(2, 41, 2)
    ]
    valid = [{"step": step, "split": "valid", "loss": 3.9 - step / 20} for step in (20, 40)]
    lines = [json.dumps(record) for record in (*train, *valid)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    results = {
        "metrics": {
            "loss": 1.9,
            "perplexity": 6.6859,
            "word_perplexity": 33.25,
            "bits_per_byte": 1.125,
            "accuracy": 0.415,
            "unigram_perplexity": 20.0,
        },
        "checkpoint": "best/40",
        "steps": 40,
        "seed": 3,
    }
    write_json(folder / "results.json", results)
    (folder / "samples.txt").write_text("Once <upon> a time & so on\n")
    return folder


def answers(task: str, gold: Sequence[float], seed: int, *, lengths: bool = True) -> SplitScores:
    """Predictions that are often right, drawn with a seed."""
    draw = np.random.default_rng(seed)
    classes = TASKS[task].num_classes
    logits = draw.normal(size=(len(gold), classes))
    logits[np.arange(len(gold)), np.rint(gold).astype(int)] += 1.0
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = float if TASKS[task].scores else int
    examples = [
        Example(tuple("" for _ in TASKS[task].parts), target(value), f"row {number}", number)
        for number, value in enumerate(gold)
    ]
    found = score(log_p.astype(np.float32), examples, TASKS[task])
    tokens = draw.integers(4, 17, len(gold)).tolist() if lengths else ()
    return SplitScores(**{**vars(found), "tokens": tokens})


def tuned(
    folder: Path,
    task: str,
    found: SplitScores,
    seed: int = 1,
    *,
    sample: bool = False,
    status: str = "finished",
) -> Path:
    """A fine-tuned run that gave these answers to its validation split."""
    folder.mkdir(parents=True)
    settings(folder, task={"name": task})
    meta(folder, f"gptjax finetune --task {task} --train.seed {seed}", status)
    split = {"examples": found.num_examples, "left_out": 0, "metrics": dict(found.metrics)}
    results = {
        "task": task,
        "split": "valid",
        "examples": found.num_examples,
        "metrics": dict(found.metrics),
        "data": {"sample": sample},
        "checkpoint": "best/9",
        "seed": seed,
        "majority_class_only": found.collapsed,
        "splits": {"valid": split, "test": {"examples": 5, "left_out": 0, "metrics": {}}},
    }
    write_json(folder / "results.json", results)
    metric = TASKS[task].metrics[0]
    lines = [
        {"step": 5, "split": "train", "loss": 1.0},
        *({"step": s, "split": "valid", "loss": 1.0, metric: (s + seed) / 100} for s in (5, 10)),
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_predictions(folder / "predictions.tsv", found.predictions(TASKS[task]))
    return folder


def zero_shot(
    folder: Path, task: str, value: float, normalised: float | None, checkpoint: str = "best/40"
) -> Path:
    """What `gptjax zeroshot --out` writes."""
    folder.mkdir(parents=True)
    results = {
        "task": f"{task}, zero-shot",
        "split": "valid",
        "examples": 40,
        "metrics": {"accuracy": value},
        "normalised": normalised,
        "threshold": None,
        "data": {"source": "/secret/place/dev.tsv", "sample": False},
        "checkpoint": checkpoint,
        "step": 40,
        "run": "runs/a",
    }
    write_json(folder / "results.json", results)
    return folder


def evaluated(
    folder: Path, task: str, found: SplitScores, *, trained_on_sample: bool = False
) -> Path:
    """What `gptjax evaluate --out` writes of a fine-tuned run on a task's test split."""
    folder.mkdir(parents=True)
    results = {
        "task": task,
        "split": "test",
        "examples": found.num_examples,
        "metrics": dict(found.metrics),
        "data": {
            "source": "/secret/place/test.tsv",
            "dropped": {},
            "sample": False,
            "trained_on_sample": trained_on_sample,
        },
        "checkpoint": "best/9",
        "run": "/secret/place/tuned",
        "made": {
            "command": "gptjax evaluate --run /secret/place/tuned",
            "started": "2026-11-21T10:00:00+00:00",
            "commit": None,
            "devices": "2 × cpu (cpu)",
        },
    }
    write_json(folder / "results.json", results)
    write_predictions(folder / "predictions.tsv", found.predictions(TASKS[task]))
    return folder


def perplexity(folder: Path) -> Path:
    """What `gptjax evaluate --out` writes of a pre-trained run."""
    folder.mkdir(parents=True)
    results = {
        "task": "language-modelling",
        "split": "/secret/place/wiki.txt",
        "examples": 4321,
        "metrics": {"perplexity": 29.41, "word_perplexity": 37.5, "bits_per_byte": 1.0625},
        "data": {"source": "/secret/place/wiki.txt", "dropped": {}},
        "checkpoint": "best/40",
        "run": "runs/pretrain/a",
    }
    write_json(folder / "results.json", results)
    return folder
