"""The files of `bilm-tf`, which ELMo's authors published: a bidirectional model's weights.

    options.json  weights.hdf5

Other names that end in ``options.json`` and ``.hdf5`` will do. Vocabulary and output table are in
neither: words are read by their characters, and nothing can be predicted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.data.tokenizers.open_words import OpenWords
from gptjax.errors import UserError
from gptjax.files import check_regular
from gptjax.finite import non_finite
from gptjax.interchange.hub import read_json
from gptjax.models import characters
from gptjax.models.bilm_config import BiLMConfig
from gptjax.spelling import CHARACTERS, LENGTH

OPTIONS, WEIGHTS = "options.json", ".hdf5"
CONTEXT = 512
"""Words that the model reads at once here. The files tell no limit, and it has none of its own."""
DIRECTIONS = ("forward", "backward")


def tokenizer() -> OpenWords:
    """The tokenizer of these files, which has no words before there is a text."""
    return OpenWords()


def read_config(folder: Path) -> BiLMConfig:
    """The model's config.

    Raises:
        UserError: no such file, or an option that this model does not have; names it.
    """
    file = _one(folder, OPTIONS)
    content = read_json(file, "an ELMo")
    cells, words = _table(file, content, "lstm"), _table(file, content, "char_cnn")
    embedding, filters = _table(file, words, "embedding"), words.get("filters")
    if not (isinstance(filters, list) and filters and all(map(_is_filter, filters))):
        raise UserError(f"{file}: filters is no list of pairs, width and number")
    if words.get("max_characters_per_token") != LENGTH:
        found = words.get("max_characters_per_token")
        raise UserError(f"{file}: max_characters_per_token is {found!r}; this model has {LENGTH}")
    activation = words.get("activation", "relu")
    if activation not in ("relu", "tanh"):
        raise UserError(f"{file}: the activation is {activation!r}; this model has relu and tanh")
    return BiLMConfig(
        vocabulary_size=tokenizer().size,
        context_length=CONTEXT,
        num_layers=_count(file, cells, "n_layers"),
        units=_count(file, cells, "dim"),
        projection=_count(file, cells, "projection_dim"),
        character_width=_count(file, embedding, "dim"),
        filter_widths=tuple(width for width, _ in filters),
        filter_counts=tuple(count for _, count in filters),
        highway_layers=_count(file, words, "n_highway"),
        activation=activation,
        residual=bool(cells.get("use_skip_connections")),
        cell_clip=_limit(file, cells, "cell_clip"),
        projection_clip=_limit(file, cells, "proj_clip"),
        predicts=False,
    )


def read_params(folder: Path, config: BiLMConfig) -> Any:
    """The backbone's parameters, as numpy arrays; ``config`` is the one that `read_config` gives.

    Raises:
        UserError: no such file, a damaged one, arrays that are not those of the options or not
            finite, or no ``h5py`` to read them with.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{folder}: ELMo's weights need h5py to be read; install the extra elmo (pip install "
            "'gptjax[elmo]')"
        ) from None
    file = _one(folder, WEIGHTS)
    check_regular(file)
    arrays = {}
    try:
        with h5py.File(file) as content:
            for name, shape in _shapes(config):
                if not isinstance(content.get(name), h5py.Dataset):
                    raise UserError(f"{file}: has no array {name}, which the options ask for")
                array = np.asarray(content[name])
                if array.shape != shape or array.dtype != np.float32:
                    raise UserError(
                        f"{file}: {name} is {array.dtype} {list(array.shape)}; by the options it "
                        f"is float32 {list(shape)}"
                    )
                arrays[name] = array
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: cannot be read, truncated or damaged ({reason})") from None
    if fault := non_finite(arrays.items()):
        raise UserError(f"{file}: cannot be used: {fault}")
    return from_arrays(arrays, config)


def from_arrays(arrays: dict[str, np.ndarray], config: BiLMConfig) -> Any:
    """The backbone's parameters of the file's arrays by name, with the words of `tokenizer`."""
    words: dict[str, Any] = {"characters": arrays["char_embed"]}
    for number in range(len(config.filter_widths)):
        words[f"filters_{number}"] = {
            "kernel": arrays[f"CNN/W_cnn_{number}"][0],
            "bias": arrays[f"CNN/b_cnn_{number}"],
        }
    for number in range(config.highway_layers):
        part = f"CNN_high_{number}"
        words[f"highways_{number}"] = {
            "carry_kernel": arrays[f"{part}/W_carry"],
            "carry_bias": arrays[f"{part}/b_carry"],
            "transform": {
                "kernel": arrays[f"{part}/W_transform"],
                "bias": arrays[f"{part}/b_transform"],
            },
        }
    words["out"] = {"kernel": arrays["CNN_proj/W_proj"], "bias": arrays["CNN_proj/b_proj"]}
    words = characters.with_words(words, tokenizer().spelling())
    found: dict[str, Any] = {"word_embedding": words}
    for number in range(config.num_layers):
        found[f"blocks_{number}"] = {
            direction: _layer(arrays, cell, config.projection)
            for direction, cell in zip(DIRECTIONS, _cells(number), strict=True)
        }
    return found


def _layer(arrays: dict[str, np.ndarray], cell: str, size: int) -> dict[str, Any]:
    matrix, bias = _turned(arrays[f"{cell}/W_0"]), _turned(arrays[f"{cell}/B"])
    inputs = {"kernel": matrix[:size], "bias": bias}
    return {"inputs": inputs, "recurrent": matrix[size:], "projection": arrays[f"{cell}/W_P_0"]}


def _turned(gates: np.ndarray) -> np.ndarray:
    """TensorFlow's gates add, new, forget, out in our order add, forget, new, out."""
    add, new, forget, out = np.split(gates, 4, axis=-1)
    return np.concatenate([add, forget, new, out], axis=-1)


def _cells(layer: int) -> list[str]:
    """Where a layer's two directions are."""
    return [f"RNN_{d}/RNN/MultiRNNCell/Cell{layer}/LSTMCell" for d in range(len(DIRECTIONS))]


def _shapes(config: BiLMConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every array of a file, and its shape."""
    width, size, cells = config.character_width, config.projection, config.units
    total = sum(config.filter_counts)
    yield "char_embed", (CHARACTERS, width)
    filters = zip(config.filter_widths, config.filter_counts, strict=True)
    for number, (reach, count) in enumerate(filters):
        yield f"CNN/W_cnn_{number}", (1, reach, width, count)
        yield f"CNN/b_cnn_{number}", (count,)
    for number in range(config.highway_layers):
        for part in ("carry", "transform"):
            yield f"CNN_high_{number}/W_{part}", (total, total)
            yield f"CNN_high_{number}/b_{part}", (total,)
    yield "CNN_proj/W_proj", (total, size)
    yield "CNN_proj/b_proj", (size,)
    for number in range(config.num_layers):
        for cell in _cells(number):
            yield f"{cell}/W_0", (2 * size, 4 * cells)
            yield f"{cell}/B", (4 * cells,)
            yield f"{cell}/W_P_0", (cells, size)


def _one(folder: Path, ending: str) -> Path:
    """The one file whose name ends so."""
    found = sorted(file for file in folder.iterdir() if file.name.endswith(ending))
    if len(found) != 1:
        there = f"are {len(found)} files" if found else "is no file"
        raise UserError(f"{folder}: there {there} *{ending}, and an ELMo has one")
    return found[0]


def _table(file: Path, content: Any, key: str) -> dict[str, Any]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise UserError(f"{file}: has no {key}; is this the option file of an ELMo?")
    return found


def _count(file: Path, table: dict[str, Any], key: str) -> int:
    found = table.get(key)
    if type(found) is not int or found < 1:
        raise UserError(f"{file}: {key} is {found!r}; it has to be a whole number above 0")
    return found


def _limit(file: Path, table: dict[str, Any], key: str) -> float | None:
    """Where something is clipped; nothing and 0 are nowhere, as in the authors' code."""
    found = table.get(key)
    if found is not None and type(found) not in (int, float):
        raise UserError(f"{file}: {key} is {found!r}; it has to be a number")
    return float(found) if found else None


def _is_filter(pair: Any) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    return all(type(number) is int and number > 0 for number in pair)
