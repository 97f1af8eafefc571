"""`gptjax tokenizer`: train a tokenizer on a text."""

from dataclasses import dataclass, field
from pathlib import Path

from gptjax.commands.advice import TEXT, again, suggest
from gptjax.data.tables.lines import UTF_8, EncodingErrors
from gptjax.data.tasks.texts import open_sources
from gptjax.data.text.corpus import as_read
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.vocabulary import is_trained, train
from gptjax.data.tokenizers.tokenizer import WORDS, Tokenizer, VocabularyConfig
from gptjax.errors import UserError, check_counts
from gptjax.files import make_folder


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a SentencePiece BPE tokenizer on a text, or count its most frequent words."""

    out: str
    """File to write: NAME.model, and NAME.json of words."""
    data: str = CorpusConfig.data
    """Text to train on: a .txt file or a folder of them, .jsonl, .parquet, .csv, .tsv or .xlsx
    with a text column, hub:ID[:CONFIG][@REVISION], task:NAME[=DATA] (a task's training rows), or
    embedded (Python's own documentation)."""
    vocab_size: int = 8000
    """Number of tokens, the fixed ones included: 259 of a SentencePiece BPE (unknown, separator,
    newline, 256 bytes), 2 of words (unknown, separator)."""
    text_column: str = CorpusConfig.text_column
    """Name of the column with the text, where the data has columns."""
    encoding_errors: EncodingErrors = CorpusConfig.encoding_errors
    """What to do with bytes that are not UTF-8 and with NUL characters: refuse the file, or
    replace them by U+FFFD."""
    encoding: str = UTF_8
    """Encoding of the files, such as utf-16 or cp1252. It is never guessed."""
    sheet: str | None = None
    """Sheet of a spreadsheet. None: the first one."""
    suffixes: tuple[str, ...] = ()
    """Further endings of files that are read as text in a folder, such as .md .py."""
    unescape_html: bool = CorpusConfig.unescape_html
    """Whether the escapes of HTML in documents are undone: &amp; is read as &."""
    overwrite: bool = False
    """Replace the file if it exists."""
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    """How to train, and what: with --tokenizer words words, else a SentencePiece BPE."""

    def __post_init__(self) -> None:
        check_counts(self, "", "vocab_size", most=10_000_000)


def run(config: TokenizerConfig) -> Tokenizer:
    """Train, write the file, and print what was left out and how long it took."""
    out = Path(config.out).expanduser()
    if not is_trained(config.vocabulary):
        raise UserError("--vocabulary.tokenizer names a tokenizer that exists; nothing to train")
    ending = ".json" if config.vocabulary.tokenizer == WORDS else ".model"
    if out.is_dir() or not out.name.endswith(ending):
        raise UserError(f"--out {config.out}: name a file that ends in {ending}")
    if out.exists() and not config.overwrite:
        raise UserError(f"--out {config.out} exists; name another file, or add --overwrite")
    make_folder(out.parent)
    text = CorpusConfig(
        data=config.data,
        text_column=config.text_column,
        encoding_errors=config.encoding_errors,
        encoding=config.encoding,
        sheet=config.sheet,
        suffixes=config.suffixes,
        unescape_html=config.unescape_html,
    )
    source = open_sources(text).train
    tokenizer, report = train(as_read(source, text), config.vocab_size, config.vocabulary)
    try:
        tokenizer.write(out)
    except OSError as error:
        raise UserError(f"--out {config.out}: cannot be written ({error.strerror})") from error
    print(report)
    for reason, count in source.left_out.items():
        print(f"left out of {config.data}: {count:,} {reason}")
    print(f"written to {out}")
    words = ("--config", "small", "--data", config.data, *again(config, TEXT), "--tokenizer", out)
    suggest("train", "pretrain", *words, "--model.vocabulary-size", tokenizer.size)
    return tokenizer
