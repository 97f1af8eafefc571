"""Files of the tasks that only a language model is asked: what is no answer is refused."""

import json

import pytest

from gptjax.data.tasks.zero_shot import read_lambada, read_winograd
from gptjax.errors import UserError

SCHEMA = """<collection><schema>
<text><txt1>The cup is not in the bag because</txt1>
<pron>it</pron><txt2>is too <b>big</b>.</txt2></text>
<answers><answer>The cup</answer><answer>the bag</answer></answers>
<correctAnswer>B.</correctAnswer></schema></collection>"""


def test_a_schema(tmp_path):
    (tmp_path / "a.xml").write_text(SCHEMA)
    (question,) = read_winograd(tmp_path / "a.xml")
    assert question.gold == 1
    assert question.candidates[1] == (
        "The cup is not in the bag because the bag",
        " is too big.",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<correctAnswer>B.</correctAnswer>", ""),
        ("B.", ""),
        ("B.", "AB"),
        ("B.", "C"),
        ("<answer>The cup</answer>", ""),
        ("<answer>The cup</answer>", "<answer/>"),
        ("<pron>it</pron>", "<pron/>"),
        ("is too <b>big</b>.", " "),
    ],
)
def test_a_schema_without_its_parts_is_refused(tmp_path, old, new):
    (tmp_path / "a.xml").write_text(SCHEMA.replace(old, new, 1))
    with pytest.raises(UserError, match=r"a\.xml: schema 1: has no .* A or B") as refused:
        read_winograd(tmp_path / "a.xml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<collection></collection>", "no <schema>"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "is not XML"),
        ("<collection>", "is not XML"),
    ],
)
def test_files_without_schemas(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_winograd(tmp_path / "a.xml")


@pytest.mark.parametrize("value", [["a", "list"], {"a": "b"}, 5, 0.5, True, None, [["x y"]]])
def test_a_text_that_is_none(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one two"}\n' + json.dumps({"text": value}) + "\n")
    message = rf"a\.jsonl: line 2: .*\(the text is a {type(value).__name__}\)"
    with pytest.raises(UserError, match=message):
        read_lambada(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('["one two three"]', "no object"),
        ('"one two three"', "no object"),
        ('{"txt": "one two"}', r"no column 'text'; it has 'txt' \(nearest: 'txt'\)"),
        ("one two three", "no JSON object"),
        ('{"text": "one \\u0000 two"}', "NUL"),
    ],
)
def test_lines_of_json_that_are_no_rows(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=rf"line 1.*{message}"):
        read_lambada(path)
    # In a file of plain text, a line is what it says.
    path = tmp_path / "a.txt"
    path.write_text("[one] two three\n")
    assert read_lambada(path)[0].candidates[0].context == "[one] two"
