"""What is done with the recorded runs, by public commands alone: resumed, measured, reported.

Each step gets a fresh copy of this folder as the current folder, and returns what it found as
plain values. make.py notes them in expected.json, and tests/runs/test_recorded.py compares. The
rows of reports there are without what a report no longer says: perplexities per word above 10,000,
the median and the best of one seed, and a run's path beside a name that leads to it.
"""

import contextlib
import html.parser
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Found = dict[str, Any]


@contextlib.contextmanager
def copied(to: Path) -> Iterator[None]:
    """A copy of the recorded folders, as the current folder."""
    shutil.copytree(HERE, to, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    before = Path.cwd()
    os.chdir(to)
    try:
        yield
    finally:
        os.chdir(before)


def gptjax(*words: str) -> str:
    """Run a command in this process; what it printed on standard output."""
    from gptjax.cli import main

    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = main(list(words))
    assert code == 0, said.getvalue()
    return printed.getvalue()


def _json(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _cells(path: str) -> list[list[str]]:
    """The cells of a TSV, without its head."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


# Tables that reports did not have when this was recorded: of classes, and of texts.
LATER = re.compile(r"-classes$|-most-wrong-")


class _Page(html.parser.HTMLParser):
    """The cells of each row of a page's tables, and the list of runs at its end.

    Headings are left out, minutes, which depend on the machine, and the tables that the earlier
    version did not have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.listed: list[str] = []
        self._texts: list[str] | None = None
        self._at_list = False
        self._new = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._at_list = self._at_list or (tag == "section" and ("id", "runs") in attrs)
        if tag == "figure":
            self._new = LATER.search(dict(attrs).get("id") or "") is not None
        if tag == "tr" and not self._at_list:
            self.rows.append([])
        if tag in ("td", "summary"):
            self._texts = []

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("td", "summary") or self._texts is None:
            return
        text, self._texts = "".join(self._texts), None
        if tag == "td" and not self._at_list and not self._new and not text.endswith(" min"):
            self.rows[-1].append(text)
        if tag == "summary" and self._at_list:
            self.listed.append(text)

    def handle_data(self, data: str) -> None:
        if self._texts is not None:
            self._texts.append(data.strip())


def _report(runs: str) -> Found:
    printed = gptjax("report", "--runs", runs, "--out", "page/report.html", "--pictures")
    page = _Page()
    page.feed(Path("page/report.html").read_text(encoding="utf-8"))
    return {
        "listed": page.listed,
        "rows": [row for row in page.rows if row],
        "left out": [line for line in printed.splitlines() if line.startswith("left out: ")],
        "pictures": sorted(path.name for path in Path("page/report-figures").glob("*.svg")),
    }


def _resumed(run: str, command: str) -> Found:
    """Resume an interrupted run to its end: every loss, its results, and the page of a report.

    Not its parameters: the bias of the attention's keys has no gradient but rounding, which Adam
    blows up, and which changes nothing. The losses would change with any other parameter.
    """
    import gptjax as package

    assert _json(f"{run}/meta.json")["status"] == "interrupted"
    gptjax(command, "--out", run, "--resume", "auto")
    meta, results = _json(f"{run}/meta.json"), _json(f"{run}/results.json")
    lines = Path(f"{run}/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return {
        "status": meta["status"],
        "resumed": len(meta["resumed"]),
        "losses": [[record["split"], record["step"], record["loss"]] for record in records],
        "metrics": results["metrics"],
        "checkpoint": results["checkpoint"],
        "last": package.load(run, "last").step,
        "reported": _report(run)["rows"],
    }


def pretraining() -> Found:
    """The interrupted pre-training run goes on, and writes the same text at its end."""
    run = "interrupted-pretraining"
    found = _resumed(run, "pretrain")
    return {**found, "sample": Path(f"{run}/samples.txt").read_text(encoding="utf-8")}


def finetuning() -> Found:
    """The interrupted fine-tuning run, of a task of one's own, goes on."""
    run = "interrupted-finetuning"
    found = _resumed(run, "finetune")
    predictions = _cells(f"{run}/predictions.tsv")
    return {**found, "predictions": predictions}


def texts() -> Found:
    """Perplexities of a text: of both kinds of model, and of one that was interrupted."""
    found = {}
    for name, run, *more in (
        ("transformer", "pretrained", "--stride", "8"),
        ("interrupted", "interrupted-pretraining", "--checkpoint", "4"),
        ("lstm", "lstm"),
    ):
        out = f"scores-of-{name}"
        gptjax("evaluate", "--run", run, "--data", "data/unseen.txt", *more, "--out", out)
        found[name] = _json(f"{out}/results.json")["metrics"]
    return found


def tasks() -> Found:
    """A fine-tuned run measured, asked for labels, and its head put on the pre-trained run."""
    seed, sst2 = "seeds/seed-2", ("--data", "data/sst2", "--split", "valid")
    gptjax("evaluate", "--run", seed, *sst2, "--out", "measured")
    rows = ("predict", "--data", "data/unlabelled.tsv")
    gptjax(*rows, "--run", seed, "--out", "own.tsv")
    head = ("--run", "pretrained", "--adapter", f"{seed}/adapter.safetensors")
    gptjax(*rows, *head, "--out", "put-on.tsv")
    assert Path("own.tsv").read_bytes() == Path("put-on.tsv").read_bytes()
    own = ("index", "gold", "prediction", "negative", "positive", "tokens")
    compared = gptjax("compare", "seeds", seed, "--resamples", "200")
    return {
        "metrics": _json("measured/results.json")["metrics"],
        "measured": _cells("measured/predictions.tsv"),
        # Then come the columns of the data, which were not kept when this was recorded.
        "new rows": [row[: len(own)] for row in _cells("own.tsv")],
        "compared": [line.split(": ")[1] for line in compared.splitlines()[1:3]],
    }


def zero_shot() -> Found:
    """Questions to both kinds of model without training."""
    sst2 = ("--task", "sst2", "--data", "data/sst2", "--out", "sst2")
    gptjax("zeroshot", "--run", "pretrained", *sst2)
    lambada = ("--task", "lambada", "--data", "data/lambada.jsonl", "--out", "lambada")
    gptjax("zeroshot", "--run", "lstm", *lambada)
    number = {"negative": "0", "positive": "1"}  # which answers were called before
    return {
        "sst2": _json("sst2/results.json")["metrics"],
        "scores": [
            [number.get(cell, cell) for cell in row] for row in _cells("sst2/predictions.tsv")
        ],
        "lambada": _json("lambada/results.json")["metrics"],
    }


def writing() -> Found:
    """What both kinds of model write."""
    words = ("--prompt", "The", "--max-tokens", "16", "--seed", "3")
    return {run: gptjax("generate", "--run", run, *words) for run in ("pretrained", "lstm")}


def sweep() -> Found:
    """The sweep goes on: it is finished, so that no run starts again."""
    runs = [
        path for path in Path("sweep").rglob("*") if path.is_file() and path.parent.name != "sweep"
    ]
    files = [*runs, *Path("sweep").glob("*.log")]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    printed = gptjax("sweep", "sweep.toml")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    lines = [line.strip("* ") for line in printed.splitlines()]
    rows = [line.split() for line in lines if line[:1].isdigit()]
    points = _json("sweep/results.json")["points"]
    keys = ("values", "status", "mean", "values_by_seed")
    return {"table": rows, "points": [{key: point[key] for key in keys} for point in points]}


def report() -> Found:
    """One page of everything that is there; the interrupted runs are left out, and that is said."""
    return _report(".")


STEPS: dict[str, Callable[[], Found]] = {
    step.__name__: step
    for step in (pretraining, finetuning, texts, tasks, zero_shot, writing, sweep, report)
}


def everything(scratch: Path) -> dict[str, Found]:
    """All steps."""
    found = {}
    for name, step in STEPS.items():
        with copied(scratch / name):
            found[name] = step()
    return found
