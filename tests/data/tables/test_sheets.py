"""Spreadsheets: cells as people see them, rows by the sheet's own numbers."""

import gzip
import zipfile

import pytest

from gptjax.data.tables import sheets
from gptjax.data.tables.format import TableFormat
from gptjax.data.tables.lines import FileReading
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.load import load_task_data
from gptjax.data.tasks.task_file import parse_task
from gptjax.data.text.corpus import open_source_of
from gptjax.data.text.settings import CorpusConfig
from gptjax.errors import UserError
from tests.data.spreadsheets import DATE, TIME, write_ods, write_xlsx

KNOWN = frozenset({"text"})
ROWS = {
    2: ["text", "label", "more"],
    4: ["one", 1, 0.1 + 0.2],
    5: ["two", True, (45000, DATE)],
    6: [12345678901234567890, -3.5, (45000.5, TIME)],
    9: [None, 2**53 - 1, "x"],
}
TASK = 'format = "classification"\nlabels = ["0", "1"]\n'


@pytest.fixture
def book(tmp_path):
    other = {1: ["text", "label"], 2: ["three", 0], 3: ["four", 1]}
    first = {1: ["text"]}
    return write_xlsx(tmp_path / "a.xlsx", ("Old",), Old=first, One=ROWS, Two=other, Empty={})


def rows(path, sheet=None):
    format = TableFormat(reading=FileReading(sheet=sheet), known=KNOWN)
    return [(row.where, row.fault or dict(row.cells)) for row in read_table(path, format)]


def texts(path, **settings):
    source = open_source_of(CorpusConfig(data=str(path), **settings))
    return ["".join(document.chunks) for document in source.documents()]


def test_cells_are_what_people_see(book):
    expected = [
        (4, {"text": "one", "label": "1", "more": "0.3"}),
        (5, {"text": "two", "label": "TRUE", "more": "2023-03-15"}),
        (6, {"text": "1.23456789012346e+19", "label": "-3.5", "more": "2023-03-15 12:00:00"}),
        (9, {"text": "", "label": "9007199254740991", "more": "x"}),
    ]
    assert rows(book) == [(f"{book}: row {number}", cells) for number, cells in expected]


def test_the_first_sheet_that_is_shown_or_the_one_that_is_named(book):
    assert rows(book, "Two") == [
        (f"{book}: row 2", {"text": "three", "label": "0"}),
        (f"{book}: row 3", {"text": "four", "label": "1"}),
    ]
    assert rows(book, "Old") == rows(book, "Empty") == []
    with pytest.raises(UserError, match=r"a\.xlsx: no sheet 'two'; it has 'Old', 'One', 'Two', 'E"):
        rows(book, "two")


def test_a_task_and_a_corpus_read_them(book, tmp_path):
    assert texts(book, sheet="Two") == ["three", "four"]
    assert texts(book)[:2] == ["one", "two"]
    task = parse_task(f'{TASK}sheet = "Two"\nfiles.train = "a.xlsx"', "t", "t")
    data = load_task_data((), task, folder=tmp_path)
    examples = data.splits["train"].examples
    assert [(e.texts, e.target) for e in examples] == [(("three",), 0), (("four",), 1)]
    # What is said in the command comes before what the task file says.
    with pytest.raises(UserError, match="no sheet 'x'"):
        load_task_data((), task, folder=tmp_path, reading=FileReading(sheet="x"))
    book.rename(tmp_path / "train.xlsx")
    named = load_task_data((str(tmp_path),), parse_task(f'{TASK}sheet = "Two"', "t", "t"))
    assert [e.texts for e in named.splits["train"].examples] == [e.texts for e in examples]


def test_in_a_folder_only_if_there_is_nothing_else(book, tmp_path):
    assert texts(tmp_path, sheet="Two") == ["three", "four"]
    (tmp_path / "a.txt").write_text("a")
    assert texts(tmp_path) == ["a"]


def test_packed_and_opendocument(book, tmp_path):
    path = tmp_path / "b.xlsx.gz"
    path.write_bytes(gzip.compress(book.read_bytes()))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.write(book, "inner.xlsx")
    for container in (path, tmp_path / "b.zip"):
        assert rows(container, "Two") == [
            (f"{container}: row {n}", cells)
            for n, (_, cells) in enumerate(rows(book, "Two"), start=2)
        ]
        assert texts(container, sheet="Two") == ["three", "four"]
    ods = write_ods(tmp_path / "c.ods", [["text", "label"], ["five", "1"]])
    assert rows(ods) == [(f"{ods}: row 2", {"text": "five", "label": "1"})]


def test_what_cannot_be_read_is_one_line(book, tmp_path, monkeypatch):
    whole = book.read_bytes()
    contents = {
        "damaged or cut off": whole[:-30],
        "not a spreadsheet that can be read": whole.replace(b"<c ", b"<q "),
        r"not a spreadsheet that can be read \(": sheets.OLD_MAGIC + bytes(600),
    }
    for message, content in contents.items():
        book.write_bytes(content)
        with pytest.raises(UserError, match=message) as refused:
            rows(book)
        assert str(refused.value).startswith(f"{book}: ")
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=r"gone\.xlsx: is not there"):
        list(sheets.sheet_rows(tmp_path / "gone.xlsx", None))
    write_xlsx(book)
    with pytest.raises(UserError, match="a workbook without a sheet"):
        rows(book)


def test_a_panic_of_the_library_is_one_line_and_an_interrupt_stays_one(book, monkeypatch):
    """Its failures are no `Exception`, and those of the person at the keyboard are not either."""
    reason = BaseException("index out of bounds")

    def fail(*_):
        raise reason

    monkeypatch.setattr(sheets, "_sheet_of", fail)
    with pytest.raises(UserError, match="index out of bounds"):
        rows(book)
    reason = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        rows(book)
