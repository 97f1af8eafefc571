"""Spreadsheets written by hand: no more of the format than a reader needs."""

import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
)
DATE, TIME = 1, 2  # styles of numbers
STYLES = (0, 14, 22)


def write_xlsx(path: Path, hidden: tuple[str, ...] = (), **sheets: dict[int, list[Any]]) -> Path:
    """A workbook; a sheet is its rows by number. A cell is None (absent), a text, a number, a bool,
    or (number, style)."""
    listed, linked, parts = "", "", {}
    for number, (name, rows) in enumerate(sheets.items(), start=1):
        state = ' state="hidden"' if name in hidden else ""
        listed += f'<sheet name="{name}" sheetId="{number}"{state} r:id="r{number}"/>'
        target = f"worksheets/sheet{number}.xml"
        linked += f'<Relationship Id="r{number}" Type="{LINKS}/worksheet" Target="{target}"/>'
        content = "".join(
            f'<row r="{row}">{_cells(row, cells)}</row>' for row, cells in rows.items()
        )
        parts[f"xl/{target}"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{content}</sheetData></worksheet>'
        )
    linked += f'<Relationship Id="s" Type="{LINKS}/styles" Target="styles.xml"/>'
    styles = "".join(f'<xf numFmtId="{style}" applyNumberFormat="1"/>' for style in STYLES)
    first = f'<Relationship Id="r" Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/>'
    links = f"{PACKAGE}/relationships"
    parts |= {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"></Types>',
        "_rels/.rels": f'<Relationships xmlns="{links}">{first}</Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{links}">{linked}</Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs>{styles}</cellXfs></styleSheet>',
        "xl/workbook.xml": (
            f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets>{listed}</sheets></workbook>'
        ),
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, f'<?xml version="1.0"?>{content}')
    return path


def _cells(row: int, cells: list[Any]) -> str:
    written = ""
    for column, cell in enumerate(cells):
        value, style = cell if isinstance(cell, tuple) else (cell, 0)
        place = f'r="{chr(ord("A") + column)}{row}" s="{style}"'
        if isinstance(value, str):
            written += f'<c {place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        elif value is not None:
            kind = ' t="b"' if isinstance(value, bool) else ""
            written += f"<c {place}{kind}><v>{value + 0}</v></c>"
    return written


def write_ods(path: Path, rows: list[list[str]]) -> Path:
    """A sheet of texts, as OpenDocument."""
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    content = "".join(
        f"<table:table-row>{''.join(map(cell.format, row))}</table:table-row>" for row in rows
    )
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        packed.writestr("META-INF/manifest.xml", MANIFEST)
        packed.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {names}>'
            "<office:body><office:spreadsheet>"
            f'<table:table table:name="One">{content}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path
