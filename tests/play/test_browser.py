"""A browser opens the app, clicks and types; no request goes to another machine."""

import math
import shutil

import pytest

from gptjax.evaluation.model import load
from tests.recorded.replay import HERE

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: the app was not opened"),
]
PRETRAINED, TUNED = str(HERE / "pretrained"), str(HERE / "interrupted-finetuning")
LONG = 60_000  # milliseconds


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("gradio")
    from gptjax.play.app import build, serve
    from gptjax.play.shelf import Shelf
    from gptjax.play.studio import Studio

    app = build(Studio(Shelf([TUNED, PRETRAINED])), "the old")
    yield serve(app, 0)
    app.close(verbose=False)


@pytest.fixture
def page(address):
    """The page, and the addresses of all that it asked for."""
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(LONG)
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector(".views .sides")
        yield page
        browser.close()
    assert errors == []
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def turn(page, name):
    """Go to a tab; on a phone some are behind a button."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.is_visible():
        tab.click()
    else:
        page.locator(".overflow-menu button").first.click()
        page.get_by_text(name, exact=True).last.click()


def test_a_click_on_a_bar_goes_on_with_its_token(page):
    run = load(PRETRAINED)
    turn(page, "Next token")
    side = page.locator("#next .side").nth(1)
    bars = side.locator("button[data-token]:enabled")
    bars.first.wait_for()
    before = page.locator("#text textarea").input_value()
    assert before == "the old"
    for number in range(3):
        bar = bars.nth(number)
        token, shown = int(bar.get_attribute("data-token")), bar.locator(".number").inner_text()
        ids = [*run.tokenizer.encode_beginnings([before])[0].tolist(), token]
        longer = run.tokenizer.decode(ids)
        if run.tokenizer.encode_beginnings([longer])[0].tolist() == ids:
            break
    added = run.log_probability(longer) - run.log_probability(before)
    assert abs(math.exp(added) - float(shown.removesuffix(" %")) / 100) < 1e-4
    bar.click()
    page.wait_for_function(
        "text => document.querySelector('#text textarea').value === text", arg=longer
    )
    page.click("#back")
    page.wait_for_function(
        "text => document.querySelector('#text textarea').value === text", arg=before
    )


def test_a_row_has_the_probabilities_of_predict(page):
    turn(page, "Task: mood")
    text = "the old house was bright"
    page.fill("#row-0 textarea", text)
    page.locator("#task .side").first.locator(".token").first.wait_for()
    rows = page.locator("#task .side").first.locator(".bars .row")
    found = {
        rows.nth(n).locator(".word").inner_text(): float(
            rows.nth(n).get_attribute("data-probability")
        )
        for n in range(rows.count())
    }
    expected = load(TUNED).predict([text])[0]["probabilities"]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_token_says_what_was_likelier_to_the_pointer_and_to_the_keys(page):
    turn(page, "Surprise")
    tokens = page.locator("#surprise .side").first.locator(".token")
    tokens.first.wait_for()
    tokens.first.focus()
    tip = page.locator("#play-tip")
    first = tip.inner_text()
    assert "rank" in first
    assert len(first.splitlines()) == 9
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() != first
    for number in range(tokens.count()):  # nowhere beyond the edge
        tokens.nth(number).hover()
        box = tip.bounding_box()
        assert 0 <= box["x"] <= 390 - box["width"]
        assert box["width"] > 150  # nor squeezed at it
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    tokens.first.hover()
    assert tip.inner_text() == first


def test_nothing_is_wider_than_a_phone(page):
    for name in ("Next token", "Surprise", "Layers", "Attention", "Task: mood"):
        turn(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_the_file_that_is_saved_opens_by_itself(page, tmp_path):
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "saved.html")
    text = (tmp_path / "saved.html").read_text(encoding="utf-8")
    assert download.value.suggested_filename == "gptjax-play.html"
    assert text.startswith("<!DOCTYPE html>")
    assert "<h2>Surprise</h2>" in text
