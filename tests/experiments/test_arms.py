"""Arms of a comparison: which runs are made, at which learning rate, and what they come to."""

import arms
import pytest

from gptjax.commands.sweep import run_sweep
from gptjax.errors import NonFiniteError, UserError
from gptjax.runs.folder import RunFolder, write_json
from tests.sweep.conftest import Player, config_of, finish_seeds, option

pytestmark = pytest.mark.usefixtures("no_pictures")

TASKS = {"sst2": {"max_train": 50, "learning_rates": [0.1, 0.2, 0.4]}}


class FineTuner(Player):
    """Plays fine-tuning: the nearer the learning rate is to an arm's own, the better."""

    def __init__(self):
        super().__init__()
        self.best = {"one": 0.2, "two": 0.1}

    def finish(self, words, folder):
        arm = folder.name.split("-at-")[0]
        rate = config_of(words)["optimizer"]["learning_rate"]
        seeds = [int(word) for word in option(words, "--seeds")]
        value = 0.9 - abs(rate - self.best[arm])
        finish_seeds(folder, {seed: value - seed / 100 for seed in seeds})
        splits = {"train": {"examples": 50}, "valid": {"examples": 1234}}
        for seed in seeds:
            write_json(RunFolder(folder / f"seed-{seed}").meta, {"data": splits})


@pytest.fixture
def tuner(monkeypatch):
    player = FineTuner()
    monkeypatch.setattr(arms, "run_sweep", lambda sweep, jobs: run_sweep(sweep, jobs, player))
    return player


@pytest.fixture
def run(tmp_path, tuner, pretrained):
    (tmp_path / "sst2").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "sst2" / name).touch()

    def run(seeds=(1, 2, 3), **more):
        config = arms.ArmsConfig(data=tmp_path, arms=tmp_path / "arms", seeds=seeds)
        two = {"init": "none", "like": pretrained}
        return arms.run_arms(config, TASKS, {"one": {"init": pretrained}, "two": two} | more)

    return run


def test_the_first_seed_chooses_the_rate_and_only_that_gets_more_seeds(run, tuner, tmp_path):
    found = run()["sst2"]
    assert {name: arm.learning_rate for name, arm in found.items()} == tuner.best
    assert found["one"].folder == tmp_path / "arms" / "sst2" / "one-at-0.2"
    assert found["one"].by_seed == pytest.approx({1: 0.89, 2: 0.88, 3: 0.87})
    assert (found["one"].text, found["one"].sizes) == ("88.0 ± 1.0", "50 / 1,234")
    rates = ("0.1", "0.2", "0.4")
    tried = [f"{arm}-at-{rate}" for arm in ("one", "two") for rate in rates]
    assert tuner.started == [*tried, "one-at-0.2", "two-at-0.1"]
    words = [launch.words for launch in tuner.launches]
    seeds = [["1"]] * 6 + [["1", "2", "3"]] * 2
    assert [option(one, "--seeds") for one in words] == seeds
    assert config_of(words[0])["task"]["max_train"] == 50

    assert run() == {"sst2": found}
    assert len(tuner.launches) == 8


def test_an_arm_that_is_known_is_not_run_again(run, tuner, pretrained):
    run(seeds=(1,))
    del tuner.launches[:]
    tuner.best = {**tuner.best, "three": 0.4}
    run(seeds=(1,), three={"init": pretrained, "lm_coefficient": 0.0})
    assert tuner.started == ["three-at-0.1", "three-at-0.2", "three-at-0.4"]


def test_a_rate_that_diverges_is_not_chosen(run, tuner):
    tuner.codes = {"one-at-0.2": NonFiniteError.exit_code}
    assert run(seeds=(1,))["sst2"]["one"].learning_rate in (0.1, 0.4)


def test_a_run_that_fails_ends_it_by_name(run, tuner):
    tuner.codes = {"two-at-0.4": 2}
    with pytest.raises(UserError, match=r"arms/sst2: not finished: two-at-0.4"):
        run()


def test_a_further_seed_that_fails_ends_it_by_name(run, tuner):
    def before(number):
        if number == 6:  # all rates were tried
            tuner.codes = {"one-at-0.2": 2}

    tuner.before = before
    with pytest.raises(UserError, match=r"arms/sst2: not finished: one-at-0.2"):
        run()


def test_tasks_come_from_the_file(tmp_path):
    file = tmp_path / "tasks.toml"
    file.write_text("[rte]\nlearning_rates = [1e-4]\n[cola]\nlearning_rates = [1e-3]\n")
    assert arms.read_tasks(file, ["rte"]) == {"rte": {"learning_rates": [1e-4]}}
    with pytest.raises(UserError, match=r"has no \[snli\]; it has rte, cola"):
        arms.read_tasks(file, ["snli"])
    with pytest.raises(UserError, match="cannot be read as TOML"):
        arms.read_tasks(tmp_path / "none.toml", ["rte"])


def test_the_file_of_tasks_that_is_there_has_every_task_of_the_scripts():
    wanted = ["rocstories", "sst2", "stsb", "cola"]
    for task, settings in arms.read_tasks(arms.TASKS_FILE, wanted).items():
        assert settings[arms.RATES], task


def test_captions_say_how_it_was_measured():
    assert arms.how((1, 2), TASKS) == (
        "Validation split, × 100, mean and sample standard deviation of 2 seeds. Each arm took the "
        "learning rate out of 0.1, 0.2, 0.4 that was best there with seed 1, and its best epoch "
        "there, so that all are flattered alike."
    )
    one = arms.how((7,), {"rte": {"learning_rates": [0.1]}})
    assert "× 100, 1 seed. Each arm took the learning rate 0.1, and its best epoch" in one
