"""A report as one HTML page that needs no network and no script, and its pictures in a folder."""

import base64
import html
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gptjax import __version__
from gptjax.report.drawing import save_pictures
from gptjax.report.figures import Figure, Table
from gptjax.report.sections import Report, slug

TITLE = "gptjax: report of runs"
TEMPLATE = "report.html.jinja"
# Above this a picture of points is smaller, and quicker to show, than one of paths.
LARGEST_SVG = 300_000  # bytes
LONGEST_CELL = 60  # characters; what is longer is a text
NUMERIC = re.compile(r"[-+–−]?[\d.,]*( ± [\d.]+)?( ?[%MhK]| min)?")


def figures_folder(out: Path) -> Path:
    """Where the pictures of a page lie: beside it, named after it."""
    return out.with_name(f"{out.stem}-figures")


def write(report: Report, out: Path) -> None:
    """Write the pictures into `figures_folder`, and then the page, which is replaced whole."""
    folder = figures_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    for figure in report.figures:
        save_pictures(folder, figure)
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(page(report, folder), encoding="utf-8")
    os.replace(temporary, out)


def page(report: Report, folder: Path) -> str:
    """The page's HTML; ``folder`` beside it has the pictures of its figures."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True
    )
    anchors = {o.path: f"runs-{n}-{slug(o.path)}" for n, o in enumerate(report.origins, 1)}
    return environment.get_template(TEMPLATE).render(
        title=TITLE,
        version=__version__,
        report=report,
        folder=folder.name,
        anchors=anchors,
        longest=LONGEST_CELL,
        resolve=resolver(report, anchors),
        picture=lambda figure: Markup(picture(figure, folder)),
        **{one.__name__: one for one in (source_of, pieces, told_by, numeric_columns, has_texts)},
    )


def pieces(path: str) -> list[str]:
    """A path in the pieces between which a line may end: after a slash, but not after "…/"."""
    return re.split(r"(?<=[^…]/)", path)


def told_by(tables: Sequence[Table], figure: Figure) -> bool:
    """Whether a table above a figure has its words already, and all of its runs."""
    wanted = {*source_of(figure).split(", ")}
    alike = [table for table in tables if table.caption == figure.caption]
    return any(wanted <= {*", ".join(table.sources).split(", ")} for table in alike)


def source_of(figure: Figure) -> str:
    """All sources of a figure, each once."""
    return ", ".join(dict.fromkeys(one.source for one in figure.series if one.source))


def resolver(
    report: Report, anchors: Mapping[str, str]
) -> Callable[[str], list[tuple[str, str | None]]]:
    """A function from a source (paths between commas) to each path and its entry's anchor.

    What lies below an entry belongs to it. After the first path, one in the same folder is shown
    without the folder.
    """
    names = {path: anchors[origin.path] for origin in report.origins for path in origin.names}

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


def has_texts(table: Table) -> bool:
    """Whether some cells are texts; a phone shows such a row as a paragraph."""
    return any(len(cell) > LONGEST_CELL for row in table.rows for cell in row)


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
    """Matplotlib's SVG for the inside of a page, where ids and styles are everybody's.

    ``name`` goes before its ids, so that those of two figures differ; ``words`` are the
    alternative text, escaped.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}.\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}.\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}.\1)", svg)
    start = re.compile(r'<svg([^>]*?) width="[^"]*" height="[^"]*"([^>]*)>')
    added = f'role="img" aria-label="{words}" style="stroke-linejoin: round; stroke-linecap: butt"'
    return start.sub(lambda found: f"<svg{found[1]}{found[2]} {added}>", svg, count=1)
