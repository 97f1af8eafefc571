"""Whether a model and its batches can fit in this machine's memory, before anything is built."""

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.training import parallel
from gptjax.training.length import TrainConfig

# What is refused needs so many times the memory that there is, and the need is a lower bound.
MARGIN = 1.5
FLOAT32 = 4  # bytes


def check_training(
    model: ModelConfig, train: TrainConfig, length: int, trainable: bool = True
) -> None:
    """Refuse a model that cannot be trained on these devices.

    Args:
        model: its settings.
        train: how many examples there are in an update, and in how many parts.
        length: the least tokens of an example.
        trainable: whether the backbone is trained; else it has no moments.

    Raises:
        UserError: it needs far more memory than there is; the message has both sizes.
    """
    # Each device has the parameters, their gradient and two moments.
    size = model.num_parameters()
    _check(
        FLOAT32 * size * (4 if trainable else 2),
        f"training a model of {size:,} parameters",
        "choose a smaller `model.width`, `model.num_layers` or `model.vocabulary_size`",
    )
    rows = -(-train.batch_size // (train.accumulate * parallel.device_count()))
    # What each block reads is kept until the backward pass.
    kept = rows * length * model.width * model.num_layers * (2 if model.dtype == "bfloat16" else 4)
    _check(
        kept + rows * train.accumulate * length * 2 * FLOAT32,
        f"an update on train.batch_size {train.batch_size:,} of {length:,} tokens or more",
        "choose a smaller `train.batch_size` or `model.context_length`, or a larger "
        "`train.accumulate`",
    )


def rows_at_once(model: ModelConfig, batch_size: int, count: int, length: int = 1) -> int:
    """A batch size for evaluation: at most ``count``, rounded up to a multiple of the devices.

    Raises:
        UserError: below 1, or rows of ``length`` tokens that need far more memory than there is.
    """
    if batch_size < 1:
        raise UserError(f"`batch_size={batch_size}`: it must be at least 1")
    devices = parallel.device_count()
    rows = -(-min(batch_size, max(count, 1)) // devices) * devices
    _check(
        rows // devices * length * (model.width + 2) * FLOAT32,
        f"reading {rows:,} rows of {length:,} tokens at once",
        "choose a smaller `batch_size`",
    )
    return rows


def _check(needed: int, what: str, advice: str) -> None:
    there = parallel.device_memory()
    if needed > MARGIN * there:
        raise UserError(
            f"{what} takes more than {needed / 1e9:,.0f} GB of memory on each device, which has "
            f"{there / 1e9:,.1f} GB; {advice}"
        )
