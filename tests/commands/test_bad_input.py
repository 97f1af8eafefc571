"""What bad input gets: exit 2, and one line that says what, where and what to do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.cli import main
from gptjax.data.text.corpus import prepare
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.errors import UserError
from tests.commands.conftest import TINY, text

RECORDED = Path(__file__).parents[1] / "recorded"
PRETRAIN = ["pretrain", *TINY, "--train.steps", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder, which is also the working directory."""
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache" / "compiled"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    for i in range(3):
        (tmp_path / "books" / f"{i}.txt").write_text(text(i, 60), encoding="utf-8")
    return tmp_path


def refused(capsys, *words: str, code: int = 2) -> str:
    """The one line that a refused command ends with."""
    assert main(words) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("gptjax: ")
    assert "Traceback" not in last
    return last


def test_unknown_command(capsys):
    assert "did you mean 'pretrain'" in refused(capsys, "pretrian")


def test_unknown_option(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", "--train.step", "3"])
    assert caught.value.code == 2
    assert "--train.steps" in capsys.readouterr().err


def test_pretrain_alone_says_how_to_begin(folder, capsys):
    assert main(["pretrain"]) == 2
    said = capsys.readouterr().err
    assert "gptjax pretrain --config tiny" in said
    assert "gptjax pretrain --help" in said
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("command", [("pretrain",), ("finetune", "--task", "snli")])
def test_an_unknown_preset(folder, capsys, command):
    line = refused(capsys, *command, "--config", "tinny")
    assert "did you mean 'tiny'?" in line
    assert "gpt1-1gpu, gpt1-lstm, gpt2, mlstm, reviews, small" in line


def test_unknown_key_in_a_config(folder, capsys):
    (folder / "c.toml").write_text("[train]\nbatch = 3\n")
    line = refused(capsys, "pretrain", "--config", "c.toml")
    assert "c.toml" in line
    assert "train.batch" in line
    assert "batch_size" in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere", ["nowhere"]),
        ("empty", ["empty", ".txt"]),
        ("latin1", ["bad.txt", "byte 5", "--encoding-errors replace"]),
        ("nul", ["nul.txt", "NUL"]),
        ("blank", ["blank", "no text to train a tokenizer on"]),
        ("rows.jsonl", ["rows.jsonl", "'text'", "body"]),
        ("broken.jsonl", ["broken.jsonl", "line 2"]),
    ],
)
def test_bad_text(folder, capsys, data, words):
    (folder / "empty").mkdir()
    for name, content in {
        "latin1/bad.txt": b"caf\xc3\xa9\xe9 and more\n",
        "nul/nul.txt": b"one\x00two\n",
        "blank/blank.txt": b" \n\n ",
    }.items():
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(content)
    (folder / "rows.jsonl").write_text(json.dumps({"body": "x"}) + "\n")
    (folder / "broken.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    line = refused(capsys, *PRETRAIN, "--data", data, "--out", "run")
    for word in words:
        assert word in line
    assert not (folder / "run" / "checkpoints").exists()


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("blank", ["\u3000", "\u00a0", "\u2003"])
def test_a_table_of_blanks_has_neither_rows_nor_text(folder, capsys, blank, ending):
    """Of those that are no ASCII; also beside each other."""
    table = folder / f"blanks.{ending}"
    table.write_text(f"{blank}\n{blank}{blank}\n" * 2, encoding="utf-8")
    run = str(RECORDED / "pretrained")
    words = ("--task", "sst2", "--data", str(table), "--init", run, "--out", "run")
    assert f"blanks.{ending}: is empty" in refused(capsys, "finetune", *words)
    line = refused(capsys, "tokenizer", "--data", str(table), "--out", "t.model")
    assert ("no text to train" if ending == "jsonl" else "no column 'text'") in line
    assert sorted(path.name for path in folder.iterdir()) == [table.name, "books"]


def test_a_corpus_smaller_than_a_batch(folder, capsys):
    line = refused(
        capsys, *PRETRAIN, "--data", "books", "--out", "run", "--train.batch-size", "4000"
    )
    assert "fewer than one batch of 4000" in line
    assert "--train.batch-size" in line


def test_a_batch_that_does_not_divide_by_the_devices(folder, capsys):
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run", "--train.batch-size", "6")
    assert "4 devices" in line
    assert "multiple of 4" in line


def test_a_tokenizer_of_another_size(folder, capsys):
    assert main(["tokenizer", "--data", "books", "--vocab-size", "300", "--out", "t.model"]) == 0
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run", "--tokenizer", "t.model")
    assert "300" in line
    assert "330" in line
    assert "--model.vocabulary-size 300" in line


def test_neither_steps_nor_epochs(folder, capsys):
    line = refused(capsys, "pretrain", *TINY, "--data", "books", "--out", "run")
    assert "exactly one of train.steps and train.epochs" in line


def test_no_write_permission(folder, capsys, monkeypatch):
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Not by the folder's mode: an administrator may write everywhere.
    monkeypatch.setattr(Path, "mkdir", denied)
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "locked/run")
    assert "locked/run: no permission" in line


def test_out_is_a_file(folder, capsys):
    (folder / "run").write_text("")
    assert "is a file" in refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")


def test_a_folder_that_is_not_empty(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "thesis.txt").write_text("do not touch")
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")
    assert "--resume auto" in line
    assert "--overwrite" in line
    assert [path.name for path in (folder / "run").iterdir()] == ["thesis.txt"]


def test_the_resume_word(folder, capsys):
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run", "--resume", "always")
    assert "auto, never, or the number" in line


def test_no_run_to_load(folder, capsys):
    assert "no run folder" in refused(capsys, "generate", "--run", "nowhere")
    assert "no run folder" in refused(capsys, "evaluate", "--run", "nowhere", "--data", "books")


@pytest.fixture
def disk(folder):
    """A file system of its own in the folder `disk`, where one may be mounted."""
    place = folder / "disk"
    place.mkdir()

    def mount(*options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
            pytest.skip("no file system can be mounted here")

    yield mount
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def test_the_disk_of_the_cache_is_full(folder, disk, capsys, monkeypatch):
    """While the text is encoded; what was written of it is removed."""
    disk("size=16k")
    monkeypatch.setenv("GPTJAX_CACHE", "disk")
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")
    assert "cache folder disk: the disk is full" in line
    assert "GPTJAX_CACHE" in line
    assert [path.suffix for path in (folder / "disk").rglob("*") if path.is_file()] == [".lock"]
    assert not (folder / "run").exists()


def test_a_cache_that_fills_at_any_moment(folder, disk):
    """Whatever file is being written: a line, nothing but the lock left; or the whole corpus."""
    for number in range(60):
        (folder / "books" / f"more-{number}.txt").write_text(text(number, 30), encoding="utf-8")
    config = CorpusConfig(data="books", cache="disk")
    tokenizer = load_tokenizer(RECORDED / "pretrained" / "tokenizer")
    disk("size=16k")
    full, train = [], None
    while train is None and len(full) < 30:
        size = round(16 * 1.2 ** len(full))
        subprocess.run(["mount", "-o", f"remount,size={size}k", "disk"], check=True)
        try:
            train, _ = prepare(config, tokenizer)
        except UserError as error:
            full.append(str(error))
            left = [path.suffix for path in (folder / "disk").rglob("*") if path.is_file()]
            assert set(left) <= {".lock"}
    assert len(full) > 8
    assert all("the disk is full" in line for line in full), full
    assert train is not None
    assert train.num_tokens > 0


def test_a_read_only_disk(folder, disk, capsys, monkeypatch):
    """Said before the work: nothing of what these commands need is there."""
    disk("ro")
    run = ("--run", "nowhere", "--data", "nowhere")
    Path("rates.toml").write_text(
        'command = "pretrain"\nsettings.corpus.data = "books"\nsettings.train.steps = 1\n'
        "grid.optimizer.learning_rate = [0.1, 0.2]\n"
    )
    for words in (
        (*PRETRAIN, "--data", "books", "--out", "disk/run"),
        ("finetune", "--task", "sst2", "--init", str(RECORDED / "pretrained"), "--out", "disk/x"),
        ("tokenizer", "--data", "nowhere", "--out", "disk/t.model"),
        ("predict", *run, "--out", "disk/rows.tsv"),
        ("evaluate", *run, "--out", "disk"),
        ("zeroshot", *run, "--task", "cola", "--out", "disk"),
        ("report", "--runs", "nowhere", "--out", "disk/page.html"),
        ("import", "--init", "hf:nowhere", "--out", "disk/run"),
        ("sweep", "rates.toml", "--out", "disk/sweep"),
    ):
        assert ": the file system is read-only" in refused(capsys, *words), words
    monkeypatch.setenv("GPTJAX_CACHE", "disk")
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")
    assert "cache folder disk: cannot be written (Read-only file system)" in line


def test_the_disk_is_full(folder, capsys, monkeypatch):
    """The error of the file system, wherever it comes from, is one line."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "run/config.toml")

    monkeypatch.setattr("gptjax.config.write", full)
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")
    assert "run/config.toml: the disk is full" in line


def test_out_of_device_memory(folder, capsys, monkeypatch):
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.")

    monkeypatch.setattr("gptjax.runs.train.fit", exhausted)
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run")
    for advice in ("--train.batch-size", "--train.accumulate", "--model.rematerialize"):
        assert advice in line


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("gptjax.runs.train.fit", broken)
    with pytest.raises(KeyError):
        main([*PRETRAIN, "--data", "books", "--out", "run"])


HUGE = "1" + "0" * 30


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("train.steps", HUGE, "train.steps is a number of 31 digits"),
        ("train.batch-size", HUGE, "train.batch_size is a number of 31 digits"),
        ("train.batch-size", "1000000000", "a smaller --train.batch-size"),
        ("model.vocabulary-size", "1000000000000", "at most 10,000,000"),
        ("model.width", "100000", "training a model of 120,035,900,000 parameters"),
        ("model.context-length", "10000000000", "at most 2,147,483,647"),
        ("model.num-layers", "10000000", "at most 1,000"),
        ("model.width", "10000000", "which no computer holds"),
        ("checkpoint.keep", HUGE, "checkpoint.keep is a number of 31 digits"),
        ("optimizer.warmup", "3", "optimizer.warmup is 3, but this run has 2 updates"),
        ("corpus.validation-fraction", "0", "--corpus.validation-fraction 0.0"),
        ("corpus.validation-fraction", "nan", "--corpus.validation-fraction nan"),
        ("corpus.validation", "nowhere", "nowhere"),
        ("vocabulary.training-bytes", "0", "vocabulary.training_bytes is 0"),
        ("vocabulary.character-coverage", "2", "vocabulary.character_coverage is 2.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_text_is_read(
    folder, capsys, monkeypatch, option, value, words
):
    def read(*_: object) -> None:
        raise AssertionError("the text is read")

    monkeypatch.setattr("gptjax.commands.pretrain._tokenizer", read)
    line = refused(capsys, *PRETRAIN, "--data", "books", "--out", "run", f"--{option}", value)
    assert words in line
    assert not (folder / "run").exists()


def test_too_many_epochs(folder, capsys):
    words = ("pretrain", *TINY, "--data", "books", "--out", "run", "--train.epochs")
    assert "a number of 31 digits" in refused(capsys, *words, HUGE)
    assert "updates; the most" in refused(capsys, *words, "2147483647")


def test_a_warm_up_in_a_run_of_epochs(folder, capsys):
    words = ("--train.epochs", "1", "--optimizer.warmup", "100000")
    line = refused(capsys, "pretrain", *TINY, "--data", "books", "--out", "run", *words)
    assert "optimizer.warmup is 100000, but this run has" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("evaluate", "--data", "books", "--batch-size", "0"), "--batch-size 0: it must be at"),
        (("evaluate", "--data", "books", "--stride", "-1"), "--stride -1: it must be at least 1"),
        (("evaluate", "--data", "books", "--context", HUGE), "a number of 31 digits"),
        (("predict", "--data", "d", "--out", "o.tsv", "--batch-size", "-1"), "--batch-size -1"),
        (("predict", "--data", "d", "--out", "books"), "books: is a folder"),
        (("predict", "--data", "d", "--out", "/proc/x/o.tsv"), "/proc/x"),
        (("zeroshot", "--task", "cola", "--data", "d", "--batch-size", HUGE), "31 digits"),
        (("zeroshot", "--task", "cola", "--data", "d", "--out", "/proc/x"), "/proc/x: no such"),
        (("evaluate", "--data", "books", "--out", "/proc/x"), "/proc/x: no such file or folder"),
    ],
)
def test_commands_that_open_a_run_look_at_their_options_first(folder, capsys, command, words):
    assert words in refused(capsys, *command, "--run", "nowhere")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tokenizer", "--data", "books", "--out", "t.model", "--vocab-size", "0"), "at least 1"),
        (("tokenizer", "--data", "books", "--out", "/proc/x/t.model"), "/proc/x: no such"),
        (("compare", "a", "b", "--resamples", "0"), "--resamples 0: it must be at least 1"),
        (("compare", "a", "b", "--seed", "-1"), "--seed -1: it must be at least 0"),
        (("finetune", "--task", "snlii"), "snlii"),
        (("finetune",), "--task is missing"),
        (("finetune", "--task", "sst2", "--seeds", "1", "-1"), "--seeds -1: a seed is from 0"),
        ((*PRETRAIN, "--data", "books", "--out", "/proc/x"), "/proc/x: no such file or folder"),
    ],
)
def test_other_commands_do_too(folder, capsys, words, said):
    assert said in refused(capsys, *words)


def test_letters_that_the_terminal_cannot_show(folder):
    """They are escaped, on both streams."""
    (folder / "ä.toml").write_text("[ö]\n", encoding="utf-8")
    code = "from gptjax.cli import main; print(main(['pretrain', '--config', 'ä.toml']), 'é')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
    )
    assert done.stdout.split() == [b"2", b"\\xe9"]
    assert rb"\xe4.toml: cannot be read" in done.stderr
