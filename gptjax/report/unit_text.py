"""A text coloured by the value of a unit, for a terminal and as an HTML page."""

import html
from collections.abc import Sequence
from pathlib import Path

# From white to Okabe and Ito's blue (below 0) and vermilion (above), as in the figures.
NEGATIVE, POSITIVE = (0, 114, 178), (213, 94, 0)
RESET = "\x1b[0m"


def colour(value: float, largest: float) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255; white is 0, and ``largest`` has the whole colour."""
    share = min(abs(value) / largest, 1.0) if largest > 0 else 0.0
    end = POSITIVE if value > 0 else NEGATIVE
    red, green, blue = (round(255 + share * (one - 255)) for one in end)
    return red, green, blue


def coloured(pieces: Sequence[str], values: Sequence[float]) -> str:
    """The text with ANSI's colours behind it; the largest absolute value has the whole colour."""
    largest = max(map(abs, values))
    parts = []
    for piece, value in zip(pieces, values, strict=True):
        red, green, blue = colour(value, largest)
        ink = "30" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "97"
        back = f"\x1b[48;2;{red};{green};{blue};{ink}m"
        # A line's end in a colour would colour the rest of the terminal's line.
        parts.append(f"{back}{piece}{RESET}".replace("\n", f"{RESET}\n{back}"))
    return "".join(parts)


def plain(pieces: Sequence[str], values: Sequence[float]) -> list[str]:
    """A line for each token: its value and the token, quoted."""
    return [f"{value:10.4f}  {piece!r}" for piece, value in zip(pieces, values, strict=True)]


def write(path: Path, title: str, pieces: Sequence[str], values: Sequence[float]) -> None:
    """Write the page, which needs no network; the file is replaced whole."""
    largest = max(map(abs, values))
    spans = []
    for piece, value in zip(pieces, values, strict=True):
        red, green, blue = colour(value, largest)
        ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
        style = f"background: rgb({red} {green} {blue}); color: {ink}"
        spans.append(f'<span style="{style}" title="{value:.4f}">{html.escape(piece)}</span>')
    name = html.escape(title)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{name}</title>\n<style>body {{ max-width: 44rem; margin: 2rem auto; "
        "font: 18px/1.8 system-ui, sans-serif; padding: 0 1rem }\n"
        "p.text { white-space: pre-wrap; overflow-wrap: anywhere }</style>\n</head>\n<body>\n"
        f'<h1>{name}</h1>\n<p class="text">{"".join(spans)}</p>\n'
        f"<p>Blue is below 0, orange above; the whole colour is {largest:.4f}. The value of a "
        "token stands in its tooltip.</p>\n</body>\n</html>\n"
    )
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
