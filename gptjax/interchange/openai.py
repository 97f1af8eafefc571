"""The files of OpenAI's `finetune-transformer-lm`: GPT-1's weights and tokenizer.

    params_shapes.json  params_0.npy … params_9.npy  encoder_bpe_40000.json  vocab_40000.bpe

The ten arrays in a row are one vector of float32: every tensor, flattened, one after the other.
"""

import json
import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gptjax.data.tokenizers import bpe_files
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.interchange.hub import read_json
from gptjax.models import convert
from gptjax.models.transformer import TransformerConfig

SHAPES = "params_shapes.json"
PARTS = tuple(f"params_{number}.npy" for number in range(10))


def read_config(folder: Path, num_heads: int | None = None) -> TransformerConfig:
    """The model's config; its heads are GPT-1's, of 64, unless their number is given.

    Raises:
        UserError: no such file, or not the shapes of a GPT-1.
    """
    return convert.config_of_openai(_read_shapes(folder), num_heads, str(folder / SHAPES))


def read_params(folder: Path, config: TransformerConfig) -> Any:
    """The backbone's parameters, as numpy arrays.

    Raises:
        UserError: a file is missing or damaged, or the shapes do not add up to what is there.
    """
    listed = _read_shapes(folder)
    vector = np.concatenate([read_array(folder / name).reshape(-1) for name in PARTS])
    sizes = [math.prod(shape) for shape in listed]
    if len(vector) != sum(sizes):
        raise UserError(
            f"{folder}: the shapes in {SHAPES} need {sum(sizes):,} numbers, and {PARTS[0]} to "
            f"{PARTS[-1]} hold {len(vector):,}; a file is damaged or of another model"
        )
    flat = np.split(vector, np.cumsum(sizes)[:-1])
    tensors = [part.reshape(shape) for part, shape in zip(flat, listed, strict=True)]
    return convert.from_openai(tensors, config, str(folder / SHAPES))


def write(folder: Path, params: Any, config: TransformerConfig, tokenizer: Tokenizer) -> None:
    """Write a backbone and its tokenizer into a folder (made if it is missing).

    Raises:
        UserError: not a GPT-1, or a tokenizer of another kind.
    """
    if not isinstance(tokenizer, Gpt1Tokenizer):
        raise UserError("OpenAI's format has GPT-1's tokenizer; this run has another kind")
    tensors = convert.to_openai(params, config)
    if fault := non_finite((f"tensor {n}", tensor) for n, tensor in enumerate(tensors)):
        raise UserError(f"{folder}: is not written, since {fault}")
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [list(tensor.shape) for tensor in tensors]
    (folder / SHAPES).write_text(json.dumps(shapes), encoding="utf-8")
    vector = np.concatenate([tensor.reshape(-1) for tensor in tensors]).astype(np.float32)
    for name, part in zip(PARTS, np.array_split(vector, len(PARTS)), strict=True):
        np.save(folder / name, part)
    bpe_files.write(tokenizer.bpe, folder, bpe_files.OPENAI_GPT1)


def _read_shapes(folder: Path) -> list[list[int]]:
    file = folder / SHAPES
    listed: list[list[int]] = read_json(file, "OpenAI's weights")
    good = isinstance(listed, list) and all(
        isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)
        for shape in listed
    )
    if not good:
        raise UserError(f"{file}: is no list of shapes")
    return listed


def read_array(file: Path) -> np.ndarray:
    """The array of a file, float32; a UserError where there is none."""
    try:
        part = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not isinstance(part, np.ndarray):
        raise UserError(f"{file}: holds several arrays; it has to be one")
    if part.dtype != np.float32:
        raise UserError(f"{file}: holds {part.dtype}, not float32")
    return part
