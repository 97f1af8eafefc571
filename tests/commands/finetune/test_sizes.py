"""The settings of each size of a learning curve, and what is refused before anything is read."""

from dataclasses import replace

import pytest

from gptjax import config as configs
from gptjax.commands.finetune_config import CURVE, FinetuneConfig, FinetuneSelection, TaskConfig
from gptjax.commands.finetune_config import defaults as defaults_of
from gptjax.commands.finetune_sizes import holds_curve, of_size, run_sizes
from gptjax.errors import UserError
from gptjax.training.length import TrainConfig, total_steps


def config(sizes=("30", "all"), **train) -> FinetuneConfig:
    return FinetuneConfig(train_sizes=sizes, train=TrainConfig(batch_size=32, **train))


def evaluations(train: TrainConfig, size: int) -> tuple[int, int]:
    """Updates of a size, and how often it is evaluated on the way and at its end."""
    batches = -(-size // train.batch_size)
    steps, every = total_steps(train, batches), train.evaluate_every or batches
    return steps, -(-steps // every)


def test_a_small_size_has_enough_updates():
    whole = config(epochs=3)
    lengths = {size: evaluations(of_size(whole, size, 4907).train, size) for size in (30, 1000)}
    assert lengths == {30: (100, 3), 1000: (100, 3)}
    assert evaluations(of_size(whole, 4907, 4907).train, 4907) == (3 * 154, 3)
    # 34 batches thrice are enough: as it is without sizes.
    enough = of_size(whole, 1088, 4907)
    assert enough.train == whole.train
    plain = of_size(replace(whole, least_updates=0), 30, 4907)
    assert plain.train == whole.train


def test_typed_updates_are_those_of_every_size():
    whole = config(steps=500)
    for size in (30, 1000, 4907):
        assert evaluations(of_size(whole, size, 4907).train, size) == (500, 4)
    often = of_size(config(steps=500, evaluate_every=50), 30, 4907)
    assert often.train.evaluate_every == 50
    assert of_size(config(epochs=1, evaluate_every=7), 30, 4907).train.evaluate_every == 7


def test_a_size_is_drawn_by_label_and_all_rows_are_not_drawn():
    whole = config(epochs=3)
    part = of_size(whole, 30, 60)
    assert (part.task.max_train, part.task.draw, part.train_sizes) == (30, "by-label", ())
    assert replace(of_size(whole, 4907, 4907), train_sizes=whole.train_sizes) == whole


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_sizes": ("30", "0")}, "'0' is no number of rows; give numbers and all"),
        ({"train_sizes": ("1e3",)}, "'1e3' is no number of rows"),
        ({"train_sizes": ("-5",)}, "'-5' is no number of rows"),
        ({"train_sizes": ("9" * 12,)}, "is no number of rows"),
        ({"train_sizes": ("30", "030")}, "--train-sizes 30 030: 30 occurs twice"),
        ({"train_sizes": ("all", "30", "all")}, "all occurs twice"),
        ({"task": TaskConfig(max_train=9)}, "contradicts --max-train 9; give one of the two"),
        ({"resume": "40"}, "contradicts --resume 40, as each size has its own steps"),
        ({"least_updates": -1}, "must be at least 0"),
    ],
)
def test_what_contradicts_a_curve(changes, said):
    with pytest.raises(UserError) as error:
        replace(config(epochs=3), **changes)
    assert said in str(error.value)


def _never(config, other):
    """Is not called."""
    raise AssertionError(other)


def test_folders_that_hold_something_else(tmp_path):
    """What is refused of a folder, before any data are read."""

    def refusal(**changes) -> str:
        with pytest.raises(UserError) as error:
            run_sizes(replace(config(epochs=3), **changes), tmp_path, _never, _never)
        return str(error.value)

    curve = tmp_path / "size-30" / "seed-1"
    curve.mkdir(parents=True)
    assert holds_curve(tmp_path)
    assert "add sizes to it, with `resume=auto`" in refusal()
    assert "contradict each other" in refusal(resume="auto", overwrite=True)
    assert "is the run of `init` too" in refusal(overwrite=True, init=str(curve))
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "config.toml").touch()
    assert "holds another run; choose another `out`" in refusal(resume="auto")


def test_a_curve_that_goes_on_has_its_own_settings(tmp_path):
    """Those of a size have its rows and its updates."""
    task = TaskConfig(name="sst2", lm_coefficient=0.25)
    begun = configs.settled(replace(FinetuneConfig(), task=task))
    size = of_size(replace(begun, train_sizes=("30",)), 30, 99)
    (tmp_path / "size-30" / "seed-1").mkdir(parents=True)
    configs.write(size, tmp_path / "size-30" / "seed-1" / "config.toml")
    configs.write(begun, tmp_path / CURVE)
    found = defaults_of(FinetuneSelection(out=str(tmp_path), resume="auto"))
    assert (found.task, found.train) == (begun.task, begun.train)
