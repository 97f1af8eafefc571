"""`gptjax finetune`: train a pre-trained model on a task, with one seed or several."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.commands.finetune_config import FinetuneConfig, default_out, task_folder, task_of
from gptjax.commands.finetune_config import defaults as defaults
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import EncodedExamples, encode
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData, for_training, load_task_data
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.task_scores import (
    SplitScores,
    TaskEvaluator,
    report,
    report_seeds,
    summarise,
)
from gptjax.models import objective
from gptjax.models.task_head import head_only
from gptjax.runs import open as runs
from gptjax.runs import start
from gptjax.runs.folder import RunFolder
from gptjax.runs.predictions import write_predictions
from gptjax.runs.records import to_plain
from gptjax.runs.results import (
    Data,
    Paper,
    SplitResult,
    TaskRun,
    dropped,
    write_results,
)
from gptjax.runs.train import Problem, Trained, create, fingerprint, say, train_run
from gptjax.training import parallel
from gptjax.training.history import Best


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


def run(config: FinetuneConfig) -> Sequence[FinetuneResult]:
    """Fine-tune once, or once for each of the seeds and summarise them.

    Raises:
        UserError: see `gptjax finetune --help`; one line says what to do.
        NoCheckpointError, NonFiniteError, Interrupted: see `gptjax.training.loop.fit`.
    """
    parallel.initialize(config.distributed)
    with parallel.end_together():
        out = Path(config.out) if config.out is not None else default_out(config)
        return run_seeds(config, out) if config.seeds else [run_one(config, out)]


def run_one(config: FinetuneConfig, out: Path) -> FinetuneResult:
    """Read the task, train, evaluate every split, and print a table."""

    def prepare(folder: RunFolder, resume: str) -> Problem[FinetuneResult]:
        task = task_of(config, folder)
        _check_source(config, folder, resume)
        data = _data(config, task)
        if data.sample and parallel.is_main():
            print(SAMPLE_WARNING.format(task=task.name), flush=True)
        if resume != "never":
            tokenizer, loaded = load_tokenizer(folder.tokenizer, config.model.vocabulary_size), None
        else:
            tokenizer, loaded = start.open_source(
                config.model,
                init=config.init,
                like=config.like,
                tokenizer=config.tokenizer,
                mode=config.vocabulary.mode,
            )
        create(folder)
        return _problem(config, folder, task, data, tokenizer, loaded)

    return train_run(config, str(out), prepare)


def _check_source(config: FinetuneConfig, folder: RunFolder, resume: str) -> None:
    """What can be refused of --init before the data are read."""
    if resume == "never":
        if not (config.like or config.tokenizer or config.init not in start.ABSENT):
            start.newest_run()
        if config.overwrite:
            start.check_not_source(folder, (config.init, config.like))
    layers = config.task.transfer_layers
    if layers is not None and config.init == "none":
        raise UserError("--transfer-layers: with --init none there is nothing to transfer")
    if layers is not None and layers > config.model.num_layers:
        raise UserError(
            f"--transfer-layers {layers}: the model has {config.model.num_layers} blocks"
        )


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


def _encode(
    config: FinetuneConfig, task: Task, data: TaskData, tokenizer: Tokenizer
) -> dict[str, EncodedExamples]:
    """Every split as sequences; says what was left out and cut."""
    context = config.model.context_length
    for notice in data.notices:
        say(notice)
    encoded = {}
    for name, split in data.splits.items():
        encoded[name] = encode(split.examples, task, tokenizer, context)
        for line in split.report():
            say(line)
        if cut := encoded[name].truncated:
            share = cut / len(split.examples)
            say(f"  {cut:,} ({share:.1%}) truncated to the context of {context} tokens")
    return encoded


def _problem(
    config: FinetuneConfig,
    folder: RunFolder,
    task: Task,
    data: TaskData,
    tokenizer: Tokenizer,
    loaded: runs.Run | None,
) -> Problem[FinetuneResult]:
    encoded = _encode(config, task, data, tokenizer)
    positions = None
    if config.model.fidelity == "released":
        positions = max(max(s.lengths) for split in encoded.values() for s in split.sequences)
    functions = objective.task(
        config.model,
        runs.adapter_config(task, config.task.classifier_dropout),
        lm_coefficient=config.task.lm_coefficient,
        freeze_backbone=config.task.freeze_backbone,
        positions=positions,
    )
    batches = Bucketed(
        encoded["train"].sequences,
        data.splits["train"].examples,
        task,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
    )
    say(batches.report())
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

    def params() -> Any:
        assert loaded is not None
        layers = config.task.transfer_layers
        return start.initial_params(config.model, task, loaded, layers, config.train.seed)

    return Problem(
        tokenizer=tokenizer,
        objective=functions.objective,
        batches=batches,
        unit="examples",
        evaluate=lambda params: evaluators["valid"](params).metrics,
        conclude=lambda trained: _conclude(config, task, data, evaluators, trained),
        best=Best(task.metrics[0], "max"),
        content={
            "task": fingerprint(_identity(config, task, positions)),
            "data": data.splits["train"].fingerprint,
        },
        facts={
            **{name: to_plain(_facts(split)) for name, split in data.splits.items()},
            "sample": data.sample,
        },
        params=None if loaded is None else params,
        trainable=head_only if config.task.freeze_backbone else None,
        on_start=lambda: _copy_task_file(config, folder),
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


def _facts(split: Split) -> Data:
    return Data(
        source=split.source,
        fingerprint=split.fingerprint,
        examples=len(split.examples),
        dropped=dropped(split.dropped),
    )


def _copy_task_file(config: FinetuneConfig, folder: RunFolder) -> None:
    new = config.resume == "never" or not folder.task_file.exists()
    if config.task.name.endswith(".toml") and new:
        shutil.copyfile(config.task.name, folder.task_file)


def _conclude(
    config: FinetuneConfig,
    task: Task,
    data: TaskData,
    evaluators: Mapping[str, TaskEvaluator],
    trained: Trained,
) -> FinetuneResult:
    """The scores of every split at the best checkpoint, written and shown."""
    best = runs.load(trained.folder.path, trained.kind) if parallel.is_main() else None
    # Process 0 alone is sure to see the folder; all of them evaluate.
    params = parallel.broadcast_arrays(best.params if best else parallel.fetch(trained.params))
    scores = {name: evaluator(params) for name, evaluator in evaluators.items()}
    outcome = FinetuneResult(trained.folder.path, task, trained.checkpoint, scores, data.sample)
    if best is not None:
        _write(config, best, outcome, data)
        _show(outcome)
    return outcome


def _write(config: FinetuneConfig, best: runs.Run, outcome: FinetuneResult, data: TaskData) -> None:
    folder, task, valid = best.folder, outcome.task, outcome.scores["valid"]
    splits = tuple(
        SplitResult(
            name=name,
            examples=scores.num_examples,
            left_out=sum(data.splits[name].dropped.values()),
            metrics=dict(scores.metrics),
        )
        for name, scores in outcome.scores.items()
    )
    results = TaskRun(
        task=task.name,
        split="valid",
        examples=valid.num_examples,
        metrics=dict(valid.metrics),
        data=dataclasses.replace(_facts(data.splits["valid"]), sample=data.sample),
        checkpoint=outcome.checkpoint,
        seed=config.train.seed,
        majority_class_only=valid.collapsed,
        paper=Paper(task.metrics[0], task.paper),
        splits=splits,
    )
    write_results(folder.results, results)
    for name, scores in outcome.scores.items():
        file = folder.predictions if name == "valid" else folder.path / f"predictions-{name}.tsv"
        write_predictions(file, scores.predictions(task))
    runs.save_head(best)


def _show(outcome: FinetuneResult) -> None:
    task = outcome.task
    print(f"{task.name}, {outcome.checkpoint}:")
    print("\n".join(report(task, outcome.scores, not outcome.sample)), flush=True)
    say(f"run folder: {outcome.out}")
    if outcome.sample:
        print(SAMPLE_WARNING.format(task=task.name), flush=True)


def run_seeds(config: FinetuneConfig, out: Path) -> list[FinetuneResult]:
    """Fine-tune with each of the seeds into OUT/seed-N, and summarise them.

    Raises:
        UserError: a seed twice, or the folder holds a run of one seed.
    """
    check_seeds(config.seeds)
    task = task_of(config, RunFolder(out / f"seed-{config.seeds[0]}"))
    if RunFolder(out).config.exists():
        raise UserError(f"{out}: holds a run of one seed; choose another --out for several")
    if config.overwrite and parallel.is_main():
        for folder in out.glob("seed-*"):
            RunFolder(folder).clear()
            if not any(folder.iterdir()):
                folder.rmdir()
    parallel.barrier("cleared")
    outcomes = []
    for seed in config.seeds:
        say(f"seed {seed}")
        train = dataclasses.replace(config.train, seed=seed)
        one = dataclasses.replace(config, seeds=(), train=train)
        outcomes.append(run_one(one, out / f"seed-{seed}"))
    if parallel.is_main():
        scores = [outcome.scores for outcome in outcomes]
        summary = summarise(task, config.seeds, scores, outcomes[0].sample)
        write_results(out / "results.json", summary)
        print("\n" + "\n".join(report_seeds(task, summary)))
        print(f"summary: {out / 'results.json'}", flush=True)
        if summary.data.sample:
            print(SAMPLE_WARNING.format(task=task.name), flush=True)
    parallel.barrier("summarised")
    return outcomes


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot have a run each.

    Raises:
        UserError: a seed twice.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: a seed occurs twice")
