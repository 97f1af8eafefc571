"""`gptjax finetune`: train a pre-trained model on a task, with one seed or several."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.commands.advice import suggest
from gptjax.commands.finetune_config import (
    FinetuneConfig,
    TaskConfig,
    check_name,
    default_out,
    task_folder,
    task_of,
)
from gptjax.commands.finetune_config import defaults as defaults
from gptjax.commands.finetune_results import conclude, facts_of, warn
from gptjax.commands.finetune_sizes import holds_curve, run_sizes
from gptjax.commands.finetune_states import check_states, frozen_params, kept_states
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import EncodedExamples, encode, lacks_options
from gptjax.data.tasks.load import TaskData, for_training, load_task_data
from gptjax.data.tasks.related import describe as describe_related
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import Task
from gptjax.data.tasks.weights import class_weights, describe, example_weights
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation import task_scores
from gptjax.evaluation.frozen_states import FrozenStates
from gptjax.evaluation.learning_curve import LearningCurve
from gptjax.evaluation.task_scores import TaskEvaluator
from gptjax.models import objective
from gptjax.models.flops import flops_per_token
from gptjax.models.task_head import TaskHeadConfig
from gptjax.models.transfer import head_only, maps_only
from gptjax.runs import memory, start
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import head_config
from gptjax.runs.identity import fingerprint, open_tokenizer, task_identity
from gptjax.runs.knowledge import Given, read_given
from gptjax.runs.lock import locked, only_run
from gptjax.runs.results import Seeds, TaskRun, write_results
from gptjax.runs.spelled import spelling_out, with_words_of
from gptjax.runs.train import Problem, create, joined, say, show, train_run
from gptjax.training import parallel
from gptjax.training.history import Best


def run(config: FinetuneConfig) -> TaskRun | Seeds | LearningCurve:
    """Fine-tune once, or once for each of the seeds, or of the sizes, and summarise them."""
    with joined(config):
        check_name(config)
        out = Path(config.out) if config.out is not None else default_out(config)
        if config.train_sizes:
            with only_run(out):
                return run_sizes(config, out, _run_seeds, _read_files)
        if holds_curve(out):
            raise UserError(f"{out}: holds a learning curve; choose another `out` for one run")
        if not config.seeds:
            return _run_one(config, out)
        with only_run(out):
            return _run_seeds(config, out)


def _run_one(config: FinetuneConfig, out: Path) -> TaskRun:
    """Read the task, train, evaluate every split, and print a table."""

    def prepare(config: FinetuneConfig, folder: RunFolder, resume: str) -> Problem[TaskRun]:
        task = task_of(config, folder)
        frozen = config.task.freeze_backbone
        memory.check_training(config.model, config.train, length=1, trainable=not frozen)
        _check_source(config, folder, resume)
        check_states(config)
        given = read_given(folder, config.task.knowledge, resume)
        data = _read_data(config, task)
        if data.sample and parallel.is_main():
            warn(task)
        if resume != "never":
            size = config.model.vocabulary_size
            tokenizer, loaded = open_tokenizer(folder, expected_size=size), None
        else:
            tokenizer, loaded = start.open_source(
                config.model, config.init, config.like, config.tokenizer, config.vocabulary.mode
            )
        if loaded is not None:
            loaded = with_words_of(loaded, data.texts())
            tokenizer = loaded.tokenizer
            model = replace(config.model, vocabulary_size=tokenizer.size)
            config = replace(config, model=model)
        if not (config.model.has_lm_loss or config.task.lm_coefficient):
            say(f"no auxiliary LM loss: {config.model.called} has none beside a task's")
        create(folder)
        return _problem(config, folder, task, data, tokenizer, loaded, resume, given)

    return train_run(config, str(out), prepare)


def _read_data(config: FinetuneConfig, task: Task) -> TaskData:
    """The splits to train and measure on."""
    section = config.task
    most = {"train": section.max_train, "valid": section.max_valid}
    seed = config.train.seed if section.draw == "by-label" else None
    return for_training(_read_files(config, task), task, most, by_label=seed)


def _read_files(config: FinetuneConfig, task: Task) -> TaskData:
    """The splits as they lie there."""
    section, own = config.task, task_folder(config)
    reading = section.reading(task.reading)
    return load_task_data(section.data, task, strict=section.strict, reading=reading, folder=own)


def _check_source(config: FinetuneConfig, folder: RunFolder, resume: str) -> None:
    """What can be refused of --init before the data are read."""
    if resume == "never":
        if not (config.like or config.tokenizer or config.init not in start.ABSENT):
            start.newest_run()
        if config.overwrite:
            start.check_not_source(folder, (config.init, config.like))
    layers, blocks = config.task.transfer_layers, config.model.num_layers
    if layers is not None and config.init == "none":
        raise UserError("--transfer-layers: with --init none there is nothing to transfer")
    if layers is not None and layers > blocks:
        raise UserError(f"--transfer-layers {layers}: the model has {blocks} blocks")


def _encode(
    config: FinetuneConfig,
    task: Task,
    data: TaskData,
    tokenizer: Tokenizer,
    given: Given | None,
) -> dict[str, EncodedExamples]:
    """Every split as sequences; says what was left out and cut."""
    context = config.model.context_length
    how: dict[str, Any] = {"separate": config.task.head_shape.separate}
    how["knowledge"] = None if given is None else given.knowledge
    for notice in data.notices:
        say(notice)
    encoded = {}
    for name, split in data.splits.items():
        encoded[name] = encode(split.examples, task, tokenizer, context, **how)
        for line in split.report():
            say(line)
        if cut := encoded[name].truncated:
            share = cut / len(split.examples)
            say(f"  {cut:,} ({share:.1%}) truncated to the context of {context} tokens")
        if given is not None:
            say(f"  {describe_related(one.related for one in encoded[name].sequences)}")
    return encoded


def _problem(
    config: FinetuneConfig,
    folder: RunFolder,
    task: Task,
    data: TaskData,
    tokenizer: Tokenizer,
    loaded: runs.Run | None,
    resume: str,
    given: Given | None,
) -> Problem[TaskRun]:
    section, train, context = config.task, config.train, config.model.context_length
    encoded = _encode(config, task, data, tokenizer, given)
    sequences = [one for split in encoded.values() for one in split.sequences]
    longest = max(max(one.lengths) for one in sequences)
    positions = longest if config.model.fidelity == "released" else None
    fewer = lacks_options(sequences, task)
    head = head_config(task, section.classifier_dropout, fewer, section.head_shape)
    functions = _functions(config, head, positions)
    sizes = {"context_length": context, "batch_size": train.batch_size // train.accumulate}
    params: Callable[[], Any] | None = None
    if loaded is not None:
        layers = section.transfer_layers
        params = partial(start.initial_params, config.model, head, loaded, layers, train.seed)
    frozen = params or partial(frozen_params, config, folder, functions, resume)
    states = kept_states(config, task, data, encoded, functions, head, frozen, sizes)
    batches = _batches(config, task, data, encoded, states)
    say(batches.report())
    evaluators = {
        name: TaskEvaluator(
            functions.log_probabilities,
            encoded[name].sequences,
            split.examples,
            task,
            **sizes,
            states=states.get(name),
        )
        for name, split in data.splits.items()
        if name != "train"
    }
    same = _identity(section, task, positions)
    return Problem(
        config=config,
        called=task.name,
        tokenizer=tokenizer,
        objective=spelling_out(functions.objective, config.model, tokenizer),
        batches=batches,
        unit="examples",
        evaluate=lambda params: evaluators["valid"](params).metrics,
        conclude=lambda trained: conclude(config, task, data, evaluators, trained),
        best=Best(task.metrics[0], "max"),
        content={**_content(data, given), "task": fingerprint(same)},
        earlier={"data": (data.splits["train"].earlier,)},
        identity={"task": same},
        facts=facts_of(data),
        flops_per_token=_flops_per_token(config),
        params=params,
        source=None if loaded is None else loaded.backbone,
        **_trained_parts(section),
        on_start=lambda: _copy_files(config, folder, given),
    )


def _batches(
    config: FinetuneConfig,
    task: Task,
    data: TaskData,
    encoded: Mapping[str, EncodedExamples],
    states: Mapping[str, FrozenStates],
) -> Bucketed:
    """The training data."""
    return Bucketed(
        encoded["train"].sequences,
        data.splits["train"].examples,
        task,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        shuffle=True,
        weights=_weights(task, data.splits["train"]),
        compiled_anew=bool(config.train.unfreeze),
        states=states.get("train"),
    )


def _functions(
    config: FinetuneConfig, head: TaskHeadConfig, positions: int | None
) -> objective.TaskFunctions:
    section = config.task
    # The LM loss does not depend on the maps of the head.
    coefficient = 0.0 if section.freeze_special_rows else section.lm_coefficient
    return objective.task(
        config.model,
        head,
        lm_coefficient=coefficient,
        freeze_backbone=section.freeze_backbone,
        positions=positions,
        label_gain=section.label_gain,
        mix_l2=section.mix_l2,
    )


def _flops_per_token(config: FinetuneConfig) -> float | None:
    """Of a model that is trained whole. Attention is left out, since lengths differ."""
    if config.task.freeze_backbone or config.train.unfreeze:
        return None
    return flops_per_token(config.model, attention=False, output=config.task.lm_coefficient > 0)


def _trained_parts(section: TaskConfig) -> dict[str, Any]:
    """Which arrays are trained, for `Problem`; says what costs more than it may seem."""
    if not section.freeze_backbone:
        return {}
    if section.freeze_special_rows:
        return {"trainable": maps_only, "untouched": True}
    say(
        "notice: the rows of the special tokens are trained with the head, and their gradient runs "
        "through every block; `task.freeze_special_rows` leaves them, and costs the head alone"
    )
    return {"trainable": head_only}


def _weights(task: Task, train: Split) -> np.ndarray | None:
    """How much each training example counts; says it."""
    if task.class_weights is None:
        return None
    weights = class_weights(train.examples, task)
    say(describe(weights, train.examples, task))
    return example_weights(train.examples, weights)


def _identity(section: TaskConfig, task: Task, positions: int | None) -> dict[str, Any]:
    return task_identity(
        task,
        lm_coefficient=section.lm_coefficient,
        freeze_backbone=section.freeze_backbone,
        freeze_special_rows=section.freeze_special_rows,
        label_gain=section.label_gain,
        shape=section.head_shape,
        mix_l2=section.mix_l2,
        positions=positions,
    )


def _content(data: TaskData, given: Given | None) -> dict[str, str]:
    """Fingerprints of what is read."""
    found = {"data": data.splits["train"].fingerprint}
    return found if given is None else {**found, "knowledge": given.digest}


def _copy_files(config: FinetuneConfig, folder: RunFolder, given: Given | None) -> None:
    """The run's own copies of the task file and of the relations of words."""
    new = config.resume == "never" or not folder.task_file.exists()
    if config.task.name.endswith(".toml") and new:
        shutil.copyfile(config.task.name, folder.task_file)
    if given is not None:
        given.keep(folder)


def _run_seeds(config: FinetuneConfig, out: Path) -> Seeds:
    """Fine-tune with each of the seeds into OUT/seed-N, and summarise them."""
    task = task_of(config, RunFolder(out / f"seed-{config.seeds[0]}"))
    if RunFolder(out).config.exists():
        raise UserError(f"{out}: holds a run of one seed; choose another --out for several")
    if config.overwrite and parallel.is_main():
        for folder in out.glob("seed-*"):
            with locked(folder):
                RunFolder(folder).clear()
            if not any(folder.iterdir()):
                folder.rmdir()
    parallel.barrier("cleared")
    results = []
    for seed in config.seeds:
        say(f"seed {seed}")
        one = replace(config, seeds=(), train=replace(config.train, seed=seed))
        results.append(_run_one(one, out / f"seed-{seed}"))
    summary = task_scores.summarise(results)
    if parallel.is_main():
        write_results(out / "results.json", summary)
        show("\n" + "\n".join(task_scores.report_seeds(task, summary)))
        show(f"summary: {out / 'results.json'}")
        suggest("a page", "report", "--runs", out, "--out", "report.html")
        if summary.data.sample:
            warn(task)
    parallel.barrier("summarised")
    return summary
