"""`gptjax export`: give a trained model to the hub's tools, or in OpenAI's format."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptjax.commands.advice import suggest
from gptjax.config import read_table
from gptjax.data.tasks.task import Format
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.interchange import export as hub_export
from gptjax.interchange import openai as openai_files
from gptjax.interchange import openai_mlstm
from gptjax.interchange.model_card import Measured, Provenance, card
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.task_head import USUAL
from gptjax.models.transformer import TransformerConfig
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import Opening, Run
from gptjax.runs.predictions import class_names
from gptjax.runs.published import HUB, is_published
from gptjax.runs.results import LanguageModelling, TaskRun, read_as, read_results
from gptjax.runs.train import say

HUB_DATA = "hub:"
HEADS: Mapping[Format, hub_export.HeadKind] = {
    "classification": "single",
    "entailment": "single",
    "choice": "choice",
    "similarity": "sum",
}


@dataclass(frozen=True)
class ExportConfig(Opening):
    """Write a trained model as transformers loads it (hf), or as OpenAI published its own."""

    run: str
    """Run folder; openai:FOLDER and hf:ID_OR_FOLDER too."""
    out: str
    """Folder to write, empty or not there yet."""
    format: Literal["hf", "openai"] = "hf"
    """hf: config.json, model.safetensors, tokenizer, generation_config.json and a model card.
    openai: params_shapes.json, ten arrays and the tokenizer's files, or of a multiplicative LSTM
    of bytes fifteen arrays; of a fine-tuned model the backbone alone."""
    license: str | None = None
    """Licence of the model, in the hub's words, such as apache-2.0; the card has it."""
    base_model: str | None = None
    """The model on the hub that this one was trained from; the card has it. None: what the run
    says of it."""


def run(config: ExportConfig) -> Path:
    """Write the folder, and say what loads it."""
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: is there already; name a folder that is empty or new")
    loaded = config.open()
    if config.format == "openai" and isinstance(loaded.model, MLSTMConfig):
        openai_mlstm.check_tokenizer(loaded.tokenizer)
        openai_mlstm.write(out, loaded.backbone, loaded.model)
        print(f"written to {out}: load it with --init openai:{out}")
        suggest("try it", "generate", "--run", f"openai:{out}", "--prompt", "The ")
        return out
    if not isinstance(loaded.model, TransformerConfig):
        called = loaded.model.called
        raise UserError(f"--run {config.run}: {called}; this format has no place for one")
    if config.format == "openai":
        openai_files.write(out, loaded.backbone, loaded.model, loaded.tokenizer)
        print(f"written to {out}: load it with --init openai:{out}")
        words = ("--heads", loaded.model.num_heads, *_mode(loaded.tokenizer))
        suggest("try it", "generate", "--run", f"openai:{out}", *words, "--prompt", "The ")
        return out
    head = None
    if (task := loaded.task) is not None:
        if loaded.head != USUAL:
            raise UserError(
                f"--run {config.run}: its task head (task.pooling, model, mix, …) has no "
                "place in the hub's format; --format openai writes the backbone alone"
            )
        kind, scale = HEADS[task.format], task.scores is not None
        weights = loaded.params["adapter"]
        head = hub_export.Head(kind, class_names(task), weights, task.parts, scale)
    name = hub_export.write(out, loaded.model, loaded.backbone, loaded.tokenizer, head)
    text = card(
        title=config.run if is_published(config.run) else loaded.folder.path.resolve().name,
        name=name,
        config=loaded.model,
        checkpoint=loaded.checkpoint,
        meta=loaded.folder.read_meta(),
        results=_results(loaded),
        head=head,
        exact=isinstance(loaded.tokenizer, Gpt1Tokenizer) and loaded.tokenizer.mode == "exact",
        provenance=_provenance(loaded, config),
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    print(f"written to {out}: transformers loads it as {name} (see its README.md)")
    if head is None:
        words = ("--run", f"hf:{out}", *_mode(loaded.tokenizer))
        suggest("try it", "generate", *words, "--prompt", "The ")
    else:
        say(f"  load it:     cat {shlex.quote(str(out / 'README.md'))}")
    say(f"  share it:    hf upload USER/NAME {shlex.quote(str(out))}")
    if config.license is None:
        say("  The card names no licence: --license apache-2.0, for example, would.")
    return out


def _provenance(loaded: Run, config: ExportConfig) -> Provenance:
    base = config.base_model or _base_model(str(loaded.source or loaded.folder.path))
    source = loaded.folder.read_meta().get("data", {}).get("train", {}).get("source", "")
    return Provenance(config.license, base, _dataset(str(source)))


def _dataset(source: str) -> str | None:
    """The dataset on the hub that a run was trained on, by its identifier; None of other data."""
    name = re.split("[:@ ]", source.removeprefix(HUB_DATA))[0]
    return name if source.startswith(HUB_DATA) and not Path(name).exists() else None


def _base_model(run: str) -> str | None:
    """The model on the hub at the beginning of a run's line of ancestors, by its identifier."""
    for _ in range(8):  # a run that began with itself has no beginning
        if is_published(run):
            name = run.removeprefix(HUB)
            return name if run.startswith(HUB) and not Path(name).exists() else None
        file = RunFolder(Path(run)).config
        before = read_table(file, "config file").get("init") if file.exists() else None
        if not isinstance(before, str) or before == "none":
            return None
        run = before
    return None


def _mode(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The option that others' files do not tell."""
    fast = isinstance(tokenizer, Gpt1Tokenizer) and tokenizer.mode == "fast"
    return ("--vocabulary.mode", "fast") if fast else ()


def _results(loaded: Run) -> list[Measured]:
    """What was measured when the run ended, of each split."""
    if not loaded.folder.results.exists():
        return []
    found = read_results(loaded.folder.results)
    if isinstance(found, TaskRun):
        splits = found.splits
        return [Measured(found.task, one.name, one.examples, one.metrics) for one in splits]
    found = read_as(LanguageModelling, loaded.folder.results)
    return [Measured(found.task, found.split, found.examples, found.metrics)]
