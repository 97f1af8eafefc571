"""tokenizer.json of an export reads a text as the package does; of a fine-tuned run as its rows."""

import sys

import pytest
import tokenizers

from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
from gptjax.data.tokenizers.tokenizer import VocabularyConfig
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.interchange import tokenizer as hub_tokenizer

WHITE = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()]
# No white space to Python, though some others call it so.
OTHERS = "\u200b\u180e\ufeff\u2060\u200d"
PROSE = "the ship, the red house.\nthe other ship and the thing, then another thing.\n\n"


@pytest.fixture(scope="module")
def sentencepiece_tokenizer():
    settings = VocabularyConfig(character_coverage=1.0)
    return train_sentencepiece([[PROSE * 40]], 300, settings)[0]


@pytest.fixture(params=["gpt1", "gpt1 exact", "gpt2", "sentencepiece"])
def tokenizer(request, gpt1_tokenizer, gpt2_tokenizer, sentencepiece_tokenizer):
    if request.param == "gpt1 exact":
        return Gpt1Tokenizer(gpt1_tokenizer.bpe, "exact")
    return {
        "gpt1": gpt1_tokenizer,
        "gpt2": gpt2_tokenizer,
        "sentencepiece": sentencepiece_tokenizer,
    }[request.param]


def exported(tokenizer, folder, *, specials):
    hub_tokenizer.write(folder, tokenizer, 64, specials=specials)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def untidy():
    """Every white space at both ends, doubled, mixed with others and alone."""
    for white in WHITE:
        yield f"{white}the{white} ship{white}{white}then,{white}the{white}"
    for other in OTHERS:
        yield f"{other}the{other}{other} ship {other}"
    yield "".join(WHITE)
    yield "\r\n the \r\n\r\n ship\t\x1c\u3000\u00a0.\u2028\x85 "
    yield "\n"
    yield ""


def test_a_fine_tuned_run_reads_its_rows(tokenizer, tmp_path):
    theirs = exported(tokenizer, tmp_path, specials=True)
    texts = list(untidy())
    rows = [" ".join(text.split()) for text in texts]
    if isinstance(tokenizer, Gpt1Tokenizer):  # of which the format has the fast mode alone
        tokenizer = Gpt1Tokenizer(tokenizer.bpe, "fast")
    start, delimiter, extract = (tokenizer.size + k for k in range(3))
    for text, row, ids in zip(texts, rows, tokenizer.encode(rows), strict=True):
        expected = [start, *ids, extract]
        assert theirs.encode(text).ids == expected, repr(text)
        assert theirs.encode(row).ids == expected, repr(row)
        pair = [start, *ids, delimiter, *ids, extract]
        assert theirs.encode(text, text).ids == pair, repr(text)


def test_a_language_model_reads_the_text(tokenizer, tmp_path):
    """White space is part of a text: nothing is made uniform there."""
    theirs = exported(tokenizer, tmp_path, specials=False)
    if isinstance(tokenizer, Gpt1Tokenizer):
        tokenizer = Gpt1Tokenizer(tokenizer.bpe, "fast")
    for text in untidy():
        assert (
            theirs.encode(text, add_special_tokens=False).ids
            == tokenizer.encode([text])[0].tolist()
        )
