"""Folders with links, compressed files, encodings, and JSON over several lines."""

import bz2
import gzip
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet
import pytest

from gptjax.data.tables.files import open_bytes, read_folder
from gptjax.data.tables.format import TableFormat
from gptjax.data.tables.lines import FileReading
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.table import TASKS
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError


def texts(data, **options):
    """The texts of a corpus, through the production call."""
    return ["".join(document.chunks) for document in open_source(str(data), **options).documents()]


@pytest.fixture
def linked(tmp_path):
    """A folder with links to elsewhere, back, to nothing, and files of other kinds."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (data / "a" / "b", elsewhere / "c", data / ".hidden"):
        folder.mkdir(parents=True)
    for name in ("data/1.txt", "data/a/b/2.txt", "elsewhere/3.txt", "elsewhere/c/4.txt"):
        (tmp_path / name).write_text(name)
    for name in ("x.md", "y.MD", "z.py", "LICENSE", ".hidden/5.txt"):
        (data / name).write_text(name)
    (data / "link").symlink_to(elsewhere)
    (data / "a" / "back").symlink_to(data)
    (data / "above").symlink_to(tmp_path)
    (elsewhere / "c" / "self").symlink_to(elsewhere)
    (data / "again").symlink_to(data / "a")
    (data / "one.txt").symlink_to(elsewhere / "3.txt")
    (data / "nothing.txt").symlink_to(tmp_path / "missing")
    (data / "round").symlink_to(data / "round")
    os.mkfifo(data / "pipe.txt")
    return data


def test_linked_folders_are_read_and_what_is_left_out_is_counted(linked):
    source = open_source(str(linked))
    names = ["data/1.txt", "data/a/b/2.txt", "elsewhere/3.txt", "elsewhere/c/4.txt"]
    assert texts(linked) == [*names, "elsewhere/3.txt"]  # a linked file has two names
    assert source.left_out == {
        "broken links": 2,
        "linked folders that are read already": 4,
        "entries that are no files": 1,
        "files of other kinds (no ending, .md, .MD, .py)": 4,
    }
    before = open_source(str(linked), follow_links=False)
    assert before.left_out["linked folders"] == 4
    assert texts(linked, follow_links=False) == [*names[:2], "elsewhere/3.txt"]
    assert texts(linked / "link") == names[2:]  # a link may be the data folder itself


def test_further_endings_are_read_as_text(linked):
    assert texts(linked, suffixes=(".md", "PY")) == [
        *("data/1.txt", "data/a/b/2.txt", "elsewhere/3.txt", "elsewhere/c/4.txt"),
        *("elsewhere/3.txt", "x.md", "y.MD", "z.py"),
    ]
    (linked.parent / "docs").mkdir()
    (linked.parent / "docs" / "a.md").write_text("a")
    with pytest.raises(UserError, match=r"there: 1 files of other kinds \(\.md\).*`suffixes=\.md`"):
        texts(linked.parent / "docs")


def test_a_broken_link_among_a_tasks_files(tmp_path):
    (tmp_path / "a.tsv").symlink_to(tmp_path / "missing")
    with pytest.raises(UserError, match=r"a\.tsv: a link to nowhere"):
        read_split(tmp_path, TASKS["sst2"], "train")


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
CONTENT = {
    "txt": "one\ntwo\n",
    "jsonl": '{"text": "one", "label": 1}\n{"text": "two", "label": 0}\n',
    "csv": 'text,label\n"one",1\ntwo,0\n',
    "tsv": "text\tlabel\none\t1\ntwo\t0\n",
}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("kind", CONTENT)
def test_compressed_files(tmp_path, ending, kind):
    path = tmp_path / f"a.{kind}{ending}"
    path.write_bytes(PACK[ending](CONTENT[kind].encode()))
    expected = [CONTENT["txt"]] if kind == "txt" else ["one", "two"]
    assert texts(path) == texts(tmp_path) == expected
    assert open_source(str(path)).total_bytes is None
    if kind != "txt":
        split = read_split(path, TASKS["sst2"], "train")
        assert [(e.texts, e.target) for e in split.examples] == [(("one",), 1), (("two",), 0)]
    path.write_bytes(PACK[ending](os.urandom(3000).hex().encode())[:-40])
    with pytest.raises(UserError, match=rf"a\.{kind}\{ending}: damaged or cut off") as refused:
        texts(path)
    assert "\n" not in str(refused.value)


def test_several_streams_in_one_file_and_errors_inside(tmp_path):
    for ending, pack in PACK.items():
        path = tmp_path / f"a.txt{ending}"
        path.write_bytes(pack(b"one ") + pack(b"two"))
        assert texts(path) == ["one two"]
        path.write_bytes(pack(b"fine \xff"))
        with pytest.raises(UserError, match="not UTF-8 at byte 5"):
            texts(path)


WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", CONTENT)
def test_wide_encodings_are_named_and_read(tmp_path, name, kind):
    path = tmp_path / f"a.{kind}"
    content = CONTENT[kind].replace("one", "on\u00e9")
    path.write_bytes(content.encode(name))
    for errors in ("strict", "replace"):  # replaced, it would be noise
        with pytest.raises(UserError, match=rf"a\.{kind}: is text in .*set `encoding={name}`"):
            texts(path, encoding_errors=errors)
        if kind != "txt":
            with pytest.raises(UserError, match=f"set `encoding={name}`"):
                read_split(path, TASKS["sst2"], "x", reading=FileReading(errors=errors))
    expected = [content] if kind == "txt" else ["on\u00e9", "two"]
    assert texts(path, encoding=name) == expected
    if kind != "txt":
        split = read_split(path, TASKS["sst2"], "x", reading=FileReading(name))
        assert [example.texts[0] for example in split.examples] == expected
    path.write_text(CONTENT[kind])
    with pytest.raises(UserError, match=r"is text in UTF-8, .*set `encoding=utf-8`"):
        texts(path, encoding=name)


@pytest.mark.parametrize("kind", CONTENT)
def test_encodings_of_one_byte(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    content = CONTENT[kind].replace("one", "caf\u00e9 \u201cno\u201d")
    path.write_bytes(content.encode("cp1252"))
    with pytest.raises(UserError, match=r"not UTF-8 at byte .*`encoding=cp1252`"):
        texts(path)
    assert texts(path, encoding="cp1252")[0].startswith(
        content if kind == "txt" else "caf\u00e9 \u201cno"
    )
    path.write_bytes(content.encode("cp1252") + b"\x81")  # which cp1252 does not have
    with pytest.raises(UserError, match=r"not CP1252"):
        texts(path, encoding="cp1252")


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "", "undefined"])
def test_encodings_that_are_none(tmp_path, name):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UserError, match=rf"`encoding={name}`: no encoding of text"):
        texts(tmp_path, encoding=name)


ROWS = [{"text": "one\n", "n": 1}, {"text": "two", "n": {"text": "x"}}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS, indent=2),
        json.dumps(ROWS),
        "\n\n" + json.dumps(ROWS, indent=2) + "\n",
        json.dumps(ROWS).replace("}, {", "},\n{"),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        json.dumps({"a": ROWS[0], "b": ROWS[1]}, indent=1),
        json.dumps({"a": ROWS[0], "b": ROWS[1]}),
        "".join(json.dumps(row) + "\r\n" for row in ROWS),
    ],
)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_over_several_lines_is_rows(tmp_path, content, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text(content)
    assert texts(path) == ["one\n", "two"]
    rows = [dict(row.cells) for row in read_table(path, TableFormat(known=frozenset({"text"})))]
    assert rows == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 1,\n "data": [{"text": "a"}]}', r"'data' is a list of 1 objects: write"),
        ('[\n{"text": "a"},\n{"text": }\n]', "line 3 is not JSON"),
        ('{"text": "a"}\n[1]\n', "line 2 is not a JSON object"),
        ("[1,\n2]", "row 0 is not a JSON object"),
        ('{"text": "cut\n{"text": "a"}\n', "line 1 is not JSON"),
    ],
)
def test_json_that_is_no_rows_is_called_what_it_is(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        texts(tmp_path)
    assert "a.json" in str(refused.value)


def test_a_nested_text_column(tmp_path):
    rows = [{"meta": {"text": "a"}}, {"meta": {"text": None}}, {"meta": {"text": "c"}}]
    for content, count in {
        "\n".join(map(json.dumps, rows)): 3,
        json.dumps(rows, indent=1): 3,
        json.dumps(rows[0]): 1,  # and no object of rows by name
    }.items():
        (tmp_path / "a.jsonl").write_text(content)
        assert texts(tmp_path, text_column="meta.text") == ["a", "", "c"][:count]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    assert texts(tmp_path / "b.parquet", text_column="meta.text") == ["a", "", "c"]
    with pytest.raises(UserError, match=r"no column 'meta\.txt'; it has 'meta\.text'"):
        texts(tmp_path / "b.parquet", text_column="meta.txt")
    exact = [{"meta.text": "exact", **rows[0]}]
    (tmp_path / "a.jsonl").write_text(json.dumps(exact[0]))
    assert texts(tmp_path / "a.jsonl", text_column="meta.text") == ["exact"]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_a_file_that_disappears_is_named(tmp_path, kind):
    for name in "ab":
        if kind == "parquet":
            table = pa.table({"text": ["one", "two"]})
            pa.parquet.write_table(table, tmp_path / f"{name}.{kind}")
        else:
            (tmp_path / f"{name}.{kind}").write_text(CONTENT[kind])
    documents = open_source(str(tmp_path)).documents()
    next(documents)
    (tmp_path / f"b.{kind}").unlink()
    with pytest.raises(UserError, match=rf"b\.{kind}: is not there \(any more\)"):
        [list(document.chunks) for document in documents]


def test_a_file_that_cannot_be_read_any_more(tmp_path):
    (tmp_path / "a.txt").write_text("a")

    def read():
        with open_bytes(tmp_path / "a.txt"):
            raise OSError(5, "Input/output error")  # as a read does

    with pytest.raises(UserError, match=r"a\.txt: cannot be read \(Input/output error\)"):
        read()


def test_order_is_that_of_paths(tmp_path):
    for name in ("b/1.txt", "b.txt", "a b/2.txt", "B.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert read_folder(tmp_path).files == sorted(tmp_path.rglob("*.txt"))
