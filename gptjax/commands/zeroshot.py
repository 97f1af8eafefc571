"""`gptjax zeroshot`: what a language model knows of a task without being trained on it."""

from dataclasses import dataclass

import numpy as np

from gptjax.commands.advice import again, suggest
from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.zero_shot import ZERO_SHOT, Name, Question
from gptjax.errors import UserError, check_counts
from gptjax.evaluation import zero_shot
from gptjax.evaluation.zero_shot import ZeroShotScores
from gptjax.runs.folder import Provenance
from gptjax.runs.open import Reading, Run
from gptjax.runs.predictions import Predictions, write_predictions
from gptjax.runs.results import ZERO_SHOT as WITHOUT_TRAINING
from gptjax.runs.results import Data, ZeroShot, folder_for_measurement, write_results
from gptjax.training import parallel


@dataclass(frozen=True)
class ZeroShotConfig(Reading):
    """Ask a language model a task's questions without training it on them (paper, section 5)."""

    run: str
    """Run folder, openai:FOLDER or hf:ID_OR_FOLDER; of a fine-tuned run its backbone is asked."""
    task: Name
    """cola: mean log-probability of a token against a threshold. sst2: `very`, then negative or
    positive. race: mean log-probability of an answer's tokens. winograd: that of what follows the
    candidate in the pronoun's place. lambada: the last word."""
    data: str
    """Of cola, sst2 and race a folder with the published files, a file, hub or sample; a file of
    Winograd schemas (XML, or DPR's lines); LAMBADA's JSON lines."""
    split: str = "valid"
    """Of cola, sst2 and race: which split. The threshold of cola is fitted on train."""
    max_examples: int | None = None
    """Ask so many questions only, drawn with a fixed seed; None asks all."""
    batch_size: int = 16
    """Texts at once; never changes a score."""
    out: str | None = None
    """Folder for results.json and predictions.tsv; None writes none."""

    def __post_init__(self) -> None:
        check_counts(self, "", "max_examples batch_size")


def run(config: ZeroShotConfig) -> ZeroShotScores:
    """Ask, judge and print."""
    if config.out is not None:
        folder_for_measurement(config.out)
    return measure(config.open(), config)


def measure(loaded: Run, config: ZeroShotConfig) -> ZeroShotScores:
    """`run` with a model that was opened before."""
    task = ZERO_SHOT[config.task]
    questions, source, sample = task.questions(config.data, config.split)
    threshold = None
    if task.decision == "threshold":
        train, _, _ = task.questions(config.data, "train")
        if train == questions:
            raise UserError(
                f"--data {config.data}: the threshold of {config.task} would be fitted on what it "
                "is measured on; name a folder with the task's published files, or another --split"
            )
        zero_shot.check_labels(train)
        scores, _ = zero_shot.ask(loaded, task, train, config.batch_size)
        gold = np.array([question.gold for question in train])
        threshold = zero_shot.fit_threshold(np.array(scores)[:, 0], gold)
    drawn = np.sort(np.random.default_rng(0).permutation(len(questions))[: config.max_examples])
    questions = [questions[number] for number in drawn]
    scores, tokens = zero_shot.ask(loaded, task, questions, config.batch_size)
    result = zero_shot.judge(task, questions, scores, tokens, threshold)
    print(f"{config.run} ({loaded.checkpoint}), {config.task} without training, {source}:")
    for name, value in result.metrics.items():
        shown = f"{value:.2f}" if name == "perplexity" else f"{100 * value:.2f}"
        print(f"  {LABELS.get(name, name):22} {shown:>9}   ({len(questions):,} questions)")
    if (share := zero_shot.normalised(task, result.metric)) is not None:
        print(
            f"  normalised             {share:9.3f}   (0 guessing, {100 * task.guess:.0f}; "
            f"1 the paper's fine-tuned model, {100 * (task.supervised or 0):.1f})"
        )
    if threshold is not None:
        print(f"  threshold              {threshold:9.3f}   (nats per token, fitted on train)")
    if sample:
        print(SAMPLE_WARNING.format(task=config.task))
    if config.out is not None:
        folder = folder_for_measurement(config.out)
        write_predictions(folder.predictions, _predictions(config, result, drawn, questions))
        data = Data(source=source, sample=sample)
        write_results(folder.results, _results(config, loaded, result, data))
    if task.task is not None:
        words = ("--task", task.task.name, "--data", config.data)
        opened = again(config, "heads vocabulary.mode")
        suggest("train on it", "finetune", *words, "--init", config.run, *opened)
    return result


def _predictions(
    config: ZeroShotConfig, result: ZeroShotScores, drawn: np.ndarray, questions: list[Question]
) -> Predictions:
    """The answers by name, each with a score of every candidate."""
    task = ZERO_SHOT[config.task]
    choose = task.decision == "choose"
    if task.task is not None:
        labels = task.task.labels
    else:  # schemas have candidates A and B; a last word is guessed or not
        labels = ("A", "B") if choose else ("right", "wrong")
    rows = [n if q.row is None else q.row for n, q in zip(drawn, questions, strict=True)]
    return Predictions(
        labels=labels,
        columns=labels if choose else ("score",),
        index=np.array(rows, np.int64),
        gold=result.gold.astype(np.float64),
        predicted=result.predicted,
        scores=np.array(result.scores),
    )


def _results(config: ZeroShotConfig, loaded: Run, result: ZeroShotScores, data: Data) -> ZeroShot:
    task = ZERO_SHOT[config.task]
    return ZeroShot(
        task=config.task + WITHOUT_TRAINING,
        split=config.split if task.task else str(data.source),
        examples=len(result.gold),
        metrics=result.metrics,
        data=data,
        checkpoint=loaded.checkpoint,
        run=config.run,
        made=Provenance.now(parallel.describe_devices()),
        normalised=zero_shot.normalised(task, result.metric),
        threshold=result.threshold,
        step=loaded.step,
        run_started=loaded.folder.read_meta().get("started"),
    )
