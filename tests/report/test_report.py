"""The report: what is found, and what its numbers are."""

import json
import math
import statistics
from pathlib import Path

import made_runs
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from gptjax.commands.report import ReportConfig
from gptjax.commands.report import run as report_command
from gptjax.errors import UserError
from gptjax.evaluation.learning_curve import Gain, LearningCurve, SizeResult
from gptjax.models.objective import lm, num_parameters
from gptjax.report import drawing, learning_curve
from gptjax.report import page as report_page
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.find import find
from gptjax.report.pretraining import seconds, thin
from gptjax.report.report import build
from gptjax.runs import sweep_results as sweeps
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import file_digests, finish
from gptjax.runs.results import write_results
from gptjax.runs.sweep_results import SweepResults


def figure(report, name) -> Figure:
    (found,) = [one for one in report.figures if one.name == name]
    return found


def table(report, name) -> Table:
    (found,) = [one for part in report.sections for one in part.tables if one.name == name]
    return found


def rows(found: Table) -> dict[str, list[dict[str, str]]]:
    """source -> its rows, by column."""
    result: dict[str, list[dict[str, str]]] = {}
    for source, cells in zip(found.sources, found.rows, strict=True):
        result.setdefault(source, []).append(dict(zip(found.columns, cells, strict=True)))
    return result


def test_several_checkpoints_of_a_run_are_rows_and_no_bars(tmp_path):
    for step in (1, 2):
        folder = tmp_path / "curve" / "sst2" / str(step)
        made_runs.zero_shot(folder, "sst2", 0.5 + step / 10, 0.1 * step, f"curve/{step}")
    made_runs.zero_shot(tmp_path / "curve" / "cola", "cola", 0.1, 0.2)
    report = build(find([str(tmp_path)]))
    found = [
        (row["task"], row["checkpoint"])
        for group in rows(table(report, "zero-shot-table")).values()
        for row in group
    ]
    assert sorted(found) == [("cola", "best/40"), ("sst2", "curve/1"), ("sst2", "curve/2")]
    (bars,) = figure(report, "zero-shot-normalised").series
    assert (bars.x, bars.y) == (("cola",), (0.2,))


def test_the_metric_while_training_is_the_mean_over_seeds(report):
    found = figure(report, "rte-training")
    several, one = found.series
    assert (several.label, one.label) == ("a", "old")
    assert (several.x, several.y) == ((5, 10), pytest.approx((6.5, 11.5)))  # seeds 1 and 2
    assert several.high[0] - several.y[0] == pytest.approx(0.5**0.5)
    assert (one.y, one.low) == (pytest.approx((6.0, 11.0)), None)


def test_every_class_has_a_row_for_each_run(report, answers):
    """Over seeds the mean and deviation; a scale has no classes, and one run needs no name."""
    found = rows(table(report, "rte-classes"))
    assert found.keys() == {"runs/finetune/rte/a", "runs/finetune/rte/old"}
    assert table(report, "rte-classes").columns == (
        *("class", "run", "examples", "precision", "recall", "F1"),
    )
    seeds = [precision_recall_fscore_support(one.gold, one.predicted) for one in answers]
    for number, row in enumerate(found["runs/finetune/rte/a"]):
        assert (row["class"], row["run"]) == (("entailment", "not_entailment")[number], "a")
        assert row["examples"] == str(seeds[0][3][number])
        for place, name in enumerate(("precision", "recall", "F1")):
            values = [100 * seed[place][number] for seed in seeds]
            assert row[name] == f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
    assert "run" not in table(report, "snli-classes").columns
    names = [one.name for part in report.sections for one in part.tables]
    assert "stsb-classes" not in names


def test_the_most_wrong_examples_are_shown_with_their_texts(report, answers, runs):
    (found,) = rows(table(report, "rte-most-wrong-a")).values()
    assert len(found) == 10
    assert [*found[0]] == [
        *("row", "gold", "prediction", "probability of gold"),
        *("premise", "hypothesis"),
    ]
    scores, gold = answers[0].probabilities, np.array(answers[0].gold)
    missed = np.flatnonzero(answers[0].predicted != gold)
    order = missed[np.argsort(scores[missed, gold[missed]], kind="stable")][:10]
    assert [int(row["row"]) for row in found] == order.tolist()
    assert found[0]["probability of gold"] == f"{scores[order[0], gold[order[0]]]:.3f}"
    assert found[0]["premise"].startswith("<b>premise</b> & /its/text long long")
    assert len(found[0]["premise"]) == 300
    assert "distance" in table(report, "stsb-most-wrong-stsb").columns


def test_texts_are_left_out_on_request(tmp_path, answers, monkeypatch):
    made_runs.tuned(tmp_path / "run", "rte", answers[0])
    monkeypatch.setattr(report_page, "write", lambda report, out: None)
    out = str(tmp_path / "page.html")
    for texts in (True, False):
        report = report_command(ReportConfig(runs=(str(tmp_path / "run"),), out=out, texts=texts))
        found = [one.name for part in report.sections for one in part.tables]
        assert ("rte-most-wrong-run" in found) is texts
        assert "fine-tuning-table" in found


def test_what_a_run_doubts_of_itself_is_a_warning(tmp_path, answers):
    for seed in (1, 2, 3):
        notices = ("set `train.epochs=9`", "x") if seed == 1 else ("set `train.epochs=9`",)
        folder = tmp_path / "run" / f"seed-{seed}"
        made_runs.tuned(folder, "rte", answers[0], seed, notices=notices)
    found = next(part for part in build(find([str(tmp_path)])).sections if part.name == "task-rte")
    assert found.warnings == (
        "run (3 of 3 seeds): set --train.epochs 9",
        "run (1 of 3 seeds): x",
    )


def test_seeds_that_stopped_early_end_the_curve(tmp_path, answers):
    for seed in (1, 2):
        made_runs.tuned(tmp_path / "run" / f"seed-{seed}", "rte", answers[0], seed)
    more = tmp_path / "run" / "seed-1" / "metrics.jsonl"
    line = {"step": 15, "split": "valid", "loss": 1.0, "accuracy": 0.9}
    more.write_text(more.read_text() + json.dumps(line) + "\n")
    (line,) = figure(build(find([str(tmp_path)])), "rte-training").series
    assert line.x == (5, 10)


def test_a_sweep_is_its_figures_and_its_runs(tmp_path, answers, monkeypatch):
    out = tmp_path / "sweep"
    for seed, found in enumerate(answers, 1):
        made_runs.tuned(out / "rate=0.1" / f"seed-{seed}", "rte", found, seed)
    write_results(out / "results.json", SweepResults("finetune", "accuracy", (), None))
    monkeypatch.chdir(tmp_path)
    line = Series("s", (1,), (2.0,), source="sweep/rate=0.1")
    drawing.save(out, [Figure("accuracy", "T", "of /secret/place/x.", "x", "y", (line,))])
    report = build(find(["sweep"]))
    assert [origin.path for origin in report.origins] == ["sweep/rate=0.1", "sweep"]
    # How its runs were made stands with them alone.
    listed = [[one.path for one in origin.made] for origin in report.origins]
    assert listed == [["sweep/rate=0.1/seed-1", "sweep/rate=0.1/seed-2"], []]
    report_page.write(report, tmp_path / "page.html")
    entry = made_runs.as_read(tmp_path / "page.html").partition('id="runs-2-sweep"')[2]
    own = '<a href="#runs-1-sweep-rate-0-1">sweep/rate=0.1</a>'
    assert f"<p>Of runs that have entries of their own: {own}.</p>" in entry
    assert figure(report, "accuracy").caption == "of …/x."
    (out / "figures.json").unlink()
    assert "sweep: is of a sweep that has no figures.json" in find(["sweep"]).left_out[0]
    assert report.left_out == ()


def test_what_an_experiment_measured_is_in_its_figures_alone(tmp_path, answers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_runs.tuned(tmp_path / "arms" / "a" / "seed-1", "rte", answers[0], 1)
    made_runs.zero_shot(tmp_path / "curve" / "sst2" / "1", "sst2", 0.6, 0.1)
    made_runs.tuned(tmp_path / "curve" / "run", "rte", answers[1])
    absolute = str(tmp_path / "elsewhere")
    series = Series("s", (1, 2), (3.0, 4.0), source=f"arms/a, {absolute}")
    drawing.save(tmp_path / "curve", [Figure("f", "T", "C", "x", "y", (series,))])
    report = build(find(["curve"]))
    assert [origin.path for origin in report.origins] == ["curve/run", "curve"]
    made = [(one.path, one.seed, one.command) for one in report.origins[1].made]
    assert made == [
        ("arms/a/seed-1", "1", "gptjax finetune --task rte --train.seed 1"),
        ("…/elsewhere", "", ""),
    ]
    (series,) = figure(report, "f").series
    assert series.source == "arms/a, …/elsewhere"
    report_page.write(report, tmp_path / "page.html")
    assert '<a href="#runs-2-curve">arms/a</a>' in made_runs.as_read(tmp_path / "page.html")
    # Named by itself, it is reported.
    assert len(build(find(["curve/sst2"])).sections) == 1


def test_everything_is_found_once_and_the_rest_is_named(report):
    assert [origin.path for origin in report.origins] == [
        "runs/pretrain/a",
        "runs/finetune/rte/a",
        "runs/finetune/rte/old",
        "runs/finetune/snli",
        "runs/finetune/stsb",
        "runs/zero-shot",
        "runs/experiment",
    ]
    assert report.left_out == (
        "runs/finetune/rte/a/seed-10: is not finished (interrupted)",
        "runs/pretrain/unfinished: is not finished (running)",
    )
    seeds = report.origins[1].made
    assert [(made.path, made.seed) for made in seeds] == [
        ("runs/finetune/rte/a/seed-1", "1"),
        ("runs/finetune/rte/a/seed-2", "2"),
    ]
    assert seeds[0].command == "gptjax finetune --task rte --train.seed 1"


def test_the_table_beside_the_papers(report, answers):
    found = rows(table(report, "fine-tuning-table"))
    values = [100 * one.metrics["accuracy"] for one in answers]
    assert found["runs/finetune/rte/a"] == [
        {
            "task": "rte",
            "run": "a",
            "split": "valid",
            "examples": "60",
            "metric": "accuracy",
            "seeds": "2",
            "mean ± std": f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}",
            "median": f"{statistics.median(values):.2f}",
            "best": f"{max(values):.2f}",
            "paper": "56 (test)",
            "remarks": "",
        }
    ]
    (sample,) = found["runs/finetune/snli"]
    assert (sample["paper"], sample["remarks"]) == ("–", "OFFLINE SAMPLE, not the task")
    assert found["runs/finetune/rte/old"][0]["seeds"] == "1"
    (section,) = [part for part in report.sections if part.name == "fine-tuning"]
    assert "snli: some runs were on the offline sample" in section.warnings[0]
    columns = table(report, "fine-tuning-table").columns
    assert columns[:4] == ("task", "run", "mean ± std", "paper")  # what a phone shows first
    (further,) = rows(table(report, "stsb-further-metrics"))["runs/finetune/stsb"]
    assert further["metric"] == "Spearman correlation"


def test_evaluations_and_questions_without_training(tmp_path, answers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_runs.evaluated(tmp_path / "x" / "rte-test", "rte", answers[0])
    made_runs.perplexity(tmp_path / "x" / "wiki")
    made_runs.zero_shot(tmp_path / "x" / "zero", "sst2", 0.7, 0.484)
    made_runs.zero_shot(tmp_path / "x" / "words", "lambada", 0.25, None)
    report = build(find(["x"]))
    (row,) = rows(table(report, "fine-tuning-table"))["x/rte-test"]
    accuracy = f"{100 * answers[0].metrics['accuracy']:.2f}"
    assert (row["split"], row["mean ± std"], row["paper"]) == ("test", accuracy, "56 (test)")
    (made,) = report.origins[0].made
    assert (made.command, made.hardware) == ("gptjax evaluate --run …/tuned", "2 × cpu (cpu)")
    assert figure(report, "rte-metric").title == "rte: accuracy (test)"
    assert figure(report, "rte-metric").levels == (("paper: 56 (test)", 56.0),)
    (row,) = rows(table(report, "perplexity-of-texts"))["x/wiki"]
    assert list(row.values()) == ["runs/pretrain/a", "wiki.txt", "4,321", "29.41", "37.5", "1.062"]
    asked = rows(table(report, "zero-shot-table"))
    assert [asked["x/zero"][0][name] for name in ("value", "normalised")] == ["70.00", "0.484"]
    assert [asked["x/words"][0][name] for name in ("value", "normalised")] == ["25.00", "–"]
    (bar,) = figure(report, "zero-shot-normalised").series
    assert (bar.x, bar.y, bar.source) == (("sst2",), (0.484,), "x/zero")


def test_a_run_on_the_sample_stays_one_when_it_is_measured_on_a_task(tmp_path, answers):
    made_runs.evaluated(tmp_path / "x", "rte", answers[0], trained_on_sample=True)
    report = build(find([str(tmp_path / "x")]))
    ((row,),) = rows(table(report, "fine-tuning-table")).values()
    assert (row["paper"], row["remarks"]) == ("–", "OFFLINE SAMPLE, not the task")


def test_a_run_that_went_on_names_every_commit(tmp_path, answers):
    folder = made_runs.tuned(tmp_path / "x", "rte", answers[0])
    later = [{"commit": "0123456789ab"}, {"commit": None}, {"commit": "cdef"}]
    made_runs.meta(folder, "gptjax finetune", resumed=later)
    (made,) = find([str(folder)]).origins[0].made
    assert made.commit == "0123456789ab, cdef"


def test_many_runs_are_drawn_in_several_figures(tmp_path, answers):
    for number in range(6):
        made_runs.tuned(tmp_path / f"run-{number}", "rte", answers[0])
    report = build(find([str(tmp_path)]))
    parts = [one for one in report.figures if one.name.startswith("rte-length")]
    assert [one.name for one in parts] == ["rte-length-1", "rte-length-2"]
    assert [[line.label for line in one.series] for one in parts] == [
        ["run-0", "run-1", "run-2"],
        ["run-3", "run-4", "run-5"],
    ]


def test_confusion_is_summed_over_the_seeds(report, answers):
    shown = figure(report, "rte-confusion-a")
    expected = sum(confusion_matrix(one.gold, one.predicted) for one in answers)
    assert [list(row.y) for row in shown.series] == expected.tolist()
    assert [row.label for row in shown.series] == list(shown.series[0].x)
    assert "summed over 2 seeds" in shown.caption


def test_accuracy_by_length_is_over_the_bins(report, answers):
    (line,) = figure(report, "rte-length").series  # the old run has no lengths
    assert line.source == "runs/finetune/rte/a"
    tokens = np.array([one.tokens for one in answers])
    right = np.array([one.predicted == np.array(one.gold) for one in answers])
    # The first bin, by hand: from the shortest up to the first sixth of all lengths.
    bound = np.sort(tokens.ravel())[math.ceil((tokens.size - 1) / 6)]
    first = [100 * right[i][tokens[i] < bound].mean() for i in range(2)]
    assert line.y[0] == pytest.approx(np.mean(first))
    assert line.low is not None
    assert line.low[0] == pytest.approx(np.mean(first) - np.std(first, ddof=1))
    (section,) = [part for part in report.sections if part.name == "task-rte"]
    assert section.text[0].startswith("The predictions of old do not say how long")


def test_calibration_names_its_error(report, answers):
    lines = {
        line.label.partition(":")[0]: line for line in figure(report, "rte-calibration").series
    }
    confidence = np.concatenate([one.probabilities.max(-1) for one in answers])
    right = np.concatenate([one.predicted == np.array(one.gold) for one in answers])
    place = np.minimum((confidence * 10).astype(int), 9)
    parts = [(confidence[place == bin], right[place == bin]) for bin in range(5, 10)]
    error = sum(abs(sure.mean() - hits.mean()) * len(sure) for sure, hits in parts) / len(right)
    assert lines["a"].label == f"a: error {100 * error:.1f} %"
    drawn = [100 * hits.mean() for _, hits in parts if len(hits) >= 10]
    assert lines["a"].y == pytest.approx(drawn)


def test_a_scale_has_agreement_instead_of_confusion(report, scored):
    names = [one.name for one in report.figures if one.name.startswith("stsb")]
    assert names == ["stsb-metric", "stsb-training", "stsb-length", "stsb-agreement"]
    line = figure(report, "stsb-agreement").series[0]
    assert line.x == (0.0, 1.0, 2.5, 4.0, 5.0)  # 3.75 is nearer to 4 by halves, 1.2 to 1
    of_each = [scored.predicted[np.array(scored.gold) == gold] for gold in sorted({*scored.gold})]
    assert line.y == pytest.approx([found.mean() for found in of_each], abs=1e-4)
    assert line.low == pytest.approx([np.percentile(found, 10) for found in of_each], abs=1e-4)
    assert line.high == pytest.approx([np.percentile(found, 90) for found in of_each], abs=1e-4)


def test_validation_losses_of_several_runs_are_drawn_together(tmp_path):
    for name in ("a", "b"):
        made_runs.pretrained(tmp_path / name)
    found = figure(build(find([str(tmp_path)])), "pre-training-validation")
    assert [line.label for line in found.series] == ["a", "b"]
    assert all(line.y == pytest.approx([2.9, 1.9]) for line in found.series)
    alone = build(find([str(tmp_path / "a")]))
    assert "pre-training-validation" not in [one.name for one in alone.figures]


def test_sequence_autoencoders_stand_apart_from_language_models(tmp_path):
    made_runs.pretrained(tmp_path / "lm")
    for name in ("sa", "sb"):
        made_runs.autoencoder(tmp_path / name)
    found = find([str(tmp_path)])
    report = build(found)
    models, apart = (
        [row for (row,) in rows(table(report, name)).values()]
        for name in ("pre-training-runs", "sequence-autoencoders")
    )
    assert [row["run"] for row in models] == ["lm"]
    assert [row["run"] for row in apart] == ["sa", "sb"]
    assert apart[0]["reconstruction perplexity"] == "6.69"
    assert "perplexity" not in apart[0]
    assert seconds(found.pretrained[1]) == pytest.approx(1200 / 64)
    together = figure(report, "reconstruction-validation")
    assert [line.label for line in together.series] == ["sa", "sb"]
    assert "pre-training-validation" not in [one.name for one in report.figures]
    labels = [line.label for one in report.figures for line in one.series]
    assert "validation, whole: reconstruction perplexity 6.7" in labels


def test_curves_of_pretraining(report):
    curve = figure(report, "runs-pretrain-a-loss")
    train, valid = curve.series
    per_update = 8 * 16 / 1e6
    assert train.x == pytest.approx([step * per_update for step in range(2, 41, 2)])
    assert train.y == pytest.approx([4 - step / 20 for step in range(2, 41, 2)])
    assert valid.y == pytest.approx([2.9, 1.9])
    assert valid.label == "validation, whole: perplexity 6.7"
    assert curve.levels == (("token frequencies alone", math.log(20.0)),)
    rate = figure(report, "runs-pretrain-a-learning-rate").series[0]
    assert rate.y == pytest.approx([1e-3 * step for step in range(2, 41, 2)])
    (row,) = rows(table(report, "pre-training-runs"))["runs/pretrain/a"]
    assert row["tokens seen"] == "0.0 M"
    assert row["training"] == "1 min"  # 4,800 tokens at 64 a second
    assert (row["perplexity"], row["unigram perplexity"]) == ("6.69", "20.0")


def test_time_and_size_of_a_run(runs):
    (run,) = find([str(runs / "pretrain" / "a")]).pretrained
    assert seconds(run) == pytest.approx(4800 / 64)  # what is padding takes no time
    block = 2 * 16 + 8 * 24 + 24 + 8 * 8 + 8 + 8 * 32 + 32 + 32 * 8 + 8
    assert num_parameters(lm(run.model)) == (50 + 16) * 8 + block


def test_a_long_curve_is_thinned_by_means():
    assert thin([1.0, 2.0, 3.0, 4.0, 10.0], 3) == (1.5, 3.5, 10.0)
    assert thin([1.0, 2.0], 2) == (1.0, 2.0)


def test_a_folder_may_be_named_twice_and_by_its_parts(runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    found = find(["runs/pretrain/a", "runs/pretrain", "runs/finetune/rte/a/seed-2"])
    paths = [origin.path for origin in found.origins]
    assert paths == ["runs/pretrain/a", "runs/finetune/rte/a/seed-2"]
    absolute = find([str(runs / "pretrain" / "a")])
    assert absolute.origins[0].path == "runs/pretrain/a"
    monkeypatch.chdir(runs / "pretrain" / "a")
    assert find([str(runs / "zero-shot")]).origins[0].path == "…/zero-shot"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("results.json", lambda text: text[:-9], r"results\.json: is damaged"),
        ("results.json", lambda text: "{}", r"results\.json: is damaged, or of another"),
        ("results.json", lambda text: text.replace('"left_out"', '"x"'), "left_out is missing"),
        ("meta.json", lambda text: "{}", "are damaged, or of another version"),
        ("meta.json", lambda text: text[:-9], r"meta\.json: is damaged"),
        ("predictions.tsv", lambda text: text[:-9], r"predictions\.tsv: not predictions of rte"),
        ("config.toml", lambda text: text + "=", r"config\.toml: cannot be read as TOML"),
    ],
)
def test_damaged_runs_are_named(tmp_path, answers, file, damage, message):
    path = made_runs.tuned(tmp_path / "a", "rte", answers[0]) / file
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message) as raised:
        find([str(tmp_path)])
    assert str(tmp_path / "a") in str(raised.value)


def test_runs_without_their_settings_are_named(tmp_path, answers):
    seeds = [made_runs.tuned(tmp_path / "a" / f"seed-{n}", "rte", answers[0]) for n in (1, 2)]
    alone = made_runs.tuned(tmp_path / "b", "rte", answers[0])
    for run in (seeds[1], alone):
        (run / "config.toml").unlink()
    assert find([str(tmp_path)]).left_out == [
        f"…/{tmp_path.name}/a/seed-2: is of a run, but has no config.toml",
        f"…/{tmp_path.name}/b: is of a run, but has no config.toml",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results.json", "0.", "1."),
        ("predictions.tsv", "\t0.", "\t1."),
        ("metrics.jsonl", "1.0", "2.0"),
        ("metrics.jsonl", None, None),
    ],
)
def test_results_that_have_changed_are_named(tmp_path, answers, name, old, new):
    path = made_runs.tuned(tmp_path / "a", "rte", answers[0])
    finish(RunFolder(path))
    find([str(tmp_path)])
    if old is None:
        (path / name).unlink()
    else:
        text = (path / name).read_text()
        (path / name).write_text(text.replace(old, new, 1))
        assert (path / name).read_text() != text
    with pytest.raises(UserError, match=f"{name}: is not as the run wrote it"):
        find([str(tmp_path)])
    finish(RunFolder(path))  # as going on with it does
    find([str(tmp_path)])


def test_settings_that_have_changed_are_named(tmp_path, answers, capsys):
    path = made_runs.tuned(tmp_path / "a", "rte", answers[0])
    run = RunFolder(path)
    run.update_meta(files=file_digests(run))
    find([str(tmp_path)])
    assert "not as the run wrote it" not in capsys.readouterr().err
    run.config.write_text(run.config.read_text() + "# another\n")
    find([str(tmp_path)])
    assert "config.toml: is not as the run wrote it" in capsys.readouterr().err


def test_damaged_records_are_named(tmp_path):
    path = made_runs.pretrained(tmp_path / "a") / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step":')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 23: is damaged"):
        find([str(tmp_path)])


def test_nothing_to_report(tmp_path, runs):
    with pytest.raises(UserError, match="none: no such folder"):
        find([str(tmp_path / "none")])
    with pytest.raises(UserError, match="nothing to report in it"):
        find([str(runs / "pretrain" / "a"), str(tmp_path)])
    with pytest.raises(UserError, match=r"nothing to report in it: .* is not finished"):
        find([str(runs / "pretrain" / "unfinished")])


def test_a_learning_curve_on_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = (sweeps.SeedValue(1, 0.5), sweeps.SeedValue(2, 0.6))
    small = SizeResult(30, 100, 0.55, 0.0707, seeds)
    large = SizeResult(1000, 100, 0.55, 0.0707, seeds, Gain(0.0, -0.01, 0.01))
    curve = LearningCurve("rte", "accuracy", "valid", 60, True, (1, 2), 0.525, (small, large))
    folders = {30: Path("curve/size-30"), 1000: Path("curve/size-1000")}
    drawn, numbers = learning_curve.drawn(curve, folders, "Every size is trained for 5 epochs.")
    drawing.save(Path("curve"), [drawn], [numbers])
    report = build(find(["curve"]))
    (found,) = report.figures
    assert found.title == "rte: accuracy by training rows"
    assert (found.log_x, found.levels) == (True, (("commonest label alone", 52.5),))
    (series,) = found.series
    assert (series.label, series.x, series.y) == ("mean of 2 seeds", (30, 1000), (55.0, 55.0))
    assert series.low == pytest.approx((55 - 10 / math.sqrt(2),) * 2)
    assert series.source == "curve/size-30, curve/size-1000"
    assert found.caption.startswith("From 30 to 1,000 rows accuracy changes by +0.0 ± 1.0 points: ")
    assert "Every size is trained for 5 epochs. THE OFFLINE SAMPLE" in found.caption
    row = rows(table(report, "learning_curve-table"))["curve/size-1000"]
    cells = ["1,000", "55.00 ± 7.07", "+0.00 ± 1.00", "100", "50.00", "60.00"]
    assert list(row[0].values()) == cells
