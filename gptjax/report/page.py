"""A report as one HTML page that needs no network and no script, and its pictures in a folder."""

import base64
import html
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from gptjax import __version__
from gptjax.report.drawing import save_pictures
from gptjax.report.figures import Figure, Table
from gptjax.report.sections import Report, slug

TITLE = "gptjax: report of runs"
TEMPLATE = "report.html.jinja"
# Above this a picture of points is smaller, and quicker to show, than one of paths.
LARGEST_SVG = 300_000  # bytes
NUMERIC = re.compile(r"[-+–−]?[\d.,]*( ± [\d.]+)?( ?[%MhK]| min)?")


def figures_folder(out: Path) -> Path:
    """Where the pictures of a page lie: beside it, named after it."""
    return out.with_name(f"{out.stem}-figures")


def write(report: Report, out: Path) -> None:
    """Write the page, and NAME.png and NAME.svg of every figure in `figures_folder`.

    The page is replaced whole, after the pictures are there.
    """
    folder = figures_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    for figure in report.figures:
        save_pictures(folder, figure)
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(page(report, folder), encoding="utf-8")
    os.replace(temporary, out)


def page(report: Report, folder: Path) -> str:
    """The page's HTML.

    Args:
        report: what is on it.
        folder: with the pictures of its figures, beside the page.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    anchors = {
        origin.path: f"runs-{number}-{slug(origin.path)}"
        for number, origin in enumerate(report.origins, 1)
    }
    names = {path: anchors[origin.path] for origin in report.origins for path in origin.names}
    return environment.from_string(source).render(
        title=TITLE,
        version=__version__,
        report=report,
        folder=folder.name,
        anchors=anchors,
        resolve=resolver(anchors, names),
        source_of=source_of,
        pieces=pieces,
        told_by=told_by,
        numeric_columns=numeric_columns,
        picture=lambda figure: Markup(picture(figure, folder)),
    )


def pieces(path: str) -> list[str]:
    """A path in the pieces between which a line may end: after a slash, but not after "…/"."""
    return re.split(r"(?<=[^…]/)", path)


def told_by(tables: Sequence[Table], figure: Figure) -> bool:
    """Whether a table above a figure has its words already, and all of its runs."""
    wanted = {path for one in figure.series for path in one.source.split(", ")}
    return any(
        table.caption == figure.caption
        and wanted <= {path for source in table.sources for path in source.split(", ")}
        for table in tables
    )


def source_of(figure: Figure) -> str:
    """All sources of a figure, each once."""
    return ", ".join(dict.fromkeys(one.source for one in figure.series if one.source))


def resolver(
    anchors: Mapping[str, str], names: Mapping[str, str]
) -> Callable[[str], list[tuple[str, str | None]]]:
    """A function from a source (paths between commas) to each path and its entry's anchor.

    After the first one, a path in the same folder is shown without it.

    Args:
        anchors: of the entries; what lies below one belongs to it.
        names: of paths that have no entry of their own.
    """

    def resolve(source: str) -> list[tuple[str, str | None]]:
        paths = [path for path in source.split(", ") if path]
        folder = paths[0].rpartition("/")[0] + "/" if paths else ""
        shown = [path.replace(folder, "…/", 1) if len(folder) > 1 else path for path in paths]
        return list(zip([*paths[:1], *shown[1:]], map(anchor_of, paths), strict=True))

    def anchor_of(path: str) -> str | None:
        entry = path
        while entry and entry not in anchors:
            entry = entry.rpartition("/")[0]
        return anchors[entry] if entry else names.get(path)

    return resolve


def numeric_columns(table: Table) -> list[bool]:
    """Which columns have numbers in every row, and stand better at the right."""
    return [
        all(NUMERIC.fullmatch(row[column]) for row in table.rows)
        for column in range(len(table.columns))
    ]


def alternative(figure: Figure) -> str:
    """What a reader hears who does not see the picture."""
    kind = {"lines": "Lines", "bars": "Bars", "heatmap": "Heatmap"}[figure.kind]
    labels = [one.label for one in figure.series if one.label]
    labels += [f"{label} (level)" for label, _ in figure.levels]
    over = f" over {figure.x_label}" if figure.x_label else ""
    return f"{figure.title}. {kind} of {figure.y_label}{over}: {'; '.join(labels)}."


def picture(figure: Figure, folder: Path) -> str:
    """The picture as a part of the page: its SVG, or where that is huge its PNG."""
    words = html.escape(alternative(figure), quote=True)
    svg = (folder / f"{figure.name}.svg").read_text(encoding="utf-8")
    if len(svg) > LARGEST_SVG:
        data = base64.b64encode((folder / f"{figure.name}.png").read_bytes()).decode()
        return f'<img alt="{words}" src="data:image/png;base64,{data}">'
    return inline(svg, figure.name, words)


def inline(svg: str, name: str, words: str) -> str:
    """A file's SVG for the inside of a page, where ids and styles are everybody's.

    Args:
        svg: as matplotlib writes it.
        name: put before its ids, so that those of two figures differ.
        words: the alternative text, escaped.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}.\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}.\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}.\1)", svg)
    start = re.compile(r'<svg([^>]*?) width="[^"]*" height="[^"]*"([^>]*)>')
    style = "stroke-linejoin: round; stroke-linecap: butt"
    return start.sub(
        lambda found: f'<svg{found[1]}{found[2]} role="img" aria-label="{words}" style="{style}">',
        svg,
        count=1,
    )
