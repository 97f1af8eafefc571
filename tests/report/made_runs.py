"""Run folders with known numbers and without training, by the writers that the commands use."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax import config as configs
from gptjax.commands.finetune_config import FinetuneConfig
from gptjax.commands.pretrain import PretrainConfig
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.most_wrong import most_wrong
from gptjax.evaluation.task_scores import SplitScores, score
from gptjax.models.config import ModelConfig
from gptjax.runs.folder import Provenance, RunFolder
from gptjax.runs.most_wrong import write_most_wrong
from gptjax.runs.predictions import write_predictions
from gptjax.runs.results import (
    Data,
    LanguageModelling,
    SplitResult,
    TaskEvaluation,
    TaskRun,
    TextEvaluation,
    ZeroShot,
    read_as,
    write_results,
)
from gptjax.training.tracking import Tracker, TrackingConfig

MODEL = ModelConfig(vocabulary_size=50, context_length=16, num_layers=1, num_heads=2, width=8)


def as_read(page: Path) -> str:
    """A page's HTML without what says where a path may be broken."""
    return re.sub(r"</?span>|<wbr>", "", page.read_text(encoding="utf-8"))


def meta(folder: Path, command: str, status: str = "finished", **more: object) -> None:
    """meta.json of a run."""
    RunFolder(folder).update_meta(
        status=status,
        command=command,
        started="2026-11-20T10:00:00+00:00",
        commit="0123456789ab",
        devices="1 × cpu (cpu)",
        **more,
    )


def settings(folder: Path, config: Any, **sections: dict[str, Any]) -> None:
    """config.toml of a run, of a small model."""
    changed = {
        name: dataclasses.replace(getattr(config, name), **values)
        for name, values in sections.items()
    }
    folder.mkdir(parents=True)
    config = dataclasses.replace(config, model=MODEL, **changed)
    configs.write(config, RunFolder(folder).config)


def records(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """metrics.jsonl of a run."""
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        tracker.start(0, 1)
        for line in lines:
            tracker.log(line)


def pretrained(folder: Path, status: str = "finished") -> Path:
    """A pre-trained run of 40 updates, 8 × 16 tokens each, recorded every other update."""
    books = {"data": "/secret/place/books"}
    settings(folder, PretrainConfig(), corpus=books, train={"batch_size": 8})
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
    records(folder, [*train, *valid])
    results = LanguageModelling(
        split="valid",
        examples=480,
        metrics={
            "loss": 1.9,
            "perplexity": 6.6859,
            "word_perplexity": 33.25,
            "bits_per_byte": 1.125,
            "accuracy": 0.415,
            "unigram_perplexity": 20.0,
        },
        data=Data(source="/secret/place/books"),
        checkpoint="best/40",
        steps=40,
        seed=3,
    )
    write_results(RunFolder(folder).results, results)
    (folder / "samples.txt").write_text("Once <upon> a time & so on\n")
    return folder


def autoencoder(folder: Path) -> Path:
    """The same run, of a sequence autoencoder that predicts 1,200 tokens in an epoch."""
    run = RunFolder(pretrained(folder))
    text = {"source": "/secret/place/books", "documents": 3, "tokens": 4800, "predicted": 1200}
    run.update_meta(data={"train": text})
    metrics = {"loss": 1.9, "accuracy": 0.415, "reconstruction_perplexity": 6.6859, "tokens": 480}
    found = read_as(LanguageModelling, run.results)
    write_results(run.results, dataclasses.replace(found, metrics=metrics))
    return folder


def examples_of(task: str, gold: Iterable[int | float]) -> list[Example]:
    """Examples with long texts that look like HTML."""
    texts = [f"<b>{part}</b> & /its/text " + "long " * 80 for part in TASKS[task].parts]
    return [Example(tuple(texts), value, f"row {n}", n) for n, value in enumerate(gold)]


def answers(
    task: str, gold: Sequence[float], seed: int, *, lengths: bool = True, sure: float = 1.0
) -> SplitScores:
    """Predictions that are often right, drawn with a seed; ``sure`` is added to the right ones."""
    draw = np.random.default_rng(seed)
    classes = TASKS[task].num_classes
    logits = draw.normal(size=(len(gold), classes))
    logits[np.arange(len(gold)), np.rint(gold).astype(int)] += sure
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = float if TASKS[task].scores else int
    found = score(log_p.astype(np.float32), examples_of(task, map(target, gold)), TASKS[task])
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
    notices: tuple[str, ...] = (),
) -> Path:
    """A fine-tuned run that gave these answers to its validation split."""
    settings(folder, FinetuneConfig(), task={"name": task}, train={"seed": seed})
    meta(folder, f"gptjax finetune --task {task} --train.seed {seed}", status)
    metrics = dict(found.metrics)
    results = TaskRun(
        task=task,
        split="valid",
        examples=found.num_examples,
        metrics=metrics,
        data=Data(sample=sample),
        checkpoint="best/9",
        seed=seed,
        majority_class_only=found.collapsed,
        notices=notices,
        splits=(
            SplitResult("valid", found.num_examples, 0, metrics),
            SplitResult("test", 5, 0, {}),
        ),
    )
    write_results(RunFolder(folder).results, results)
    metric = TASKS[task].metrics[0]
    lines = [
        {"step": 5, "split": "train", "loss": 1.0},
        *({"step": s, "split": "valid", "loss": 1.0, metric: (s + seed) / 100} for s in (5, 10)),
    ]
    records(folder, lines)
    write_predictions(RunFolder(folder).predictions, found.predictions(TASKS[task]))
    examples = examples_of(task, found.gold)
    write_most_wrong(RunFolder(folder).most_wrong, most_wrong(TASKS[task], found, examples))
    return folder


def zero_shot(
    folder: Path, task: str, value: float, normalised: float | None, checkpoint: str = "best/40"
) -> Path:
    """What `gptjax zeroshot --out` writes."""
    folder.mkdir(parents=True)
    results = ZeroShot(
        task=f"{task}, zero-shot",
        split="valid",
        examples=40,
        metrics={"accuracy": value},
        data=Data(source="/secret/place/dev.tsv", sample=False),
        checkpoint=checkpoint,
        run="runs/a",
        normalised=normalised,
        threshold=None,
        step=40,
        run_started=None,
    )
    write_results(RunFolder(folder).results, results)
    return folder


def evaluated(
    folder: Path, task: str, found: SplitScores, *, trained_on_sample: bool = False
) -> Path:
    """What `gptjax evaluate --out` writes of a fine-tuned run on a task's test split."""
    folder.mkdir(parents=True)
    results = TaskEvaluation(
        task=task,
        split="test",
        examples=found.num_examples,
        metrics=dict(found.metrics),
        data=Data(
            source="/secret/place/test.tsv",
            dropped=(),
            sample=False,
            trained_on_sample=trained_on_sample,
        ),
        checkpoint="best/9",
        run="/secret/place/tuned",
        made=Provenance(
            command="gptjax evaluate --run /secret/place/tuned",
            started="2026-11-21T10:00:00+00:00",
            commit=None,
            devices="2 × cpu (cpu)",
        ),
    )
    write_results(RunFolder(folder).results, results)
    write_predictions(RunFolder(folder).predictions, found.predictions(TASKS[task]))
    return folder


def perplexity(folder: Path) -> Path:
    """What `gptjax evaluate --out` writes of a pre-trained run."""
    folder.mkdir(parents=True)
    results = TextEvaluation(
        split="/secret/place/wiki.txt",
        examples=4321,
        metrics={"perplexity": 29.41, "word_perplexity": 37.5, "bits_per_byte": 1.0625},
        data=Data(source="/secret/place/wiki.txt", dropped=()),
        checkpoint="best/40",
        run="runs/pretrain/a",
        context=16,
        stride=16,
    )
    write_results(RunFolder(folder).results, results)
    return folder
