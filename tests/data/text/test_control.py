"""Files that are no text are refused as a corpus, with their name and what they look like."""

import json
import random

import pytest

from gptjax.commands import tokenizer as command
from gptjax.data.text.control import checked
from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.documents import Document
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.vocabulary import prepare_tokenizer
from gptjax.data.tokenizers.tokenizer import VocabularyConfig
from gptjax.errors import UserError


def binary(size):
    return bytes(random.Random(0).choices(range(1, 128), k=size))


@pytest.mark.parametrize(
    ("text", "likeness"),
    [
        ("\x1b[31mred\x1b[0m and plain\n", "the output of a terminal with its colours (U+001B)"),
        ("N\bNA\bAM\bME\bE\n", "a page formatted for a printer"),
        ("name\x1fage\x1fplace\n", "a table with U+001F between its fields"),
        ("it\x92s", "text that was converted from another encoding than its own (U+0092)"),
        (binary(500).decode(), "a binary file;"),
        ("one\x0btwo\x0b", "text with U+000B as a mark of its own"),
    ],
)
def test_control_characters_are_refused_by_name(tmp_path, tokenizer, text, likeness):
    (tmp_path / "a.txt").write_text("fine \t\r\n\f" * 100, encoding="utf-8")
    (tmp_path / "b.txt").write_text(text * 50, encoding="utf-8", newline="")
    config = CorpusConfig(data=str(tmp_path))
    out = str(tmp_path / "x.model")
    for attempt in (
        lambda: prepare_whole(config, tokenizer),
        lambda: prepare_tokenizer(VocabularyConfig(), 300, config),
        lambda: command.run(command.TokenizerConfig(data=str(tmp_path), out=out, vocab_size=300)),
    ):
        with pytest.raises(UserError, match=r"b\.txt: [\d.]+% of its characters") as refused:
            attempt()
        assert likeness in str(refused.value)
        assert "\n" not in str(refused.value)


def judge(*documents):
    return ["".join(chunks) for _, chunks in checked(Document(o, iter(c)) for o, c in documents)]


def test_what_a_text_may_have():
    assert judge(("a", ["\t\r\n\f" * 100, "\x1b" + "b" * 99])) == [
        "\t\r\n\f" * 100 + "\x1b" + "b" * 99
    ]
    assert judge(("short", ["a\x1b\x1a"])) == ["a\x1b\x1a"]
    assert judge(("last", ["b" * 990 + "\x7f" * 10])) == ["b" * 990 + "\x7f" * 10]
    with pytest.raises(UserError, match=r"last: 1\.1%"):
        judge(("last", ["b" * 989, "\x7f\x85" * 5, "\x80"]))


def test_a_file_is_judged_whole_and_alone():
    """Rows of a table count together; a bad file is not hidden behind good ones."""
    rows = [("table", ["x" * 99]), ("table", ["\x01"])]
    assert len(judge(*rows)) == 2
    many = [("good", ["x" * 10_000]), ("bad", ["ab\x01"] * 5), ("good too", ["x" * 10_000])]
    with pytest.raises(UserError, match=r"bad: 33\.3%"):
        judge(*many)


def test_rows_of_a_table(tmp_path, tokenizer):
    rows = [json.dumps({"text": f"row {i} \x01\x02\x03"}) for i in range(20)]
    (tmp_path / "x.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.jsonl: .* control characters"):
        prepare_whole(CorpusConfig(data=str(tmp_path / "x.jsonl")), tokenizer)


@pytest.mark.parametrize(
    "content",
    [
        bytes(random.Random(1).choices(range(256), k=5000)),
        "\u4e00\u4e8c\u4e09\u56db".encode("gbk") * 100,
        "plain words in UTF-16".encode("utf-16-le") * 100,
    ],
    ids=["bytes", "gbk", "utf-16"],
)
def test_replaced_bytes_alone_are_no_text(tmp_path, tokenizer, content):
    (tmp_path / "x.txt").write_bytes(content)
    config = CorpusConfig(data=str(tmp_path / "x.txt"), encoding_errors="replace")
    with pytest.raises(UserError, match=r"x\.txt: "):
        prepare_whole(config, tokenizer)


def test_some_replaced_bytes_are_what_was_asked_for(tmp_path, tokenizer):
    (tmp_path / "x.txt").write_bytes("d\xe9j\xe0 vu, un \xe9t\xe9 \0".encode("latin-1") * 50)
    config = CorpusConfig(data=str(tmp_path / "x.txt"), encoding_errors="replace")
    assert prepare_whole(config, tokenizer).num_documents == 1
