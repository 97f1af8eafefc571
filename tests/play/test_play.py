"""The app: which models it opens, what its HTML is, and what is refused; without a browser."""

import math
import re
import shutil
import socket
import string
import sys
from dataclasses import replace

import pytest

from gptjax.cli import main
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.errors import UserError
from gptjax.evaluation.model import Model, load
from gptjax.models.bilm_config import BiLMConfig
from gptjax.play import drawing, page
from gptjax.play.drawing import Bar, Coloured, Grid
from gptjax.play.shelf import Place, Shelf
from gptjax.play.studio import Studio
from gptjax.play.task_view import boxes, row_of
from gptjax.play.views import VIEWS, Asked
from gptjax.runs.folder import RunFolder
from tests.recorded.replay import HERE

PRETRAINED, TUNED = str(HERE / "pretrained"), str(HERE / "interrupted-finetuning")
NASTY = "<script>alert(1)</script> & \"'${x} {{y}}"


@pytest.fixture(scope="module")
def studio():
    return Studio(Shelf([PRETRAINED, TUNED]))


def test_a_shelf_has_each_run_and_its_checkpoints():
    shelf = Shelf([TUNED])
    assert shelf.shown == [TUNED]
    assert list(shelf.places) == [TUNED, f"{TUNED} · best/6", f"{TUNED} · last/29"]
    assert shelf.open(f"{TUNED} · last/29").checkpoint == "last/29"
    assert shelf.open(TUNED) is shelf.open(TUNED)


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(TUNED, run)
    shutil.move(run / "checkpoints/best/6", run / "checkpoints/best/60")
    places = [one.checkpoint for one in Shelf([str(run)]).places.values()]
    assert places == ["auto", "last/29", "best/60"]


def test_two_checkpoints_of_a_run_stand_side_by_side():
    shelf = Shelf([TUNED], ["6", "last"])
    assert [shelf.open(name).checkpoint for name in shelf.shown] == ["best/6", "last/29"]


@pytest.mark.parametrize(
    ("runs", "checkpoints", "message"),
    [
        ((), (), "`run`: give one or two of them, and not 0"),
        ((PRETRAINED,) * 3, (), "`run`: give one or two of them, and not 3"),
        ((PRETRAINED,) * 2, ("best",), "`checkpoint`: give one for each `run`"),
        ((PRETRAINED,), ("1", "2", "3"), "`checkpoint`: give one for each `run`"),
    ],
)
def test_what_does_not_fit_is_refused(runs, checkpoints, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Shelf(runs, checkpoints)


def test_the_views_are_those_that_the_models_have(studio):
    assert list(studio.titles) == ["task", "next", "surprise", "layers", "attention"]
    assert (studio.layers, studio.heads) == (2, 2)
    assert (studio.boxes, studio.labels) == (["text"], ["bad", "good"])
    assert list(Studio(Shelf([str(HERE / "lstm")])).titles) == ["next", "surprise", "layers"]


def test_a_bidirectional_model_that_was_not_fine_tuned_is_refused(monkeypatch):
    model = BiLMConfig(vocabulary_size=257, context_length=8, num_layers=1, width=8, units=4)
    run = Model(RunFolder(HERE), model, ByteTokenizer(), {}, 0, "best/0")
    shelf = Shelf([PRETRAINED])
    monkeypatch.setattr(shelf, "open", lambda name: run)
    with pytest.raises(UserError, match=r"model\.kind bilm: .* cannot tell of the next token"):
        Studio(shelf)


def test_a_side_that_cannot_be_shown_says_why_beside_the_other(studio):
    studio.shelf.places["gone"] = Place(str(HERE / "no such run"), "auto")
    found = studio.view("next", Asked(text="the"), ["gone", PRETRAINED])
    assert found.count('class="note"') == 1
    assert found.count("data-token=") == 12


@pytest.mark.parametrize("name", ["task", "next", "surprise", "layers", "attention"])
def test_what_a_person_typed_is_text(studio, name):
    asked = Asked(text=NASTY, row={"text": NASTY})
    found = studio.view(name, asked, [TUNED])
    assert "<script" not in found
    assert 'class="note"' not in found
    whole = page.document(NASTY, NASTY, [(NASTY, found)])
    assert whole.count("<script>") == 1


def test_bars_have_the_models_probabilities(studio):
    run = load(PRETRAINED)
    found = studio.view("next", Asked(text="the"), [PRETRAINED])
    shown = re.findall(r'data-token="(\d+)" data-probability="([^"]+)"', found)
    logits = run.logits("the")[-1].astype(float)
    total = math.log(sum(math.exp(one - logits.max()) for one in logits)) + logits.max()
    assert len(shown) == 12
    for token, probability in shown:
        assert float(probability) == pytest.approx(math.exp(logits[int(token)] - total), rel=1e-4)
    widths = [float(one) for one in re.findall(r'class="bar" style="width: ([\d.]+)%', found)]
    assert widths == sorted(widths, reverse=True)
    assert 40 <= widths[0] <= 100


def test_both_sides_have_one_axis(studio):
    def tops(asked, *names):
        return re.findall(r'data-top="([\d.]+)"', studio.view("next", asked, names))

    # The probabilities of one of the two rise above the next mark of the scale.
    for text in string.ascii_letters:
        asked = Asked(text=text)
        alone = [float(*tops(asked, one)) for one in (PRETRAINED, TUNED)]
        if alone[0] != alone[1]:
            break
    assert alone[0] != alone[1]
    assert tops(asked, PRETRAINED, TUNED) == [str(max(alone))] * 2


def test_a_click_counts_on_the_side_where_it_is_made(studio):
    gr = pytest.importorskip("gradio")
    from gptjax.play.app import _App

    with gr.Blocks():
        app = _App(studio, "the old")
    given = {name: getattr(one, "value", None) for name, one in app.inputs.items()}
    runs = [studio.shelf.open(name) for name in (PRETRAINED, TUNED)]
    found = []
    app._written = lambda name, tokens: found.append((name, tokens))
    for side in (0, 1):
        app.click(gr.EventData(None, {"side": side, "token": 7}), *given.values())
    ids = [run.tokenizer.encode_beginnings(["the old"])[0].tolist() for run in runs]
    assert found == [(PRETRAINED, [*ids[0], 7]), (TUNED, [*ids[1], 7])]


def test_what_is_known_of_tokens_ends_when_somebody_types(studio):
    gr = pytest.importorskip("gradio")
    from gptjax.play.app import NOBODY, _App

    with gr.Blocks():
        app = _App(studio, "ab")
    given = {name: getattr(one, "value", None) for name, one in app.inputs.items()}
    given |= {"typed": ("ab", (9, 8), "print"), "right": NOBODY, "temperature": 1, "layer": 2.0}
    asked, chosen = app.asked(tuple(given.values()))
    assert (asked.ids, asked.fingerprint, chosen) == ((9, 8), "print", [PRETRAINED])
    assert (asked.label, asked.row) == (None, {"text": ""})
    asked, _ = app.asked(tuple((given | {"text": "abc"}).values()))
    assert (asked.text, asked.ids, asked.fingerprint) == ("abc", (), "")


def test_nothing_that_is_drawn_is_markup():
    """Whatever a model or a person writes: tags are those of the template."""
    token = Coloured(NASTY, 0.5, NASTY)
    bar = Bar(NASTY, 0.5, 0.5, 1, title=NASTY)
    for found in (
        drawing.bars([bar], 1.0, clickable=True),
        drawing.bars([bar], 1.0, clickable=False),
        drawing.coloured([token], NASTY),
        drawing.scale(NASTY, NASTY, NASTY, both=True),
        drawing.grid(Grid("words", [NASTY], [(NASTY, [token])]), NASTY),
        page.sides([(NASTY, ""), (NASTY, "")]),
        page.note(NASTY),
    ):
        assert "<script" not in found
        assert "alert(1)" in found
        assert "\"'$" not in found  # nor does a quotation mark end an attribute


def test_tokens_that_were_clicked_are_kept_for_their_own_tokenizer():
    run = load(PRETRAINED)
    clicked = Asked(text="ab", ids=(9, 8), fingerprint=run.tokenizer.fingerprint)
    assert clicked.prompt(run) == [9, 8]
    other = Asked(text="ab", ids=(9, 8), fingerprint="another")
    assert other.prompt(run) == run.tokenizer.encode_beginnings(["ab"])[0].tolist()


def test_a_row_that_is_not_filled_in_waits(studio):
    assert "Fill in the row above." in studio.view("task", Asked(), [TUNED])
    assert "was not fine-tuned" in studio.view("task", Asked(row={"text": "a"}), [PRETRAINED])


def test_the_row_of_a_choice_has_an_option_for_each_box():
    task = replace(TASKS["rocstories"], labels=("1", "2", "3"))
    names = boxes(task)
    assert names == ["context", "question", "option 1", "option 2", "option 3"]
    typed = {"context": "c", "option 1": "a", "option 2": "b"}
    assert row_of(task, typed) is None
    whole = row_of(task, {**typed, "option 3": "d"})
    assert whole == {"context": "c", "question": "", "options": ["a", "b", "d"]}
    fewer = replace(task, fewer_options=True)
    assert row_of(fewer, typed)["options"] == ["a", "b", ""]
    assert row_of(fewer, {**typed, "option 2": " "}) is None
    assert row_of(fewer, {**typed, "context": " "}) is None


def test_every_view_has_a_token_with_words(studio):
    asked = Asked(text="the old\nhouse", row={"text": "the old house"})
    for name in (*VIEWS, "task"):
        if name not in ("next", "unit"):
            found = studio.view(name, asked, [TUNED])
            assert re.search(r'data-tip="[^"]*\d', found), name


def test_the_depth_of_a_colour_is_the_surprise(studio):
    run = load(PRETRAINED)
    found = studio.view("surprise", Asked(text="the old"), [PRETRAINED])
    shares = [float(one) for one in re.findall(r"--share: ([\d.]+)%", found)]
    bits = -run.log_probability("the old") / math.log(2)
    assert sum(shares) * 16 / 100 == pytest.approx(bits, abs=0.02)
    assert f"{bits:,.1f} bits together" in found


def test_marks_of_drawing():
    found = drawing.coloured([Coloured("a", -0.9, "tip"), Coloured("b", 0.2, "", True)], "name")
    assert 'class="token below deep" tabindex="0" style="--share: 90.0%"' in found
    assert 'class="token special" tabindex="-1"' in found
    assert [drawing.visible(one) for one in (" a", "\n", "", "\x07")] == ["␣a", "⏎", "∅", "�"]
    assert [drawing.percent(one) for one in (0.1234, 1e-6, 0.0)] == ["12.34 %", "1.0e-04 %", "0 %"]
    assert [drawing.top_of([x]) for x in (0.004, 0.05, 0.051, 1.0)] == [0.01, 0.05, 0.1, 1.0]
    assert "disabled" in drawing.bars([Bar("end", 0.5, 0.5, 1, ends=True)], 1.0, clickable=True)


def test_the_file_stands_alone(studio):
    asked = Asked(text="the old house", row={"text": "the old"})
    text = studio.document(asked, [PRETRAINED, TUNED])
    assert not re.search(r"@import|url\(|https?://|<link|<img", text)
    assert "default-src 'none'" in text
    assert '<fieldset class="views" disabled>' in text
    for title in studio.titles.values():
        assert f"<h2>{title}</h2>" in text
    assert "prefers-color-scheme: dark" in text


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys, monkeypatch):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["play", "--run", PRETRAINED, "--port", port]) == 2
    assert f"gptjax: --port {port}: cannot be had" in capsys.readouterr().err
    assert main(["play", "--run", PRETRAINED, "--probe", str(tmp_path)]) == 2
    assert "there is no results.json of a probe" in capsys.readouterr().err
    copy = tmp_path / "run"
    shutil.copytree(PRETRAINED, copy)
    shutil.rmtree(copy / "tokenizer")
    assert main(["play", "--run", str(copy)]) == 2
    assert "tokenizer" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "gptjax.play.app", raising=False)
    assert main(["play", "--run", PRETRAINED]) == 2
    assert "pip install 'gptjax[play]'" in capsys.readouterr().err
