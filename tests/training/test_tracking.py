"""Metrics on the disk, and that nothing about showing them can stop a run."""

import json
import time

import pytest
from tensorboardX.proto import event_pb2

from gptjax.training.tracking import Tracker, TrackingConfig, cut_back
from gptjax.training.weights_and_biases import Identity

QUIET = TrackingConfig(tensorboard=False, progress=False)


def record(step, **more):
    return {"step": step, "split": "train", "loss": 1.0 / step, **more}


def test_each_record_is_on_the_disk_at_once(tmp_path):
    with Tracker(tmp_path, QUIET) as tracker:
        tracker.start(0, 10)
        tracker.log(record(1))
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [record(1)]


def test_what_is_not_finite_is_null(tmp_path):
    with Tracker(tmp_path, QUIET) as tracker:
        tracker.start(0, 10)
        tracker.log(record(1, x=float("nan"), y=float("inf")))
    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert (line["x"], line["y"]) == (None, None)


def test_resuming_cuts_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    kept = '{"step": 1, "split": "train"}\n{"step": 2, "split": "valid"}\n'
    path.write_text(kept + '{"step": 3, "split": "train"}\n{"step": 2, "spl')
    assert cut_back(path, 2) == (0, [1, 2])
    assert path.read_text() == kept
    damaged = '7\n[]\n{}\nnull\n{"step": "1"}\n{"step": null}\n' + "[" * 20_000 + "\n"
    path.write_text(damaged + kept + damaged)
    assert cut_back(path, 2) == (14, [1, 2])
    assert path.read_text() == kept
    cut_back(path, 0)
    assert path.read_text() == ""
    cut_back(tmp_path / "absent.jsonl", 2)
    assert not (tmp_path / "absent.jsonl").exists()


def test_what_damage_has_taken_is_said(tmp_path, capsys):
    """Of the numbers of a run that goes on; a line that a kill has torn is nothing to tell."""
    steps = [1, *range(10, 101, 10)]
    lines = [json.dumps(record(step)) + "\n" for step in steps]

    def said(content):
        (tmp_path / "metrics.jsonl").write_text(content)
        with Tracker(tmp_path, QUIET) as tracker:
            tracker.start(104, 200)
        return capsys.readouterr().err

    assert said("".join(lines)) == ""
    assert said("".join(lines) + lines[-1][:9]) == ""
    assert "from step 1 to 104" in said("")
    assert "from step 31 to 59" in said("".join(lines[:4] + lines[6:]))
    assert "from step 71 to 103" in said("".join(lines[:8]))
    damaged = said("".join(lines[:4]) + "\0" * 30 + "\n" + "".join(lines[5:]))
    assert "1 lines are no records" in damaged
    assert "nothing" not in damaged


def events(folder):
    """Steps and tags of the scalars in all event files, in the order they were written."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(event.step, value.tag) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_tensorboard_has_the_scalars(tmp_path):
    with Tracker(tmp_path, TrackingConfig(progress=False)) as tracker:
        tracker.start(0, 10)
        tracker.log(record(1))
        tracker.log({"step": 2, "split": "valid", "loss": 0.5})
    assert events(tmp_path / "tensorboard") == [(1, "train/loss"), (2, "valid/loss")]


def test_progress_without_a_terminal_is_plain_lines(tmp_path, capsys):
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 100)
        for step in range(1, 101):
            tracker.progress(step, 2.5, 12345.6)
    shown = capsys.readouterr().err
    assert "\r" not in shown
    assert shown.splitlines()[0] == "step 1/100: loss 2.500, 12,346 tokens/s"
    assert len(shown.splitlines()) == 2
    assert "step 100/100" in shown


def test_the_time_left_counts_evaluations_and_not_compilation(tmp_path, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("gptjax.training.tracking.time.monotonic", lambda: now)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 1001)
        now = 500  # compilation
        tracker.progress(1, 2.5, 1.0)
        for step in range(2, 102):
            now += 1
            tracker.progress(step, 2.5, 1.0)
        now += 300  # an evaluation
        tracker.progress(102, 2.5, 1.0)
    # 101 updates in 400 seconds, so that 899 are to take an hour.
    assert capsys.readouterr().err.splitlines()[-1].endswith(", 59:20 left")


def test_the_bars_time_left_begins_after_the_first_update(tmp_path, capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 101)
        now += 500  # compilation
        tracker.progress(1, 2.5, 1.0)
        now += 10
        tracker.progress(2, 2.5, 1.0)
    # 99 updates of ten seconds.
    assert "00:10<16:30" in capsys.readouterr().err


def test_a_long_run_has_a_forecast_once(tmp_path, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("gptjax.training.tracking.time.monotonic", lambda: now)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 1006)
        for step in range(1, 20):
            tracker.progress(step, 2.5, 1.0)
            now += 2
    told = [line for line in capsys.readouterr().err.splitlines() if "forecast" in line]
    assert len(told) == 1
    assert told[0].startswith("forecast: 33:20 for the 1,000 updates left on this machine, 2 s")


def test_a_forecast_leaves_out_what_is_compiled_on_the_way(tmp_path, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("gptjax.training.tracking.time.monotonic", lambda: now)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 1006)
        with tracker.waiting("compiling"):
            now += 50
        for step in range(1, 7):
            tracker.progress(step, 2.5, 1.0)
            now += 2
            with tracker.waiting("compiling"):
                now += 40
    assert "forecast: 33:20 for the 1,000 updates" in capsys.readouterr().err


def test_waiting_is_shown_with_its_seconds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gptjax.training.tracking.SECONDS_BEFORE_LINE", 0.01)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 10)
        with tracker.waiting("compiling"):
            time.sleep(0.2)
        assert capsys.readouterr().err == "compiling, 0 s\n"
        time.sleep(0.05)
        assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False)) as tracker:
        tracker.start(0, 10)
        with tracker.waiting("compiling"):
            pass
        assert "compiling:   0%|" in capsys.readouterr().err
        tracker.progress(1, 2.5, 1.0)
    assert "compiling" not in capsys.readouterr().err.splitlines()[-1]


def texts_of(folder):
    """By tag the texts of TensorBoard's text plug-in."""
    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    found[value.tag, event.step] = [x.decode() for x in value.tensor.string_val]
            data = data[16 + length :]
    return found


def test_texts_are_recorded_with_the_evaluation_that_follows(tmp_path):
    identity = Identity(settings={"train": {"seed": 7}})
    with Tracker(tmp_path, TrackingConfig(progress=False), identity) as tracker:
        tracker.start(0, 10)
        tracker.keep(["a text\nof two lines", "é"])
        tracker.log(record(1))
        tracker.log({"step": 2, "split": "valid", "loss": 0.5})
        tracker.log({"step": 4, "split": "valid", "loss": 0.4})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    samples = {"step": 2, "split": "samples", "samples": ["a text\nof two lines", "é"]}
    assert [line for line in lines if line["split"] == "samples"] == [samples]
    found = texts_of(tmp_path / "tensorboard")
    assert found["samples", 2] == samples["samples"]
    assert found["settings", 0] == ["```toml\n[train]\nseed = 7\n```"]
    assert len(found) == 2
