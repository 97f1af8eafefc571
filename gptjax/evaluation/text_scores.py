"""The log-probability of every token of some texts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gptjax.batch import Batch
from gptjax.models.transformer import ModelConfig, Transformer
from gptjax.run import Run
from gptjax.training import parallel
from gptjax.training.loop import Predictor

LENGTH_MULTIPLE = 32


class _TextWindows:
    """Windows of T + 1 tokens over texts, each after a separator, as `gptjax.batch.Batches`."""

    def __init__(self, ids: Sequence[np.ndarray], separator: int, context: int, batch: int) -> None:
        self.batch_size = batch
        self._separator = separator
        self._windows: list[np.ndarray] = []
        self.owners: list[int] = []
        longest = max((len(text) for text in ids), default=1)
        # Coarse, so that other texts probably have a shape that is compiled already.
        self._length = min(context, -(-max(longest, 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE) + 1
        for owner, text in enumerate(ids):
            whole = np.concatenate([[separator], text])
            for begin in range(0, len(text), self._length - 1):
                self._windows.append(whole[begin : begin + self._length])
                self.owners.append(owner)

    def __len__(self) -> int:
        return -(-len(self._windows) // self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        begin = index * self.batch_size
        wanted = np.arange(begin, begin + self.batch_size)[rows]
        tokens = np.full((len(wanted), 1, self._length), self._separator, np.int32)
        weights = np.zeros(tokens.shape, np.float32)
        for row, number in enumerate(wanted):
            if number < len(self._windows):
                window = self._windows[number]
                tokens[row, 0, : len(window)] = window
                weights[row, 0, 1 : len(window)] = 1
        return Batch(
            tokens=tokens,
            lm_weights=weights,
            extract=np.zeros((len(wanted), 1), np.int32),
            targets=np.ones((len(wanted), 1), np.float32),
            weights=(wanted < len(self._windows)).astype(np.float32),
        )

    def describe(self, epoch: int, index: int) -> str:
        return f"windows of batch {index}"

    def lengths(self) -> list[int]:
        return [len(window) - 1 for window in self._windows]


@functools.lru_cache(maxsize=16)
def _log_probabilities(config: ModelConfig) -> Callable[[Any, Batch], Array]:
    """The same function for the same model, so that it is compiled once."""
    model = Transformer(config)

    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        states: Any = model.apply({"params": params}, tokens[:, :-1])
        table = params["token_embedding"].astype(states.dtype)
        logits = jnp.einsum("btd,vd->btv", states, table, preferred_element_type=jnp.float32)
        chosen = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    return predict


def token_log_probabilities(
    run: Run, texts: Sequence[str], batch_size: int
) -> list[Float[np.ndarray, " _"]]:
    """log p of each token of each text given those before it (float32, nats).

    Args:
        run: pre-trained, or fine-tuned (its backbone is asked).
        texts: each read as the beginning of a document.
        batch_size: windows at once, rounded up to a multiple of the devices.
    """
    devices = parallel.device_count()
    windows = _TextWindows(
        run.tokenizer.encode(texts),
        run.tokenizer.separator,
        run.model.context_length,
        -(-batch_size // devices) * devices,
    )
    found: list[list[np.ndarray]] = [[] for _ in texts]
    if len(windows):
        rows = Predictor(_log_probabilities(run.model), windows)(run.backbone)
        for owner, length, row in zip(windows.owners, windows.lengths(), rows, strict=False):
            found[owner].append(row[:length])
    return [np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in found]
