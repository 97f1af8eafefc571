"""README.md of an exported model: what it is, what it was trained on, what it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptjax.interchange.export import Head
from gptjax.models.transformer import TransformerConfig

LANGUAGE = """
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
inputs = tokenizer("The ", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))
"""
SINGLE = """
from transformers import pipeline

# White space in a text is made uniform, a text longer than the context is cut, and the tokenizer
# puts start and extract around it: as in training.
classify = pipeline("text-classification", FOLDER, top_k=None, truncation=True)
print(classify(TEXT))
"""
PAIR = """
from transformers import pipeline

# White space in both texts is made uniform, the first is cut where both are longer than the
# context, and the tokenizer puts start, delimiter and extract around them: as in training. Where
# the second alone fills the context, both are cut: then take truncation=True.
classify = pipeline("text-classification", FOLDER, top_k=None, truncation="only_first")
print(classify({"text": FIRST, "text_pair": SECOND}))
"""
ROW = """
import sys

sys.path.insert(0, FOLDER)  # which has gptjax_predict.py
from gptjax_predict import load

predict = load(FOLDER)
print(predict({ROW}))
"""
SUM = """
No class of transformers adds the states of two sequences. `gptjax_head.safetensors` has the
kernel [width, classes] and the bias [classes]: with the last hidden states a and b at
`<|extract|>` of (first, second) and (second, first), the logits are (a + b) @ kernel + bias.
`gptjax_predict.py` says how the tokens are put together.
"""
CHOICE = """
Context and question are tokenized by themselves and put together as tokens, so that no text joins
them exactly. `gptjax_predict.py` does, and says how.
"""
FAST = """
**The tokenizer here is not the original's.** The model was trained with GPT-1's exact tokenizer
(ftfy, spaCy's words); this folder has the hub's fast one, which cuts some texts otherwise.
"""


@dataclass(frozen=True)
class Measured:
    """Metrics of a task (or `language-modelling`) on one split, and of how many examples."""

    task: str
    split: str
    examples: int
    metrics: Mapping[str, float]


def card(
    *,
    title: str,
    name: str,
    config: TransformerConfig,
    checkpoint: str,
    meta: Mapping[str, Any],
    results: Sequence[Measured],
    head: Head | None,
    exact: bool,
) -> str:
    """The text of a model card.

    Args:
        title: the run's name.
        name: the class in transformers that loads it.
        config, checkpoint, meta: the model's config, its checkpoint, and the run's meta.json.
        results: what was measured, empty if nothing was.
        head: what fine-tuning added, or None.
        exact: whether it was trained with GPT-1's exact tokenizer.
    """
    kind = "GPT-1" if config.norm == "post" else "GPT-2"
    lines = [
        f"---\nlibrary_name: transformers\ntags: [gptjax, {kind.lower()}]\n---\n",
        f"# {title}\n",
        f"A {kind}: {config.num_layers} blocks of width {config.width}, {config.num_heads} heads, "
        f"context {config.context_length}, {config.vocabulary_size:,} tokens. Exported by gptjax "
        f"(trained at commit {meta.get('commit') or 'unknown'}), checkpoint `{checkpoint}`.\n",
        f"transformers loads it as `{name}`.\n",
        f"```python{_use(head)}```",
        *_explained(head),
    ]
    lines += [FAST] if exact else []
    lines += ["## Training", "", f"Command: `{meta.get('command', 'unknown')}`", ""]
    data = meta.get("data", {})
    if data.get("sample"):
        lines += ["**The offline sample of a made-up grammar, not a published task.**", ""]
    for split, facts in data.items():
        if isinstance(facts, dict) and "source" in facts:
            size = facts.get("examples", facts.get("tokens", 0))
            unit = "examples" if "examples" in facts else "tokens"
            lines.append(f"- {split}: {facts['source']} ({size:,} {unit})")
    return "\n".join([*lines, "", "## Results", "", *_table(results)]) + "\n"


def _use(head: Head | None) -> str:
    """How it is asked, in Python."""
    if head is None:
        return LANGUAGE
    if head.kind == "single":
        return SINGLE if len(head.parts) < 2 else PAIR
    names = ", ".join(f'"{part}": {part.upper()}' for part in head.parts)
    return ROW.replace("{ROW}", f"{{{names}}}")


def _explained(head: Head | None) -> list[str]:
    if head is None:
        return [""]
    answers = "The options are" if head.kind == "choice" else "Its answers are"
    if head.scale:
        answers = "Its answers are numbers; the points of their scale are"
    names = ", ".join(f"`{label}`" for label in head.labels)
    more = {"single": "", "choice": CHOICE, "sum": SUM}[head.kind]
    return [more, f"{answers} {names}, in this order.", ""]


def _table(results: Sequence[Measured]) -> list[str]:
    """A row for each metric."""
    if not results:
        return ["None were recorded."]
    rows = [
        f"| {one.task} | {one.split} | {one.examples:,} | {metric} | {value:.6g} |"
        for one in results
        for metric, value in one.metrics.items()
    ]
    head = ["| task | split | examples | metric | value |", "| --- | --- | ---: | --- | ---: |"]
    return [*head, *rows] if rows else []
