"""Searches: what is drawn, run and told, with Optuna itself and processes that are played."""

import dataclasses
import fcntl
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.commands import sweep as command
from gptjax.commands.sweep import COMMANDS, run_sweep
from gptjax.errors import FailedRunsError, Interrupted, UserError
from gptjax.report import figures
from gptjax.runs.folder import write_json
from gptjax.sweeps import curves, searcher
from gptjax.sweeps.plan import Sweep, make_plan
from gptjax.sweeps.runner import run_plan
from gptjax.sweeps.space import Prune
from gptjax.sweeps.study import Study, cut_torn_line
from tests.sweep.conftest import Player, config_of, finish_pretraining, option, read

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOT = Path(__file__).parents[2]
RATE = "optimizer.learning_rate"
SPACE = {RATE: {"log_uniform": [1e-5, 1e-1]}, "model": {"num_layers": {"integer": [1, 4]}}}


class Hill(Player):
    """The perplexity is lowest at a rate of 1e-3 and one block."""

    def finish(self, words, folder):
        config = config_of(words)
        rate, layers = config["optimizer"]["learning_rate"], config["model"]["num_layers"]
        finish_pretraining(folder, 10 + math.log10(rate / 1e-3) ** 2 + layers)


def search_in(folder: Path, space=SPACE, prune=None, **limits) -> Sweep:
    return Sweep(
        "pretrain", folder / "out", {"train.steps": 3}, search={**space, **limits}, prune=prune
    )


def test_every_point_is_another_and_within_its_bounds(tmp_path):
    player = Hill()
    points = run_sweep(search_in(tmp_path, trials=12), 2, player)
    assert len(set(player.started)) == len(player.started) == len(points) == 12
    assert [point.folder for point in points] == player.started
    assert {point.status for point in points} == {"finished"}
    for point in points:
        rate, layers = (setting.value for setting in point.values)
        assert point.folder == f"learning_rate={rate!r},num_layers={layers}"
        assert 1e-5 <= rate <= 1e-1
        assert layers in range(1, 5)
        assert point.mean == pytest.approx(10 + math.log10(rate / 1e-3) ** 2 + layers)
    results = read(tmp_path / "out" / "results.json")
    assert results["best"] == min(points, key=lambda point: point.mean).folder

    # The same command has nothing to do, and one with more trials goes on.
    again = Hill()
    assert run_sweep(search_in(tmp_path, trials=12), 1, again) == points
    assert again.started == []
    grown = run_sweep(search_in(tmp_path, trials=14), 1, again)
    assert grown[:12] == points
    assert len(again.started) == 2


def test_what_is_tried_first(tmp_path):
    first = [{RATE: 2.5e-4, "model": {"num_layers": layers}} for layers in (2, 3)]
    player = Hill()
    points = run_sweep(search_in(tmp_path, trials=4, first=first), 1, player)
    names = [f"learning_rate=0.00025,num_layers={layers}" for layers in (2, 3)]
    assert player.started[:2] == names
    assert len(points) == 4
    # They are put in once, and more of them come before what would be drawn.
    first.append({RATE: 0.1, "model.num_layers": 1})
    run_sweep(search_in(tmp_path, trials=6, first=first), 1, player)
    assert player.started[4] == "learning_rate=0.1,num_layers=1"
    assert len(set(player.started)) == len(player.started) == 6


def test_all_of_a_small_space_is_tried(tmp_path):
    space = {
        "model": {"num_layers": {"integer": [1, 3]}},
        "train": {"seed": {"choice": [1, 2]}},
    }

    class Flat(Player):
        def finish(self, words, folder):
            finish_pretraining(folder, 5.0)

    player = Flat()
    points = run_sweep(search_in(tmp_path, space, trials=50), 2, player)
    assert len(points) == 6
    assert sorted(player.started) == [f"num_layers={i},seed={j}" for i in (1, 2, 3) for j in (1, 2)]


def test_points_that_cannot_be_are_left_out(tmp_path, capsys):
    """The ends of the ranges go with each other, and the middle does not."""
    space = {
        "model": {"width": {"integer": [2, 4]}, "num_heads": {"choice": [2]}},
    }

    class Flat(Player):
        def finish(self, words, folder):
            finish_pretraining(folder, 5.0)

    player = Flat()
    run_sweep(search_in(tmp_path, space, trials=3), 1, player)
    assert sorted(player.started) == ["width=2,num_heads=2", "width=4,num_heads=2"]
    assert capsys.readouterr().err.count("left out: width=3,num_heads=2: ") == 1


def test_a_search_that_finds_nothing_ends(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(searcher, "DRAWS", 0)
    assert run_sweep(search_in(tmp_path, trials=3), 1, Hill()) == ()
    assert "0 draws had no new point that can run; that is the end" in capsys.readouterr().err


def test_a_failure_is_tried_again_by_the_next_command(tmp_path, player):
    class Failing(Hill):
        def finish(self, words, folder):
            self.codes.clear()
            super().finish(words, folder)

    first = [{RATE: 0.1, "model.num_layers": 1}]
    name = "learning_rate=0.1,num_layers=1"
    player = Failing()
    player.codes = {name: 1}
    points = run_sweep(search_in(tmp_path, trials=3, first=first), 1, player)
    assert [point.status for point in points] == ["failed", "finished", "finished"]
    points = run_sweep(search_in(tmp_path, trials=3, first=first), 1, player)
    assert player.started[3:] == [name]
    assert [point.status for point in points] == ["finished"] * 3


def test_a_point_that_diverged_is_no_failure(tmp_path):
    """It would diverge again, and what is drawn next is to be elsewhere."""
    first = [{RATE: 0.1, "model.num_layers": 1}]
    name = "learning_rate=0.1,num_layers=1"
    player = Hill()
    player.codes = {name: 4}
    points = run_sweep(search_in(tmp_path, trials=2, first=first), 1, player)
    assert (points[0].status, points[0].mean, points[0].exit_code) == ("pruned", None, 4)
    assert points[0].error == "gptjax: it does not work"
    run_sweep(search_in(tmp_path, trials=2, first=first), 1, player)
    assert player.started.count(name) == 1


def test_no_point_is_started_after_the_minutes(tmp_path, monkeypatch):
    now = 0.0

    class Slow(Hill):
        def finish(self, words, folder):
            nonlocal now
            now += 40
            super().finish(words, folder)

    init = searcher._Searcher.__init__
    monkeypatch.setattr(
        searcher._Searcher,
        "__init__",
        lambda *arguments: init(*arguments, clock=lambda: now),
    )
    player = Slow()
    assert len(run_sweep(search_in(tmp_path, minutes=1.5), 1, player)) == 3
    assert len(run_sweep(search_in(tmp_path, minutes=1.5), 1, player)) == 6  # of each command
    assert len(run_sweep(search_in(tmp_path, minutes=60, trials=7), 1, player)) == 7


def test_what_was_interrupted_goes_on(tmp_path):
    def before(count: int) -> None:
        if count == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    player = Hill(polls=lambda number: 1 if number == 0 else 9, before=before)
    with pytest.raises(Interrupted, match=r"1 of 2 runs finished; the same command goes on"):
        run_sweep(search_in(tmp_path, trials=3), 1, player)
    player.before = lambda count: None
    points = run_sweep(search_in(tmp_path, trials=3), 1, player)
    assert player.started[2] == player.started[1]
    assert len(points) == 3
    assert len(player.started) == 4


def test_the_command(tmp_path, monkeypatch, capsys):
    """What a machine with nothing to do prints is the table of all, and their warnings."""
    file = tmp_path / "s.toml"
    file.write_text(
        f"""command = "pretrain"
out = "{tmp_path}/out"
[settings]
train.steps = 3
[search]
trials = 3
optimizer.learning_rate = {{log_uniform = [1e-5, 1e-1]}}
model.num_layers = {{integer = [1, 4]}}
"""
    )
    player = Hill()
    monkeypatch.setattr(command, "run_plan", lambda plan, jobs: run_plan(plan, jobs, player))
    for _ in range(2):
        results = command.run(command.SweepConfig(str(file)))
        assert [point.status for point in results.points] == ["finished"] * 3
        out = capsys.readouterr().out
        assert f"summary: {tmp_path}/out/results.json" in out
        assert out.count("\n*  ") == 1
    name = player.started[1]
    (tmp_path / "out" / name / "results.json").unlink()  # nobody has run it
    note = tmp_path / "out" / f"{name}.json"
    write_json(note, {**read(note), "status": "failed", "exit_code": 1})
    with pytest.raises(FailedRunsError, match=rf"1 of 3 runs failed: {re.escape(name)}"):
        command.run(command.SweepConfig(str(file)))


def journal(folder: Path) -> Path:
    return folder / "out" / "journal.log"


def test_a_torn_line_is_cut_off(tmp_path):
    """As who was killed while writing leaves one; what is appended later stays readable."""
    run_sweep(search_in(tmp_path, trials=2), 1, Hill())
    whole = journal(tmp_path).read_bytes()
    for torn in (b'{"op_code":4,"wor', b"x" * 10_000):
        with journal(tmp_path).open("ab") as file:
            file.write(torn)
        cut_torn_line(journal(tmp_path))
        assert journal(tmp_path).read_bytes() == whole
    with journal(tmp_path).open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert len(run_sweep(search_in(tmp_path, trials=4), 1, Hill())) == 4
    assert len(run_sweep(search_in(tmp_path, trials=5), 1, Hill())) == 5
    assert all(json.loads(line) for line in journal(tmp_path).read_text().splitlines())
    cut_torn_line(journal(tmp_path))
    empty = tmp_path / "empty"
    empty.touch()
    cut_torn_line(empty)
    assert empty.read_bytes() == b""


def test_a_damaged_journal_is_named(tmp_path):
    run_sweep(search_in(tmp_path, trials=1), 1, Hill())
    text = journal(tmp_path).read_text()
    journal(tmp_path).write_text(f"{{\n{text}")
    with pytest.raises(UserError, match=r"journal\.log: is damaged \(.*give another out"):
        run_sweep(search_in(tmp_path, trials=2), 1, Hill())


def test_another_search_in_the_folder_is_refused(tmp_path):
    run_sweep(search_in(tmp_path, trials=1), 1, Hill())
    wider = {**SPACE, RATE: {"log_uniform": [1e-5, 1.0]}}
    message = r"optimizer.learning_rate = \{'log_uniform': \[1e-05, 0.1\]\}, and now it is"
    with pytest.raises(UserError, match=message):
        run_sweep(search_in(tmp_path, wider, trials=2), 1, Hill())
    other = dataclasses.replace(search_in(tmp_path, trials=2), metric="accuracy")
    with pytest.raises(UserError, match="was made with metric = perplexity, and now it is acc"):
        run_sweep(other, 1, Hill())
    changed = dataclasses.replace(search_in(tmp_path, trials=2), settings={"train.steps": 4})
    with pytest.raises(UserError, match=r"was made with train\.steps = 3, and now it is 4"):
        run_sweep(changed, 1, Hill())
    grid = Sweep("pretrain", tmp_path / "out", {"train.steps": 3}, {RATE: [0.1]})

    class Meeting(Hill):
        def finish(self, words, folder):
            with pytest.raises(UserError, match="another sweep"):
                run_sweep(grid, 1, Player())
            super().finish(words, folder)

    player = Meeting()
    run_sweep(search_in(tmp_path, trials=2), 1, player)
    assert len(player.started) == 1


def test_two_workers_draw_different_points(tmp_path):
    """Each has a seed of its own, and so has one that goes on."""
    (tmp_path / "out").mkdir()
    plan = make_plan(search_in(tmp_path, trials=9), COMMANDS)
    studies = [Study(plan.sweep.out, plan.search.axes, "loss", True, print) for _ in range(3)]
    drawn = [study.take().values for study in studies]
    assert len({str(values) for values in drawn}) == 3


class Leaving(Hill):
    """Its processes are never waited for: their sweep dies, and they with it."""

    def __call__(self, launch):
        super().__call__(launch)
        raise KeyboardInterrupt


def test_a_point_whose_sweep_died_runs_again_and_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(search_in(tmp_path, trials=2), 1, left := Leaving())
    player = Hill()
    points = run_sweep(search_in(tmp_path, trials=2), 1, player)
    assert player.started[0] == left.started[0]
    assert player.launches[0].words == left.launches[0].words
    assert "--resume" in player.launches[0].words
    assert [point.status for point in points] == ["finished"] * 2
    # One that had come to its end before anybody was told is not run again.
    with pytest.raises(KeyboardInterrupt):
        run_sweep(search_in(tmp_path, trials=3), 1, left := Leaving())
    left.finish(left.launches[0].words, tmp_path / "out" / left.started[0])
    player = Hill()
    points = run_sweep(search_in(tmp_path, trials=3), 1, player)
    assert player.started == []
    assert [point.status for point in points] == ["finished"] * 3


def test_a_point_that_another_process_runs_is_left_alone(tmp_path):
    """Nobody says that it lives, but the lock on its log; nor is it run twice if it is put in."""
    with pytest.raises(KeyboardInterrupt):
        run_sweep(search_in(tmp_path, trials=1), 1, left := Leaving())
    for lock in (left.launches[0].log, tmp_path / "out" / left.started[0] / ".lock"):
        lock.parent.mkdir(exist_ok=True)
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            player = Hill()
            points = run_sweep(search_in(tmp_path, trials=2), 1, player)
            assert left.started[0] not in player.started
            assert [point.status for point in points] == ["running", "finished"]
    player = Hill()
    run_sweep(search_in(tmp_path, trials=2), 1, player)
    assert player.started == left.started


WORKER = """
import sys
from pathlib import Path
from gptjax.commands import sweep as command
from gptjax.commands.sweep import run_sweep
from gptjax.report import drawing
from tests.sweep.test_search import Hill, search_in

drawing.save_pictures = lambda folder, figure: None
folder, trials, polls = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
player = Hill(polls=lambda number: polls, before=lambda number: print("start", flush=True))
print("ready", flush=True)
input()
run_sweep(search_in(folder, trials=trials), 1, player)
print(*player.started)
"""


def work(here: Path, common: Path, trials: int, polls: int) -> subprocess.Popen:
    """The search in a process and a working folder of its own, as on a machine of its own."""
    here.mkdir()
    words = [sys.executable, "-c", WORKER, os.path.relpath(common, here), str(trials), str(polls)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=here, env=environment, **pipes)


def begin(worker: subprocess.Popen) -> None:
    """Let it begin, once it can."""
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == "ready\n"
    worker.stdin.write("\n")
    worker.stdin.flush()


@pytest.mark.slow
def test_two_machines_share_the_work(tmp_path):
    workers = [work(tmp_path / name, tmp_path / "common", 12, 3) for name in ("a", "b")]
    for worker in workers:
        begin(worker)
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    started = [output.splitlines()[-1].split() for output in outputs]
    assert min(map(len, started)) > 1
    assert len({*started[0], *started[1]}) == len(started[0]) + len(started[1]) == 12
    results = read(tmp_path / "common" / "out" / "results.json")
    assert [point["status"] for point in results["points"]] == ["finished"] * 12


@pytest.mark.slow
def test_a_machine_takes_over_what_another_was_killed_at(tmp_path):
    killed = work(tmp_path / "a", tmp_path / "common", 2, 10**9)
    begin(killed)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "start\n"
    player = Hill()
    points = run_sweep(search_in(tmp_path / "common", trials=1), 1, player)
    assert (player.started, [point.status for point in points]) == ([], ["running"])
    killed.kill()
    killed.communicate()
    points = run_sweep(search_in(tmp_path / "common", trials=1), 1, player)
    assert [point.status for point in points] == ["finished"]
    assert len(player.started) == 1


def record(folder: Path, *values: float | None, metric: str = "perplexity") -> None:
    """What a run has measured at the steps 10, 20, …"""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['{"step": 5, "split": "train", "loss": 1}']
    for number, value in enumerate(values, 1):
        lines.append(json.dumps({"step": 10 * number, "split": "valid", metric: value}))
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 99, "spl']))


class Measured(Hill):
    """Its runs are worth so much at each step, by their place; what has more steps goes on."""

    def __init__(self, curves, **options):
        super().__init__(**options)
        self.curves = curves

    def __call__(self, launch):
        process = super().__call__(launch)
        record(Path(*option(launch.words, "--out")), *self.curves[len(self.launches) - 1])
        return process


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(curves, "WATCH_SECONDS", 0)


@pytest.mark.usefixtures("eager")
def test_a_point_that_is_worse_than_others_were_is_given_up(tmp_path, capsys):
    values = [(9.0, 5.0), (8.0, 4.0), (7.0, 3.0), (8.5, None), (9.5,), (8.0, 4.0, 2.0), (7.0, 3.5)]
    player = Measured(values, polls=lambda number: 2)
    rule = {"points": 3, "keep": 0.5}
    points = run_sweep(search_in(tmp_path, trials=7, prune=rule), 1, player)
    states = [(point.status, point.step) for point in points]
    # The median of those that finished is 4 at the second step; nobody had a third one.
    ended, gone = ("finished", None), "pruned"
    assert states == [ended, ended, ended, (gone, 20), (gone, 10), ended, ended]
    assert all((point.mean is None) == (point.status == gone) for point in points)
    assert [process.signals for process in player.processes] == [[], [], [], [15], [15], [], []]
    assert "[4/7] " in (said := capsys.readouterr().err)
    assert ": pruned at step 20, after 0 s" in said
    results = read(tmp_path / "out" / "results.json")
    assert [point.get("step") for point in results["points"]] == [None] * 3 + [20, 10, None, None]
    assert results["best"] not in (points[3].folder, points[4].folder)
    table = (tmp_path / "out" / "perplexity-table.md").read_text()
    assert "2 of 7 runs were pruned." in table
    assert "| pruned at step 20 |" in table
    # They stay what they are.
    assert run_sweep(search_in(tmp_path, trials=7, prune=rule), 1, Hill()) == points


@pytest.mark.usefixtures("eager")
def test_pruning_by_the_loss_where_the_metric_comes_at_the_end(tmp_path):
    """Of two seeds the first one is looked at; higher accuracy is better, and higher loss worse."""
    plan = make_plan(search_in(tmp_path, trials=9, prune={"points": 2}), COMMANDS)
    values = [{RATE: 0.01, "model.num_layers": layers} for layers in (1, 2, 3)]
    points = [dataclasses.replace(plan.point(one), seeds=(4, 5)) for one in values]
    plan = dataclasses.replace(plan, points=tuple(points), metric="accuracy")
    for point, loss in zip(points, (1.0, 2.0, 1.5), strict=True):
        record(point.folder / "seed-4", loss, metric="loss")
        record(point.folder / "seed-5", 100.0, metric="accuracy")
    assert curves.Watch().gives_up(plan, points[1]) is None
    for point in (points[0], points[2]):
        write_json(point.folder / "seed-4" / "meta.json", {"status": "finished"})
    watch = curves.Watch()
    assert watch.gives_up(plan, points[1]) == (10, None)
    record(points[1].folder / "seed-4", 0.5, metric="loss")
    assert watch.gives_up(plan, points[1]) is None
    record(points[1].folder / "seed-4", None, metric="accuracy")  # nobody else has it
    assert watch.gives_up(plan, points[1]) is None


@pytest.mark.parametrize(
    ("own", "others", "lower", "expected"),
    [
        (3.0, [1, 2, 3, 4], True, True),
        (2.0, [1, 2, 3, 4], True, False),
        (3.0, [1, 2, 3, 4], False, False),
        (2.0, [1, 2, 3, 4], False, True),
        (9.0, [1, 2, 3], True, False),  # too few
        (math.nan, [1, 2, 3, 4], True, True),
        (9.0, [1, math.nan, math.nan, math.nan], True, True),
        (9.0, [9, 9, 9, 9], True, False),
        (3.0, [1, 2, 3, 4, 5], True, False),  # the median
    ],
)
def test_who_is_kept(own, others, lower, expected):
    assert Prune(points=4).gives_up(own, list(map(float, others)), lower) == expected


def test_the_figures_of_a_search(tmp_path):
    """A cloud of points over each option, on logarithmic axes where they span much."""
    space = {**SPACE, "model": {"norm": {"choice": ["pre", "post"]}}}

    class Steep(Player):
        def finish(self, words, folder):
            config = config_of(words)
            rate, norm = config["optimizer"]["learning_rate"], config["model"]["norm"]
            finish_pretraining(folder, 1 + math.log10(rate / 1e-3) ** 4 + (norm == "post"))

    points = run_sweep(search_in(tmp_path, space, trials=11), 1, Steep())
    drawn, (table,) = figures.load(tmp_path / "out")
    names = ["perplexity-learning_rate", "perplexity-norm", "perplexity-importances"]
    assert [figure.name for figure in drawn] == names
    assert [figure.kind for figure in drawn] == ["points", "points", "bars"]
    rates, norms, shares = drawn
    spread = max(p.mean for p in points) > 4 * min(p.mean for p in points)
    assert (rates.log_x, rates.log_y, norms.log_x) == (True, spread, False)
    assert spread
    pairs = {(point.values[0].value, point.mean) for point in points}
    assert set(zip(rates.series[0].x, rates.series[0].y, strict=True)) == pairs
    assert list(norms.series[0].x) == sorted(norms.series[0].x, reverse=True)  # as in the file
    assert set(norms.series[0].x) == {"pre", "post"}
    assert shares.series[0].x == ("learning rate", "norm")
    assert sum(shares.series[0].y) == pytest.approx(100)
    assert len(table.rows) == 11
    # Of fewer points nothing is said about the options.
    run_sweep(search_in(tmp_path / "few", space, trials=3), 1, Steep())
    assert len(figures.load(tmp_path / "few" / "out")[0]) == 2
