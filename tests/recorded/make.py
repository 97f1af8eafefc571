"""Make the run folders beside this file again, with the code of commit 414c864.

They were made by that code, before the package was laid out anew, so that the tests can see that
runs of earlier versions are still opened, continued and reported. So this is no test, and it is
not run again for a later version. In a checkout of 414c864 with this folder copied into it:

    python tests/recorded/make.py

It takes two minutes, and writes expected.json too: what that code does with the folders (see
replay.py). The numbers are of jax 0.10.2 on a CPU, with four virtual devices as in the tests.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CODE = HERE.parent.parent

WORDS = (
    *("the", "a", "old", "small", "red", "house", "garden", "river", "ship", "captain"),
    *("letter", "morning", "winter", "light", "door", "walked", "saw", "found", "left"),
)
GOOD, BAD = ("fine", "warm", "bright"), ("dull", "cold", "grim")

MODEL = (
    *("--model.vocabulary-size", "310", "--model.context-length", "24"),
    *("--model.num-layers", "2", "--model.num-heads", "2", "--model.width", "8"),
    *("--model.mlp-width", "8", "--model.initial-std", "0.15"),
    *("--vocabulary.character-coverage", "1.0"),
)
QUICK = ("--tracking.no-tensorboard", "--train.batch-size", "8", "--train.log-every", "2")
PRETRAIN = (
    *("pretrain", "--data", "data/books", *MODEL, *QUICK),
    *("--optimizer.learning-rate", "0.01", "--optimizer.warmup", "0.1"),
)
FINETUNE = ("finetune", "--init", "pretrained", *QUICK)

# `gptjax` that is asked to stop as soon as it has recorded a step.
STOPPED = """
import os, signal, sys
from gptjax.cli import main
from gptjax.training.tracking import Tracker

step, log = int(sys.argv.pop(1)), Tracker.log

def log_and_stop(self, record):
    log(self, record)
    if record["step"] == step:
        os.kill(os.getpid(), signal.SIGTERM)

Tracker.log = log_and_stop
sys.exit(main())
"""

SWEEP = """command = "pretrain"
out = "sweep"

[settings]
data = "data/books"
train.steps = 4
train.batch_size = 8
train.log_every = 1
model.vocabulary_size = 310
model.context_length = 24
model.num_layers = 1
model.num_heads = 2
model.width = 8
model.mlp_width = 8
vocabulary.character_coverage = 1.0
tracking.tensorboard = false
optimizer.warmup = 0.1

[grid]
optimizer.learning_rate = [0.001, 0.01]
"""

TASK = """format = "classification"
labels = ["bad", "good"]

[columns]
text = "review"
label = "mood"

[files]
train = "train.csv"
valid = "valid.csv"
"""


def write_data(folder: Path) -> None:
    """Books, a text to evaluate, reviews as SST-2 and as a task of one's own, a LAMBADA."""
    draw = random.Random(0)

    def sentence(*more: str, least: int = 4, most: int = 8) -> str:
        words = [draw.choice(WORDS) for _ in range(draw.randint(least, most))]
        for word in more:
            words.insert(draw.randint(0, len(words)), word)
        return " ".join(words)

    def review() -> tuple[int, str]:
        label = draw.randrange(2)
        return label, sentence(draw.choice((BAD, GOOD)[label]), least=3, most=5)

    def write(name: str, lines: list[str]) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    for number in range(6):
        mood = draw.choice(GOOD + BAD)
        write(f"books/book{number}.txt", [f"{sentence(mood)}.".capitalize() for _ in range(14)])
    write("unseen.txt", [f"{sentence()}.".capitalize() for _ in range(12)])
    for name, count in (("train", 48), ("dev", 16)):
        rows = [f"{text}\t{label}" for label, text in (review() for _ in range(count))]
        write(f"sst2/{name}.tsv", ["sentence\tlabel", *rows])
    for name, count in (("train", 48), ("valid", 16)):
        rows = [
            f"{text},{('bad', 'good')[label]}" for label, text in (review() for _ in range(count))
        ]
        write(f"mood/{name}.csv", ["review,mood", *rows])
    write("mood/mood.toml", TASK.splitlines())
    write("unlabelled.tsv", ["index\tsentence", *(f"{i}\t{review()[1]}" for i in range(6))])
    write("lambada.jsonl", [json.dumps({"text": sentence("door")}) for _ in range(8)])


def gptjax(*words: str, stop_at: int | None = None) -> None:
    """Run a command here; with ``stop_at`` until it has recorded that step."""
    start = ["-m", "gptjax"] if stop_at is None else ["-c", STOPPED, str(stop_at)]
    print("gptjax", *words, flush=True)
    done = subprocess.run([sys.executable, *start, *words], cwd=HERE, check=False)
    expected = 0 if stop_at is None else 75
    if done.returncode != expected:
        sys.exit(f"ended with {done.returncode} instead of {expected}")


def make() -> None:
    """All folders."""
    for path in HERE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    write_data(HERE / "data")
    (HERE / "sweep.toml").write_text(SWEEP, encoding="utf-8")
    gptjax(*PRETRAIN, "--train.steps", "60", "--out", "pretrained")
    parts = ("--train.steps", "12", "--train.evaluate-every", "4", "--checkpoint.every", "100")
    gptjax(*PRETRAIN, *parts, "--out", "interrupted-pretraining", stop_at=6)
    lstm = ("--model.kind", "lstm", "--model.units", "12", "--model.mlp-width", "None")
    gptjax(*PRETRAIN, *lstm, "--train.steps", "4", "--out", "lstm")
    gptjax(
        *(*FINETUNE, "--task", "data/mood/mood.toml", "--train.epochs", "6"),
        *("--optimizer.learning-rate", "0.01", "--out", "interrupted-finetuning"),
        stop_at=28,
    )
    gptjax(
        *(*FINETUNE, "--task", "sst2", "--data", "data/sst2", "--freeze-backbone"),
        *("--optimizer.learning-rate", "0.05", "--train.epochs", "6"),
        *("--seeds", "1", "2", "--out", "seeds"),
    )
    gptjax("sweep", "sweep.toml")
    gptjax("evaluate", "--run", "pretrained", "--data", "data/unseen.txt", "--out", "text-scores")
    sst2 = ("--data", "data/sst2", "--split", "valid")
    gptjax("evaluate", "--run", "seeds/seed-1", *sst2, "--out", "task-scores")
    gptjax("zeroshot", "--run", "pretrained", "--task", "sst2", *sst2, "--out", "zero-shot")
    tidy()


def tidy() -> None:
    """Leave what is needed: a finished run can be opened without its optimiser's state."""
    for run in ("pretrained", "lstm", "seeds/seed-2"):
        shutil.rmtree(HERE / run / "checkpoints/last")
    for run in [HERE / "seeds/seed-1", *HERE.glob("sweep/*/")]:  # are reported alone
        shutil.rmtree(run / "checkpoints")
    for name in ("sweep/.lock", "sweep/perplexity.png", "sweep/perplexity.svg"):
        (HERE / name).unlink()
    for path in HERE.rglob("commit_success.txt"):  # orbax writes where it was
        path.write_text(path.read_text().replace(f"{HERE}/", ""))


def main() -> None:
    """Make the folders, and note what this code does with them."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "4",
            "HF_HUB_OFFLINE": "1",
            "GPTJAX_CACHE": f"{scratch}/cache",
            "PYTHONPATH": str(CODE),
        }
        make()
        sys.path[:0] = [str(CODE), str(HERE)]
        import replay

        expected = replay.everything(Path(scratch) / "copy")
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
