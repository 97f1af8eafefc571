"""How often each token occurs, and the perplexity of knowing no more than that."""

import numpy as np

from gptjax.data.text.corpus import Corpus
from gptjax.data.text.windows import stretches

COUNT_BLOCK = 1 << 22


def token_counts(corpus: Corpus) -> np.ndarray:
    """How often each id occurs in the text, int64 [V]; context-only tokens not counted."""
    counts = np.zeros(corpus.vocabulary_size, np.int64)
    for start, end in stretches(corpus):
        for block in range(start, end, COUNT_BLOCK):
            part = corpus.tokens[block : min(block + COUNT_BLOCK, end)]
            counts += np.bincount(part, minlength=corpus.vocabulary_size)
    first, repeats = np.unique(corpus.tokens[corpus.starts], return_counts=True)
    counts[first] -= repeats
    return counts


def unigram_perplexity(train: Corpus, valid: Corpus) -> float:
    """Perplexity per token of the validation text under the training text's token frequencies.

    p(t) = (count of t + 1) / (tokens + V), add-one smoothing; exp of the mean of -log p. What a
    model without any context reaches.
    """
    counts = token_counts(train)
    log_probability = np.log(counts + 1.0) - np.log(counts.sum() + float(train.vocabulary_size))
    seen = token_counts(valid)
    return float(np.exp(-(seen @ log_probability) / max(seen.sum(), 1)))
