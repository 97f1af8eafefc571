"""A trained run as an object to ask: labels for rows, log-probabilities of texts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gptjax.data.tasks.examples import to_split
from gptjax.data.tokenizers.tokenizer import Mode
from gptjax.errors import UserError
from gptjax.evaluation.given_rows import ADVICE, rows_of
from gptjax.evaluation.held_units import Unit
from gptjax.evaluation.task_scores import predict_split
from gptjax.evaluation.text_scores import token_log_probabilities
from gptjax.evaluation.writing import write
from gptjax.runs.open import Run
from gptjax.runs.open import load as load_run
from gptjax.runs.predictions import class_names

TOKENS_AT_ONCE = 16  # that are drawn before their text is looked at


@dataclass(frozen=True)
class Model(Run):
    """A `Run` with what an evaluation script asks of it; on whatever devices jax has.

    Its parameters are jax arrays, so that a function that is traced may use them in every way.
    """

    def predict(
        self, rows: Iterable[Mapping[str, Any] | str] | Any, batch_size: int = 32
    ) -> list[dict[str, Any]]:
        """Label rows with a fine-tuned run.

        Args:
            rows: each with the columns that the task was trained with, or with its parts alone
                (`premise` and `hypothesis`, say); a label is not needed. Of a task with one text
                strings will do. A pandas DataFrame is taken row by row.
            batch_size: rows at once, rounded up to a multiple of the devices.

        Returns:
            For each row ``prediction`` (the label's name, or a score) and ``probabilities`` by
            label.

        Raises:
            UserError: not a fine-tuned run, or a row lacks a part; names the row by its place in
                ``rows``, from 0.
        """
        if self.task is None:
            path = self.folder.path
            raise UserError(f"{path}: a pre-trained run has no task; fine-tune it first")
        cells, task = rows_of(rows, self.task)
        if not cells:
            return []
        split = to_split(
            cells,
            task,
            "rows",
            source="rows",
            fingerprint="",
            strict=True,
            labels=False,
            required=(),
            advice=ADVICE,
        )
        scores = predict_split(self, split.examples, batch_size)
        names, scored = class_names(self.task), self.task.scores is not None
        answers: list[dict[str, Any]] = []
        predictions = scores.predicted.tolist()
        for predicted, probabilities in zip(predictions, scores.probabilities, strict=True):
            answer = predicted if scored else self.task.labels[int(predicted)]
            by_name = dict(zip(names, map(float, probabilities), strict=True))
            answers.append({"prediction": answer, "probabilities": by_name})
        return answers

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

    def log_probability(
        self, texts: Sequence[str], batch_size: int = 16
    ) -> Float[np.ndarray, " N"]:
        """The log-probability of each text in nats, each read as the beginning of a document.

        A text longer than the context is read in windows that do not overlap.

        Args:
            texts: any; an empty one has probability 1.
            batch_size: windows at once, rounded up to a multiple of the devices.
        """
        found = token_log_probabilities(self, texts, batch_size)
        return np.array([math.fsum(values) for values in found], np.float64)


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
        path: the run folder, openai:FOLDER, or hf:ID_OR_FOLDER.
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
