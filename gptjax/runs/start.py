"""What a run begins with: the model, tokenizer and parameters of another one, a fresh task head."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Mode, Tokenizer
from gptjax.data.tokenizers.words import WordTokenizer
from gptjax.errors import UserError
from gptjax.models.backbone import init_backbone, with_vocabulary
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import TaskHeadConfig, init_task_head
from gptjax.models.transfer import transfer
from gptjax.runs import identity
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import check_same_shape
from gptjax.runs.own_config import load_config
from gptjax.runs.published import OPENAI, is_published
from gptjax.runs.train import say

PRETRAINED = Path("runs/pretrain")
ABSENT = (None, "none")  # of init: no run is named


def find_newest_run() -> Path | None:
    """The newest finished run under runs/pretrain, if there is one."""
    finished = []
    for meta in PRETRAINED.glob("*/meta.json"):
        try:
            content = RunFolder(meta.parent).read_meta()
        except UserError as error:
            say(f"notice: {error}; this run is passed over")
            continue
        if content.get("status") == "finished":
            finished.append((content.get("started", ""), meta.parent))
    return max(finished)[1] if finished else None


def newest_run() -> Path:
    """The newest finished run under runs/pretrain; a UserError where there is none."""
    found = find_newest_run()
    if found is None:
        raise UserError(
            f"no finished run under {PRETRAINED}: begin with `gptjax pretrain --config tiny`, or "
            "name a pre-trained run with `init`"
        )
    return found


def load_source(
    model: ModelConfig, source: str, mode: Mode | None, *, any_vocabulary: bool = False
) -> runs.Run:
    """The model of ``source`` that a run begins with; its shape must be that of the settings.

    With ``any_vocabulary`` the size of the vocabulary may be another (see `with_words`).
    """
    there = load_config(source, model.num_heads)
    asked = replace(model, vocabulary_size=there.vocabulary_size) if any_vocabulary else model
    check_same_shape(asked, there, source)
    loaded = runs.load(source, num_heads=model.num_heads, mode=mode)
    if source.startswith(OPENAI) and model.num_heads is not None:
        size = model.width // model.num_heads
        say(f"{model.num_heads} heads of {size} (the files do not tell)")
    say(f"backbone: {source} ({loaded.checkpoint})")
    return loaded


def check_words(loaded: runs.Run, tokenizer: str) -> None:
    """Refuse another vocabulary of words for a run whose tokenizer is of another kind."""
    if not isinstance(loaded.tokenizer, WordTokenizer):
        raise UserError(
            f"`vocabulary.tokenizer={tokenizer}`: the tokens of {loaded.source} are no words, so "
            "its vocabulary cannot become another; leave the tokenizer out"
        )


def with_words(loaded: runs.Run, tokenizer: Tokenizer) -> runs.Run:
    """The run for another vocabulary of words: each word that it has keeps its rows.

    Words that it lacks begin with the mean of all rows.

    Raises:
        UserError: one of the two vocabularies is not of words, and the other is another.
    """
    old = loaded.tokenizer
    if tokenizer.fingerprint == old.fingerprint:
        return loaded
    if not (isinstance(tokenizer, WordTokenizer) and isinstance(old, WordTokenizer)):
        raise UserError(
            f"`init={loaded.source}` was trained with another tokenizer: its fingerprint is "
            f"{old.fingerprint}, that of the settings' {tokenizer.fingerprint}; leave "
            "`vocabulary.tokenizer` out (only a vocabulary of words can become another)"
        )
    numbers = {word: number for number, word in enumerate(old.words)}
    rows = np.array([numbers.get(word, -1) for word in tokenizer.words])
    known = int((rows >= 0).sum())
    say(
        f"vocabulary: {known:,} of {tokenizer.size:,} words begin with their row in "
        f"{loaded.source}, the others with the mean of its rows"
    )
    model = replace(loaded.model, vocabulary_size=tokenizer.size)
    params = with_vocabulary(loaded.model, loaded.params, rows)
    return replace(loaded, model=model, tokenizer=tokenizer, params=params)


def open_source(
    model: ModelConfig, init: str | None, like: str | None, tokenizer: str | None, mode: Mode | None
) -> tuple[Tokenizer, runs.Run | None]:
    """The tokenizer, and the run whose backbone to start from (None: a fresh one).

    Args:
        model: as the settings have it.
        init: a run, what others published, "none", or None for the newest finished run.
        like: with "none", the run whose tokenizer to take; None is the newest finished run.
        tokenizer: with "none" and no ``like``, the tokenizer itself.
        mode: of GPT-1's tokenizer.
    """
    if tokenizer is not None:
        say(f"tokenizer {tokenizer}; the model is untrained")
        return load_tokenizer(tokenizer, model.vocabulary_size, mode), None
    named = like if init == "none" else init
    source = str(newest_run()) if named is None else named
    if init != "none":
        loaded = load_source(model, source, mode)
        return loaded.tokenizer, loaded
    check_same_shape(model, load_config(source, model.num_heads), source)
    if not is_published(source):
        for notice in identity.notices(RunFolder(Path(source))):
            say(f"notice: {notice}")
    say(f"model and tokenizer as in {source}, untrained")
    return runs.load_own_tokenizer(source, mode), None


def check_not_source(folder: RunFolder, sources: tuple[str | None, ...]) -> None:
    """Refuse to overwrite the run that another one begins with."""
    named = [str(source) for source in sources if source not in ABSENT]
    paths = [Path(one.partition(":")[2] if is_published(one) else one) for one in named]
    if folder.path.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"{folder.path}: is the run of `init` too; choose another `out`")


def initial_params(
    model: ModelConfig,
    head: TaskHeadConfig,
    loaded: runs.Run,
    num_layers: int | None,
    seed: int,
) -> Any:
    """A fresh task head on the loaded backbone, or on its first ``num_layers`` blocks."""
    backbone, own = jax.random.split(jax.random.key(seed))
    fresh = jax.device_get(jax.jit(lambda key: init_backbone(model, key))(backbone))
    return {
        "backbone": transfer(model, fresh, loaded.backbone, num_layers),
        "adapter": init_task_head(model, head, own),
    }
