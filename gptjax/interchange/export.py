"""A trained model as a folder that transformers loads: config, tensors, tokenizer.

What a fine-tuned model becomes there:

- one sequence (classification, entailment): the sequence-classification class. Its head has no
  bias, so the bias goes into that of the last LayerNorm, which nothing else reads there.
- several to choose from: the double-heads class.
- two orders whose states are added (similarity): no class does that. The language model, and the
  head in a file of its own, with `gptjax_head.json` saying what it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import numpy as safetensors

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.interchange import hub as hub_files
from gptjax.interchange import tokenizer as hub_tokenizer
from gptjax.models import convert
from gptjax.models.transformer import TransformerConfig

HEAD_WEIGHTS, HEAD_FACTS = "gptjax_head.safetensors", "gptjax_head.json"
CLASSES = {
    "post": (
        "OpenAIGPTLMHeadModel",
        "OpenAIGPTForSequenceClassification",
        "OpenAIGPTDoubleHeadsModel",
    ),
    "pre": ("GPT2LMHeadModel", "GPT2ForSequenceClassification", "GPT2DoubleHeadsModel"),
}


HeadKind = Literal["single", "choice", "sum"]


@dataclass(frozen=True)
class Head:
    """What fine-tuning added, and what becomes of it.

    Attributes:
        kind: one sequence, several to choose from, or several that are added.
        labels: names of the columns, or of the options.
        adapter: its parameters.
    """

    kind: HeadKind
    labels: tuple[str, ...]
    adapter: Any


def write(
    folder: Path, config: TransformerConfig, backbone: Any, tokenizer: Tokenizer, head: Head | None
) -> str:
    """Write a model into a folder (made if it is missing).

    Returns:
        The name of the class in transformers that loads it.

    Raises:
        UserError: the model or its tokenizer has no place in the format.
    """
    if config.norm == "post" and config.hidden_width != 4 * config.width:
        raise UserError(
            f"model.mlp_width is {config.mlp_width}: the hub's GPT-1 has 4 × {config.width} always"
        )
    folder.mkdir(parents=True, exist_ok=True)
    language, single, choice = CLASSES[config.norm]
    name, extra, facts = language, {}, {}
    if head is not None:
        special = head.adapter["special_embedding"]
        rows = [backbone["token_embedding"], special]
        backbone = {**backbone, "token_embedding": np.concatenate(rows)}
        kernel = np.asarray(head.adapter["head"]["kernel"])
        bias = np.asarray(head.adapter["head"]["bias"])
        if head.kind == "single":
            name = single
            backbone = _with_bias(backbone, config, kernel, bias)
            extra = {"score.weight": np.ascontiguousarray(kernel.T)}
            facts = _labels(head.labels)
        elif head.kind == "choice":
            name = choice
            extra = {
                "multiple_choice_head.summary.weight": np.ascontiguousarray(kernel.T),
                "multiple_choice_head.summary.bias": bias,
            }
            facts = {"num_labels": 1}
        else:
            safetensors.save_file({"kernel": kernel, "bias": bias}, folder / HEAD_WEIGHTS)
            content = {
                "head": "sum of the states at <|extract|> of both orders @ kernel + bias",
                "labels": list(head.labels),
            }
            (folder / HEAD_FACTS).write_text(json.dumps(content, indent=2) + "\n")
    tensors = {**convert.to_hub(backbone, config), **extra}
    safetensors.save_file(tensors, folder / hub_files.WEIGHTS, {"format": "pt"})
    vocabulary = len(backbone["token_embedding"])
    _write_configs(folder, config, vocabulary, tokenizer, name, facts)
    hub_tokenizer.write(folder, tokenizer, config.context_length, specials=head is not None)
    return name


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
    added = found[:-1]
    if config.norm == "pre":
        last = backbone["final_norm"]
        return {**backbone, "final_norm": {**last, "bias": _plus(last["bias"], added)}}
    block = f"blocks_{config.num_layers - 1}"
    last = backbone[block]["norm_2"]
    norm = {**last, "bias": _plus(last["bias"], added)}
    return {**backbone, block: {**backbone[block], "norm_2": norm}}


def _plus(bias: np.ndarray, added: np.ndarray) -> np.ndarray:
    return np.asarray(np.asarray(bias, np.float64) + added, np.float32)


def _labels(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "single_label_classification",
    }


def _write_configs(
    folder: Path,
    config: TransformerConfig,
    vocabulary: int,
    tokenizer: Tokenizer,
    name: str,
    facts: Mapping[str, Any],
) -> None:
    first = config.norm == "post"
    ids = {
        # GPT-1's vocabulary has nothing for either end.
        "bos_token_id": tokenizer.end,
        "eos_token_id": tokenizer.end,
        "pad_token_id": hub_tokenizer.padding(tokenizer),
    }
    content = {
        "architectures": [name],
        "model_type": next(kind for kind, norm in hub_files.KINDS.items() if norm == config.norm),
        "vocab_size": vocabulary,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        **({"afn": "gelu"} if first else {"activation_function": "gelu_new"}),
        **({} if first else {"n_inner": config.mlp_width}),
        "embd_pdrop": config.embedding_dropout,
        "attn_pdrop": config.attention_dropout,
        "resid_pdrop": config.residual_dropout,
        "layer_norm_epsilon": hub_files.FIXED["layer_norm_epsilon"],
        "initializer_range": config.initial_std,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "summary_activation": None,
        "summary_proj_to_labels": True,
        "summary_first_dropout": 0.1,
        "tie_word_embeddings": True,
        "dtype": "float32",
        **ids,
        **facts,
    }
    _write_json(folder / hub_files.CONFIG, content)
    _write_json(folder / "generation_config.json", ids)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
