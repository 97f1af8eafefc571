"""Text out of bytes and out of cells; every refusal says where."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from gptjax.errors import UserError
from gptjax.files import open_file

EncodingErrors = Literal["strict", "replace"]

BYTE_ORDER_MARK = "\ufeff"


def read_lines(file: Path, encoding_errors: EncodingErrors) -> Iterator[str]:
    """The lines of a file with their ends, decoded one by one so that errors have a position."""
    position = 0
    with open_file(file) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8", encoding_errors)
            except UnicodeDecodeError as error:
                where = f"{file}: line {number}"
                raise utf8_error(where, position + error.start) from error
            yield text if position else text.removeprefix(BYTE_ORDER_MARK)
            position += len(line)


REPLACE = "or put U+FFFD in its place: set `encoding_errors=replace`"


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


def utf8_error(where: str, position: int) -> UserError:
    """The refusal of a byte that is not UTF-8."""
    return UserError(
        f"{where}: not UTF-8 at byte {position}; convert the file, or put U+FFFD in the place of "
        "such bytes: set `encoding_errors=replace`"
    )


def nul_error(where: str, advice: str = REPLACE) -> UserError:
    """The refusal of a NUL character."""
    return UserError(f"{where} is a NUL character (a binary file?); remove it, {advice}")
