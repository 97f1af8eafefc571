"""The clients that people have, unchanged: OpenAI's package, and the command with its signals."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import openai
import pytest

from gptjax.cli import main
from gptjax.commands import serve as command
from gptjax.evaluation.model import load
from tests.recorded.replay import HERE
from tests.serving.conftest import serving

RUN = HERE / "pretrained"


@pytest.fixture(scope="module")
def client(mood):
    return openai.OpenAI(base_url=f"{mood.server.address}/v1", api_key="none", max_retries=0)


def test_openai_lists_the_model(client):
    assert [model.id for model in client.models.list()] == ["it"]


def test_openai_writes(mood, client):
    options = {"model": "it", "prompt": "the", "max_tokens": 9, "seed": 5, "echo": True}
    found = client.completions.create(**options, logprobs=2, n=2, stop=["zz"])
    (expected,) = mood.model.generate("the", max_tokens=9, seed=5)
    assert found.choices[0].text == expected
    assert found.choices[0].finish_reason == "length"
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    told = found.choices[1].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs)
    assert told.text_offset[0] == 0


def test_openai_streams(mood, client):
    options = {"model": "it", "prompt": "the", "max_tokens": 20, "seed": 5, "echo": True}
    include = {"include_usage": True}
    *parts, last = client.completions.create(**options, stream=True, stream_options=include)
    (expected,) = mood.model.generate("the", max_tokens=20, seed=5)
    assert "".join(part.choices[0].text for part in parts) == expected
    assert len(parts) > 1
    assert last.usage.completion_tokens <= 20


def test_openai_understands_refusals(client, pretrained):
    with pytest.raises(openai.BadRequestError, match="room for 25") as refused:
        client.completions.create(model="it", prompt="the " * 50)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError, match="there is no such model here"):
        client.completions.create(model="davinci", prompt="the")
    with serving(pretrained, token="t", warm=False) as other:
        url = f"{other.server.address}/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="other").models.list()
        assert openai.OpenAI(base_url=url, api_key="t").models.list().data


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    words = [sys.executable, "-m", "gptjax", "serve", "--run", str(RUN), "--port", "0"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "GPTJAX_CACHE": str(tmp_path)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        line = server.stdout.readline()
        address = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)[1]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        options = {"prompt": "the", "max_tokens": 20, "seed": 3, "echo": True}
        stream = client.completions.create(model="pretrained", stream=True, **options)
        first = next(stream).choices[0].text
        server.send_signal(signal.SIGTERM)
        whole = first + "".join(part.choices[0].text for part in stream)
        assert server.wait(30) == 0
        said = server.stderr.read()
    assert whole == load(RUN).generate("the", max_tokens=20, seed=3)[0]
    assert re.search(r"compiled \d+ shapes for log_probability in \d+\.\d s\n", said)
    assert re.search(r"compiled \d+ shapes for completions in \d+\.\d s\n", said)
    assert "Traceback" not in said
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/health")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: others can reach this address"),
        (["--port", "65536"], "--port 65536: it must be at most 65,535"),
        (["--timeout", "0"], "--timeout 0.0: it must be above 0"),
        (["--batch-size", "0"], "--batch-size 0: it must be at least 1"),
        (["--run", "nowhere"], "nowhere"),
        (["--max-queue", "9"], "--max-queue 9: a request may have 256 rows (--max-rows)"),
        (["--batch-size", "1000000000"], "choose a smaller --batch-size"),
    ],
)
def test_wrong_use_is_said_in_a_line(words, message, capsys, monkeypatch):
    monkeypatch.delenv(command.TOKEN, raising=False)
    assert main(["serve", "--run", str(RUN), "--port", "0", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken(mood, capsys):
    assert main(["serve", "--run", str(RUN), "--port", mood.port]) == 2
    said = capsys.readouterr().err
    assert f"--port {mood.port}: 127.0.0.1 cannot be listened to there" in said


def test_without_the_extra(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gptjax.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "gptjax.commands.serve")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--run", str(RUN)]) == 2
    assert "pip install 'gptjax[serve]'" in capsys.readouterr().err
