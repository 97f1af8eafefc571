"""Draw the learning curve of a pre-training run: loss in nats over tokens seen.

    .venv/bin/python experiments/plot_run.py runs/pretrain/small --out curve.png

Needs matplotlib (the extra `dev`).
"""

import argparse
import json
import math
import tomllib
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def main() -> None:
    """Read a run folder and write one picture."""
    parser = argparse.ArgumentParser(description="Draw the learning curve of a run.")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--out", type=Path, required=True, help="picture to write (.png, .svg)")
    arguments = parser.parse_args()

    config = tomllib.loads((arguments.run / "config.toml").read_text(encoding="utf-8"))
    per_update = config["train"]["batch_size"] * config["model"]["context_length"] / 1e6
    lines = (arguments.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    train = [(r["step"] * per_update, r["loss"]) for r in records if r["split"] == "train"]
    valid = [(r["step"] * per_update, r["loss"]) for r in records if r["split"] == "valid"]

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(*zip(*train, strict=True), color=BLUE, linewidth=0.8, alpha=0.8, label="training")
    axes.plot(*zip(*valid, strict=True), color=ORANGE, marker="o", label="validation, whole")
    results = arguments.run / "results.json"
    if results.exists():
        metrics = json.loads(results.read_text(encoding="utf-8"))["metrics"]
        unigram = math.log(metrics["unigram_perplexity"])
        axes.axhline(unigram, color=GREY, linestyle="--", label="token frequencies alone")
    for tokens, loss in valid[-1:]:
        axes.annotate(
            f"perplexity {math.exp(loss):.1f}",
            (tokens, loss),
            xytext=(-6, 12),
            textcoords="offset points",
            ha="right",
            color=ORANGE,
        )
    axes.set_xlabel("million tokens seen (padding included)")
    axes.set_ylabel("loss, nats per token")
    axes.set_title(f"{config['model'].get('num_layers')} layers × {config['model'].get('width')}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


if __name__ == "__main__":
    main()
