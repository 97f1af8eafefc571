"""Figures and tables: there and back, what is drawn, and what is refused."""

import json
import math
import re

import pytest

from gptjax.errors import UserError
from gptjax.report.drawing import draw, save
from gptjax.report.figures import Figure, Series, Table, load, mean_text, over_seeds

LINES = Figure(
    name="curve",
    title="Loss",
    caption="Of one run.",
    x_label="updates",
    y_label="loss, nats",
    series=(
        Series("_training $5", (1, 10.5, 100), (9.0, 8.0, 5.0), source="runs/a"),
        Series("validation", (10, 100), (8.5, 6.0), (8.0, 5.5), (9.0, 6.5), "runs/a"),
    ),
    log_x=True,
    levels=(("guessing", 9.2), ("paper", 2.5)),
)
BARS = Figure(
    name="bars",
    title="A title that is longer than the picture is wide, so that it has to be wrapped",
    caption="",
    x_label="",
    y_label="accuracy, %",
    series=(
        Series("ours", ("rte", "mnli"), (56.0, 70.5), (56.0, 68.0), (56.0, 73.0)),
        Series("from scratch", ("mnli",), (40.25,)),
    ),
    kind="bars",
    levels=(("paper", 82.1),),
)
HEATMAP = Figure(
    name="heatmap",
    title="Confusion",
    caption="",
    x_label="predicted",
    y_label="gold",
    series=(Series("yes", ("yes", "no"), (1234.0, 5.0)), Series("no", ("yes", "no"), (0.0, 77.0))),
    kind="heatmap",
)
DIAGONAL = Figure("d", "T", "", "x", "y", (Series("s", (0.0, 1.0), (0.5, 2.0)),), diagonal="equal")
LEVEL = (Series("s", (1, 2), (0.0, 0.0)),)
TABLE = Table("table", "T", "C", ("a", "b"), (("1", "2 ± 3"), ("–", "<b>")), ("runs/a", ""))


def test_saved_and_loaded_is_the_same(tmp_path):
    figures = [LINES, BARS, HEATMAP, DIAGONAL]
    save(tmp_path / "new", figures, [TABLE])
    assert load(tmp_path / "new") == (figures, [TABLE])
    names = {f"{figure.name}.{kind}" for figure in figures for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names | {
        *("figures.json", "table.md")
    }


def test_a_table_in_markdown(tmp_path):
    save(tmp_path, [], [Table("t", "T", "C.", ("a", "b|c"), (("1", "2"),), ("runs/a",))])
    text = "**T.** C.\n\n| a | b\\|c |\n| --- | --- |\n| 1 | 2 |\n"
    assert (tmp_path / "t.md").read_text(encoding="utf-8") == text


def test_the_same_figure_is_the_same_file(tmp_path):
    for folder in ("one", "two"):
        save(tmp_path / folder, [LINES])
    for name in ("curve.png", "curve.svg", "figures.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def legend(drawing):
    return [text.get_text().strip() for legend in drawing.legends for text in legend.get_texts()]


def test_lines_are_drawn_where_their_numbers_are():
    drawing = draw(LINES)
    (axes,) = drawing.axes
    assert legend(drawing) == ["_training $5", "validation", "guessing", "paper"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    for series in LINES.series:
        assert (list(series.x), list(series.y)) in drawn
    assert [9.2, 9.2] in [list(y) for _, y in drawn]
    assert len({line.get_color() for line in axes.lines[:2]}) == 2
    assert len({line.get_linestyle() for line in axes.lines[:2]}) == 2
    assert len({line.get_marker() for line in axes.lines[:2]}) == 2
    (band,) = axes.collections  # around the series that has a spread
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (5.5, 9.0)
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "loss, nats")


def test_a_logarithmic_axis_has_a_number_at_each_place_with_room():
    def numbers(*x: float) -> list[str]:
        series = (Series("s", x, tuple(map(float, range(len(x))))),)
        (axes,) = draw(Figure("f", "", "", "", "", series, log_x=True)).axes
        low, high = axes.get_xlim()
        ticks = [x for x in axes.get_xticks() if low <= x <= high]
        small = axes.get_xticks(minor=True)
        assert not any(axes.xaxis.get_minor_formatter().format_ticks(small))
        return list(axes.xaxis.get_major_formatter().format_ticks(ticks))

    assert numbers(30, 100, 300, 1000, 4905) == ["30", "100", "300", "1,000", "4,905"]
    assert numbers(100, 300) == ["100", "300"]  # less than a decade
    assert numbers(30, 900, 1000) == ["50", "100", "200", "500", "1,000"]
    assert numbers(100) == ["100"]
    # Where there are too many places, round numbers stand for them, as many as have room.
    assert numbers(*(1e-5 * 1.05**i for i in range(140))) == ["1e-05", "0.0001", "0.001"]
    assert numbers(*(1e-4 + 1e-5 * i for i in range(40))) == ["0.0001", "0.0002"]
    assert numbers(*(3.3e-4 + 1e-6 * i for i in range(60))) == ["0.00033", "0.000389"]


def test_points_stand_where_their_numbers_or_names_are():
    series = (Series("", (0.001, 0.1, 0.001), (1.0, 100.0, 5.0)),)
    (axes,) = draw(Figure("f", "", "", "", "", series, "points", log_x=True, log_y=True)).axes
    (drawn,) = axes.lines
    assert list(drawn.get_xdata()) == [0.001, 0.1, 0.001]
    assert list(drawn.get_ydata()) == [1.0, 100.0, 5.0]
    assert drawn.get_linestyle() == "None"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {1.0, 5.0, 100.0} <= set(axes.get_yticks())
    named = (Series("", ("pre", "post", "pre"), (1.0, 2.0, 3.0)),)
    (axes,) = draw(Figure("f", "", "", "", "", named, "points")).axes
    assert list(axes.lines[0].get_xdata()) == [0, 1, 0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["pre", "post"]


@pytest.mark.parametrize("count", [6, 12, 13, 24, 40])
def test_many_names_below_bars_do_not_touch(count):
    names = tuple(f"a rather long name {i}" for i in range(count))
    series = (Series("", names, tuple(map(float, range(count)))),)
    drawing = draw(Figure("f", "", "", "", "", series, "bars"))
    drawing.draw_without_rendering()
    labels = drawing.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == list(names)
    # Lines at an angle are as far apart as its sine makes of the room of a bar.
    places = [label.get_window_extent().x1 for label in labels]
    room = (places[-1] - places[0]) / (count - 1) * math.sin(math.radians(labels[0].get_rotation()))
    assert labels[0].get_fontsize() * drawing.dpi / 72 <= room


def test_bars_stand_over_their_names():
    drawing = draw(BARS)
    (axes,) = drawing.axes
    assert legend(drawing) == ["ours", "from scratch", "paper"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["rte", "mnli"]
    bars = [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in axes.patches]
    assert bars == [(0, 56.0), (1, 70.5), (1, 40.25)]
    (errors,) = [found for found in axes.collections if len(found.get_segments()) == 2]
    assert errors.get_segments()[1][:, 1] == pytest.approx([68.0, 73.0])
    assert axes.get_title(loc="left").replace("\n", " ") == BARS.title


def test_a_heatmap_has_its_numbers_in_the_cells():
    (axes,) = draw(HEATMAP).axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "1,234", (1, 0): "5", (0, 1): "0", (1, 1): "77"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["yes", "no"]
    assert axes.images[0].get_array().tolist() == [[1234.0, 5.0], [0.0, 77.0]]


def test_a_diagonal_is_where_both_are_equal():
    drawing = draw(DIAGONAL)
    line = drawing.axes[0].lines[-1]
    assert list(line.get_xdata()) == list(line.get_ydata()) == [0.0, 2.0]
    assert legend(drawing) == ["s", "equal"]


def test_text_stays_text(tmp_path):
    save(tmp_path, [LINES])
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "curve.svg").read_text())
    assert {"Loss", "updates", "validation", "guessing"} <= {text.strip() for text in texts}


def test_the_spread_over_seeds_is_the_sample_standard_deviation():
    found = over_seeds("s", {"a": [1.0, 3.0], "b": [5.0]}, "runs/a")
    assert (found.x, found.y, found.source) == (("a", "b"), (2.0, 5.0), "runs/a")
    assert found.high == pytest.approx((2 + 2**0.5, 5.0))
    assert found.low == pytest.approx((2 - 2**0.5, 5.0))
    assert over_seeds("s", {1: [2.0], 2: [3.0]}).low is None
    assert [mean_text([1.0, 3.0], 1), mean_text([2.0], 2)] == ["2.0 ± 1.4", "2.00"]


def test_an_axis_of_whole_numbers_has_no_halves():
    (axes,) = draw(Figure("f", "", "", "", "", (Series("s", (0, 1, 2), (1.0, 2.0, 3.0)),))).axes
    assert set(axes.get_xticks()) <= set(range(-1, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Series("s", (1, 2), (1.0,)), "1 numbers in y for 2 in x"),
        (lambda: Series("s", (1,), (1.0,), low=(1.0,)), "low and high come together"),
        (lambda: Series("s", (1,), (float("nan"),)), "not finite"),
        (lambda: Figure("f", "", "", "", "", ()), "nothing to draw"),
        (lambda: Figure("A b", "", "", "", "", LINES.series), "no name of a figure"),
        (lambda: Figure("f", "", "", "", "", BARS.series), "not over names"),
        (lambda: Figure("f", "", "", "", "", DIAGONAL.series, log_x=True), "of positive numbers"),
        (lambda: Figure("f", "", "", "", "", BARS.series, "points", log_x=True), "of positive num"),
        (lambda: Figure("f", "", "", "", "", LEVEL, "points", log_y=True), "of positive numbers"),
        (lambda: Figure("f", "", "", "", "", BARS.series, "bars", log_y=True), "lines and points"),
        (lambda: Figure("f", "", "", "", "", LEVEL, "points", diagonal="="), "diagonal is of lin"),
        (lambda: Figure("f", "", "", "", "", BARS.series, kind="heatmap"), "the same columns"),
        (lambda: Table("t", "", "", ("a",), (("1", "2"),), ("",)), "has not 1 cells"),
        (lambda: Table("t", "", "", ("a",), (("1",),), ()), "0 sources for 1 rows"),
    ],
)
def test_what_cannot_be_shown_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: "{}", "is damaged"),
        (lambda text: text.replace('"title"', '"titel"'), "titel"),
        (lambda text: text.replace('"lines"', '"pie"'), "unknown kind of figure 'pie'"),
        (lambda text: text.replace("8.5", '"8.5"'), "is no float"),
        (lambda text: text.replace("8.5", "NaN"), "finite number"),
    ],
)
def test_damaged_figures_are_named(tmp_path, damage, message):
    save(tmp_path, [LINES], [TABLE])
    path = tmp_path / "figures.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message) as raised:
        load(tmp_path)
    assert str(path) in str(raised.value)


def test_nothing_there_and_two_of_one_name(tmp_path):
    with pytest.raises(UserError, match=r"figures\.json: no such file"):
        load(tmp_path)
    with pytest.raises(UserError, match="two figures or tables would be named curve"):
        save(tmp_path, [LINES, LINES])
    assert json.dumps(LINES.levels)  # plain values all through
