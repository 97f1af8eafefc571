"""`gptjax import`: make a run folder of a model that others published."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gptjax import config as configs
from gptjax.commands.advice import suggest
from gptjax.data.tokenizers.tokenizer import ModeConfig
from gptjax.errors import UserError
from gptjax.models.objective import lm, num_parameters
from gptjax.models.transformer import TransformerConfig
from gptjax.runs import open as runs
from gptjax.runs.folder import Provenance, open_folder
from gptjax.runs.identity import file_digests, shape_fingerprint
from gptjax.runs.lock import locked
from gptjax.runs.own_config import VECTORS
from gptjax.runs.published import ELMO, is_published
from gptjax.runs.records import to_plain
from gptjax.runs.table import open_table
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints


@dataclass(frozen=True)
class ImportConfig:
    """Make a run folder of a model that others published, without training.

    Every command takes it as a run. (They also take openai:… and hf:… themselves.)
    """

    init: str
    """openai:FOLDER (params_shapes.json, params_0.npy … params_9.npy and the tokenizer's files),
    hf:ID_OR_FOLDER (a GPT-1 or GPT-2 in the hub's format), vectors:FILE (words with their vectors,
    in the text format of GloVe or word2vec), or vectors:RUN (the embedding of a run, alone)."""
    out: str
    """Run folder to make."""
    heads: int | None = None
    """Attention heads of openai:FOLDER, whose files do not tell; None: heads of 64."""
    tokenizer: str | None = None
    """With vectors:FILE: the words whose vectors are taken, the .json file of a vocabulary of
    words. Vectors that the file lacks are drawn."""
    overwrite: bool = False
    """Remove the files of an earlier run in the folder first."""
    vocabulary: ModeConfig = field(default_factory=ModeConfig)


def run(config: ImportConfig) -> None:
    """Read the model, write the folder, and say what it holds."""
    if not (is_published(config.init) or config.init.startswith(VECTORS)):
        raise UserError(
            f"--init {config.init}: write openai:FOLDER, hf:ID_OR_FOLDER or vectors:FILE"
        )
    if config.tokenizer is not None and not config.init.startswith(VECTORS):
        raise UserError("--tokenizer: is for vectors:FILE; the others have their own")
    if config.init.startswith(ELMO):
        raise UserError(
            f"--init {config.init}: has no vocabulary, so that there is nothing to write; give it "
            "to `gptjax probe` or `gptjax finetune` as it is"
        )
    with locked(Path(config.out)):
        _import(config)


def _import(config: ImportConfig) -> None:
    folder, _ = open_folder(config.out, resume="never", overwrite=config.overwrite, trains=False)
    if config.init.startswith(VECTORS):
        loaded = open_table(config.init, config.tokenizer)
    else:
        loaded = runs.load(config.init, num_heads=config.heads, mode=config.vocabulary.mode)
    if config.overwrite:
        folder.clear()
    model, tokenizer = loaded.model, loaded.tokenizer
    fingerprints = {"model": shape_fingerprint(model), "tokenizer": tokenizer.fingerprint}
    checkpoints = Checkpoints(folder.checkpoints, CheckpointConfig(), fingerprints)
    # No optimiser was published; an empty one could not be written.
    items = {"params": loaded.params, "optimizer": {"absent": np.zeros(1, np.float32)}}
    checkpoints.save_last(0, items, {})
    configs.write_table({"init": config.init, "model": configs.to_table(model)}, folder.config)
    tokenizer.save(folder.tokenizer)
    checkpoints.wait()
    made = to_plain(Provenance.now("none"))
    folder.update_meta(
        status="finished",
        imported=config.init,
        **made,
        fingerprints=fingerprints,
        identity={"model": model.shape()},
        files=file_digests(folder),
    )
    size, name, blocks = num_parameters(lm(model)), "", model.describe()
    if isinstance(model, TransformerConfig):
        name = "GPT-1, " if model.norm == "post" else "GPT-2, "
        blocks = f"{model.num_layers} blocks × {model.width}, {model.num_heads} heads"
    print(
        f"{config.init}: {name}{size:,} parameters, {blocks}, context {model.context_length}, "
        f"{model.vocabulary_size:,} tokens"
    )
    print(f"run folder: {folder.path}")
    if config.init.startswith(VECTORS):
        words = ("--task.model", "co-attention", "--lm-coefficient", 0)
        suggest("two texts", "finetune", "--task", "snli", "--init", folder.path, *words)
        return
    suggest("write text", "generate", "--run", folder.path, "--prompt", "The ")
    suggest("a task", "finetune", "--task", "sst2", "--init", folder.path)
