"""From the file of a sweep to its runs: their names, their settings, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from gptjax.commands.sweep import COMMANDS
from gptjax.errors import UserError, as_options
from gptjax.sweeps.plan import Plan, Sweep, _short_names, read_sweep
from gptjax.sweeps.plan import make_plan as plan_of

SHORT = {"train.steps": 3}


def make_plan(sweep: Sweep) -> Plan:
    return plan_of(sweep, COMMANDS)


def names(**parts) -> list[str]:
    plan = make_plan(Sweep("pretrain", Path("out"), SHORT, **parts))
    assert {point.folder.parent for point in plan.points} == {Path("out")}
    return [point.name for point in plan.points]


@pytest.mark.parametrize(
    ("grid", "variants", "expected"),
    [
        (
            {"optimizer.learning_rate": [1e-4, 2.5e-4], "model": {"num-layers": [1, 2]}},
            {},
            [
                "learning_rate=0.0001,num_layers=1",
                "learning_rate=0.0001,num_layers=2",
                "learning_rate=0.00025,num_layers=1",
                "learning_rate=0.00025,num_layers=2",
            ],
        ),
        (
            {"--model.norm": ["pre", "post"]},
            {"no dropout!": {"model.embedding_dropout": 0.0}, "as it is": {}},
            [
                "no-dropout-,norm=pre",
                "no-dropout-,norm=post",
                "as-it-is,norm=pre",
                "as-it-is,norm=post",
            ],
        ),
        ({}, {"a": {}, "b": {"train.seed": 1}}, ["a", "b"]),
        # The last part of the name would stand for two options.
        (
            {"checkpoint.every": [1], "train.evaluate_every": [2], "train.seed": [1, 2]},
            {},
            ["every=1,evaluate_every=2,seed=1", "every=1,evaluate_every=2,seed=2"],
        ),
        (
            {"train.accumulate": [1], "tracking.tensorboard": [True, False]},
            {},
            ["accumulate=1,tensorboard=true", "accumulate=1,tensorboard=false"],
        ),
        (
            {"model.embedding_dropout": [0.1], "train.patience": ["None"]},
            {},
            ["embedding_dropout=0.1,patience=None"],
        ),
    ],
)
def test_names(grid, variants, expected):
    assert names(grid=grid, variants=variants) == expected


def test_names_stay_when_the_sweep_grows():
    before = names(grid={"train.seed": [1, 2]}, variants={"a": {}})
    after = names(grid={"train.seed": [0, 1, 2]}, variants={"z": {}, "a": {}})
    assert set(before) < set(after)


def test_long_names_are_cut_and_still_differ(tmp_path):
    texts = []
    for last in "xy":
        texts.append(tmp_path / ("t" * 90) / ("u" * 90 + last))
        texts[-1].parent.mkdir(exist_ok=True)
        texts[-1].write_text("A text.")
    found = names(grid={"data": [str(text) for text in texts]})
    assert len(set(found)) == 2
    assert max(map(len, found)) < 200


def test_short_names_of_two_options_with_one_last_part(pretrained):
    grid = {"model.vocabulary_size": [300], "vocabulary.mode": ["fast"], "tracking.wandb": [False]}
    settings = {"task": "sst2", "data": "sample", "init": pretrained}
    plan = make_plan(Sweep("finetune", Path("out"), settings, grid))
    assert list(plan.axes.values()) == ["vocabulary_size", "mode", "wandb"]
    # No command has two options that can be varied with one last part.
    both = _short_names(["a.rate", "b.rate", "c"])
    assert both == {"a.rate": "a.rate", "b.rate": "b.rate", "c": "c"}


def sweep_of(command: str, pretrained: str, **parts) -> Sweep:
    settings = {"train.steps": 3}
    if command == "finetune":
        settings |= {"task": "sst2", "data": "sample", "init": pretrained}
    settings |= parts.pop("settings", {})
    return Sweep(command, Path("out"), settings, **parts)


@pytest.mark.parametrize(
    ("command", "parts", "message"),
    [
        ("finetun", {}, "command = 'finetun'; did you mean 'finetune'?"),
        ("pretrain", {}, "nothing to vary"),
        ("pretrain", {"grid": {"train.seed": []}}, "train.seed = []: give a list"),
        ("pretrain", {"grid": {"train.seed": 3}}, "train.seed = 3: give a list"),
        (
            "finetune",
            {"grid": {"lm_coeficient": [1.0]}},
            "grid: gptjax finetune has no option 'lm_coeficient'; did you mean 'lm_coefficient'?",
        ),
        ("pretrain", {"grid": {"lm_coefficient": [1]}}, "gptjax pretrain has no option"),
        (
            "pretrain",
            {"settings": {"train": {"stepz": 1}}, "variants": {"a": {}}},
            "settings: gptjax pretrain has no option 'train.stepz'; did you mean 'train.steps'?",
        ),
        (
            "pretrain",
            {"variants": {"a": {"seed": 1}}},
            "variants.a: gptjax pretrain has no option 'seed'; did you mean 'train.seed'?",
        ),
        (
            "finetune",
            {"settings": {"task.data": "x"}, "variants": {"a": {}}},
            "settings: data and task.data are the same option",
        ),
        (
            "finetune",
            {"grid": {"task.name": ["sst2", "cola"]}},
            "task is in [settings] and in [grid]",
        ),
        (
            "finetune",
            {"grid": {"strict": [True]}, "variants": {"a": {"task.strict": False}}},
            "task.strict is in [variants.a] and in [grid]",
        ),
        ("pretrain", {"variants": {"a": {"out": "x"}}}, "variants.a: out: the sweep names"),
        (
            "finetune",
            {"settings": {"train-sizes": [30, 100]}, "grid": {"seeds": [1]}},
            "train_sizes: a run of a sweep has one size; give max_train under [grid]",
        ),
        ("pretrain", {"grid": {"resume": ["auto"]}}, "grid: resume: a sweep goes on by itself"),
        ("pretrain", {"grid": {"overwrite": [True]}}, "never removes a run"),
        ("pretrain", {"grid": {"distributed.process_id": [1]}}, "processes of one machine"),
        (
            "pretrain",
            {"grid": {"train.steps": ["x"]}, "settings": {}},
            "train.steps is in [settings] and in [grid]",
        ),
        (
            "pretrain",
            {"grid": {"train.seed": ["many"]}},
            "seed=many: settings: train.seed = 'many' is no int",
        ),
        (
            "pretrain",
            {"grid": {"model.norm": ["pre", "most"]}},
            "norm=most: settings: model.norm = 'most'; one of 'post', 'pre'",
        ),
        (
            "pretrain",
            {"grid": {"train.batch_size": [8, 0]}},
            "batch_size=0: settings: train.batch_size is 0",
        ),
        ("pretrain", {"grid": {"tracking.wandb": ["no"]}}, "tracking.wandb = 'no' is no bool"),
        ("pretrain", {"grid": {"data": ["--overwrite"]}}, "--overwrite: no such file"),
        ("pretrain", {"grid": {"data": ["no/such"]}}, "no/such: no such file or folder"),
        (
            "pretrain",
            {"grid": {"train.epochs": [1]}},
            "exactly one of train.steps and train.epochs",
        ),
        ("pretrain", {"grid": {"train.seed": [1, 1]}}, "its seed=1 would be that of another"),
        ("pretrain", {"variants": {"a b": {}, "a/b": {}}}, "its a-b would be that of another"),
        ("pretrain", {"variants": {"a": {}, "A": {}}}, "its A would be that of another"),
        ("pretrain", {"variants": {"x": {}, "x.log": {}}}, "its x.log would be that of another"),
        ("pretrain", {"variants": {"x": {}, "x.toml": {}}}, "its x.toml would be that of another"),
        ("pretrain", {"variants": {"summary.tsv": {}}}, "would be that of the sweep's own"),
        ("pretrain", {"variants": {"..": {}}}, "no letter or digit"),
        ("pretrain", {"variants": {"a": {}}, "metric": "accuraci"}, "did you mean 'accuracy'?"),
        ("finetune", {"variants": {"a": {}}, "metric": "perplexity"}, "metric = 'perplexity'"),
        ("finetune", {"variants": {"a": {"seeds": [1, 1]}}}, "a seed occurs twice"),
        ("finetune", {"variants": {"a": {"init": "no/such/run"}}}, "no/such/run"),
        ("finetune", {"variants": {"a": {"task": "sst3"}}}, "a: --task sst3"),
        ("finetune", {"variants": {"a": {"data": "no/such"}}}, "no/such: no such file or folder"),
        (
            "finetune",
            {"variants": {"a": {"data": ["train=no/such", "valid=x"]}}},
            "no/such: no such file or folder",
        ),
        (
            "finetune",
            {"variants": {"a": {}, "b": {"task": "cola"}}},
            "different first metrics (accuracy, matthews)",
        ),
    ],
)
def test_refusals(command, parts, message, pretrained):
    with pytest.raises(UserError) as caught:
        make_plan(sweep_of(command, pretrained, **parts))
    text = as_options(str(caught.value))
    assert text.startswith("sweep: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("command", "parts", "metric", "lower", "scale"),
    [
        ("pretrain", {}, "perplexity", True, 1),
        ("pretrain", {"metric": "bits_per_byte"}, "bits_per_byte", True, 1),
        ("finetune", {}, "accuracy", False, 100),
        ("finetune", {"metric": "loss"}, "loss", True, 1),
        ("finetune", {"settings": {"task": "cola"}}, "matthews", False, 100),
        ("finetune", {"settings": {"task": "mrpc"}}, "f1", False, 100),
    ],
)
def test_what_is_measured(command, parts, metric, lower, scale, pretrained):
    plan = make_plan(sweep_of(command, pretrained, variants={"a": {}}, **parts))
    assert (plan.metric, plan.lower_is_better, plan.scale) == (metric, lower, scale)


def test_an_autoencoder_is_never_compared_with_a_language_model():
    layout = {"corpus.layout": "autoencode"}
    plan = make_plan(Sweep("pretrain", Path("out"), {**SHORT, **layout}, variants={"a": {}}))
    assert (plan.metric, plan.lower_is_better) == ("reconstruction_perplexity", True)
    both = {"a": layout, "b": {}}
    for metric in (None, "loss", "perplexity", "reconstruction_perplexity"):
        with pytest.raises(UserError, match="metric"):
            make_plan(Sweep("pretrain", Path("out"), SHORT, variants=both, metric=metric))


def test_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'command = "pretrain"\n[settings]\ntrain.steps = 3\n[grid]\n"train.seed" = [1, 2]\n'
        '[variants."b c"]\nmodel.num_layers = 1\n[variants.a]\n'
    )
    sweep = read_sweep(path)
    assert sweep.out == Path("runs/sweeps/mine")
    assert read_sweep(path, tmp_path).out == tmp_path
    assert [point.name for point in make_plan(sweep).points] == [
        "b-c,seed=1",
        "b-c,seed=2",
        "a,seed=1",
        "a,seed=2",
    ]
    path.write_text('command = "pretrain"\nout = "elsewhere"\nmetric = "loss"\n')
    assert read_sweep(path).out == Path("elsewhere")
    assert read_sweep(path).metric == "loss"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comand = 1\n", "unknown key 'comand'; did you mean 'command'?"),
        ("[setings]\n", "unknown key 'setings'; did you mean 'settings'?"),
        ("command = 1\n", "'command' is a text"),
        ("grid = 1\n", "'grid' is a section; write [grid]"),
        ('command = "pretrain"\n[variants]\na = 1\n', "'a' is a section; write [variants.'a']"),
        ("[grid]\n", "has no command; write command = 'pretrain' or 'finetune'"),
        ('command = "pretrain"\n', "write [grid], [variants.NAME] or [search]"),
        ('command = "pretrain"\n[grid]\ntrain.seed = [1]\n[prune]\n', "[prune] is for the points"),
        ("[grid\n", "cannot be read as TOML"),
        (None, "no such file of a sweep"),
    ],
)
def test_bad_files(text, message, tmp_path):
    path = tmp_path / "s.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        make_plan(read_sweep(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_example_is_a_sweep(pretrained, tmp_path):
    file = Path(__file__).parents[2] / "experiments" / "sweeps" / "rte.toml"
    sweep = read_sweep(file)
    # What the file names is not in a bare clone.
    variants = {
        name: {key: value if value == "none" else pretrained for key, value in table.items()}
        for name, table in sweep.variants.items()
    }
    settings = {**sweep.settings, "data": "sample"}
    plan = make_plan(dataclasses.replace(sweep, settings=settings, variants=variants))
    assert len(plan.points) == 12
    assert {point.seeds for point in plan.points} == {(1, 2, 3)}
