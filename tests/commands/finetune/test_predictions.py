"""What the other commands make of a fine-tuned run."""

import csv
import dataclasses
import json
import re
import shutil
import zipfile

import pytest

from gptjax.cli import main
from gptjax.commands.predict import PredictConfig, check_probability
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.runs.results import Seeds, SplitResult, TaskRun, read_as, write_results
from tests.commands.finetune.common import results, table

pytestmark = pytest.mark.usefixtures("own_cache")


def test_predictions_are_in_file_order_and_say_what_was_measured(tuned, data):
    rows = table(tuned / "predictions.tsv")
    assert rows[0] == ["index", "gold", "prediction", "negative", "positive", "tokens"]
    gold = [line.split("\t")[1] for line in (data / "dev.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(21)]
    assert [row[1] for row in rows[1:]] == [("negative", "positive")[int(x)] for x in gold]
    right = sum(row[1] == row[2] for row in rows[1:])
    assert right / 21 == pytest.approx(results(tuned)["metrics"]["accuracy"])
    for row in rows[1:]:
        scores = dict(zip(rows[0][3:5], map(float, row[3:5]), strict=True))
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
        assert row[2] == max(scores, key=scores.__getitem__)
    assert [row[1] for row in table(tuned / "predictions-test.tsv")[1:]] == [""] * 10


def test_the_most_wrong_rows_and_their_texts(tuned, data, tmp_path, capsys):
    """On a file whose labels are the other way round, so that many are wrong."""
    wrong, out = tmp_path / "wrong.tsv", tmp_path / "wrong"
    head, *lines = (data / "dev.tsv").read_text().splitlines()
    turned = [f"{line[:-1]}{1 - int(line[-1])}" for line in lines]
    wrong.write_text("\n".join([head, *turned]) + "\n")
    words = ["--run", str(tuned), "--data", str(wrong), "--out"]
    assert main(["evaluate", *words, str(out)]) == 0
    told = capsys.readouterr().out
    assert main(["predict", *words, str(tmp_path / "new.tsv")]) == 0
    again = capsys.readouterr().out
    _, *worst = table(out / "most_wrong.tsv")
    _, *rows = table(out / "predictions.tsv")
    gold = {row[0]: float(row[3:5][("negative", "positive").index(row[1])]) for row in rows}
    missed = sorted((gold[row[0]], int(row[0])) for row in rows if row[1] != row[2])
    assert len(missed) > 10
    assert [(float(row[3]), int(row[0])) for row in worst] == missed[:20]
    assert [row[4] for row in worst] == [lines[n].split("\t")[0] for _, n in missed[:20]]
    for said in (told, again):
        shown = said.partition("most wrong, with the probability of gold:\n")[2].splitlines()[:10]
        assert [line.split(":")[0] for line in shown] == [f"  line {n + 2}" for _, n in missed[:10]]
    (_, *own), names = table(tuned / "most_wrong.tsv"), results(tuned)["metrics"]
    assert len(own) == round(21 * (1 - names["accuracy"]))
    assert not (tuned / "most_wrong-test.tsv").exists()


def test_evaluate_and_predict_agree_with_the_run(tuned, data, tmp_path, capsys):
    out = tmp_path / "evaluated"
    words = ["evaluate", "--run", str(tuned), "--split", "valid", "--batch-size", "4"]
    assert main([*words, "--data", str(data), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "on 21 examples" in shown
    assert "  class     examples  precision  recall      F1\n  negative " in shown
    assert results(out)["classes"] == results(tuned)["splits"]["valid"]["classes"]
    assert f"on {data / 'dev.tsv'}: 21 of 21 rows" in shown
    measured = results(out)["data"]
    assert (measured["source"], measured["rows"]) == (str(data / "dev.tsv"), 21)
    assert list(measured["files"]) == ["dev.tsv"]
    assert results(out)["metrics"] == pytest.approx(results(tuned)["metrics"], rel=1e-5)
    assert main(["evaluate", "--run", str(tuned), "--data", str(data), "--split", "tset"]) == 2
    assert "has the splits train, valid, test" in capsys.readouterr().err
    # Of an earlier measurement in the folder nothing stays that is not of this one.
    (out / "task.toml").write_text("of another task")
    assert (out / "most_wrong.tsv").exists()
    hidden = ["--data", str(data / "test.tsv"), "--out", str(out)]
    assert main(["evaluate", "--run", str(tuned), *hidden]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["predictions.tsv", "results.json"]
    (tmp_path / "new.csv").write_text("text,label\nthe red house,\nwalked slowly,?\n")
    words = ["predict", "--run", str(tuned), "--data", str(tmp_path / "new.csv")]
    assert main([*words, "--out", str(tmp_path / "new.tsv")]) == 0
    rows = table(tmp_path / "new.tsv")
    assert [row[2] for row in rows[1:]] == ["negative", "positive"]


def test_predict_keeps_the_input_and_leaves_out_what_is_not_sure(tuned, tmp_path, capsys):
    """Every row once and in order, also one without a text and one without all columns."""
    data, out = tmp_path / "new.csv", tmp_path / "answers.csv"
    texts = ["the red\nhouse", "", "walked, slowly", "a house"]
    notes = ['say "x"', "empty", "", "d"]
    data.write_text(
        "index,note,text,label\n"
        + "".join(
            f'{number},"{note.replace(chr(34), chr(34) * 2)}","{text}",1\n'
            for number, (note, text) in enumerate(zip(notes, texts, strict=True), start=7)
        )
        + "11,short\n"
    )
    words = ["predict", "--run", str(tuned), "--data", str(data), "--out"]
    assert main([*words, str(out)]) == 0
    with out.open(newline="") as file:
        head, *lines = csv.reader(file)
    own = ["index", "gold", "prediction", "negative", "positive", "tokens"]
    assert head == [*own, "input.index", "note", "text", "label"]
    assert [line[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert [line[2] != "" for line in lines] == [True, False, True, True, False]
    assert [line[6:9] for line in lines] == [
        *([str(n), note, text] for n, (note, text) in enumerate(zip(notes, texts, strict=True), 7)),
        ["", "", ""],
    ]
    said = capsys.readouterr().out
    assert "1 left out: an empty text" in said
    assert re.search(r"3 predictions by .*, [\d.,]+ rows per second without compilation", said)
    sure = [max(map(float, line[3:5])) for line in lines if line[2]]
    least = sorted(sure)[1]  # one is below
    answers = tmp_path / "answers.jsonl"
    assert main([*words, str(answers), "--min-probability", f"{least:.6f}"]) == 0
    assert "1 of them (33.3%) are left empty: their probability is below" in capsys.readouterr().out
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    expected = [line[2] or None for line in lines]
    expected[int([line[0] for line in lines if line[2]][sure.index(min(sure))])] = None
    assert [line["prediction"] for line in found] == expected
    assert found[0]["text"] == texts[0]
    for wrong, said in (
        ((str(data),), f"--out {data}: is the file of --data"),
        ((str(out), "--min-probability", "1.1"), "--min-probability 1.1: it must be from 0 to 1"),
        ((str(out), "--min-probability", "nan"), "it must be from 0 to 1"),
        ((str(tmp_path / "a.parquet"),), "a file that ends in .parquet is not written"),
    ):
        assert main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err


def test_scores_have_no_least_probability():
    config = PredictConfig(run="r", data="d", out="o", min_probability=0.5)
    check_probability(config, TASKS["sst2"])
    with pytest.raises(UserError, match=r"--min-probability 0\.5: the answers of stsb are scores"):
        check_probability(config, TASKS["stsb"])
    check_probability(dataclasses.replace(config, min_probability=None), TASKS["stsb"])


def test_labels_in_another_order_are_the_same_labels(tuned, data, tmp_path):
    """They are read by name: WNLI's order is not that of RTE, whose runs are measured on it."""
    own, rows = tmp_path / "reversed.toml", tmp_path / "named.tsv"
    labels = 'format = "classification"\nlabels = ["positive", "negative"]\n'
    own.write_text(f'{labels}[columns]\ntext = "sentence"\nlabel = "label"\n')
    found = table(data / "dev.tsv")
    names = {"label": "label", "0": "negative", "1": "positive"}
    rows.write_text("".join(f"{row[0]}\t{names[row[1]]}\n" for row in found))
    words = ["evaluate", "--run", str(tuned), "--data", str(rows)]
    assert main([*words, "--out", str(tmp_path / "trained")]) == 0
    assert main([*words, "--task", str(own), "--out", str(tmp_path / "own")]) == 0
    accuracies = [results(tmp_path / name)["metrics"]["accuracy"] for name in ("own", "trained")]
    assert accuracies[0] == accuracies[1] > 0.6
    answers = [table(tmp_path / name / "predictions.tsv")[1:] for name in ("own", "trained")]
    assert [row[:3] for row in answers[0]] == [row[:3] for row in answers[1]]


def test_metrics_by_category(tuned, data, tmp_path, capsys):
    """Against a loop over the predictions, in any column that the user names."""
    head, *lines = (data / "dev.tsv").read_text().splitlines()
    kinds = ["a", "b b", "a", "", "c"] * 5
    rows = [f"{line}\t{kind}" for line, kind in zip(lines, kinds, strict=False)]
    file, out = tmp_path / "valid.tsv", tmp_path / "by-kind"
    file.write_text("\n".join([f"{head}\tkind", *rows]) + "\n")
    words = ["evaluate", "--run", str(tuned), "--data", str(file), "--out", str(out)]
    assert main([*words, "--columns", "category=kind"]) == 0
    predictions = table(out / "predictions.tsv")[1:]
    expected = {}
    for kind in ("a", "", "b b", "c"):  # 9, 4, 4 and 4 of 21
        chosen = [row for row, own in zip(predictions, kinds, strict=False) if own == kind]
        accuracy = sum(row[1] == row[2] for row in chosen) / len(chosen)
        expected[kind] = {"examples": len(chosen), "metrics": {"accuracy": accuracy}}
    assert results(out)["categories"] == expected
    assert list(expected) == list(results(out)["categories"])
    shown = capsys.readouterr().out
    assert f"  b b              4    {100 * expected['b b']['metrics']['accuracy']:6.2f}" in shown
    assert "  (none) " in shown
    assert "examples  accuracy" in shown
    assert main(words) == 0
    assert results(out)["categories"] == {}
    assert "examples  accuracy" not in capsys.readouterr().out


def test_a_report_of_these_runs(tuned, pretrained, data, tmp_path, capsys):
    """The files that the commands write are those that the report reads."""
    out, measured = tmp_path / "report.html", tmp_path / "measured"
    sst2 = ["--data", str(data), "--split", "valid"]
    asked = ["zeroshot", "--task", "sst2", "--max-examples", "8", *sst2]
    assert main([*asked, "--run", str(pretrained), "--out", str(measured / "asked")]) == 0
    assert main(["evaluate", "--run", str(tuned), *sst2, "--out", str(measured / "task")]) == 0
    (tmp_path / "book.txt").write_text("the old house walked because the river\n" * 9)
    book = ["--data", str(tmp_path / "book.txt"), "--out", str(measured / "text")]
    assert main(["evaluate", "--run", str(pretrained), *book]) == 0
    capsys.readouterr()
    runs = [str(tuned), str(pretrained), str(measured)]
    assert main(["report", "--runs", *runs, "--out", str(out)]) == 0
    assert "left out" not in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert f"{100 * results(tuned)['metrics']['accuracy']:.2f}" in page
    assert f"{results(pretrained)['metrics']['perplexity']:,.2f}" in page
    assert f"{results(pretrained)['metrics']['unigram_perplexity']:,.1f}" in page
    for name in ("confusion", "calibration", "length"):
        assert f'<figure id="sst2-{name}' in page
    assert f"{100 * results(measured / 'asked')['metrics']['accuracy']:.2f}" in page
    assert f"{results(measured / 'asked')['normalised']:.3f}" in page
    assert f"{results(measured / 'text')['metrics']['perplexity']:,.2f}" in page
    assert results(measured / "task")["metrics"] == pytest.approx(results(tuned)["metrics"])
    assert "measured on sst2" in page


def test_glue_submission(tuned, tmp_path, capsys):
    out = tmp_path / "glue.zip"
    assert main(["glue-submission", str(tuned), "--out", str(out)]) == 0
    assert "not in it yet: AX.tsv, CoLA.tsv" in capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["SST-2.tsv"]
        lines = archive.read("SST-2.tsv").decode().splitlines()
    assert lines[0] == "index\tprediction"
    predicted = [row[2] for row in table(tuned / "predictions-test.tsv")[1:]]
    expected = [f"{i}\t{['negative', 'positive'].index(x)}" for i, x in enumerate(predicted)]
    assert lines[1:] == expected


def test_glue_refusals(tuned, tmp_path, capsys):
    one = read_as(TaskRun, tuned / "results.json")
    several = Seeds(
        task="sst2",
        split="valid",
        examples=1,
        metrics={},
        seeds=(1, 2),
        majority_class_only=(),
        data=one.data,
        splits=(),
    )
    sampled = dataclasses.replace(one.data, sample=True)
    for found, message in [
        (several, "several seeds"),
        (dataclasses.replace(one, data=sampled), "the offline sample"),
        (
            dataclasses.replace(one, splits=(SplitResult("valid", 9, 0, {}),)),
            "has no predictions of test",
        ),
        (
            dataclasses.replace(one, splits=(SplitResult("test", 9, 3, {}),)),
            "3 rows of test were left out",
        ),
    ]:
        folder = tmp_path / "copy"
        shutil.copytree(tuned, folder, dirs_exist_ok=True)
        write_results(folder / "results.json", found)
        assert main(["glue-submission", str(folder), "--out", str(tmp_path / "x.zip")]) == 2
        assert message in capsys.readouterr().err
