"""A report as one HTML page: no network, no other file, and everything readable without script."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gptjax import __version__
from gptjax.colours import style
from gptjax.report.figures import Figure, Table
from gptjax.report.sections import FOLD, Report, Section, slug
from gptjax.report.svg import legend, svg

TITLE = "gptjax: report of runs"
TEMPLATE, STYLE, SCRIPT = "report.html.jinja", "report.css", "report.js"
LONGEST_CELL = 60  # characters; what is longer is a text
MANY = 6  # sources, above which they are folded away
NARROW = 3  # columns that a phone has room for
NUMERIC = re.compile(r"[-+–−]?[\d.,]*( ± [\d.]+)?( ?[%MhK]| min)?( \([^)]*\))?")
LEADING = re.compile(r"[-+−]?[\d,]*\.?\d+")
Resolve = Callable[[str], list[tuple[str, str | None]]]
UNITS = {"M": 1e6, "K": 1e3, "h": 3600.0, "min": 60.0}


def figures_folder(out: Path) -> Path:
    """Where pictures of the page's figures lie: beside it, named after it."""
    return out.with_name(f"{out.stem}-figures")


def write(report: Report, out: Path) -> None:
    """Write the page, which is replaced whole."""
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(page(report), encoding="utf-8")
    os.replace(temporary, out)


def write_pictures(report: Report, folder: Path) -> None:
    """Write every figure of the page as NAME.png and NAME.svg."""
    from gptjax.report.drawing import save_pictures  # matplotlib takes long, a page does without

    folder.mkdir(parents=True, exist_ok=True)
    for figure in report.figures:
        save_pictures(folder, figure)


def page(report: Report) -> str:
    """The page's HTML."""
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    anchors = {o.path: f"runs-{n}-{slug(o.path)}" for n, o in enumerate(report.origins, 1)}
    resolve = resolver(report, anchors)
    sheet, script = ((here / name).read_text(encoding="utf-8") for name in (STYLE, SCRIPT))
    functions = (source_of, pieces, told_by, numeric_columns, has_texts, sort_value, axis_labels)
    return environment.get_template(TEMPLATE).render(
        title=TITLE,
        version=__version__,
        report=report,
        anchors=anchors,
        longest=LONGEST_CELL,
        many=MANY,
        narrow=NARROW,
        style=Markup(style() + sheet),
        script=Markup(script),
        resolve=resolve,
        names_lead=lambda table: names_lead(table, resolve),
        picture=lambda figure: Markup(svg(figure, alternative(figure))),
        legend=lambda figure: [(Markup(swatch), text) for swatch, text in legend(figure)],
        folds=folds(report),
        **{one.__name__: one for one in functions},
    )


def folds(report: Report) -> list[tuple[Section, list[Section]]]:
    """Each section with those of level 4 that belong to it."""
    groups: list[tuple[Section, list[Section]]] = []
    for section in report.sections:
        if section.level == FOLD and groups:
            groups[-1][1].append(section)
        else:
            groups.append((section, []))
    return groups


def axis_labels(figure: Figure) -> tuple[str, str]:
    """The words at the axes, x and y; they say where a scale is logarithmic."""
    labels = (figure.x_label, figure.y_label)
    if figure.kind == "bars":
        labels = (figure.y_label, "")  # bars lie
    marks = (" (logarithmic)" if log else "" for log in figure.logarithmic)
    x, y = (f"{label}{mark}" for label, mark in zip(labels, marks, strict=True))
    return x, y


def sort_value(cell: str) -> float | None:
    """The number by which a cell of a column of numbers is sorted; None of one without."""
    if (found := LEADING.match(cell)) is None:
        return None
    unit = cell.rpartition(" ")[2]
    return float(found[0].replace(",", "").replace("−", "-")) * UNITS.get(unit, 1.0)


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


def names_lead(table: Table, resolve: Resolve) -> bool:
    """Whether each row has the name of its run, which can be a link in the place of a column."""
    sources = set(table.sources)
    if "run" not in table.columns or len(sources) < 2:
        return False
    found = [resolve(source) for source in sources]
    return all(len(paths) == 1 and paths[0][1] for paths in found)


def resolver(report: Report, anchors: Mapping[str, str]) -> Resolve:
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
    kind = figure.kind.capitalize()
    labels = [one.label for one in figure.series if one.label]
    labels += [f"{label} (level)" for label, _ in figure.levels]
    over = f" over {figure.x_label}" if figure.x_label else ""
    return f"{figure.title}. {kind} of {figure.y_label}{over}: {'; '.join(labels)}."
