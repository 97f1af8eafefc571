"""What gptjax does in `use_benchmark.py`. Each function makes one side of a comparison."""

import csv
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import gptjax
from gptjax import cli
from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.settings import CorpusConfig

TASK = """
format = "classification"
labels = ["bad", "good"]
columns = { text = "sentence", label = "label" }
[files]
train = "train.csv"
valid = "valid.csv"
"""


def perplexity(model: str, text: str, stride: int) -> Callable[[int], None]:
    """``gptjax evaluate`` of a book."""
    words = ["evaluate", "--run", f"hf:{model}", "--data", text, "--stride", str(stride)]

    def run(count: int) -> None:
        for _ in range(count):
            _command(words)

    return run


def scoring(model: str, texts: Sequence[str]) -> Callable[[int], float]:
    """`Model.log_probability` of each text."""
    loaded = gptjax.load(f"hf:{model}")

    def run(count: int) -> float:
        for _ in range(count):
            found = loaded.log_probability(texts, batch_size=32)
        return float(found.sum())

    return run


def predicting(model: str, texts: Sequence[str]) -> Callable[[int], int]:
    """`Model.predict` of a model that was fine-tuned for one update."""
    folder = Path(tempfile.mkdtemp())
    (folder / "task.toml").write_text(TASK)
    for split in ("train", "valid"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sentence", "label"])
            rows.writerows((texts[n], ("bad", "good")[n % 2]) for n in range(32))
    _command(
        [
            "finetune",
            *("--task", str(folder / "task.toml"), "--data", str(folder)),
            *("--init", f"hf:{model}", "--out", str(folder / "run")),
            *("--train.steps", "1", "--train.batch-size", "32", "--tracking.no-progress"),
        ]
    )
    tuned = gptjax.load(folder / "run")

    def run(count: int) -> int:
        for _ in range(count):
            answers = tuned.predict(texts)
        return len(answers)

    return run


def encoding(model: str, text: str) -> Callable[[int], int]:
    """The tokens of a corpus, as pre-training prepares it: kept on the disk, with checksums."""
    tokenizer = gptjax.load(f"hf:{model}").tokenizer

    def run(count: int) -> int:
        for _ in range(count):
            with tempfile.TemporaryDirectory() as cache:
                corpus = prepare_whole(CorpusConfig(data=text, cache=cache), tokenizer)
        return corpus.num_tokens

    return run


def _command(words: list[str]) -> None:
    if code := cli.main(words):
        raise RuntimeError(f"gptjax {' '.join(words)}: exit code {code}")
