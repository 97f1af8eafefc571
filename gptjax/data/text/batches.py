"""Batches of a text as its settings ask for them: windows, streams, or rows of an autoencoder."""

from gptjax.data.text.autoencoder import AutoencoderRows
from gptjax.data.text.corpus import Corpus
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.streams import Streams, WholeDocuments
from gptjax.data.text.windows import Windows
from gptjax.errors import UserError


def is_streams(config: CorpusConfig) -> bool:
    """Whether rows go on from batch to batch."""
    return config.order == "streams"


def check_rows(config: CorpusConfig, bidirectional: bool) -> None:
    """Refuse rows that a model that reads both ways cannot be trained on.

    Raises:
        UserError: several documents in a row, or one twice.
    """
    if not bidirectional:
        return
    if config.short_documents != "pad":
        raise UserError(
            f"corpus.short_documents {config.short_documents}: a bidirectional model reads each "
            "document by itself; set corpus.short_documents pad"
        )
    if config.autoencodes:
        raise UserError(
            "corpus.layout autoencode: a bidirectional model would see what it is to write; leave "
            "it out"
        )


def to_train(
    config: CorpusConfig, corpus: Corpus, *, context_length: int, batch_size: int, seed: int
) -> Windows | Streams | AutoencoderRows:
    """Batches to train on, in an order of the seed. Raises what these raise."""
    if config.autoencodes:
        return AutoencoderRows(
            corpus, context_length=context_length, batch_size=batch_size, seed=seed
        )
    if is_streams(config):
        return Streams(
            corpus,
            context_length=context_length,
            batch_size=batch_size,
            seed=seed,
            reset=config.reset,
            predict_end=bool(config.predict_end),
        )
    return Windows(
        corpus,
        context_length=context_length,
        batch_size=batch_size,
        seed=seed,
        short_documents=config.short_documents,
        predict_end=bool(config.predict_end),
    )


def to_evaluate(
    config: CorpusConfig,
    corpus: Corpus,
    *,
    context_length: int,
    batch_size: int,
    stride: int | None = None,
) -> Windows | WholeDocuments | AutoencoderRows:
    """Batches in which every token is predicted once. Raises what these raise."""
    if config.autoencodes:
        return AutoencoderRows(
            corpus,
            context_length=context_length,
            batch_size=batch_size,
            shuffle=False,
            drop_last=False,
        )
    if is_streams(config):
        return WholeDocuments(
            corpus,
            context_length=context_length,
            batch_size=batch_size,
            streams=config.streams,
            predict_end=bool(config.predict_end),
        )
    return Windows(
        corpus,
        context_length=context_length,
        batch_size=batch_size,
        stride=stride,
        shuffle=False,
        drop_last=False,
        predict_end=bool(config.predict_end),
    )


def order(config: CorpusConfig) -> dict[str, str | bool]:
    """What decides about the order of the training data, beside the seed.

    Runs from before there was a setting have no key for what was always so.
    """
    if is_streams(config):
        found: dict[str, str | bool] = {"order": config.order, "reset": config.reset}
    else:
        found = {"short_documents": config.short_documents}
    if config.autoencodes:
        found["layout"] = config.layout
    return {**found, "predict_end": True} if config.predict_end else found
