"""How much each pre-trained block is worth (figure 2, left): only the first k are transferred.

    .venv/bin/python experiments/layer_transfer.py --init runs/pretrain/small --data FOLDER

``FOLDER`` has a folder of published files for each task. The embeddings and the first k blocks are
the pre-trained ones, the others start from random values; everything is fine-tuned. Beside them
stands the model with nothing transferred. What has finished is not run again, so the same command
goes on, and draws again.
"""

from dataclasses import dataclass
from pathlib import Path

from arms import (
    PRETRAINED,
    UNTRAINED,
    Arms,
    ArmsConfig,
    how,
    metric_of,
    read_tasks,
    run_arms,
    series,
    sources,
)
from script import start

from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown
from gptjax.runs import open as runs


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
    some = {f"{k} blocks": {"init": config.init, "transfer_layers": k} for k in range(layers)}
    arms: Arms = {
        UNTRAINED: {"init": "none", "like": config.init},
        **some,
        PRETRAINED: {"init": config.init},
    }
    outcomes_of = run_arms(config, tasks, arms)
    found = {
        task: {k: outcomes[name] for k, name in enumerate([*some, PRETRAINED])}
        for task, outcomes in outcomes_of.items()
    }
    nothing = {task: outcomes[UNTRAINED] for task, outcomes in outcomes_of.items()}
    caption = (
        f"Fine-tuning from the embeddings and the first k of {layers} blocks of {config.init}, the "
        f"rest from random values; nothing: all from random values. {how(config.seeds, tasks)}"
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
        levels=tuple((f"{task}, nothing", 100 * arm.mean) for task, arm in nothing.items()),
    )
    table = Table(
        name="layer-transfer-table",
        title=title,
        caption=caption,
        columns=(
            "task",
            "train / valid",
            "metric",
            "nothing",
            *(f"k = {k}" for k in range(layers + 1)),
        ),
        rows=tuple(
            (
                *(task, nothing[task].sizes, metric_of(task), nothing[task].text),
                *(one.text for one in outcomes.values()),
            )
            for task, outcomes in found.items()
        ),
        sources=tuple(sources(*outcomes.values()) for outcomes in outcomes_of.values()),
    )
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, LayerTransferConfig, __doc__)
