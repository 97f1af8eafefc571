"""What a model is asked over HTTP, between the event loop and the device's thread."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gptjax.errors import UserError
from gptjax.evaluation.model import Model
from gptjax.serving.engine import Engine, Worker
from gptjax.serving.limits import Limits
from gptjax.serving.line import Request
from gptjax.serving.readers import task_readers, text_readers
from gptjax.serving.refusal import Refusal
from gptjax.serving.writer import Writer

T = TypeVar("T")
LABEL, TELL, WRITE = "predict", "log_probability", "completions"


class Asking:
    """A model and its engine.

    Attributes:
        model: the run.
        limits: of the server.
        engine: which computes.

    Args:
        model: the run; which kinds of work it does depends on it.
        limits: see above.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.workers: dict[str, dict[str, Worker]] = {}
        if model.task is not None:
            self.workers[LABEL] = dict(task_readers(model, limits))
        if not model.model.bidirectional:
            self.workers[TELL] = dict(text_readers(model, limits))
            self.workers[WRITE] = {"": Writer(model, limits)}
        flat = {
            f"{kind}/{name}": worker
            for kind, workers in self.workers.items()
            for name, worker in workers.items()
        }
        self.engine = Engine(flat, gather=limits.gather, queue=limits.queue)
        # One thread: not every tokenizer may be called by two at a time.
        self._encoding = ThreadPoolExecutor(1, "encoding")

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function says that may take long, such as a tokenizer, without others waiting.

        Raises:
            Refusal: it raised a UserError.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._encoding, function, *arguments)
        except UserError as error:
            raise Refusal(400, str(error)) from None

    def check_kind(self, kind: str) -> None:
        """See to it that the model does this kind of work.

        Raises:
            Refusal: it does not.
        """
        if kind in self.workers:
            return
        why = "a pre-trained run has no task; serve a fine-tuned one"
        if kind != LABEL:
            try:
                deed = "write text" if kind == WRITE else "give a text's probability"
                self.model.model.check_causal(deed)
            except UserError as error:
                why = str(error)
        raise Refusal(404, why, code="not_supported")

    def kind_for(self, kind: str, length: int) -> str:
        """Which worker takes a row of so many tokens."""
        return f"{kind}/{next(one for one in self.limits.lengths() if one >= length)}"

    async def answers(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        """What the engine finds of each of some rows, which have one answer each."""
        found: list[Any] = [None] * len(items)
        with self.answering(items) as answers:
            async for number, value, _ in answers:
                found[number] = value
        return found

    def answering(self, items: Sequence[tuple[str, Any]]) -> "Answers":
        """The same as they come; see `Answers`."""
        return Answers(self.engine, items, self.limits.seconds)


def too_long(seconds: float) -> Refusal:
    """What is said to a request that takes longer than this."""
    message = f"this took longer than {seconds:g} seconds; ask for less, or try again later"
    return Refusal(503, message)


class Answers:
    """The answers to the rows of a request, as they come: number, value, whether it is the last.

    As a context manager it lets the engine forget the request when it is left, by an error or
    because the client has gone.

    Args:
        engine: which computes.
        items: of each row the worker's name and what it takes.
        seconds: after which nobody waits any more.

    Raises:
        Refusal: too many rows wait already; and while it is iterated, what went wrong.
    """

    def __init__(self, engine: Engine, items: Sequence[tuple[str, Any]], seconds: float) -> None:
        self._seconds, self._until = seconds, asyncio.get_running_loop().time() + seconds
        self._engine, self._left = engine, len(items)
        self._loop, self._found = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._request = Request(self._deliver)
        if items:
            engine.submit(self._request, items)

    def _deliver(self, number: int, value: Any, last: bool) -> None:
        self._loop.call_soon_threadsafe(self._found.put_nowait, (number, value, last))

    def leave(self) -> None:
        """Wait no more; who has waited to the end may say so, too."""
        self._engine.leave(self._request)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def __aiter__(self) -> "Answers":
        return self

    async def __anext__(self) -> tuple[int, Any, bool]:
        if self._left <= 0:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout_at(self._until):
                number, value, last = await self._found.get()
        except TimeoutError:
            raise too_long(self._seconds) from None
        self._left -= last
        if isinstance(value, Exception):
            raise value
        return number, value, last
