"""The app: text, sliders and tabs around the views, on Gradio. It asks no other machine."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from gptjax.colours import DARK, LIGHT
from gptjax.errors import UserError
from gptjax.evaluation.next_token import draw_on
from gptjax.play import page
from gptjax.play.studio import Studio
from gptjax.play.views import Asked

# Gradio reads this when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
try:
    import gradio as gr
except ImportError as error:
    raise UserError(f"Gradio cannot be imported ({error}); pip install 'gptjax[play]'") from error

HOST = "127.0.0.1"
NOBODY = "nothing"  # beside the first model
DRAWN = 10  # tokens at once
MEASURES = ("gradient × input", "leave one out")
FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
# A click on a bar; after it, the keys stay where they were.
CLICKS = """
element.addEventListener("click", (event) => {
  const bar = event.target.closest("button[data-token]");
  if (!bar) return;
  element.dataset.focus = bar.dataset.side;
  trigger("click", {side: Number(bar.dataset.side), token: Number(bar.dataset.token)});
});
watch("value", () => {
  const side = element.dataset.focus;
  delete element.dataset.focus;
  if (side) element.querySelector(`button[data-side="${side}"]`)?.focus();
});
"""
# What the server answered becomes a file of the browser's.
DOWNLOAD = """
(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/html"}));
  link.download = "gptjax-play.html";
  link.click();
  URL.revokeObjectURL(link.href);
}
"""
CSS = "footer { display: none !important; } .gradio-container { max-width: 80rem !important; }"
# The views have styles of their own.
PLAIN: dict[str, Any] = {"apply_default_css": False}
WIDE: dict[str, Any] = {"min_width": 280}  # two of them stand above each other on a phone
SMALL: dict[str, Any] = {"size": "sm", "scale": 0, "min_width": 200}
# Of all events: one at a time asks a model, and nobody but the page may.
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "model",
}
# Of what one types: what was typed meanwhile counts, and nothing between.
LIVE: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}


def build(studio: Studio, text: str = "") -> gr.Blocks:
    """The app; ``text`` is what is there to begin with."""
    with gr.Blocks(analytics_enabled=False, title="gptjax play") as app:
        _App(studio, text).connect(app)
    return app


def serve(app: gr.Blocks, port: int) -> str:
    """Begin to serve the app on this machine alone, and return its address.

    Args:
        app: from `build`.
        port: 0 is a free one.

    Raises:
        UserError: the port is taken.
    """
    theme = gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=MONOSPACED)
    papers = {"": LIGHT["paper"], "_dark": DARK["paper"]}
    theme.set(**{f"body_background_fill{name}": paper for name, paper in papers.items()})
    app.launch(
        server_name=HOST,
        server_port=_port(port),
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        theme=theme,
        css=page.sheet() + CSS,
        head=f"<script>{page.script()}</script>",
    )
    return str(app.local_url)


def _port(port: int) -> int:
    """The port, if nobody serves there; a free one for 0."""
    with socket.socket() as own:
        # As the server does, so that one that was just left can be had again.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"`port={port}`: cannot be had ({error.strerror}); give another one, or 0 for one "
                "that is free"
            ) from error
        return int(own.getsockname()[1])


class _App:
    """The components, and what happens between them.

    Attributes:
        inputs: what is asked, by name; functions are given their values in this order.
        places: where each view is shown, by its name.
        tabs: their tabs.
        buttons: what can be pressed, by name.
    """

    def __init__(self, studio: Studio, text: str) -> None:
        self.studio = studio
        self.inputs: dict[str, Any] = {}
        self.places: dict[str, Any] = {}
        self.tabs: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self.shown = gr.State(next(iter(studio.titles)))
        self.seed = gr.State(0)
        gr.HTML(studio.about(), **PLAIN)
        self._choices()
        # A task has boxes of its own.
        shown = next(iter(studio.titles)) != "task"
        look: dict[str, Any] = {"lines": 3, "max_lines": 12, "visible": shown}
        self.inputs["text"] = gr.Textbox(text, label="Text", elem_id="text", **look)
        self.inputs["typed"] = gr.State(("", (), ""))  # text, tokens, and of which tokenizer
        with gr.Tabs():
            for name, title in studio.titles.items():
                with gr.Tab(title, id=name) as self.tabs[name]:
                    self._controls(name)
                    clicks = {"js_on_load": CLICKS} if name == "next" else {}
                    self.places[name] = gr.HTML(elem_id=name, **PLAIN, **clicks)
        self.buttons["save"] = gr.Button("Save as one HTML file", elem_id="save", **SMALL)
        self.file = gr.Textbox(visible="hidden")

    def _choices(self) -> None:
        """The models of both sides, where there is a choice."""
        names, shown = list(self.studio.shelf.places), self.studio.shelf.shown
        second = shown[1] if len(shown) > 1 else NOBODY
        if len(names) == 1:
            self.inputs |= {"left": gr.State(shown[0]), "right": gr.State(NOBODY)}
            return
        with gr.Row():
            left = gr.Dropdown(names, value=shown[0], label="Model", elem_id="left", **WIDE)
            others = [NOBODY, *names]
            right = gr.Dropdown(others, value=second, label="Beside it", elem_id="right", **WIDE)
        self.inputs |= {"left": left, "right": right}

    def _controls(self, name: str) -> None:
        """What can be set of a view."""
        studio = self.studio
        if name == "next":
            with gr.Row():
                self._slider("temperature", 0.0, 2.0, 1.0, 0.05)
                self._slider("top_p", 0.05, 1.0, 1.0, 0.05)
            with gr.Row():
                for key, words in (("draw", f"Draw {DRAWN} tokens"), ("back", "Take one back")):
                    self.buttons[key] = gr.Button(words, elem_id=key, **SMALL)
        if name == "attention":
            with gr.Row():
                self._slider("layer", 1.0, float(studio.layers), 1.0, 1.0)
                self._slider("head", 1.0, float(studio.heads), 1.0, 1.0)
        if name == "task":
            for number, box in enumerate(studio.boxes):
                self.inputs[f"row {box}"] = gr.Textbox(
                    label=box.capitalize(), lines=2, elem_id=f"row-{number}"
                )
            with gr.Row():
                self.inputs["measure"] = gr.Radio(
                    list(MEASURES), value=MEASURES[0], label="Which tokens mattered"
                )
                choices = [("the likeliest", ""), *((one, one) for one in studio.labels)]
                self.inputs["label"] = gr.Dropdown(choices, value="", label="For the answer")

    def _slider(self, name: str, low: float, high: float, value: float, step: float) -> None:
        label = name.replace("_", "-").capitalize()
        self.inputs[name] = gr.Slider(
            low, high, value, step=step, label=label, buttons=[], elem_id=name, **WIDE
        )

    def connect(self, app: gr.Blocks) -> None:
        """What happens when."""
        given, places = list(self.inputs.values()), list(self.places.values())
        asked: dict[str, Any] = {"inputs": [self.shown, *given], "outputs": places}
        app.load(self.update, **asked, **LIVE)
        for component in given:
            if not isinstance(component, gr.State):
                # Not `input`, which comes before the value of a text that was pasted. So what a
                # function writes into the text is shown, too.
                component.change(self.update, **asked, **LIVE)
        for name, tab in self.tabs.items():
            turned = [self.shown, self.inputs["text"], *places]
            tab.select(partial(self.turn, name), given, turned, **LIVE)
        self.buttons["save"].click(self.document, given, self.file, **QUIET).then(
            None, self.file, None, js=DOWNLOAD
        )
        if "next" not in self.places:
            return
        written = [self.inputs["text"], self.inputs["typed"]]
        self.places["next"].click(self.click, given, written, **QUIET)
        self.buttons["back"].click(self.back, given, written, **QUIET)
        drawn = [*written, self.seed]
        self.buttons["draw"].click(self.draw, [self.seed, *given], drawn, **QUIET)

    def asked(self, values: tuple[Any, ...]) -> tuple[Asked, list[str]]:
        """What is asked, and of which models."""
        given = dict(zip(self.inputs, values, strict=True))
        chosen = [name for name in (given.pop("left"), given.pop("right")) if name != NOBODY]
        text, ids, fingerprint = given.pop("typed")
        if given["text"] != text:  # somebody typed since
            ids, fingerprint = (), ""
        # A slider gives 1 for 1.0 and the other way round.
        kinds = (("temperature", float), ("top_p", float), ("layer", int), ("head", int))
        given |= {name: kind(given[name]) for name, kind in kinds if name in given}
        row = {name[4:]: given.pop(name) or "" for name in list(given) if name.startswith("row ")}
        known = {"ids": tuple(ids), "fingerprint": fingerprint, "row": row}
        label = given.pop("label", None) or None
        return Asked(**given, **known, label=label, unit=self.studio.unit), chosen

    def update(self, shown: str, *values: Any) -> Any:
        """The view that is shown; the others stay as they are."""
        asked, chosen = self.asked(values)
        found = [
            self.studio.view(name, asked, chosen) if name == shown else gr.skip()
            for name in self.places
        ]
        return found if len(found) > 1 else found[0]

    def turn(self, name: str, *values: Any) -> Any:
        """Another tab, and its view."""
        found = self.update(name, *values)
        text = gr.update(visible=name != "task")
        return [name, text, *(found if isinstance(found, list) else [found])]

    def document(self, *values: Any) -> str:
        """All views as one file."""
        return self.studio.document(*self.asked(values))

    def click(self, event: gr.EventData, *values: Any) -> Any:
        """The text with a token more, of the model on whose side it stands."""
        asked, chosen = self.asked(values)
        name = chosen[event.side]
        tokens = [*asked.prompt(self.studio.shelf.open(name)), event.token]
        return self._written(name, tokens)

    def back(self, *values: Any) -> Any:
        """The text without its last token."""
        asked, chosen = self.asked(values)
        return self._written(chosen[0], asked.prompt(self.studio.shelf.open(chosen[0]))[:-1])

    def draw(self, seed: int, *values: Any) -> Iterator[Any]:
        """The text as the first model goes on with it; each time with another seed."""
        asked, chosen = self.asked(values)
        run = self.studio.shelf.open(chosen[0])
        tokens = asked.prompt(run)
        draws: dict[str, Any] = {"temperature": asked.temperature, "top_p": asked.top_p}
        yield (*self._written(chosen[0], tokens), seed + 1)
        for token in draw_on(run, list(tokens), DRAWN, seed=seed, **draws):
            tokens.append(token)
            yield (*self._written(chosen[0], tokens), seed + 1)

    def _written(
        self, name: str, tokens: list[int]
    ) -> tuple[str, tuple[str, tuple[int, ...], str]]:
        """A text and what is known of its tokens."""
        tokenizer = self.studio.shelf.open(name).tokenizer
        text = tokenizer.decode(tokens)
        return text, (text, tuple(tokens), tokenizer.fingerprint)
