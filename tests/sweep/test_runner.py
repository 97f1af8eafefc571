"""What of a sweep is run and what is not, and how it ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gptjax.commands import sweep as command
from gptjax.commands.sweep import COMMANDS, SweepConfig, run_sweep
from gptjax.errors import Interrupted, UserError
from gptjax.runs.folder import write_json
from gptjax.runs.sweep_results import SweepPoint
from gptjax.sweeps.plan import Sweep, make_plan
from gptjax.sweeps.points import judge, last_line
from gptjax.sweeps.processes import Launch, shares
from gptjax.sweeps.progress import time_left
from gptjax.sweeps.runner import run_plan
from tests.sweep.conftest import (
    Player,
    config_of,
    finish_pretraining,
    finish_seeds,
    option,
    read,
)

pytestmark = pytest.mark.usefixtures("no_pictures")

RATE = "optimizer.learning_rate"
NAMES = ["learning_rate=0.1", "learning_rate=0.2", "learning_rate=0.3"]


def sweep_in(folder: Path, rates=(0.1, 0.2, 0.3), **settings) -> Sweep:
    return Sweep("pretrain", folder / "out", {"train.steps": 3, **settings}, {RATE: list(rates)})


def statuses(folder: Path) -> dict[str, str]:
    return {p["folder"]: p["status"] for p in read(folder / "out" / "results.json")["points"]}


def test_every_run_once(tmp_path, player):
    points = run_sweep(sweep_in(tmp_path), 1, player)
    assert player.started == NAMES
    assert player.most == 1
    assert [point.mean for point in points] == pytest.approx([10, 20, 30])
    first = player.launches[0]
    config = tmp_path / "out" / "learning_rate=0.1.toml"
    expected = ("--config", str(config), "--out", str(config.with_suffix("")), "--resume", "auto")
    assert first.words == ("pretrain", *expected)
    assert config_of(first.words) == {"train": {"steps": 3}, "optimizer": {"learning_rate": 0.1}}
    assert first.log == tmp_path / "out" / "learning_rate=0.1.log"
    assert (first.cores, first.memory) == (None, None)

    again = Player()
    assert run_sweep(sweep_in(tmp_path), 1, again) == points
    assert again.started == []


def test_what_is_added_is_run(tmp_path, player):
    run_sweep(sweep_in(tmp_path, [0.2]), 1, player)
    points = run_sweep(sweep_in(tmp_path), 1, player)
    assert player.started == [NAMES[1], NAMES[0], NAMES[2]]
    assert [point.folder for point in points] == NAMES
    # Variants are folders of their own.
    other = {"deep": {RATE: 0.5}}
    grown = Sweep("pretrain", tmp_path / "out", {"train.steps": 3}, variants=other)
    run_sweep(grown, 1, player)
    assert player.started[3:] == ["deep"]


def test_a_folder_that_was_moved_is_still_finished(tmp_path, player):
    run_sweep(sweep_in(tmp_path), 1, player)
    (tmp_path / "b").mkdir()
    (tmp_path / "out").rename(tmp_path / "b" / "out")
    run_sweep(sweep_in(tmp_path / "b"), 1, player)
    assert player.started == NAMES


def test_several_at_a_time(tmp_path):
    player = Player(polls=lambda number: 3)
    run_sweep(sweep_in(tmp_path, [i / 10 for i in range(1, 8)]), 3, player)
    assert len(player.started) == 7
    assert player.most == 3
    if hasattr(os, "sched_getaffinity"):
        assert {launch.cores for launch in player.launches} == set(shares(3))
    assert {launch.memory for launch in player.launches} == {0.25}


def test_a_failure_is_recorded_and_tried_again(tmp_path, player, capsys):
    player.codes = {NAMES[0]: 4, NAMES[1]: -9}
    points = run_sweep(sweep_in(tmp_path), 1, player)
    assert player.started == NAMES
    assert [point.status for point in points] == ["failed", "failed", "finished"]
    assert [point.exit_code for point in points] == [4, -9, 0]
    assert [point.error for point in points] == [
        "gptjax: it does not work",
        "ended by SIGKILL",
        "",
    ]
    assert "[1/3] learning_rate=0.1: failed with exit code 4" in capsys.readouterr().err
    content = read(tmp_path / "out" / "results.json")
    assert content["best"] == NAMES[2]
    assert content["points"][0]["error"] == "gptjax: it does not work"

    player.codes = {}
    points = run_sweep(sweep_in(tmp_path), 1, player)
    assert player.started[3:] == NAMES[:2]
    assert [point.exit_code for point in points] == [0, 0, 0]
    assert [point.error for point in points] == ["", "", ""]


def run_command(folder: Path, player: Player, monkeypatch) -> None:
    file = folder / "s.toml"
    file.write_text(
        f'command = "pretrain"\nout = "{folder}/out"\n[settings]\ntrain.steps = 3\n'
        f"[grid]\n{RATE} = [0.1, 0.2, 0.3]\n"
    )
    monkeypatch.setattr(command, "run_plan", lambda plan, jobs: run_plan(plan, jobs, player))
    command.run(SweepConfig(str(file)))


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [({0: 4}, 4), ({0: 2, 1: 2}, 2), ({0: 2, 1: 4}, 1), ({1: -9}, 1), ({1: 75}, 75)],
)
def test_exit_codes(tmp_path, player, monkeypatch, codes, exit_code, capsys):
    player.codes = {NAMES[i]: code for i, code in codes.items()}
    with pytest.raises(Exception, match=NAMES[max(codes)]) as caught:
        run_command(tmp_path, player, monkeypatch)
    assert caught.value.exit_code == exit_code
    assert "\n" not in str(caught.value)
    # The table is printed all the same.
    assert f"{100 * 0.3:.3f}" in capsys.readouterr().out
    player.codes = {}
    run_command(tmp_path, player, monkeypatch)
    assert set(statuses(tmp_path).values()) == {"finished"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_and_continued(tmp_path, number):
    def before(count: int) -> None:
        if count == 2:  # the third is about to start
            os.kill(os.getpid(), number)

    player = Player(polls=lambda number: 1 if number == 0 else 9, before=before)
    with pytest.raises(Interrupted, match=r"1 of 5 runs finished; the same command goes on"):
        run_sweep(sweep_in(tmp_path, (0.1, 0.2, 0.3, 0.4, 0.5)), 2, player)
    assert player.started == NAMES
    assert [process.signals for process in player.processes] == [[], [15], [15]]
    assert list(statuses(tmp_path).values()) == [
        "finished",
        "interrupted",
        "interrupted",
        "waiting",
        "waiting",
    ]
    player.before = lambda count: None
    run_sweep(sweep_in(tmp_path, (0.1, 0.2, 0.3, 0.4, 0.5)), 2, player)
    assert player.started[3:5] == NAMES[1:]
    assert len(player.started) == 7
    assert set(statuses(tmp_path).values()) == {"finished"}


def test_an_error_leaves_no_process(tmp_path):
    def before(count: int) -> None:
        if count == 1:
            raise RuntimeError("a bug")

    player = Player(polls=lambda number: 100, before=before)
    with pytest.raises(RuntimeError, match="a bug"):
        run_sweep(sweep_in(tmp_path), 2, player)
    assert [process.signals for process in player.processes] == [[15]]
    # As after a sweep that was killed: the next one does not take it for running.
    player = Player(before=lambda count: checked.append(statuses(tmp_path)[NAMES[1]]))
    checked: list[str] = []
    run_sweep(sweep_in(tmp_path), 1, player)
    assert checked == ["interrupted", "running", "finished"]


def test_one_sweep_at_a_time(tmp_path):
    def before(count: int) -> None:
        with pytest.raises(UserError, match="another sweep"):
            run_sweep(sweep_in(tmp_path), 1, Player())
        met.append(count)

    met: list[int] = []
    run_sweep(sweep_in(tmp_path), 1, Player(before=before))
    assert met == [0, 1, 2]


def test_other_settings_than_before_are_refused(tmp_path, player):
    run_sweep(sweep_in(tmp_path, [0.1]), 1, player)
    changed = sweep_in(tmp_path, **{"model.num_layers": 3})
    with pytest.raises(UserError, match=r"learning_rate=0.1: was made with model.num_layers = 12"):
        run_sweep(changed, 1, player)
    longer = Sweep("pretrain", tmp_path / "out", {"train.epochs": 2}, {RATE: [0.1]})
    with pytest.raises(UserError, match=r"train.epochs = None, and now it is 2"):
        run_sweep(longer, 1, player)
    assert player.started == NAMES[:1]
    # What failed before it had begun can be mended.
    player.codes = {NAMES[1]: 2}
    run_sweep(sweep_in(tmp_path), 1, player)
    (tmp_path / "out" / NAMES[1]).mkdir()
    player.codes = {}
    mended = sweep_in(tmp_path, [0.2], **{"model.num_layers": 3})
    assert [point.status for point in run_sweep(mended, 1, player)] == ["finished"]
    assert config_of(player.launches[-1].words)["model"] == {"num_layers": 3}


def test_a_folder_of_an_older_version_goes_on(tmp_path, player):
    """Its notes lack what was added to the config since, and no run has a config file."""
    run_sweep(sweep_in(tmp_path, [0.1, 0.2]), 1, player)
    for name in NAMES[:2]:
        (tmp_path / "out" / f"{name}.toml").unlink()
        file = tmp_path / "out" / f"{name}.json"
        note = read(file)
        assert note["settings"]["tracking"].pop("wandb_project") == "gptjax"
        write_json(file, note)
    (tmp_path / "out" / NAMES[1] / "results.json").unlink()  # it was interrupted
    points = run_sweep(sweep_in(tmp_path, [0.1, 0.2]), 1, player)
    assert player.started[2:] == NAMES[1:2]
    assert [point.status for point in points] == ["finished", "finished"]
    # What is absent and has no value of its own was None.
    note["settings"]["optimizer"].pop("clip_norm")
    write_json(file, note)
    with pytest.raises(UserError, match=r"optimizer.clip_norm = None, and now it is 1.0"):
        run_sweep(sweep_in(tmp_path, [0.1, 0.2]), 1, player)
    note["settings"]["optimizer"]["clip"] = 1.0
    write_json(file, note)
    with pytest.raises(UserError, match=r"0.2.json: unknown key 'optimizer.clip'"):
        run_sweep(sweep_in(tmp_path, [0.1, 0.2]), 1, player)


def test_a_run_of_somebody_else_is_refused(tmp_path, player):
    finish_pretraining(tmp_path / "out" / NAMES[2], 3.0)
    with pytest.raises(UserError, match=r"learning_rate=0.3: is there already, but not of this"):
        run_sweep(sweep_in(tmp_path), 1, player)
    assert player.started == []


def test_no_jobs(tmp_path, player):
    with pytest.raises(UserError, match="`jobs=0`"):
        run_sweep(sweep_in(tmp_path), 0, player)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_damaged_files_are_named(tmp_path, player, text):
    run_sweep(sweep_in(tmp_path), 1, player)
    for path in ("learning_rate=0.2.json", "learning_rate=0.2/results.json"):
        file = tmp_path / "out" / path
        good = file.read_text()
        file.write_text(text)
        with pytest.raises(UserError, match=path):
            run_sweep(sweep_in(tmp_path), 1, player)
        file.write_text(good)


def seeds_sweep(folder: Path, pretrained: str, *seeds: int) -> Sweep:
    settings = {"task": "sst2", "data": "sample", "init": pretrained}
    if seeds:
        settings["seeds"] = list(seeds)
    return Sweep("finetune", folder / "out", settings, variants={"v": {}})


def by_seed(point: SweepPoint) -> dict[int, float]:
    return {one.seed: one.value for one in point.values_by_seed}


def test_seeds_can_be_added(tmp_path, pretrained):
    out = tmp_path / "out" / "v"
    accuracies = {1: 0.5, 2: 0.75}

    class Tuner(Player):
        def __call__(self, launch: Launch):
            self.launches.append(launch)
            wanted = map(int, option(launch.words, "--seeds"))
            finish_seeds(out, {seed: accuracies.get(seed, 1.0) for seed in wanted})
            return subprocess.Popen(["true"])

    tuner = Tuner()
    (point,) = run_sweep(seeds_sweep(tmp_path, pretrained, 1, 2), 1, tuner)
    assert by_seed(point) == accuracies
    assert point.mean == 0.625
    assert point.std == pytest.approx(0.125 * 2**0.5)
    assert (point.examples, point.split) == (50, "valid")
    (point,) = run_sweep(seeds_sweep(tmp_path, pretrained, 1, 2, 3), 1, tuner)
    assert by_seed(point) == {1: 0.5, 2: 0.75, 3: 1.0}
    (point,) = run_sweep(seeds_sweep(tmp_path, pretrained, 1, 3), 1, tuner)  # fewer are there
    assert (by_seed(point), point.mean) == ({1: 0.5, 3: 1.0}, 0.75)
    assert len(tuner.launches) == 2
    with pytest.raises(UserError, match="was made with several, and now it is one"):
        run_sweep(seeds_sweep(tmp_path, pretrained), 1, tuner)


def test_exit_code_0_without_results_is_a_failure(tmp_path, pretrained):
    (point,) = make_plan(seeds_sweep(tmp_path, pretrained, 1), COMMANDS).points
    point.folder.mkdir(parents=True)
    point.beside(".log").write_text("the end\n")
    assert judge(point, 0) == ("failed", "the end")
    assert judge(point, 75) == ("interrupted", "")
    finish_seeds(point.folder, {1: 0.5})
    assert judge(point, 0) == ("finished", "")


def test_the_last_line_of_a_log(tmp_path):
    log = tmp_path / "x.log"
    assert last_line(log) == ""
    log.write_bytes(b"a\n" * 100_000 + b"\xff b \n\n  \n")
    assert last_line(log) == "\ufffd b"


@pytest.mark.parametrize(
    ("waiting", "running", "jobs", "expected"),
    [
        (0, [4.0], 1, 6),
        (0, [14.0], 1, 0),
        (3, [], 1, 30),
        (2, [4.0], 1, 26),
        (1, [4.0, 0.0], 2, 16),
        (2, [4.0, 0.0], 2, 20),
        (1, [4.0], 2, 10),
        (0, [4.0, 1.0], 4, 9),
    ],
)
def test_time_that_is_left(waiting, running, jobs, expected):
    assert time_left(10.0, waiting, running, jobs) == expected


def test_what_people_see(tmp_path, capsys):
    player = Player(before=lambda count: time.sleep(0.01))
    run_sweep(sweep_in(tmp_path), 1, player)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{tmp_path}/out: 3 runs"
    assert lines[1] == "[1/3] learning_rate=0.1: started"
    assert lines[2] == "[1/3] learning_rate=0.1: perplexity 10.000 in 0 s; about 0 s left"
    assert lines[-1] == "[3/3] learning_rate=0.3: perplexity 30.000 in 0 s"
    run_sweep(sweep_in(tmp_path, (0.1, 0.4)), 2, player)
    assert "2 runs, 1 finished before, 2 at a time" in capsys.readouterr().err


def test_what_a_killed_sweep_left_has_seconds_and_an_exit_code(tmp_path, player):
    """One of its runs came to its end without it, and one did not."""
    run_sweep(sweep_in(tmp_path), 1, player)
    for name in NAMES[:2]:
        note = tmp_path / "out" / f"{name}.json"
        write_json(note, {**read(note), "status": "running", "exit_code": None, "seconds": 1.0})
        log = note.with_suffix(".log")
        log.touch()
        os.utime(log, (note.stat().st_mtime + 5,) * 2)
    (tmp_path / "out" / NAMES[1] / "results.json").unlink()
    again = Player()
    points = run_sweep(sweep_in(tmp_path), 1, again)
    assert again.started == [NAMES[1]]
    assert [point.exit_code for point in points] == [0, 0, 0]
    assert all(6 <= point.seconds < 60 for point in points[:2])
