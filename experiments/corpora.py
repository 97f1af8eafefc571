"""The texts of `context_or_knowledge.py`: books with their sentences shuffled, and cut to snippets.

Both have the words of the originals. What is lost is the order of sentences within a book (long
context), or everything beyond a few words (any context).
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from gptjax.data.text.documents import Source
from gptjax.errors import UserError

SNIPPET_WORDS = 21  # 32 tokens of an English novel with 8,000 pieces
_PARAGRAPH = re.compile(r"\n(?:[ \t]*\n)+")


def shuffle_sentences(text: str, seed: int) -> str:
    """The same sentences in a random order, in paragraphs of as many sentences as before.

    Paragraphs are what blank lines separate, or lines where there are none. Sentences are those of
    spaCy's rules for punctuation.

    Raises:
        UserError: spaCy is not installed.
    """
    try:
        import spacy  # of an extra, which only this needs
    except ImportError as error:
        raise UserError(
            f"sentences are told by spaCy, which cannot be imported ({error}); "
            "pip install 'gptjax[openai-text]'"
        ) from None
    separator = "\n\n" if _PARAGRAPH.search(text) else "\n"
    paragraphs = [part.strip() for part in _PARAGRAPH.split(text)]
    if separator == "\n":
        paragraphs = [line.strip() for line in text.splitlines()]
    splitter = spacy.blank("en")
    splitter.add_pipe("sentencizer")
    split = [
        [sentence.text.strip() for sentence in document.sents]
        for document in splitter.pipe(part for part in paragraphs if part)
    ]
    sentences = [sentence for paragraph in split for sentence in paragraph]
    random.Random(seed).shuffle(sentences)
    shuffled, at = [], 0
    for paragraph in split:
        shuffled.append(" ".join(sentences[at : at + len(paragraph)]))
        at += len(paragraph)
    return separator.join(shuffled) + "\n"


def snippets(text: str, words: int = SNIPPET_WORDS) -> list[str]:
    """The text in pieces of so many words."""
    found = re.finditer(rf"(?:\S+\s*){{1,{words}}}", text)
    return [piece.group().strip() for piece in found]


def write_shuffled(books: Source, out: Path, seed: int) -> None:
    """A .jsonl of the same books with their sentences shuffled; nothing if it is there."""
    texts = enumerate("".join(book.chunks) for book in books.documents())
    _write(out, (shuffle_sentences(text, seed + number) for number, text in texts))


def write_snippets(books: Source, out: Path, seed: int, words: int = SNIPPET_WORDS) -> None:
    """A .jsonl of all books' snippets in a random order; nothing if it is there."""

    def mixed() -> Iterator[str]:
        texts = ("".join(book.chunks) for book in books.documents())
        pieces = [piece for text in texts for piece in snippets(text, words)]
        random.Random(seed).shuffle(pieces)
        yield from pieces

    _write(out, mixed())


def _write(out: Path, texts: Iterator[str]) -> None:
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    partial.rename(out)
