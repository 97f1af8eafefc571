"""What a search is said to draw, and what is refused before anything runs."""

import math
import re
import sys
from pathlib import Path

import pytest

from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.sweep import COMMANDS, run_sweep
from gptjax.errors import UserError
from gptjax.sweeps.plan import Plan, make_plan, read_sweep
from gptjax.sweeps.settings import Option
from gptjax.sweeps.space import KINDS, Axis, Limits, Prune, Search, read_search
from tests.sweep.conftest import Player

RATE = {"optimizer.learning_rate": {"uniform": [0.0, 1.0]}, "trials": 3}
OPTION = Option("train.x", several=False)
FILE = """
command = "pretrain"
[settings]
train.steps = 3
[search]
trials = 4
minutes = 90
optimizer.learning_rate = {log-uniform = [1e-5, 1]}
model.num_layers = {integer = [1, 4]}
model.norm = {choice = ["pre", "post"]}
tracking.tensorboard = {choice = [true, false]}
[[search.first]]
optimizer.learning_rate = 1e-3
model = {num-layers = 2, norm = "pre"}
tracking.tensorboard = false
[prune]
points = 3
step = 100
keep = 0.25
"""


def plan_of(tmp_path, text: str) -> Plan:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return make_plan(read_sweep(path, tmp_path / "out"), COMMANDS)


def axis(kind: str, *values) -> Axis:
    return Axis(OPTION, "train.x", kind, values)


def test_the_sections_of_a_file(tmp_path):
    plan = plan_of(tmp_path, FILE)
    assert plan.search is not None
    assert plan.points == ()
    assert (plan.metric, plan.search.limits) == ("perplexity", Limits(4, 90.0))
    assert plan.search.prune == Prune(points=3, step=100, keep=0.25)
    assert [(axis.name, axis.kind, axis.values) for axis in plan.search.axes] == [
        ("optimizer.learning_rate", "log_uniform", (1e-5, 1)),
        ("model.num_layers", "integer", (1, 4)),
        ("model.norm", "choice", ("pre", "post")),
        ("tracking.tensorboard", "choice", (True, False)),
    ]
    (first,) = plan.search.first
    point = plan.point(first)
    assert point.name == "learning_rate=0.001,num_layers=2,norm=pre,tensorboard=false"
    assert point.settings["optimizer"]["learning_rate"] == 0.001
    assert point.table["train"] == {"steps": 3}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials = 4\nminutes = 90", "", "has no end; write trials = 30, or minutes = 60"),
        ("trials = 4", "trials = 0", "search.trials is 0, but it must be at least 1"),
        ("minutes = 90", "minutes = -1.0", "search.minutes is -1.0, but it must be a positive"),
        ("trials = 4", 'trials = "4"', "search: trials = '4' is no int"),
        ("{log-uniform = [1e-5, 1]}", "[1e-5, 1]", "learning_rate = [1e-05, 1]: say how it is"),
        ("log-uniform", "log", "unknown distribution 'log'; known: choice, integer"),
        ("log-uniform", "normal", "unknown distribution 'normal'; did you mean 'uniform'?"),
        ("[1e-5, 1]", "[1e-5]", "learning_rate: log_uniform = [1e-05]: give two finite numbers"),
        ("[1e-5, 1]", "[1, 1e-5]", "[1, 1e-05]: the lowest comes first"),
        ("[1e-5, 1]", "[1e-5, inf]", "give two finite numbers, [LOWEST, HIGHEST]"),
        ("[1e-5, 1]", "[0, 1]", "[0, 1]: the logarithm is of positive numbers"),
        ("[1e-5, 1]", "[true, false]", "give two finite numbers"),
        ("[1, 4]", "[1.0, 4.0]", "integer = [1.0, 4.0]: give two whole numbers"),
        ("[1, 4]", "4", "integer = 4: give two whole numbers"),
        ('["pre", "post"]', "[]", "choice = []: give a list of one or more values"),
        ('["pre", "post"]', '["pre", "pre"]', 'has "pre" twice'),
        ('["pre", "post"]', '["pre", "PRE"]', "PRE"),
        ("optimizer.learning_rate = {", "optimizer.lerning_rate = {", "no option 'optimizer.ler"),
        ("optimizer.learning_rate = {log-uniform = [1e-5, 1]}", "rate = 3", "no option 'rate'"),
        ("{integer = [1, 4]}", "{integer = [1, 4], choice = [1]}", "has two distributions"),
        ("train.steps = 3", "model.norm = 3", "model.norm is in [settings] and in [search]"),
        ("[search]", "[grid]\ntrain.seed = [1]\n[search]", "has [search] and [grid]; leave one"),
        ("model.norm = {", "out = {", "search: out: the sweep names the folders"),
        ("keep = 0.25", "keep = 1.0", "prune.keep is 1.0, but it must be between 0 and 1"),
        ("keep = 0.25", "kept = 1.0", "prune: unknown key 'kept'; did you mean 'keep'?"),
        ("points = 3", "points = 0", "prune.points is 0, but it must be at least 1"),
        ("rate = 1e-3", "rate = 2.0", "first: optimizer.learning_rate = 2.0 is not within its"),
        ('norm = "pre"', 'norm = "no"', "first: model.norm = 'no' is none of its choices"),
        ("num-layers = 2,", "", "first: a point lacks model.num_layers; give all"),
        ("tracking.tensorboard = false", "train.seed = 1", "first: train.seed is not searched"),
        (
            "tracking.tensorboard = false",
            "seeed = 1",
            "search: first: gptjax pretrain has no option",
        ),
        ("[1, 4]", "[0, 4]", "num_layers=0"),  # what cannot run is said before anything does
    ],
)
def test_one_line_says_what_is_wrong(tmp_path, old, new, message):
    assert old in FILE
    with pytest.raises(UserError) as caught:
        plan_of(tmp_path, FILE.replace(old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "s.toml"))


def test_first_is_a_list_and_something_is_searched():
    for table, message in (
        ({**RATE, "first": {"a": 1}}, "first is a list of tables"),
        ({"trials": 3}, "names no option; write OPTION = {log_uniform"),
    ):
        with pytest.raises(UserError, match=message):
            read_search(table, None, "pretrain", PretrainConfig)


@pytest.mark.parametrize(
    ("one", "drawn", "expected"),
    [
        (axis("log_uniform", 1e-5, 1e-1), 0.00123456789, 0.001235),
        (axis("log_uniform", 1e-5, 1e-1), 1e-5, 1e-5),
        (axis("log_uniform", 1.23449, 9.87654), 1.23449, 1.23449),  # never beyond the bounds
        (axis("log_uniform", 1.23456, 9.87654), 9.87654, 9.87654),
        (axis("log_uniform", 1.0, 1.001), 1.0004321, 1.0004321),  # narrow
        (axis("uniform", 0.0, 0.5), 0.123456, 0.1235),
        (axis("uniform", 1000, 2000), 1234.5678, 1234.6),
        (axis("uniform", 0, 1e-6), 1.23456e-7, 1.235e-7),
    ],
)
def test_numbers_that_people_can_read(one, drawn, expected):
    assert one.rounded(drawn) == pytest.approx(expected, rel=1e-12)
    assert type(one.rounded(drawn)) is float


def test_the_ends_and_all_of_a_space():
    space = Search((axis("integer", 1, 3), axis("choice", "a", "b")), Limits(1))
    names = ("train.x", "train.y")
    axes = tuple(Axis(OPTION, n, a.kind, a.values) for n, a in zip(names, space.axes, strict=True))
    space = Search(axes, Limits(1))
    assert space.size() == 6
    assert len({str(point) for point in space.all_points()}) == 6
    assert [tuple(point.values()) for point in space.corners()] == [(1, "a"), (3, "a"), (1, "b")]
    assert Search((axis("uniform", 0, 1),), Limits(1)).size() == math.inf


def test_without_optuna_a_grid_runs_and_a_search_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("study", "searcher"):
        monkeypatch.delitem(sys.modules, f"gptjax.sweeps.{name}", raising=False)
    path = tmp_path / "s.toml"
    path.write_text(FILE)
    with pytest.raises(UserError, match=r"needs Optuna.*pip install 'gptjax\[search\]'"):
        run_sweep(read_sweep(path, tmp_path / "out"), 1, Player())
    assert not (tmp_path / "out").exists()
    text = 'command = "pretrain"\n[settings]\ntrain.steps = 3\n[grid]\n'
    path.write_text(f"{text}optimizer.learning_rate = [1.0]\n")
    monkeypatch.setattr("gptjax.report.drawing.save_pictures", lambda folder, figure: None)
    (point,) = run_sweep(read_sweep(path, tmp_path / "grid"), 1, Player())
    assert point.status == "finished"
    assert not (tmp_path / "grid" / "journal.log").exists()


def test_the_search_of_the_docs_is_one(tmp_path, pretrained):
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (search,) = re.findall(r"```toml\n(# search.toml\n.*?)```", text, re.DOTALL)
    search = search.replace("path/to/glue/RTE", "sample").replace("runs/pretrain/small", pretrained)
    plan = plan_of(tmp_path, search)
    assert plan.search is not None
    assert {axis.kind for axis in plan.search.axes} == set(KINDS)
    assert (len(plan.search.first), plan.search.prune) == (1, Prune())
    for kind in KINDS:
        assert f"`{{{kind} = [" in text
