"""The drawings of the page: values where they are, under the pointer, and readable."""

import html
import math
import re
from itertools import pairwise

import pytest
from test_figures import BARS, DIAGONAL, HEATMAP, LINES

from gptjax.colours import DARK, LIGHT
from gptjax.report.axis import Axis, around, number
from gptjax.report.figures import Figure, Series, over_decades
from gptjax.report.heatmap import DEEP, LEAST_COLUMN, heat
from gptjax.report.marks import COLOURS
from gptjax.report.order import natural
from gptjax.report.page import axis_labels
from gptjax.report.svg import legend, svg


def tips(figure: Figure) -> list[list[str]]:
    """What the pointer shows, line by line, of each element that has something to say."""
    found = re.findall(r"<title>(.*?)</title>", svg(figure, "words"), re.DOTALL)
    return [html.unescape(text).split("\n") for text in found]


def plain(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize("figure", [LINES, DIAGONAL], ids=["lines", "diagonal"])
def test_the_pointer_shows_the_values_of_lines(figure):
    told = tips(figure)
    levels = [[label, number(value)] for label, value in figure.levels]
    assert [line.split(": ") for (line,) in told[: len(levels)]] == levels
    points = [(one, place) for one in figure.series for place in range(len(one.x))]
    assert len(told) == len(levels) + len(points)
    for (label, x, y), (series, place) in zip(told[len(levels) :], points, strict=True):
        assert label == series.label
        assert plain(x.removeprefix(f"{figure.x_label}: ")) == series.x[place]
        value, _, ends = y.removeprefix(f"{figure.y_label}: ").partition(" (")
        assert plain(value) == series.y[place]
        if series.low is not None:
            assert [plain(end) for end in ends.rstrip(")").split(" to ")] == [
                *(series.low[place], series.high[place]),
            ]


def test_the_pointer_shows_the_values_of_bars_and_cells():
    assert tips(BARS) == [
        ["ours", "rte", "accuracy, %: 56"],
        ["ours", "mnli", "accuracy, %: 70.5 (68 to 73)"],
        ["from scratch", "mnli", "accuracy, %: 40.25"],
        ["paper: 82.1"],
    ]
    assert tips(HEATMAP) == [
        ["gold: yes", "predicted: yes", "1,234"],
        ["gold: yes", "predicted: no", "5"],
        ["gold: no", "predicted: yes", "0"],
        ["gold: no", "predicted: no", "77"],
    ]


def test_points_lie_where_their_values_are():
    series = Series("s", (0, 5, 10), (1.0, 3.0, 2.0))
    drawn = svg(Figure("f", "", "", "", "", (series,)), "")
    points = re.findall(r'class="p" d="M([\d.]+) ([\d.]+)', drawn)
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in points]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.3)
    # A bar is as long as its value, from a zero that they share.
    widths = [float(w) for w in re.findall(r'class="bar"[^>]* width="([\d.]+)"', svg(BARS, ""))]
    assert [w / widths[0] for w in widths] == pytest.approx([1, 70.5 / 56, 40.25 / 56], abs=0.01)


def test_values_over_decades_have_a_logarithmic_axis():
    assert over_decades([1e-5, 1e-4, 1e-3])
    assert over_decades([9000.0, 400.0, 120.0, 90.0, 80.0])
    assert not over_decades([0.0, 1e-4, 1.0])  # no logarithm of nothing
    assert not over_decades([1.0, 2.0, 50.0])
    assert not over_decades([float(step) for step in range(1, 401)])  # as the steps of a schedule
    series = Series("s", (1, 2, 3), (1e4, 300.0, 100.0), (9e3, 200.0, 90.0), (2e4, 400.0, 110.0))
    curve = Figure("f", "", "", "x", "perplexity", (series,))
    assert curve.logarithmic == (False, True)
    assert axis_labels(curve) == ("x", "perplexity (logarithmic)")
    assert Figure("f", "", "", "", "", (series,), kind="bars").logarithmic == (False, False)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg(curve, ""))
    assert {"1,000", "10,000"} <= set(texts)


def test_numbers_at_an_axis_are_round_and_apart():
    def ticks(*values: float, log: bool = False) -> list[float]:
        axis = around(values, 0, 300, log=log)
        return axis.ticks(5, values if log else ())

    assert ticks(0.13, 1.08) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 4) == [0, 1, 2, 3, 4]
    assert ticks(1, 2) == [1, 2]  # layers and seeds have no halves
    assert ticks(5.0) == [5]
    assert ticks(30, 100, 300, 1000, 4905, log=True) == [30, 100, 300, 1000, 4905]
    assert ticks(*range(1, 101), log=True) == [1, 10, 100]
    assert ticks(30, log=True) == [30]
    log = Axis(1, 100, 0, 200, log=True)
    assert log.place(10) == pytest.approx(100)
    assert Axis(0, 4, 200, 0).place(1) == 150


def test_many_bars_have_names_and_no_legend():
    series = tuple(Series(f"way {n}", ("sst2",), (float(n),)) for n in range(1, COLOURS + 3))
    figure = Figure("f", "", "", "", "", series, kind="bars", levels=(("paper", 3.0),))
    texts = re.findall(r'<text class="name"[^>]*>([^<]*)</text>', svg(figure, ""))
    assert texts == [one.label for one in series]
    assert [text for _, text in legend(figure)] == ["paper"]
    assert [text for _, text in legend(BARS)] == ["ours", "from scratch", "paper"]


def test_long_names_are_whole():
    name = "a name that is longer than the drawing is wide, and goes on in another line"
    figure = Figure("f", "", "", "", "", (Series("s", (name,), (1.0,)),), kind="bars")
    texts = re.findall(r'<text class="name"[^>]*>([^<]*)</text>', svg(figure, ""))
    assert "".join(texts) == name


def test_colours_of_confusions_are_on_one_scale():
    """A share of the gold class has the same colour in a small task and in a large one."""

    def confusion(scale: int) -> Figure:
        rows = {"a": (3.0 * scale, 1.0 * scale), "b": (0.0, 0.0)}
        series = tuple(Series(name, ("a", "b"), row) for name, row in rows.items())
        return Figure("f", "", "", "", "", series, kind="heatmap", shares=True)

    small, large = confusion(1), confusion(500)
    for one in (small, large):
        assert [heat(one, one.series[0], column) for column in (0, 1)] == [0.75, 0.25]
        assert [heat(one, one.series[1], column) for column in (0, 1)] == [0, 0]
    shades = [re.findall(r'fill-opacity="([\d.]+)"', svg(one, "")) for one in (small, large)]
    assert shades[0] == shades[1] == ["0.750", "0.250", "0.000", "0.000"]
    assert tips(large)[0][-1] == "1,500 (75.0% of its row)"


def test_names_below_many_columns_stand_apart():
    names = tuple(f"class {n}" for n in range(40))
    rows = tuple(Series(name, names, (1.0,) * 40) for name in names)
    drawn = svg(Figure("f", "", "", "", "", rows, kind="heatmap"), "")
    places = [float(x) for x in re.findall(r'<text class="end" x="([\d.]+)"[^>]*rotate', drawn)]
    assert 5 < len(places) < 40
    assert min(b - a for a, b in pairwise(places)) >= LEAST_COLUMN
    assert drawn.count("<title>") == 1600  # the pointer still knows all of them


def light_of(colour: tuple[float, ...]) -> float:
    """The relative luminance of WCAG 2.1, from red, green and blue up to 255."""
    parts = [one / 255 for one in colour]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((light_of(one), light_of(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_can_be_read_in_light_and_in_dark(scheme):
    colour = {name: rgb(value) for name, value in scheme.items()}
    for ink in ("ink", "soft", "link"):
        for paper in ("paper", "box"):
            assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)
    assert contrast(colour["ink"], colour["warn-box"]) >= 4.5
    for place in range(1, COLOURS + 1):
        assert contrast(colour[f"c{place}"], colour["paper"]) >= 3, place
    for heated in ("heat", "cold"):
        for share in (step / 100 for step in range(101)):
            pairs = zip(colour[heated], colour["paper"], strict=True)
            cell = tuple(share * one + (1 - share) * other for one, other in pairs)
            ink = "on-deep" if share >= DEEP else "on-pale"
            assert contrast(colour[ink], cell) >= 4.5, (heated, share)


def test_names_are_in_the_order_of_their_numbers():
    names = ["run-10", "Run-2", "run-2", "at-0.001", "at-0.00025", "at-1e-5", "b"]
    assert sorted(names, key=natural) == [
        *("at-1e-5", "at-0.00025", "at-0.001", "b", "Run-2", "run-2", "run-10"),
    ]
    assert math.isinf(natural("1e999")[0][1])  # a hash may look like that, and still has a place


def test_points_over_names_are_joined_by_nothing():
    series = (Series("done", ("adam", "muon", "adam"), (80.0, 70.0, 90.0)),)
    figure = Figure("points", "Points", "A caption.", "update", "perplexity", series, kind="points")
    drawn = svg(figure, "words")
    assert 'class="line"' not in drawn
    places = re.findall(r'class="p" d="M([\d.]+) ([\d.]+)', drawn)
    assert len(places) == 3
    assert places[0][0] == places[2][0] != places[1][0]
    assert ">adam<" in drawn
    assert ">muon<" in drawn
    assert "perplexity: 70" in drawn or "perplexity 70" in drawn
