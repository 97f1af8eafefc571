"""Real servers in threads of this process, on runs that lie in tests/recorded."""

import http.client
import json
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from gptjax.evaluation.model import load
from gptjax.serving.asking import Asking
from gptjax.serving.limits import Limits
from gptjax.serving.server import Server, listen, warm_up
from tests.recorded.replay import HERE

# The recorded models see 24 tokens.
LIMITS = {
    "batch_size": 8,
    "length": 24,
    "gather": 0.003,
    "rows": 40,
    "queue": 400,
    "body": 50_000,
    "seconds": 60.0,
}


def until(condition):
    """Wait for something that other threads do."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Served:
    """A server, and what tests ask of it."""

    def __init__(self, model, asking, server):
        self.model, self.asking, self.server = model, asking, server
        self.host, self.port = server.address.removeprefix("http://").split(":")

    def request(self, method, path, body=None, headers=None):
        """The status, the headers and the body of an answer, as it is."""
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, path, value, status=200):
        """The JSON of the answer to JSON."""
        found, _, body = self.request("POST", path, json.dumps(value))
        assert found == status, body
        return json.loads(body)

    def write(self, prompt, **options):
        """The choices of `/v1/completions`."""
        return self.post("/v1/completions", {"prompt": prompt, **options})["choices"]

    def refused(self, path, value, status=400):
        """The error of an answer."""
        error = self.post(path, value, status)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


@contextmanager
def serving(model, *, token=None, patience=20.0, warm=True, **limits):
    """A server on a model until the block ends."""
    asking = Asking(model, Limits(**{**LIMITS, **limits}))
    if warm:
        warm_up(asking, lambda line: None)
    server = Server(asking, listen("127.0.0.1", 0), name="it", token=token, patience=patience)
    said = threading.Event()
    thread = threading.Thread(target=server.run, args=(lambda line: said.set(),), daemon=True)
    thread.start()
    assert said.wait(20)
    try:
        yield Served(model, asking, server)
    finally:
        server.stop()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Opens a copy of a recorded run."""
    folder = tmp_path_factory.mktemp("recorded")

    def opened(name):
        to = folder / name.replace("/", "-")
        if not to.exists():
            shutil.copytree(HERE / name, to)
        return load(to)

    return opened


@pytest.fixture(scope="session")
def tuned(recorded):
    return recorded("interrupted-finetuning")


@pytest.fixture(scope="session")
def pretrained(recorded):
    return recorded("pretrained")


@pytest.fixture(scope="session")
def mood(tuned):
    """A server on a fine-tuned run: it can do everything."""
    with serving(tuned) as served:
        yield served
