import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.text import sources
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError


def read(data, **options):
    """The texts, through the production call."""
    return ["".join(document.chunks) for document in open_source(str(data), **options).documents()]


ROWS = ["one\ntwo", 'he said "no", twice', "caf\u00e9 \U0001f600", ""]


def write(folder, kind, rows=ROWS, column="text"):
    file = folder / f"data.{kind}"
    if kind == "jsonl":
        file.write_text(
            "\n".join(json.dumps({"id": i, column: row}) for i, row in enumerate(rows)) + "\n\n",
            encoding="utf-8",
        )
    elif kind == "parquet":
        parquet.write_table(pa.table({"id": range(len(rows)), column: rows}), file)
    elif kind == "csv":
        quoted = ['"' + row.replace('"', '""') + '"' for row in rows]
        lines = [f"{i},{row}" for i, row in enumerate(quoted)]
        file.write_text("\n".join([f"id,{column}", *lines]), encoding="utf-8")
    elif kind == "tsv":
        lines = [f"{i}\t{row}" for i, row in enumerate(rows)]
        file.write_text("\n".join([f"id\t{column}", *lines]) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_tables(tmp_path, kind):
    file = write(tmp_path, kind)
    assert read(file) == ROWS
    assert read(tmp_path) == ROWS
    with pytest.raises(UserError, match=r"no column 'body'; it has 'id', 'text'"):
        read(file, text_column="body")
    assert read(write(tmp_path, kind, column="body"), text_column="body") == ROWS


def test_tsv_does_not_quote(tmp_path):
    rows = ['"open', "plain", 'in "the" middle']
    assert read(write(tmp_path, "tsv", rows)) == rows


def test_text_files_are_documents_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("not taken", encoding="utf-8")
    (tmp_path / ".hidden.txt").write_text("not taken", encoding="utf-8")
    assert read(tmp_path) == ["first\n", "second"]
    assert read(tmp_path / "notes.md") == ["not taken"]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
def test_decoding_does_not_depend_on_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(sources, "BLOCK_BYTES", block)
    file = tmp_path / "x.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\r\ncaf\xc3\xa9\r \xf0\x9f\x98\x80\r\n\xef\xbb\xbfx\r")
    assert read(file) == ["one\n\ncaf\u00e9\r \U0001f600\n\ufeffx\r"]
    file.write_bytes(b"ok \xc3\xa9\r\nab\xe9cd")
    with pytest.raises(UserError, match=r"x\.txt: not UTF-8 at byte 9;.*replace"):
        read(file)
    assert read(file, encoding_errors="replace") == ["ok \u00e9\nab\ufffdcd"]
    file.write_bytes(b"cut off \xf0\x9f\x98")
    with pytest.raises(UserError, match=r"not UTF-8 at byte 8"):
        read(file)
    file.write_bytes(b"abc\xc3\xa9\0d")
    with pytest.raises(UserError, match=r"x\.txt: byte 5 is a NUL character"):
        read(file)
    assert read(file, encoding_errors="replace") == ["abc\u00e9\ufffdd"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_tables_that_are_not_utf8(tmp_path, kind):
    file = write(tmp_path, kind, ["fine", "abcdef"])
    good = file.read_bytes()
    position = good.index(b"abcdef") + 2
    file.write_bytes(good.replace(b"abcdef", b"ab\xffdef"))
    number = good[:position].count(b"\n") + 1
    message = rf"{file.name}: line {number}: not UTF-8 at byte {position};"
    with pytest.raises(UserError, match=message):
        read(file)
    assert read(file, encoding_errors="replace") == ["fine", "ab\ufffddef"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_nul_in_a_table(tmp_path, kind):
    file = write(tmp_path, kind, ["fine", "a\0b"])
    with pytest.raises(UserError, match=r"(line|row) 2: character 1 is a NUL"):
        read(file)
    assert read(file, encoding_errors="replace") == ["fine", "a\ufffdb"]


def test_rows_are_normalised(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"text": "one\\r\\ntwo"}\r\n{"text": null}\r\n')
    assert read(file) == ["one\ntwo", ""]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', r"x\.jsonl: line 2 is not JSON"),
        ("[1, 2]", r"x\.jsonl: line 2 is not a JSON object"),
        ('{"text": 5}', r"x\.jsonl: line 2: the text column holds a int"),
        ('{"body": "x", "id": 1}', r"x\.jsonl: line 2: no column 'text'; it has 'body', 'id'"),
        ('{"text": "a\\ud83d"}', r"x\.jsonl: line 2: half of a surrogate pair"),
    ],
)
def test_broken_json_lines(tmp_path, line, message):
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message) as refused:
        read(file)
    assert "\n" not in str(refused.value)


def test_half_a_surrogate_pair_can_be_replaced(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"text": "a\\ud83db \\ud83d\\ude00"}\n', encoding="utf-8")
    assert read(file, encoding_errors="replace") == ["a\ufffdb \U0001f600"]


def test_broken_tables(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("id,text\n1,fine\n2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.csv: line 3 has 1 columns"):
        read(file)
    file.write_text('id,text\n1,"open', encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.csv: line 2 is not CSV"):
        read(file)
    file = tmp_path / "x.parquet"
    file.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"x\.parquet: not a readable parquet file"):
        read(file)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"`data=.*missing`: no such file or folder"):
        read(tmp_path / "missing")
    with pytest.raises(UserError, match=r"no file ending in \.txt, .*\.parquet"):
        read(tmp_path)
    write(tmp_path, "csv")
    write(tmp_path, "jsonl")
    with pytest.raises(UserError, match=r"several kinds \(1 csv, 1 json\)"):
        read(tmp_path)


def test_fingerprint_follows_content(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one", encoding="utf-8")
    first = open_source(str(tmp_path)).fingerprint()
    assert open_source(str(tmp_path)).fingerprint() == first
    file.write_text("two", encoding="utf-8")
    second = open_source(str(tmp_path)).fingerprint()
    file.rename(tmp_path / "b.txt")
    assert len({first, second, open_source(str(tmp_path)).fingerprint()}) == 3
