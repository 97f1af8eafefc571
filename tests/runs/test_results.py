"""results.json: every kind is read as it was written, and as it was before there were kinds."""

import dataclasses
import json
import math
from dataclasses import replace

import pytest

from gptjax.errors import UserError
from gptjax.runs import probe_results as probes
from gptjax.runs import results as kinds
from gptjax.runs import sweep_results as sweeps
from gptjax.runs.folder import Provenance
from gptjax.runs.probe_results import (
    ClassCounts,
    ProbeLayer,
    ProbeSize,
    ProbeSplit,
    ProbeUnits,
    UnitHistogram,
    UnitSplit,
)
from gptjax.runs.results import (
    KINDS,
    Category,
    ClassScores,
    Data,
    Dropped,
    LanguageModelling,
    Paper,
    ProbeResults,
    Seeds,
    SplitResult,
    SplitSpread,
    Spread,
    TaskEvaluation,
    TaskRun,
    TextEvaluation,
    ZeroShot,
    folder_for_measurement,
    read_as,
    read_results,
    write_results,
)
from gptjax.runs.sweep_results import SeedValue, Setting, SweepPoint, SweepResults

MADE = Provenance.now("1 × cpu (cpu)")
SPREAD = Spread("accuracy", 0.5, 0.1, 0.5, 0.6, (0.4, 0.6))
POINT = SweepPoint(
    variant="",
    values=(Setting("rate", 0.1), Setting("steps", 3), Setting("on", True), Setting("l", (1, "x"))),
    folder="rate=0.1",
    status="finished",
    exit_code=0,
    error="",
    mean=0.5,
    std=None,
    values_by_seed=(SeedValue(3, 0.5),),
    examples=9,
    split="valid",
    sample=False,
    seconds=1.5,
)
LAYER = ProbeLayer(
    layer=0,
    c=(0.25,),
    nonzero=(3,),
    weights=8,
    splits=(ProbeSplit("valid", 4, {"accuracy": 0.75}),),
)
UNITS = ProbeUnits(
    strongest=(7, 0),
    weights=(-1.5, 0.5),
    alone_c=0.5,
    alone=(ProbeSplit("valid", 4, {"accuracy": 0.5}),),
    unit=7,
    threshold=None,
    below="0",
    above="1",
    untrained_unit=3,
    permutations=100,
    splits=(UnitSplit("train", 0.75, 0.5, 0.5, 0.6, 0.7),),
    histograms=(UnitHistogram(7, (0.0, 1.0), (ClassCounts("0", (2,)), ClassCounts("1", (1,)))),),
)
ONE_OF_EACH = [
    LanguageModelling(
        split="valid",
        examples=7,
        metrics={"loss": 1.5, "perplexity": 4.5},
        data=Data(source="books", fingerprint="ab", dropped=(Dropped("too short", 2),)),
        checkpoint="best/4",
        steps=4,
        seed=0,
    ),
    TaskRun(
        task="rte",
        split="valid",
        examples=5,
        metrics={"accuracy": 0.6},
        data=Data(source="dev.tsv", dropped=(), examples=5, sample=False),
        checkpoint="best/4",
        seed=1,
        majority_class_only=False,
        paper=Paper("accuracy", None),
        splits=(
            SplitResult("valid", 5, 1, {"accuracy": 0.6}),
            SplitResult("test", 3, 0, {}, (ClassScores("no", 3, 1.0, 0.6, 0.75),)),
        ),
    ),
    Seeds(
        task="rte",
        split="valid",
        examples=5,
        metrics={"accuracy": 0.5},
        seeds=(1, 7),
        majority_class_only=(7,),
        data=Data(sample=True),
        splits=(SplitSpread("test", 3, ()), SplitSpread("valid", 5, (SPREAD,))),
    ),
    TextEvaluation(
        split="wiki.txt",
        examples=9,
        metrics={"perplexity": 3.0},
        data=Data(source="wiki.txt"),
        checkpoint="last/2",
        run="runs/a",
        made=MADE,
        context=8,
        stride=4,
    ),
    TaskEvaluation(
        task="ax",
        split="test",
        examples=2,
        metrics={"matthews": 0.0},
        data=Data(sample=False, trained_on_sample=True),
        checkpoint="best/2",
        run="runs/b",
        categories=(Category("Logic", 2, {"matthews": 0.0}),),
        classes=(ClassScores("name", 2, 0.0, 0.0, 0.0), ClassScores("", 0, 0.5, 1.0, 0.0)),
    ),
    ZeroShot(
        task="cola, zero-shot",
        split="valid",
        examples=2,
        metrics={"matthews": 0.1, "accuracy": 0.5},
        data=Data(source="cola", sample=False),
        checkpoint="best/2",
        run="openai:model",
        made=MADE,
        normalised=None,
        threshold=-3.5,
        step=2,
        run_started=None,
    ),
    ProbeResults(
        task="sst2",
        split="valid",
        examples=4,
        metrics={"accuracy": 0.75},
        data=Data(source="dev.tsv", sample=False),
        checkpoint="best/2",
        run="runs/a",
        features="mean",
        penalty="l1",
        standardised=False,
        one_vs_rest=False,
        seed=0,
        cut=1,
        layer=2,
        layers=(LAYER, replace(LAYER, layer=2, c=(0.5, 1.0), by_fold=(0.5, 1.0))),
        folds=2,
        units=UNITS,
        sizes=(ProbeSize(30, "valid", 0.5, None, (SeedValue(1, 0.5),)),),
        notices=("C=1 is the largest",),
    ),
    SweepResults(command="finetune", metric="accuracy", points=(POINT,), best="rate=0.1"),
]


def test_there_is_one_of_each():
    assert [type(one) for one in ONE_OF_EACH] == list(KINDS.values())


@pytest.mark.parametrize("results", ONE_OF_EACH, ids=KINDS)
def test_what_was_written_is_read(tmp_path, results):
    path = tmp_path / "results.json"
    write_results(path, results)
    table = json.loads(path.read_text())
    assert KINDS[table["kind"]] is type(results)
    assert next(iter(table)) == "kind"
    read = read_results(path)
    assert read == results
    # 1, 1.0 and True are equal, and not the same.
    assert repr(read) == repr(results)
    # What a later version adds is no reason to refuse the file.
    path.write_text(json.dumps({**table, "added later": {}}))
    assert read_results(path) == results


@pytest.mark.parametrize("results", ONE_OF_EACH, ids=KINDS)
def test_a_measurement_replaces_a_measurement_alone(tmp_path, results):
    folder = folder_for_measurement(str(tmp_path / "new/one"))
    write_results(folder.results, results)
    if isinstance(results, TextEvaluation | TaskEvaluation | ZeroShot | ProbeResults):
        assert folder_for_measurement(str(folder.path)) == folder
    else:
        with pytest.raises(UserError, match="has the results of a run, which would be replaced"):
            folder_for_measurement(str(folder.path))


@pytest.mark.parametrize("file", ["config.toml", "meta.json", "seed-1/config.toml"])
def test_no_measurement_is_written_into_a_run(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    with pytest.raises(UserError, match="has the results of a run"):
        folder_for_measurement(str(tmp_path))


def test_a_mapping_in_the_file_is_a_tuple_here(tmp_path):
    path = tmp_path / "results.json"
    _, run, seeds, _, evaluation, _, _, sweep = ONE_OF_EACH

    def table(results):
        write_results(path, results)
        return json.loads(path.read_text())

    assert table(ONE_OF_EACH[0])["data"] == {
        "source": "books",
        "fingerprint": "ab",
        "dropped": {"too short": 2},
    }
    assert table(run)["splits"] == {
        "valid": {"examples": 5, "left_out": 1, "metrics": {"accuracy": 0.6}},
        "test": {
            "examples": 3,
            "left_out": 0,
            "metrics": {},
            "classes": {"no": {"examples": 3, "precision": 1.0, "recall": 0.6, "f1": 0.75}},
        },
    }
    assert table(run)["paper"] == {"metric": "accuracy", "value": None}
    assert table(seeds)["splits"]["valid"]["metrics"]["accuracy"] == {
        "mean": 0.5,
        "std": 0.1,
        "median": 0.5,
        "best": 0.6,
        "values": [0.4, 0.6],
    }
    assert table(evaluation)["categories"]["Logic"]["examples"] == 2
    assert "made" not in table(evaluation)
    (point,) = table(sweep)["points"]
    assert point["values"] == {"rate": 0.1, "steps": 3, "on": True, "l": [1, "x"]}
    assert point["values_by_seed"] == {"3": 0.5}
    assert (point["std"], point["mean"]) == (None, 0.5)


def test_a_metric_by_seed():
    seeds = ONE_OF_EACH[2]
    assert seeds.by_seed("accuracy") == {1: 0.4, 7: 0.6}
    with pytest.raises(KeyError):
        seeds.by_seed("f1")


OLD = {
    "language-modelling": """{"task": "language-modelling", "split": "valid", "examples": 7,
        "metrics": {"loss": NaN, "perplexity": Infinity, "tokens": 7},
        "data": {"source": "embedded", "fingerprint": "ab", "dropped": {"empty": 1}},
        "checkpoint": "best/4", "steps": 4, "seed": 0}""",
    "task-run": """{"task": "rte", "split": "valid", "examples": 5, "metrics": {"accuracy": 1},
        "data": {"source": "dev.tsv", "fingerprint": "ab", "examples": 5, "dropped": {},
        "sample": true}, "checkpoint": "best/4", "seed": 1, "majority_class_only": true,
        "paper": {"metric": "accuracy", "value": 56.0},
        "splits": {"valid": {"examples": 5, "left_out": 0, "metrics": {"accuracy": 1}}}}""",
    "seeds": """{"task": "rte", "split": "valid", "examples": 5, "metrics": {"accuracy": 0.5},
        "seeds": [1, 2], "majority_class_only": [], "data": {"sample": false},
        "paper": {"metric": "accuracy", "value": 56.0}, "splits": {"valid": {"examples": 5,
        "metrics": {"accuracy": {"mean": 0.5, "std": 0.1, "median": 0.5, "best": 0.6,
        "values": [0.4, 0.6]}}}}}""",
    "text-evaluation": """{"task": "language-modelling", "split": "wiki.txt", "examples": 9,
        "metrics": {"perplexity": 3.0}, "context": 8, "stride": 8, "data": {"source": "wiki.txt",
        "fingerprint": "ab", "dropped": {}}, "checkpoint": "best/4", "run": "runs/a"}""",
    "task-evaluation": """{"task": "ax", "split": "test", "examples": 2, "metrics": {},
        "data": {"source": "ax.tsv", "fingerprint": "ab", "dropped": {"empty": 1},
        "sample": false}, "checkpoint": "best/2", "run": "runs/b"}""",
    "zero-shot": """{"task": "sst2, zero-shot", "split": "valid", "examples": 2, "metrics":
        {"accuracy": 0.5}, "normalised": 0.1, "threshold": null, "data": {"source": "sst2",
        "sample": false}, "checkpoint": "curve/2", "step": 2, "run": "runs/a"}""",
    "sweep": """{"command": "pretrain", "metric": "perplexity", "points": [{"variant": "",
        "values": {"learning_rate": 0.1}, "folder": "learning_rate=0.1", "status": "failed",
        "exit_code": 4, "error": "x", "mean": null, "std": null, "values_by_seed": {},
        "examples": null, "split": null, "sample": false, "seconds": 1}], "best": null}""",
}


@pytest.mark.parametrize("kind", OLD)
def test_files_from_before_there_were_kinds(tmp_path, kind):
    path = tmp_path / "results.json"
    path.write_text(OLD[kind])
    found = read_results(path)
    assert type(found) is KINDS[kind]
    again = tmp_path / "again.json"
    write_results(again, found)
    nothing = {"parse_constant": lambda name: None}  # of NaN and infinity JSON has null
    new, old = (json.loads(text, **nothing) for text in (again.read_text(), OLD[kind]))
    # Nothing that the old file says is lost: every key, with its value.
    assert {name: new[name] for name in old} == old


def test_an_old_file_has_what_it_did_not_record_as_none(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(OLD["zero-shot"])
    found = read_as(ZeroShot, path)
    assert (found.made, found.run_started, found.asked) == (None, None, "sst2")
    path.write_text(OLD["language-modelling"])
    metrics = read_as(LanguageModelling, path).metrics
    assert math.isnan(metrics["loss"])
    assert metrics["perplexity"] == math.inf


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def test_numbers_that_are_not_finite_are_null_and_nan(tmp_path):
    path = tmp_path / "results.json"
    results = replace(ONE_OF_EACH[0], metrics={"loss": math.nan, "perplexity": math.inf})
    write_results(path, results)
    table = json.loads(path.read_text(), parse_constant=refuse)
    assert table["metrics"] == {"loss": None, "perplexity": None}
    assert all(map(math.isnan, read_results(path).metrics.values()))
    # What may be absent stays None.
    sweep = replace(ONE_OF_EACH[-1], points=(replace(POINT, mean=math.nan, std=None),))
    write_results(path, sweep)
    assert read_results(path).points[0].mean is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-9], "is damaged, no JSON"),
        (lambda text: "[]", "its content is no table"),
        (lambda text: "{}", "split is missing|examples is missing|task is missing"),
        (lambda text: text.replace('"seed": 1', '"seed": "1"'), "seed is '1', no int"),
        (lambda text: text.replace('"seed": 1', '"seed": true'), "seed is True, no int"),
        (lambda text: text.replace('"left_out": 1,', ""), r"splits\.valid\.left_out is missing"),
        (lambda text: text.replace("0.6", "[]"), r"metrics\.accuracy is \[\], no float"),
        (lambda text: text.replace('"task-run"', '"dream"'), "kind is 'dream', none of"),
        (lambda text: text.replace("false", "0"), "majority_class_only is 0, no bool|sample is 0"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage, message):
    path = tmp_path / "results.json"
    write_results(path, ONE_OF_EACH[1])
    path.write_text(damage(json.dumps(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=message) as raised:
        read_results(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_another_kind_than_is_wanted_is_refused(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, ONE_OF_EACH[2])
    with pytest.raises(UserError, match="is of the kind seeds, and task-run is wanted"):
        read_as(TaskRun, path)
    with pytest.raises(UserError, match="no such file"):
        read_results(tmp_path / "none.json")


def test_no_type_is_a_free_dictionary():
    for cls in (one for module in (kinds, probes, sweeps) for one in vars(module).values()):
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                assert "Any" not in str(field.type)
                assert "dict" not in str(field.type) or field.name == "metrics"
