"""A corpus and its tokenizer: where it comes from, and what of a text it does not keep."""

from collections.abc import Mapping

from gptjax.data.text.control import checked
from gptjax.data.text.corpus import Corpus, as_read, open_source_of
from gptjax.data.text.documents import Source
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.unigram import token_counts
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.sentencepiece import SentencePieceTokenizer
from gptjax.data.tokenizers.tokenizer import WORDS, Tokenizer, VocabularyConfig
from gptjax.data.tokenizers.train import TrainingReport, train_sentencepiece
from gptjax.data.tokenizers.words import UNKNOWN, CountingReport, WordTokenizer, train_words
from gptjax.errors import UserError


def is_trained(vocabulary: VocabularyConfig) -> bool:
    """Whether the tokenizer is made of the corpus."""
    return vocabulary.tokenizer in (None, WORDS)


def prepare_tokenizer(
    vocabulary: VocabularyConfig, size: int, corpus: CorpusConfig, source: Source | None = None
) -> tuple[Tokenizer, TrainingReport | CountingReport | None]:
    """The tokenizer that the settings name, or one trained on the corpus (with a report).

    Without validation text, training sees the documents that are held back too: a vocabulary
    learns no more of them than how words are cut, or which words there are. ``size`` is the
    model's ``vocabulary_size``.

    Raises:
        UserError: no tokenizer there, another size, or a size that the corpus cannot fill.
    """
    if vocabulary.tokenizer is not None and not is_trained(vocabulary):
        return load_tokenizer(vocabulary.tokenizer, size, vocabulary.mode), None
    source = open_source_of(corpus) if source is None else source
    try:
        return train(as_read(source, corpus), size, vocabulary)
    except UserError as error:
        raise UserError(f"`data={corpus.data}`: {error}") from error


def train(
    source: Source, size: int, vocabulary: VocabularyConfig
) -> tuple[WordTokenizer, CountingReport] | tuple[SentencePieceTokenizer, TrainingReport]:
    """A tokenizer of the kind that the settings name, trained on some documents."""
    documents = (document.chunks for document in checked(source.documents()))
    if vocabulary.tokenizer == WORDS:
        return train_words(documents, size, vocabulary.lower_case)
    return train_sentencepiece(documents, size, vocabulary)


def not_kept(tokenizer: Tokenizer, corpora: Mapping[str, Corpus]) -> str | None:
    """A line for people about what is lost of some texts; None where nothing is counted.

    ``corpora`` are the texts by what they are called.
    """
    if isinstance(tokenizer, WordTokenizer):
        shares = ", ".join(
            f"{token_counts(corpus)[tokenizer.unknown]:,} of the {corpus.num_tokens:,} tokens of "
            f"the {called}"
            for called, corpus in corpora.items()
        )
        capitals = "capitals and " if tokenizer.lower_case else ""
        return f"not kept: {capitals}white space, and words that are {UNKNOWN} ({shares})"
    if isinstance(tokenizer, ByteTokenizer) and tokenizer.published:
        return "not kept: line ends, which are read as blanks, and white space around a document"
    return None
