"""Features of texts: the states of a backbone, one vector for each text, kept on disk.

A text is read as pre-training reads a document: the tokenizer's separator first, then its tokens.
The texts of a pair are one document with a line end between them. A feature is of the text's own
positions; the separator does not count, and padding never does. A recurrent model has memory cells
besides; of these a feature is what they hold after the last token.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.batch import Batch
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.array_files import (
    features_cache,
    finish_array,
    key_of,
    new_array,
    open_array,
    temporary,
    write_array,
)
from gptjax.evaluation.text_rows import there
from gptjax.files import make_folder
from gptjax.models import backbone, cells
from gptjax.models.config import ModelConfig
from gptjax.models.pooling import Pooling, pool
from gptjax.runs.head import backbone_fingerprint
from gptjax.runs.memory import rows_at_once
from gptjax.runs.open import Run
from gptjax.runs.spelled import for_texts
from gptjax.screen import progress_bar
from gptjax.training.evaluation import Predictor

CELL: Literal["cell"] = "cell"
MIX: Literal["mix"] = "mix"
OfLayer = Literal["last", "mean", "max", "cell"]
"""What one layer gives."""
Kind = OfLayer | Literal["mix"]
# None: no bar where nobody sees it.
BAR: dict[str, Any] = {"unit": "batch", "mininterval": 0.5, "leave": False}


@dataclass(frozen=True)
class Features:
    """What a backbone says of N texts, in their order.

    Attributes:
        layers: by the number of the layer, 0 (the embeddings) to L; memory maps of float32.
        lengths: tokens of each text, all that it has, without the separator.
        context: tokens that were read at most, the separator included; None: all of them.
        computed: whether a model was asked; otherwise all was there.
    """

    layers: Mapping[int, Float[np.ndarray, "N E"]]
    lengths: Int[np.ndarray, " N"]
    context: int | None
    computed: bool

    @property
    def cut(self) -> int:
        """How many texts are longer than the context, and lost their end."""
        return 0 if self.context is None else int((self.lengths + 1 > self.context).sum())

    @property
    def tokens(self) -> list[int]:
        """How many tokens of each text were read, the separator included."""
        read = self.lengths + 1
        found: list[int] = (
            read if self.context is None else np.minimum(read, self.context)
        ).tolist()
        return found


def check_task(task: Task) -> None:
    """Refuse a task that has no classes."""
    if not task.has_classes:
        kind = "choices" if task.format == "choice" else "scores"
        raise UserError(
            f"`task={task.name}`: has {kind}, and a probe reads classes; fine-tune on it instead"
        )


def layers_of(model: ModelConfig, how: Kind) -> range:
    """The layers that have features of a kind: 0 (the embeddings) to L, of memory cells 1 to L.

    A mix is of all layers, and goes by the number of the last one.

    Raises:
        UserError: memory cells of a model that has none.
    """
    if how == MIX:
        return range(model.num_layers, model.num_layers + 1)
    if how != CELL:
        return range(model.num_layers + 1)
    if cells.count(model) is None:
        raise UserError(
            f"`features={CELL}`: {model.called} has no memory cells; choose last, mean or max"
        )
    return range(1, model.num_layers + 1)


def in_words(layers: range) -> str:
    """What `layers_of` found, for a message."""
    begin = "the layers are 0 (the embeddings)" if layers[0] == 0 else "the layers of cells are 1"
    return f"{begin} to {layers[-1]}"


def width_of(model: ModelConfig, how: Kind) -> int:
    """The size of a feature: of the widest states, of all layers' side by side in a mix, or the
    number of a layer's memory cells."""
    if how == MIX:
        return (model.num_layers + 1) * model.widest
    return (cells.count(model) if how == CELL else None) or model.widest


def features_of(
    run: Run,
    examples: Sequence[Example],
    task: Task,
    *,
    layers: Sequence[int],
    how: Kind = "last",
    batch_size: int = 32,
) -> Features:
    """Features of a run's backbone, of a fine-tuned run too; computed once, then read.

    They lie in the run's folder, or in the cache where nothing can be written there. A file is
    named by the hash of parameters, tokenizer, texts, layer and kind.

    Args:
        run: the model.
        examples: at least one.
        task: of these examples.
        layers: the wanted ones; all of them come from one pass.
        how: the state of a text's last token, the mean or maximum over its tokens, all layers'
            means side by side, or the memory cells after the last token, for which no text is cut.
        batch_size: texts at once, rounded up to a multiple of the devices; never changes a feature
            but for rounding.

    Raises:
        UserError: a task without classes, no memory cells, or no folder that can be written.
    """
    check_task(task)
    layers_of(run.model, how)
    texts = ["\n".join(example.texts) for example in examples]
    run, folder = for_texts(run, texts), _folder(run)
    read = {"texts": _hash_of(texts), "tokenizer": run.tokenizer.fingerprint}
    lengths_file = folder / f"{key_of(**read)}.npy"
    asked = {"model": asdict(run.model), "backbone": backbone_fingerprint(run.backbone), "how": how}
    files = {one: folder / f"{key_of(**read, **asked, layer=one)}.npy" for one in layers}
    shape = (len(texts), width_of(run.model, how))
    context = None if how == CELL else run.model.context_length
    found = {one: open_array(path, shape) for one, path in files.items()}
    lengths = open_array(lengths_file, shape[:1])
    if lengths is not None and all(array is not None for array in found.values()):
        there = {one: array for one, array in found.items() if array is not None}
        return Features(there, lengths, context, False)
    ids = _read(run.tokenizer, texts)
    most = context or max(map(len, ids))
    sequences = [Sequences((own[:most],), len(own) > most) for own in ids]
    lengths = np.array([len(own) - 1 for own in ids], np.int64)
    write_array(lengths_file, lengths)
    missing = {one: files[one] for one, array in found.items() if array is None}
    batches = Bucketed(
        sequences,
        examples,
        task,
        context_length=most,
        batch_size=rows_at_once(run.model, batch_size, len(texts)),
        seed=0,
        shuffle=False,
    )
    _compute(run, batches, missing, how, shape)
    opened = {one: np.load(path, mmap_mode="r") for one, path in files.items()}
    return Features(opened, lengths, context, True)


def _read(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
    """The tokens of each text, the separator first; one that occurs several times is encoded
    once."""
    different = list(dict.fromkeys(texts))
    ids = dict(zip(different, tokenizer.encode(different), strict=True))
    return [np.concatenate([[tokenizer.separator], ids[text]]).astype(np.int32) for text in texts]


@functools.lru_cache(maxsize=16)
def cells_after(config: ModelConfig, layers: tuple[int, ...]) -> Callable[[Any, Batch], Array]:
    """(params, batch) -> what the memory cells hold after each row, [B, layers, N].

    It is the same function for the same model, so that it is compiled once.
    """

    def predict(params: Any, batch: Batch) -> Array:
        tokens, last = jnp.asarray(batch.tokens)[:, 0], jnp.asarray(batch.extract)[:, 0]
        found = cells.after_rows(config, params, tokens, last + 1)
        return jnp.stack([found[layer - 1] for layer in layers], axis=1)

    return predict


@functools.lru_cache(maxsize=16)
def pooled_states(
    config: ModelConfig, layers: tuple[int, ...], how: Pooling | Literal["mix"]
) -> Callable[[Any, Batch], Array]:
    """(params, batch) -> the pooled states of each row, [B, layers, E]; likewise the same one.

    For a mix they are the means of all layers side by side, [B, 1, (L + 1) E].
    """

    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        states = backbone.layer_states(config, params, tokens, there=there(batch))
        own = batch.lm_weights[:, 0] > 0  # neither the separator nor padding
        if how == MIX:
            return jnp.concatenate([pool(one, own, "mean") for one in states], axis=1)[:, None]
        return jnp.stack([pool(states[layer], own, how) for layer in layers], axis=1)

    return predict


def _compute(
    run: Run, batches: Bucketed, files: Mapping[int, Path], how: Kind, shape: tuple[int, int]
) -> None:
    """Write the features of these layers, each file whole or not at all."""
    if not files:
        return
    parts = {layer: temporary(path) for layer, path in files.items()}
    try:
        maps = [new_array(part, shape) for part in parts.values()]
        asked = tuple(files)
        read = (
            cells_after(run.model, asked) if how == CELL else pooled_states(run.model, asked, how)
        )
        predict = Predictor(read, batches)
        with progress_bar(len(batches), desc="features", **BAR) as bar:
            for index, found in enumerate(predict.each(run.backbone)):
                members = batches.members(0, index)
                for number, array in enumerate(maps):
                    array[members] = found[: len(members), number]
                bar.update()
        for array in maps:
            array.flush()
        for (layer, path), array in zip(files.items(), maps, strict=True):
            finish_array(parts[layer], path, array)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _folder(run: Run) -> Path:
    """Where the features of a run lie; made."""
    if run.checkpoint != "published":
        try:
            make_folder(run.folder.features)
            return run.folder.features
        except OSError:
            pass  # another's run, or a disk that is only read
    return features_cache()


def _hash_of(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()
