"""A trained model as a folder that transformers loads: config, tensors, tokenizer.

What a fine-tuned model becomes there:

- one sequence (classification, entailment): the sequence-classification class. Its head has no
  bias, so the bias goes into that of the last LayerNorm, which nothing else reads there.
- several to choose from: the double-heads class.
- two orders whose states are added (similarity): no class does that. The language model, and the
  head in a file of its own.

The last two have `gptjax_head.json`, which says what they are, and `gptjax_predict.py`, a file that
stands alone and asks the model about a row as it was trained.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import numpy as safetensors

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.interchange import hub as hub_files
from gptjax.interchange import tokenizer as hub_tokenizer
from gptjax.models import convert
from gptjax.models.transformer import TransformerConfig

HEAD_WEIGHTS, HEAD_FACTS = "gptjax_head.safetensors", "gptjax_head.json"
HELPER = "gptjax_predict.py"
FAMILIES = {"post": "OpenAIGPT", "pre": "GPT2"}
HeadKind = Literal["single", "choice", "sum"]


@dataclass(frozen=True)
class Head:
    """What fine-tuning added: ``params`` are its parameters.

    Attributes:
        kind: one sequence, several to choose from, or several that are added.
        labels: names of the columns, or of the options.
        parts: names of the texts of a row.
        scale: whether the labels are the points of a scale.
    """

    kind: HeadKind
    labels: tuple[str, ...]
    params: Any
    parts: tuple[str, ...] = ()
    scale: bool = False


def write(
    folder: Path, config: TransformerConfig, backbone: Any, tokenizer: Tokenizer, head: Head | None
) -> str:
    """Write a model into a folder (made if it is missing).

    Returns:
        The name of the class in transformers that loads it.

    Raises:
        UserError: the model or its tokenizer has no place in the format.
    """
    hub_tokenizer.check(tokenizer)
    if config.norm == "post" and config.hidden_width != 4 * config.width:
        raise UserError(
            f"model.mlp_width is {config.mlp_width}: the hub's GPT-1 has 4 × {config.width} always"
        )
    name, extra = "LMHeadModel", {}
    facts: dict[str, Any] = {}
    apart: dict[str, np.ndarray] = {}  # of a head that no class of transformers has
    if head is not None:
        rows = [backbone["token_embedding"], head.params["special_embedding"]]
        backbone = {**backbone, "token_embedding": np.concatenate(rows)}
        kernel = np.asarray(head.params["head"]["kernel"])
        bias = np.asarray(head.params["head"]["bias"])
        # First of all: no bias can be found for a kernel of such numbers.
        _check_finite(folder, {"head.kernel": kernel, "head.bias": bias})
        if head.kind == "single":
            name = "ForSequenceClassification"
            backbone = _with_bias(backbone, config, kernel, bias)
            extra = {"score.weight": np.ascontiguousarray(kernel.T)}
            facts = {
                "id2label": dict(enumerate(head.labels)),
                "label2id": {name: number for number, name in enumerate(head.labels)},
                "problem_type": "single_label_classification",
            }
        elif head.kind == "choice":
            name, summary = "DoubleHeadsModel", "multiple_choice_head.summary"
            extra = {f"{summary}.weight": np.ascontiguousarray(kernel.T), f"{summary}.bias": bias}
            facts = {"num_labels": 1}
        else:
            apart = {"kernel": kernel, "bias": bias}
    tensors = {**convert.to_hub(backbone, config), **extra}
    _check_finite(folder, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    if apart:
        safetensors.save_file(apart, folder / HEAD_WEIGHTS)
    if head is not None and head.kind != "single":
        _write_json(folder / HEAD_FACTS, _head_facts(head))
        shutil.copyfile(Path(__file__).with_name(HELPER), folder / HELPER)
    safetensors.save_file(tensors, folder / hub_files.WEIGHTS, {"format": "pt"})
    name = FAMILIES[config.norm] + name
    # GPT-1's vocabulary has nothing for either end.
    ids = {"bos_token_id": tokenizer.end, "eos_token_id": tokenizer.end}
    ids["pad_token_id"] = hub_tokenizer.padding(tokenizer)
    vocabulary = {"vocab_size": len(backbone["token_embedding"])}
    settings = {**_settings(name, config), **vocabulary, **ids, **facts}
    _write_json(folder / hub_files.CONFIG, settings)
    _write_json(folder / "generation_config.json", ids)
    hub_tokenizer.write(folder, tokenizer, config.context_length, specials=head is not None)
    return name


def _check_finite(folder: Path, tensors: Mapping[str, np.ndarray]) -> None:
    if fault := non_finite(tensors.items()):
        raise UserError(f"{folder}: is not written, since {fault}")


def _head_facts(head: Head) -> dict[str, Any]:
    formulas = {
        "choice": "the double-heads class: softmax over the options of its mc_logits",
        "sum": "sum of the states at <|extract|> of both orders @ kernel + bias",
    }
    return {
        "format": "choice" if head.kind == "choice" else "similarity",
        "head": formulas[head.kind],
        "parts": list(head.parts),
        "labels": list(head.labels),
        "scale": head.scale,
    }


def _with_bias(
    backbone: Any, config: TransformerConfig, kernel: np.ndarray, bias: np.ndarray
) -> Any:
    """The backbone with a last LayerNorm through which the kernel alone gives the biases.

    The smallest d with d @ kernel = bias, up to a constant, which no softmax sees, is added to the
    LayerNorm's bias.

    Raises:
        UserError: there is none, because there are more classes than the state has room for.
    """
    columns = kernel.T.astype(np.float64)
    equations = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    found = np.linalg.lstsq(equations, bias.astype(np.float64), rcond=None)[0]
    if np.abs(equations @ found - bias).max() > 1e-5:
        raise UserError(
            f"the head's bias of {len(bias)} classes cannot be expressed by a state of width "
            f"{config.width}, and the sequence-classification class has no bias"
        )

    def shifted(norm: Any) -> Any:
        bias = np.asarray(norm["bias"], np.float64) + found[:-1]
        return {**norm, "bias": np.asarray(bias, np.float32)}

    if config.norm == "pre":
        return {**backbone, "final_norm": shifted(backbone["final_norm"])}
    block = f"blocks_{config.num_layers - 1}"
    last = backbone[block]
    return {**backbone, block: {**last, "norm_2": shifted(last["norm_2"])}}


def _settings(name: str, config: TransformerConfig) -> dict[str, Any]:
    named = {**hub_files.SIZES, **hub_files.RATES}
    if config.norm == "post":
        own: dict[str, Any] = {"afn": "gelu"}
    else:
        own = {"activation_function": "gelu_new", "n_inner": config.mlp_width}
    return {
        "architectures": [name],
        "model_type": next(kind for kind, norm in hub_files.KINDS.items() if norm == config.norm),
        **{theirs: getattr(config, ours) for ours, theirs in named.items()},
        **own,
        "layer_norm_epsilon": hub_files.FIXED["layer_norm_epsilon"],
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "summary_activation": None,
        "summary_proj_to_labels": True,
        "summary_first_dropout": 0.1,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
