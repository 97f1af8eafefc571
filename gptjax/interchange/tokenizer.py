"""Our tokenizers as the hub's: a tokenizer.json that transformers loads by itself."""

import json
import sys
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from gptjax.data.tokenizers import bpe_files
from gptjax.data.tokenizers.bpe import END_OF_TEXT, UNKNOWN, WORD_END, Gpt1Tokenizer, Gpt2Tokenizer
from gptjax.data.tokenizers.sentencepiece import SPACE_SYMBOL, SentencePieceTokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError

PROBE = "The house of Mary's -  it is\tnot, 42 \u00e9\u4e2d!\n\nAnd?"
# Names of the task head's tokens: start, delimiter, extract.
SPECIALS = ("<|start|>", "<|delimiter|>", "<|extract|>")


def check(tokenizer: Tokenizer) -> None:
    """Refuse a kind of tokenizer that the hub's format does not hold."""
    if not isinstance(tokenizer, SentencePieceTokenizer | Gpt1Tokenizer | Gpt2Tokenizer):
        raise UserError(
            "the hub's format has a place for the tokenizers of SentencePiece, GPT-1 and GPT-2 "
            f"only, not for {type(tokenizer).__name__}; use this run with gptjax itself"
        )


def write(folder: Path, tokenizer: Tokenizer, context_length: int, *, specials: bool) -> None:
    """Write the tokenizer's files into a folder; of GPT-1's the hub has the fast mode only.

    With ``specials`` the task head's three tokens come after the vocabulary, and stand by
    themselves around a text (or a pair of texts), as in fine-tuning; and white space is made
    uniform, as it is in a task's rows.

    Raises:
        UserError: a kind of tokenizer that the hub's format does not hold.
    """
    check(tokenizer)
    if isinstance(tokenizer, SentencePieceTokenizer):
        backend, named = _sentencepiece(tokenizer, line_ends=not specials)
        tokenizer.save(folder)
    elif isinstance(tokenizer, Gpt1Tokenizer):
        backend, named = _gpt1(tokenizer), {"unk_token": UNKNOWN}
        bpe_files.write(tokenizer.bpe, folder)
    else:
        assert isinstance(tokenizer, Gpt2Tokenizer)
        backend, named = _gpt2(tokenizer), {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
        bpe_files.write(tokenizer.bpe, folder)
    if specials:
        backend.normalizer = _uniform_spaces(backend.normalizer)
        backend.add_special_tokens(list(SPECIALS))
        start, delimiter, extract = SPECIALS
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {extract}",
            pair=f"{start} $A {delimiter} $B {extract}",
            special_tokens=[(name, tokenizer.size + k) for k, name in enumerate(SPECIALS)],
        )
    backend.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        # Without token types, which these classes would add to the states as if they were tokens.
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        # Nothing in a text becomes a control id: `<|start|>` in it is text, as with us.
        "split_special_tokens": True,
        "pad_token": backend.id_to_token(padding(tokenizer)),
        **named,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _uniform_spaces(after: normalizers.Normalizer | None) -> normalizers.Normalizer:
    """`" ".join(text.split())` before a tokenizer's own normalizer."""
    # Python's own white space, of which regular expressions and Rust leave some out.
    white = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace())
    spaces = normalizers.Replace(Regex(f"[{white}]+"), " ")
    own = [] if after is None else [after]
    return normalizers.Sequence([spaces, normalizers.Strip(), *own])


def padding(tokenizer: Tokenizer) -> int:
    """The id to pad with: one that ends no sequence (the unknown token, where there is one)."""
    return tokenizer.separator if isinstance(tokenizer, Gpt2Tokenizer) else 0


def _gpt1(tokenizer: Gpt1Tokenizer) -> tokenizers.Tokenizer:
    backend = _bpe(tokenizer.bpe, unk_token=UNKNOWN, end_of_word_suffix=WORD_END)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix=WORD_END)
    backend.add_special_tokens([UNKNOWN])
    return backend


def _gpt2(tokenizer: Gpt2Tokenizer) -> tokenizers.Tokenizer:
    backend = _bpe(tokenizer.bpe)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_OF_TEXT])
    return backend


def _bpe(bpe: bpe_files.Bpe, **options: Any) -> tokenizers.Tokenizer:
    model = models.BPE(vocab=dict(bpe.vocabulary), merges=list(bpe.merges), **options)
    return tokenizers.Tokenizer(model)


def _sentencepiece(
    tokenizer: SentencePieceTokenizer, *, line_ends: bool
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """SentencePiece's BPE as pairs to merge: a piece's score says when it is made, and it may be
    made of any two pieces. A text is read after the separator, as in training.

    Without ``line_ends`` its texts have none: they are white space like any other, which a token
    of their own would take out of the text before it is normalised.
    """
    pieces = tokenizer.pieces()
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        merges += [
            (score, half) for half in halves if half[0] in vocabulary and half[1] in vocabulary
        ]
    merges.sort(key=lambda merge: -merge[0])
    bpe = bpe_files.Bpe(vocabulary, [pair for _, pair in merges])

    def build(line_ends: bool) -> tokenizers.Tokenizer:
        backend = _bpe(bpe, byte_fallback=True, unk_token=pieces[0][0])
        backend.normalizer = normalizers.Replace(" ", SPACE_SYMBOL)
        backend.decoder = decoders.Sequence(
            [decoders.Replace(SPACE_SYMBOL, " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        if line_ends:
            backend.add_tokens([AddedToken("\n", normalized=False)])
        return backend

    backend = build(line_ends=True)
    found = backend.encode(PROBE, add_special_tokens=False).ids
    if found != tokenizer.encode([PROBE])[0].tolist() or backend.get_vocab_size() != len(pieces):
        raise UserError(
            "this SentencePiece model cannot be written as the hub's tokenizer: it is not a BPE as "
            "`gptjax tokenizer` trains it"
        )
    if not line_ends:
        backend = build(line_ends=False)
    separator = pieces[tokenizer.separator][0]
    backend.add_special_tokens([separator])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{separator} $A", special_tokens=[(separator, tokenizer.separator)]
    )
    return backend, {"bos_token": separator, "eos_token": separator}
