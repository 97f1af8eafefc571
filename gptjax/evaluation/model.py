"""A trained run as an object to ask: labels for rows, log-probabilities of texts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gptjax.data.tasks.buckets import width_of
from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.formats import encode
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.data.tokenizers.tokenizer import Mode
from gptjax.errors import UserError
from gptjax.evaluation.given_rows import ADVICE, rows_of
from gptjax.evaluation.held_units import Unit
from gptjax.evaluation.inspection import Inspection
from gptjax.evaluation.task_scores import SplitScores, predict_split
from gptjax.evaluation.writing import write
from gptjax.models.backbone import make_backbone, with_rows
from gptjax.models.config import ModelConfig
from gptjax.models.family import Family
from gptjax.models.task_head import NUM_SPECIALS, task_logits
from gptjax.models.task_states import is_text
from gptjax.runs.head import head_config
from gptjax.runs.open import load as load_run
from gptjax.runs.predictions import class_names

TOKENS_AT_ONCE = 16  # that are drawn before their text is looked at


@dataclass(frozen=True, repr=False)
class Model(Inspection):
    """A `Run` with what an evaluation script asks of it; on whatever devices jax has.

    Its parameters are jax arrays, so that a function that is traced may use them in every way.
    """

    def predict(
        self,
        rows: str | Mapping[str, Any] | Iterable[Mapping[str, Any] | str],
        batch_size: int = 32,
    ) -> Any:
        """Label rows with a fine-tuned run.

        Args:
            rows: each with the columns that the task was trained with, or with its parts alone
                (`premise` and `hypothesis`, say); a label is not needed. Of a task with one text
                strings will do. A pandas DataFrame is taken row by row. Or one of them alone.
            batch_size: rows at once, rounded up to a multiple of the devices.

        Returns:
            For each row ``prediction`` (the label's name, or a score) and ``probabilities`` by
            label; of one row alone not in a list.

        Raises:
            UserError: not a fine-tuned run, or a row lacks a part; names the row by its place in
                ``rows``, from 0.
        """
        if isinstance(rows, str | Mapping):
            return self.predict([rows], batch_size)[0]
        task, examples = self.examples(rows)
        return answers_of(task, predict_split(self, examples, batch_size)) if examples else []

    def examples(self, rows: Any) -> tuple[Task, Sequence[Example]]:
        """The task of a fine-tuned run, and rows as its examples.

        Args:
            rows: several, as of `predict`.

        Raises:
            UserError: as of `predict`.
        """
        if self.task is None:
            path = self.folder.path
            raise UserError(f"{path}: a pre-trained run has no task; fine-tune it first")
        cells, task = rows_of(rows, self.task)
        if not cells:
            return self.task, ()
        options: dict[str, Any] = {"source": "rows", "fingerprint": "", "advice": ADVICE}
        options |= {"strict": True, "labels": False, "required": ()}
        return self.task, to_split(cells, task, "rows", **options).examples

    @property
    def module(self) -> Family:
        """The flax module of the backbone; ``module.apply(variables, tokens)`` gives its states.

        Of a fine-tuned run its vocabulary has the special tokens too, after all others.
        """
        return make_backbone(self._extended)

    @property
    def variables(self) -> dict[str, Any]:
        """What ``module.apply`` takes: ``{"params": …}``."""
        if self.task is None:
            return {"params": self.params}
        rows = self.params["adapter"]["special_embedding"]
        return {"params": with_rows(self.model, self.backbone, rows)}

    @property
    def _extended(self) -> ModelConfig:
        added = 0 if self.task is None else NUM_SPECIALS
        return replace(self.model, vocabulary_size=self.model.vocabulary_size + added)

    def sequences(self, rows: Any) -> Int[Array, "R T"]:
        """What a fine-tuned run reads of rows: tokens with the special ones, padded with 0.

        Args:
            rows: as of `predict`.

        Returns:
            int32 [R, T]. An example is one row of it, of similarity, or where each text is a
            sequence of its own, two rows, and of a choice a row for each option; an option that is
            missing is a row of zeros.
        """
        task, examples = self.examples(rows)
        apart = self.head.separate
        context = self.model.context_length
        encoded = encode(examples, task, self.tokenizer, context, separate=apart)
        each, none = width_of(task, apart), np.zeros(0, np.int32)
        found = [
            ids
            for example in encoded.sequences
            for ids in (*example.tokens, *[none] * (each - len(example.tokens)))
        ]
        tokens = np.zeros((len(found), max(map(len, found), default=1)), np.int32)
        for row, ids in zip(tokens, found, strict=True):
            row[: len(ids)] = ids
        return jnp.asarray(tokens)

    def head_logits(
        self,
        states: Float[Array, "R T D"] | Float[Array, "N R T D"],
        tokens: Int[Array, "R T"],
    ) -> Float[Array, "B C"]:
        """Logits of a fine-tuned run's classes, or choices, from the states of its sequences.

        Args:
            states: what ``module.apply`` made of ``tokens``; for a head that mixes depths, with
                ``method="layer_states"``.
            tokens: from `sequences`.

        Raises:
            UserError: the run is not fine-tuned, its head mixes depths and is given one, or it
                reads relations of words, which `predict` looks up.
        """
        if self.task is None:
            raise UserError(
                f"{self.folder.path}: a pre-trained run has no head; fine-tune it first"
            )
        if self.head.knowledge:
            raise UserError(
                f"{self.folder.path}: reads the relations of words, which are not in `states`; ask "
                "`predict`"
            )
        size = self.model.vocabulary_size
        head = head_config(self.task, fewer=self.task.format == "choice", shape=self.head)
        each = width_of(self.task, self.head.separate)
        tokens = jnp.asarray(tokens).reshape(-1, each, tokens.shape[-1])
        states = jnp.asarray(states)
        if (states.ndim == 4) != self.head.mix:
            depths = "all depths (method layer_states)" if self.head.mix else "the last depth"
            raise UserError(f"`states`: this head reads the states of {depths}")
        states = states.reshape(*states.shape[:-3], *tokens.shape, states.shape[-1])
        extract = (tokens == size + NUM_SPECIALS - 1).argmax(-1)
        own = is_text(tokens, extract, size)
        return task_logits(self.params["adapter"]["head"], states, own, extract, head)

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        num_samples: int = 1,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        set_unit: Mapping[Unit, float] | None = None,
    ) -> list[str]:
        """Continue a prompt, which is read as the beginning of a document.

        Args:
            prompt: the text to continue; empty begins a new document.
            max_tokens: the most tokens to add. A text may end before.
            temperature: divides the logits; 0 takes the most probable token each time.
            top_k: draw from the k most probable tokens only; 0 for all.
            top_p: draw from the fewest tokens whose probabilities add up to p.
            num_samples: independent samples.
            seed: of the draws.
            stop: texts to stop before; they are looked for in what is added to the prompt.
            set_unit: values of memory cells of a recurrent model, which are set after the prompt
                and after each token: ``{2388: 1.5}`` of the last layer, or by layer, counted from
                1, and cell, ``{(1, 2388): 1.5}``.

        Returns:
            The samples, each with the prompt.

        Raises:
            UserError: an option out of its range, or no such memory cell.
        """
        texts = [""] * num_samples
        for number, added, _ in write(
            self,
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            num_samples=num_samples,
            seed=seed,
            stop=(stop,) if isinstance(stop, str) else stop,
            set_unit=(set_unit or {}).items(),
            every=TOKENS_AT_ONCE,
        ):
            texts[number] += added
        return texts

    def stream(self, prompt: str = "", **options: Any) -> Iterator[str]:
        """Write one sample, and give its text as it grows, the prompt first.

        The options are those of `generate`, without ``num_samples``.
        """
        stop = options.pop("stop", ())
        options["stop"] = (stop,) if isinstance(stop, str) else stop
        options["set_unit"] = (options.pop("set_unit", None) or {}).items()
        for _, added, _ in write(self, prompt, **{"max_tokens": 100, **options}):
            if added:
                yield added


def answers_of(task: Task, scores: SplitScores) -> list[dict[str, Any]]:
    """The ``prediction`` and the ``probabilities`` of each example, as of `Model.predict`."""
    names, answers = class_names(task), []
    predictions = scores.predicted.tolist()
    for predicted, probabilities in zip(predictions, scores.probabilities, strict=True):
        answer = predicted if task.scores is not None else task.labels[int(predicted)]
        by_name = dict(zip(names, map(float, probabilities), strict=True))
        answers.append({"prediction": answer, "probabilities": by_name})
    return answers


def load(
    path: str | Path,
    checkpoint: str | int = "auto",
    head: str | Path | None = None,
    *,
    num_heads: int | None = None,
    mode: Mode | None = None,
    adapter: str | Path | None = None,
) -> Model:
    """Open a trained model.

    Args:
        path: the run folder, openai:FOLDER, hf:ID_OR_FOLDER, or elmo:FOLDER, of which states and
            features can be had.
        checkpoint: "best", "last", or the number of a step; "auto" is the best where one was
            kept, else the last.
        head: a file `head.safetensors` (`adapter.safetensors` of older runs) of a run that was
            fine-tuned from this pre-trained one with its backbone frozen.
        num_heads: of OpenAI's files, which do not tell; None is GPT-1's heads of 64.
        mode: of GPT-1's tokenizer; None is as it was saved, else exact.
        adapter: an older name of ``head``.

    Raises:
        UserError: nothing there or damaged, no such checkpoint, a head of another backbone, or
            a checkpoint or heads asked for where there is no choice.
        NoCheckpointError: checkpoints exist, but none is intact.
    """
    head = head if head is not None else adapter
    fields = dict(
        vars(load_run(path, str(checkpoint), head, num_heads=num_heads, mode=mode)),
    )
    leaves, structure = jax.tree.flatten(fields.pop("params"))
    for number, leaf in enumerate(leaves):  # one by one, so that two copies are never whole
        leaves[number] = jnp.asarray(leaf)
    return Model(**fields, params=jax.tree.unflatten(structure, leaves))
