"""How fast others' models are opened, GPT-1's text is tokenised, and text is written; a part of
`make bench`, which tells how to run it alone.

Loading: a GPT-1 of the published size from safetensors until its parameters are on the devices.
Tokenising: one core; GPT-1's published files are needed (``--gpt1-tokenizer FOLDER``). Generation:
greedy, one row, GPT-1's and GPT-2's sizes, beside transformers' `generate` where it is installed
(its GPT-1 keeps no key-value cache, its GPT-2 does).
"""

import os
import statistics
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
from gptjax.models.decode import sample
from gptjax.training import parallel

GPT1 = ModelConfig()
GPT2 = ModelConfig(norm="pre", vocabulary_size=50257, context_length=1024)
PROMPT = 16


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


def generation_speeds(config: ModelConfig, compare: bool, blocks: int, count: int) -> dict:
    """Tokens per second here and there, by turns; medians of the blocks."""
    params = jax.device_put(random_params(config))
    prompt, first = np.ones((1, PROMPT), np.int32), np.zeros(1, np.int32)
    options = (np.int32(-1), np.float32(0), np.int32(0), np.float32(1))

    def ours() -> None:
        tokens = sample(
            config, params, prompt, first, jax.random.key(0), *options, max_tokens=count
        )
        tokens.block_until_ready()

    sides = {"gptjax": ours}
    if compare:
        sides["transformers"] = _theirs(config, count)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for block in range(blocks + 1):  # the first one compiles
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if block:
                seconds[name].append(time.perf_counter() - start)
    return {name: count / statistics.median(values) for name, values in seconds.items()}


def _theirs(config: ModelConfig, count: int) -> Any:
    import torch
    import transformers

    if config.norm == "post":
        model: Any = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig())
    else:
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    model.eval()
    tokens = torch.ones((1, PROMPT), dtype=torch.long)
    mask = torch.ones_like(tokens)

    def run() -> None:
        with torch.inference_mode():
            model.generate(
                tokens,
                attention_mask=mask,
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )

    return run


def lines(compare: bool, blocks: int, count: int, tokenizer: str | None) -> Iterator[str]:
    """Measure one thing after the other, a line each."""
    yield f"loading GPT-1 from safetensors, ready to train: {loading_seconds(GPT1):.1f} s"
    if tokenizer is not None:
        for mode in ("exact", "fast"):
            speed = tokenizing_speed(tokenizer, mode)
            yield f"GPT-1's tokenizer, {mode}: {speed:,.0f} tokens/s of one core"
    for name, config in (("GPT-1", GPT1), ("GPT-2", GPT2)):
        speeds = generation_speeds(config, compare, blocks, count)
        beside = ""
        if compare:
            ratio = speeds["gptjax"] / speeds["transformers"]
            beside = f", {ratio:.2f} times transformers ({speeds['transformers']:.1f})"
        yield f"generation, {name}, one row: {speeds['gptjax']:.1f} tokens/s{beside}"
