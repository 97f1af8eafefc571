"""The picture of the README, from the tables of two reports.

    .venv/bin/python experiments/readme_picture.py

Left: the validation perplexity of `small` on novels. Right: its fine-tuning beside the same model
trained from random values, mean and standard deviation of the seeds.
"""

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

REPORTS = Path(__file__).parent / "reports"
OUT = Path(__file__).parents[1] / "docs/images/small-on-novels.png"
NAMES = {
    "rocstories": "Story Cloze", "cola": "CoLA", "rte": "RTE", "snli": "SNLI", "mrpc": "MRPC",
    "stsb": "STS-B", "sst2": "SST-2", "qnli": "QNLI", "race": "RACE",
}  # fmt: skip
UNTRAINED, TRAINED = "#888888", "#0072b2"
UNIGRAM = 784.86


def rows(report: str, width: int) -> list[list[str]]:
    """The cells of a report's table rows of so many columns."""
    lines = (REPORTS / report).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) == width]


def curve() -> list[tuple[int, float]]:
    """(updates, perplexity)."""
    found = rows("2026-11-23-small-on-novels.md", 4)
    return [(int(r[0].replace(",", "")), float(r[2])) for r in found if r[0][:1].isdigit()]


def numbers(cell: str) -> tuple[float, float]:
    """Mean and deviation of '68.4 ± 2.8 (…)'; no deviation of one seed."""
    mean, deviation = re.match(r"([\d.]+)(?: ± ([\d.]+))?", cell).groups()  # type: ignore[union-attr]
    return float(mean), float(deviation or 0)


def main() -> None:
    """Draw and save."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), width_ratios=(1, 1.35))
    left.plot(*zip(*curve(), strict=True), "o-", color=TRAINED, markersize=4)
    left.axhline(UNIGRAM, color=UNTRAINED, linestyle="--")
    left.text(
        5000, UNIGRAM * 0.78, "token frequencies alone", ha="right", va="center", color="#555555"
    )
    left.text(5037, 61, "73.0", ha="center", color=TRAINED)
    left.set(yscale="log", ylim=(50, 1000), xlabel="updates", title="Perplexity of other novels")
    left.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1,000"])
    left.minorticks_off()
    tasks = [row for row in rows("2026-11-23-finetuning-small.md", 8) if row[0] in NAMES]
    tasks.sort(key=lambda row: numbers(row[4])[0] - numbers(row[3])[0])
    for number, row in enumerate(tasks):
        for column, color, label in ((3, UNTRAINED, "from nothing"), (4, TRAINED, "pre-trained")):
            mean, deviation = numbers(row[column])
            right.errorbar(
                mean, number + 0.24 * (column - 3.5), xerr=deviation, fmt="o", color=color,
                markersize=5, label=label if number == 0 else None,
            )  # fmt: skip
    right.set_yticks(range(len(tasks)), [NAMES[row[0]] for row in tasks])
    right.set(title="Fine-tuned", xlabel="the task's metric × 100")
    right.grid(axis="y", color="#e6e6e6")
    right.set_axisbelow(True)
    right.legend(frameon=False, loc="center left", bbox_to_anchor=(0.12, 0.28))
    figure.tight_layout()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=110)
    print(OUT)


if __name__ == "__main__":
    main()
