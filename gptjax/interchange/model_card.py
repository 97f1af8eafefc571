"""README.md of an exported model: what it is, what it was trained on, what it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from gptjax.interchange.export import Head, HeadKind
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
HERE = """
gptjax opens it, too: `gptjax.load("hf:FOLDER")` in Python, `--run hf:FOLDER` for a command.
"""
FAST = """
**The tokenizer here is not the original's.** The model was trained with GPT-1's exact tokenizer
(ftfy, spaCy's words); this folder has the hub's fast one, which cuts some texts otherwise.
"""

# By the kind of head; None: a language model. The hub's names of what a model is for.
PIPELINES: Mapping[HeadKind | None, str] = {
    None: "text-generation",
    "single": "text-classification",
    "choice": "multiple-choice",
    "sum": "sentence-similarity",
}
# The hub's names of metrics, where they are not ours.
METRICS = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "macro_f1": "f1",
    "weighted_f1": "f1",
}


@dataclass(frozen=True)
class Provenance:
    """What it comes from, in the hub's names."""

    license: str | None = None
    """The hub's identifier of a licence, such as apache-2.0."""
    base_model: str | None = None
    """The model on the hub that it was trained from."""
    dataset: str | None = None
    """The dataset on the hub that it was trained on."""


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
    provenance: Provenance = Provenance(),
) -> str:
    """The text of a model card.

    Args:
        title: the run's name.
        name: the class in transformers that loads it.
        config: the model's config.
        checkpoint: its checkpoint.
        meta: the run's meta.json.
        results: what was measured, empty if nothing was.
        head: what fine-tuning added, or None.
        exact: whether it was trained with GPT-1's exact tokenizer.
        provenance: what it comes from.
    """
    kind = "GPT-1" if config.norm == "post" else "GPT-2"
    # The hub would show figures of the made-up sample as those of the task.
    published = () if meta.get("data", {}).get("sample") else results
    lines = [
        f"---\n{metadata(title, kind, published, head, provenance).to_yaml()}\n---\n",
        f"# {title}\n",
        f"A {kind}: {config.num_layers} blocks of width {config.width}, {config.num_heads} heads, "
        f"context {config.context_length}, {config.vocabulary_size:,} tokens. Exported by gptjax "
        f"(trained at commit {meta.get('commit') or 'unknown'}), checkpoint `{checkpoint}`.\n",
        "## Use\n",
        f"transformers loads it as `{name}`.\n",
        f"```python{_use(head)}```",
        *_explained(head),
        *([HERE] if head is None else []),
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
    lines += ["", "## Results", "", *_table(results), "", "## Limits", ""]
    return "\n".join([*lines, *_limits(config, head), "", "## Licence", "", _license(provenance)])


def metadata(
    title: str,
    kind: str,
    results: Sequence[Measured],
    head: Head | None,
    provenance: Provenance,
) -> ModelCardData:
    """The table at the top of a card, which the hub reads."""
    pipeline = PIPELINES[head.kind if head else None]
    found = [
        EvalResult(
            task_type=pipeline,
            dataset_type=(head and provenance.dataset) or one.task,
            dataset_name=one.task,
            dataset_split=one.split,
            metric_type=METRICS.get(metric, metric),
            metric_name=metric,
            metric_value=value,
        )
        for one in results
        for metric, value in one.metrics.items()
    ]
    return ModelCardData(
        library_name="transformers",
        model_name=title,
        pipeline_tag=pipeline,
        tags=["gptjax", kind.lower()],
        license=provenance.license,
        base_model=provenance.base_model,
        datasets=provenance.dataset,
        eval_results=found or None,
    )


def _limits(config: TransformerConfig, head: Head | None) -> list[str]:
    lines = [f"- It reads {config.context_length} tokens at most."]
    if head is None:
        lines.append("- It continues texts. What it writes may be false, and may offend.")
    else:
        lines.append("- It gives one of its answers to any row, also to one that has none of them.")
    lines.append("- It was measured on the data above, and on no other text.")
    return lines


def _license(provenance: Provenance) -> str:
    if provenance.license is None:
        return "None was named. Ask the author before you use the model.\n"
    return f"`{provenance.license}`\n"


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
