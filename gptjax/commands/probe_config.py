"""What `gptjax probe` is asked."""

from dataclasses import dataclass

from gptjax.data.tables.options import TableOptions
from gptjax.errors import UserError, check_counts
from gptjax.evaluation.features import MIX, Kind
from gptjax.evaluation.probe import GRID, Penalty, ProbeSettings, check_grid, check_seeds
from gptjax.models.config import ModelConfig
from gptjax.runs.open import Reading

SEEDS = (1, 2, 3)
"""Without ``seeds``: as fine-tuning has them with sizes."""


@dataclass(frozen=True)
class ProbeConfig(TableOptions, Reading):
    """Fit logistic regression on the features of a model that stays as it is."""

    run: str
    """Run folder, openai:FOLDER, hf:ID_OR_FOLDER or elmo:FOLDER; of a fine-tuned run its backbone
    is read."""
    task: str = ""
    """Task with classes, such as sst2, mr or trec, or a TOML file of one's own."""
    data: tuple[str, ...] = ()
    """A folder with the published files, a file (train), train=FILE valid=FILE test=FILE, hub,
    hub:ID_OR_FOLDER, or sample. Absent: the hub, or the offline sample if it cannot be reached."""
    strict: bool = False
    """Stop at the first row that cannot be used instead of leaving it out."""
    features: Kind | None = None
    """The state of a text's last token (the default), the mean or maximum over its tokens, the
    memory cells of a recurrent model after the last one, or a mix of the means of all layers, whose
    weights are fitted too."""
    layer: tuple[str, ...] = ()
    """Layers to probe: 0 (the embeddings; of cells 1) to the last one, or all. Absent: the last
    one."""
    penalty: Penalty = "l2"
    """Penalty of the weights: l2, or l1, which makes most of them 0."""
    grid: tuple[float, ...] = GRID
    """Values of C, the inverse strength of the penalty; the best on validation is taken."""
    standardise: bool = False
    """Scale features to mean 0 and standard deviation 1 of the training rows."""
    iterations: int = 1000
    """The most iterations of a fit."""
    folds: int | None = None
    """Cross-validate over the training rows with so many folds, as is usual for MR, CR, Subj and
    MPQA; C is chosen inside of each fold."""
    units: int | None = None
    """Show so many of the strongest units, a probe of them alone, and the best single unit."""
    train_sizes: tuple[str, ...] = ()
    """Also fit with fewer training rows, such as 30 100 all, drawn as fine-tuning draws them."""
    seeds: tuple[int, ...] = SEEDS
    """With --train-sizes: the seeds of the draws."""
    seed: int = 0
    """Of the folds, the permutations and the untrained model."""
    batch_size: int = 32
    """Texts at once, rounded up to a multiple of the devices."""
    show: str | None = None
    """Colour this text by the value of a unit instead, and write it to an HTML file in --out."""
    unit: int | None = None
    """With --show: the unit. Absent: the strongest one of the results in --out, with its layer."""
    out: str | None = None
    """Folder for the results; None is runs/probe/TASK/NAME, with the name of the run as NAME."""

    def __post_init__(self) -> None:
        check_counts(self, "", "units iterations batch_size")
        check_counts(self, "", "folds", least=2)
        check_counts(self, "", "seed unit", least=0)
        check_grid(self.grid)
        check_seeds(self.seeds)
        for one, other in (("folds", "units"), ("folds", "train_sizes")):
            if getattr(self, one) is not None and getattr(self, other) not in (None, ()):
                name = f"--{other.replace('_', '-')}"
                raise UserError(
                    f"--{one}: contradicts {name}, which needs one probe; give one of them"
                )
        if self.unit is not None and self.show is None:
            raise UserError("--unit: is for --show TEXT")
        if self.features == MIX:
            self._check_mix()

    def _check_mix(self) -> None:
        """Refuse what a mix of all layers has not."""
        if self.penalty != "l2":
            raise UserError("--penalty l1: the probe of a mix has the penalty l2")
        for name in ("layer", "units", "show"):
            if getattr(self, name):
                raise UserError(f"--{name}: contradicts --features mix, which is of all layers")

    @property
    def how(self) -> Kind:
        """Which features are probed."""
        return self.features or "last"

    def settings(self, model: ModelConfig) -> ProbeSettings:
        """How probes of this model are fitted."""
        return ProbeSettings(
            penalty=self.penalty,
            grid=self.grid,
            standardise=self.standardise,
            seed=self.seed,
            iterations=self.iterations,
            depths=model.num_layers + 1 if self.how == MIX else 1,
        )
