"""What people see of an error."""

import re
from pathlib import Path

import pytest

import gptjax
from gptjax.errors import as_options


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
