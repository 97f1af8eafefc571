"""A trained model, opened: config, tokenizer, task and parameters.

It is a run folder, or what others published (see `gptjax.runs.published`).
"""

import html
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from gptjax.data.knowledge.table import Knowledge, digest_of
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.tokenizer import Mode, ModeConfig, Tokenizer
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.models.task_head import USUAL, HeadShape
from gptjax.runs import identity, published
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import backbone_fingerprint, head_config, read_head, write_head
from gptjax.runs.knowledge import beside_head, own_knowledge
from gptjax.runs.own_config import load_config, load_head_shape, load_task, read_table
from gptjax.runs.published import is_published
from gptjax.runs.train import say
from gptjax.training.archive import OtherError
from gptjax.training.stored import restore_params


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model, ready to use.

    Attributes:
        folder: where it was loaded from; only of a run folder more than the path is there.
        model: the backbone's config.
        tokenizer: the tokenizer it was trained with.
        params: its parameters, numpy float32; of a fine-tuned one backbone and task head.
        step: the number of updates that made them.
        checkpoint: which checkpoint that is, such as `best/120`; of others' files `published`.
        task: what it was fine-tuned on, or None.
        head: the shape of its task head.
        source: what it was opened by: a run folder, openai:FOLDER, hf:ID_OR_FOLDER or elmo:FOLDER.
        knowledge: the relations of words that it reads, if it does.
    """

    folder: RunFolder
    model: ModelConfig
    tokenizer: Tokenizer
    params: Any
    step: int
    checkpoint: str
    task: Task | None = None
    head: HeadShape = USUAL
    source: str = ""
    knowledge: Knowledge | None = None

    @property
    def backbone(self) -> Any:
        """The parameters of the backbone, without a task head."""
        return self.params if self.task is None else self.params["backbone"]

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}: {value}" for name, value in self.about().items())
        return f"<{type(self).__name__} {facts}>"

    def _repr_html_(self) -> str:
        cell = '<td style="text-align: left">'
        rows = (
            f"<tr>{cell}{html.escape(name)}</td>{cell}{html.escape(value)}</td></tr>"
            for name, value in self.about().items()
        )
        return f"<table>{''.join(rows)}</table>"

    def about(self) -> dict[str, str]:
        """What a person would ask of it, in words, by name."""
        size = self.model.num_parameters()
        found = {
            "run": self.source or str(self.folder.path),
            "checkpoint": self.checkpoint,
            "model": f"{self.model.called}, {self.model.describe()}",
            "parameters": f"{size:,}",
            "vocabulary": f"{self.tokenizer.size:,}",
            "context": f"{self.model.context_length:,}",
        }
        return found if self.task is None else {**found, "task": self.task.name}

    @property
    def predicts_end(self) -> bool:
        """Whether it was pre-trained here to predict where a text ends."""
        return self._corpus().get("predict_end") is True

    @property
    def reconstructs(self) -> bool:
        """Whether it was pre-trained here as a sequence autoencoder."""
        return self._corpus().get("layout") == "autoencode"

    @property
    def streams(self) -> int | None:
        """`corpus.streams` of a run that was pre-trained with `corpus.order` streams, else None."""
        corpus = self._corpus()
        return corpus.get("streams") if corpus.get("order") == "streams" else None

    def _corpus(self) -> dict[str, Any]:
        """How its text was read; nothing of what others published."""
        if self.checkpoint == "published":
            return {}
        found: dict[str, Any] = read_table(self.folder.path).get("corpus", {})
        return found


def sample_notice(run: Run) -> str | None:
    """What to say of a run that was fine-tuned on the offline sample, or None."""
    if not run.folder.read_meta().get("data", {}).get("sample"):
        return None
    return f"{run.folder.path} WAS FINE-TUNED ON THE OFFLINE SAMPLE, not on a published task"


def load_own_tokenizer(path: str | Path, mode: Mode | None = None) -> Tokenizer:
    """The tokenizer that a model was trained with."""
    if is_published(path):
        return published.read_tokenizer(path, mode)
    return identity.open_tokenizer(RunFolder(Path(path)), mode)


def load(
    path: str | Path,
    checkpoint: str = "auto",
    head: str | Path | None = None,
    *,
    num_heads: int | None = None,
    mode: Mode | None = None,
    substitute: bool = False,
) -> Run:
    """Open a trained model; arguments and errors as of `gptjax.load`.

    ``substitute`` takes the next checkpoint in the place of a damaged one, and says so.
    """
    model = load_config(path, num_heads)
    if is_published(path):
        if checkpoint != "auto":
            raise UserError(
                f"`checkpoint={checkpoint}`: published weights have no checkpoints to choose from"
            )
        files, tokenizer, params = published.read(path, model, mode)
        run = Run(RunFolder(files), model, tokenizer, params, 0, "published")
    else:
        run = _load_own(RunFolder(Path(path)), model, checkpoint, mode, substitute)
    run = replace(run, source=str(path))
    return run if head is None else attach_head(run, head)


def _load_own(
    folder: RunFolder, model: ModelConfig, checkpoint: str, mode: Mode | None, substitute: bool
) -> Run:
    """Open a run folder; arguments as of `load`."""
    for notice in identity.notices(folder):
        say(f"notice: {notice}")
    task = load_task(folder.path)
    tokenizer = identity.open_tokenizer(folder, mode)
    learnt, head, knowledge = lm(model), USUAL, None
    if task is not None:
        head = load_head_shape(folder.path)
        knowledge = own_knowledge(folder) if head.knowledge else None
        learnt = objective.task(model, head_config(task, shape=head)).objective
    target = jax.eval_shape(learnt.init, jax.random.key(0))
    recorded = identity.recorded(folder)
    if missing := [name for name in identity.WHOLE if name not in recorded]:
        say(
            f"notice: {folder.path}: recorded no fingerprint of its {' and '.join(missing)}, so "
            "that a change there would not be noticed"
        )
    try:
        params, step, kind = restore_params(
            folder.checkpoints,
            target,
            checkpoint,
            {"model": (identity.shape_fingerprint(model), None)},
            substitute=substitute,
            say=lambda line: say(f"notice: {line}"),
        )
    except OtherError as error:
        raise identity.other(folder, error.name, error.stored, model.shape()) from None
    found = Run(folder, model, tokenizer, params, step, f"{kind}/{step}", task, head)
    return replace(found, knowledge=knowledge)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The options of a command that opens a trained model."""

    run: str
    """Run folder, openai:FOLDER, hf:ID_OR_FOLDER or elmo:FOLDER."""
    checkpoint: str = "auto"
    """best, last, a step, or both as in last/120; auto is the best where one was kept, else the
    last."""
    heads: int | None = None
    """Attention heads of openai:FOLDER, whose files do not tell; None: heads of 64."""

    def open(
        self, head: str | None = None, mode: Mode | None = None, *, substitute: bool = False
    ) -> Run:
        """See `load`."""
        return load(
            self.run,
            self.checkpoint,
            head,
            num_heads=self.heads,
            mode=mode,
            substitute=substitute,
        )


@dataclass(frozen=True, kw_only=True)
class Reading(Opening):
    """The options of a command that opens a trained model and reads text with it."""

    vocabulary: ModeConfig = field(default_factory=ModeConfig)

    def open(
        self, head: str | None = None, mode: Mode | None = None, *, substitute: bool = False
    ) -> Run:
        """See `load`; without a ``mode`` it is the option's."""
        return super().open(head, mode or self.vocabulary.mode, substitute=substitute)


def save_head(run: Run) -> None:
    """Write a fine-tuned run's task head apart from its backbone, with its task."""
    assert run.task is not None
    knowledge = digest_of(run.folder.knowledge) if run.head.knowledge else None
    adapter = run.params["adapter"]
    write_head(run.folder.head, run.task, run.backbone, adapter, run.head, knowledge)


def attach_head(run: Run, path: str | Path) -> Run:
    """A pre-trained run with a task head that `save_head` wrote for the same backbone."""
    head, fingerprint = read_head(path, run.model), backbone_fingerprint(run.backbone)
    if head.backbone != fingerprint:
        raise UserError(
            f"{path}: this task head was trained on another backbone (fine-tuning keeps its "
            "backbone only with `task.freeze_backbone`): its fingerprint is "
            f"{head.backbone[:16]}…, that of {run.folder.path} {fingerprint[:16]}…"
        )
    if head.notice:
        say(f"notice: {head.notice}")
    params = {"backbone": run.backbone, "adapter": head.params}
    knowledge = beside_head(Path(path), head.knowledge)
    return replace(run, params=params, task=head.task, head=head.shape, knowledge=knowledge)
