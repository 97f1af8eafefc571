"""Text out of bytes and out of cells; every refusal says where."""

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AnyStr, Literal

from gptjax.data.tables.files import open_bytes
from gptjax.errors import UserError

EncodingErrors = Literal["strict", "replace"]

UTF_8 = "utf-8"
BYTE_ORDER_MARK = "\ufeff"
HEAD_BYTES = 1 << 12  # of a file, by which its encoding is told
# Of text in UTF-16 with letters of Europe every second byte is 0.
MOSTLY, HARDLY = 0.6, 0.05
WESTERN = 0.2  # the largest share of letters beyond ASCII
UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # bytes that stand for nothing in cp1252
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
REPLACE = "or put U+FFFD in its place: set `encoding_errors=replace`"


# Delimiters that are hard to write; no line has a line end inside, so that it is one cell.
SPELLINGS = {"tab": "\t", "\\t": "\t", "space": " ", "blank": " ", "none": "\n"}


@dataclass(frozen=True)
class FileReading:
    """How files are read, where they do not say it themselves."""

    encoding: str = UTF_8  # never guessed
    errors: EncodingErrors = "strict"  # of bytes that are no text in it, and of NUL characters
    sheet: str | None = None  # of a spreadsheet; None: the first one
    # Of delimited text. One character; or several, at each of which a line is cut once, in turn.
    delimiter: tuple[str, ...] = ()  # none: the first line tells
    header: bool | None = None  # whether the first row names the columns
    quoting: bool | None = None  # whether quotes enclose cells

    def __post_init__(self) -> None:
        delimiter = tuple(SPELLINGS.get(one.lower(), one) for one in self.delimiter)
        for one in delimiter:
            if len(one) != 1 or one in '"\r\0':
                raise UserError(
                    f"`delimiter={one[:20]}`: a delimiter is one character and no quote, or tab, "
                    "space or none (each line is one text); lines are cut at several in turn"
                )
        if len(delimiter) > 1 and self.quoting:
            raise UserError("`quoting=True`: is for one delimiter; leave it out, or give one")
        object.__setattr__(self, "delimiter", delimiter)
        try:
            found = codecs.lookup(self.encoding)
            codecs.getincrementaldecoder(self.encoding)
            b"a a".decode(self.encoding, "replace")  # refuses those that are not of text
        except (LookupError, ValueError):
            raise UserError(
                f"`encoding={self.encoding}`: no encoding of text has this name; usual ones are "
                "utf-8, utf-16, cp1252, latin-1, shift_jis and gb18030"
            ) from None
        object.__setattr__(self, "encoding", found.name.removesuffix("-sig"))

    @property
    def is_utf8(self) -> bool:
        """Whether it is UTF-8."""
        return self.encoding == UTF_8


READING = FileReading()  # as usual


def read_lines(file: Path, reading: FileReading) -> Iterator[str]:
    """The lines of a file with their ends, decoded one by one so that errors have a position.

    In a file without any LF each CR ends a line, as on old Macs; it is given as LF.
    """
    with open_bytes(file) as stream:
        check_encoding(file, stream, reading)
        if not reading.is_utf8:
            yield from _other_lines(file, stream, reading)
            return
        position = 0
        for number, line in enumerate(_ended(stream, b"\r", b"\n"), start=1):
            try:
                text = line.decode(UTF_8, reading.errors)
            except UnicodeDecodeError as error:
                where = f"{file}: line {number}"
                raise encoding_error(where, reading, position + error.start, file) from error
            yield text if position else text.removeprefix(BYTE_ORDER_MARK)
            position += len(line)


def _other_lines(file: Path, stream: Any, reading: FileReading) -> Iterator[str]:
    """The lines in another encoding, where an end of line is not one byte."""
    number = 0
    with io.TextIOWrapper(stream, reading.encoding, reading.errors, newline="\n") as text:
        try:
            for number, line in enumerate(_ended(text, "\r", "\n"), start=1):
                yield line if number > 1 else line.removeprefix(BYTE_ORDER_MARK)
        except UnicodeDecodeError as error:
            raise encoding_error(f"{file}: after line {number}", reading, None) from error


def _ended(lines: Iterable[AnyStr], old: AnyStr, new: AnyStr) -> Iterator[AnyStr]:
    """The same lines; if there is one, without an end, it is cut after each old end of a line."""
    for number, line in enumerate(lines):
        if number or line.endswith(new) or old not in line:
            yield line
            continue
        parts = line.split(old)
        for part in parts[:-1]:
            yield part + new
        if parts[-1]:
            yield parts[-1]


def check_encoding(file: Path, stream: Any, reading: FileReading) -> None:
    """Refuse a file that evidently is in another encoding: whatever is read would be noise."""
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    named = evident_encoding(head)
    wide = reading.encoding.startswith(("utf-16", "utf-32"))
    if named is not None and not wide:
        raise UserError(f"{file}: is text in {named.upper()}: set `encoding={named}`")
    if wide and named is None and head and b"\0" not in head and _is_utf8(head):
        raise UserError(
            f"{file}: is text in UTF-8, not in {reading.encoding.upper()}: set `encoding=utf-8`"
        )


def evident_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by their byte order mark, or by the zeros of UTF-16; None: neither."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    pairs = len(head) // 2
    if not pairs:
        return None
    first, second = (head[place : 2 * pairs : 2].count(0) / pairs for place in (0, 1))
    if second >= MOSTLY and first <= HARDLY:
        return "utf-16-le"
    return "utf-16-be" if first >= MOSTLY and second <= HARDLY else None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def clean_text(
    text: str, where: str, encoding_errors: EncodingErrors, advice: str = REPLACE
) -> str:
    """The text of a cell, CRLF as LF; ``strict`` refuses NUL and half of a surrogate pair."""
    if "\0" in text and encoding_errors == "strict":
        raise nul_error(f"{where}: character {text.index(chr(0))}", advice)
    text = text.replace("\r\n", "\n").replace("\0", "\ufffd")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        if encoding_errors == "strict":
            raise UserError(
                f"{where}: half of a surrogate pair, which is no text; correct it, {advice}"
            )
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encoding_error(
    where: str, reading: FileReading, position: int | None, file: Path | None = None
) -> UserError:
    """The refusal of a byte that is no text in the encoding; it names the likely one."""
    at = "" if position is None else f" at byte {position}"
    other = f"; {_likely(file)}" if reading.is_utf8 else ""
    return UserError(
        f"{where}: not {reading.encoding.upper()}{at}{other}; convert the file, or put U+FFFD in "
        "the place of such bytes: set `encoding_errors=replace`"
    )


def _likely(file: Path | None) -> str:
    """What the bytes of a file that is not in UTF-8 say about its encoding."""
    head = b""
    if file is not None:
        with open_bytes(file) as stream:
            head = stream.read(HEAD_BYTES * 256)
    high = bytes(byte for byte in head if byte >= 0x80)
    # Of western text most letters are ASCII. Latin-1 has no characters below 0xa0.
    if len(high) <= WESTERN * len(head) and not set(high) & UNDEFINED:
        has = "like those of" if any(byte < 0xA0 for byte in high) else "as in Latin-1 and in"
        return f"its bytes are {has} Windows in the West: set `encoding=cp1252`"
    return (
        "which encoding it has instead cannot be told (gb18030, shift_jis, cp1251, mac_roman, …): "
        "set `encoding`"
    )


def check_not_utf8(file: Path, reading: FileReading) -> None:
    """Refuse a file in UTF-8 for which an encoding of single bytes was named: it would be read
    with wrong letters and without an error.

    Text in another encoding is UTF-8 by chance next to never, unless it is ASCII.
    """
    if reading.is_utf8 or reading.errors != "strict" or reading.encoding.startswith("utf"):
        return
    decoder, beyond = codecs.getincrementaldecoder(UTF_8)(), False
    with open_bytes(file) as stream:
        while block := stream.read(HEAD_BYTES * 16):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return
            beyond = beyond or not block.isascii()
    if beyond and not decoder.getstate()[0]:
        raise UserError(
            f"{file}: is text in UTF-8, not in {reading.encoding.upper()}: set `encoding=utf-8`"
        )


def nul_error(where: str, advice: str = REPLACE) -> UserError:
    """The refusal of a NUL character."""
    return UserError(f"{where} is a NUL character (a binary file?); remove it, {advice}")
