"""ULMFiT's ablations with its own kind of model: an AWD-LSTM, on three tasks.

    .venv/bin/python experiments/ulmfit.py --init runs/pretrain/small-awd --data FOLDER

``FOLDER`` has a folder of published files for each task. The run of ``--init`` is a small AWD-LSTM
(the preset `small-awd`). Its language model is trained further on the text of each task in three
ways, with the vocabulary of that text, and classifiers begin with each of them, with the model as
it was, and from scratch. Each arm takes the learning rate that is best on the validation split with
the first seed, and then has all seeds. What has finished is not run again, so the same command goes
on, and writes the table again.

These are rows of tables 4, 6 and 7 of Howard and Ruder (2018), whose model has 16 times as many
parameters, ten times as much text and, but for TREC-6, more labelled rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import (
    LM_RATE,
    LM_VOCABULARY,
    ArmsConfig,
    Outcome,
    check_finished,
    data_of,
    difference,
    how,
    read_tasks,
    run_arms,
    sources,
    with_interval,
)
from fine_tuning_methods import DECAY, FULL, HEAD, LAST, SCRATCH, methods
from script import start

from gptjax.commands.sweep import run_sweep
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown
from gptjax.runs.own_config import load_config
from gptjax.sweeps.plan import Sweep

ULMFIT_TASKS = Path(__file__).with_name("ulmfit-tasks.toml")
# Settings of `gptjax pretrain` on the task's text, by the name in table 6.
ALL_OF_LM = "full + discr + stlr"
CONSTANT = {"optimizer.schedule": "constant", "optimizer.warmup": 0.0}
LANGUAGE_MODELS: Mapping[str, Mapping[str, Any]] = {
    "full": CONSTANT,
    "full + discr": {**CONSTANT, "optimizer.layer_decay": DECAY},
    ALL_OF_LM: {"optimizer.schedule": "slanted", "optimizer.layer_decay": DECAY},
}
# The released code's, of the language model and of the classifier.
ADAM = {"optimizer.beta1": 0.8, "optimizer.beta2": 0.99, "optimizer.weight_decay": 0.0}
DROPOUT = {
    "model.input_dropout": 0.4,
    "model.weight_dropout": 0.5,
    "model.word_dropout": 0.05,
    "model.hidden_dropout": 0.3,
}
# Classifiers that begin with the whole way of training the language model, by the name in table 7.
CLASSIFIERS = (FULL, "full + discr", LAST, "freez + discr", "all three")
NOT_TUNED = "no LM fine-tuning"
# Validation error in per cent of tables 6 and 7, by language model and classifier.
PUBLISHED: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("", SCRATCH): {"imdb": "9.93", "trec": "13.36", "ag_news": "6.81"},
    (NOT_TUNED, "all three"): {"imdb": "6.99", "trec": "6.38", "ag_news": "6.09"},
    ("full", "all three"): {"imdb": "5.86", "trec": "6.54", "ag_news": "5.61"},
    ("full + discr", "all three"): {"imdb": "5.55", "trec": "6.36", "ag_news": "5.47"},
    (ALL_OF_LM, FULL): {"imdb": "6.87", "trec": "6.86", "ag_news": "5.81"},
    (ALL_OF_LM, "full + discr"): {"imdb": "5.57", "trec": "6.21", "ag_news": "5.62"},
    (ALL_OF_LM, LAST): {"imdb": "6.49", "trec": "16.09", "ag_news": "8.38"},
    (ALL_OF_LM, "freez + discr"): {"imdb": "5.39", "trec": "5.86", "ag_news": "6.04"},
    (ALL_OF_LM, "all three"): {"imdb": "5.00", "trec": "5.69", "ag_news": "5.38"},
}


@dataclass(frozen=True, kw_only=True)
class UlmfitConfig(ArmsConfig):
    """Train language models and classifiers in every way, and write the table."""

    init: str
    """The pre-trained AWD-LSTM."""
    arms: Path = Path("runs/ulmfit")
    """Where the runs go."""
    settings: Path = ULMFIT_TASKS
    """How each task is fine-tuned."""
    out: Path = Path("runs/ulmfit")
    """Where the table goes."""
    tasks: tuple[str, ...] = ("trec", "ag_news", "imdb")
    """On which tasks."""
    lm_epochs: int = 10
    """Of the training of the language model on the task's text."""


def main(config: UlmfitConfig) -> None:
    """Run what is missing, and write the table."""
    tasks = read_tasks(config.settings, config.tasks)
    found: dict[str, dict[str, Outcome]] = {}
    for task, settings in tasks.items():
        tuned = language_models(config, task, settings)
        arms = classifiers(config.init, tuned, load_config(config.init).num_layers)
        found |= run_arms(config, {task: settings}, {text(*name): arms[name] for name in arms})
    report(config, tasks, found)


def text(tuned: str, classifier: str) -> str:
    """The name of an arm in its folder."""
    return f"{classifier} of LM {tuned}" if tuned else classifier


def classifiers(
    init: str, tuned: Mapping[str, Path], blocks: int
) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """Settings of `gptjax finetune` by language model and classifier."""

    def one(name: str, begin: str) -> dict[str, Any]:
        return {**methods(begin, blocks)[name], **HEAD, **ADAM, **DROPOUT}

    arms = {("", SCRATCH): one(SCRATCH, str(tuned[ALL_OF_LM]))}
    arms |= {(NOT_TUNED, name): one(name, init) for name in (FULL, "all three")}
    arms |= {(lm, "all three"): one("all three", str(path)) for lm, path in tuned.items()}
    return arms | {(ALL_OF_LM, name): one(name, str(tuned[ALL_OF_LM])) for name in CLASSIFIERS}


def language_models(
    config: UlmfitConfig,
    task: str,
    settings: Mapping[str, Any],
    only: tuple[str, ...] = tuple(LANGUAGE_MODELS),
) -> dict[str, Path]:
    """The runs trained further on the task's text, in each way, with the words of that text."""
    name, out = settings.get("task", task), config.arms / "language-models" / task
    words = data_of(config, task, settings)
    own = {
        "init": config.init,
        "corpus.data": f"task:{name}={' '.join([words] if isinstance(words, str) else words)}",
        "corpus.order": "streams",
        "vocabulary.tokenizer": "words",
        "model.vocabulary_size": settings[LM_VOCABULARY],
        "optimizer.learning_rate": settings[LM_RATE],
        "optimizer.clip_norm": 0.3,
        **ADAM,
        "train.epochs": config.lm_epochs,
        "train.batch_size": 16,
        "tracking.tensorboard": False,
    }
    variants = {name: LANGUAGE_MODELS[name] for name in only}
    sweep = Sweep("pretrain", out, own, variants=variants, source=str(out))
    points = run_sweep(sweep, config.jobs)
    check_finished(out, points)
    return {str(point.variant): out / point.folder for point in points}


def report(
    config: UlmfitConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Outcome]],
) -> None:
    """Write and print the table."""
    rows, runs = [], []
    for task, outcomes in found.items():
        best = outcomes[text(ALL_OF_LM, "all three")]
        for (tuned, name), published in PUBLISHED.items():
            rows.append(line(task, (tuned, name), outcomes[text(tuned, name)], best, published))
            runs.append(sources(outcomes[text(tuned, name)]))
        plain = (NOT_TUNED, FULL)
        rows.append(line(task, plain, outcomes[text(*plain)], best, {}))
        runs.append(sources(outcomes[text(*plain)]))
    caption = (
        f"{config.init}. {how(config.seeds, tasks)} Differences are from ULMFiT whole (the "
        f"language model {ALL_OF_LM}, the classifier 'all three') with the 95 % interval of a "
        "paired bootstrap over examples and seeds. The published figures are 100 - validation "
        "error (Howard and Ruder 2018, tables 6 and 7)."
    )
    heads = (
        *("task", "train / valid", "LM fine-tuning", "classifier", "accuracy"),
        *("difference from ULMFiT", "published", "learning rate"),
    )
    title = "ULMFiT of a small AWD-LSTM"
    table = Table("ulmfit-table", title, caption, heads, tuple(rows), tuple(runs))
    save(config.out, [], [table])
    print(markdown(table))


def line(
    task: str, name: tuple[str, str], arm: Outcome, best: Outcome, published: Mapping[str, str]
) -> tuple[str, ...]:
    """A row of the table."""
    change = "" if arm is best else with_interval(difference(best, arm))
    there = f"{100 - float(published[task]):.2f}" if task in published else ""
    rate = f"{arm.learning_rate:g}"
    return (task, arm.sizes, name[0] or "–", name[1], arm.text, change, there, rate)


if __name__ == "__main__":
    start(main, UlmfitConfig, __doc__)
