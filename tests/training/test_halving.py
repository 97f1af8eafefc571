"""The schedule `halve`: beside a loop of its own with optax, killed anywhere, on any layout."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_fit import SignalAt
from toy import ToyBatches, objective

from gptjax.errors import Interrupted, NoCheckpointError, UserError
from gptjax.training import archive, parallel
from gptjax.training.average import averaged
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.history import Best, History
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.resume import halved
from gptjax.training.stages import Stage, make_staged_optimizer
from gptjax.training.step import Progress, TrainState, make_train_step
from gptjax.training.stored import restore_params
from gptjax.training.tracking import Tracker, TrackingConfig

STEPS, EVERY, SAVED = 24, 2, 5
# So high that evaluations are worse now and then; the warm-up is longer than the first of them.
RATE = OptimizerConfig(learning_rate=0.6, warmup=12.0, schedule="halve", halvings=20)
HELD = ToyBatches(examples=13, shuffle=False)
SHAPES = jax.eval_shape(objective().init, jax.random.key(0))


def run(folder, batches=None, rate=RATE, every=SAVED, keep=2, steps=STEPS, dropout=0.2, **others):
    problem = objective(dropout)
    settings = {"steps": steps, "batch_size": 8, "evaluate_every": EVERY, "log_every": 1}
    given = {"evaluate": Evaluator(problem, HELD), "resume": "auto"}
    given |= {name: others.pop(name) for name in [*given] if name in others}
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        return fit(
            problem,
            batches or ToyBatches(),
            TrainConfig(**{**settings, **others}),
            make_optimizer(rate, steps),
            checkpoints=Checkpoints(
                folder / "checkpoints", CheckpointConfig(every=every, keep=keep), {}
            ),
            tracker=tracker,
            **given,
        )


def stored(folder, which, *names):
    """Items of a checkpoint, such as best/4, and its history."""
    state = jax.eval_shape(make_optimizer(RATE, STEPS).init, SHAPES)
    targets = {"params": SHAPES, "optimizer": state}
    path = folder / "checkpoints" / which
    items, info = archive.read(path, {name: targets[name] for name in names}, {})
    return items, info["history"]


def steps_in(folder, kind):
    return archive.steps(folder / "checkpoints" / kind)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_it_is_a_loop_that_goes_back(tmp_path, records):
    """With optax alone: the rate is the warm-up by the run's step, times the halvings'."""
    found = run(tmp_path, every=1, keep=50, dropout=0.0)
    problem, batches, evaluate = objective(), ToyBatches(), Evaluator(objective(), HELD)
    params = problem.init(jax.random.key(0))
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.01, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    )
    state, factor, best, rates, backs = adam.init(params), 1.0, None, [], []

    @jax.jit
    def gradient(params, batch):
        def mean(params):
            sums, _ = problem.loss(params, batch, None, ())
            return sums.loss / sums.weight

        return jax.grad(mean)(params)

    for step in range(STEPS):
        batch = batches.batch(*divmod(step, len(batches)))
        updates, state = adam.update(gradient(params, batch), state, params)
        rates.append(factor * 0.6 * min(step / 12, 1))
        params = jax.tree.map(lambda p, u: p - rates[-1] * u, params, updates)
        if (step + 1) % EVERY == 0:
            loss = evaluate(params)["loss"]
            if best is None or loss < best[0]:
                best = (loss, params, state)
            elif loss > best[0]:
                _, params, state = best
                factor /= 2
                backs.append(step + 1)
            close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
            items, _ = stored(tmp_path, f"last/{step + 1}", "params")
            jax.tree.map(close, items["params"], params)
    assert len(backs) >= 2, "the rate of this test is too low"
    assert min(backs) < 12, "no return within the warm-up"
    assert found.history.halvings == len(backs)
    lines = [line for line in records(tmp_path) if line["split"] == "train"]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], rates, rtol=1e-6)


def test_the_best_one_has_what_the_moments_were(whole):
    folder, result = whole
    best = result.history.best_step
    assert best == steps_in(folder, "best")[-1]
    items, history = stored(folder, f"best/{best}", "params", "optimizer")
    assert history["best_step"] == best
    assert history["best_metrics"] == dict(result.history.best_metrics)
    *_, last = records_of(folder)
    if last["loss"] > history["best_metrics"]["loss"]:  # it has gone back at the end
        now, _ = stored(folder, f"last/{STEPS}", "params", "optimizer")
        jax.tree.map(np.testing.assert_array_equal, items, now)
    # What is opened for evaluation is the parameters alone, as of any run.
    params, step, kind = restore_params(folder / "checkpoints", SHAPES, "auto")
    assert (step, kind) == (best, "best")
    jax.tree.map(np.testing.assert_array_equal, params, items["params"])


def records_of(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if json.loads(line)["split"] == "valid"]


class Crash(ToyBatches):
    """The run dies when a batch is asked for, and saves nothing."""

    def at(self, step):
        self.step = step
        return self

    def batch(self, epoch, index, rows=slice(None)):
        if epoch * len(self) + index == self.step:
            raise MemoryError("killed")
        return super().batch(epoch, index, rows)


def test_killed_anywhere_and_resumed_is_uninterrupted(whole, tmp_path, records):
    """Also between a return and the next save."""
    folder, result = whole
    assert result.history.halvings >= 2
    evaluated = [line["loss"] for line in records_of(folder)]
    worse = [EVERY * (n + 1) for n, x in enumerate(evaluated) if x > min(evaluated[: n + 1])]
    unsaved = [step for step in worse if step % SAVED and step < STEPS - 4]
    assert unsaved, "no return that is not saved at once"
    for step in (3, unsaved[0], unsaved[-1]):
        again = tmp_path / str(step)
        with pytest.raises(MemoryError):
            run(again, Crash().at(step))
        with pytest.raises(Interrupted):
            run(again, SignalAt().at(step + 2))
        found = run(again)
        assert found.history == result.history
        assert steps_in(again, "best")[-1] == steps_in(folder, "best")[-1]
        for which in (f"last/{STEPS}", f"best/{found.history.best_step}"):
            here, there = (stored(one, which, "params", "optimizer") for one in (again, folder))
            assert here[1] == there[1]
            jax.tree.map(np.testing.assert_array_equal, here[0], there[0])
        assert records(again) == records(folder), step


def test_a_best_one_stays_as_long_as_a_checkpoint_names_it(tmp_path):
    """Best after 2, 8 and 10 updates; saved after 7 and 14."""
    losses = dict(zip(range(2, 15, 2), (3.0, 4.0, 5.0, 2.0, 1.0, 6.0, 7.0), strict=True))

    def go(folder, batches=None):
        asked = iter(losses) if not steps_in(folder, "last") else iter([*losses][3:])
        evaluate = lambda params: {"loss": losses[next(asked)]}  # noqa: E731
        return run(folder, batches, every=7, steps=14, evaluate=evaluate, patience=100)

    with pytest.raises(MemoryError):
        go(tmp_path, Crash().at(13))
    assert steps_in(tmp_path, "last") == [7]
    assert steps_in(tmp_path, "best") == [2, 10]  # 8 was named by none
    result = go(tmp_path)
    assert (result.history.best_step, result.history.halvings) == (10, 4)
    assert steps_in(tmp_path, "best") == [2, 10]


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_lost_best_one_is_forgotten_by_resuming(whole, tmp_path, capsys, lost):
    """Training could not go back to it, so the next evaluation is the best."""
    shutil.copytree(whole[0], tmp_path / "run")
    step = 20
    best = stored(whole[0], f"last/{step}")[1]["best_step"]
    shutil.rmtree(tmp_path / "run/checkpoints/best")
    if lost == "damaged":
        (tmp_path / f"run/checkpoints/best/{best}/params").mkdir(parents=True)
    result = run(tmp_path / "run", resume=str(step), steps=step + EVERY)
    assert f"best/{best}, the best so far, is lost: the next evaluation" in capsys.readouterr().err
    assert result.history.best_step == step + EVERY
    assert steps_in(tmp_path / "run", "best") == [step + EVERY]


def test_a_best_one_that_is_lost_meanwhile_ends_the_run_in_a_line(tmp_path):
    losses = iter([1.0, 2.0])

    def evaluate(params):
        if (loss := next(losses)) == 2.0:
            while not steps_in(tmp_path, "best"):
                time.sleep(0.01)  # it is written in a thread of its own
            shutil.rmtree(tmp_path / "checkpoints/best/2/optimizer")
        return {"loss": loss}

    with pytest.raises(NoCheckpointError, match=r"best/2: is damaged or gone .* `resume=auto`"):
        run(tmp_path, evaluate=evaluate)


def test_it_ends_after_more_halvings_than_asked_for(tmp_path, capsys):
    """Ties and a first evaluation of NaN halve nothing; NaN after a number does."""
    losses = [np.nan, 3.0, 3.0, 4.0, np.nan, 2.0, 2.5, 0.0]
    asked = iter(losses)
    rate = replace(RATE, halvings=2)
    result = run(tmp_path, rate=rate, evaluate=lambda params: {"loss": next(asked)})
    assert (result.step, result.history.halvings, result.history.best_step) == (14, 3, 12)
    said = capsys.readouterr().err
    assert "loss 4 after step 8 is worse than 3 after step 4: back to that" in said
    assert said.count("more than 2 halvings: training ends here") == 1
    assert run(tmp_path, rate=rate, evaluate=None.__class__).step == 14  # it remembers


def test_a_changed_rate_compiles_nothing(tmp_path):
    """No program is made after the first evaluation, which makes its own."""
    compiled, asked = [], []

    def listen(event, seconds, **_):
        del seconds
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(len(asked))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run(tmp_path, evaluate=lambda params: asked.append(1) or {"loss": float(len(asked))})
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(asked) == STEPS // EVERY
    assert compiled, "nothing was heard of the first program"
    assert set(compiled) == {0}


DEPTHS = {"embedding": 0, "hidden": {"kernel": 1, "bias": 1}, "output": 2}


@pytest.mark.parametrize("kind", ["adamw", "released", "muon", "layer decay", "stages", "average"])
def test_the_halved_rate_is_the_rate_of_every_optimiser(kind):
    """An update at half the rate is that of a constant schedule of half the rate."""
    update = kind if kind in ("adamw", "released", "muon") else "adamw"
    decay = 0.5 if kind == "layer decay" else 1.0
    half = replace(RATE, warmup=0.0, update=update, layer_decay=decay, schedule="constant")
    params = objective().init(jax.random.key(0))

    def make(config):
        depths = lambda params: DEPTHS  # noqa: E731
        kernel = {"embedding": False, "hidden": {"kernel": True, "bias": False}, "output": False}
        matrices = lambda params: kernel  # noqa: E731
        if kind == "stages":
            stages = [Stage(0, range(2)), Stage(1, range(3))]
            return make_staged_optimizer(config, stages, 2, 5, depths, 2, restart_schedule=False)
        made = make_optimizer(config, 10, depths=depths, matrices=matrices)
        return averaged(made, 1) if kind == "average" else made

    def updated(config, halvings):
        optimizer = make(config)
        progress = Progress(jnp.int32(0), jnp.array(False), jnp.int32(0))
        placed = parallel.replicate((params, optimizer.init(params), progress))
        state = TrainState(*placed, ())
        state = state if halvings is None else halved(state, halvings)
        step = make_train_step(objective(), optimizer, 1)
        for index in range(3):
            batch = parallel.shard(ToyBatches().batch(0, index))
            *changed, metrics = step(*state, batch, parallel.vote(False))
            state = TrainState(*changed)
        return state.params, float(metrics["learning_rate"])

    found, rate = updated(replace(half, schedule="halve"), 1)
    expected, same = updated(replace(half, learning_rate=0.3), None)
    assert rate == same == np.float32(0.3)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("devices", [1, 2])
def test_fewer_devices_and_micro_batches_decide_alike(whole, tmp_path, devices, monkeypatch):
    expected = run(tmp_path / "four", dropout=0.0)
    some = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: some)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    found = run(tmp_path / "fewer", dropout=0.0, accumulate=4)
    assert found.history.halvings == expected.history.halvings >= 2
    assert found.history.best_step == expected.history.best_step
    one, other = ([line["loss"] for line in records_of(tmp_path / n)] for n in ("four", "fewer"))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_the_metric_that_selects_the_best_one_decides():
    best = Best("accuracy", "max")
    history = History().after(1, {"loss": 1.0, "accuracy": 0.5}, best)
    assert not history.is_worse(best)
    assert not history.after(2, {"loss": 2.0, "accuracy": 0.5}, best).is_worse(best)
    assert history.after(2, {"loss": 0.5, "accuracy": 0.4}, best).is_worse(best)


def test_an_older_history_has_no_halvings():
    older = History().to_json()
    del older["halvings"]
    assert History.from_json(older).halvings == 0


def test_what_it_needs_is_asked_for(tmp_path):
    with pytest.raises(UserError, match="needs validation data and a folder"):
        run(tmp_path, evaluate=None)
    settings = TrainConfig(steps=2, batch_size=8)
    with pytest.raises(UserError, match="needs validation data and a folder"):
        fit(
            objective(),
            ToyBatches(),
            settings,
            make_optimizer(replace(RATE, warmup=0.0), 2),
            evaluate=dict,
        )
    with pytest.raises(UserError, match=r"average_from: .* leave one of them out"):
        OptimizerConfig(schedule="halve", average_from=3)
    with pytest.raises(UserError, match=r"optimizer\.halvings is -1"):
        OptimizerConfig(halvings=-1)


def test_the_disk_has_to_have_room_for_the_moments(tmp_path, monkeypatch):
    """Of the best one of each checkpoint, and of a new one: keep + 1 + keep + 2."""
    from types import SimpleNamespace

    from gptjax.training import checkpoint

    state = jax.eval_shape(make_optimizer(RATE, STEPS).init, SHAPES)
    items = {"params": SHAPES, "optimizer": state}
    kept = Checkpoints(tmp_path, CheckpointConfig(keep=3), {})
    whole, params = archive.size(items), archive.size(SHAPES)
    for goes_back, most in ((True, 9 * whole), (False, 4 * whole + 2 * params)):
        for free in (most - 1, most):
            usage = SimpleNamespace(free=free)
            monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)  # noqa: B023
            if free == most:
                kept.check_space(items, STEPS, goes_back=goes_back)
            else:
                with pytest.raises(UserError, match="the checkpoints need"):
                    kept.check_space(items, STEPS, goes_back=goes_back)


def test_the_carry_of_streams_goes_on(tmp_path):
    """What the rows remember is of the text that comes next."""
    problem = objective(state=True)
    losses = iter([1.0, 2.0])
    with Tracker(tmp_path, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        fit(
            problem,
            ToyBatches(streams=True),
            TrainConfig(steps=4, batch_size=8, evaluate_every=EVERY),
            make_optimizer(replace(RATE, warmup=0.0), 4),
            evaluate=lambda params: {"loss": next(losses)},
            checkpoints=Checkpoints(tmp_path / "checkpoints", CheckpointConfig(every=2), {}),
            tracker=tracker,
        )
    shape = {"carry": jax.eval_shape(lambda: problem.init_carry(8))}
    before, after = (
        archive.read(Path(tmp_path / f"checkpoints/last/{n}"), shape, {})[0]["carry"]["mean"]
        for n in (2, 4)
    )
    assert not np.array_equal(before, after)
    (two, _), (four, _) = (stored(tmp_path, f"last/{n}", "params") for n in (2, 4))
    jax.tree.map(np.testing.assert_array_equal, two, four)
