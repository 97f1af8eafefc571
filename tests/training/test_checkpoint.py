"""Checkpoints: what is damaged is found, and the one before is used."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.errors import NoCheckpointError, NonFiniteError, UserError
from gptjax.training import archive
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.resume import items_of
from gptjax.training.stored import curve_steps, restore_params
from tests.training.test_growing import no_file_longer_than

FINGERPRINTS = {"model": "m1", "tokenizer": "t1"}


def tree(step: int):
    """Parameters and optimiser state that differ from step to step."""
    random = np.random.default_rng(step)
    params = {
        "embedding": random.normal(size=(16, 4)).astype(np.float32),
        "block_0": {"bias": np.full(4, step, np.float32)},
    }
    moments = jax.tree.map(lambda x: (x * 0.5).astype(np.float32), params)
    return params, (np.array(step, np.int32), moments)


def items(step: int):
    return items_of(*tree(step), ())


def checkpoints(folder: Path, fingerprints=FINGERPRINTS, keep=2) -> Checkpoints:
    return Checkpoints(folder, CheckpointConfig(every=1, keep=keep), fingerprints)


def save(folder: Path, *steps: int, keep=2) -> None:
    writer = checkpoints(folder, keep=keep)
    for step in steps:
        writer.save_last(step, items(step), {"history": {"best": step / 3}})
    writer.wait()


def restore(folder: Path, resume="auto", fingerprints=FINGERPRINTS):
    return checkpoints(folder, fingerprints).restore(items(0), resume)


def assert_is(restored, step: int) -> None:
    assert restored.step == step
    assert restored.info == {"history": {"best": step / 3}}
    jax.tree.map(np.testing.assert_array_equal, restored.items, items(step))
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(restored.items))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 1, 2, 3)
    return folder


def test_the_newest_is_restored_and_the_oldest_is_gone(saved):
    assert_is(restore(saved), 3)
    assert_is(restore(saved, "2"), 2)
    with pytest.raises(NoCheckpointError, match="no checkpoint 1; there are: 2, 3"):
        restore(saved, "1")


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "first byte": lambda path: flip(path, 0),
    "middle byte": lambda path: flip(path, 0.5),
    "late byte": lambda path: flip(path, 0.9),
}


# Where a file is damaged, orbax leaves a thread that calls a closed event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_harmless(saved, tmp_path, damage):
    """Either the file does not matter and all is read back, or the checkpoint before is used."""
    files = [p.relative_to(saved) for p in (saved / "last/3").rglob("*") if p.is_file()]
    assert len(files) > 10
    noticed = set()
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        DAMAGE[damage](folder / file)
        restored = restore(folder)
        assert_is(restored, restored.step)
        if restored.step == 2:
            noticed.add(file.parts[2])
            assert "checkpoint 3 is damaged" in restored.notices[0]
            assert restored.notices[-1] == "using checkpoint 2 instead"
            # And training goes on from there, past the damaged one.
            if file.parts[2] != "params" or damage != "torn":
                continue
            writer = checkpoints(folder)
            writer.restore(items(0), "auto")
            writer.save_last(3, items(3), {"history": {"best": 1.0}})
            writer.wait()
            assert_is(restore(folder), 3)
    assert noticed >= {"params", "optimizer", "info"}


def test_a_bit_that_orbax_does_not_notice_is_noticed(tmp_path):
    """Stored without compression in the way of the flip: the arrays' bytes themselves."""
    save(tmp_path, 1, 2)
    changed = tree(2)
    changed[0]["embedding"].view(np.uint8)[0, 0] ^= 1
    other = tmp_path / "other"
    writer = checkpoints(other)
    writer.save_last(2, items_of(*changed, ()), {"history": {"best": 2 / 3}})
    writer.wait()
    shutil.rmtree(tmp_path / "last/2/params")
    shutil.copytree(other / "last/2/params", tmp_path / "last/2/params")
    restored = restore(tmp_path)
    assert_is(restored, 1)
    assert "checksum of params['embedding']" in restored.notices[0]


@pytest.mark.parametrize("kind", ["last", "best", "curve"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_written(tmp_path, kind, number):
    save(tmp_path, 1)
    params, state = tree(2)
    params["block_0"]["bias"][3] = number
    writer = checkpoints(tmp_path)
    if kind == "last":
        writer.save_last(2, items_of(params, state, ()), {})
    elif kind == "best":
        writer.save_best(2, params, {})
    else:
        writer.save_curve(2, params)
    with pytest.raises(NonFiniteError, match=r"\['bias'\] holds \S+ at \[3\] after 2 updates"):
        writer.wait()
    assert [path.name for path in tmp_path.glob("*/*")] == ["1"]


def test_what_is_not_finite_is_never_read(tmp_path, monkeypatch):
    params, state = tree(2)
    state[1]["embedding"][1, 2] = np.inf
    save(tmp_path, 1)
    writer = checkpoints(tmp_path)
    monkeypatch.setattr(archive, "non_finite", lambda arrays: None)
    writer.save_last(2, items_of(params, state, ()), {"history": {"best": 2 / 3}})
    writer.wait()
    params["embedding"][0, 1] = np.nan
    writer.save_best(2, params, {})
    writer.wait()
    monkeypatch.undo()
    restored = restore(tmp_path)
    assert_is(restored, 1)
    assert "optimizer[1]['embedding'] holds inf at [1, 2]" in restored.notices[0]
    with pytest.raises(NoCheckpointError, match=r"params\['embedding'\] holds nan at \[0, 1\]"):
        restore_params(tmp_path, tree(0)[0], "best")


def test_a_damaged_best_is_written_anew(tmp_path):
    writer = checkpoints(tmp_path)
    writer.save_best(1, tree(1)[0], {})
    save(tmp_path, 1, 2)
    assert restore(tmp_path).best == 1
    for info in (tmp_path / "best").rglob("info/metadata"):
        flip(info, 0.5)
    writer = checkpoints(tmp_path)
    restored = writer.restore(items(0), "auto")
    assert restored.best is None
    assert "best/1 is damaged" in restored.notices[0]
    writer.save_last(3, items(3), {"history": {"best": 1.0}})
    writer.wait()
    assert not list((tmp_path / "best").iterdir())
    writer.save_best(4, tree(4)[0], {})
    writer.wait()
    assert restore_params(tmp_path, tree(0)[0], "auto")[1:] == (4, "best")


def test_the_last_one_is_not_replaced_silently_either(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    for info in (tmp_path / "copy/last/3").rglob("info/metadata"):
        flip(info, 0.5)
    for which in ("auto", "last"):
        with pytest.raises(NoCheckpointError, match=r"last/3 is damaged.*`checkpoint=last/2`"):
            restore_params(tmp_path / "copy", tree(0)[0], which)
        said = []
        found = restore_params(
            tmp_path / "copy", tree(0)[0], which, substitute=True, say=said.append
        )
        assert found[1:] == (2, "last")
        assert "last/2 is taken in its place" in said[0]


def test_an_earlier_fingerprint_of_the_same_thing_is_accepted(saved):
    now = {**FINGERPRINTS, "tokenizer": "t2"}
    config = CheckpointConfig(every=1)
    good = Checkpoints(saved, config, now, {"tokenizer": ("t0", "t1")})
    assert_is(good.restore(items(0), "auto"), 3)
    with pytest.raises(UserError, match="another tokenizer"):
        Checkpoints(saved, config, now, {"tokenizer": ("t0",)}).restore(items(0), "auto")


def test_none_good_is_an_error_and_not_a_start_from_zero(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    for info in (tmp_path / "copy").rglob("info/metadata"):
        flip(info, 0.5)
    with pytest.raises(NoCheckpointError, match="no usable checkpoint") as caught:
        restore(tmp_path / "copy")
    assert caught.value.exit_code == 3
    with pytest.raises(NoCheckpointError):
        restore(tmp_path / "copy", "3")


def test_a_start_from_zero_only_if_there_is_nothing(tmp_path, saved):
    assert restore(tmp_path) is None
    assert restore(tmp_path, "never") is None
    with pytest.raises(UserError, match="resume=auto"):
        restore(saved, "never")


def test_a_checkpoint_of_something_else_is_refused_with_both_fingerprints(saved):
    with pytest.raises(UserError, match=r"another tokenizer.*t1.*t2"):
        restore(saved, fingerprints={**FINGERPRINTS, "tokenizer": "t2"})


def test_other_shapes_are_refused_by_name(saved):
    params, state = tree(0)
    wider = {**params, "embedding": np.zeros((16, 5), np.float32)}
    with pytest.raises(UserError, match=r"\['embedding'\] is float32\[16, 4\] there and .*5"):
        checkpoints(saved).restore(items_of(wider, state, ()), "auto")
    with pytest.raises(UserError, match=r"\['more'\] is absent there"):
        restore_params(saved, {**params, "more": np.zeros(1, np.float32)}, "last")


def test_best_is_kept_beside_last(tmp_path):
    writer = checkpoints(tmp_path)
    for step in (1, 2, 3, 4):
        if step < 3:
            writer.save_best(step, tree(step)[0], {})
        writer.save_last(step, items(step), {"history": {}})
    writer.wait()
    assert sorted(p.name for p in (tmp_path / "best").iterdir()) == ["2"]
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == ["3", "4"]
    for which, step, kind in (
        *(("auto", 2, "best"), ("best", 2, "best"), ("last", 4, "last")),
        *(("3", 3, "last"), ("2", 2, "best")),
    ):
        params, found, name = restore_params(tmp_path, tree(0)[0], which)
        assert (found, name) == (step, kind)
        jax.tree.map(np.testing.assert_array_equal, params, tree(step)[0])
    with pytest.raises(UserError, match="there are: best/2, last/3, last/4"):
        restore_params(tmp_path, tree(0)[0], "7")


def test_going_back_replaces_what_came_after(tmp_path):
    save(tmp_path, 1, 2, 3, keep=5)
    writer = checkpoints(tmp_path, keep=5)
    assert_is(writer.restore(items(0), "1"), 1)
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == ["1", "2", "3"]
    writer.save_last(2, items(2), {"history": {"best": 2 / 3}})
    writer.wait()
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == ["1", "2"]


def test_going_back_removes_the_curve_and_the_best_of_what_came_after(tmp_path):
    def folders(kind):
        return sorted(path.name for path in (tmp_path / kind).iterdir())

    writer = checkpoints(tmp_path, keep=5)
    for step in (1, 2, 3, 4):
        writer.save_last(step, items(step), {"history": {"best": step / 3}})
        writer.save_curve(step, tree(step)[0])
    writer.save_best(3, tree(3)[0], {})
    writer.wait()
    assert (folders("curve"), folders("best")) == (["1", "2", "3", "4"], ["3"])
    writer = checkpoints(tmp_path, keep=5)
    writer.restore(items(0), "2")
    assert (folders("curve"), folders("best")) == (["1", "2", "3", "4"], ["3"])
    writer.save_last(3, items(3), {"history": {}})
    writer.wait()
    assert (folders("last"), folders("curve"), folders("best")) == (["1", "2", "3"], ["1", "2"], [])
    assert curve_steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("keep", [2, 4])
@pytest.mark.parametrize(("per_doubling", "kept"), [(None, 0), (1, 8), (2, 15)])
def test_the_disk_must_have_room_for_the_fullest_moment(
    tmp_path, monkeypatch, keep, per_doubling, kept
):
    """One checkpoint more than is kept, while the new one is written beside the old; two best."""
    params, state = tree(0)
    size, both = (
        sum(np.asarray(x).nbytes for x in jax.tree.leaves(part)) for part in (params, tree(0))
    )
    needed = (keep + 1) * both + (2 + kept) * size
    config = CheckpointConfig(keep=keep, per_doubling=per_doubling)
    writer = Checkpoints(tmp_path / "new", config, FINGERPRINTS)
    usage = shutil.disk_usage(tmp_path)
    for free, enough in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if enough:
            # Less than seven doublings: 0, 1, 2, 4, … 64.
            writer.check_space(items_of(params, state, ()), 100)
        else:
            with pytest.raises(UserError, match=r"GB free; make room.*checkpoint\.keep"):
                writer.check_space(items_of(params, state, ()), 100)
    # What an earlier part of the run left there will be replaced.
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "old").write_bytes(b"x")
    writer.check_space(items_of(params, state, ()), 100)


def test_a_save_that_fails_says_so_and_leaves_the_others(tmp_path):
    save(tmp_path, 1)
    writer = checkpoints(tmp_path / "file")
    (tmp_path / "file").write_text("not a folder")
    writer.save_last(2, items(2), {})
    with pytest.raises(UserError, match="could not be written"):
        writer.wait()
    assert_is(restore(tmp_path), 1)


KILLED = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_checkpoint import checkpoints, save, tree
folder = Path({folder!r})
save(folder, 1)
def kill():
    while not list((folder / "last").glob("2.orbax*/params*")):
        time.sleep(0.0005)
    os.kill(os.getpid(), 9)
threading.Thread(target=kill, daemon=True).start()
save(folder, 2)
time.sleep(5)
"""


def test_a_kill_during_a_save_leaves_the_one_before(tmp_path):
    tests = str(Path(__file__).parent)
    script = KILLED.format(tests=tests, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert any("orbax-checkpoint-tmp" in p.name for p in (tmp_path / "last").iterdir())
    assert_is(restore(tmp_path), 1)
    save(tmp_path, 2)
    assert_is(restore(tmp_path), 2)
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("change", [{"every": 0}, {"keep": 1}, {"per_doubling": 0}])
def test_settings_are_checked(tmp_path, change):
    with pytest.raises(UserError, match=next(iter(change))):
        Checkpoints(tmp_path, CheckpointConfig(**change), {})


def test_half_of_a_removed_checkpoint_is_never_seen(tmp_path, monkeypatch):
    """A kill while files are being removed; the next save removes the rest."""
    save(tmp_path, 1, 2)

    class Killed(BaseException):
        pass

    def killed(path, *_, **__):
        next(file for file in Path(path).rglob("*") if file.is_file()).unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("gptjax.training.archive.shutil.rmtree", killed)
        with pytest.raises(Killed):
            save(tmp_path, 3)
    assert archive.steps(tmp_path / "last") == [2, 3]
    assert len(list((tmp_path / "last").iterdir())) == 3
    save(tmp_path, 4)
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["3", "4"]


@pytest.mark.parametrize("limit", [0, 600])
def test_no_room_is_one_line_and_leaves_no_half(tmp_path, capfd, limit):
    save(tmp_path, 1, 2)
    with no_file_longer_than(limit), pytest.raises(UserError) as caught:
        save(tmp_path, 3)
    assert "could not be written" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert archive.steps(tmp_path / "last") == [1, 2]
    time.sleep(0.2)  # threads of the library that end later
    assert "Traceback" not in capfd.readouterr().err
    save(tmp_path, 3)
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_folder_that_was_moved_is_not_made_again(tmp_path, replaced):
    run = tmp_path / "run"
    writer = checkpoints(run / "checkpoints")
    writer.save_last(1, items(1), {})
    writer.wait()
    writer.check_place()
    run.rename(tmp_path / "moved")
    if replaced:
        run.mkdir()
    with pytest.raises(UserError, match="was moved or removed"):
        writer.check_place()
    writer.save_best(2, tree(2)[0], {})
    with pytest.raises(UserError, match="was moved or removed"):
        writer.wait()
    assert not replaced or list(run.iterdir()) == []
    assert replaced or not run.exists()
