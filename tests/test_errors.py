"""What people see of an error."""

import errno
import re
from pathlib import Path

import pytest

import gptjax
from gptjax.errors import (
    LONGEST,
    Interrupted,
    NoCheckpointError,
    UserError,
    as_options,
    explain,
    one_line,
)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("choose another `out`", "choose another --out"),
        ("go on with `resume=auto`", "go on with --resume auto"),
        ("a smaller `train.batch_size`", "a smaller --train.batch-size"),
        ("set `data=train=FILE valid=FILE`", "set --data train=FILE valid=FILE"),
        (
            "begin with `gptjax pretrain --config tiny`",
            "begin with `gptjax pretrain --config tiny`",
        ),
        ("no setting at all", "no setting at all"),
        # What people named themselves stays as it is.
        ("/data/`old`/a.txt: no such file", "/data/`old`/a.txt: no such file"),
        ("unknown label '`yes`'", "unknown label '`yes`'"),
    ],
)
def test_the_command_line_shows_settings_as_options(message, shown):
    assert as_options(message) == shown


def test_the_library_names_no_option():
    """Its messages are for Python too; commands may name options."""
    package = Path(gptjax.__file__).parent
    lower = ("data", "models", "training", "interchange", "runs", "evaluation", "report")
    for folder in lower:
        for file in (package / folder).rglob("*.py"):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                text = line.strip()
                if text.startswith(('"', 'f"', "raise UserError(")) and not text.startswith('"""'):
                    text = re.sub(r"gptjax [a-z]+ --[a-z]+", "", text)  # a whole command
                    assert not re.search(r"(^|[^-])--[a-z]", text), (file, number)


def test_a_message_is_one_line_that_can_be_read():
    many = UserError("what " + "x" * 20_000 + "\nwhere\r\n\x1b[31mand\u2028 what\x00 to do")
    assert str(many).startswith("what xxx")
    assert str(many).endswith(r" where \x1b[31mand what\x00 to do")
    assert len(str(many)) <= LONGEST
    assert one_line("a" * LONGEST) == "a" * LONGEST
    assert one_line("a" * (LONGEST + 1)).count("…") == 1
    assert one_line("caf\u00e9 \u4e2d\u6587 \U0001f600") == "caf\u00e9 \u4e2d\u6587 \U0001f600"
    for kind in (UserError, NoCheckpointError, Interrupted):
        assert str(kind("a\nb")) == "a b"
        assert str(kind(str(many))) == str(many)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "x", "run/a"), "run/a: the disk is full"),
        (OSError(errno.ENOENT, "x", "run/a"), "run/a: no such file"),
        (OSError(errno.ELOOP, "x", "run/a"), "run/a: is a link"),
        (MemoryError("x"), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: x"), "out of device memory"),
    ],
)
def test_errors_of_the_system_are_explained(error, message):
    found = explain(error)
    assert found is not None
    assert found.exit_code == 2
    assert message in str(found)


def test_a_bug_is_not_explained():
    assert explain(KeyError("x")) is None
    assert explain(OSError(errno.EBADF, "x", "run/a")) is None
