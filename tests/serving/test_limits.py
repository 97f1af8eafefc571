"""What a server refuses, who waits for whom, and how it ends."""

import asyncio
import dataclasses
import http.client
import json
import logging
import socket
import threading
import time
from contextlib import suppress

import pytest

from gptjax.errors import UserError
from gptjax.models.bilm_config import BiLMConfig
from gptjax.serving import bodies
from gptjax.serving.app import _Stream
from gptjax.serving.asking import TELL, WRITE, Asking
from gptjax.serving.completions import Completing
from gptjax.serving.engine import Engine
from gptjax.serving.limits import Limits, size_for
from gptjax.serving.line import Line, Request, Row
from gptjax.serving.refusal import Refusal
from gptjax.serving.server import is_local, listen
from gptjax.serving.told import Names
from tests.serving.conftest import LIMITS, serving, until


def test_a_row_of_every_request_in_turn():
    line, (a, b, c) = Line(), [Request(print) for _ in range(3)]
    for request, count in ((a, 5), (b, 2), (c, 1)):
        for number in range(count):
            line.add(Row(request, number, None))
    taken = line.take(4)
    assert [(row.request, row.number) for row in taken] == [(a, 0), (b, 0), (c, 0), (a, 1)]
    assert line.count == 4
    assert line.drop(a) == 3
    assert line.drop(a) == line.drop(c) == 0
    line.add(Row(a, 9, None))
    assert [(row.request, row.number) for row in line.take(9)] == [(b, 1), (a, 9)]
    assert line.count == 0
    assert line.take(1) == []


def test_few_shapes():
    limits = Limits(**{**LIMITS, "batch_size": 32, "length": 200})
    assert limits.row_sizes() == (1, 8, 32)
    assert limits.row_sizes(devices=4) == (4, 8, 32)
    assert limits.lengths() == (32, 64, 128, 200)
    assert Limits(**{**LIMITS, "batch_size": 3}).row_sizes(4) == (4,)
    counts = (1, 4, 5, 8, 9, 16, 17, 32, 99)
    assert [size_for(count, (1, 8, 32)) for count in counts] == [1, 1, 8, 8, 8, 8, 32, 32, 32]


class Slow:
    """A worker that waits for leave, and fails where it is asked to."""

    def __init__(self):
        self.leave, self.turns, self.busy = threading.Semaphore(0), [], False

    def wanted(self, waiting):
        return min(waiting, 2)

    def turn(self, rows):
        self.turns.append([row.item for row in rows])
        assert self.leave.acquire(timeout=20)
        for row in rows:
            if row.item == "bug":
                raise ZeroDivisionError
            if row.item == "memory":
                raise MemoryError
            row.request.deliver(row.number, row.item, True)
        return list(rows)

    def failed(self):
        return []

    def warm_up(self):
        return 0


@pytest.fixture
def slow():
    worker = Slow()
    engine = Engine({"it": worker}, gather=0.02, queue=5)
    engine.start()
    yield engine, worker
    worker.leave.release(100)
    engine.stop(10.0)


def ask(engine, *items):
    found = []
    request = Request(lambda number, value, last: found.append((number, value, last)))
    engine.submit(request, [("it", item) for item in items])
    return request, found


def test_what_comes_together_is_computed_together(slow):
    engine, worker = slow
    first, second = ask(engine, "a"), ask(engine, "b", "c")
    worker.leave.release(2)
    until(lambda: engine.rows == 0)
    assert worker.turns == [["a", "b"], ["c"]]
    assert first[1] == [(0, "a", True)]
    assert second[1] == [(0, "b", True), (1, "c", True)]


def test_too_many_rows_are_refused(slow):
    engine, worker = slow
    ask(engine, *"abc")
    with pytest.raises(Refusal, match="3 rows are waiting here already") as refused:
        ask(engine, *"def")
    assert refused.value.status == 503
    assert refused.value.headers == {"Retry-After": "1"}
    ask(engine, *"gh")
    worker.leave.release(9)
    until(lambda: engine.rows == 0)
    assert sum(map(len, worker.turns)) == 5


def test_who_leaves_is_not_waited_for(slow):
    engine, worker = slow
    request, _ = ask(engine, *"abcd")
    until(lambda: worker.turns)
    assert engine.rows == 4
    engine.leave(request)
    assert engine.rows == 2  # which are being computed
    worker.leave.release(9)
    until(lambda: engine.rows == 0)
    assert worker.turns == [["a", "b"]]


@pytest.mark.parametrize(
    ("item", "status", "message"),
    [("bug", 500, "a bug in the server"), ("memory", 503, "out of memory; give less data")],
)
def test_a_failure_ends_its_requests_and_nothing_else(slow, capsys, item, status, message):
    engine, worker = slow
    _, found = ask(engine, item)
    worker.leave.release(9)
    until(lambda: engine.rows == 0)
    ((number, refusal, last),) = found
    assert (number, refusal.status, last) == (0, status, True)
    assert message in str(refusal)
    assert ("ZeroDivisionError" in capsys.readouterr().err) == (item == "bug")
    ask(engine, "next")
    until(lambda: engine.rows == 0)
    assert worker.turns[-1] == ["next"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_place(mood, stream):
    """In the middle of a text, of a stream or of an answer that is not there yet."""
    writer, taken, turns = mood.asking.workers[WRITE][""], threading.Event(), []
    real = writer._advance

    def advance():
        turns.append(len(writer._places))
        taken.set()
        time.sleep(0.5)
        return real()

    writer._advance = advance
    try:
        body = {"prompt": "the", "max_tokens": 20, "n": 40, "stream": stream}
        connection = http.client.HTTPConnection(mood.host, int(mood.port))
        connection.request("POST", "/v1/completions", json.dumps(body))
        assert taken.wait(20)
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        until(lambda: mood.asking.engine.rows == 0)
    finally:
        writer._advance = real
    assert turns == [8]  # of the fifteen that all texts would have taken
    assert not writer.busy


def test_a_stream_that_nobody_begins_to_read(pretrained):
    """The client has left between its request and the first piece."""
    asking = Asking(pretrained, Limits(**LIMITS))

    async def ask():
        given = {"prompt": "the", "n": 3, "stream": True}
        asked = bodies.completion(given, asking.limits, "it", pretrained.tokenizer.size)
        completing = Completing(asking, asked, "it", Names(pretrained.tokenizer))
        await completing.begin()
        assert asking.engine.rows == 3

        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            raise OSError

        with suppress(BaseException):
            await _Stream(completing)({"type": "http", "asgi": {}}, receive, send)

    asyncio.run(ask())
    assert asking.engine.rows == 0


def test_a_request_that_takes_too_long(mood):
    mood.asking.limits = Limits(**{**LIMITS, "seconds": 0.4})
    writer = mood.asking.workers["completions"][""]
    real = writer._advance
    writer._advance = lambda: (time.sleep(0.3), real())[1]
    try:
        error = mood.refused("/v1/completions", {"prompt": "the", "max_tokens": 20}, 503)
        assert "longer than 0.4 seconds" in error["message"]
        body = json.dumps({"prompt": "the", "max_tokens": 20, "stream": True})
        _, _, streamed = mood.request("POST", "/v1/completions", body)
        *_, last = streamed.decode().strip().split("\n\n")
        assert (
            "longer than 0.4 seconds" in json.loads(last.removeprefix("data: "))["error"]["message"]
        )
        with socket.create_connection((mood.host, int(mood.port))) as halfway:
            halfway.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            assert halfway.recv(100).startswith(b"HTTP/1.1 408")
    finally:
        writer._advance = real
        mood.asking.limits = Limits(**LIMITS)
    until(lambda: mood.asking.engine.rows == 0)


def test_a_token_is_asked_for(pretrained):
    with serving(pretrained, token="sésame", warm=False) as served:
        for given in (None, "Bearer other", "sésame", "Bearer "):
            headers = {} if given is None else {"Authorization": given.encode()}
            status, told, body = served.request("GET", "/v1/models", headers=headers)
            assert status == 401
            assert told["www-authenticate"] == "Bearer"
            assert json.loads(body)["error"]["type"] == "authentication_error"
        right = {"Authorization": "Bearer sésame".encode()}
        assert served.request("GET", "/v1/models", headers=right)[0] == 200
        assert served.request("GET", "/health")[0] == 200


def test_a_server_that_stops_finishes_what_runs_and_takes_nothing_new(pretrained):
    with serving(pretrained) as served:
        writer, begun = served.asking.workers["completions"][""], threading.Event()
        real = writer._advance

        def advance():
            begun.set()
            time.sleep(0.2)
            return real()

        writer._advance = advance
        found = []
        options = {"max_tokens": 20, "seed": 1, "echo": True}
        running = threading.Thread(target=lambda: found.append(served.write("the", **options)))
        running.start()
        assert begun.wait(20)
        served.server.stop()
        until(lambda: served.server._door.closed)
        error = served.refused("/v1/completions", {"prompt": "the"}, 503)
        assert error["message"] == "the server is stopping"
        running.join(20)
    assert found[0][0]["text"] == pretrained.generate("the", max_tokens=20, seed=1)[0]
    with pytest.raises(ConnectionRefusedError):
        served.request("GET", "/health")


def test_a_server_that_stops_does_not_wait_for_ever(pretrained):
    with serving(pretrained, patience=0.3) as served:
        writer, leave = served.asking.workers["completions"][""], threading.Event()
        writer._advance = lambda: leave.wait(20) and None
        with socket.create_connection((served.host, int(served.port))) as asked:
            asked.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
            )
            until(lambda: served.asking.engine.rows)
            begin = time.monotonic()
            served.server.stop()
            until(lambda: not served.server._door.inside)
            assert 0.3 < time.monotonic() - begin < 5
        leave.set()


def test_a_model_that_reads_both_ways_only_labels(pretrained):
    both_ways = BiLMConfig(vocabulary_size=pretrained.tokenizer.size)
    asking = Asking(dataclasses.replace(pretrained, model=both_ways), Limits(**LIMITS))
    assert asking.workers == {}
    for kind, deed in ((WRITE, "write text"), (TELL, "give a text's probability")):
        with pytest.raises(Refusal, match=f"cannot {deed}") as refused:
            asking.check_kind(kind)
        assert refused.value.status == 404


def test_a_bug_is_an_answer_and_a_traceback(mood, caplog):
    """And the logging of the process is left as it was."""
    real = mood.asking.aside

    async def aside(*_):
        raise ZeroDivisionError

    mood.asking.aside = aside
    try:
        error = mood.refused("/v1/completions", {"prompt": "the"}, 500)
    finally:
        mood.asking.aside = real
    assert error["message"] == "a bug in the server; its log says more"
    until(lambda: "ZeroDivisionError" in caplog.text)
    assert not logging.getLogger("uvicorn").handlers


def test_where_it_listens():
    assert [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.9")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org")] == [False] * 4
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"`port={port}`: 127.0.0.1 cannot be listened to"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"`host=no such host`"):
        listen("no such host", 0)
