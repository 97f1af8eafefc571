"""Where the numbers of a run go: metrics.jsonl, TensorBoard, Weights & Biases, a progress bar."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median_high
from typing import Any

import tomli_w
from tqdm import tqdm

from gptjax.errors import check_counts
from gptjax.screen import SCREEN, progress_bar, shows_bars
from gptjax.training.growing import EventFile, GrowingFile
from gptjax.training.profile import Trace, read_window
from gptjax.training.weights_and_biases import Identity, WeightsAndBiases

FORECAST_AFTER = 5  # updates
SECONDS_BEFORE_LINE = 3  # of waiting
SECONDS_BETWEEN_LINES = 30  # of progress, where there is no terminal to draw a bar on


@dataclass(frozen=True)
class TrackingConfig:
    """Section `tracking`. `metrics.jsonl` is always written."""

    tensorboard: bool = True
    """Write TensorBoard event files to `tensorboard/` in the run folder."""
    wandb: bool = False
    """Send metrics to Weights & Biases (needs the extra `wandb`); its failures are reported
    once and never stop a run."""
    wandb_project: str = "gptjax"
    """The project they are sent to."""
    progress: bool = True
    """Show progress: a bar on a terminal, otherwise a line now and then."""
    samples: int = 0
    """Texts that are written at each evaluation of pre-training, into metrics.jsonl, TensorBoard
    and Weights & Biases."""
    profile: str | None = None
    """Updates FROM:TO, counted from 0 with TO excluded, of which jax's profiler writes a trace to
    `profile/` in the run folder."""

    def __post_init__(self) -> None:
        self.window()
        check_counts(self, "tracking", "samples", least=0)

    def window(self) -> range:
        """The updates of the trace; of none it is empty."""
        return range(0) if self.profile is None else read_window(self.profile)


class Tracker:
    """Records metrics by step and split, and tells people how a run is going.

    Nothing is written before `start`. A run on several processes has one tracker at work,
    on process 0. What cannot be written or shown is said once, and never stops a run.

    Args:
        folder: the run folder.
        config: the section `tracking`.
        identity: what the run is called at Weights & Biases.
    """

    def __init__(
        self, folder: str | Path, config: TrackingConfig, identity: Identity | None = None
    ) -> None:
        self._folder = Path(folder)
        self._config = config
        self._identity = identity or Identity()
        self._metrics: GrowingFile | None = None
        self._tensorboard: EventFile | None = None
        self._wandb: WeightsAndBiases | None = None
        self._bar: tqdm | None = None
        self._failed: set[Path] = set()  # what it was said of
        self._total = 0
        self._kept: list[str] = []
        self._last_line = -math.inf
        self._forecast_made = False
        self._first: tuple[int, float] | None = None  # step and time of the first progress
        self._waited = 0.0  # seconds of waiting since then
        self.trace = Trace(self._folder / "profile", config.window())

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, step: int, total: int) -> None:
        """Open everything for a run of ``total`` updates that goes on after ``step`` of them.

        What an earlier part of the run recorded after that step is removed.
        """
        self._total = total
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "metrics.jsonl"
        self._metrics = GrowingFile(path, lambda: self._cut_back(path, step))
        with self._file_may_fail(self._metrics):
            self._metrics.append(b"")
        if self._config.tensorboard:
            self._tensorboard = EventFile(self._folder / "tensorboard", step)
            if self._identity.settings:
                self._texts("settings", [_as_code(self._identity.settings)], step)
        if self._config.wandb:
            project = self._config.wandb_project
            self._wandb = WeightsAndBiases(self._folder, project, self._identity, self.message)
        if self._config.progress and shows_bars():
            # The time left is by the mean pace, which evaluations are a part of.
            self._bar = progress_bar(
                total, initial=step, unit="step", dynamic_ncols=True, smoothing=0
            )

    def log(self, record: Mapping[str, Any]) -> None:
        """Record ``step``, ``split``, and numbers by name.

        A number that is not finite is null in metrics.jsonl, since JSON has no such numbers.
        """
        assert self._metrics is not None, "start() comes first"
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        with self._file_may_fail(self._metrics):
            self._metrics.append(json.dumps(clean).encode() + b"\n")
        step, split = int(record["step"]), record["split"]
        del clean["step"], clean["split"]
        numbers = {name: x for name, x in clean.items() if isinstance(x, int | float)}
        scalars = {f"{split}/{name}": x for name, x in numbers.items()}
        if self._tensorboard is not None:
            with self._file_may_fail(self._tensorboard):
                self._tensorboard.add(scalars, step)
        if self._wandb is not None:
            self._wandb.log(scalars, step)
        if split == "valid" and self._kept:
            self._log_samples(step)
        if split != "train":
            shown = ", ".join(f"{name} {x:.4g}" for name, x in numbers.items())
            self.message(f"step {step}: {split} {shown}")

    def keep(self, samples: Sequence[str]) -> None:
        """Texts of the model, which are recorded with the next evaluation."""
        self._kept = list(samples)

    def _log_samples(self, step: int) -> None:
        samples, self._kept = self._kept, []
        assert self._metrics is not None
        record = {"step": step, "split": "samples", "samples": samples}
        with self._file_may_fail(self._metrics):
            self._metrics.append(json.dumps(record).encode() + b"\n")
        self._texts("samples", samples, step)
        if self._wandb is not None:
            self._wandb.log_texts("samples", samples, step)

    def _texts(self, tag: str, texts: Sequence[str], step: int) -> None:
        if self._tensorboard is not None:
            with self._file_may_fail(self._tensorboard):
                self._tensorboard.add_texts(tag, texts, step)

    def progress(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Show that a training step is done."""
        if not self._config.progress:
            return
        now, speed = time.monotonic(), f"{tokens_per_second:,.0f} tokens/s"
        first = self._first is None
        self._first = self._first or (step, now)
        self._forecast(step)
        if self._bar is not None:
            if first:  # counted from here, without the time of compilation
                self._bar.initial = step
                self._bar.unpause()
            self._bar.set_postfix_str(f"loss {loss:.3f}, {speed}", False)
            self._bar.update(step - self._bar.n)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or step == self._total:
            left = ""
            if not first:
                pace = (now - self._first[1]) / (step - self._first[0])
                left = f", {tqdm.format_interval((self._total - step) * pace)} left"
            self._last_line = now
            self.message(f"step {step}/{self._total}: loss {loss:.3f}, {speed}{left}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """While entered, show what the run waits for and since when, such as "compiling, 12 s"."""
        if not self._config.progress:
            yield
            return
        ended, bar, began = threading.Event(), self._bar, time.monotonic()

        def tick() -> None:
            pause = 1 if bar is not None else SECONDS_BEFORE_LINE
            while not ended.wait(pause):
                said = f"{what}, {time.monotonic() - began:.0f} s"
                if bar is not None:
                    bar.set_description_str(said)
                else:
                    self.message(said)
                    pause = SECONDS_BETWEEN_LINES

        if bar is not None:
            bar.set_description_str(what)
        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if self._first is not None:
                self._waited += time.monotonic() - began
            if bar is not None:
                bar.set_description_str("")

    def _forecast(self, step: int) -> None:
        """Say once how long the run is going to take, if that is long."""
        assert self._first is not None
        done = step - self._first[0]
        if self._forecast_made or done < FORECAST_AFTER:
            return
        self._forecast_made = True
        # A program is compiled for each shape of a batch, most of them at the beginning.
        pace = (time.monotonic() - self._first[1] - self._waited) / done
        left = (self._total - step) * pace
        if left >= SECONDS_BETWEEN_LINES:
            self.message(
                f"forecast: {tqdm.format_interval(left)} for the {self._total - step:,} updates "
                f"left on this machine, {pace:.2g} s each; evaluations come on top"
            )

    def message(self, text: str) -> None:
        """Print a line for people, without disturbing the bar."""
        tqdm.write(text, file=SCREEN)

    def close(self) -> None:
        """Flush and close everything. May be called twice."""
        if self._bar is not None:
            self._bar.close()
        self.trace.close()
        for file in (self._tensorboard, self._metrics):
            if file is not None and (lost := file.close()):
                self.message(f"{file.path}: the last {lost:,} bytes could not be written")
        if self._wandb is not None:
            self._wandb.finish()
        self._bar = self._tensorboard = self._metrics = self._wandb = None

    def _cut_back(self, path: Path, step: int) -> None:
        damaged, kept = cut_back(path, step)
        lost = [f"{damaged:,} lines are no records, and are left out"] if damaged else []
        lost += [f"nothing is recorded from step {first} to {last}" for first, last in holes(kept)]
        if lost:
            self.message(f"notice: {path} was damaged: {'; '.join(lost[:3])}")

    @contextmanager
    def _file_may_fail(self, file: GrowingFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if file.path not in self._failed:
                self._failed.add(file.path)
                self.message(
                    f"{file.path}: cannot be written ({error.strerror}); the run goes on, and "
                    "tries again with each number"
                )


def _as_code(settings: Mapping[str, Any]) -> str:
    """Settings as TensorBoard shows them: Markdown, a table of TOML."""
    return f"```toml\n{tomli_w.dumps(dict(settings))}```"


def cut_back(path: Path, step: int) -> tuple[int, list[int]]:
    """Remove the lines of a metrics.jsonl after a step, and a torn last line.

    A crash leaves the old file or the new one. Lines are in order but for damage, so that the file
    is nearly always only made shorter, for which a full disk has room.

    Returns:
        How many lines are no records, and the steps of the training records that are kept, with
        ``step`` behind them.
    """
    if not path.exists():
        return 0, [step]
    kept, damaged, steps = [], 0, []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            continue
        try:
            record = json.loads(line)
            if record["step"] <= step:
                kept.append(line)
                steps += [int(record["step"])] if record["split"] == "train" else []
        # A line that damage has made of another type is no record either.
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += 1
    content = b"".join(kept)
    if path.read_bytes().startswith(content):
        os.truncate(path, len(content))
    else:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(content)
        os.replace(temporary, path)
    return damaged, [*steps, step]


def holes(steps: list[int]) -> list[tuple[int, int]]:
    """Where records are missing: the first and last step of each gap of twice the usual one.

    The usual gap is the median: how often a run records is a setting, and may change. Step 1 is
    always recorded.
    """
    if len(steps) == 1:
        return [(1, steps[0])] if steps[0] else []
    gaps = [(before, after) for before, after in pairwise([0, *steps]) if after > before]
    usual = median_high(after - before for before, after in gaps)
    return [(before + 1, after - 1) for before, after in gaps if after - before > 2 * usual]
