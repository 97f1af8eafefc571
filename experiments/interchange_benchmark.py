"""How fast others' models are opened and GPT-1's text is tokenised; a part of `make bench`.

Loading: a GPT-1 of the published size from safetensors until its parameters are on the devices.
Tokenising: one core; GPT-1's published files are needed (``--gpt1-tokenizer FOLDER``).
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import numpy as safetensors

from gptjax.data.text.embedded import embedded_documents
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Mode
from gptjax.interchange import hub as hub_files
from gptjax.models import convert
from gptjax.models.config import ModelConfig
from gptjax.training import parallel

GPT1 = ModelConfig()


def random_params(config: ModelConfig) -> Any:
    """A backbone of random numbers."""
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {}
    for path, shape in convert.shapes(config).items():
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        value = 0.02 * rng.standard_normal(shape, dtype=np.float32)
        place[path[-1]] = value + np.float32(path[-1] == "scale")
    return params


def loading_seconds(config: ModelConfig) -> float:
    """From a folder on the disk (in the system's cache) to parameters on the devices."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / hub_files.WEIGHTS
        safetensors.save_file(convert.to_hub(random_params(config), config), file)
        start = time.perf_counter()
        params = hub_files.read_params(Path(name), config)
        jax.block_until_ready(parallel.replicate(params))
        return time.perf_counter() - start


def tokenizing_speed(folder: str, mode: Mode, characters: int = 2_000_000) -> float:
    """Tokens per second of CPU time of one thread, on the embedded English prose."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    tokenizer = load_tokenizer(folder, mode=mode)
    text = "\n".join(text for _, text in embedded_documents())[:characters]
    pieces = list(tokenizer.cut([text]))
    start = time.process_time()
    count = sum(len(ids) for ids in tokenizer.encode_pieces(pieces))
    return count / (time.process_time() - start)


def lines(tokenizer: str | None) -> Iterator[str]:
    """Measure one thing after the other, a line each."""
    yield f"loading GPT-1 from safetensors, ready to train: {loading_seconds(GPT1):.1f} s"
    if tokenizer is not None:
        for mode in ("exact", "fast"):
            speed = tokenizing_speed(tokenizer, mode)
            yield f"GPT-1's tokenizer, {mode}: {speed:,.0f} tokens/s of one core"
