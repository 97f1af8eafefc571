"""Models that others published: `openai:FOLDER` (OpenAI's files), `hf:ID_OR_FOLDER`,
`elmo:FOLDER` (a bidirectional model's, of ELMo's authors)."""

from pathlib import Path
from typing import Any

from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Mode, Tokenizer
from gptjax.errors import UserError
from gptjax.interchange import elmo, hub, openai, openai_mlstm
from gptjax.models.config import ModelConfig

OPENAI, HUB, ELMO = "openai:", "hf:", "elmo:"


def is_published(path: str | Path) -> bool:
    """Whether a path names other people's files instead of a run folder."""
    return str(path).startswith((OPENAI, HUB, ELMO))


def published_folder(path: str | Path, *, weights: bool = True) -> Path:
    """Where other people's files lie; those of the hub are fetched if they are not here.

    ``weights`` says whether they are needed too. A UserError where there is no such folder.
    """
    kind, _, name = str(path).partition(":")
    if f"{kind}:" == HUB:
        return hub.locate(name, weights=weights)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder")
    return folder


def read_config(path: str | Path, num_heads: int | None) -> ModelConfig:
    """The config of a published model; ``num_heads`` as of `gptjax.runs.own_config.load_config`."""
    folder = published_folder(path, weights=False)
    if str(path).startswith(HUB):
        return hub.read_config(folder)
    if str(path).startswith(ELMO):
        return elmo.read_config(folder)
    if openai_mlstm.is_there(folder):
        return openai_mlstm.read_config(folder)
    return openai.read_config(folder, num_heads)


def read_tokenizer(path: str | Path, mode: Mode | None) -> Tokenizer:
    """The tokenizer of a published model."""
    folder = published_folder(path, weights=False)
    of_elmo = str(path).startswith(ELMO)
    if of_elmo or (str(path).startswith(OPENAI) and openai_mlstm.is_there(folder)):
        if mode is not None:
            raise UserError(f"`vocabulary.mode={mode}`: is for GPT-1's tokenizer, not for {path}")
        return elmo.tokenizer() if of_elmo else openai_mlstm.byte_tokenizer()
    return load_tokenizer(folder, mode=mode)


def read(path: str | Path, model: ModelConfig, mode: Mode | None) -> tuple[Path, Tokenizer, Any]:
    """Folder, tokenizer and parameters of a published model."""
    folder = published_folder(path)
    tokenizer = read_tokenizer(path, mode)
    if tokenizer.size != model.vocabulary_size:
        raise UserError(
            f"{path}: its weights are for {model.vocabulary_size:,} tokens, and its tokenizer's "
            f"files have {tokenizer.size:,}; are they of the same model?"
        )
    files = {HUB: hub, OPENAI: openai, ELMO: elmo}[f"{str(path).partition(':')[0]}:"]
    if files is openai and openai_mlstm.is_there(folder):
        files = openai_mlstm
    return folder, tokenizer, files.read_params(folder, model)


def short_name(path: str) -> str:
    """A name for a run that begins with this model: the last part of its folder or id."""
    name = path.removeprefix(OPENAI).removeprefix(ELMO)
    if name.startswith(HUB):
        name = name.removeprefix(HUB).partition("@")[0]
    return Path(name).resolve().name
