"""The cells of a spreadsheet (.xlsx, .xls, .ods) as text, as the program that made it shows them.

The library gives every number as a float, and what looks empty as an empty text.
"""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import python_calamine

from gptjax.data.tables.columns import listed
from gptjax.data.tables.files import unpacked, unreadable
from gptjax.errors import UserError

SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
OLD_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # of an .xls, and of workbooks with a password
DIGITS = 15  # that a spreadsheet shows of a number
EXACT = 1 << 53  # floats beyond may be no whole numbers of their own


def sheet_rows(file: Path, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    """The number of each row that is not empty, from 1, and its cells; by default of the first
    sheet that is not hidden. The sheet is held whole.

    Raises:
        UserError: no workbook, a damaged or encrypted one, or no such sheet.
    """
    for number, cells in enumerate(_cells(file, sheet), start=1):
        found = [cell_text(value) for value in cells]
        if any(found):
            yield number, found


def _cells(file: Path, sheet: str | None) -> Iterator[list[Any]]:
    with unpacked(file) as path:
        try:
            with path.open("rb") as stream:
                book = python_calamine.CalamineWorkbook.from_filelike(stream)
                name = _sheet_of(file, book, sheet)
                found = book.get_sheet_by_name(name)
            rows = found.iter_rows()
        except UserError:
            raise
        except python_calamine.PasswordError as error:
            raise UserError(f"{file}: is protected by a password; save it without one") from error
        except OSError as error:
            raise unreadable(file, error) from error
        # Whatever a damaged file makes of its reader, which is not written in Python: its failures
        # there are no `Exception`.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{file}: not a spreadsheet that can be read ({reason}); save it anew, or as CSV"
            ) from error
    yield from rows


def _sheet_of(file: Path, book: python_calamine.CalamineWorkbook, wanted: str | None) -> str:
    names = list(map(str, book.sheet_names))
    if wanted is not None:
        if wanted not in names:
            raise UserError(
                f"{file}: no sheet {wanted!r}; it has {listed(names)}: set `sheet=NAME`"
            )
        return wanted
    if not names:
        raise UserError(f"{file}: a workbook without a sheet; give one with a sheet")
    kind, visible = python_calamine.SheetTypeEnum, python_calamine.SheetVisibleEnum
    shown = [
        str(one.name)
        for one in book.sheets_metadata
        if one.typ == kind.WorkSheet and one.visible == visible.Visible
    ]
    return (shown or names)[0]


def cell_text(value: Any) -> str:
    """What stands in a cell: whole numbers without a point, TRUE and FALSE, dates as 2024-12-31."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        if value.is_integer() and abs(value) < EXACT:
            return str(int(value))
        return f"{value:.{DIGITS}g}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
