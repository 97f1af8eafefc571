"""Mutated inputs: every command and every kind of file, changed in a way that nobody meant.

A command ends with a known exit code, and an error is one line. What it does with an input that
happens to be good is not compared with anything here.
"""

import json
import random
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from tests.reliability.commands import fault, forked, in_fork
from tests.reliability.mutate import mutated, mutated_words
from tests.reliability.trials import Found

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
SPECIMENS = "specimens"
BINARY = (".parquet", ".model", ".safetensors", ".npy")
SCHEMAS = """<?xml version="1.0" encoding="utf-8"?>
<collection>
<schema><text><txt1>The ship passed the house because</txt1><pron>it</pron>
<txt2>was fast.</txt2></text><answers><answer>The ship</answer><answer>the house</answer></answers>
<correctAnswer>A</correctAnswer></schema>
<schema><text><txt1>The captain saw the letter before</txt1><pron>he</pron>
<txt2>left.</txt2></text><answers><answer>The captain</answer><answer>the letter</answer></answers>
<correctAnswer>B.</correctAnswer></schema>
</collection>
"""
BLOCKS = """The ship passed the house because it was fast.
it
The ship,the house
The ship

The captain saw the letter before he left.
he
The captain,the letter
The captain
"""


@dataclass(frozen=True)
class Specimen:
    """A command that works, and the files of which one is changed."""

    words: tuple[str, ...]
    files: tuple[str, ...]  # globs
    weight: int = 1  # how often, beside the others; a command that trains takes seconds


def _specimen(words: str, files: str, weight: int = 1) -> Specimen:
    return Specimen(tuple(words.split()), tuple(files.split()), weight)


RUN = "config.toml meta.json metrics.jsonl results.json samples.txt predictions.tsv"
ALL: Sequence[Specimen] = (
    _specimen("tokenizer --data text.txt --vocab-size 280 --out t", "text.txt", 2),
    *(
        _specimen(f"tokenizer --data corpus.{kind} --vocab-size 280 --out t", f"corpus.{kind}", 3)
        for kind in ("jsonl", "json", "csv", "tsv", "parquet")
    ),
    _specimen("pretrain --config run.toml --out run", "run.toml", 4),
    _specimen("pretrain --config run.toml --data corpus.parquet --out run", "corpus.parquet"),
    _specimen("pretrain --config run.toml --out run", "pretrained/tokenizer/tokenizer.model"),
    _specimen("pretrain --out interrupted-pretraining --resume auto", " ".join(
        f"interrupted-pretraining/{name}" for name in RUN.split()
    ), 2),
    _specimen("finetune --out interrupted-finetuning --resume auto", " ".join(
        f"interrupted-finetuning/{name}" for name in (*RUN.split(), "task.toml")
    ), 2),
    _specimen("finetune --config tune.toml --out run", "tune.toml mood.toml", 4),
    *(
        _specimen(
            f"finetune --config tune.toml --data train=mood.{kind} valid=mood.csv --out run",
            f"mood.{kind}",
            2,
        )
        for kind in ("csv", "tsv", "jsonl", "json", "parquet")
    ),
    _specimen("predict --run seeds/seed-2 --data rows.tsv --out x.tsv", "rows.tsv", 2),
    _specimen(
        "predict --run pretrained --data rows.tsv --adapter seeds/seed-2/adapter.safetensors "
        "--out x.tsv",
        "seeds/seed-2/adapter.safetensors",
    ),
    _specimen("evaluate --run pretrained --data text.txt", "text.txt pretrained/*.*", 1),
    _specimen("evaluate --run seeds/seed-2 --data rows.tsv", "rows.tsv seeds/seed-2/*.*", 1),
    _specimen("zeroshot --run pretrained --task winograd --data schemas.xml", "schemas.xml", 4),
    _specimen("zeroshot --run pretrained --task winograd --data schemas.txt", "schemas.txt", 2),
    _specimen("zeroshot --run pretrained --task lambada --data words.jsonl", "words.jsonl", 3),
    _specimen("sweep sweep.toml", "sweep.toml sweep/*.json sweep/*/*.json", 5),
    _specimen("report --runs pretrained --out page.html", "pretrained/*.*", 5),
    _specimen("report --runs seeds --out page.html", "seeds/*.* seeds/*/*.*", 5),
    _specimen("report --runs sweep zero-shot text-scores task-scores --out page.html",
              "sweep/*.* sweep/*/*.* zero-shot/*.* text-scores/*.* task-scores/*.*", 5),
    _specimen("compare seeds seeds/seed-2 --resamples 50",
              "seeds/*.json seeds/*/*.tsv seeds/*/*.toml seeds/*/*.json", 4),
    _specimen("glue-submission seeds/seed-2 --out x.zip", "seeds/seed-2/*.*", 1),
    _specimen("generate --run pretrained --max-tokens 2",
              "pretrained/*.* pretrained/tokenizer/*", 3),
    _specimen("export --run pretrained --out x", "pretrained/*.* pretrained/tokenizer/*", 1),
    _specimen("import --init hf:hub --out x", "hub/*", 3),
    _specimen("generate --run hf:hub --max-tokens 2", "hub/*", 3),
)  # fmt: skip


def prepare(folder: Path) -> None:
    """The files that the commands read, in ``folder``; once for a folder of trials."""
    done = folder / SPECIMENS
    if done.exists():
        return
    temporary = folder / f"{SPECIMENS}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(RECORDED, temporary, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    ended = in_fork(lambda: _write(Path.cwd()), temporary)
    assert ended.code == 0, ended.err
    temporary.rename(done)


def _write(here: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    from gptjax.runs.folder import RunFolder
    from gptjax.runs.identity import finish

    books = [path.read_text() for path in sorted(here.glob("data/books/*"))]
    rows = [line.rsplit(",", 1) for line in (here / "data/mood/train.csv").read_text().splitlines()]
    mood = [{"review": text, "mood": label} for text, label in rows[1:]]
    corpus = [{"id": number, "text": text} for number, text in enumerate(books)]
    for name, table in (("corpus", corpus), ("mood", mood)):
        columns = list(table[0])
        for kind, mark in (("csv", ","), ("tsv", "\t")):
            flat = [[str(row[column]).replace("\n", " ") for column in columns] for row in table]
            lines = [mark.join(columns), *(mark.join(cells) for cells in flat)]
            (here / f"{name}.{kind}").write_text("\n".join(lines) + "\n")
        lines = [json.dumps(row) for row in table]
        (here / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        (here / f"{name}.json").write_text(json.dumps(table, indent=1))
        parquet.write_table(pyarrow.Table.from_pylist(table), here / f"{name}.parquet")
    (here / "text.txt").write_text("\n".join(books))
    (here / "rows.tsv").write_bytes((here / "data/sst2/dev.tsv").read_bytes())
    (here / "words.jsonl").write_bytes((here / "data/lambada.jsonl").read_bytes())
    (here / "schemas.xml").write_text(SCHEMAS)
    (here / "schemas.txt").write_text(BLOCKS)
    task = tomllib.loads((here / "data/mood/mood.toml").read_text())
    task["files"] = {"train": "mood.csv", "valid": "mood.tsv"}
    (here / "mood.toml").write_text(tomli_w.dumps(task))
    run = tomllib.loads((here / "pretrained/config.toml").read_text())
    run["train"] |= {"steps": 1}
    run["vocabulary"]["tokenizer"] = "pretrained/tokenizer"
    (here / "run.toml").write_text(tomli_w.dumps(run))
    tune = {
        "init": "pretrained",
        "train": {"steps": 1, "batch_size": 8},
        "task": {"name": "mood.toml"},
        "tracking": {"tensorboard": False},
    }
    (here / "tune.toml").write_text(tomli_w.dumps(tune))
    _write_hub(here / "hub")
    # The recorded runs are from before runs noted hashes of their results.
    for meta in here.rglob("meta.json"):
        if json.loads(meta.read_text())["status"] == "finished":
            finish(RunFolder(meta.parent))


def _write_hub(folder: Path) -> None:
    """A small GPT-2 of zeros, as the hub has it."""
    import numpy as np
    from safetensors import numpy as safetensors

    from gptjax.data.tokenizers.bpe import END_OF_TEXT
    from gptjax.interchange import hub
    from gptjax.models import convert
    from gptjax.models.transformer import TransformerConfig

    folder.mkdir()
    letters = {chr(code): number for number, code in enumerate(range(33, 127))}
    letters |= {"Ġ": len(letters), "th": len(letters) + 1, END_OF_TEXT: len(letters) + 2}
    (folder / "vocab.json").write_text(json.dumps(letters))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    content = {"model_type": "gpt2", "vocab_size": len(letters), "n_positions": 16, "n_layer": 1}
    content |= {"n_head": 2, "n_embd": 8, "n_inner": None, "activation_function": "gelu_new"}
    (folder / hub.CONFIG).write_text(json.dumps(content))
    config: TransformerConfig = hub.read_config(folder)
    tensors = _tensors(convert, config, np)
    safetensors.save_file(tensors, folder / hub.WEIGHTS)


def _tensors(convert, config, np):  # type: ignore[no-untyped-def]
    params: dict = {}
    for path, shape in convert.shapes(config).items():
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = np.zeros(shape, np.float32)
    return convert.to_hub(params, config)


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """One command on one changed input, in the empty folder ``work``."""
    return changed(draw.choices(ALL, [one.weight for one in ALL])[0], draw, work, folder)


def changed(specimen: Specimen, draw: random.Random, work: Path, folder: Path) -> Found:
    """A command on an input of its own that is changed, or with changed words."""
    shutil.copytree(folder / SPECIMENS, work, dirs_exist_ok=True)
    words, what = list(specimen.words), ""
    if draw.random() < 0.12:
        words = mutated_words(words, draw)
        what = " ".join(word if len(word) < 60 else f"{word[:60]}…" for word in words)
    else:
        files = sorted({file for glob in specimen.files for file in work.glob(glob)})
        file = draw.choice([file for file in files if file.is_file()])
        changed, done = mutated(file.read_bytes(), draw, file.suffix not in BINARY)
        file.write_bytes(changed)
        what = f"{' '.join(words)}, {file.relative_to(work)} ({done})"
    ended = forked(words, work)
    return fault(ended, what) or Found("good", what, str(ended.code))
