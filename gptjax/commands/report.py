"""`gptjax report`: one page of runs."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from gptjax.errors import UserError
from gptjax.files import make_folder
from gptjax.report import page as report_page
from gptjax.report.find import find
from gptjax.report.report import build
from gptjax.report.sections import Report


@dataclass(frozen=True)
class ReportConfig:
    """One HTML page of runs: curves, tables, figures."""

    runs: tuple[str, ...]
    """Run folders, seeds of a run, what zeroshot or evaluate wrote with --out, folders with
    figures.json, and folders of all these."""
    out: str
    """Page to write, ending in .html."""
    texts: bool = True
    """Show the texts of the examples that fine-tuned runs answer worst, at most 10 of a run."""
    pictures: bool = False
    """Write every figure as PNG and SVG, too, in NAME-figures/ beside the page."""


def run(config: ReportConfig) -> Report:
    """Write the page, and its pictures on request, and say what was left out."""
    out = Path(config.out)
    if out.suffix != ".html":
        raise UserError(f"--out {config.out}: name a page to write that ends in .html")
    if out.is_dir():
        raise UserError(f"--out {config.out}: is a folder; name a page to write")
    if not config.runs:
        raise UserError("--runs: name one or more run folders")
    make_folder(out.parent)
    sources = find(config.runs)
    report = build(sources if config.texts else sources.without_texts())
    report_page.write(report, out)
    folder = report_page.figures_folder(out)
    if config.pictures:
        report_page.write_pictures(report, folder)
    for line in report.left_out:
        print(f"left out: {line}")
    where = f", which are in {folder}/ too" if config.pictures else ""
    print(f"{out}: {len(report.origins)} entries, {len(report.figures)} figures{where}")
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    print(f"  look at it:  {opener} {shlex.quote(str(out))}", file=sys.stderr)
    return report
