"""Views as one HTML file, which needs no network and no other file."""

import html
from collections.abc import Sequence
from pathlib import Path

from gptjax import __version__
from gptjax.colours import DARK, LIGHT, style, variables

HERE = Path(__file__).parent


def sides(parts: Sequence[tuple[str, str]]) -> str:
    """The same view of one or two models beside each other: the name and the HTML of each.

    One alone needs no name.
    """
    each = []
    for name, part in parts:
        head = f"<h3>{html.escape(name)}</h3>" if len(parts) > 1 else ""
        each.append(f'<section class="side">{head}{part}</section>')
    return f'<div class="sides">{"".join(each)}</div>'


def note(text: str) -> str:
    """What went wrong, in the place of a view."""
    return f'<p class="note">{html.escape(text)}</p>'


def views(content: str) -> str:
    """A place for views: its colours and sizes are theirs, whatever stands around."""
    return f'<div class="views">{content}</div>'


def sheet() -> str:
    """The styles of the views, inside of a page that says with a class whether it is dark."""
    light = f".views {{ color-scheme: light; {variables(LIGHT)} }}"
    dark = f".dark .views {{ color-scheme: dark; {variables(DARK)} }}"
    return f"{light}\n{dark}\n{_read('play.css')}"


def script() -> str:
    """What shows the words of a token that one points at."""
    return _read("play.js")


def document(title: str, text: str, parts: Sequence[tuple[str, str]]) -> str:
    """The file: a title, the text that was read, and views under their headings.

    Its colours are the system's, light or dark. What could be clicked is no longer to be clicked.
    """
    body = "".join(f"<h2>{html.escape(name)}</h2>\n{part}\n" for name, part in parts)
    given = f'<p class="given">{html.escape(text)}</p>\n' if text else ""
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{name}</title>\n<style>\n{style()}{_read('play.css')}{_read('page.css')}</style>\n"
        f'</head>\n<body>\n<h1>{name}</h1>\n<fieldset class="views" disabled>\n{given}{body}'
        f"</fieldset>\n<footer>gptjax {html.escape(__version__)}, gptjax play</footer>\n"
        f"<script>\n{script()}</script>\n</body>\n</html>\n"
    )


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
