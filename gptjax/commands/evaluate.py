"""`gptjax evaluate`: the perplexity of a text under a trained model."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from gptjax.data.corpus import CorpusConfig, prepare_whole
from gptjax.data.sources import EncodingErrors
from gptjax.data.windows import Windows
from gptjax.errors import UserError
from gptjax.evaluation.perplexity import Perplexity, perplexity
from gptjax.models.objective import lm
from gptjax.run import load, write_json
from gptjax.training import loop, parallel


@dataclass(frozen=True)
class EvaluateConfig:
    """Perplexity of a text under a trained model."""

    run: str
    """Run folder."""
    data: str
    """Text: a .txt file or a folder of them, .jsonl, .parquet, .csv or .tsv with a text column,
    hub:ID[:CONFIG][@REVISION], or embedded."""
    context: int | None = None
    """Tokens the model sees at once; None is its full context."""
    stride: int | None = None
    """Tokens by which the window moves on: a smaller stride gives each token more context and
    takes longer. None is the context: windows do not overlap."""
    batch_size: int = 16
    """Windows at once, rounded up to a multiple of the devices."""
    text_column: str = CorpusConfig.text_column
    """Name of the column with the text, where the data has columns."""
    encoding_errors: EncodingErrors = CorpusConfig.encoding_errors
    """What to do with bytes that are not UTF-8: refuse the file, or replace them by U+FFFD."""
    checkpoint: str = "auto"
    """best, last, or a step; auto is the best where one was kept, else the last."""
    out: str | None = None
    """Folder for results.json; None writes none."""


def run(config: EvaluateConfig) -> Perplexity:
    """Print perplexity per token and word, and bits per byte.

    Raises:
        UserError: no such run, unreadable text, or a context longer than the model's.
    """
    if config.out is not None:
        Path(config.out).mkdir(parents=True, exist_ok=True)
    loaded = load(config.run, config.checkpoint)
    context = loaded.model.context_length if config.context is None else config.context
    if not 1 <= context <= loaded.model.context_length:
        raise UserError(
            f"--context {context}: the model of {config.run} sees from 1 to "
            f"{loaded.model.context_length} tokens"
        )
    stride = context if config.stride is None else config.stride
    corpus = prepare_whole(
        CorpusConfig(
            data=config.data,
            text_column=config.text_column,
            encoding_errors=config.encoding_errors,
        ),
        loaded.tokenizer,
    )
    devices = parallel.device_count()
    windows = Windows(
        corpus,
        context_length=context,
        stride=stride,
        batch_size=-(-config.batch_size // devices) * devices,
        shuffle=False,
        drop_last=False,
    )
    means = loop.evaluate(lm(loaded.model), loaded.params, windows)
    result = perplexity(means["loss"], corpus)
    print(f"{config.run} ({loaded.checkpoint}) on {corpus}")
    print(f"context {context}, stride {stride}: every token counted once")
    print(f"  perplexity per token  {result.perplexity:12.3f}   ({result.loss:.4f} nats)")
    print(f"  perplexity per word   {result.word_perplexity:12.3f}   (split at white space)")
    print(f"  bits per byte         {result.bits_per_byte:12.4f}")
    print(f"  accuracy              {means['accuracy']:12.4f}   (next token)")
    if config.out is not None:
        write_json(
            Path(config.out) / "results.json",
            {
                "task": "language-modelling",
                "split": corpus.name,
                "examples": corpus.num_tokens,
                "metrics": {**means, **dataclasses.asdict(result)},
                "context": context,
                "stride": stride,
                "data": {
                    "source": corpus.name,
                    "fingerprint": corpus.fingerprint,
                    "dropped": dict(corpus.dropped),
                },
                "checkpoint": loaded.checkpoint,
                "run": config.run,
            },
        )
    return result
