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
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
REPLACE = "or put U+FFFD in its place: set `encoding_errors=replace`"


@dataclass(frozen=True)
class FileReading:
    """How files are read, where they do not say it themselves."""

    encoding: str = UTF_8  # never guessed
    errors: EncodingErrors = "strict"  # of bytes that are no text in it, and of NUL characters
    sheet: str | None = None  # of a spreadsheet; None: the first one

    def __post_init__(self) -> None:
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
                raise encoding_error(where, reading, position + error.start) from error
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


def encoding_error(where: str, reading: FileReading, position: int | None) -> UserError:
    """The refusal of a byte that is no text in the encoding."""
    at = "" if position is None else f" at byte {position}"
    other = "; name the encoding (that of Windows in the West: set `encoding=cp1252`)"
    return UserError(
        f"{where}: not {reading.encoding.upper()}{at}{other if reading.is_utf8 else ''}; convert "
        "the file, or put U+FFFD in the place of such bytes: set `encoding_errors=replace`"
    )


def nul_error(where: str, advice: str = REPLACE) -> UserError:
    """The refusal of a NUL character."""
    return UserError(f"{where} is a NUL character (a binary file?); remove it, {advice}")
