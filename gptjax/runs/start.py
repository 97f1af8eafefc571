"""What fine-tuning begins with: a pre-trained run's tokenizer and backbone, and a fresh adapter."""

from pathlib import Path
from typing import Any

import jax

from gptjax.runs import train as job
from gptjax.runs import open as run
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.tokenizer import Mode, Tokenizer
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.errors import UserError
from gptjax.models.task_head import init_adapter, init_backbone, transfer
from gptjax.models.config import ModelConfig
from gptjax.runs.folder import RunFolder

PRETRAINED = Path("runs/pretrain")


def find_newest_run() -> Path | None:
    """The newest finished run under runs/pretrain, if there is one."""
    finished = []
    for meta in PRETRAINED.glob("*/meta.json"):
        content = RunFolder(meta.parent).read_meta()
        if content.get("status") == "finished":
            finished.append((content.get("started", ""), meta.parent))
    return max(finished)[1] if finished else None


def newest_run() -> Path:
    """The newest finished run under runs/pretrain.

    Raises:
        UserError: there is none.
    """
    found = find_newest_run()
    if found is None:
        raise UserError(
            f"no finished run under {PRETRAINED}: begin with `gptjax pretrain --config tiny`, or "
            "name a pre-trained run with --init"
        )
    return found


def open_source(
    model: ModelConfig,
    *,
    init: str | None,
    like: str | None,
    tokenizer: str | None,
    mode: Mode | None = None,
) -> tuple[Tokenizer, run.Run | None]:
    """The tokenizer, and the run whose backbone to start from (None: a fresh one).

    Args:
        model: as the settings have it; a loaded one must agree with it.
        init: a pre-trained run or what others published (see `gptjax.runs.open`), "none", or None for
            the newest finished run.
        like: with "none", the run whose tokenizer to take; None is the newest finished run.
        tokenizer: with "none" and no ``like``, the tokenizer itself.
        mode: of GPT-1's tokenizer.

    Raises:
        UserError: no such run, or the settings ask for a model of another shape.
    """
    if tokenizer is not None:
        job.say(f"tokenizer {tokenizer}; the model is untrained")
        return load_tokenizer(tokenizer, model.vocabulary_size, mode), None
    named = like if init == "none" else init
    source = str(newest_run()) if named is None else named
    job.check_same_shape(model, run.load_config(source, model.num_heads), source)
    if init == "none":
        job.say(f"model and tokenizer as in {source}, untrained")
        return run.load_own_tokenizer(source, mode), None
    loaded = run.load(source, num_heads=model.num_heads, mode=mode)
    if source.startswith(run.OPENAI):
        job.say(f"{model.num_heads} heads of {model.head_width} (the files do not tell)")
    job.say(f"backbone: {source} ({loaded.checkpoint})")
    return loaded.tokenizer, loaded


def initial_params(
    model: ModelConfig, task: Task, loaded: run.Run, num_layers: int | None, seed: int
) -> Any:
    """A fresh adapter on the loaded backbone, of which the first blocks may be all that is taken.

    Raises:
        UserError: a parameter of the loaded backbone does not fit; names it.
    """
    backbone, adapter = jax.random.split(jax.random.key(seed))
    fresh = jax.device_get(jax.jit(lambda key: init_backbone(model, key))(backbone))
    return {
        "backbone": transfer(fresh, loaded.backbone, num_layers),
        "adapter": init_adapter(model, run.adapter_config(task), adapter),
    }
