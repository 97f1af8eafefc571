"""A model behind EleutherAI's lm-evaluation-harness, whose tasks then measure it."""

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from gptjax.data.tokenizers.tokenizer import Mode
from gptjax.errors import UserError
from gptjax.evaluation.sampling import added_text
from gptjax.evaluation.text_scores import Span, TokenScores, continuations_of, score_spans
from gptjax.models.decode import generate
from gptjax.runs.open import Run, load

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise UserError(
        f"lm-evaluation-harness cannot be imported ({error}); pip install 'gptjax[lm-eval]'"
    ) from error

NAME = "gptjax"
BATCH_SIZE = 16
MAX_GEN_TOKS = 256  # the harness's own default where a task does not say how much to write
CHUNK = 16  # batches between two signs of progress; what they found is in the harness's cache then


@dataclass(frozen=True)
class Writing:
    """How a task wants a text continued, from the harness's `gen_kwargs`.

    The text ends before the first of the strings ``until``; the rest is as of
    `gptjax.models.decode.generate`.
    """

    max_tokens: int
    until: tuple[str, ...]
    temperature: float
    top_k: int
    top_p: float

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Writing":
        """From `gen_kwargs`; unknown ones are refused. Greedy, unless they say otherwise."""
        options = dict(normalize_gen_kwargs(dict(given), MAX_GEN_TOKS))
        sampled = options.pop("do_sample")
        until = tuple(stop for stop in options.pop("until") if stop)
        temperature, top_p = (float(options.pop(name, 1.0)) for name in ("temperature", "top_p"))
        size, top_k = options.pop("max_gen_toks"), int(options.pop("top_k", 0))
        writing = cls(size, until, temperature if sampled else 0.0, top_k, top_p)
        if options:
            known = "until, max_gen_toks, do_sample, temperature, top_k, top_p"
            raise UserError(f"gen_kwargs {', '.join(options)}: unknown; known are {known}")
        return writing

    def cut(self, text: str) -> str:
        """The text before the first of the strings at which it ends."""
        return text[: min((at for s in self.until if (at := text.find(s)) >= 0), default=None)]


@register_model(NAME)
class GptjaxLM(LM):
    """A run, or what others published, as a model of the harness, on whatever devices jax has.

    From Python::

        from lm_eval import simple_evaluate

        from gptjax.evaluation.harness import GptjaxLM

        simple_evaluate(model=GptjaxLM("runs/pretrain/small"), tasks=["lambada_openai"])

    The harness has no way to find models outside its own package, so that its command does not know
    this one; `gptjax lm-eval` is that command with this model registered:
    `gptjax lm-eval --model_args run=runs/pretrain/small --tasks lambada_openai`.

    Requests are read as the harness defines them, and as its own models read them: context and
    continuation are encoded as one text, spaces at the end of a context belong to the continuation,
    and of what is too long for the model the end is read. Where a token reaches across the border,
    it belongs to the continuation here; the harness's models leave a part of it out. A continuation
    of more tokens than the context, which they refuse, is scored in windows.

    Args:
        run: what `gptjax.load` opens, or a run that is open already; of a fine-tuned one its
            backbone is asked.
        checkpoint: as of `gptjax.load`.
        batch_size: texts at once, rounded up to a multiple of the devices; never changes a score.
        add_bos_token: read the separator before every text, as everywhere in gptjax. False: only
            before what has no context, as the harness does with GPT-2.
        seed: of the draws, where a task samples.
        heads: attention heads of openai:FOLDER, whose files do not tell; None: heads of 64.
        mode: of GPT-1's tokenizer; None is as it was saved, else exact.
        device: the harness's command always names one, in PyTorch's words; jax's are used.
        unknown: anything else is refused.

    Raises:
        UserError: as `gptjax.load`; an unknown argument.
    """

    def __init__(
        self,
        run: str | Path | Run,
        *,
        checkpoint: str | int = "auto",
        batch_size: int | str = BATCH_SIZE,
        add_bos_token: bool = True,
        seed: int = 0,
        heads: int | None = None,
        mode: Mode | None = None,
        device: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        del device
        if unknown:
            raise UserError(
                f"model argument {', '.join(unknown)}: unknown; known are run, checkpoint, "
                "batch_size, add_bos_token, seed, heads and mode (devices are jax's: JAX_PLATFORMS)"
            )
        size = BATCH_SIZE if str(batch_size).startswith("auto") else int(batch_size)
        if size < 1:
            raise UserError(f"batch_size {batch_size}: it must be at least 1, or auto")
        if not isinstance(run, Run):
            run = load(run, str(checkpoint), num_heads=heads, mode=mode)
        self.run, self.batch_size, self.add_bos_token, self.seed = run, size, add_bos_token, seed

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes beside its results."""
        return {
            "run": str(self.run.folder.path),
            "checkpoint": self.run.checkpoint,
            "model_num_parameters": sum(x.size for x in jax.tree.leaves(self.run.backbone)),
            "add_bos_token": self.add_bos_token,
        }

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """What each continuation has after its context.

        Returns:
            For each request (a context and a continuation) its log-probability in nats, and
            whether every token of it is the likeliest one; in their order.

        Raises:
            UserError: the tokenizer has nothing for a continuation.
        """
        pairs = [_without_trailing_spaces(*request.args) for request in requests]
        spans = continuations_of(self.run.tokenizer, pairs, self.add_bos_token)
        for request, span in zip(requests, spans, strict=True):
            if not len(span.target):
                where = f"{request.task_name}, document {request.doc_id}"
                missing = f"the continuation {request.args[1]!r}"
                raise UserError(f"{where}: the tokenizer has nothing for {missing}")
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        for number, scores in self._scored(spans, disable_tqdm):
            found[number] = (_sum(scores), bool(scores.likeliest.all()))
            self._remember("loglikelihood", requests[number], found[number])
        return found

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-probability of each text in nats, each a document of its own.

        A text longer than the context is read in windows that predict every token once; the last
        one reaches back, so that it is as long as the others. (`gptjax evaluate` lets it be
        shorter, so that its perplexity of long texts is a little higher.)
        """
        texts = [request.args[0] for request in requests]
        spans: list[Span] = []
        owners: list[int] = []
        separator, context_length = self.run.tokenizer.separator, self.run.model.context_length
        for owner, ids in enumerate(self.run.tokenizer.encode(texts)):
            windows = get_rolling_token_windows(ids.tolist(), separator, context_length, 1)
            for context, target in map(make_disjoint_window, windows):
                spans.append(Span(np.array(context, np.int32), np.array(target, np.int32)))
                owners.append(owner)
        parts: dict[int, list[float]] = defaultdict(list)
        for number, scores in self._scored(spans, disable_tqdm):
            parts[owners[number]].append(_sum(scores))
        found = [math.fsum(parts[owner]) for owner in range(len(requests))]
        for request, value in zip(requests, found, strict=True):
            self._remember("loglikelihood_rolling", request, value)
        return found

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """What is added to each context; greedily, unless its `gen_kwargs` say otherwise.

        A text is written to its end or to the most tokens, and then cut before the first string at
        which it ends. Of a long context the end is read that leaves room for the new tokens, but
        never less than half of the model's context: beyond that, the model goes on as in
        `gptjax.models.decode.generate`.

        Raises:
            UserError: `gen_kwargs` that are unknown, or outside their range.
        """
        tokenizer, context = self.run.tokenizer, self.run.model.context_length
        texts = tokenizer.encode_beginnings([request.args[0] for request in requests])
        bos = [tokenizer.separator]
        prompts = [
            [*(bos if self.add_bos_token or not len(ids) else []), *ids.tolist()] for ids in texts
        ]
        alike: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            alike[json.dumps(request.args[1], sort_keys=True)].append(number)
        found = [""] * len(requests)
        batches = 0
        with tqdm(total=len(requests), desc="generate_until", disable=disable_tqdm) as bar:
            for numbers in alike.values():
                writing = Writing.read(requests[numbers[0]].args[1])
                options = {name: value for name, value in vars(writing).items() if name != "until"}
                room = max(context - writing.max_tokens, context // 2, 1)
                # The longest first: what memory cannot hold fails at once.
                order = sorted(numbers, key=lambda number: -len(prompts[number][-room:]))
                for chosen in _chunks(order, self.batch_size):
                    # Repeated to the size of the others, whose program is compiled already.
                    rows = [*chosen, *chosen[-1:] * (self.batch_size - len(chosen))]
                    read = [prompts[number][-room:] for number in rows]
                    key = jax.random.fold_in(jax.random.key(self.seed), batches)
                    model, params = self.run.model, self.run.backbone
                    samples = generate(model, params, read, key, end=tokenizer.end, **options)
                    batches += 1
                    for number, (sample,) in zip(chosen, samples, strict=False):
                        found[number] = writing.cut(added_text(tokenizer, prompts[number], sample))
                        self._remember("generate_until", requests[number], found[number])
                    bar.update(len(chosen))
        return found

    def _scored(self, spans: Sequence[Span], silent: bool) -> Iterator[tuple[int, TokenScores]]:
        """Every span's number and scores, spans of a similar length together, the longest first."""
        lengths = [len(span.context) + len(span.target) for span in spans]
        order = sorted(range(len(spans)), key=lambda i: -lengths[i])
        with tqdm(total=len(spans), desc="log-likelihood", disable=silent) as bar:
            for chosen in _chunks(order, CHUNK * self.batch_size):
                scores = score_spans(self.run, [spans[i] for i in chosen], self.batch_size)
                yield from zip(chosen, scores, strict=True)
                bar.update(len(chosen))

    def _remember(self, kind: str, request: Instance, answer: Any) -> None:
        """Tell the harness's cache, if there is one, so that what was answered is not lost."""
        self.cache_hook.add_partial(kind, request.args, answer)


def command_line(words: Sequence[str]) -> None:
    """The harness's command, with `GptjaxLM` as its model unless another one is named.

    ``words`` are its options, or its commands `ls` and `validate` with theirs. What the harness
    refuses ends in SystemExit.
    """
    ours = ["run", "--model", NAME, "--batch_size", str(BATCH_SIZE)]
    own = words[0] if words else ""
    if own not in ("ls", "validate"):
        words = [*ours, *(words[1:] if own == "run" else words)]
    # It would fork for its bootstrap, after which jax's threads may never come back.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    before, sys.argv = sys.argv, ["gptjax lm-eval", *words]  # where the harness looks
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _without_trailing_spaces(context: str, continuation: str) -> tuple[str, str]:
    """The harness's rule: a word begins with the space before it."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _sum(scores: TokenScores) -> float:
    return math.fsum(scores.log_probabilities.astype(np.float64))


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
