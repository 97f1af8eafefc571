"""Open a tokenizer of any kind."""

import os
from pathlib import Path

from gptjax.data.tokenizers import bpe as bpe_tokenizer
from gptjax.data.tokenizers import sentencepiece as sentencepiece_tokenizer
from gptjax.data.tokenizers.tokenizer import Mode, Tokenizer
from gptjax.errors import UserError
from gptjax.files import check_regular


def load_tokenizer(
    path: str | os.PathLike[str], expected_size: int | None = None, mode: Mode | None = None
) -> Tokenizer:
    """The tokenizer at a path.

    Args:
        path: a folder written by `Tokenizer.save`, a SentencePiece ``.model`` file, or a folder
            with the BPE files of GPT-1 or GPT-2 as OpenAI or the hub published them.
        expected_size: the model's vocabulary size, where there is one to agree with.
        mode: of GPT-1's tokenizer; None is what was saved, else exact.

    Raises:
        UserError: nothing usable lies there, or its size is another.
    """
    path = Path(path)
    check_regular(path)
    file = path / sentencepiece_tokenizer.MODEL_FILE
    tokenizer: Tokenizer
    if path.is_dir() and not file.exists() and bpe_tokenizer.is_there(path):
        tokenizer = bpe_tokenizer.read(path, mode)
    else:
        if path.is_file():
            file = path
        if mode is not None:
            raise UserError(f"`vocabulary.mode={mode}`: is for GPT-1's tokenizer, not for {path}")
        try:
            model = file.read_bytes()
        except OSError as error:
            raise UserError(
                f"no tokenizer at {path}: cannot read {file} ({error.strerror})"
            ) from error
        tokenizer = sentencepiece_tokenizer.SentencePieceTokenizer(model, name=str(file))
    if expected_size is not None and tokenizer.size != expected_size:
        raise UserError(
            f"the tokenizer {path} has {tokenizer.size:,} tokens and the model's vocabulary_size "
            f"is {expected_size:,}; set `model.vocabulary_size={tokenizer.size}`"
        )
    return tokenizer
