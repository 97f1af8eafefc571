"""GPT-1 and GPT-2 in the hub's files: config.json, safetensors (or an older PyTorch file).

Reading needs no PyTorch, except for the older file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from gptjax import files
from gptjax.errors import UnreachableError, UserError
from gptjax.models import convert
from gptjax.models.transformer import TransformerConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
TORCH = "pytorch_model.bin"
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json")
SIZES = {
    "vocabulary_size": "vocab_size",
    "context_length": "n_positions",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "width": "n_embd",
}
RATES = {
    "initial_std": "initializer_range",
    "embedding_dropout": "embd_pdrop",
    "attention_dropout": "attn_pdrop",
    "residual_dropout": "resid_pdrop",
}
KINDS = {"openai-gpt": "post", "gpt2": "pre"}
# What GPT-2's config may also say, and what this model computes.
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "layer_norm_epsilon": 1e-5,
}


def locate(identifier: str, *, weights: bool = True) -> Path:
    """The folder of a model: itself, or a download from the hub into its own cache.

    ``identifier`` is a folder, or ID[@REVISION] on the hub. Config and tokenizer are small, so
    that they can be had without the ``weights``.

    Raises:
        UnreachableError: neither there nor to be had.
    """
    folder = Path(identifier).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # takes half a second to import

    name, _, revision = identifier.partition("@")
    wanted = [CONFIG, *TOKENIZER, *(["*.safetensors", SHARDS] if weights else [])]
    try:
        found = Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
        if weights and not list(found.glob("*.safetensors")):
            snapshot_download(name, revision=revision or None, allow_patterns=[TORCH])
    # The hub's client and what lies below it raise types of their own, and none is our bug.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreachableError(
            f"hf:{identifier}: no such folder, and the hub cannot give it "
            f"({type(error).__name__}: {reason}); check the name and the network, or give a "
            "folder with the model's files"
        ) from error
    return found


def read_config(folder: Path) -> TransformerConfig:
    """The model's config.

    Raises:
        UserError: no config.json, of another architecture, or with a setting that this model
            does not have; names it.
    """
    file = folder / CONFIG
    content = read_json(file, "a model")
    if not isinstance(content, dict):
        raise UserError(f"{file}: is no JSON object")
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        known = " and ".join(KINDS)
        raise UserError(f"{file}: is of a model of the type {kind!r}; known are {known}")
    first = kind == "openai-gpt"
    activation = content.get("afn" if first else "activation_function", "gelu_new")
    # The hub's GPT-1 calls its tanh form gelu.
    if activation not in ("gelu_new", *(["gelu"] if first else [])):
        raise UserError(f"{file}: the activation is {activation!r}; this model has gelu_new")
    for key, value in FIXED.items():
        if content.get(key, value) != value:
            raise UserError(f"{file}: {key} is {content[key]}; this model computes with {value}")
    given: dict[str, Any] = {}
    for ours, theirs in {**SIZES, **RATES, "mlp_width": "n_inner"}.items():
        found = content.get(theirs)
        if found is None and ours not in SIZES:
            continue
        if type(found) is not int and not (ours in RATES and type(found) is float):
            what = "a number" if ours in RATES else "a whole number"
            raise UserError(f"{file}: {theirs} is {found!r}; it has to be {what}")
        given[ours] = found
    return TransformerConfig(**given, norm="post" if first else "pre")


def read_json(file: Path, what: str) -> Any:
    """The content of a file that belongs to ``what``."""
    if not file.exists():
        raise UserError(f"{file}: no such file; is this a folder of {what}?")
    return files.read_json(file)


def read_params(folder: Path, config: TransformerConfig) -> Any:
    """The backbone's parameters, as numpy arrays.

    Raises:
        UserError: no weights, a file is damaged, or the tensors are not those of the config.
    """
    # In this order, as transformers does.
    readers = {WEIGHTS: _read_safetensors, SHARDS: _read_shards, TORCH: _read_torch}
    for name, read in readers.items():
        if (folder / name).exists():
            return convert.from_hub(read(folder / name), config, str(folder))
    raise UserError(f"{folder}: no weights there ({WEIGHTS}, {SHARDS} or {TORCH})")


def _read_shards(file: Path) -> dict[str, np.ndarray]:
    try:
        places: Mapping[str, str] = files.read_json(file)["weight_map"]
        names = sorted({str(name) for name in places.values()})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read as an index of weights ({error})") from None
    tensors: dict[str, np.ndarray] = {}
    for name in names:
        if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
            raise UserError(f"{file}: names {name!r}, which is no file of its folder")
        shard = file.parent / name
        found = _read_safetensors(shard)
        listed = {tensor for tensor, place in places.items() if place == name}
        if found.keys() != listed:
            odd = sorted(found.keys() ^ listed)[0]
            raise UserError(f"{shard}: {SHARDS} disagrees with it about the tensor {odd}")
        tensors |= found
    return tensors


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    files.check_regular(file)
    try:
        with safe_open(file, "numpy") as content:
            return {name: content.get_tensor(name) for name in sorted(content.keys())}
    # What a damaged file makes of its reader: a type that numpy does not know is one of them.
    except Exception as error:
        reason = f"it is missing, truncated or damaged ({error})"
        raise UserError(f"{file}: cannot be read, {reason}") from None


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        needs = f"needs torch to be read; install it, or give {WEIGHTS}"
        raise UserError(f"{file}: is PyTorch's own format, which {needs}") from None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever its unpickler stumbles over.
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: cannot be read, it is truncated or damaged ({reason})") from None
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise UserError(f"{file}: is no state dict (tensors by name)")

    def plain(tensor: torch.Tensor) -> np.ndarray:
        whole = tensor.float() if tensor.is_floating_point() else tensor
        return np.asarray(whole.detach().numpy())

    return {name: plain(tensor) for name, tensor in content.items()}
