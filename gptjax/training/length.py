"""How long a run is, and what is due on the way: the section `train`."""

from dataclasses import dataclass

from gptjax.errors import LARGEST, UserError, check_counts, check_settings


@dataclass(frozen=True)
class TrainConfig:
    """Section `train`: how long, how much at once, and what happens on the way."""

    steps: int | None = None
    """Length of the run in updates; set exactly one of `steps` and `epochs`."""
    epochs: int | None = None
    """Length of the run in passes over the training data."""
    batch_size: int = 64
    """Examples per update, over all devices and processes."""
    accumulate: int = 1
    """Micro-batches per update: less memory for the same result."""
    seed: int = 0
    """Seed of the initial parameters, of dropout and of the order of the data."""
    evaluate_every: int | None = None
    """Updates between evaluations; None evaluates at the end of each epoch. There is always
    one at the end of the run."""
    log_every: int = 10
    """Updates between lines of metrics."""
    patience: int | None = None
    """Stop after so many evaluations in a row that are not better than the best one; None
    never does. With `unfreeze` they are counted from the last stage."""
    unfreeze: tuple[str, ...] = ()
    """Which depths learn, one range for each epoch; the last one holds on. LOW:HIGH has HIGH
    excluded: 0 is the embeddings, 1 and on the blocks; 3: is all from block 3 up; head is a task
    head alone. Absent: everything always learns."""
    restart_schedule: bool = False
    """With `unfreeze`: each stage has a learning rate schedule of its own."""

    def __post_init__(self) -> None:
        counts = "steps epochs batch_size accumulate evaluate_every log_every patience"
        check_counts(self, "train", counts)
        check_settings(self, "train", "seed", lambda n: 0 <= n <= LARGEST, "from 0 to 2^31 - 1")
        if self.unfreeze and self.steps is not None:
            raise UserError(
                "train.unfreeze: has a range for each epoch; set train.epochs, no steps"
            )
        if self.restart_schedule and not self.unfreeze:
            raise UserError(
                "train.restart_schedule: is for the stages of train.unfreeze; name them"
            )


def total_steps(config: TrainConfig, batches_per_epoch: int) -> int:
    """The number of updates of a run.

    Raises:
        UserError: not exactly one of steps and epochs is set, or there is no batch.
    """
    if (config.steps is None) == (config.epochs is None):
        raise UserError("train: set exactly one of train.steps and train.epochs")
    if batches_per_epoch < 1:
        raise UserError(
            f"train: the data do not fill one batch of {config.batch_size} examples; give more "
            "data or a smaller train.batch_size"
        )
    steps = config.steps or (config.epochs or 0) * batches_per_epoch  # one of the two is None
    if steps > LARGEST:
        raise UserError(
            f"train.epochs {config.epochs} are {steps:,} updates; the most that can be counted are "
            f"{LARGEST:,}"
        )
    return steps
