"""The page of a report: that it has everything, stands alone, and is read on a phone."""

import html.parser
import json
import re
import shutil
import subprocess
from dataclasses import replace

import made_runs
import pytest

from gptjax.report import drawing
from gptjax.report import page as report_page
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.find import find
from gptjax.report.readers import without_absolute
from gptjax.report.report import build
from gptjax.report.sections import Report, Section

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    """The page and its text."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    report_page.write(report, out)
    return out


def test_absolute_paths_are_cut_down(page):
    words = "gptjax finetune --data /secret/place/rte train=/a/b.tsv ../c/d hub:x/y --out runs/z"
    assert without_absolute(words) == (
        "gptjax finetune --data …/rte train=…/b.tsv ../c/d hub:x/y --out runs/z"
    )
    text = page.read_text()
    assert "…/books" in text
    assert "secret" not in text
    assert str(page.parent) not in text


class Reader(html.parser.HTMLParser):
    """Ids, figures, links and rows of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.sources = [], [], []
        self.tags, self.figures, self.pictures = [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "figure" and found.get("class") != "table":
            self.figures.append(found["id"])
        if tag == "img" or found.get("role") == "img":
            self.pictures.append(found.get("alt", found.get("aria-label")))
        self.links += [found[name] for name in ("href", "src", "xlink:href") if name in found]


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page.read_text())
    return reader


def test_the_page_has_every_figure_with_its_words(read, report, page):
    names = [one.name for one in report.figures]
    assert read.figures == names
    assert len(read.pictures) == len(names)
    for one, words in zip(report.figures, read.pictures, strict=True):
        assert one.title in words
        assert all(line.label in words for line in one.series)
    folder = page.with_name("report-figures")
    kinds = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == kinds


def test_the_page_stands_alone(read, page):
    assert len(set(read.ids)) == len(read.ids)
    anchors = [link[1:] for link in read.links if link.startswith("#")]
    assert set(anchors) <= set(read.ids)
    files = [link for link in read.links if not link.startswith(("#", "data:"))]
    assert all((page.parent / link).is_file() for link in files)
    assert not {"script", "link", "iframe"} & set(read.tags)
    text = page.read_text()
    assert not re.search(r"@import|url\((?!#)", text)
    references = re.findall(r"url\(#([^)]+)\)", text)
    assert references
    assert set(references) <= set(read.ids)


def test_every_number_has_its_run(page, report):
    text = made_runs.as_read(page)
    paths = [origin.path for origin in report.origins]
    for part in report.sections:
        for one in part.tables:
            body = text[text.index(f'id="{one.name}"') :]
            caption, *lines = body[: body.index("</table>")].split("<tr>")
            lines = lines[1:]
            assert len(lines) == len(one.rows)
            if len(set(one.sources)) == 1:  # then it is said once
                assert "href" not in "".join(lines)
                lines = [caption] * len(lines)
            for line, source in zip(lines, one.sources, strict=True):
                linked = re.findall(r'href="#runs-(\d+)', line)
                assert [paths[int(number) - 1] for number in linked] == [
                    path for path in paths if source == path or source.startswith(f"{path}/")
                ]
    for one in report.figures:
        assert all(line.source for line in one.series), one.name
    listed = text[text.index('<section id="runs">') :]
    for origin in report.origins:
        for made in origin.made:
            assert all(str(value) in listed for value in vars(made).values())


def test_where_a_path_may_be_broken():
    assert report_page.pieces("runs/a/b-c") == ["runs/", "a/", "b-c"]
    assert report_page.pieces("…/a/b") == ["…/a/", "b"]
    assert report_page.pieces("a") == ["a"]


def test_a_figure_of_the_table_above_it_does_not_say_it_all_again(tmp_path, monkeypatch):
    series = Series("s", (1, 2), (3.0, 4.0), source="a, b")
    both = {"title": "T", "caption": "How it was made."}
    drawn = [
        Figure(name="f", x_label="x", y_label="y", series=(series,), **both),
        Figure("g", "T", "Something else.", "x", "y", (series,)),
    ]
    table = Table(name="t", columns=("n",), rows=(("12",),), sources=("a, b",), **both)
    drawing.save(tmp_path / "runs", drawn, [table])
    monkeypatch.chdir(tmp_path)
    report_page.write(build(find(["runs"])), tmp_path / "page.html")
    text = made_runs.as_read(tmp_path / "page.html")
    assert text.count("How it was made.") == 1
    assert text.count("Of the table above.") == text.count("Something else.") == 1
    # Where the table does not name all of its runs, the figure does.
    assert report_page.told_by([table], drawn[0])
    for sources in (("",), ("a",)):
        assert not report_page.told_by([replace(table, sources=sources)], drawn[0])


def test_a_long_table_has_a_window_of_its_own(tmp_path):
    """Such as the one of fifty classes: the page stays short, and the table is whole."""
    tables = [
        Table(f"t{count}", "T", "C", ("n",), (("12",),) * count, ("",) * count) for count in (3, 50)
    ]
    text = report_page.page(Report((Section("s", "S", tables=tuple(tables)),), (), ()), tmp_path)
    assert text.count("<td") == 53
    short, long = text.index('id="t3"'), text.index('id="t50"')
    assert "tall" not in text[short:long]
    assert text[long:].count('class="scroll tall"') == 1


def test_what_users_wrote_is_text(page):
    text = page.read_text()
    assert "Once &lt;upon&gt; a time &amp; so on" in text
    assert "<upon>" not in text
    assert "&lt;b&gt;premise&lt;/b&gt; &amp; /its/text" in text
    assert "<b>premise" not in text
    assert "Tokens &amp; &lt;loss&gt;" in text


def test_a_huge_drawing_is_shown_as_points(page, report, monkeypatch):
    monkeypatch.setattr(report_page, "LARGEST_SVG", 10)
    folder = page.with_name("report-figures")
    shown = report_page.picture(report.figures[0], folder)
    assert shown.startswith("<img alt=")
    assert 'src="data:image/png;base64,iVBOR' in shown


def test_the_same_runs_are_the_same_page(page, report):
    assert report_page.page(report, page.with_name("report-figures")) == page.read_text()
    assert [path.name for path in page.parent.iterdir() if path.suffix != ".html"] == [
        "report-figures"
    ]


# Widths and heights of all figures, and what reaches beyond a phone's 360 pixels and not inside a
# box that scrolls, for --dump-dom.
MEASURE = """<script>
document.documentElement.style.width = "360px";
const scrolls = (x) => x && (getComputedStyle(x).overflowX == "auto" || scrolls(x.parentElement));
const sizes = [...document.querySelectorAll("figure:not(.table)")].map((figure) => {
  const box = figure.querySelector("svg, img").getBoundingClientRect();
  return [figure.id, box.width, box.height];
});
const wide = [...document.body.querySelectorAll("*")].filter(
  (x) => x.getBoundingClientRect().right > 361 && !x.closest("svg *") && !scrolls(x.parentElement));
const found = document.createElement("pre");
found.id = "found";
found.textContent = JSON.stringify({sizes: sizes, wide: wide.map((x) => x.outerHTML.slice(0, 80))});
document.body.replaceChildren(found);
</script></body>"""


@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: that a browser shows the page was left out"
)
def test_a_browser_shows_every_figure_at_phone_width(page, report, tmp_path):
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</body>", MEASURE))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", copy.as_uri()]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [*words[:-1], profile, words[-1]], capture_output=True, text=True, timeout=60, check=True
    )
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    found = json.loads(html.unescape(text))
    assert [name for name, *_ in found["sizes"]] == [one.name for one in report.figures]
    for name, width, height in found["sizes"]:
        assert 250 < width <= 360, name
        assert 100 < height < 500, name
    assert found["wide"] == []
