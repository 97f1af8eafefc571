"""Sweeps whose processes are played: nothing is trained, and every ending can be had."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gptjax import config as configs
from gptjax.commands.pretrain import PretrainConfig
from gptjax.models.config import ModelConfig
from gptjax.report import drawing
from gptjax.runs.folder import RunFolder, write_json
from gptjax.runs.results import (
    Data,
    LanguageModelling,
    Seeds,
    SplitSpread,
    Spread,
    write_results,
)
from gptjax.sweeps.processes import Launch


@pytest.fixture
def no_pictures(monkeypatch):
    """figures.json is written, but nothing is drawn, which takes longer than all the rest."""
    monkeypatch.setattr(drawing, "save_pictures", lambda folder, figure: None)


@pytest.fixture
def pretrained(tmp_path) -> str:
    """As much of a pre-trained run as the settings of fine-tuning are taken from."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    configs.write(PretrainConfig(model=ModelConfig(vocabulary_size=300)), folder / "config.toml")
    return str(folder)


def option(words: tuple[str, ...], name: str) -> list[str]:
    """The words of a command line that belong to an option."""
    begin = words.index(name) + 1
    end = next((i for i in range(begin, len(words)) if words[i].startswith("--")), len(words))
    return list(words[begin:end])


def config_of(words: tuple[str, ...]) -> dict:
    """The config file of a command line."""
    return tomllib.loads(Path(*option(words, "--config")).read_text(encoding="utf-8"))


def finish_pretraining(
    folder: Path, perplexity: float, seed: int = 0, metric: str = "perplexity"
) -> None:
    """The files of a run that has ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").touch()
    run = RunFolder(folder)
    results = LanguageModelling(
        split="valid",
        examples=1234,
        metrics={metric: perplexity, "loss": 1.0},
        data=Data(source="embedded"),
        checkpoint="best/3",
        steps=3,
        seed=seed,
    )
    write_results(run.results, results)
    write_json(run.meta, {"status": "finished"})


def finish_seeds(folder: Path, accuracies: Mapping[int, float], sample: bool = False) -> None:
    """The files of fine-tuning with several seeds that has ended well."""
    for seed in accuracies:
        (folder / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{seed}" / "config.toml").touch()
    values = tuple(accuracies.values())
    mean = sum(values) / len(values)
    spread = Spread("accuracy", mean, 0.0, mean, max(values), values)
    results = Seeds(
        task="sst2",
        split="valid",
        examples=50,
        metrics={"accuracy": mean},
        seeds=tuple(accuracies),
        majority_class_only=(),
        data=Data(sample=sample),
        splits=(SplitSpread("valid", 50, (spread,)),),
    )
    write_results(folder / "results.json", results)


class PlayedProcess:
    """A process that ends when it is asked for the ``polls``-th time, or by a signal with 75."""

    def __init__(self, code: int, polls: int, on_end: Callable[[], None]):
        self.code, self.polls, self.on_end = code, polls, on_end
        self.signals: list[int] = []
        self.ended = False

    def poll(self) -> int | None:
        self.polls -= 1
        if self.polls > 0 and not self.signals:
            return None
        if not self.ended:
            self.ended = True
            self.on_end()
        return self.wait()

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)

    def wait(self) -> int:
        assert self.ended or self.signals
        return 75 if self.signals else self.code


class Player:
    """Starts processes that are played: a run of pre-training has 100 × its learning rate as
    perplexity. ``codes`` says which folders fail; ``before`` is called before each start, and
    ``polls`` says for how many questions a process lives, both by the number of the start."""

    def __init__(
        self,
        polls: Callable[[int], int] = lambda number: 1,
        before: Callable[[int], None] = lambda number: None,
    ):
        self.polls, self.before = polls, before
        self.codes: dict[str, int] = {}
        self.launches: list[Launch] = []
        self.processes: list[PlayedProcess] = []
        self.most = 0

    @property
    def started(self) -> list[str]:
        return [Path(*option(launch.words, "--out")).name for launch in self.launches]

    def __call__(self, launch: Launch) -> PlayedProcess:
        self.before(len(self.launches))
        self.launches.append(launch)
        folder = Path(*option(launch.words, "--out"))
        code = self.codes.get(folder.name, 0)

        def end() -> None:
            if process.signals:
                return
            if code:
                launch.log.write_text("first\ngptjax: it does not work\n\n")
            else:
                self.finish(launch.words, folder)

        process = PlayedProcess(code, self.polls(len(self.processes)), end)
        self.processes.append(process)
        self.most = max(self.most, sum(not one.ended for one in self.processes))
        return process

    def finish(self, words: tuple[str, ...], folder: Path) -> None:
        finish_pretraining(folder, 100 * config_of(words)["optimizer"]["learning_rate"])


@pytest.fixture
def player() -> Player:
    return Player()


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
