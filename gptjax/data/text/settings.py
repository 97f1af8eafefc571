"""The settings of a text."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gptjax.config import alias, since
from gptjax.data.tables.lines import UTF_8, EncodingErrors
from gptjax.errors import UserError, check_counts

ShortDocuments = Literal["pad", "pack", "cross"]


@dataclass(frozen=True)
class CorpusConfig:
    """Which text is trained on and which is held back."""

    data: Annotated[str, alias("--data")] = "embedded"
    """Training text: a .txt file or a folder of them (a file is a document), .jsonl, .parquet,
    .csv, .tsv or .xlsx with a text column (a row is a document), hub:ID[:CONFIG] (a dataset on
    the hub; @REVISION may follow), task:NAME[=DATA] (the rows of a task, DATA being what
    finetune's --data takes), or embedded (Python's own documentation, always there)."""
    validation: str | None = None
    """Validation text, in the same forms. Absent: some of the training documents are held
    back."""
    validation_fraction: float = 0.05
    """Share of the tokens to hold back (between 0 and 1) when no validation text is given."""
    hold_back: Literal["parts", "documents"] | None = since(before="documents", now="parts")
    """What is held back: whole documents, or the end of the longest one where whole documents
    come to less than half or more than twice the share (parts); always whole documents, and of a
    single document its end (documents). None: parts; a run from before this setting keeps to
    documents."""
    text_column: Annotated[str, alias("--text-column")] = "text"
    """Name of the column with the text, where the data has columns."""
    encoding_errors: Annotated[EncodingErrors, alias("--encoding-errors")] = "strict"
    """What to do with bytes that are not UTF-8 and with NUL characters: refuse the file, or
    replace them by U+FFFD."""
    encoding: Annotated[str, alias("--encoding")] = UTF_8
    """Encoding of text files and tables, such as utf-16 or cp1252. It is never guessed."""
    sheet: Annotated[str | None, alias("--sheet")] = None
    """Sheet of a spreadsheet. None: the first one."""
    suffixes: Annotated[tuple[str, ...], alias("--suffixes")] = ()
    """Further endings of files that are read as text in a folder, such as .md .py."""
    follow_links: bool | None = since(before=False, now=True)
    """Whether linked folders in the data folder are read like any other. None: yes; a run from
    before this setting goes on without."""
    layout: Literal["lm", "autoencode"] = "lm"
    """What a row of a batch is: a window of the text, every token of which is predicted (lm); or a
    document and its end, twice, the second time predicted (autoencode, a sequence autoencoder)."""
    short_documents: ShortDocuments = "pad"
    """What fills a window where a document ends: padding; other documents' ends, each after a
    separator (pack); or whatever document comes next (cross: all text is one stream, windows
    cross documents)."""
    order: Literal["shuffled", "streams"] = "shuffled"
    """In what order text is read: windows in an order that is drawn for each epoch, each of which
    stands alone; or streams, for models that remember: each row of a batch goes on where that of
    the batch before ended, and so does what is remembered."""
    reset: Literal["epoch", "document"] = "epoch"
    """Where what is remembered in streams is forgotten: at the beginning of each epoch, or of each
    document, too."""
    streams: int = 16
    """With streams: into how many parts a validation text of a single document is cut, to be read
    side by side, each from nothing remembered. Several documents are read whole."""
    predict_end: bool | None = since(before=False)
    """Whether the end of each document is predicted too, so that the model learns where a text
    ends. None: if the tokenizer has a token for it (GPT-1's has none)."""
    unescape_html: Annotated[bool, alias("--unescape-html")] = False
    """Whether the escapes of HTML in documents are undone: &amp; is read as &."""
    cache: str | None = None
    """Folder for encoded corpora. Absent: $GPTJAX_CACHE, or ~/.cache/gptjax."""

    @property
    def autoencodes(self) -> bool:
        """Whether a sequence autoencoder is trained."""
        return self.layout == "autoencode"

    def __post_init__(self) -> None:
        check_counts(self, "corpus", "streams")
        if self.autoencodes:
            self._check_autoencoder()
        if self.order == "streams" and self.short_documents != "pad":
            raise UserError(
                f"corpus.short_documents {self.short_documents}: is for windows that stand alone; "
                "in corpus.order streams each document follows the one before; set "
                "corpus.short_documents pad"
            )
        if self.order != "streams" and self.reset != "epoch":
            raise UserError(
                f"corpus.reset {self.reset}: is for corpus.order streams; otherwise nothing is "
                "remembered from window to window"
            )

    def _check_autoencoder(self) -> None:
        """Refuse what has no meaning for rows of one document each."""
        if self.order == "streams":
            raise UserError(
                "corpus.layout autoencode: a row is a document that stands alone; leave "
                "corpus.order streams out"
            )
        if self.short_documents != "pad":
            raise UserError(
                f"corpus.short_documents {self.short_documents}: is for windows; a row of "
                "corpus.layout autoencode holds one document; set corpus.short_documents pad"
            )
        if self.predict_end is False:
            raise UserError(
                "corpus.predict_end False: with corpus.layout autoencode the end of a document is "
                "where it begins again; leave it out"
            )
