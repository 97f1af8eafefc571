"""The files of OpenAI's `generating-reviews-discovering-sentiment`: the Sentiment Neuron's weights.

    0.npy … 14.npy

Each holds one array of float32. The recurrent matrix is four of them, side by side: the columns of
the gates i, f, o and u. Tokens are bytes, so that there is no tokenizer's file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.data.tokenizers.byte_level import AS_PUBLISHED, ByteTokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.interchange.openai import SHAPES, read_array
from gptjax.models.mlstm import MLSTMConfig

FILES = tuple(f"{number}.npy" for number in range(15))
CONTEXT = 4096
"""Tokens that the model reads at once here. The files tell no limit, and it has none of its own."""


def is_there(folder: Path) -> bool:
    """Whether a folder of OpenAI's files holds this model, and not a GPT-1."""
    return not (folder / SHAPES).exists() and (folder / FILES[0]).exists()


def byte_tokenizer() -> Tokenizer:
    """The tokenizer of these files, whose ids are the 256 bytes."""
    return ByteTokenizer(AS_PUBLISHED)


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """See to it that these files, which have no place for a tokenizer, can be of a run.

    Raises:
        UserError: its tokens are not bytes.
    """
    if tokenizer.fingerprint != byte_tokenizer().fingerprint:
        raise UserError(
            "OpenAI's format of a multiplicative LSTM has bytes as tokens; this run has others"
        )


def read_config(folder: Path) -> MLSTMConfig:
    """The model's config.

    Raises:
        UserError: a file is missing or damaged, or the shapes are not those of this model.
    """
    arrays = [read_array(folder / name) for name in FILES]
    table, gain = arrays[0].shape, arrays[11].shape
    if len(table) != 2 or len(gain) != 1 or not all((*table, *gain)):
        raise UserError(
            f"{folder}: {FILES[0]} is {list(table)} and {FILES[11]} {list(gain)}; they have to be "
            "an embedding table and a gain of each cell"
        )
    size, width, cells = *table, *gain
    for name, array, shape in zip(FILES, arrays, _shapes(size, width, cells), strict=True):
        if array.shape != shape:
            raise UserError(
                f"{folder / name}: is {list(array.shape)}, and a multiplicative LSTM of {cells} "
                f"cells with an embedding of {width} has {list(shape)}; is it of another model?"
            )
    return MLSTMConfig(
        vocabulary_size=size, context_length=CONTEXT, units=cells, embedding_width=width
    )


def read_params(folder: Path, config: MLSTMConfig) -> Any:
    """The backbone's parameters, as numpy arrays; ``config`` is the one that `read_config` gives.

    Raises:
        UserError: a file is missing or damaged, or holds what is not finite.
    """
    del config  # which `read_config` found in the shapes of the same files
    arrays = [read_array(folder / name) for name in FILES]
    if fault := non_finite(zip(FILES, arrays, strict=True)):
        raise UserError(f"{folder}: cannot be used: {fault}")
    return from_arrays(arrays)


def write(folder: Path, params: Any, config: MLSTMConfig) -> None:
    """Write a backbone into a folder (made if it is missing).

    Raises:
        UserError: more than one layer, or parameters that are not finite.
    """
    if config.num_layers != 1:
        raise UserError(
            f"{folder}: is not written, since OpenAI's format of a multiplicative LSTM has one "
            f"layer and this model {config.num_layers}"
        )
    arrays = to_arrays(params)
    if fault := non_finite(zip(FILES, arrays, strict=True)):
        raise UserError(f"{folder}: is not written, since {fault}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, arrays, strict=True):
        np.save(folder / name, array)


def from_arrays(arrays: Sequence[np.ndarray]) -> Any:
    """The backbone's parameters of the fifteen arrays, in the files' order."""
    embedding, inputs, *gates, input_factor, recurrent_factor, bias = arrays[:9]
    gains, (table, output_bias) = arrays[9:13], arrays[13:]
    kernels = (inputs, np.concatenate(gates, axis=1), input_factor, recurrent_factor)
    names = ("inputs", "recurrent", "input_factor", "recurrent_factor")
    matrices = {
        name: {"kernel": kernel, "gain": gain}
        for name, kernel, gain in zip(names, kernels, gains, strict=True)
    }
    found = {
        "token_embedding": embedding,
        "blocks_0": {**matrices, "bias": bias},
        "output_table": table.T,
        "output_bias": output_bias,
    }
    return jax.tree.map(np.ascontiguousarray, found)


def to_arrays(params: Any) -> list[np.ndarray]:
    """The fifteen arrays, in the files' order, of the parameters of a backbone of one layer."""
    layer = params["blocks_0"]
    inputs, recurrent = layer["inputs"], layer["recurrent"]
    input_factor, recurrent_factor = layer["input_factor"], layer["recurrent_factor"]
    kernels = (input_factor["kernel"], recurrent_factor["kernel"])
    matrices = (inputs, recurrent, input_factor, recurrent_factor)
    arrays = [
        params["token_embedding"],
        inputs["kernel"],
        *np.split(np.asarray(recurrent["kernel"]), 4, axis=1),
        *kernels,
        layer["bias"],
        *(one["gain"] for one in matrices),
        np.asarray(params["output_table"]).T,
        params["output_bias"],
    ]
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


def _shapes(size: int, width: int, cells: int) -> list[tuple[int, ...]]:
    """The shapes of all arrays, given vocabulary, embedding width and cells."""
    gates, square = 4 * cells, (cells, cells)
    vectors: list[tuple[int, ...]] = [(gates,), (gates,), (gates,), (cells,), (cells,)]
    matrices = [(size, width), (width, gates), *[square] * 4, (width, cells), square]
    return [*matrices, *vectors, (cells, size), (size,)]
