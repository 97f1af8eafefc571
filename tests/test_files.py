"""Files that may be anything: every kind of damage is one line, and nothing waits for ever."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from gptjax import config
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.task_file import read_task_file
from gptjax.data.text.documents import hash_files
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.errors import UserError
from gptjax.files import DEEPEST, check_regular, parse_json, parse_toml, read_json, read_toml
from gptjax.interchange import hub
from tests.conftest import PREFIX, folder_of_programs


def nested(depth: int, open_: str = "[", close: str = "]") -> str:
    return open_ * depth + close * depth


JSON = {
    "digits": '{"a": ' + "9" * 4301 + "}",
    "lists": nested(20_000),
    "objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "a little too deep": nested(DEEPEST + 1),
    "nothing": "",
    "half": '{"a": [1, 2',
}
TOML = {
    "digits": "a = " + "9" * 4301,
    "64 bits": f"a = {2**63}",
    "hexadecimal": "a = 0x" + "f" * 5000,
    "lists": "a = " + nested(20_000),
    "tables": "a = " + "{a=" * 20_000 + "1" + "}" * 20_000,
    "dotted": ".".join("a" * 20_000) + " = 1",
    "a little too deep": "a = " + nested(DEEPEST),
    "NUL": 'a = "x\\u0000"',
    "no date": "a = 2026-99-99",
    "half": "a = [1,",
}


@pytest.mark.parametrize("name", JSON)
def test_json_that_cannot_be_read(tmp_path, name):
    with pytest.raises(ValueError):  # noqa: PT011 - its text is that of the library
        parse_json(JSON[name])
    file = tmp_path / "a.json"
    file.write_text(JSON[name])
    with pytest.raises(UserError, match=r"a\.json: is damaged, no JSON"):
        read_json(file)


@pytest.mark.parametrize("name", TOML)
def test_toml_that_cannot_be_read(tmp_path, name):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_toml(TOML[name])
    file = tmp_path / "a.toml"
    file.write_text(TOML[name])
    for read in (read_toml, lambda path: config.read_table(path, "file"), read_task_file):
        with pytest.raises(UserError, match=r"a\.toml: cannot be read as TOML"):
            read(file)


def test_what_can_be_read_is():
    assert parse_json(nested(DEEPEST - 1)) == json.loads(nested(DEEPEST - 1))
    assert parse_json('["[", "{", 12345678901234567890123]')[2] == 12345678901234567890123
    assert parse_json(json.dumps(["[{"] * DEEPEST)) == ["[{"] * DEEPEST
    assert parse_toml(f"a = {2**63 - 1}\nb = -{2**63}\nc = 'x'") == {
        "a": 2**63 - 1,
        "b": -(2**63),
        "c": "x",
    }


@pytest.mark.parametrize("name", ["absent", "folder", "latin", "tied"])
@pytest.mark.parametrize("read", [read_json, read_toml])
def test_a_file_that_cannot_be_opened_is_named(tmp_path, name, read):
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}')
    (tmp_path / "tied").symlink_to(tmp_path / "tied")
    with pytest.raises(UserError, match=f"{name}: ") as raised:
        read(tmp_path / name)
    assert ("no such file" in str(raised.value)) == (name == "absent")


def specials(folder: Path) -> dict[str, Path]:
    """A pipe, a socket and a device, of which the first would be waited for."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    found = {"pipe": folder / "pipe", "socket": folder / "socket", "device": Path("/dev/zero")}
    return {name: path for name, path in found.items() if path.exists()}


@pytest.mark.parametrize(
    "read",
    [
        read_json,
        read_toml,
        read_task_file,
        load_tokenizer,
        lambda path: list(read_table(path, _format("json"))),
        lambda path: list(read_table(path, _format("parquet"))),
        lambda path: list(read_table(path, _format(None))),
        lambda path: hash_files(path, [path]),
        hub._read_safetensors,
    ],
)
def test_a_pipe_a_device_or_a_socket_is_no_file(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    for kind, path in specials(Path()).items():
        with pytest.raises(UserError, match=f"{path}: is a {kind}, not a file"):
            read(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    check_regular(tmp_path)
    check_regular(tmp_path / "absent")


def _format(kind):
    from gptjax.data.tables.format import TableFormat

    return TableFormat(kind)


def test_programs_that_a_killed_test_run_has_compiled_are_removed(tmp_path):
    """Those of living ones stay: they hold the lock of their folder."""
    (tmp_path / f"{PREFIX}of-a-dead-process" / "folder").mkdir(parents=True)
    living = [folder_of_programs(tmp_path) for _ in range(2)]
    assert sorted(map(str, tmp_path.iterdir())) == sorted(living)
