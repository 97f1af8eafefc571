"""Open a tokenizer of any kind."""

import os
from pathlib import Path

from gptjax.data.tokenizers import bpe as bpe_tokenizer
from gptjax.data.tokenizers import byte_level
from gptjax.data.tokenizers import sentencepiece as sentencepiece_tokenizer
from gptjax.data.tokenizers import words as word_tokenizer
from gptjax.data.tokenizers.tokenizer import BYTES, WORDS, Mode, Tokenizer
from gptjax.errors import UserError
from gptjax.files import check_regular


def load_tokenizer(
    path: str | os.PathLike[str], expected_size: int | None = None, mode: Mode | None = None
) -> Tokenizer:
    """The tokenizer at a path.

    Args:
        path: a folder written by `Tokenizer.save`, a SentencePiece ``.model`` file, the ``.json``
            file of a vocabulary of words, or a folder with the BPE files of GPT-1 or GPT-2 as
            OpenAI or the hub published them; or "bytes".
        expected_size: the model's vocabulary size, where there is one to agree with; which of the
            two of "bytes" it is follows from it.
        mode: of GPT-1's tokenizer; None is what was saved, else exact.

    Raises:
        UserError: nothing usable lies there, or its size is another.
    """
    if mode is not None and not _has_mode(path):
        raise UserError(f"`vocabulary.mode={mode}`: is for GPT-1's tokenizer, not for {path}")
    if path == BYTES:
        return byte_level.ByteTokenizer(expected_size or byte_level.WITH_END)
    if path == WORDS:
        raise UserError(
            f"`tokenizer={WORDS}`: a vocabulary of words is made of a text, by `gptjax tokenizer` "
            "or a pre-training; name its file, or the tokenizer folder of that run"
        )
    path = Path(path)
    check_regular(path)
    tokenizer = _read(path, mode)
    if expected_size is not None and tokenizer.size != expected_size:
        raise UserError(
            f"the tokenizer {path} has {tokenizer.size:,} tokens and the model's vocabulary_size "
            f"is {expected_size:,}; set `model.vocabulary_size={tokenizer.size}`"
        )
    return tokenizer


def _has_mode(path: str | os.PathLike[str]) -> bool:
    """Whether there are files of a byte pair encoding, and none that is read before them."""
    folder = Path(path)
    model = folder / sentencepiece_tokenizer.MODEL_FILE
    return path not in (BYTES, WORDS) and not model.exists() and bpe_tokenizer.is_there(folder)


def _read(path: Path, mode: Mode | None) -> Tokenizer:
    file = path / sentencepiece_tokenizer.MODEL_FILE
    if path.is_file():
        if path.suffix == ".json":
            return word_tokenizer.read(path)
        file = path
    elif path.is_dir() and not file.exists():
        if byte_level.is_there(path):
            return byte_level.read(path)
        if word_tokenizer.is_there(path):
            return word_tokenizer.read(path / word_tokenizer.FILE)
        if bpe_tokenizer.is_there(path):
            return bpe_tokenizer.read(path, mode)
    try:
        model = file.read_bytes()
    except OSError as error:
        raise UserError(f"no tokenizer at {path}: cannot read {file} ({error.strerror})") from error
    return sentencepiece_tokenizer.SentencePieceTokenizer(model, name=str(file))
