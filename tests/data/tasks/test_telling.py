"""Files that are not GLUE's: what is said of them holds; the content tells the rest, or nothing."""

import csv
import io

import pandas as pd
import pytest

from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.splits import Example, hold_back, targets_of
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import with_columns, with_new_columns
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError

NAMED = 'text = "text"\nlabel = "label"'
NUMBERED = "text = 2\nlabel = 1"


def own(columns=NAMED, settings="", labels='["bad", "fine"]'):
    text = f'format = "classification"\nlabels = {labels}\n{settings}\n[columns]\n{columns}\n'
    return parse_task(text, "mine", "mine.toml")


@pytest.fixture
def read(tmp_path):
    def call(content, task, *, name="rows.csv", labels=True, **options):
        """The examples as (texts, number of the class, line), and the notes."""
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        change = with_columns if labels else with_new_columns
        task = change(task, options.get("columns", ()), options.get("unlabelled", ()))
        reading = TableOptions(**options).reading(task.reading)
        split = read_split(file, task, "train", reading=reading, labels=labels)
        rows = [
            (*one.texts, one.target, int(one.where.rpartition("line ")[2]))
            for one in split.examples
        ]
        return rows, [note.removeprefix(f"{file}: ") for note in split.notes], dict(split.dropped)

    return call


def as_told(*what):
    return [f"read {', '.join(what)}, as its content tells"] if what else []


TOLD = {
    "a semicolon": (
        "id;text;label\n1;a, b;bad\n2;c;fine\n",
        NAMED,
        [("a, b", 0, 2), ("c", 1, 3)],
        ['with the delimiter ";"'],
    ),
    "a bar": (
        'text|label\n"a|b"|bad\nc|fine\n',
        NAMED,
        [("a|b", 0, 2), ("c", 1, 3)],
        ['with the delimiter "|"'],
    ),
    "a bar with quotes as characters": (
        'text|label\n"a" b|bad\n"c|fine\n',
        NAMED,
        [('"a" b', 0, 2), ('"c', 1, 3)],
        ['with the delimiter "|"', "with quotes as characters"],
    ),
    "CSV as ever, rows that span lines": (
        'text,label\n"a; ""b""\nx",bad\nc,fine\n',
        NAMED,
        [('a; "b" x', 0, 2), ("c", 1, 4)],
        [],
    ),
    "a TSV of pandas: doubled quotes and a line end": (
        'text\tlabel\n"a ""b"""\tbad\n"c\nd"\tfine\n',
        NAMED,
        [('a "b"', 0, 2), ("c d", 1, 3)],
        ["with quotes around cells"],
    ),
    "a TSV of pandas: a delimiter in a cell": (
        'text\tlabel\n"a\tb"\tbad\nc\tfine\n',
        NAMED,
        [("a b", 0, 2), ("c", 1, 3)],
        ["with quotes around cells"],
    ),
    "a TSV of pandas: everything quoted": (
        '"text"\t"label"\n"a"\t"bad"\n"c"\t"fine"\n',
        NAMED,
        [("a", 0, 2), ("c", 1, 3)],
        ["with quotes around cells"],
    ),
    "a TSV as GLUE has it": (
        'text\tlabel\n"a" b\tbad\nsay "c\tfine\n""\tfine\n',
        NAMED,
        [('"a" b', 0, 2), ('say "c', 1, 3), ('""', 1, 4)],
        [],
    ),
    "a TSV whose quotes happen to fit": (
        'text\tlabel\n"a"\tbad\nc\tfine\n',
        NAMED,
        [('"a"', 0, 2), ("c", 1, 3)],
        [],
    ),
    "no header": (
        'bad,"a, b"\nfine,c\n',
        NUMBERED,
        [("a, b", 0, 1), ("c", 1, 2)],
        ["without a header"],
    ),
    "no header, another delimiter": (
        "bad;a, b\nfine;c, d\nfine;e\n",
        NUMBERED,
        [("a, b", 0, 1), ("c, d", 1, 2), ("e", 1, 3)],
        ['with the delimiter ";"', "without a header"],
    ),
    "no header, a TSV as GLUE has it": (
        'bad\tsay "a\nfine\t"b" c, d\n',
        NUMBERED,
        [('say "a', 0, 1), ('"b" c, d', 1, 2)],
        ["without a header"],
    ),
    "a header, and columns by number": (
        "class,body\nbad,a\nfine,c\n",
        NUMBERED,
        [("a", 0, 2), ("c", 1, 3)],
        ["with a header ('class', 'body')"],
    ),
    "the first label is none": (
        "-,a\nfine,c\n",
        NUMBERED,
        [("c", 1, 2)],
        ["without a header"],
    ),
    "the index of pandas has no name": (
        ",label,text\n0,bad,a\n1,fine,c\n",
        "text = 3\nlabel = 'label'",
        [("a", 0, 2), ("c", 1, 3)],
        [],
    ),
}


@pytest.mark.parametrize(("content", "columns", "rows", "told"), TOLD.values(), ids=TOLD)
def test_the_content_tells(read, content, columns, rows, told):
    found, notes, _ = read(content, own(columns), name="rows.txt")
    assert (found, notes) == (rows, as_told(*told))


def test_published_tasks_and_older_runs_are_read_as_ever(read):
    content = 'sentence\tlabel\n"a ""b"""\t0\nc\t1\n'
    assert read(content, TASKS["sst2"], name="x.tsv")[0] == [('"a ""b"""', 0, 2), ("c", 1, 3)]
    assert (
        read(content, TASKS["sst2"], name="x.tsv", columns=("text=sentence",))[0][0][0] == 'a "b"'
    )
    with pytest.raises(UserError, match="names none of the columns"):
        read("sentence;label\na;0\n", TASKS["sst2"])


REFUSED = {
    "two delimiters fit": (
        "a,b;bad\nc,d;fine\n",
        NUMBERED,
        r'"," cuts it into 2 columns; ";" cuts it into 2 columns: set `delimiter=","`',
    ),
    "rows are not alike": (
        "text;label\na;bad\nc;fine;x\n",
        NAMED,
        r'";" cuts it into 2 to 3 columns \(line 3 is the first that is unlike line 1\): set '
        '`delimiter=";"`',
    ),
    "a header that is missing": (
        "bad,a\nfine,c\n",
        NAMED,
        r"line 1 has no column 'label' or 'text' \(it has 'bad', 'a'\), and column 1 is like a "
        r"label\. .*"
        "Set `header=False`, .* `columns=label=1`",
    ),
    "a column twice": (
        "text,text,label\na,b,bad\n",
        NAMED,
        "line 1 names the column 'text' twice; take one of them by its number",
    ),
    "a number that is too high": (
        "class,body\nbad,a\n",
        "text = 3\nlabel = 1",
        r"no column 3 for the text; it has 'class', 'body', counted from 1|cuts it into 2 columns",
    ),
    "a quote that does not end": ('text,label\n"a,bad\nc,fine\n', NAMED, "set `quoting=False`"),
    "one column for two parts": (
        "text,label\na,bad\n",
        "text = 1\nlabel = 'text'",
        "the column 'text' serves",
    ),
}


@pytest.mark.parametrize(("content", "columns", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_open_to_doubt_is_refused(read, content, columns, message):
    with pytest.raises(UserError, match=message) as refused:
        read(content, own(columns))
    assert "\n" not in str(refused.value)


def test_what_is_said_holds(read):
    assert read(
        "a;bad\nb;fine\n", own("text = 1\nlabel = 2", "header = true\ndelimiter = ';'")
    ) == (
        [("b", 1, 2)],
        [],
        {},
    )
    task = own(settings='delimiter = "tab"\nquoting = false')
    content = 'text\tlabel\n"a ""b"""\tbad\nc\tfine\n'
    assert read(content, task)[0][0] == ('"a ""b"""', 0, 2)
    assert read(content, task, quoting=True)[0][0] == ('a "b"', 0, 2)
    assert read("text\tlabel\na\tbad\n", own(), delimiter=("\\t",))[0] == [("a", 0, 2)]
    # The content tells the rest.
    assert read("text;label\n'a;bad\n", own(), delimiter=(";",)) == ([("'a", 0, 2)], [], {})
    for delimiter, what in {"ab": "ab", '"': '"', "": ""}.items():
        with pytest.raises(UserError, match=f"`delimiter={what}`: a delimiter is one character"):
            own(settings=f"delimiter = '{delimiter}'")
    with pytest.raises(UserError, match=r"quoting=True.*one delimiter"):
        own(settings="delimiter = [':', ' ']\nquoting = true")


def test_lines_that_are_cut_once(read):
    by_blank = own(NUMBERED, 'delimiter = " "')
    assert read("bad a b, c\nfine d\n", by_blank)[0] == [("a b, c", 0, 1), ("d", 1, 2)]
    coarse = own("text = 3\nlabel = 1", 'delimiter = [":", " "]', '["DESC", "HUM"]')
    content = "DESC:manner How : so ?\nHUM:ind Who ?\n"
    assert read(content, coarse)[0] == [("How : so ?", 0, 1), ("Who ?", 1, 2)]
    at_end = own("text = 1\nlabel = 2", 'delimiter = "@"')
    assert read("a @ b@bad\nc@fine\n", at_end)[0] == [("a @ b", 0, 1), ("c", 1, 2)]
    at_start = own(NUMBERED, 'delimiter = "@"')
    assert read("bad@a @ b\nfine@c\n", at_start)[0] == [("a @ b", 0, 1), ("c", 1, 2)]
    # A TAB in some texts: the labels tell where the line is to be cut.
    content = "a\tb\tbad\nc\tfine\n"
    tabs = own("text = 1\nlabel = 2")
    assert read(content, tabs) == (
        [("a b", 0, 1), ("c", 1, 2)],
        as_told("each line cut once at tab", "without a header"),
        {},
    )
    with pytest.raises(UserError, match="tab cuts it into 2 to 3 columns"):
        read(content, tabs, quoting=True)  # then a TAB stands in quotes
    assert read(content, tabs, labels=False)[0] == [("a b", 0, 1), ("c", 1, 2)]
    with pytest.raises(UserError, match="tab cuts it into 2 to 3 columns"):
        read(content.replace("fine", "good"), tabs)
    several = own("text = 3\nlabel = 1", 'delimiter = "^"')
    assert read("bad^x^a\nfine^y^b\n", several)[0] == [("a", 0, 1), ("b", 1, 2)]


def test_texts_without_labels(read):
    lines = "a, b\nc\td\ne\n"
    task = own(NUMBERED)
    first = {"labels": False, "columns": ("text=1",)}
    assert read(lines, task, **first, header=False, delimiter=("none",))[0] == [
        ("a, b", None, 1),
        ("c d", None, 2),
        ("e", None, 3),
    ]
    advice = "one text: set `delimiter=none` `header=False` `columns=text=1`"
    for options in ({"columns": ("text=1",), "header": False}, {}):
        with pytest.raises(UserError, match=advice):
            read(lines, own(), labels=False, **options)
    with pytest.raises(UserError, match="nothing tells whether line 1 has the names"):
        read("a\nb\n", task, **first)
    assert read('text\n"a\nb"\nc\n', own("text = 'text'"), name="x.tsv", labels=False) == (
        [("a b", None, 2), ("c", None, 4)],
        as_told("with quotes around cells"),
        {},
    )
    # What the run says of its own files holds for new ones.
    said = own(NUMBERED, "header = false")
    assert read("a\nb\n", said, **first)[0] == [("a", None, 1), ("b", None, 2)]


def test_what_was_told_is_said_once(tmp_path):
    (tmp_path / "rows.csv").write_text("text;label\na;bad\nb;fine\nc;bad\n")
    split = read_split(tmp_path / "rows.csv", own(), "train")
    rest, held = hold_back(split, own(), "valid")
    assert sum("delimiter" in line for part in (rest, held) for line in part.report()) == 1


def test_columns_as_they_are_typed(read):
    content = 'label,"text,more",text,2\nbad,a,b,c\n'
    for typed, expected in {
        "text,more": "a",
        "text,2": "b c",
        "2": "c",
        "3,1": "b bad",
        "text": "b",
    }.items():
        words = (f"text={typed}", *(("label=label",) if "1" not in typed else ()))
        found, _, _ = read(content, own("", labels='["bad", "b"]'), columns=words)
        assert found[0][0] == expected
    with pytest.raises(UserError, match=r"no column '0'|no column 0"):
        read(content, own(), columns=("text=0",))
    objects = '{"text": "a", "label": "bad"}\n'
    with pytest.raises(UserError, match="a JSON object's columns have names alone"):
        read(objects, own("text = 1"), name="rows.jsonl")
    with pytest.raises(UserError, match="no column '1' for the text; it has 'text', 'label'"):
        read(objects, own(), name="rows.jsonl", columns=("text=1",))


def test_labels_of_every_kind(read):
    rows = "text,label\na,1.0\nb,0\nc,n/a\nd,NULL\n"
    found, _, dropped = read(rows, own(labels="[0, 1]", settings="unlabelled = ['n/a']"),
                             unlabelled=("NULL",))  # fmt: skip
    assert found == [("a", 1, 2), ("b", 0, 3)]
    assert dropped == {"no label, or none that the annotators agreed on": 2}
    objects = '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'
    for labels in ("[false, true]", '["false", "true"]', '["False", "True"]'):
        assert read(objects, own(labels=labels), name="x.json")[0] == [("a", 1, 1), ("b", 0, 2)]
    assert read("text,label\na,TRUE\nb,False\n", own(labels="[false, true]"))[0] == [
        ("a", 1, 2),
        ("b", 0, 3),
    ]
    text = 'format = "classification"\nlabels = [1, 2]\n[label_names]\n1 = "World"\n'
    named = parse_task(text, "mine", "mine.toml")
    assert named.labels == ("World", "2")
    assert read("text,label\na,1\nb,World\nc,2\n", named)[0] == [
        ("a", 0, 2),
        ("b", 0, 3),
        ("c", 1, 4),
    ]
    for names, message in {
        '3 = "x"': "label_names has '3', which is none of the labels: '1', '2'",
        '1 = "2"': "label_names.1: '2' is another label already",
        "1 = 5": "label_names.1 = 5 is no name",
    }.items():
        with pytest.raises(UserError, match=message):
            parse_task(text.replace('1 = "World"', names), "mine", "mine.toml")
    with pytest.raises(UserError, match="'label_names' is a section"):
        parse_task(text.split("[")[0] + "[1, 2]\nlabel_names = 3", "mine", "mine.toml")


@pytest.mark.parametrize(
    ("scores", "points"),
    [
        ("[0, 5]", (0, 1, 2, 3, 4, 5)),
        ("[1, 3.0]", (1, 2, 3)),
        ("[0.5, 2.5]", (0.5, 1.5, 2.5)),
        ("[-1, 1]", (-1, 0, 1)),
        ("[0, 1]", (0, 1)),
        ("[0.0, 0.3]", (0, 0.3)),
        ("[0, 2.6]", (0, 0.8666666667, 1.7333333333, 2.6)),
    ],
)
def test_scales(read, scores, points):
    text = f'format = "similarity"\nscores = {scores}\nmetrics = ["pearson"]\n'
    task = parse_task(text, "mine", "mine.toml")
    assert task.points == points
    assert list(map(type, task.points)) == list(map(type, points))
    low, high = points[0], points[-1]
    middle = low + 0.3 * (high - low)
    content = f"first,second,label\na,b,{low}\na,b,{high}\na,b,{middle}\n"
    found = [row[2] for row in read(content, task)[0]]
    assert found == [low, high, pytest.approx(middle)]
    targets = targets_of([Example(("a", "b"), score, "", 0) for score in found], task)
    assert targets.sum(1) == pytest.approx(1)
    assert targets @ points == pytest.approx(found, abs=1e-6)


def test_encodings_are_named(read):
    content = "text,label\ncaf\u00e9 {},bad\nx,fine\n"
    western = content.format("\u201cx\u201d").encode("cp1252")
    with pytest.raises(UserError, match=r"line 2: not UTF-8 at byte 14.*set `encoding=cp1252`"):
        read(western, own())
    assert read(western, own(), encoding="cp1252")[0][0][0] == "caf\u00e9 \u201cx\u201d"
    assert read(western, own(settings="encoding = 'cp1252'"))[0][0][0].startswith("caf\u00e9")
    with pytest.raises(UserError, match="as in Latin-1 and in Windows"):
        read(content.format("").encode("latin-1"), own())
    with pytest.raises(UserError, match=r"cannot be told .*: set `encoding`"):
        read(("text,label\n" + "\u5f88\u597d" * 20 + ",bad\n").encode("gb18030"), own())
    with pytest.raises(UserError, match="is text in UTF-8, not in CP1252: set `encoding=utf-8`"):
        read(content.format(""), own(), encoding="cp1252")
    assert read("text,label\na,bad\n", own(), encoding="cp1252")[0] == [("a", 0, 2)]
    with pytest.raises(UserError, match="is text in UTF-16: set `encoding=utf-16`"):
        read(content.format("").encode("utf-16"), own())


FRAME = pd.DataFrame(
    {
        "text": ['a "b", c', "d; e|f", "g\nh\ti", "caf\u00e9", "'j", "k"],
        "label": ["bad", "fine", "fine", "bad", "bad", "fine"],
    }
)
PANDAS = {
    "as it is": {},
    "without the index": {"index": False},
    "semicolons": {"index": False, "sep": ";"},
    "bars": {"index": False, "sep": "|"},
    "tabs": {"index": False, "sep": "\t"},
    "tabs and the index": {"sep": "\t"},
    "everything quoted": {"index": False, "quoting": csv.QUOTE_ALL},
    "tabs, everything quoted": {"index": False, "sep": "\t", "quoting": csv.QUOTE_NONNUMERIC},
    "no header": {"index": False, "header": False},
    "no header, semicolons": {"index": False, "header": False, "sep": ";"},
    "no header, tabs": {"index": False, "header": False, "sep": "\t"},
    "UTF-16": {"index": False, "encoding": "utf-16"},
    "cp1252, CRLF": {"index": False, "encoding": "cp1252", "lineterminator": "\r\n"},
    "a byte order mark": {"index": False, "encoding": "utf-8-sig"},
}


@pytest.mark.parametrize("written", PANDAS.values(), ids=PANDAS)
def test_pandas_writes_and_we_read(read, written):
    stream = io.BytesIO()
    FRAME.to_csv(stream, **written)
    columns = "text = 1\nlabel = 2" if written.get("header") is False else NAMED
    encoding = {"encoding": written["encoding"]} if "encoding" in written else {}
    found, _, dropped = read(stream.getvalue(), own(columns), **encoding)
    assert [row[0] for row in found] == [" ".join(text.split()) for text in FRAME["text"]]
    assert [("bad", "fine")[row[1]] for row in found] == list(FRAME["label"])
    first = 1 if written.get("header") is False else 2
    assert [row[2] for row in found] == [
        first,
        first + 1,
        first + 2,
        first + 4,
        first + 5,
        first + 6,
    ]
    assert not dropped
