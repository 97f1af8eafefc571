"""`gptjax finetune`: train a pre-trained model on a task."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.commands.finetune_config import (
    ABSENT,
    FinetuneConfig,
    default_out,
    task_folder,
    task_of,
)
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import encode
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData, for_training, load_task_data
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.task_scores import SplitScores, TaskEvaluator, report
from gptjax.models import objective
from gptjax.models.task_head import adapter_only
from gptjax.runs import folder as run_folder
from gptjax.runs import open as runs
from gptjax.runs import start as backbone
from gptjax.runs import train as job
from gptjax.runs.predictions import write_predictions
from gptjax.training import parallel
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.history import Best
from gptjax.training.loop import fit, total_steps
from gptjax.training.optimizer import make_optimizer, resolve_update
from gptjax.training.tracking import Tracker


@dataclass(frozen=True)
class FinetuneResult:
    """What a run came to.

    Attributes:
        out: the run folder.
        task: the task.
        checkpoint: the checkpoint that the scores describe (`best/N`).
        scores: split -> metrics and predictions, for every split.
        sample: whether the data were the offline sample.
    """

    out: Path
    task: Task
    checkpoint: str
    scores: Mapping[str, SplitScores]
    sample: bool


def run(config: FinetuneConfig) -> FinetuneResult:
    """Read the task, train, evaluate every split, and print a table.

    Raises:
        UserError: see `gptjax finetune --help`; one line says what to do.
        NoCheckpointError, NonFiniteError, Interrupted: see `gptjax.training.loop.fit`.
    """
    parallel.initialize(config.distributed)
    with parallel.end_together():
        return _run(config)


def _run(config: FinetuneConfig) -> FinetuneResult:
    out = config.out if config.out is not None else str(default_out(config))
    # What can be refused at once is refused before anything is read.
    task = task_of(config, run_folder.RunFolder(Path(out)))
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate, "train.batch_size")
    total_steps(config.train, 1)
    folder, resume = run_folder.open_folder(out, resume=config.resume, overwrite=config.overwrite)
    if resume == "never" and not (config.like or config.tokenizer or config.init not in ABSENT):
        backbone.newest_run()
    layers = config.task.transfer_layers
    if layers is not None and config.init == "none":
        raise UserError("--transfer-layers: with --init none there is nothing to transfer")
    if layers is not None and layers > config.model.num_layers:
        raise UserError(
            f"--transfer-layers {layers}: the model has {config.model.num_layers} blocks"
        )
    data = _data(config, task)
    if data.sample and parallel.is_main():
        print(SAMPLE_WARNING.format(task=task.name), flush=True)
    devices = job.greet()
    if resume != "never":
        tokenizer, loaded = load_tokenizer(folder.tokenizer, config.model.vocabulary_size), None
    else:
        _check_not_source(config, folder)
        tokenizer, loaded = backbone.open_source(
            config.model,
            init=config.init,
            like=config.like,
            tokenizer=config.tokenizer,
            mode=config.vocabulary.mode,
        )
    if parallel.is_main():
        folder.path.mkdir(parents=True, exist_ok=True)
    for notice in data.notices:
        job.say(notice)
    encoded = {
        name: encode(split.examples, task, tokenizer, config.model.context_length)
        for name, split in data.splits.items()
    }
    for name, split in data.splits.items():
        for line in split.report():
            job.say(line)
        if cut := encoded[name].truncated:
            job.say(
                f"  {cut:,} ({cut / len(split.examples):.1%}) truncated to the context of "
                f"{config.model.context_length} tokens"
            )
    positions = None
    if config.model.fidelity == "released":
        positions = max(max(s.lengths) for split in encoded.values() for s in split.sequences)
    train = data.splits["train"]
    batches = Bucketed(
        encoded["train"].sequences,
        train.examples,
        task,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )
    job.say(batches.report())

    fingerprints = {
        "model": job.shape_fingerprint(config.model),
        "tokenizer": tokenizer.fingerprint,
        "task": job.fingerprint(_identity(config, task, positions)),
        "data": train.fingerprint,
        "data order": job.fingerprint({"seed": config.train.seed}),
    }
    steps = total_steps(config.train, len(batches))
    functions = objective.task(
        config.model,
        runs.adapter_config(task, config.task.classifier_dropout),
        lm_coefficient=config.task.lm_coefficient,
        freeze_backbone=config.task.freeze_backbone,
        positions=positions,
    )
    optimizer = make_optimizer(
        resolve_update(config.optimizer, config.model.fidelity),
        steps,
        adapter_only if config.task.freeze_backbone else None,
    )
    job.prepare_folder(folder, config, fingerprints, resume=resume, overwrite=config.overwrite)
    evaluators = {
        name: TaskEvaluator(
            functions.log_probabilities,
            encoded[name].sequences,
            split.examples,
            task,
            context_length=config.model.context_length,
            batch_size=config.train.batch_size // config.train.accumulate,
        )
        for name, split in data.splits.items()
        if name != "train"
    }
    job.say(
        f"model: {job.num_parameters(functions.objective):,} parameters; {steps:,} updates of "
        f"{config.train.batch_size} examples"
    )
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint, fingerprints)
    with job.recorded(folder), Tracker(folder.path, config.tracking) as tracker:
        result = fit(
            functions.objective,
            batches,
            config.train,
            optimizer,
            params=None
            if loaded is None
            else backbone.initial_params(
                config.model, task, loaded, config.task.transfer_layers, config.train.seed
            ),
            evaluate=lambda params: evaluators["valid"](params).metrics,
            best=Best(task.metrics[0], "max"),
            checkpoints=checkpoints,
            tracker=tracker,
            resume=resume,
            on_start=lambda: _describe(
                config, folder, tokenizer, fingerprints, devices, data, task
            ),
        )
    best = None
    if parallel.is_main():
        kept = (folder.checkpoints / f"best/{result.history.best_step}").exists()
        best = runs.load(folder.path, "best" if kept else "last")
    # Process 0 alone is sure to see the folder; all of them evaluate.
    params = parallel.broadcast_arrays(best.params if best else parallel.fetch(result.params))
    checkpoint = parallel.broadcast_json({"name": best.checkpoint} if best else None)["name"]
    scores = {name: evaluator(params) for name, evaluator in evaluators.items()}
    outcome = FinetuneResult(folder.path, task, checkpoint, scores, data.sample)
    if best is not None:
        _write(config, folder, best, outcome, data)
        _show(outcome)
    parallel.barrier("concluded")
    return outcome


def _check_not_source(config: FinetuneConfig, folder: run_folder.RunFolder) -> None:
    sources = [name for name in (config.init, config.like) if name not in ABSENT]
    if config.overwrite and folder.path.resolve() in [Path(str(s)).resolve() for s in sources]:
        raise UserError(f"--out {folder.path}: is the run of --init too; choose another --out")


def _data(config: FinetuneConfig, task: Task) -> TaskData:
    data = load_task_data(
        config.task.data,
        task,
        strict=config.task.strict,
        encoding_errors=config.task.encoding_errors,
        folder=task_folder(config),
    )
    return for_training(
        data, task, {"train": config.task.max_train, "valid": config.task.max_valid}
    )


def _identity(config: FinetuneConfig, task: Task, positions: int | None) -> dict[str, Any]:
    """What makes the training problem the same problem."""
    return {
        # Only where it is not as usual, so that runs from before there was a choice go on.
        **({"fidelity": "released", "positions": positions} if positions is not None else {}),
        "task": task.name,
        "format": task.format,
        "labels": task.labels,
        "scores": task.scores,
        "columns": {part: list(names) for part, names in task.columns.items()},
        "aliases": dict(task.aliases),
        "lm_coefficient": config.task.lm_coefficient,
        "freeze_backbone": config.task.freeze_backbone,
    }


def _facts(split: Split) -> dict[str, Any]:
    return {
        "source": split.source,
        "fingerprint": split.fingerprint,
        "examples": len(split.examples),
        "dropped": dict(split.dropped),
    }


def _describe(
    config: FinetuneConfig,
    folder: run_folder.RunFolder,
    tokenizer: Tokenizer,
    fingerprints: Mapping[str, str],
    devices: str,
    data: TaskData,
    task: Task,
) -> None:
    if config.task.name.endswith(".toml") and (
        config.resume == "never" or not folder.task_file.exists()
    ):
        shutil.copyfile(config.task.name, folder.task_file)
    facts: dict[str, Any] = {name: _facts(split) for name, split in data.splits.items()}
    job.describe(
        folder,
        config,
        tokenizer,
        fingerprints=fingerprints,
        devices=devices,
        data={**facts, "sample": data.sample},
    )


def _write(
    config: FinetuneConfig,
    folder: run_folder.RunFolder,
    best: runs.Run,
    outcome: FinetuneResult,
    data: TaskData,
) -> None:
    valid = outcome.scores["valid"]
    results = {
        "task": outcome.task.name,
        "split": "valid",
        "examples": valid.num_examples,
        "metrics": valid.metrics,
        "data": {**_facts(data.splits["valid"]), "sample": data.sample},
        "checkpoint": outcome.checkpoint,
        "seed": config.train.seed,
        "majority_class_only": valid.collapsed,
        "paper": {"metric": outcome.task.metrics[0], "value": outcome.task.paper},
        "splits": {
            name: {
                "examples": scores.num_examples,
                "left_out": sum(data.splits[name].dropped.values()),
                "metrics": scores.metrics,
            }
            for name, scores in outcome.scores.items()
        },
    }
    run_folder.write_json(folder.results, results)
    for name, scores in outcome.scores.items():
        file = folder.predictions if name == "valid" else folder.path / f"predictions-{name}.tsv"
        write_predictions(file, scores.predictions(outcome.task))
    runs.save_adapter(best)
    folder.update_meta(status="finished")


def _show(outcome: FinetuneResult) -> None:
    task = outcome.task
    print(f"{task.name}, {outcome.checkpoint}:")
    print("\n".join(report(task, outcome.scores, not outcome.sample)), flush=True)
    job.say(f"run folder: {outcome.out}")
    if outcome.sample:
        print(SAMPLE_WARNING.format(task=task.name), flush=True)
