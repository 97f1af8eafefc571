"""The paths of the server, and who may ask."""

import asyncio
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gptjax.data.tasks.formats import Sequences, encode
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.evaluation.model import answers_of
from gptjax.evaluation.task_scores import score
from gptjax.evaluation.text_scores import Span, Window, continuations_of, windows_of
from gptjax.serving import bodies
from gptjax.serving.asking import LABEL, TELL, WRITE, Asking, too_long
from gptjax.serving.completions import Completing
from gptjax.serving.fields import parsed
from gptjax.serving.refusal import Refusal
from gptjax.serving.told import Names

HEALTH = "/health"


class Door:
    """What stands before the paths: it counts requests, asks for the token, and closes.

    Attributes:
        closed: whether the server is stopping and takes no new requests.
        inside: how many are being answered.

    Args:
        app: what answers.
        token: which a client has to name, or None.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token
        self.closed, self.inside = False, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if (refusal := self._refusal(scope)) is not None:
            return await _refused(refusal)(scope, receive, send)
        self.inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.inside -= 1
        return None

    def _refusal(self, scope: Scope) -> Refusal | None:
        if self.closed:
            return Refusal(503, "the server is stopping")
        if self._token is None or scope["path"] == HEALTH:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return None
        return Refusal(401, "give the server's token in the header Authorization: Bearer TOKEN")


def make_app(asking: Asking, name: str) -> FastAPI:
    """The application.

    Args:
        asking: the model.
        name: of it, as clients see it.
    """
    # Without pages about itself, which would load scripts from elsewhere.
    app = FastAPI(title="gptjax", docs_url=None, redoc_url=None, openapi_url=None)
    names = Names(asking.model.tokenizer) if WRITE in asking.workers else None
    created = int(time.time())

    @app.get(HEALTH)
    async def health() -> Any:
        return {"status": "ok", "model": name, "rows": asking.engine.rows}

    @app.get("/v1/models")
    async def models() -> Any:
        found = {"id": name, "object": "model", "created": created, "owned_by": "gptjax"}
        return {"object": "list", "data": [found]}

    @app.post("/predict")
    async def predict(request: Request) -> Any:
        return await _answer(asking, request, LABEL, lambda body: label(asking, body))

    @app.post("/log_probability")
    async def log_probability(request: Request) -> Any:
        return await _answer(asking, request, TELL, lambda body: tell(asking, body))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        async def write(body: Any) -> Response:
            assert names is not None
            size = asking.model.tokenizer.size
            asked = bodies.completion(body, asking.limits, name, size)
            completing = Completing(asking, asked, name, names)
            await completing.begin()
            if not asked.stream:
                return JSONResponse(await completing.whole())
            return _Stream(completing)

        return await _answer(asking, request, WRITE, write)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return _refused(refusal)

    @app.exception_handler(HTTPException)
    async def no_such_path(request: Request, error: HTTPException) -> Response:
        known = "/predict, /log_probability, /v1/completions, /v1/models and /health"
        what = "no such path" if error.status_code == 404 else "not with this method"
        found = Refusal(404 if error.status_code == 404 else 405, f"{what}; there are {known}")
        return _refused(found)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _refused(Refusal(500, "a bug in the server; its log says more"))

    return app


class _Stream(StreamingResponse):
    """A stream of events, for whose rest nobody waits when it ends in whatever way."""

    def __init__(self, completing: Completing) -> None:
        super().__init__(completing.events(), media_type="text/event-stream")
        self._completing = completing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as long as the client is there."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._completing.leave()


def _refused(refusal: Refusal) -> Response:
    return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)


async def _answer(
    asking: Asking, request: Request, kind: str, work: Callable[[Any], Awaitable[Any]]
) -> Any:
    """What ``work`` makes of the body, as long as the client is there and time is left."""
    seconds = asking.limits.seconds
    asking.check_kind(kind)
    try:
        async with asyncio.timeout(seconds):
            body = await _body(request, asking.limits.body)
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {seconds:g} seconds") from None
    task = asyncio.ensure_future(work(parsed(body)))
    gone = asyncio.ensure_future(_gone(request))
    try:
        first = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=first)
        if task in done:
            return task.result()
        if gone in done:
            return Response(status_code=400)  # which nobody reads
        raise too_long(seconds)
    finally:
        for one in (task, gone):
            one.cancel()


async def _body(request: Request, most: int) -> bytes:
    """The whole body, which is never read further than allowed."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > most:
            raise Refusal(413, f"the body is larger than {most:,} bytes; send less at a time")
    return bytes(found)


async def _gone(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def label(asking: Asking, body: Any) -> dict[str, Any]:
    """The answer to a body of `/predict`."""
    rows = bodies.rows(body, asking.limits)
    if not rows:
        return {"predictions": []}

    def read() -> tuple[Task, list[Example], list[Sequences]]:
        model = asking.model
        task, examples = model.examples(rows)
        how: dict[str, Any] = {"separate": model.head.separate, "knowledge": model.knowledge}
        encoded = encode(examples, task, model.tokenizer, model.model.context_length, **how)
        return task, list(examples), encoded.sequences

    task, examples, sequences = await asking.aside(read)
    items = [(asking.kind_for(LABEL, max(one.lengths)), one) for one in sequences]
    found = np.stack(await asking.answers(items))
    return {"predictions": answers_of(task, score(found, examples, task))}


async def tell(asking: Asking, body: Any) -> dict[str, Any]:
    """The answer to a body of `/log_probability`."""
    asked = bodies.texts_or_pairs(body, asking.limits)

    def read() -> tuple[list[int], list[Window]]:
        tokenizer = asking.model.tokenizer
        if isinstance(asked, bodies.Pairs):
            spans = continuations_of(tokenizer, asked.pairs)
        else:
            start = np.array([tokenizer.separator], np.int32)
            spans = [Span(start, ids) for ids in tokenizer.encode(asked)]
        windows = windows_of(spans, asking.limits.length)
        return [len(span.target) for span in spans], windows

    counts, windows = await asking.aside(read)
    items = [(asking.kind_for(TELL, len(one.tokens) - 1), one.tokens) for one in windows]
    if len(items) > asking.limits.queue:
        raise Refusal(413, "these texts are too long for one request; send fewer at a time")
    parts: list[list[float]] = [[] for _ in counts]
    likeliest = [True] * len(counts)
    for window, told in zip(windows, await asking.answers(items), strict=True):
        own = told.log_probability[-window.targets :]
        parts[window.owner] += own.tolist()
        best = told.best_log_probability[-window.targets :, 0]
        likeliest[window.owner] &= bool((own >= best).all())
    found = zip(map(math.fsum, parts), counts, likeliest, strict=True)
    names = ("log_probability", "tokens", "likeliest")
    return {"answers": [dict(zip(names, one, strict=True)) for one in found]}
