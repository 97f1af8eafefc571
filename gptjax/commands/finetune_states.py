"""Whether fine-tuning keeps the states of a frozen backbone, and from which parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from gptjax.commands.finetune_config import FinetuneConfig
from gptjax.data.tasks.formats import EncodedExamples
from gptjax.data.tasks.load import TaskData
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.evaluation.frozen_states import FrozenBackbone, FrozenStates, Part, keep
from gptjax.models.objective import TaskFunctions
from gptjax.models.task_head import TaskHeadConfig
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.train import say
from gptjax.training import parallel
from gptjax.training.length import total_steps


def obstacle(config: FinetuneConfig) -> str | None:
    """Why the states that the head reads are others from update to update; None: they are not."""
    section = config.task
    if not section.freeze_backbone:
        return "the backbone is trained: set task.freeze_backbone too"
    if not section.freeze_special_rows:
        return "the rows of the special tokens are trained: set task.freeze_special_rows too"
    if config.model.has_dropout:
        return "dropout acts in the backbone: set model.embedding_dropout and the other ones to 0"
    if parallel.is_one_of_several():
        return "several processes train: take one"
    return None


def check_states(config: FinetuneConfig) -> None:
    """Refuse to keep states where that is asked for and cannot be."""
    if config.task.keep_states == "always" and (reason := obstacle(config)) is not None:
        raise UserError(f"task.keep_states always: {reason}")


def kept_states(
    config: FinetuneConfig,
    task: Task,
    data: TaskData,
    encoded: Mapping[str, EncodedExamples],
    functions: TaskFunctions,
    head: TaskHeadConfig,
    params: Callable[[], Any],
    sizes: Mapping[str, int],
) -> dict[str, FrozenStates]:
    """The states of every split by its name; nothing where the backbone has to run,
    or runs over each example once all the same.

    ``params`` gives those that the run begins with, or goes on with.
    """
    section = config.task
    batches = -(-len(data.splits["train"].examples) // config.train.batch_size)
    once = total_steps(config.train, batches) <= batches
    if section.keep_states == "never" or (section.keep_states == "auto" and once):
        return {}
    if (reason := obstacle(config)) is not None:
        if section.freeze_special_rows:
            say(f"notice: the states of the frozen backbone are not kept, since {reason}")
        return {}
    backbone = FrozenBackbone(
        config.model,
        params(),
        functions.states,
        config.model.num_layers + 1 if section.mix else 1,
        section.head_shape.reads_ends and not section.label_gain,
        sizes,
    )
    parts = {
        name: Part(encoded[name].sequences, split.examples) for name, split in data.splits.items()
    }
    return keep(backbone, parts, task, must=section.keep_states == "always", say=say)


def frozen_params(
    config: FinetuneConfig, folder: RunFolder, functions: TaskFunctions, resume: str
) -> Any:
    """The parameters of a run without a source: those of its checkpoints, or fresh ones."""
    if resume != "never":
        return runs.load(folder.path, substitute=True).params
    key = jax.random.key(config.train.seed)
    return jax.device_get(jax.jit(functions.objective.init)(key))
