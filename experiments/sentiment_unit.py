"""Does one unit tell sentiment? The protocol of Radford et al. (2017), on any recurrent run.

    .venv/bin/python experiments/sentiment_unit.py --run runs/pretrain/reviews --data FOLDER

``FOLDER`` has a folder of published files for each task. Probes with L1 read the memory cells after
each text: of SST-2's sentences as raw text, of MR, CR, Subj and MPQA in 10 folds, and of IMDb. On
SST-2 they are also fitted with few labels, and give the strongest unit. It stands alone beside its
controls, colours a text, and is held at its mean of either class while the model writes. What was
measured is not measured again, so the same command goes on, and draws again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from script import start
from sentiment_tables import (
    FOLDS,
    FREE,
    IMDB,
    PUBLISHED,
    SST,
    Place,
    accuracy_figure,
    accuracy_table,
    sample_table,
    unit_figures,
    unit_table,
)

from gptjax.commands import probe
from gptjax.config import nearest
from gptjax.data.tasks.load import for_training, load_task_data
from gptjax.data.tasks.table import find_task
from gptjax.errors import UserError
from gptjax.evaluation import probing
from gptjax.evaluation.features import CELL, layers_of
from gptjax.evaluation.model import Model, load
from gptjax.evaluation.probing import TRAIN, Rows
from gptjax.evaluation.unit_values import Unit, unit_values
from gptjax.evaluation.units import Search
from gptjax.files import read_json
from gptjax.report import unit_text
from gptjax.report.drawing import save
from gptjax.report.figures import markdown
from gptjax.runs.folder import RunFolder, write_json
from gptjax.runs.head import backbone_fingerprint
from gptjax.runs.published import short_name
from gptjax.runs.results import ProbeResults, read_as

WHOLE = (SST, IMDB)  # those that are not cut into folds
UNITS = 10
ASKED, SAMPLES = "asked.json", "samples.json"
TASKS = Path(__file__).with_name("tasks")


@dataclass(frozen=True, kw_only=True)
class UnitConfig:
    """Probe the memory cells of a run, and look at the strongest of them."""

    run: str
    """The pre-trained run, or openai:FOLDER."""
    data: Path
    """Folder with a folder of published files for each task."""
    out: Path | None = None
    """Where probes, table and figures go; None is runs/sentiment-unit/NAME with the name of the
    run."""
    tasks: tuple[str, ...] = tuple(PUBLISHED)
    """Which of them; sst2_raw gives the unit, and is always there."""
    sizes: tuple[str, ...] = ("10", "30", "100", "300", "1000", "3000", "all")
    """With how many labels of SST-2 a probe is fitted."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of which labels these are."""
    text: str = (
        "I expected little of this film, and for half an hour it was as dull as its poster. Then "
        "the sisters meet, and everything comes alive: a warm, funny and moving hour. What a pity "
        "that the end is such a mess."
    )
    """The text to colour."""
    prompt: str = ""
    """What samples begin with."""
    samples: int = 3
    """How many are written with each value."""
    max_tokens: int = 300
    """Of a sample."""
    batch_size: int = 32
    """Texts at once."""

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.out or Path("runs/sentiment-unit") / short_name(self.run)


def main(config: UnitConfig) -> None:
    """Measure what was not measured yet, and draw."""
    for task in config.tasks:
        if task not in PUBLISHED:
            raise UserError(f"--tasks {task}: {nearest(task, list(PUBLISHED))}")
    tasks = list(dict.fromkeys([SST, *config.tasks]))
    for task in tasks:
        if not (config.data / task).exists():
            raise UserError(f"--data {config.data}: has no {task}, or leave it out of --tasks")
    model = load(config.run)
    layers_of(model.model, CELL)  # it refuses a model that has none
    found = {task: probed(config, model, task) for task in tasks}
    sst = found[SST]
    assert sst.units is not None
    unit = Unit(CELL, sst.layer, sst.units.strongest[0])
    rows = {task: read(config, model, task, unit.layer) for task in WHOLE if task in found}
    alone = {task: accuracies(own, unit) for task, own in rows.items()}
    means = class_means(rows[SST][TRAIN], unit, find_task(task_name(SST)).labels)
    written = samples(config, model, unit, means)
    shown, page = unit_values(model, config.text, unit), config.folder / f"unit-{unit.number}.html"
    unit_text.write(page, f"{unit}, {short_name(config.run)}", shown.pieces, shown.values)
    where = Place(config.run, config.folder)
    tables = [
        accuracy_table(where, found),
        unit_table(where, found, alone),
        sample_table(where, unit.number, written, means),
    ]
    save(config.folder, [accuracy_figure(where, found), *unit_figures(where, sst)], tables)
    print("\n".join(map(markdown, tables)))
    print(page)
    print(config.folder)


def task_name(task: str) -> str:
    """The name of a task for `gptjax probe`: SST-2's raw text has a task file."""
    return str(TASKS / f"{task}.toml") if task == SST else task


def asked_of(config: UnitConfig, model: Model, task: str) -> dict[str, Any]:
    """All that decides what a probe comes to, but for the content of the files."""
    asked: dict[str, Any] = {"data": str(config.data / task)}
    asked["backbone"] = backbone_fingerprint(model.backbone)
    if task == SST:
        asked |= {"sizes": list(config.sizes), "seeds": list(config.seeds)}
    return asked


def probed(config: UnitConfig, model: Model, task: str) -> ProbeResults:
    """The results of a task's probe; measured where they are not there."""
    out = config.folder / task
    asked, note = asked_of(config, model, task), out / ASKED
    if not (note.exists() and read_json(note) == asked and RunFolder(out).results.exists()):
        note.unlink(missing_ok=True)
        settings = probe.ProbeConfig(
            run=config.run,
            task=task_name(task),
            data=(str(config.data / task),),
            features=CELL,
            penalty="l1",
            batch_size=config.batch_size,
            out=str(out),
        )
        how: dict[str, Any] = {"units": UNITS} if task in WHOLE else {"folds": FOLDS}
        if task == SST:
            how |= {"train_sizes": config.sizes, "seeds": config.seeds}
        probe.run(replace(settings, **how))
        write_json(note, asked)
    return read_as(ProbeResults, RunFolder(out).results)


def read(config: UnitConfig, model: Model, task: str, layer: int) -> dict[str, Rows]:
    """The rows of a task with labels and their cells, which its probe has computed."""
    own = find_task(task_name(task))
    data = for_training(load_task_data((str(config.data / task),), own), own)
    splits = {name: split for name, split in data.splits.items() if split.labelled}
    return probing.read_rows(
        model, splits, own, layers=[layer], how=CELL, batch_size=config.batch_size
    )


def accuracies(rows: Mapping[str, Rows], unit: Unit) -> dict[str, float]:
    """What a unit alone tells of every split; its threshold is the best one on train."""
    column = {name: one.features.layers[unit.layer][:, [unit.number]] for name, one in rows.items()}
    best = Search(column[TRAIN]).best(rows[TRAIN].gold)
    return {name: best.accuracy(column[name], one.gold) for name, one in rows.items()}


def class_means(rows: Rows, unit: Unit, labels: Sequence[str]) -> dict[str, float]:
    """The mean of a unit over the rows of each class."""
    values = np.asarray(rows.features.layers[unit.layer][:, unit.number], np.float64)
    return {name: float(values[rows.gold == one].mean()) for one, name in enumerate(labels)}


def samples(
    config: UnitConfig, model: Model, unit: Unit, means: Mapping[str, float]
) -> dict[str, list[str]]:
    """Texts with the unit held at each mean, and as it is; written where they are not there."""
    asked = {
        "backbone": backbone_fingerprint(model.backbone),
        "unit": [unit.layer, unit.number],
        "means": dict(means),
        "prompt": config.prompt,
        "samples": config.samples,
        "max_tokens": config.max_tokens,
    }
    path = config.folder / SAMPLES
    if path.exists() and (known := read_json(path))["asked"] == asked:
        return dict(known["written"])
    written = {}
    for name, value in {**means, FREE: None}.items():
        written[name] = model.generate(
            config.prompt,
            max_tokens=config.max_tokens,
            num_samples=config.samples,
            stop="\n",  # a review is a line where lines divide documents
            set_unit=None if value is None else {(unit.layer, unit.number): value},
        )
    write_json(path, {"asked": asked, "written": written})
    return written


if __name__ == "__main__":
    start(main, UnitConfig, __doc__)
