"""`/v1/completions`: texts that a model writes, as OpenAI's clients ask for them."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from gptjax.evaluation.writing import Text
from gptjax.serving.asking import TELL, WRITE, Answers, Asking
from gptjax.serving.bodies import Completion, Prompt
from gptjax.serving.readers import Told
from gptjax.serving.refusal import Refusal
from gptjax.serving.told import Names, Offsets, logprobs
from gptjax.serving.writer import NewToken, Piece, Writing


class Choice:
    """One text of an answer, while it is written.

    Args:
        index: its number in the answer.
        asked: what is wanted of it.
        prompt: its tokens, the separator first.
        shown: the tokens of the prompt that log-probabilities are told of; none without echo.
        names: of tokens.
        asking: the model.
    """

    def __init__(
        self,
        index: int,
        asked: Completion,
        prompt: Sequence[int],
        shown: Sequence[NewToken],
        names: Names,
        asking: Asking,
    ) -> None:
        self._index, self._asked, self._names = index, asked, names
        self.tokens, self._offsets = list(shown), list[int]()
        self._given = 0  # tokens that are told of already
        self._before = len(shown)
        self._length = 0  # of the text so far
        self._places: Offsets | None = None
        if asked.logprobs is not None or asked.stop:
            self._places = Offsets(asking.model.tokenizer)
            places = [self._places.add(token) for token in prompt[1:]]
            self._begin = 0 if asked.echo else self._places.end
            # A separator that the prompt named itself stands before its text.
            self._offsets = [*[0] * (len(shown) - len(places)), *places] if shown else []

    @property
    def added(self) -> int:
        """How many new tokens the text has."""
        return self._given - self._before

    def add(self, piece: Piece) -> dict[str, Any]:
        """What a piece adds, as a choice of the answer.

        Of tokens at whose text the end is cut, nothing is told.
        """
        self._length += len(piece.text)
        self.tokens += piece.tokens
        told = len(self.tokens)
        if self._places is not None:
            for one in piece.tokens:
                self._offsets.append(self._places.add(one.token) - self._begin)
            if piece.finish is None or piece.cut:
                own = self._offsets[self._before :]
                told = self._before + sum(place < self._length for place in own)
        begin, self._given = self._given, max(told, self._given, self._before)
        found: dict[str, Any] = {"text": piece.text, "index": self._index, "logprobs": None}
        if self._asked.logprobs is not None:
            new = slice(begin, self._given)
            shown = (self.tokens[new], self._offsets[new])
            found["logprobs"] = logprobs(*shown, self._asked.logprobs, self._names)
        return {**found, "finish_reason": piece.finish}


class Completing:
    """The answer to one body.

    Args:
        asking: the model.
        asked: the body.
        name: of the model.
        names: of its tokens.
    """

    def __init__(self, asking: Asking, asked: Completion, name: str, names: Names) -> None:
        self._asking, self._asked, self._names = asking, asked, names
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }
        self._choices: list[Choice] = []
        self._first: list[Piece | None] = []  # of each choice what is known before it is written
        self._prompts: list[list[int]] = []
        self._answers: Answers | None = None

    async def begin(self) -> None:
        """Read the prompts, and let the texts wait for their turn.

        Raises:
            Refusal: a prompt is too long, or too many wait already.
        """
        asked, asking = self._asked, self._asking
        given = await asking.aside(_tokens, asking, asked.prompts)
        separator = asking.model.tokenizer.separator
        self._prompts = [ids if ids[:1] == [separator] else [separator, *ids] for ids in given]
        room = asking.limits.length + 1  # the last token is never read
        for number, ids in enumerate(self._prompts):
            if len(ids) + asked.max_tokens > room:
                raise Refusal(
                    400,
                    f"prompt {number} has {len(ids) - 1:,} tokens, and {asked.max_tokens:,} are to "
                    f"be added; with the separator before them there is room for {room:,}",
                    param="prompt",
                    code="context_length_exceeded",
                )
        told: list[Told | None] = [None] * len(given)
        if asked.echo and asked.logprobs is not None:
            kinds = [asking.kind_for(TELL, len(ids)) for ids in self._prompts]
            read = [np.array([*ids, 0], np.int32) for ids in self._prompts]
            told = await asking.answers(list(zip(kinds, read, strict=True)))
        to_write = []
        for number, (ids, own, said) in enumerate(zip(given, self._prompts, told, strict=True)):
            shown = [] if said is None else _of_prompt(own, said)[len(own) - len(ids) :]
            for sample in range(asked.samples):
                index = number * asked.samples + sample
                choice = Choice(index, asked, own, shown, self._names, asking)
                self._choices.append(choice)
                self._first.append(self._without_writing(own, said))
                if self._first[-1] is None:
                    to_write.append((index, self._writing(own, sample)))
        self._numbers = [index for index, _ in to_write]
        items = [(f"{WRITE}/", writing) for _, writing in to_write]
        self._answers = asking.answering(items)

    def leave(self) -> None:
        """Let nobody wait for what is not written yet."""
        if self._answers is not None:
            self._answers.leave()

    def _writing(self, prompt: list[int], sample: int) -> Writing:
        asked = self._asked
        return Writing(
            prompt,
            asked.max_tokens,
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            seed=asked.seed,
            sample=sample,
            stop=asked.stop,
            echo=asked.echo,
            told=asked.logprobs is not None,
        )

    def _without_writing(self, prompt: list[int], said: Told | None) -> Piece | None:
        """The whole text where nothing has to be drawn: none is to be added, or the likeliest one
        after a prompt of which everything is told."""
        asked, tokenizer = self._asked, self._asking.model.tokenizer
        text = Text(tokenizer, prompt[1:], asked.stop, asked.echo)
        if asked.max_tokens == 0:
            return Piece(text.add([], last=True), [], "length")
        if said is None or asked.max_tokens > 1 or asked.temperature > 0:
            return None
        best = (said.best[-1].tolist(), said.best_log_probability[-1].tolist())
        token = NewToken(best[0][0], best[1][0], *best)
        ends = token.token == tokenizer.end
        added = text.add([] if ends else [token.token], last=True)
        finish = "stop" if ends or text.stopped else "length"
        return Piece(added, [token], finish, cut=text.stopped)

    async def _pieces(self) -> AsyncIterator[dict[str, Any]]:
        """The choices' pieces as they come."""
        assert self._answers is not None
        with self._answers as answers:
            for choice, piece in zip(self._choices, self._first, strict=True):
                if piece is not None:
                    yield choice.add(piece)
            async for number, piece, _ in answers:
                yield self._choices[self._numbers[number]].add(piece)

    async def whole(self) -> dict[str, Any]:
        """The answer when all is written."""
        parts: list[list[dict[str, Any]]] = [[] for _ in self._choices]
        async for part in self._pieces():
            parts[part["index"]].append(part)
        choices = [_joined(own) for own in parts]
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[str]:
        """The lines of a stream of server-sent events; the last may be an error."""
        try:
            async for part in self._pieces():
                yield _event({**self._head, "choices": [part]})
        except Refusal as refusal:
            yield _event(refusal.body)
            return
        if self._asked.usage:
            yield _event({**self._head, "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _usage(self) -> dict[str, int]:
        prompt = sum(len(ids) - 1 for ids in self._prompts)
        added = sum(choice.added for choice in self._choices)
        total = prompt + added
        return {"prompt_tokens": prompt, "completion_tokens": added, "total_tokens": total}


def _tokens(asking: Asking, prompts: Sequence[Prompt]) -> list[list[int]]:
    """The ids of each prompt."""
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    encoded = iter(asking.model.tokenizer.encode_beginnings(texts) if texts else [])
    return [next(encoded).tolist() if isinstance(one, str) else one for one in prompts]


def _of_prompt(prompt: list[int], told: Told) -> list[NewToken]:
    """What a model says of the tokens of a prompt; of the first one nothing."""
    each = zip(
        prompt[1:],
        told.log_probability.tolist(),
        told.best.tolist(),
        told.best_log_probability.tolist(),
        strict=False,
    )
    return [NewToken(prompt[0]), *(NewToken(*one) for one in each)]


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One choice of its pieces."""
    found = {**parts[-1], "text": "".join(part["text"] for part in parts)}
    if found["logprobs"] is not None:
        names = found["logprobs"]
        found["logprobs"] = {
            name: [one for part in parts for one in part["logprobs"][name]] for name in names
        }
    return found


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"
