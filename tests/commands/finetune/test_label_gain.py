"""The label at every position, from the command to the prediction."""

import pytest

from gptjax.cli import main
from gptjax.commands import finetune_config
from gptjax.commands.finetune_config import FinetuneConfig, TaskConfig
from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import task_identity
from gptjax.runs.open import load
from tests.commands.finetune.common import ONE_STEP, results

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_run_with_gain_is_opened_resumed_and_no_other_run(options, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*options, *ONE_STEP, "--task.label-gain", "--out", str(out)]) == 0
    assert load(out).task is not None
    words = ["finetune", "--out", str(out), "--resume", "auto"]
    assert main(words) == 0
    assert main(["evaluate", "--run", str(out), "--data", str(data), "--split", "valid"]) == 0
    assert f"{100 * results(out)['metrics']['accuracy']:.2f}" in capsys.readouterr().out
    assert main([*words, "--task.no-label-gain"]) == 2
    assert "another task" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("task", "pooling", "message"),
    [
        ("rocstories", "extract", "rocstories has the format choice; .* leave it out"),
        ("qqp", "extract", "qqp has the format similarity; .* leave it out"),
        ("stsb", "extract", "stsb has scores; .* leave it out"),
        ("sst2", "max", "`task.pooling=max` reads them together; leave one of the two out"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(task, pooling, message, tmp_path):
    section = TaskConfig(name=task, pooling=pooling, label_gain=True)
    with pytest.raises(UserError, match=rf"^task\.label_gain: .*{message}"):
        finetune_config.task_of(FinetuneConfig(task=section), RunFolder(tmp_path))


def test_it_is_part_of_the_task(tmp_path):
    section = TaskConfig(name="snli", label_gain=True)
    task = finetune_config.task_of(FinetuneConfig(task=section), RunFolder(tmp_path))
    own = {"lm_coefficient": 0.5, "freeze_backbone": False, "positions": None}
    plain = task_identity(task, **own)
    assert "label_gain" not in plain
    assert task_identity(task, **own, label_gain=True) == {**plain, "label_gain": True}
