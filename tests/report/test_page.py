"""The page of a report: that it has everything, stands alone, and is read on a phone."""

import html.parser
import json
import re
import shutil
import subprocess
from dataclasses import replace

import made_runs
import pytest

from gptjax.colours import DARK, LIGHT, variables
from gptjax.report import drawing
from gptjax.report import page as report_page
from gptjax.report.figures import Figure, Series, Table
from gptjax.report.find import find
from gptjax.report.order import natural
from gptjax.report.readers import without_absolute
from gptjax.report.report import build
from gptjax.report.sections import FOLD, Report, Section

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


def test_the_page_has_every_figure_with_its_words(read, report):
    names = [one.name for one in report.figures]
    assert read.figures == names
    assert len(read.pictures) == len(names)
    for one, words in zip(report.figures, read.pictures, strict=True):
        assert one.title in words
        assert all(line.label in words for line in one.series)


def test_pictures_are_written_on_request(report, tmp_path):
    report_page.write_pictures(replace(report, sections=report.sections[:2]), tmp_path / "new")
    names = [one.name for part in report.sections[:2] for one in part.figures]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }


def test_the_page_stands_alone(read, page):
    """One file, no network: its links lead inside, and a browser is told to load nothing."""
    assert len(set(read.ids)) == len(read.ids)
    assert all(link.startswith("#") for link in read.links)
    assert {link[1:] for link in read.links} <= set(read.ids)
    assert not {"link", "iframe", "img"} & set(read.tags)
    text = page.read_text()
    assert not re.search(r"@import|url\(|https?://", text)
    assert "default-src 'none'" in text
    assert [path.name for path in page.parent.iterdir()] == [page.name]


def test_every_table_has_its_heads(page):
    """As many as its rows have cells, and on a phone each cell names its own."""
    tables = re.findall(r"<table.*?</table>", page.read_text(), re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        heads = [re.sub("<.*?>", "", one) for one in re.findall(r"<th .*?</th>", table)]
        rows = re.findall(r"<tr><td.*?</tr>", table, re.DOTALL)
        assert heads
        assert all(heads)
        assert rows
        for row in rows:
            assert row.count("<td") == len(heads)
            if 'class="cards"' in table:
                assert re.findall(r'data-column="(.*?)"', row) == heads
            else:
                assert len(heads) <= report_page.NARROW


def test_numbers_sort_by_what_they_are():
    cells = ["2 min", "1.2 h", "45 min", "–", "0.5 M", "1,234.5", "-3.1 (-4 to -2)", "63.1 ± 2.0"]
    values = [report_page.sort_value(cell) for cell in cells]
    assert values == [120, 4320, 2700, None, 5e5, 1234.5, -3.1, 63.1]
    assert all(report_page.NUMERIC.fullmatch(cell) for cell in cells)
    assert not report_page.NUMERIC.fullmatch("0.1 of 7")


def test_what_many_runs_have_is_folded_away(tmp_path, answers):
    """The best stand first, open; each of the others opens for itself."""
    rising = [made_runs.answers("rte", [0, 1] * 30, seed) for seed in range(1, 7)]
    for number, found in enumerate(rising, 1):
        made_runs.tuned(tmp_path / f"run-{number}", "rte", found)
    report = build(find([str(tmp_path)]))
    parts = [part for part in report.sections if part.level == FOLD]
    assert parts[0].title == "rte: curves of the other runs"
    assert [one.name for one in parts[0].figures] == [
        *("rte-training-2", "rte-length-2", "rte-calibration-2"),
    ]
    order = sorted(range(6), key=lambda place: -rising[place].metrics["accuracy"])
    assert [part.title.partition(":")[0] for part in parts[1:]] == [f"run-{n + 1}" for n in order]
    assert [part.folded for part in parts] == [True, False, *[True] * 5]
    assert all(len(part.tables) == len(part.figures) == 1 for part in parts[1:])
    text = report_page.page(report)
    for part in parts:
        opened = "" if part.folded else " open"
        assert f'<details class="part" id="{part.name}"{opened}>' in text
    bars = next(one for one in report.figures if one.name == "rte-metric").series[0]
    assert bars.x == tuple(f"run-{n + 1}" for n in order)


def test_colours_are_there_for_light_and_for_dark(page):
    text = page.read_text()
    used = set(re.findall(r"var\(--([\w-]+)\)", text)) - {"c"}
    assert LIGHT.keys() == DARK.keys() == used
    for scheme in (LIGHT, DARK):
        assert variables(scheme) in text
    assert "prefers-color-scheme: dark" in text
    assert "data-theme=dark" in text


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


def test_a_long_table_has_a_window_of_its_own():
    """Such as the one of fifty classes: the page stays short, and the table is whole."""
    tables = [
        Table(f"t{count}", "T", "C", ("n",), (("12",),) * count, ("",) * count) for count in (3, 50)
    ]
    text = report_page.page(Report((Section("s", "S", tables=tuple(tables)),), (), ()))
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


def test_the_same_runs_are_the_same_page(page, report):
    assert report_page.page(report) == page.read_text()


# Widths and heights of all figures, and what reaches beyond a phone's 360 pixels and not inside a
# box that scrolls, for --dump-dom.
MEASURE = """<script>
addEventListener("load", () => {
for (const one of document.querySelectorAll("details")) one.open = true;
const page = PIXELS;
document.documentElement.style.width = `${page}px`;
const scrolls = (x) => x && (getComputedStyle(x).overflowX == "auto" || scrolls(x.parentElement));
const sizes = [...document.querySelectorAll("figure:not(.table)")].map((figure) => {
  const box = figure.querySelector("svg, img").getBoundingClientRect();
  return [figure.id, box.width, box.height];
});
const wide = [...document.body.querySelectorAll("*")].filter((x) => (
  x.getBoundingClientRect().right > page + 1 && !x.closest("svg *") && !scrolls(x.parentElement)));
const cut = [...document.querySelectorAll(".scroll")].filter(
  (x) => x.scrollWidth > x.clientWidth + 1);
const out = [...document.querySelectorAll("figure > svg text")].filter((x) => {
  const own = x.getBoundingClientRect(), whole = x.closest("svg").getBoundingClientRect();
  const [left, right] = [whole.left - own.left, own.right - whole.right];
  return Math.max(left, right, own.bottom - whole.bottom) > 4;
});
const shown = (all) => all.map((x) => x.outerHTML.slice(0, 80));
const found = document.createElement("pre");
found.id = "found";
found.textContent = JSON.stringify(
  {sizes: sizes, wide: shown(wide), cut: shown(cut), out: shown(out)});
document.body.replaceChildren(found);
});
</script></body>"""

# What a reader sees who sorts a table twice by a column and then filters it, and who points at a
# figure.
USE = """<script>
addEventListener("load", () => {
const cells = (table, place) => [...table.tBodies[0].rows].filter((row) => !row.hidden).map(
  (row) => row.cells[place].textContent);
const found = {};
const table = document.querySelector("#wide table");
const heads = [...table.tHead.rows[0].cells];
for (const place of [0, 1]) {
  for (const time of [1, 2]) {
    heads[place].querySelector("button").click();
    found[`${place} ${heads[place].getAttribute("aria-sort")}`] = cells(table, place);
  }
}
const input = document.querySelector("#wide input");
input.value = "RUN-1";
input.dispatchEvent(new Event("input"));
found.filtered = cells(table, 0).sort();
const mark = document.querySelector("svg .p");
found.title = mark.querySelector("title").textContent;
mark.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 50, clientY: 50}));
found.tip = document.getElementById("tip").textContent;
const paper = () => getComputedStyle(document.body).backgroundColor;
found.papers = [0, 1, 2].map(() => { document.getElementById("theme").click(); return paper(); });
const shown = document.createElement("pre");
shown.id = "found";
shown.textContent = JSON.stringify(found);
document.body.replaceChildren(shown);
});
</script></body>"""

browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: that a browser shows the page was left out"
)


def in_browser(text, script, tmp_path, width):
    """What a script finds in the page, in a window of a width."""
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", script))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*words, "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return json.loads(html.unescape(found))


@browser
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_a_browser_shows_every_figure_and_cuts_nothing(page, report, tmp_path, width):
    script = MEASURE.replace("PIXELS", str(width))
    found = in_browser(page.read_text(), script, tmp_path, max(width, 500))
    assert [name for name, *_ in found["sizes"]] == [one.name for one in report.figures]
    for name, wide, high in found["sizes"]:
        assert 250 < wide <= 600, name
        assert 40 < high < 600, name
    assert found["wide"] == found["cut"] == found["out"] == []


@browser
def test_a_reader_sorts_filters_and_points(tmp_path):
    names = [f"run-{number}" for number in (10, 9, 1, 2, 11, 100, 3, 0)]
    times = ["2 min", "1.2 h", "–", "45 min", "3 h", "50 min", "1 min", "0 min"]
    rows = tuple(zip(names, times, ["x"] * 8, ["y"] * 8, strict=True))
    table = Table("wide", "T", "C", ("run", "training", "c", "d"), rows, ("",) * 8)
    figure = Figure("f", "T", "C", "x", "y", (Series("s", (1, 2), (3.0, 4.25)),))
    section = Section("s", "S", tables=(table,), figures=(figure,))
    found = in_browser(report_page.page(Report((section,), (), ())), USE, tmp_path, 1280)
    natural_names = [f"run-{number}" for number in (0, 1, 2, 3, 9, 10, 11, 100)]
    assert found["0 ascending"] == natural_names == sorted(names, key=natural)
    assert found["0 descending"] == natural_names[::-1]
    long = ["3 h", "1.2 h", "50 min", "45 min", "2 min", "1 min", "0 min"]
    assert found["1 descending"] == [*long, "–"]
    assert found["1 ascending"] == [*long[::-1], "–"]
    assert found["filtered"] == ["run-1", "run-10", "run-100", "run-11"]
    assert found["title"] == found["tip"] == "s\nx: 1\ny: 3"
    light, dark, system = found["papers"]
    assert (light, system) == ("rgb(255, 255, 255)", light)
    assert dark == "rgb(22, 24, 28)"
