"""The loop: what it records, when it stops, and that resuming is invisible."""

import json
import os
import shutil
import signal
from contextlib import nullcontext
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from toy import ToyBatches, objective

from gptjax.batch import Objective
from gptjax.errors import Interrupted, NonFiniteError, UserError
from gptjax.training import checkpoint as checkpoint_module
from gptjax.training import observer, parallel, programs
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.length import TrainConfig, total_steps
from gptjax.training.loop import Best, fit
from gptjax.training.optimizer import OptimizerConfig, is_matrix, make_optimizer
from gptjax.training.step import make_train_step
from gptjax.training.stored import curve_steps, restore_params
from gptjax.training.tracking import Tracker, TrackingConfig

DROPOUT = 0.2
STEPS = 17  # 3 epochs of 5 batches, and 2 more


class SignalAt(ToyBatches):
    """Sends this process a signal when a certain batch is asked for."""

    def at(self, step: int, number: int = signal.SIGTERM) -> "SignalAt":
        self.step, self.number = step, number
        return self

    def batch(self, epoch, index, rows=slice(None)):
        if epoch * len(self) + index == self.step:
            os.kill(os.getpid(), self.number)
        return super().batch(epoch, index, rows)


def run(
    folder: Path, batches=None, resume="auto", keep=2, every=4, accumulate=2, curve=None, **others
):
    problem = others.pop("problem", objective(DROPOUT))
    rate = others.pop("optimizer", OptimizerConfig(learning_rate=0.05, warmup=2.0))
    evaluate = others.pop("evaluate", Evaluator(problem, ToyBatches(examples=13, shuffle=False)))
    config = TrainConfig(
        **{"steps": STEPS, "batch_size": 8, "accumulate": accumulate, "log_every": 3, **others}
    )
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        return fit(
            problem,
            batches or ToyBatches(),
            config,
            make_optimizer(rate, STEPS, matrices=is_matrix),
            evaluate=evaluate,
            checkpoints=Checkpoints(
                folder / "checkpoints",
                CheckpointConfig(every=every, keep=keep, per_doubling=curve),
                {"data": "toy"},
            ),
            tracker=tracker,
            resume=resume,
        )


def state_of(folder: Path, step: int):
    """Everything in a checkpoint, straight from the disk."""
    problem = objective()
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    optimizer = make_optimizer(OptimizerConfig(warmup=2.0), STEPS)
    restored = Checkpoints(folder / "checkpoints", CheckpointConfig(), {}).restore(
        {"params": shapes, "optimizer": jax.eval_shape(optimizer.init, shapes)}, str(step)
    )
    return *restored.items.values(), restored.info["history"]


def assert_same_run(one: Path, other: Path, records):
    assert records(one) == records(other)
    *arrays, history = state_of(one, STEPS)
    *other_arrays, other_history = state_of(other, STEPS)
    assert history == other_history
    jax.tree.map(np.testing.assert_array_equal, arrays, other_arrays)
    best = [
        restore_params(
            folder / "checkpoints",
            jax.eval_shape(objective().init, jax.random.key(0)),
            "best",
        )
        for folder in (one, other)
    ]
    assert best[0][1:] == best[1][1:] == (history["best_step"], "best")
    jax.tree.map(np.testing.assert_array_equal, best[0][0], best[1][0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    result = run(folder, keep=20, every=1)
    assert result.step == STEPS
    return folder


def test_the_records(whole, records):
    lines = records(whole)
    assert [r["step"] for r in lines if r["split"] == "train"] == [1, 3, 6, 9, 12, 15, 17]
    assert [r["step"] for r in lines if r["split"] == "valid"] == [5, 10, 15, 17]
    assert set(lines[0]) == {
        *("step", "split", "loss", "accuracy", "learning_rate", "grad_norm", "epoch")
    }
    assert lines[-2]["epoch"] == STEPS / 5
    assert lines[-1]["loss"] < lines[2]["loss"] - 0.05
    raw = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert all(r["tokens_per_second"] > 0 for r in raw if r["split"] == "train")


def test_the_speed_is_that_of_updates_alone(tmp_path, monkeypatch):
    """By a clock on which an update takes a second, and anything else a thousand.

    What is waited for is named.
    """
    now, tokens, speeds, waited = 0.0, [], [], []

    def slow(function):
        def slowly(*arguments):
            nonlocal now
            now += 1000
            return function(*arguments)

        return slowly

    def device_get(tree):
        nonlocal now
        now += 1  # the end of an update is waited for
        tokens.append(int(tree["tokens"]))
        return jax.device_get(tree)

    def make_slow_to_compile(*arguments):
        step = make_train_step(*arguments)
        steps = chain([slow(step)], repeat(step))
        return lambda *arguments: next(steps)(*arguments)

    monkeypatch.setattr(observer, "jax", SimpleNamespace(device_get=device_get))
    monkeypatch.setattr(observer, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(programs, "make_train_step", make_slow_to_compile)
    for name in ("save_last", "save_best", "save_curve"):
        monkeypatch.setattr(Checkpoints, name, slow(getattr(Checkpoints, name)))
    monkeypatch.setattr(Tracker, "progress", lambda _, *shown: speeds.append(shown))
    monkeypatch.setattr(Tracker, "waiting", lambda _, what: waited.append(what) or nullcontext())
    run(tmp_path, evaluate=slow(lambda params: {"loss": 1.0}), curve=1)
    assert [step for step, _, _ in speeds] == list(range(1, STEPS + 1))
    for step, _, speed in speeds:
        assert min(tokens) <= speed <= max(tokens), step
    assert waited == ["compiling for 8 × 6 tokens", *["evaluating"] * 4]


def test_interrupted_twice_is_uninterrupted(whole, tmp_path, records):
    """Once in the second epoch, once in the third, with dropout on."""
    for step in (6, 12):
        with pytest.raises(Interrupted, match="resume=auto") as caught:
            run(tmp_path, SignalAt().at(step))
        assert caught.value.exit_code == 75
        newest = max(int(p.name) for p in (tmp_path / "checkpoints/last").iterdir())
        assert step - 1 <= newest < STEPS  # a busy machine answers some updates later
    assert run(tmp_path).step == STEPS
    assert_same_run(tmp_path, whole, records)


def test_so_it_is_with_muon(tmp_path):
    muon = OptimizerConfig(learning_rate=0.05, warmup=2.0, update="muon")
    whole = run(tmp_path / "whole", optimizer=muon)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", SignalAt().at(6), optimizer=muon)
    again = run(tmp_path / "cut", optimizer=muon)
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)


@pytest.mark.parametrize("step", [5, 11])
def test_resuming_at_a_step_is_exact(whole, tmp_path, records, step):
    """Step 5 is exactly the end of the first epoch, right after its evaluation."""
    shutil.copytree(whole, tmp_path / "copy")
    assert run(tmp_path / "copy", resume=str(step), keep=20, every=1).step == STEPS
    assert_same_run(tmp_path / "copy", whole, records)


def test_the_curve_is_kept_for_good_and_survives_resuming(whole, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, SignalAt().at(9), keep=20, curve=2)
    run(tmp_path, resume="4", keep=20, curve=2)  # what came after step 4 is written anew
    folder = tmp_path / "checkpoints"
    assert curve_steps(folder) == [0, 1, 2, 3, 4, 6, 8, 11, 16]
    shapes = jax.eval_shape(objective().init, jax.random.key(0))
    for step in (1, 6, 16):
        params, found, kind = restore_params(folder, shapes, str(step))
        assert (found, kind) == (step, "curve" if step < 16 else "last")
        jax.tree.map(np.testing.assert_array_equal, params, state_of(whole, step)[0])


def test_a_finished_run_stays_as_it_is(whole, tmp_path, records):
    shutil.copytree(whole, tmp_path / "copy")
    result = run(tmp_path / "copy", keep=20)
    assert (result.step, result.history.evaluated) == (STEPS, STEPS)
    assert_same_run(tmp_path / "copy", whole, records)


def test_ctrl_c_saves_and_gives_the_signal_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run(tmp_path, SignalAt().at(3, signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) == before


def test_another_number_of_micro_batches_is_accepted_with_a_notice(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "copy")
    run(tmp_path / "copy", resume="12", accumulate=1)
    assert "2 micro-batches, now there are 1" in capsys.readouterr().err


def test_another_seed_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    with pytest.raises(UserError, match=r"train\.seed is 5, but the checkpoint was made with 0"):
        run(tmp_path / "copy", seed=5)


def test_never_does_not_run_over_checkpoints(whole):
    with pytest.raises(UserError, match="has checkpoints already"):
        run(whole, resume="never")


@pytest.mark.parametrize("start", ["never", "auto"])
def test_what_is_not_finite_ends_the_run_before_it_is_saved(tmp_path, start):
    with pytest.raises(NonFiniteError, match=r"step 8: .* toy batch 2 of epoch 1") as caught:
        run(tmp_path, ToyBatches(poison=(1, 2)), resume=start, every=1)
    assert caught.value.exit_code == 4
    assert max(int(p.name) for p in (tmp_path / "checkpoints/last").iterdir()) == 7
    params, optimizer_state, _ = state_of(tmp_path, 7)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((params, optimizer_state)))


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_lost_best_is_written_anew_or_the_last_one_counts(whole, tmp_path, capsys, lost):
    """The history then names none, until an evaluation is better than the lost one."""
    shutil.copytree(whole, tmp_path / "run")
    best = state_of(whole, 12)[2]["best_step"]
    kept = tmp_path / "run/checkpoints/best"
    shutil.rmtree(kept)
    if lost == "damaged":
        (kept / str(best) / "params").mkdir(parents=True)
    result = run(tmp_path / "run", resume="12", keep=20, every=1)
    said = capsys.readouterr().err
    assert f"best/{best}, the best so far, is lost" in said
    whole_history = state_of(whole, STEPS)[2]
    assert result.history.best_metrics == whole_history["best_metrics"]
    better = whole_history["best_step"] > 12
    assert result.history.best_step == (whole_history["best_step"] if better else None)
    assert [path.name for path in kept.iterdir()] == [str(STEPS)] * better


def test_a_learning_rate_that_overflows_never_reaches_the_disk(tmp_path):
    config = TrainConfig(steps=6, batch_size=8, log_every=1, evaluate_every=1)
    rate = OptimizerConfig(learning_rate=3e38, warmup=0.0, schedule="constant")
    folder = tmp_path / "checkpoints"
    with pytest.raises(NonFiniteError):
        fit(
            objective(),
            ToyBatches(),
            config,
            make_optimizer(rate, 6),
            evaluate=Evaluator(objective(), ToyBatches(examples=13, shuffle=False)),
            checkpoints=Checkpoints(folder, CheckpointConfig(every=1, per_doubling=2), {}),
        )
    shapes = jax.eval_shape(objective().init, jax.random.key(0))
    for path in folder.glob("*/*"):
        restore_params(folder, shapes, f"{path.parent.name}/{path.name}")
        info = (path / "info/metadata").read_text()
        assert "NaN" not in info
        assert "Infinity" not in info


def test_the_last_step_is_looked_at_without_anything_else_to_do(tmp_path):
    """Neither evaluation nor checkpoints: its metrics are logged, and a bad loss ends the run."""
    config = TrainConfig(steps=3, batch_size=8, log_every=1)
    optimizer = make_optimizer(OptimizerConfig(warmup=0.0, schedule="constant"), 3)
    with Tracker(tmp_path, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        fit(objective(), ToyBatches(), config, optimizer, tracker=tracker)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    with pytest.raises(NonFiniteError, match="step 3"):
        fit(objective(), ToyBatches(poison=(0, 2)), config, optimizer)


def test_patience_and_its_memory(tmp_path):
    """Scripted evaluations: the best is the second, so patience 3 ends after the fifth."""
    values = {5: 3.0, 10: 1.0, 15: 1.0, 20: 2.0, 25: 1.5, 30: 0.0}
    asked = []

    def script(params):
        asked.append(5 * (len(asked) + 1))
        return {"score": values[asked[-1]], "other": 0.0}

    def go(batches=None):
        return fit(
            objective(),
            batches or ToyBatches(),
            TrainConfig(steps=30, batch_size=8, patience=3),
            make_optimizer(OptimizerConfig(warmup=2.0), 30),
            evaluate=script,
            best=Best("score", "min"),
            checkpoints=Checkpoints(tmp_path / "checkpoints", CheckpointConfig(every=50), {}),
        )

    with pytest.raises(Interrupted):
        go(SignalAt().at(22))
    assert asked == [5, 10, 15, 20]
    result = go()
    assert result.step == 25
    assert result.history.best_step == 10
    assert result.history.best_metrics == {"score": 1.0, "other": 0.0}
    assert [p.name for p in (tmp_path / "checkpoints/best").iterdir()] == ["10"]
    assert go().step == 25  # and again: it remembers that it is over
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("mode", "value", "best", "better"),
    [
        ("min", 1.0, 2.0, True),
        ("min", 2.0, 2.0, False),
        ("max", 3.0, 2.0, True),
        ("max", 1.0, 2.0, False),
        ("min", float("nan"), 2.0, False),
        ("max", float("nan"), None, False),
        ("max", -5.0, None, True),
    ],
)
def test_which_evaluation_is_better(mode, value, best, better):
    assert Best("x", mode).improves(value, best) is better


def test_evaluation_counts_every_example_once():
    """Whatever the batch size, also when the last batch is mostly padding."""
    problem = objective()
    params = problem.init(jax.random.key(1))
    everything = ToyBatches(batch_size=13, examples=13, shuffle=False).batch(0, 0)
    sums = problem.loss(params, everything, None, ())[0]
    expected = {
        "loss": float(sums.loss / sums.weight),
        "accuracy": float(sums.metrics["accuracy"] / sums.weight),
    }
    for size in (4, 8, 16):
        found = Evaluator(problem, ToyBatches(size, examples=13, shuffle=False))(params)
        assert found == pytest.approx(expected, rel=1e-6)


def test_a_metric_with_a_weight_of_its_own_is_divided_by_that():
    """And is absent where nothing has any of it."""
    problem = objective()
    params = problem.init(jax.random.key(1))
    batches = ToyBatches(4, examples=13, shuffle=False)

    def of_token(token, params, batch, key, carry):
        sums = problem.loss(params, batch, key, carry)[0]
        only = batch.lm_weights * (batch.tokens == token)
        part = problem.loss(params, batch._replace(lm_weights=only), key, carry)[0]
        return sums._replace(metrics={"own": (part.loss, part.weight), **sums.metrics}), carry

    whole = batches.batch(0, 0).tokens
    token = int(np.bincount(whole[:, 0, 1:].ravel()).argmax())
    found = Evaluator(Objective(problem.init, partial(of_token, token)), batches)(params)
    everything = ToyBatches(batch_size=13, examples=13, shuffle=False).batch(0, 0)
    total, weight = of_token(token, params, everything, None, ())[0].metrics["own"]
    assert 0 < weight < everything.lm_weights.sum()
    assert found == pytest.approx(
        {**Evaluator(problem, batches)(params), "own": float(total / weight)}, rel=1e-6
    )
    absent = Evaluator(Objective(problem.init, partial(of_token, -1)), batches)(params)
    assert absent == Evaluator(problem, batches)(params)


def test_evaluation_of_nothing_is_refused():
    class Nothing(ToyBatches):
        def batch(self, epoch, index, rows=slice(None)):
            batch = super().batch(epoch, index, rows)
            return batch._replace(weights=np.zeros_like(batch.weights))

    with pytest.raises(UserError, match="nothing to predict"):
        Evaluator(objective(), Nothing())(objective().init(jax.random.key(0)))


def test_given_parameters_are_used_and_left_alone():
    problem = objective()
    params = problem.init(jax.random.key(7))
    before = parallel.fetch(params)
    config = TrainConfig(steps=1, batch_size=8)
    # The first update of a warm-up has learning rate 0.
    optimizer = make_optimizer(OptimizerConfig(warmup=1.0), 1)
    result = fit(problem, ToyBatches(), config, optimizer, params=params)
    jax.tree.map(np.testing.assert_array_equal, parallel.fetch(result.params), before)
    jax.tree.map(np.testing.assert_array_equal, parallel.fetch(params), before)


def test_an_error_in_the_data_surfaces():
    class Broken(ToyBatches):
        def batch(self, epoch, index, rows=slice(None)):
            if index == 3:
                raise UserError("books.txt: gone")
            return super().batch(epoch, index, rows)

    config = TrainConfig(steps=9, batch_size=8)
    with pytest.raises(UserError, match="gone"):
        fit(objective(), Broken(), config, make_optimizer(OptimizerConfig(warmup=1.0), 9))


def test_the_disk_must_have_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(checkpoint_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"GB, but the disk has 0\.00 GB free"):
        run(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "exactly one"),
        ({"epochs": 2}, "exactly one"),
        ({"steps": 0}, r"train\.steps is 0"),
        ({"patience": 0}, r"train\.patience"),
        ({"log_every": 0}, r"train\.log_every"),
        ({"seed": -1}, r"train\.seed is -1, but it must be from 0 to"),
    ],
)
def test_lengths_are_checked(change, message):
    with pytest.raises(UserError, match=message):
        total_steps(TrainConfig(**{"steps": 3, **change}), 5)


def test_epochs_are_passes_over_the_data():
    assert total_steps(TrainConfig(epochs=3), 5) == 15
    with pytest.raises(UserError, match="do not fill one batch"):
        total_steps(TrainConfig(epochs=3), 0)
