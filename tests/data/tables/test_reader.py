"""Every kind of table as rows, each with its place, its cells or its fault."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.tables.files import read_folder
from gptjax.data.tables.format import TableFormat
from gptjax.data.tables.lines import FileReading
from gptjax.data.tables.reader import read_table
from gptjax.errors import UserError

TASK = TableFormat(known=frozenset({"text", "label"}), ragged=1, last=frozenset({"label"}))
BARE = TableFormat(known=frozenset({"text"}), headerless=("label", "", "text"), ragged=1)


@pytest.fixture
def read(tmp_path):
    def call(name, content, format=TASK):
        """(line or row, cells or fault) of each row."""
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return [
            (row.where.removeprefix(f"{file}: "), row.fault or dict(row.cells))
            for row in read_table(file, format)
        ]

    return call


ONE = {"text": "a", "label": "1"}

TABLES = {
    "a comma in the first line: CSV": ("x.txt", "text,label\na,1\n", [("line 2", ONE)]),
    "a tab in the first line: TSV, also in a .csv": (
        "x.csv",
        "text\tlabel\na,b\t1\n",
        [("line 2", {"text": "a,b", "label": "1"})],
    ),
    "neither: TSV": ("x.txt", "text\na,b\n", [("line 2", {"text": "a,b"})]),
    "but CSV if it is called so": ("x.csv", 'text\n"a,b"\n', [("line 2", {"text": "a,b"})]),
    "byte order mark, CRLF, no end": (
        "x.tsv",
        "\ufefftext\tlabel\r\na\t1\r\na\t1",
        [("line 2", ONE), ("line 3", ONE)],
    ),
    "CRLF in CSV": ("x.csv", '\ufeff"text",label\r\na,1\r\n', [("line 2", ONE)]),
    "quotes of CSV": (
        "x.csv",
        'text,label\n"a ""b"",\nc",1\nd,2\n',
        [("line 2", {"text": 'a "b",\nc', "label": "1"}), ("line 4", {"text": "d", "label": "2"})],
    ),
    "quotes of TSV are characters": (
        "x.tsv",
        'text\tlabel\n"a\t1\nb"\t2\n',
        [("line 2", {"text": '"a', "label": "1"}), ("line 3", {"text": 'b"', "label": "2"})],
    ),
    "blank lines are none and count": (
        "x.tsv",
        "\n \ntext\tlabel\n\n\t\na\t1\n\n",
        [("line 6", ONE)],
    ),
    "blank lines of CSV": (
        "x.csv",
        "text,label\n\n,\na,1\n",
        [
            ("line 3", {"text": "", "label": ""}),
            ("line 4", ONE),
        ],
    ),
    "spaces around a header's names": (
        "x.csv",
        " Text , label\na,1\n",
        [
            ("line 2", {"Text": "a", "label": "1"}),
        ],
    ),
    "a column more, and the last stays last": (
        "x.tsv",
        "text\tlabel\na\tz\t1\n",
        [("line 2", ONE)],
    ),
    "other columns at the end come and go": (
        "x.tsv",
        "label\ttext\tmore\n1\ta\n1\ta\tb\n1\ta\tb\tc\n1\n",
        [
            ("line 2", ONE),
            ("line 3", {**ONE, "more": "b"}),
            ("line 4", {**ONE, "more": "b"}),
            ("line 5", "1 columns instead of 3"),
        ],
    ),
    "too narrow or wide": (
        "x.tsv",
        "text\tlabel\na\na\tb\tc\td\na\t1\n",
        [
            ("line 2", "1 columns instead of 2"),
            ("line 3", "4 columns instead of 2"),
            ("line 4", ONE),
        ],
    ),
    "JSON lines": (
        "x.txt",
        '{"text": "a", "label": "1"}\n\n{"n": null}\r\n',
        [
            ("line 1", ONE),
            ("line 3", {"n": None}),
        ],
    ),
    "a list": (
        "x.json",
        json.dumps([ONE, {"text": 2}], indent=2),
        [
            ("row 0", ONE),
            ("row 1", {"text": 2}),
        ],
    ),
    "rows by name": ("x.json", json.dumps({"k": ONE}), [("line 1: row k", ONE)]),
    "a row of objects is one where another follows": (
        "x.json",
        '{"text": "a"}\n{"k": {"text": "a"}}\n',
        [("line 1", {"text": "a"}), ("line 2", {"k": {"text": "a"}})],
    ),
    "one row": ("x.json", '{"text": "a",\n"label": "1"}', [("x.json", ONE)]),
}


@pytest.mark.parametrize(("name", "content", "expected"), TABLES.values(), ids=TABLES)
def test_tables(read, name, content, expected):
    found = read(name, content)
    assert [(where.rpartition("/")[2], cells) for where, cells in found] == expected


def test_without_a_header(read):
    assert read("x.tsv", "1\t*\ta\n1\t\ta\tb\n1\ta\n", BARE) == [
        ("line 1", ONE),
        ("line 2", ONE),
        ("line 3", "2 columns instead of 3"),
    ]
    with pytest.raises(UserError, match=r"line 1 names none of the columns .* \(text\); correct"):
        read("x.tsv", "1\ta\n", BARE)
    assert read("x.tsv", "id\tx\ttext\n1\t*\ta\n", BARE) == [
        ("line 2", {"id": "1", "x": "*", "text": "a"})
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_one_column(read, kind):
    format = TableFormat(kind, column="text")
    rows = "id,text,text\n1,a,b\n\n2\n3,d,e,f\n"
    content = rows if kind == "csv" else rows.replace(",", "\t")
    assert read("x", content, format) == [
        ("line 2", {"text": "a"}),
        ("line 4", "1 columns, and 'text' is column 2"),
        ("line 5", {"text": "d"}),
    ]
    with pytest.raises(UserError, match=r"x: no column 'text'; it has ' text'"):
        read("x", " text\na\n", format)
    assert read("x", "", format) == []


def test_a_corpus_is_read_to_the_letter(read):
    format = TableFormat("tsv", column="text")
    assert read("x.tsv", "text\tid\n\t\n \t1\n", format) == [
        ("line 2", {"text": ""}),
        ("line 3", {"text": " "}),
    ]
    with pytest.raises(UserError, match="line 2 has a carriage return inside"):
        read("x.tsv", "text\na\rb\n", format)
    assert read("x.tsv", "text\na\rb\n") == [("line 2", {"text": "a\rb"})]


@pytest.mark.parametrize(
    ("name", "good", "bad", "message"),
    [
        ("x.tsv", b"text\tlabel\na\t1\n", b"\xff\t1\n", "line 3: not UTF-8 at byte 15"),
        ("x.csv", b"text,label\na,1\n", b'"b,1\n', r"line 3 is not CSV \("),
        ("x.jsonl", b'{"text": "a", "label": "1"}\n', b'{"text"\n', r"line 2 is not JSON \("),
    ],
)
def test_rows_stream_until_a_fault(tmp_path, name, good, bad, message):
    file = tmp_path / name
    file.write_bytes(good + bad)
    rows = read_table(file, TASK)
    assert next(rows).cells == ONE
    with pytest.raises(UserError, match=message):
        next(rows)


def test_parquet(tmp_path, monkeypatch):
    file = tmp_path / "x"  # told by its content
    monkeypatch.setattr("gptjax.data.tables.reader.BATCH_ROWS", 2)
    text = pa.array(["a", None, "c"])
    broken = pa.array([b"fine", b"fine", b"\xff"]).view(pa.string())
    labels = {"_type": "ClassLabel", "names": ["no", "yes"]}
    names = {"info": {"features": {"label": labels, "text": {"_type": "Value"}}}}
    table = pa.table({"text": text, "label": [1, -1, None]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), file)
    expected = [("a", "yes"), (None, -1), ("c", None)]
    assert [(row.where, row.cells, row.fault) for row in read_table(file, TASK)] == [
        (f"{file}: row {n}", {"text": cell, "label": label}, None)
        for n, (cell, label) in enumerate(expected, start=1)
    ]
    # Of a corpus the one column only: the others are not even decoded.
    parquet.write_table(pa.table({"text": text, "other": broken}), file)
    corpus = TableFormat("parquet", column="text")
    assert [row.cells for row in read_table(file, corpus)] == [
        {"text": "a"},
        {"text": None},
        {"text": "c"},
    ]
    rows = read_table(file, TASK)
    assert [next(rows).where for _ in range(2)] == [f"{file}: row 1", f"{file}: row 2"]
    with pytest.raises(UserError, match="row 3 is not UTF-8"):
        next(rows)
    with pytest.raises(UserError, match=r"no column 'body'; it has 'text', 'other'"):
        next(read_table(file, TableFormat("parquet", column="body")))


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("b.csv", "a/c.csv", ".x.csv", "a/.d/e.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_folder(tmp_path).files == [tmp_path / "a/c.csv", tmp_path / "b.csv"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "mac_roman", "utf-16"])
def test_a_file_of_an_old_mac(read, encoding):
    """Its lines end in CR alone; one LF anywhere, and a CR is what it was."""
    format = TableFormat(reading=FileReading(encoding), known=TASK.known)
    for name, content in {
        "a.csv": 'text,label\rcaf\u00e9,1\r\r"two\rlines",0\r',
        "a.tsv": "text\tlabel\rcaf\u00e9\t1\r\rtwo lines\t0",
        "a.jsonl": '{"text": "caf\u00e9", "label": "1"}\r\r\r{"text": "two lines", "label": "0"}',
    }.items():
        (first, one), (second, two) = read(name, content.encode(encoding), format)
        assert (one, two["label"]) == ({"text": "caf\u00e9", "label": "1"}, "0")
        assert " ".join(two["text"].split()) == "two lines"
        places = {"a.csv": ("line 2", "line 4"), "a.tsv": ("line 2", "line 4")}
        assert (first, second) == places.get(name, ("line 1", "line 4"))
    with pytest.raises(UserError, match=r"line 3: not UTF-8 at byte 13|after line 2"):
        read("a.tsv", b"text\tlabel\ra\r\xff\t1\r", TASK)
    mixed = read("a.tsv", "text\tlabel\na\rb\t1".encode(encoding), format)
    assert mixed == [("line 2", {"text": "a\rb", "label": "1"})]
