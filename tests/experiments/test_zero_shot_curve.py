"""Which answers of experiments/zero_shot_curve.py are asked for again."""

from pathlib import Path

import pytest
import zero_shot_curve as script

from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder, write_json
from gptjax.runs.results import Data, ZeroShot, write_results


@pytest.fixture
def made(tmp_path):
    """Options, a run, and answers of it to CoLA."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_json(run.meta, {"started": "monday"})
    config = script.CurveConfig(run=run.path, data=tmp_path / "data")
    answers = tmp_path / "answers"
    answers.mkdir()
    known = ZeroShot(
        task="cola, zero-shot",
        split="valid",
        examples=2,
        metrics={"matthews": 0.0},
        data=Data(source=f"{tmp_path}/data/cola", sample=False),
        checkpoint="curve/1",
        run=str(run.path),
        normalised=0.0,
        threshold=0.0,
        step=1,
        run_started="monday",
    )
    write_results(RunFolder(answers).results, known)
    return config, run, answers


def test_answers_that_are_there_are_not_asked_again(made, tmp_path):
    assert script.is_measured(made[0], made[1], "cola", made[2])
    assert not script.is_measured(made[0], made[1], "cola", tmp_path / "none")


def test_a_run_trained_anew_in_the_same_place_is_asked_again(made):
    config, run, answers = made
    write_json(run.meta, {"started": "tuesday"})
    assert not script.is_measured(config, run, "cola", answers)


def test_other_questions_are_asked(made):
    config, run, answers = made
    other = script.CurveConfig(run=config.run, data=Path("elsewhere"))
    assert not script.is_measured(other, run, "cola", answers)
    assert not script.is_measured(config, run, "sst2", answers)


def test_answers_of_another_run_are_not_taken_for_these(made, tmp_path):
    config, run, answers = made
    other = script.CurveConfig(run=tmp_path / "other", data=config.data)
    with pytest.raises(UserError, match=f"{answers}: is of {config.run}; give another --out"):
        script.is_measured(other, run, "cola", answers)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [(("colla",), "--tasks colla: .*cola"), (("cola",), r"--data .*: has no cola")],
)
def test_what_is_asked_for_has_to_be_there(made, tasks, message):
    config = script.CurveConfig(run=made[0].run, data=made[0].data, tasks=tasks)
    with pytest.raises(UserError, match=message):
        script.main(config)
