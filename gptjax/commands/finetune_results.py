"""What fine-tuning writes and says at its end."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gptjax.commands.advice import ROWS, again, evaluation_data, suggest
from gptjax.commands.finetune_config import FinetuneConfig
from gptjax.data.knowledge.relations import NAMES
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData
from gptjax.data.tasks.splits import Split
from gptjax.data.tasks.task import Task
from gptjax.evaluation import task_scores
from gptjax.evaluation.most_wrong import most_wrong
from gptjax.evaluation.notices import of_training
from gptjax.evaluation.task_scores import SplitScores, TaskEvaluator
from gptjax.models.mix import describe_mix
from gptjax.models.relation_bias import describe_weights
from gptjax.runs import open as runs
from gptjax.runs.most_wrong import write_most_wrong
from gptjax.runs.predictions import write_predictions
from gptjax.runs.records import to_plain
from gptjax.runs.results import Data, Paper, SplitResult, TaskRun, dropped, write_results
from gptjax.runs.train import Trained, say, show
from gptjax.training import parallel

Evaluators = Mapping[str, TaskEvaluator]


def warn(task: Task) -> None:
    """Say that the data are the offline sample."""
    print(SAMPLE_WARNING.format(task=task.name), flush=True)


def _facts(split: Split) -> Data:
    left_out, examples = dropped(split.dropped), len(split.examples)
    return Data(
        source=split.source, fingerprint=split.fingerprint, examples=examples, dropped=left_out
    )


def facts_of(data: TaskData) -> dict[str, Any]:
    """What meta.json says of the splits."""
    facts = {
        name: {**to_plain(_facts(split)), "files": dict(split.files)}
        for name, split in data.splits.items()
    }
    return {**facts, "sample": data.sample}


def conclude(
    config: FinetuneConfig, task: Task, data: TaskData, evaluators: Evaluators, trained: Trained
) -> TaskRun:
    """The scores of every split at the best checkpoint, written and shown."""
    best = runs.load(trained.folder.path, trained.checkpoint) if parallel.is_main() else None
    # Process 0 alone is sure to see the folder; all of them evaluate.
    params = parallel.broadcast_arrays(best.params if best else parallel.fetch(trained.params))
    scores = {name: evaluator(params) for name, evaluator in evaluators.items()}
    results = _results(config, task, data, scores, trained)
    if best is not None:
        lines = task_scores.report(task, scores, not data.sample)
        show("\n".join([f"{task.name}, {trained.checkpoint}:", *lines]))
        if best.head.mix:
            say(f"mix: {describe_mix(best.params['adapter']['head'])}")
        if best.head.knowledge and not best.head.separate:
            weights = describe_weights(best.params["adapter"]["head"], best.model.width, NAMES)
            say(f"knowledge, from the lowest to the highest head: {weights}")
        for name, found in scores.items():
            suffix = "" if name == "valid" else f"-{name}"
            path, examples = trained.folder.path, data.splits[name].examples
            write_predictions(path / f"predictions{suffix}.tsv", found.predictions(task))
            if found.metrics:
                worst = most_wrong(task, found, examples)
                write_most_wrong(path / f"most_wrong{suffix}.tsv", worst)
        write_results(trained.folder.results, results)
        runs.save_head(best)
        for notice in results.notices:
            say(f"warning: {notice}")
        say(f"run folder: {trained.folder.path}")
        where, split = evaluation_data(config.task.data, data.sample)
        # The run keeps the names of its columns itself.
        read = again(config.task, ROWS.removeprefix("columns"))
        words = ("--run", trained.folder.path, "--data", where, "--split", split, *read)
        suggest("metrics", "evaluate", *words)
        rows = ("--data", "new.csv", "--out", "new.tsv")
        suggest("new rows", "predict", "--run", trained.folder.path, *rows)
        suggest("a page", "report", "--runs", trained.folder.path, "--out", "report.html")
        if data.sample:
            warn(task)
    return results


def _results(
    config: FinetuneConfig,
    task: Task,
    data: TaskData,
    scores: Mapping[str, SplitScores],
    trained: Trained,
) -> TaskRun:
    valid, splits = scores["valid"], []
    for name, found in scores.items():
        left_out = sum(data.splits[name].dropped.values())
        measured = (dict(found.metrics), found.classes)
        splits.append(SplitResult(name, found.num_examples, left_out, *measured))
    return TaskRun(
        task=task.name,
        split="valid",
        examples=valid.num_examples,
        metrics=dict(valid.metrics),
        data=replace(_facts(data.splits["valid"]), sample=data.sample),
        checkpoint=trained.checkpoint,
        seed=config.train.seed,
        majority_class_only=valid.collapsed,
        notices=tuple(of_training(task, trained.steps, config.train, "valid", valid)),
        paper=Paper(task.metrics[0], task.paper),
        splits=tuple(splits),
    )
