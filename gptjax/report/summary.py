"""The first sentences of a report: what there is, what came out, and what to look at next."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from gptjax.data.tasks.metrics import LABELS
from gptjax.report.entries import EXPERIMENT, PretrainedRun, Sources, TunedRun
from gptjax.report.fine_tuning import VALID, first_mean
from gptjax.report.predictions import confusion
from gptjax.report.sections import Sentence, slug, with_labels
from gptjax.runs.results import TextEvaluation, ZeroShot

MOST_TASKS = 3  # that are named; the table has all
LEAST_FALL = 0.01  # nats between the last two evaluations: less is no reason to train for longer
Z = 1.96  # of a 95 % interval

Labelled = tuple[TunedRun, str]


def summary(sources: Sources, sections: Collection[str]) -> tuple[Sentence, ...]:
    """Three sentences; fewer where nothing was measured.

    Args:
        sources: what was found.
        sections: names of the page's sections, to which a sentence may lead.
    """
    found = [_what_there_is(sources), _what_came_out(sources), _what_is_next(sources)]
    return tuple(
        one if one.section in sections else replace(one, section="") for one in found if one.text
    )


def _what_there_is(sources: Sources) -> Sentence:
    asked = sum(isinstance(one.results, ZeroShot) for one in sources.measured)
    seeds = sum(len(run.seeds) for run in sources.tuned)
    tasks = len({run.task.name for run in sources.tuned})
    kinds = [drawn.origin.kind for drawn in sources.drawn]
    experiments = kinds.count(EXPERIMENT)
    tuned = _count(len(sources.tuned), "fine-tuned run")
    if seeds > len(sources.tuned):
        tuned += f" ({seeds} seeds)"
    parts = [
        _count(len(sources.pretrained), "pre-trained run"),
        f"{tuned} on {_count(tasks, 'task')}" if sources.tuned else "",
        _count(asked, "task without training", "tasks without training"),
        _count(len(sources.measured) - asked, "measured text"),
        _count(len(kinds) - experiments, "probe"),
        _count(experiments, "set of figures of an experiment", "sets of figures of experiments"),
    ]
    if not (known := [part for part in parts if part]):
        return Sentence("")
    text = f"This page has {_joined(known)}"
    left_out = len(sources.left_out)
    return Sentence(f"{text}; {left_out} more could not be shown." if left_out else f"{text}.")


def _what_came_out(sources: Sources) -> Sentence:
    if sources.tuned:
        groups = _by_task(sources.tuned)
        said = tuple(_best_of_task(group) for group in groups[:MOST_TASKS])
        more = len(groups) - MOST_TASKS
        rest = f" (the table has {more} more)" if more > 0 else ""
        what = "each task" if len(groups) > 1 else "the task"
        return Sentence(f"The best of {what}{rest}:", said, "fine-tuning")
    if models := [run for run in sources.pretrained if "perplexity" in run.metrics]:
        return replace(_best_perplexity(models), section="pre-training")
    texts = [one.results for one in sources.measured if isinstance(one.results, TextEvaluation)]
    if known := [one for one in texts if "perplexity" in one.metrics]:
        best = min(known, key=lambda one: one.metrics["bits_per_byte"])
        bits = f"{best.metrics['bits_per_byte']:.3f} bits per byte"
        return Sentence(f"Fewest bits: {bits} by {best.run} on {best.split}.", section="texts")
    asked = [one.results for one in sources.measured if isinstance(one.results, ZeroShot)]
    if told := [one for one in asked if one.normalised is not None]:
        best_asked = max(told, key=lambda one: one.normalised or -math.inf)
        return Sentence(
            f"Without training the best is {best_asked.run} on {best_asked.asked}: "
            f"{best_asked.normalised:.3f}, where 0 is guessing and 1 the paper's fine-tuned model.",
            section="zero-shot",
        )
    titles = [one.title for drawn in sources.drawn for one in drawn.figures]
    titles += [one.title for drawn in sources.drawn for one in drawn.tables]
    return Sentence(f"It begins with “{titles[0]}”." if titles else "")


def _by_task(runs: Sequence[TunedRun]) -> list[list[Labelled]]:
    """The runs of each task that were measured on one split, the validation split if there is one.

    The tasks with the most runs come first.
    """
    groups = []
    for name, _ in Counter(run.task.name for run in runs).most_common():
        labelled = with_labels([run for run in runs if run.task.name == name])
        splits = [_split(run) for run, _ in labelled]
        wanted = VALID if VALID in splits else splits[0]
        groups.append([pair for pair in labelled if _split(pair[0]) == wanted])
    return groups


def _split(run: TunedRun) -> str:
    return next(iter(run.seeds[0].splits))


def _best(group: Sequence[Labelled]) -> Labelled:
    return max(group, key=lambda pair: first_mean(pair[0]))


def _best_of_task(group: Sequence[Labelled]) -> str:
    """Its value, its name, and what it is to be seen beside."""
    run, label = _best(group)
    split, metric = _split(run), LABELS[run.task.metrics[0]]
    of = f"of {_count(len(group), 'run')}, " if len(group) > 1 else ""
    where = f"{of}{_count(len(run.seeds), 'seed')}, {split}"
    beside = []
    if run.sample:
        beside.append("offline sample, not the task")
    if (share := commonest(run)) is not None:
        beside.append(f"the commonest label alone has {share:.2f}")
    if run.task.paper is not None and not run.sample:
        beside.append(f"the paper {run.task.paper:g} on {run.task.paper_split}")
    told = f" – {', '.join(beside)}" if beside else ""
    return f"{run.task.name}: {metric} {first_mean(run):.2f} by {label} ({where}){told}"


def commonest(run: TunedRun) -> float | None:
    """The share of the commonest gold label in the run's predictions, in per cent.

    None of what has no classes, is not measured by accuracy, or kept no predictions.
    """
    found = next((one.predictions for one in run.seeds if one.predictions is not None), None)
    if found is None or run.task.metrics[0] != "accuracy" or not run.task.has_classes:
        return None
    return float(100 * np.unique(found.gold, return_counts=True)[1].max() / len(found.gold))


def _best_perplexity(runs: Sequence[PretrainedRun]) -> Sentence:
    """The lowest perplexity of one text; of several texts, which do not compare, each or the range.

    Beside each stands what token frequencies alone come to.
    """
    told = [
        f"{run.metrics['perplexity']:,.2f} by {label}" + _unigrams(run)
        for run, label in with_labels(runs)
    ]
    values = [run.metrics["perplexity"] for run in runs]
    if len({_text_of(run) for run in runs}) == 1 or len(runs) == 1:
        return Sentence(f"Lowest perplexity: {told[values.index(min(values))]}.")
    if len(runs) <= MOST_TASKS:
        return Sentence("Perplexities, on different texts or tokens:", tuple(told))
    ends = f"from {min(values):,.2f} to {max(values):,.2f}"
    return Sentence(f"{len(runs)} perplexities, on different texts or tokens, are {ends}.")


def _unigrams(run: PretrainedRun) -> str:
    alone = run.metrics.get("unigram_perplexity")
    return "" if alone is None else f", where token frequencies alone have {alone:,.1f}"


def _text_of(run: PretrainedRun) -> tuple[str, int]:
    """The validation text and how many tokens it is; the run itself where that is not recorded."""
    facts = run.data.get("valid", {})
    return facts.get("source", run.origin.path), facts.get("tokens", 0)


def _what_is_next(sources: Sources) -> Sentence:
    """Doubts first; then where the best runs go wrong; then whether training was long enough."""
    doubted = Counter(run.task.name for run in sources.tuned if _is_doubted(run))
    places = []
    if doubted:
        named = [f"{name} ({_count(count, 'run')})" for name, count in doubted.items()]
        rest = f" and {len(named) - MOST_TASKS} more" if len(named) > MOST_TASKS else ""
        places.append(f"the warnings of {', '.join(named[:MOST_TASKS])}{rest}")
    section = f"task-{slug(next(iter(doubted)))}" if doubted else ""
    groups = [group for group in _by_task(sources.tuned) if not _best(group)[0].sample]
    for group in groups:
        if parts := [part for part in (_close_behind(group), _worst_mistake(group)) if part]:
            name = group[0][0].task.name
            places.append(f"{name}, where {', and '.join(parts)}")
            section = section or f"task-{slug(name)}"
            break
    if not sources.tuned:
        ends = [(run, told) for run in sources.pretrained if (told := _end_of_training(run))]
        places += [told for _, told in ends[:1]]
        section = f"run-{slug(ends[0][0].origin.path)}" if ends else ""
    return Sentence(f"Look next at {'; then at '.join(places)}." if places else "", (), section)


def _is_doubted(run: TunedRun) -> bool:
    return run.sample or any(seed.collapsed or seed.notices for seed in run.seeds)


def _close_behind(group: Sequence[Labelled]) -> str:
    """How many runs so few examples cannot tell from the best; "" of none, or of other metrics."""
    run, _ = _best(group)
    if run.task.metrics[0] != "accuracy":
        return ""
    best = first_mean(run)
    examples = run.seeds[0].splits[_split(run)].examples
    share = best / 100
    error = 100 * Z * math.sqrt(2 * share * (1 - share) / examples)
    near = sum(first_mean(other) >= best - error for other, _ in group) - 1  # itself
    if not near:
        return ""
    verb = "are" if near > 1 else "is"
    return (
        f"{_count(near, 'run')} {verb} within {error:.1f} points of the best, which is the "
        f"sampling error of {examples:,} examples"
    )


def _worst_mistake(group: Sequence[Labelled]) -> str:
    """The two classes that the best run confuses most often, as a share of the gold one."""
    run, label = _best(group)
    known = [one.predictions for one in run.seeds if one.predictions is not None]
    if not known or run.task.scores is not None or not run.task.has_classes:
        return ""
    counts = np.sum([confusion(one) for one in known], axis=0)
    sums = counts.sum(1)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    shares = wrong / np.maximum(sums, 1)[:, None]
    gold, predicted = np.unravel_index(shares.argmax(), shares.shape)
    if not wrong[gold, predicted]:
        return ""
    names = run.task.labels
    return (
        f"{label} takes {wrong[gold, predicted]:,} of {sums[gold]:,} {names[gold]} for "
        f"{names[predicted]}"
    )


def _end_of_training(run: PretrainedRun) -> str:
    """Whether the validation loss still fell, or had begun to rise; "" where neither is known."""
    losses = [
        float(record["loss"])
        for record in run.records
        if record["split"] == "valid" and record.get("loss") is not None
    ]
    if len(losses) < 2:
        return ""
    lowest, last, fall = min(losses), losses[-1], losses[-2] - losses[-1]
    if last > lowest + LEAST_FALL:
        return (
            f"{run.origin.path}, whose validation loss rose at the end, by {last - lowest:.3f} "
            "nats over its lowest: it was trained for too long"
        )
    if fall > LEAST_FALL:
        return (
            f"{run.origin.path}, whose validation loss still fell at the end, by {fall:.3f} nats "
            "between the last two evaluations: more updates may help"
        )
    return ""


def _count(number: int, one: str, several: str = "") -> str:
    """As "1 run" or "2 runs"; "" of none."""
    return f"{number:,} {one if number == 1 else several or one + 's'}" if number else ""


def _joined(parts: Sequence[str]) -> str:
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last
