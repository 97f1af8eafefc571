"""Documents without the escapes of HTML: ``&amp;`` becomes ``&``."""

import html
import re
from collections.abc import Iterable, Iterator

from gptjax.data.text.documents import Digest, Document, Source

# What may be the beginning of a reference that goes on after the end of a chunk, as `html.unescape`
# reads them.
_BEGUN = re.compile(r"&(#[0-9]*|#[xX][0-9a-fA-F]*|[^\t\n\f <&#;]{0,32})\Z")


def unescaped(chunks: Iterable[str]) -> Iterator[str]:
    """The chunks of a text as `html.unescape` makes them of the whole text."""
    waiting = ""
    for chunk in chunks:
        text = waiting + chunk
        begun = _BEGUN.search(text, max(text.rfind("&"), 0))
        end = begun.start() if begun else len(text)
        waiting = text[end:]
        if end:
            yield html.unescape(text[:end])
    if waiting:
        yield html.unescape(waiting)


class Unescaped:
    """The documents of a source, unescaped. Its fingerprints are those of the source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.total_bytes = source.name, source.total_bytes
        self.left_out = source.left_out

    def fingerprint(self) -> str:
        """See `Source`."""
        return self._source.fingerprint()

    def digest(self) -> Digest:
        """See `Source`."""
        return self._source.digest()

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        for document in self._source.documents():
            yield Document(document.origin, unescaped(document.chunks))
