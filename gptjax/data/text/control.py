"""Refuse what is no text: files with many control characters, or with little else than U+FFFD.

Such a file can be UTF-8 and hold no NUL, and a model would learn noise from it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from gptjax.data.text.documents import Document
from gptjax.errors import UserError

MOST_CONTROL = 0.01  # of the characters; TAB, LF, CR and FF do not count
ALWAYS_ALLOWED = 2  # however short the file: the end of file of DOS, and a slip
# Of the characters; what `encoding_errors=replace` leaves of another encoding is far above it, and
# of Latin-1 text in a European language far below.
MOST_REPLACED = 0.3
_HARMLESS = "\t\n\r\f"
_ASCII = bytes(i for i in (*range(32), 127) if chr(i) not in _HARMLESS)
_OTHERS = "".join(map(chr, range(0x80, 0xA0)))
REPLACED = "\ufffd"


def checked(documents: Iterable[Document]) -> Iterator[Document]:
    """The same documents; each file is judged when it has been read to its end.

    Raises:
        UserError: a file (or other origin) has too many control characters; says what it may be.
    """
    origin, count = "", _Count()
    for document in documents:
        if document.origin != origin:
            count.judge(origin)
            origin, count = document.origin, _Count()
        yield Document(origin, count.over(document.chunks))
    count.judge(origin)


class _Count:
    """Characters of a file: all of them, and those that a text has few of."""

    def __init__(self) -> None:
        self.characters = self.control = self.replaced = 0
        self.kinds: Counter[str] = Counter()

    def over(self, chunks: Iterable[str]) -> Iterator[str]:
        """The same chunks, counted."""
        for chunk in chunks:
            content = chunk.encode(errors="replace")
            found = len(content) - len(content.translate(None, _ASCII))
            if b"\xc2" in content:
                found += sum(map(chunk.count, _OTHERS))
            if found:
                self.kinds.update(c for c in chunk if _is_control(c))
            self.characters += len(chunk)
            self.control += found
            self.replaced += chunk.count(REPLACED)
            yield chunk

    def judge(self, origin: str) -> None:
        """Refuse the file if it is no text."""
        if self.control > max(MOST_CONTROL * self.characters, ALWAYS_ALLOWED):
            raise UserError(
                f"{origin}: {self.control / self.characters:.1%} of its characters are control "
                f"characters, which no text has; it looks like {self._looks_like()}; convert it to "
                "plain text, or name other files"
            )
        if self.replaced > max(MOST_REPLACED * self.characters, ALWAYS_ALLOWED):
            raise UserError(
                f"{origin}: {self.replaced / self.characters:.0%} of its characters are U+FFFD, in "
                "the place of bytes that are not UTF-8; it looks like text in another encoding, or "
                "a binary file; convert it to UTF-8, or name other files"
            )

    def _looks_like(self) -> str:
        ((most, count),) = self.kinds.most_common(1)
        if count < self.control / 2:
            return "a binary file"
        name = f"U+{ord(most):04X}"
        if most == "\x1b":
            return f"the output of a terminal with its colours ({name})"
        if most == "\b":
            return f"a page formatted for a printer or a terminal ({name}, backspaces)"
        if most >= "\x80":
            return f"text that was converted from another encoding than its own ({name})"
        if "\x1c" <= most <= "\x1f" or most in "\x01\x02":
            return f"a table with {name} between its fields"
        return f"a binary file, or text with {name} as a mark of its own"


def _is_control(character: str) -> bool:
    return (character < " " or "\x7f" <= character < "\xa0") and character not in _HARMLESS
