"""Fine-tuning with more and more of the training data: `gptjax finetune --train-sizes`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from gptjax import config as configs
from gptjax.commands.advice import suggest
from gptjax.commands.finetune_config import ALL, CURVE, FinetuneConfig, task_of
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData, for_training
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError, as_options
from gptjax.evaluation import learning_curve as curves
from gptjax.evaluation.comparison import read_group
from gptjax.evaluation.learning_curve import JSON, TSV, LearningCurve, Measured
from gptjax.report.learning_curve import NAME, drawn
from gptjax.runs.folder import RunFolder
from gptjax.runs.lock import locked
from gptjax.runs.records import from_plain, to_plain
from gptjax.runs.results import Seeds
from gptjax.runs.start import check_not_source
from gptjax.runs.train import say, show
from gptjax.training import parallel
from gptjax.training.length import total_steps

SEEDS = (1, 2, 3)
"""Without ``seeds``: one seed cannot tell a gain from chance."""
PREDICTIONS = "predictions.tsv"


def run_sizes(
    config: FinetuneConfig,
    out: Path,
    run_seeds: Callable[[FinetuneConfig, Path], Seeds],
    read: Callable[[FinetuneConfig, Task], TaskData],
) -> LearningCurve:
    """Fine-tune with each size and seed into OUT/size-N/seed-M, and say what more rows bring.

    Args:
        config: with ``train_sizes``.
        out: the folder of the curve.
        run_seeds: fine-tunes with several seeds into a folder.
        read: the splits of the task as they lie there.
    """
    _check_folder(config, out)
    config = configs.settled(config)
    task = task_of(config, next(_runs(out), RunFolder(out)))
    given = read(config, task)
    data = for_training(given, task, {"valid": config.task.max_valid})
    train, valid = (data.splits[name].examples for name in ("train", "valid"))
    sizes = _sizes(config, len(train), 0 if "valid" in given.splits else len(valid))
    if parallel.is_main():
        if config.overwrite:
            _clear(config, out)
        configs.write(config, out / CURVE)
    parallel.barrier("curve begun")
    seeds, found = config.seeds or SEEDS, {}
    for size in sizes:
        one = of_size(config, size, len(train))
        say(f"size {size:,} of {len(train):,}: {_updates(one, size):,} updates")
        if task.labels and size < len(task.labels):
            say(f"notice: {size} rows cannot have all {len(task.labels)} labels")
        found[size] = one, run_seeds(replace(one, seeds=seeds), _folder(out, size))
    plain = {}
    if parallel.is_main():  # the others may not see the folder
        measured = {}
        for size, (one, results) in found.items():
            answers = read_group(str(_folder(out, size)), PREDICTIONS, seeds)
            measured[size] = Measured(_updates(one, size), results, answers)
        commonest = curves.commonest_label(task, train, valid)
        curve = curves.learning_curve(task, measured, commonest)
        _conclude(config, out, curve)
        plain = to_plain(curve)
    return from_plain(LearningCurve, parallel.broadcast_json(plain))


def of_size(config: FinetuneConfig, size: int, total: int) -> FinetuneConfig:
    """The settings for one size of the ``total`` training rows.

    Small sizes have ``least_updates`` where their epochs are fewer: 3 epochs of 30 rows are 3
    updates, after which no model has learnt anything, and the curve would show what updates bring
    and not what rows bring. (Howard and Ruder, 2018, section 5, train each size for the same 50
    epochs, of 100 rows 100 updates. Zhang et al., 2021, find that 3 epochs are too short for few
    rows.) Every size is evaluated about as often, so that each chooses its best checkpoint among
    as many.
    """
    train, batch = config.train, config.train.batch_size
    if train.steps is not None:
        every = min(train.steps, -(-total // batch))
        train = replace(train, evaluate_every=train.evaluate_every or every)
    elif train.epochs is not None and train.epochs * -(-size // batch) < config.least_updates:
        steps, every = config.least_updates, -(-config.least_updates // train.epochs)
        every = train.evaluate_every or every
        train = replace(train, epochs=None, steps=steps, evaluate_every=every)
    task = config.task
    if size < total:
        task = replace(task, max_train=size, draw="by-label")
    return replace(config, train_sizes=(), task=task, train=train)


def _updates(config: FinetuneConfig, size: int) -> int:
    return total_steps(config.train, -(-size // config.train.batch_size))


def _sizes(config: FinetuneConfig, total: int, held_back: int) -> list[int]:
    """The sizes as numbers, the smallest first."""
    sizes = sorted(int(word) for word in config.train_sizes if word != ALL)
    there = f"there are {total:,} rows to train on"
    if held_back:
        there += f" (and {held_back:,} that are held back for validation)"
    if sizes and sizes[-1] > total:
        raise UserError(
            f"`train_sizes={sizes[-1]}`: {there}; give smaller sizes, or the word {ALL}"
        )
    if ALL not in config.train_sizes:
        return sizes
    if total in sizes:
        raise UserError(f"`train_sizes={total} {ALL}`: {there}, so that the two are the same size")
    return [*sizes, total]


def _check_folder(config: FinetuneConfig, out: Path) -> None:
    """What can be refused of the folder before the data are read."""
    if RunFolder(out).config.exists() or RunFolder(out).seeds():
        raise UserError(f"{out}: holds another run; choose another `out` for a learning curve")
    there = holds_curve(out)
    if there and config.resume == "never" and not config.overwrite:
        raise UserError(
            f"{out}: holds a learning curve; go on with it, or add sizes to it, with "
            "`resume=auto`, replace it with `overwrite`, or choose another `out`"
        )
    if there and config.resume != "never" and config.overwrite:
        raise UserError("`overwrite` and `resume` contradict each other; give one of them")
    if config.overwrite:
        for folder in _runs(out):
            check_not_source(folder, (config.init, config.like))


def holds_curve(out: Path) -> bool:
    """Whether runs of a learning curve are there."""
    return next(_runs(out), None) is not None


def _folder(out: Path, size: int) -> Path:
    return out / f"size-{size}"


def _runs(out: Path) -> Iterator[RunFolder]:
    """The runs of all sizes that are there."""
    return (RunFolder(path) for path in sorted(out.glob("size-*/seed-*")) if path.is_dir())


def _clear(config: FinetuneConfig, out: Path) -> None:
    """Remove what an earlier curve wrote, also of sizes that are not wanted any more."""
    for run in _runs(out):
        with locked(run.path):
            run.clear()
        if not any(run.path.iterdir()):
            run.path.rmdir()
    for size in out.glob("size-*"):
        RunFolder(size).results.unlink(missing_ok=True)
        if not any(size.iterdir()):
            size.rmdir()
    pictures = (f"{NAME}.png", f"{NAME}.svg", f"{NAME}-table.md", "figures.json")
    for name in (CURVE, JSON, TSV, *pictures):
        (out / name).unlink(missing_ok=True)


def _conclude(config: FinetuneConfig, out: Path, curve: LearningCurve) -> None:
    """Write the curve, draw it, and answer the question."""
    from gptjax.report import drawing  # matplotlib takes a second to import.

    curves.write(out, curve)
    folders = {one.size: _folder(out, one.size) for one in curve.sizes}
    figure, table = drawn(curve, folders, _length(config))
    drawing.save(out, [figure], [table])
    show("\n" + "\n".join(curves.report(curve)))
    show(f"summary: {out / JSON}, {out / f'{NAME}.png'}")
    suggest("a page", "report", "--runs", out, "--out", "report.html")
    if curve.sample:
        show(SAMPLE_WARNING.format(task=curve.task))
    show(as_options(curves.answer(curve)))


def _length(config: FinetuneConfig) -> str:
    """For how long each size is trained."""
    train = config.train
    if train.steps is not None:
        return f"Every size is trained for {train.steps:,} updates."
    least = f", and at least {config.least_updates:,} updates" if config.least_updates else ""
    return f"Every size is trained for {train.epochs:,} epochs{least}."
