"""`gptjax compare`: is one fine-tuned model better than another?"""

from dataclasses import dataclass

import tyro

from gptjax.commands.advice import suggest
from gptjax.data.tasks.metrics import LABELS
from gptjax.errors import check_counts
from gptjax.evaluation.comparison import Comparison, compare, read_group


@dataclass(frozen=True)
class CompareConfig:
    """The difference between two runs on the same examples, with a paired bootstrap interval."""

    run_a: tyro.conf.Positional[str]
    """Run folder, or a folder with seed-1, seed-2, …"""
    run_b: tyro.conf.Positional[str]
    """The other one."""
    predictions: str = "predictions.tsv"
    """Which file of each run to compare (predictions-test.tsv, say)."""
    resamples: int = 2000
    """Bootstrap samples."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        check_counts(self, "", "resamples", most=10_000_000)
        check_counts(self, "", "seed", least=0)


def run(config: CompareConfig) -> Comparison:
    """Print both figures, their difference and its interval."""
    a = read_group(config.run_a, config.predictions)
    b = read_group(config.run_b, config.predictions)
    result = compare(a, b, resamples=config.resamples, seed=config.seed)
    print(f"{result.task}: {LABELS[result.metric]} on {result.num_examples:,} examples")
    for name, group, value in ((config.run_a, a, result.a), (config.run_b, b, result.b)):
        seeds = f" (mean of {len(group.predicted)} seeds)" if len(group.predicted) > 1 else ""
        print(f"  {name}: {100 * value:.2f}{seeds}")
    low, high = result.interval
    print(
        f"  difference B - A: {100 * result.difference:+.2f}, 95 % interval "
        f"{100 * low:+.2f} to {100 * high:+.2f} ({config.resamples:,} paired bootstrap samples)"
    )
    if low <= 0 <= high:
        print("  the interval contains 0: no difference is shown")
    suggest("a page", "report", "--runs", config.run_a, config.run_b, "--out", "report.html")
    return result
