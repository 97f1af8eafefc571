"""README.md of an exported model: what it is, what it was trained on, what it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptjax.models.transformer import TransformerConfig

LANGUAGE = """
model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
inputs = tokenizer("The ", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))
"""
SINGLE = """
model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
# One text, or two: the tokenizer puts start, delimiter and extract around them.
inputs = tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)
print(model.config.id2label[model(**inputs).logits.argmax().item()])
"""
CHOICE = """
model = {name}.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
# The context (and question) with each option; the shorter ones are padded.
contexts = [CONTEXT] * len(OPTIONS)
inputs = tokenizer(contexts, OPTIONS, padding=True, return_tensors="pt")
ids, last = inputs["input_ids"][None], inputs["attention_mask"].sum(1)[None] - 1
print(model(input_ids=ids, mc_token_ids=last).mc_logits.argmax())
"""
# By the end of the class's name: the class to import, and how it is used.
USES = {
    "LMHeadModel": ("AutoModelForCausalLM", LANGUAGE),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", SINGLE),
    "DoubleHeadsModel": ("", CHOICE),
}
SUM = """
No class of transformers adds the states of two sequences. `gptjax_head.safetensors` has the
kernel [width, classes] and the bias [classes]: with the last hidden states a and b at
`<|extract|>` of (first, second) and (second, first), the logits are (a + b) @ kernel + bias, and
their classes are in `gptjax_head.json`.
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
    sums: bool,
    exact: bool,
) -> str:
    """The text of a model card.

    Args:
        title: the run's name.
        name: the class in transformers that loads it.
        config, checkpoint, meta: the model's config, its checkpoint, and the run's meta.json.
        results: what was measured, empty if nothing was.
        sums: whether its head adds two sequences.
        exact: whether it was trained with GPT-1's exact tokenizer.
    """
    kind = "GPT-1" if config.norm == "post" else "GPT-2"
    auto, use = next(found for end, found in USES.items() if name.endswith(end))
    lines = [
        f"---\nlibrary_name: transformers\ntags: [gptjax, {kind.lower()}]\n---\n",
        f"# {title}\n",
        f"A {kind}: {config.num_layers} blocks of width {config.width}, {config.num_heads} heads, "
        f"context {config.context_length}, {config.vocabulary_size:,} tokens. Exported by gptjax "
        f"(trained at commit {meta.get('commit') or 'unknown'}), checkpoint `{checkpoint}`.\n",
        "```python",
        f"from transformers import AutoTokenizer, {auto or name}",
        use.replace("{name}", name) + "```",
    ]
    lines += [SUM] if sums else [""]
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
