"""Which part of a corpus is held back: whole documents, or the end of one."""

import numpy as np

from gptjax.data.text.cache import EncodedCorpus


def whole_documents(lengths: np.ndarray, fraction: float) -> np.ndarray:
    """Sorted numbers of the documents to hold back; at least one and never all."""
    target = fraction * lengths.sum()
    order = np.random.default_rng(0).permutation(len(lengths))
    order = order[lengths[order] <= 2 * target]
    if not len(order):
        return np.array([np.argmin(lengths)])
    before = np.cumsum(lengths[order]) - lengths[order]
    held = order[before < target]
    return np.sort(held[: len(lengths) - 1])


def last_pieces(data: EncodedCorpus, number: int, begin: float) -> np.ndarray:
    """Where a document's end begins: tokens, bytes and words before it, int64 [3].

    It begins with the last piece that has ``begin`` tokens of the corpus or fewer before it, but
    never with the document's first one: the end of a document of one piece is empty.
    """
    first, last = (data.documents[number - 1] if number else 0), data.documents[number]
    ends = np.asarray(data.pieces[first:last])
    at = int(np.searchsorted(ends[:, 0], begin, side="right")) - 1
    cut: np.ndarray = ends[max(at, 0)]
    return cut


def end_is_better(documents: float, end: float) -> bool:
    """Whether the end of a document is to be held back instead of whole ones.

    Both are what would be held back, as multiples of the share that was asked for.
    """
    if not end or 1 / 2 <= documents <= 2:
        return False
    return bool(abs(np.log(end)) < abs(np.log(documents)))
