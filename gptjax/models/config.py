"""What the configs of all families of models have in common."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from gptjax.errors import LARGEST, UserError, check_counts
from gptjax.variant import Variant

MOST_PARAMETERS = 10**13
# A thousand layers are the most that anybody has trained (Wang et al. 2022); a program of many
# more takes hours to compile.
LIMITS = {"num_layers": 1000, "vocabulary_size": 10_000_000}


@dataclass(frozen=True, init=False)
class ModelConfig(Variant):
    """The shape of a model of any family.

    ``ModelConfig(kind="lstm", units=64)`` makes the config of that family, a transformer's where
    no ``kind`` is given. The file of a family has its own config beside its module.
    """

    section: ClassVar[str] = "model"
    least_layers: ClassVar[int] = 1

    kind: str = "transformer"
    """The family of the model; each has options of its own (--model.kind NAME --help)."""

    vocabulary_size: int = 40478
    """Number of tokens the model can read and predict."""

    context_length: int = 512
    """The most tokens the model sees at once; of a transformer the number of learned positions."""

    num_layers: int = 12
    """Number of blocks of a transformer, or of layers."""

    width: int = 768
    """Size of the state of one position."""

    initial_std: float = 0.02
    """Standard deviation of the initial matrices and embeddings. A narrow post-LayerNorm model
    learns much sooner with 0.02 × sqrt(768 / width), which gives the branches the size that they
    have in GPT-1."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation. Parameters, softmax, LayerNorm statistics and losses stay
    float32."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        # Never reached: `__new__` makes an object of a family, whose dataclass has its own.
        raise NotImplementedError

    def __new__(cls, *args: Any, **settings: Any) -> "ModelConfig":
        """A config of the family that ``kind`` names, as `pathlib.Path` makes a `PosixPath`."""
        family = cls.of_kind(settings.get("kind", cls.kind)) if cls is ModelConfig else cls
        return cast(ModelConfig, object.__new__(family))

    def __post_init__(self) -> None:
        if self.kind != type(self).kind:
            raise UserError(f"model.kind is {self.kind!r}: this is the config of {self.called}")
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if field.type in (int, int | None):
                least = self.least_layers if name == "num_layers" else 1
                check_counts(self, "model", name, least=least, most=LIMITS.get(name, LARGEST))
            if name.endswith("_dropout") and not 0 <= value < 1:
                raise UserError(f"model.{name} is {value}: it must be at least 0 and less than 1")
        if not self.initial_std > 0:
            raise UserError(f"model.initial_std is {self.initial_std}: it must be above 0")
        if (size := self.num_parameters()) > MOST_PARAMETERS:
            raise UserError(
                f"model: these settings are {size:.2g} parameters, which no computer holds; choose "
                "a smaller vocabulary_size, context_length, num_layers or width"
            )

    def attention_scores(self) -> int:
        """L × D × T, the products of the scores of attention per token; 0 without attention."""
        return 0

    def num_parameters(self) -> int:
        """How many parameters the backbone has, by arithmetic; of any family at least its table."""
        return self.vocabulary_size * self.width

    @property
    def context(self) -> int | None:
        """The most tokens that the model can see at once; None is no limit."""
        return self.context_length

    @property
    def fixed_context(self) -> bool:
        """Whether a trained model keeps its context, because parameters belong to it."""
        return True

    @property
    def num_heads(self) -> int | None:
        """Attention heads; None: the family has none."""
        return None

    @property
    def fidelity(self) -> Literal["paper", "released"]:
        """Whether the oddities of the released code are asked for, which only GPT-1 has."""
        return "paper"

    @property
    def widest(self) -> int:
        """The size of the widest state of one position that any depth has."""
        return self.width

    @property
    def depth_widths(self) -> tuple[int, ...]:
        """The size of the states after each depth, 0 (what the first block reads) to L."""
        return (self.width,) * (self.num_layers + 1)

    @property
    def thins(self) -> bool:
        """Whether each update drops some of the parameters, the same in all of its rows."""
        return False

    @property
    def penalties(self) -> tuple[float, float]:
        """What the objective adds for large states, and for states that change (0: nothing)."""
        return 0.0, 0.0

    @property
    def has_dropout(self) -> bool:
        """Whether something of the backbone is dropped in training."""
        names = (field.name for field in dataclasses.fields(self))
        return any(getattr(self, name) > 0 for name in names if name.endswith("_dropout"))

    @property
    def bidirectional(self) -> bool:
        """Whether a state tells of the tokens after it, too, so that padding has to be known."""
        return False

    @property
    def contextual(self) -> bool:
        """Whether a state tells of more tokens than its own."""
        return True

    @property
    def has_lm_loss(self) -> bool:
        """Whether a loss over the next token can stand beside a task's."""
        return self.contextual and not self.bidirectional

    @property
    def reads_spelling(self) -> bool:
        """Whether tokens are words that are read by their characters (`gptjax.spelling`)."""
        return False

    def check_causal(self, deed: str) -> None:
        """See to it that a state tells of its token and those before it alone.

        Raises:
            UserError: it does not, so that the model cannot do the ``deed``.
        """
        if self.bidirectional:
            raise UserError(
                f"model.kind {self.kind}: {self.called} cannot {deed}, since its states know of "
                "the tokens after them; take a run of another kind"
            )

    def relation_arrays(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what learns from the relations of words inside the model.

        Raises:
            UserError: there is no attention that they could act on.
        """
        raise UserError(
            f"task.knowledge: {self.called} has no attention that the relations of words could act "
            "on; take a run of a transformer, or leave it out"
        )

    def for_perplexity(self) -> "ModelConfig":
        """The same model with a loss over the tokens, and nothing else."""
        return self

    def shape(self) -> dict[str, int | str]:
        """What makes a model the same model; dropout, compute type and the like may change."""
        names = ("kind", "vocabulary_size", "context_length", "num_layers", "width")
        return {name: getattr(self, name) for name in names}

    def describe(self) -> str:
        """Its layers in words."""
        return f"{self.kind} of {self.num_layers} layers, width {self.width}"

    def check_length(self, length: int) -> None:
        """See to it that the model can see so many tokens at once.

        Raises:
            UserError: they are more than the context.
        """
        if self.context is not None and length > self.context:
            raise UserError(
                f"a sequence of {length} tokens is longer than model.context_length "
                f"{self.context}: cut it, or train with a longer context"
            )
