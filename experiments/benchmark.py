"""How fast it is: `make bench` prints tables for a training step, generation and tokenising.

Options follow ARGS, for example ``make bench ARGS="--sizes 12x768x12x40478@4x512 --blocks 3"``.
With the ``parity`` extra installed (``make bench-parity``) the same steps are done by PyTorch
with transformers in the same process, and the ratio is printed: both take turns, a block of
steps each, and the medians of the blocks are compared; PyTorch with the fastest of its
attentions and AdamW implementations.

On an accelerator whose peak is known, or with ``--peak-flops``, the table has the model FLOPs
utilisation (Chowdhery et al. 2022, appendix B):

    utilisation = tokens per second × FLOPs per token / (devices × peak FLOPs per second)
    FLOPs per token = 6 × (L × (4 D² + 2 D M) + V D) + 12 × L × D × T

for L layers, width D, MLP width M, vocabulary V and context T: 2 for a multiplication and an
addition, times 3 for the forward and the backward pass, for every weight of a matrix product
(the output table included) and for the T × T scores of attention, of which causality would let
one skip half. Recomputing (``--rematerialize``) is not counted as work.
"""

import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import finetune_benchmark
import interchange_benchmark
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from instruments import RandomBatches, compilations, peak_memory, seconds_per_step

from gptjax.data.text.embedded import embedded_documents
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.decode import sample
from gptjax.models.objective import lm
from gptjax.training import parallel
from gptjax.training.loop import TrainConfig, fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.step import Progress, make_train_step

# Dense bfloat16 FLOPs per second of one device, from the makers' data sheets.
PEAK_FLOPS = {
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure the speed of this machine."""

    sizes: tuple[str, ...] = ("12x768x12x40478@4x512", "4x256x4x8000@16x256")
    """Models, and the batches to train them with: LAYERSxWIDTHxHEADSxVOCABULARY@BATCHxCONTEXT.
    The default is GPT-1 with 4 sequences of 512 tokens, and a small model."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation."""

    attention: Literal["einsum", "fused"] = "einsum"
    """How attention is computed; fused needs a dropout of 0."""

    dropout: float = 0.1
    """Probability of dropping, on the embedding, the attention weights and the residual
    branches."""

    rematerialize: bool = False
    """Compute each block again in the backward pass."""

    blocks: int = 5
    """Turns that each side takes; medians are over them."""

    block_seconds: float = 5.0
    """About how long a turn lasts, in seconds; at least one step."""

    new_tokens: int = 64
    """Length of a generated text, in tokens; 0 leaves generation out."""

    tokenizer: bool = True
    """Whether to measure tokenising."""

    finetune: bool = True
    """Whether to measure fine-tuning too, with the auxiliary LM loss on."""

    pretrain: bool = True
    """Whether to measure pre-training steps."""

    interchange: bool = True
    """Whether to measure loading others' models, GPT-1's tokenizer, and generation of one row."""

    gpt1_tokenizer: str | None = None
    """Folder with GPT-1's published BPE files; None leaves its tokenizer out."""

    pytorch: bool = True
    """Whether to compare with PyTorch where it is installed."""

    peak_flops: float | None = None
    """Peak FLOPs per second of one device, for the utilisation (None: from a table by name)."""


def parse_size(text: str, config: BenchmarkConfig) -> tuple[ModelConfig, int]:
    """The model and the batch size of a ``--sizes`` entry.

    Raises:
        UserError: the text is no size, or the model is impossible.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)@(\d+)x(\d+)", text)
    if match is None:
        raise UserError(f"--sizes {text}: expected LAYERSxWIDTHxHEADSxVOCABULARY@BATCHxCONTEXT")
    layers, width, heads, vocabulary, batch, context = map(int, match.groups())
    parallel.check_batch_size(batch, 1, f"--sizes {text}")
    model = ModelConfig(
        vocabulary_size=vocabulary,
        context_length=context,
        num_layers=layers,
        num_heads=heads,
        width=width,
        embedding_dropout=config.dropout,
        attention_dropout=config.dropout,
        residual_dropout=config.dropout,
        dtype=config.dtype,
        attention=config.attention,
        rematerialize=config.rematerialize,
    )
    return model, batch


def flops_per_token(model: ModelConfig) -> float:
    """FLOPs of a training step per token; the formula is in the module's docstring."""
    width, layers = model.width, model.num_layers
    products = layers * (4 * width**2 + 2 * width * model.hidden_width)
    products += model.vocabulary_size * width
    return 6 * products + 12 * layers * width * model.context_length


def peak_flops(config: BenchmarkConfig) -> float | None:
    """Peak FLOPs per second of one device, or None where it is not known."""
    if config.peak_flops is not None:
        return config.peak_flops
    kind = jax.local_devices()[0].device_kind
    return next((peak for name, peak in PEAK_FLOPS.items() if name in kind), None)


def gptjax_step(
    model: ModelConfig, batches: RandomBatches, *, streams: bool = False
) -> tuple[Callable[[int], None], Callable[[], Any]]:
    """Two functions: train for a number of steps and wait; and give the parameters.

    With ``streams`` what the model remembers goes on from step to step.
    """
    objective = lm(model, streams=streams)
    optimizer = make_optimizer(OptimizerConfig(warmup=0.0), 10**6)
    step = make_train_step(objective, optimizer, accumulate=1)
    params = jax.jit(objective.init)(jax.random.key(0))
    progress = Progress(jnp.int32(0), jnp.zeros((), bool), jnp.int32(0))
    placed = parallel.replicate((params, jax.jit(optimizer.init)(params), progress))
    state = (*placed, parallel.shard_all(objective.init_carry(batches.batch_size)))
    batch = parallel.shard(batches.batch(0, 0))
    vote = parallel.vote(False)

    def train(count: int) -> None:
        nonlocal state
        for _ in range(count):
            *state, metrics = step(*state, batch, vote)
        jax.block_until_ready((state, metrics))

    return train, lambda: state[0]


def outside_share(
    model: ModelConfig, batch_size: int, bare: Callable[[int], None], steps: int, blocks: int
) -> float:
    """The share of the training loop's time in which no step runs.

    Blocks of ``steps`` updates of `gptjax.training.loop.fit` take turns with blocks of as many
    bare steps, which stand in the place of its evaluations: the median, over the blocks, of
    1 - bare / loop. Both wait for their last step, so that the loop is charged with the end of
    its pipeline as well.
    """
    batches = RandomBatches(model.vocabulary_size, batch_size, model.context_length)
    config = TrainConfig(
        steps=steps * (blocks + 1), batch_size=batch_size, evaluate_every=steps, seed=0
    )
    ended: list[float] = []
    shares: list[float] = []

    def take_turns(params: Any) -> dict[str, float]:
        start = time.perf_counter()
        bare(steps)
        if ended:  # the first block compiles
            shares.append(1 - (time.perf_counter() - start) / (start - ended[-1]))
        ended.append(time.perf_counter())
        return {"loss": 0.0}

    optimizer = make_optimizer(OptimizerConfig(warmup=0.0), config.steps or 0)
    fit(lm(model), batches, config, optimizer, evaluate=take_turns)
    return statistics.median(shares)


def generation_speed(
    model: ModelConfig, params: Any, batch_size: int, prompt: int, count: int
) -> float:
    """Tokens per second of greedy generation, all rows together, without compiling."""
    tokens = np.ones((batch_size, prompt), np.int32)
    options = (np.int32(-1), np.float32(0), np.int32(0), np.float32(1))

    def run() -> None:
        first, key = np.zeros(batch_size, np.int32), jax.random.key(0)
        sample(model, params, tokens, first, key, *options, max_tokens=count).block_until_ready()

    run()
    start = time.perf_counter()
    run()
    return batch_size * count / (time.perf_counter() - start)


def tokenizing_speed() -> float:
    """Tokens per second of encoding the embedded corpus with a vocabulary of 8,000."""
    texts = [text for _, text in embedded_documents()]
    tokenizer, _ = train_sentencepiece(([text] for text in texts), 8000)
    start = time.perf_counter()
    count = sum(len(ids) for ids in tokenizer.encode(texts))
    return count / (time.perf_counter() - start)


def measure(size: str, config: BenchmarkConfig, compare: bool) -> dict[str, Any]:
    """The row of a size: what was measured, by name."""
    model, batch_size = parse_size(size, config)
    batches = RandomBatches(model.vocabulary_size, batch_size, model.context_length)
    with compilations() as compiled:
        ours, params = gptjax_step(model, batches)
        before = len(compiled)
        memory = peak_memory(lambda: ours(2))
        sides = {"gptjax": ours}
        if compare:
            sides["pytorch"] = fastest_pytorch(model, batch_size)
        seconds = seconds_per_step(sides, config.blocks, config.block_seconds)
        step_compilations = compiled[before:]
    tokens = batch_size * model.context_length
    speed = tokens / seconds["gptjax"]
    peak = peak_flops(config)
    row = {
        "size": size,
        "step [s]": seconds["gptjax"],
        "tokens/s": speed,
        "vs PyTorch": seconds["pytorch"] / seconds["gptjax"] if compare else None,
        "utilisation": speed * flops_per_token(model) / peak / jax.device_count() if peak else None,
        "memory [GB]": memory,
        "compile [s]": sum(step_compilations),
        "compilations": len(step_compilations),
    }
    if config.new_tokens:
        shape = (8, 16, config.new_tokens)  # rows, tokens of the prompt, new tokens
        row["generated/s"] = generation_speed(model, jax.device_get(params()), *shape)
        if compare:
            import pytorch_gpt1

            theirs = pytorch_gpt1.generation_speed(model, *shape)
            row["generation vs PyTorch"] = row["generated/s"] / theirs
    # Many short turns: what is looked for is smaller than a shared machine's drift.
    steps = min(max(round(config.block_seconds / seconds["gptjax"]), 1), 4)
    row["outside the step"] = outside_share(model, batch_size, ours, steps, 3 * config.blocks)
    return row


def fastest_pytorch(model: ModelConfig, batch_size: int) -> Callable[[int], None]:
    """PyTorch's training step in its fastest variant, which is printed."""
    import pytorch_gpt1

    best: tuple[float, Callable[[int], None] | None, str] = (float("inf"), None, "")
    for attention, optimizer in pytorch_gpt1.VARIANTS:
        step = pytorch_gpt1.make_step(model, batch_size, attention, optimizer)
        step(1)
        start = time.perf_counter()
        step(2)
        best = min(best, (time.perf_counter() - start, step, f"{attention}, {optimizer}"))
    assert best[1] is not None
    print(f"PyTorch's fastest: {best[2]}", flush=True)
    return best[1]


def comparable(config: BenchmarkConfig) -> bool:
    """Whether PyTorch is wanted, installed, and able to use the same kind of device."""
    if not config.pytorch:
        return False
    if find_spec("torch") is None or find_spec("transformers") is None:
        print("PyTorch is not compared: install the parity extra")
        return False
    import pytorch_gpt1

    if (pytorch_gpt1.device().type == "cpu") != (jax.default_backend() == "cpu"):
        print(f"PyTorch is not compared: it would run on {pytorch_gpt1.device().type}")
        return False
    return True


def show(row: Mapping[str, Any]) -> None:
    """Print a row as a table, a line per quantity."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
        return "-" if value is None else str(value)

    for name, value in row.items():
        print(f"{name:24s}{text(value):>26s}", flush=True)


def run(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Measure, print, and return the rows of the table."""
    print(parallel.describe_devices())
    compare = comparable(config)
    rows = []
    for size in config.sizes:
        if config.pretrain:
            rows.append(measure(size, config, compare))
            show(rows[-1])
        if config.finetune:
            model, _ = parse_size(size, config)
            rows.append(finetune_benchmark.measure(model, compare, config.blocks))
            show(rows[-1])
    if config.finetune:
        seconds, count = finetune_benchmark.preparing_seconds()
        print(f"preparing {count:,} rows for fine-tuning: {seconds:.1f} s")
    if config.tokenizer:
        print(f"tokenising: {tokenizing_speed():,.0f} tokens/s")
    if config.interchange and config.new_tokens:
        for line in interchange_benchmark.lines(
            compare, config.blocks, config.new_tokens, config.gpt1_tokenizer
        ):
            print(line, flush=True)
    return rows


if __name__ == "__main__":
    try:
        run(tyro.cli(BenchmarkConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"benchmark: {error}") from error
