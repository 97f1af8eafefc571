"""Content that nobody meant: of files of any kind, and of options."""

import random
import re
from collections.abc import Callable, Sequence

NASTY: Sequence[bytes] = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n\n", b"\t", b'"', b"\\", b"\\u0000"),
    *(b"\\ud800", b"[", b"]", b"{", b"}", b"[[[[", b"]]", b"{}", b"null", b"true", b"NaN"),
    *(b"-Infinity", b"1e999", b"-1", b"0", b"1" * 30, b"9" * 4400, b"0x" + b"f" * 4000, b"2" * 12),
    *(b"[" * 20_000, b'{"a":' * 20_000, b"a." * 5_000, b"x" * 20_000, "é中😀".encode()),
    *("\u2028\u00a0\u3000".encode(), b"../../etc", b"/dev/zero", b"%s%n", b"<!ENTITY a 'b'>"),
    *(b"2026-99-99", b"---", b"#", b"//", b",,,,", b"\x1b[31m", b"<script>", b"${HOME}", b"*"),
)
WHOLE: Sequence[bytes] = (
    *(b"", b"\n", b" ", "\u3000\u00a0\u2003\n".encode() * 9, b"\0" * 64, b"\xff" * 64),
    *(b"[]", b"{}", b"null", b"0", b'""', b"[[]]", b'[{"a": 1}]', b"[" * 20_000, b"{" * 20_000),
    *(b"a = " + b"[" * 20_000, b"PAR1" + b"\0" * 40 + b"PAR1", b"PAR1", b"\x1f\x8b\x08\0\0"),
    *(b"<a/>", b'<?xml version="1.0" encoding="x-none"?><a/>', b"<" * 9, b"\x89PNG\r\n\x1a\n"),
    *(b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b"a" * 20_000, b'{"a": ' + b"7" * 5_000 + b"}"),
)


def mutated(content: bytes, draw: random.Random, text: bool) -> tuple[bytes, str]:
    """Another content, and what was done to it."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_flip, _cut, _remove, _repeat, _zero]
    kinds += [_insert, _replace_number, _replace_word, _swap_lines] if text else [_flip, _garbage]
    name = ""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if draw.random() < 0.04:
            content, done = draw.choice(WHOLE), "whole"
        else:
            kind = draw.choice(kinds)
            content, done = kind(content, draw), kind.__name__.strip("_")
        name += f" {done}"
    return content, name.strip()


def _place(content: bytes, draw: random.Random) -> int:
    return draw.randrange(len(content) + 1)


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    start = _place(content, draw)
    return start, min(len(content), start + 1 + int(2 ** draw.uniform(0, 9)))


def _flip(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    changed = content[place] ^ (1 << draw.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _remove(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:end] + content[start:end] * draw.choice((1, 2, 50)) + content[end:]


def _zero(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + bytes(end - start) + content[end:]


def _garbage(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + draw.choice(NASTY) + content[place:]


def _one_of(content: bytes, draw: random.Random, pattern: bytes) -> bytes:
    found = list(re.finditer(pattern, content))
    if not found:
        return _insert(content, draw)
    match = draw.choice(found)
    return content[: match.start()] + draw.choice(NASTY) + content[match.end() :]


def _replace_number(content: bytes, draw: random.Random) -> bytes:
    return _one_of(content, draw, rb"-?\d+(\.\d+)?")


def _replace_word(content: bytes, draw: random.Random) -> bytes:
    return _one_of(content, draw, rb'"[^"\n]*"|[a-z_]+')


def _swap_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def mutated_words(words: Sequence[str], draw: random.Random) -> list[str]:
    """A command's words with one of them changed, removed or added; the command stays."""
    words = list(words)
    place = draw.randrange(1, len(words) + 1)
    nasty = [
        text.decode("utf-8", "ignore").replace("\0", "") for text in NASTY if len(text) < 9_000
    ]
    kind = draw.randrange(5)
    if kind == 0 and place < len(words):
        del words[place]
    elif kind == 1:
        words.insert(place, draw.choice(nasty))
    elif place < len(words) and kind < 4:
        words[place] = draw.choice(nasty)
    elif place < len(words):
        word = words[place].encode()
        words[place] = _flip(word, draw).decode("utf-8", "replace").replace("\0", "")
    return words
