"""The settings of a task head, a part of the section `task`."""

from dataclasses import dataclass, replace

from gptjax.errors import UserError, check_counts, check_settings
from gptjax.models.task_head import HeadModel, HeadPooling, HeadShape


@dataclass(frozen=True)
class HeadOptions:
    """What the head of a task reads, and what it consists of."""

    classifier_dropout: float = 0.1
    """Probability of dropping a component of the state before the classifier, or of what a bilstm
    or a co-attention reads. Of a co-attention also of what it compares."""
    pooling: HeadPooling = "extract"
    """Which states the head reads: the extract token's, as GPT-1; or of the text's tokens the last,
    the mean, the highest of each component, or all three (concat), as ULMFiT."""
    head_width: int | None = None
    """Size of a hidden layer of the head, with ReLU. None: a linear map alone, as GPT-1. That of a
    co-attention has tanh, and None is as many as its units."""
    head_norm: bool = False
    """Whether LayerNorm stands before each linear map of the head."""
    model: HeadModel = "linear"
    """What reads the states before they are pooled: nothing (linear), or an LSTM in both directions
    (bilstm), of which pooling sees each from its own begin to its end. Of tasks with two texts also
    LSTMs that compare them position by position (co-attention: ESIM, and KIM with knowledge)."""
    units: int | None = None
    """Cells of the bilstm, or of a co-attention's LSTMs, in each direction. None: the width of the
    model."""
    mix: bool = False
    """Whether the head reads a learned mix of all depths, embeddings and layers, in the place of
    the last one (ELMo)."""
    mix_norm: bool = False
    """Whether the mix normalises each depth over all tokens of a batch, as far as one device sees
    them at once."""
    mix_l2: float = 0.0
    """How much the loss has of the sum of the squared weights of the mix."""

    knowledge: str | None = None
    """Folder of `gptjax knowledge`, for tasks of two texts: attention learns how much to look from
    a word to one that it is related to. A co-attention has its own uses of it (below). The run
    keeps a copy."""
    knowledge_attention: float = 1.0
    """Of a co-attention with knowledge: what is added to the attention of two words that are
    related (λ of KIM). 0: nothing."""
    knowledge_inference: bool = True
    """Likewise: whether the relations stand beside what is compared. KIM's released script has this
    alone of the three."""
    knowledge_composition: bool = True
    """Likewise: whether the positions are pooled by their relations, too."""

    @property
    def head_shape(self) -> HeadShape:
        """The shape of the head that these settings ask for."""
        head = HeadShape(self.pooling, self.head_width, self.head_norm)
        mixed = replace(head, mix=self.mix, mix_norm=self.mix_norm)
        return replace(
            mixed,
            model=self.model,
            units=self.units,
            knowledge=self.knowledge is not None,
            knowledge_attention=self.knowledge_attention,
            knowledge_inference=self.knowledge_inference,
            knowledge_composition=self.knowledge_composition,
        )

    def __post_init__(self) -> None:
        check_counts(self, "task", "head_width units")
        check_settings(self, "task", "mix_l2", lambda x: x >= 0, "at least 0")
        if (self.mix_norm or self.mix_l2) and not self.mix:
            name = "mix_norm" if self.mix_norm else "mix_l2"
            raise UserError(f"task.{name}: is for task.mix; set both, or neither")
        if self.units is not None and self.model == "linear":
            raise UserError(
                "task.units: is for task.model bilstm or co-attention; set both, or neither"
            )
        self._check_co_attention()
        if not 0 <= (dropout := self.classifier_dropout) < 1:
            raise UserError(
                f"task.classifier_dropout is {dropout}: it must be at least 0 and less than 1"
            )

    def _check_co_attention(self) -> None:
        """Refuse what has no part in a co-attention, and what is for it where there is none."""
        check_settings(self, "task", "knowledge_attention", lambda x: x >= 0, "at least 0")
        compares = self.model == "co-attention"
        for name in ("pooling", "head_norm") if compares else ():
            if self._is_set(name):
                raise UserError(
                    f"task.{name}: has no part in task.model co-attention, which pools in its own "
                    "way; leave one of the two out"
                )
        for name in ("knowledge_attention", "knowledge_inference", "knowledge_composition"):
            if self._is_set(name) and not (compares and self.knowledge):
                raise UserError(
                    f"task.{name}: is for task.model co-attention with task.knowledge; set both of "
                    "them, or leave it out"
                )

    def _is_set(self, name: str) -> bool:
        """Whether a setting is not as usual."""
        return bool(getattr(self, name) != getattr(HeadOptions, name))
