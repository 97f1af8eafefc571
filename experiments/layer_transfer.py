"""How much each pre-trained block is worth (figure 2, left): only the first k are transferred.

    .venv/bin/python experiments/layer_transfer.py --init runs/pretrain/small --data FOLDER

``FOLDER`` has a folder of published files for each task. The embeddings and the first k blocks are
the pre-trained ones, the others start from random values; everything is fine-tuned. What has
finished is not run again, so the same command goes on, and draws again.
"""

from dataclasses import dataclass
from pathlib import Path

from arms import PRETRAINED, ArmsConfig, how, metric_of, read_tasks, run_arms, series, sources
from script import start

from gptjax import run as runs
from gptjax.evaluation.figures import Figure, Table, save


@dataclass(frozen=True, kw_only=True)
class LayerTransferConfig(ArmsConfig):
    """Fine-tune with the first k = 0 … L pre-trained blocks, and draw the curves."""

    init: str
    """The pre-trained run."""
    out: Path = Path("runs/layer-transfer")
    """Where the figure goes."""
    tasks: tuple[str, ...] = ("rocstories", "sst2")
    """On which tasks."""


def main(config: LayerTransferConfig) -> None:
    """Run what is missing, and draw."""
    layers = runs.load_config(config.init).num_layers
    tasks = read_tasks(config.settings, config.tasks)
    arms = {f"{k} blocks": {"init": config.init, "transfer_layers": k} for k in range(layers)}
    arms[PRETRAINED] = {"init": config.init}
    found = {
        task: {k: outcomes[name] for k, name in enumerate(arms)}
        for task, outcomes in run_arms(config, tasks, arms).items()
    }
    caption = (
        f"Fine-tuning from the embeddings and the first k of {layers} blocks of {config.init}, the "
        f"rest from random values. {how(config.seeds, tasks)}"
    )
    title = "What each transferred block is worth"
    figure = Figure(
        name="layer-transfer",
        title=title,
        caption=caption,
        x_label="blocks transferred",
        y_label="validation metric (×100)",
        series=tuple(
            series(f"{task} ({metric_of(task)})", outcomes) for task, outcomes in found.items()
        ),
    )
    table = Table(
        name="layer-transfer-table",
        title=title,
        caption=caption,
        columns=("task", "train / valid", "metric", *(f"k = {k}" for k in range(layers + 1))),
        rows=tuple(
            (
                task,
                outcomes[0].sizes,
                metric_of(task),
                *(outcome.text for outcome in outcomes.values()),
            )
            for task, outcomes in found.items()
        ),
        sources=tuple(sources(*outcomes.values()) for outcomes in found.values()),
    )
    save(config.out, [figure], [table])
    for cells in (table.columns, *table.rows):
        print(" | ".join(cells))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, LayerTransferConfig, __doc__)
