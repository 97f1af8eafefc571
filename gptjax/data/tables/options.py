"""How a task's files are read, as options; a task file says the same at its top."""

from dataclasses import dataclass

from gptjax.data.tables.lines import EncodingErrors, FileReading


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a task's files do not say of themselves. Absent: a task file tells, or the content."""

    columns: tuple[str, ...] = ()
    """PART=COLUMN for files with other column names, such as text=review label=stars. A column of
    this name must be there. A number counts columns from 1 (label=1 text=2,3: columns 2 and 3 are
    one text); meta.text is the key text of the column meta."""
    delimiter: tuple[str, ...] = ()
    """The character between columns, such as ";" or tab. Lines are cut once at a blank, and at
    several delimiters in turn, once at each."""
    header: bool | None = None
    """Whether the first line has the names of the columns."""
    quoting: bool | None = None
    """Whether quotes enclose cells, as in CSV, or are characters like others."""
    sheet: str | None = None
    """Sheet of a spreadsheet. None: the first one."""
    unlabelled: tuple[str, ...] = ()
    """Further values of the label's column that stand for no label, such as NULL or n/a."""
    encoding: str | None = None
    """Encoding of the files, such as utf-16 or cp1252; None is UTF-8. It is never guessed."""
    encoding_errors: EncodingErrors = "strict"
    """What to do with bytes that are not UTF-8: refuse the file, or replace them by U+FFFD."""

    def reading(self, base: FileReading) -> FileReading:
        """How to read a file; what is not said is as in ``base``, the task file's."""
        return FileReading(
            encoding=self.encoding or base.encoding,
            errors=self.encoding_errors,
            sheet=self.sheet or base.sheet,
            delimiter=self.delimiter or base.delimiter,
            header=base.header if self.header is None else self.header,
            quoting=base.quoting if self.quoting is None else self.quoting,
        )
