"""The config of a bidirectional language model (`gptjax.models.bilm`)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from gptjax.errors import UserError, check_counts
from gptjax.models.config import ModelConfig
from gptjax.models.projected import Settings
from gptjax.spelling import CHARACTERS, LENGTH


@dataclass(frozen=True)
class BiLMConfig(ModelConfig):
    """The shape of a bidirectional language model: two stacks of LSTM layers over one token layer.

    A state is that of the forward stack beside that of the backward one, so that the width is twice
    the projection.
    """

    called: ClassVar[str] = "a bidirectional language model"
    # A preset of transformers can be given this kind.
    ignored: ClassVar[tuple[str, ...]] = ("attention", "attention_dropout", "num_heads")

    kind: Literal["bilm"] = "bilm"
    """The family of the model; each has options of its own (--model.kind transformer --help)."""

    num_layers: int = 2
    """Number of LSTM layers of each direction."""

    initial_std: float = 0.1
    """Standard deviation of the initial table of tokens, of the output's table and of a task head.
    Matrices begin at 1 / sqrt(what they read)."""

    units: int = 4096
    """Memory cells of each layer of a direction."""

    projection: int = 512
    """Size of a layer's state in one direction, and of a token's vector. The width is twice this
    number then, whatever else is said of it."""

    tokens: Literal["characters", "table"] = "characters"
    """What a token's vector is made of: the characters of the word, by convolutions (a vocabulary
    of words has to be the tokenizer), or a table with a row for each token (any tokenizer)."""

    character_width: int = 16
    """Size of a character's vector."""

    filter_widths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    """How many characters the convolutions read at once."""

    filter_counts: tuple[int, ...] = (32, 32, 64, 128, 256, 512, 1024)
    """How many filters there are of each of these widths."""

    highway_layers: int = 2
    """Highway layers above the convolutions."""

    activation: Literal["relu", "tanh"] = "relu"
    """What follows the maximum of a filter over a word."""

    residual: bool = True
    """Whether each layer above the first adds what it reads to what it gives."""

    cell_clip: float | None = 3.0
    """The largest size of a memory cell. None: any."""

    projection_clip: float | None = 3.0
    """The largest size of a number of a layer's state, before what it reads is added. None: any."""

    predicts: bool = True
    """Whether there is an output table. Published weights have none."""

    embedding_dropout: float = 0.1
    """Probability of dropping a component of a token's vector, in each direction apart."""

    residual_dropout: float = 0.1
    """Probability of dropping a component of what a layer gives to the next one or to the
    output."""

    def __post_init__(self) -> None:
        check_counts(self, "model", "projection")
        object.__setattr__(self, "width", 2 * self.projection)
        for name in ("filter_widths", "filter_counts"):
            if not all(number >= 1 for number in getattr(self, name)):
                raise UserError(f"model.{name}: each number must be at least 1")
        if len(self.filter_widths) != len(self.filter_counts) or not self.filter_widths:
            raise UserError(
                f"model.filter_counts: has {len(self.filter_counts)} numbers; give one for each of "
                f"the {len(self.filter_widths)} widths of model.filter_widths, at least one"
            )
        if max(self.filter_widths) > LENGTH:
            raise UserError(
                f"model.filter_widths: {max(self.filter_widths)} is more than the "
                f"{LENGTH} characters of a word"
            )
        for name in ("cell_clip", "projection_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"model.{name} is {value}: it must be above 0, or left out")
        super().__post_init__()

    @property
    def bidirectional(self) -> bool:
        return True

    @property
    def reads_spelling(self) -> bool:
        return self.tokens == "characters"

    @property
    def recurrence(self) -> Settings:
        """What the layers have that is no parameter."""
        return Settings(1.0, self.cell_clip, self.projection_clip)

    def num_parameters(self) -> int:
        size, cells, below = self.vocabulary_size, self.units, self.projection
        layer = 4 * cells * (2 * below + 1) + cells * below
        table = (size + 1) * below
        tokens = self._of_characters() if self.reads_spelling else table
        output = size * (below + 1) if self.predicts else 0
        return tokens + 2 * self.num_layers * layer + output

    def _of_characters(self) -> int:
        """The parameters of the token layer, the spelling of the vocabulary included."""
        size, total = self.character_width, sum(self.filter_counts)
        filters = zip(self.filter_widths, self.filter_counts, strict=True)
        convolutions = sum((width * size + 1) * count for width, count in filters)
        highways = self.highway_layers * 2 * (total + 1) * total
        out = (total + 1) * self.projection
        return CHARACTERS * size + convolutions + highways + out + self.vocabulary_size * LENGTH

    def shape(self) -> dict[str, int | str]:
        names = ("units", "projection", "tokens", "residual", "predicts")
        found = {name: getattr(self, name) for name in names}
        found |= {name: str(getattr(self, name)) for name in ("cell_clip", "projection_clip")}
        if self.reads_spelling:
            more = ("character_width", "highway_layers", "activation")
            found |= {name: getattr(self, name) for name in more}
            filters = zip(self.filter_widths, self.filter_counts, strict=True)
            found["filters"] = " ".join(f"{width}x{count}" for width, count in filters)
        return {**super().shape(), **found}

    def describe(self) -> str:
        tokens = "words by their characters" if self.reads_spelling else "a table of tokens"
        return (
            f"two directions of {self.num_layers} × {self.units} cells, projected to "
            f"{self.projection}, over {tokens}"
        )
