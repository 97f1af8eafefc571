"""The views of the models that are chosen: which there are, and their HTML."""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from gptjax.errors import GptjaxError
from gptjax.evaluation.unit_values import Unit
from gptjax.play import page
from gptjax.play.shelf import Shelf
from gptjax.play.task_view import boxes, task_view
from gptjax.play.views import TITLES, VIEWS, Asked, View, longest_bar
from gptjax.runs.predictions import class_names

FACTS = ("parameters", "vocabulary", "context", "task")
ALL: Mapping[str, View] = {"task": task_view, **VIEWS}


class Studio:
    """Views of the models of a shelf.

    Args:
        shelf: the models; those that are shown first are opened.
        unit: whose values colour the text, or None.

    Attributes:
        titles: by the name of a view what it is called, in order.
        layers, heads: of the first model with attention, or 0.
        boxes: the texts of a row of the task.
        labels: its labels.

    Raises:
        UserError: a model of which there is nothing to see.
    """

    def __init__(self, shelf: Shelf, unit: Unit | None = None) -> None:
        self.shelf, self.unit = shelf, unit
        models = [shelf.open(name) for name in shelf.shown]
        tuned = next((one for one in models if one.task is not None), None)
        for model in models:
            if model.task is None:
                model.model.check_causal("tell of the next token")
        causal = [one for one in models if not one.model.bidirectional]
        heads = next((one.model for one in causal if one.model.attention_scores()), None)
        self.layers = 0 if heads is None else heads.num_layers
        self.heads = 0 if heads is None else heads.num_heads or 0
        self.boxes: list[str] = []
        self.labels: list[str] = []
        titles: dict[str, str] = {}
        if tuned is not None and tuned.task is not None:
            titles["task"] = f"Task: {tuned.task.name}"
            self.boxes, self.labels = boxes(tuned.task), list(class_names(tuned.task))
        if causal:
            titles |= {name: TITLES[name] for name in ("next", "surprise", "layers")}
        if heads is not None:
            titles["attention"] = TITLES["attention"]
        if unit is not None:
            titles["unit"] = f"{TITLES['unit']} {unit.number}"
        self.titles = titles

    def view(self, name: str, asked: Asked, chosen: Sequence[str]) -> str:
        """The HTML of a view, of the models of these names; what cannot be shown says why."""
        parts = []
        if name == "next" and len(chosen) > 1:  # one axis for both
            asked = replace(asked, top=self._longest(asked, chosen))
        for side, place in enumerate(chosen):
            try:
                part = ALL[name](self.shelf.open(place), asked, side)
            except GptjaxError as error:
                part = page.note(str(error))
            parts.append((place, part))
        return page.views(page.sides(parts))

    def _longest(self, asked: Asked, chosen: Sequence[str]) -> float | None:
        """The end of the axis of both; what cannot be shown has none."""
        ends = []
        for place in chosen:
            with suppress(GptjaxError):
                ends.append(longest_bar(self.shelf.open(place), asked))
        return max(ends, default=None)

    def document(self, asked: Asked, chosen: Sequence[str]) -> str:
        """All views as one HTML file, without those that have nothing to show yet."""
        parts = [
            (title, self.view(name, asked, chosen))
            for name, title in self.titles.items()
            if name != "task" or any(asked.row.values())
        ]
        title = f"gptjax play: {' beside '.join(chosen)}"
        return page.document(title, asked.text, parts)

    def about(self) -> str:
        """The head of the page: a line for each model, of what it is."""
        lines = []
        for name in dict.fromkeys(self.shelf.shown):
            facts = self.shelf.open(name).about()
            words = [facts.pop("model")]
            words += [f"{key} {facts[key]}" for key in FACTS if key in facts]
            lines.append(f"<p>{html.escape(name)}: {html.escape(', '.join(words))}</p>")
        return page.views(f'<div class="about"><h1>gptjax play</h1>{"".join(lines)}</div>')
