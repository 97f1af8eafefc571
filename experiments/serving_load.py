"""What `gptjax serve` bears: many clients at once, each answer compared, and malformed bodies.

A server is started on a fine-tuned run. Requests of four kinds are prepared, with the answers that
the run itself gives to them (`gptjax.load`). Then one client asks one request at a time, and after
it many clients ask together. No answer may be lost or be another one's. At last come malformed and
huge bodies, the server is told to stop, and has to end well.

    python experiments/serving_load.py --run runs/finetune/sst2/small --minutes 5
"""

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from script import start

import gptjax

WORDS = (
    *("the", "a", "old", "small", "red", "film", "story", "river", "is", "was", "not", "very"),
    *("fine", "dull", "bad", "funny", "and", "but", "because", "slowly", "never", "almost"),
)
TOLERANCE = 1e-4  # of probabilities, and of nats per token
NASTY: Sequence[bytes] = (
    *(
        b"",
        b"null",
        b"[]",
        b"{}",
        b"NaN",
        b"-1",
        b"0",
        b"1e999",
        b'""',
        b"true",
        b"[[]]",
        b"[null]",
    ),
    *(b"9" * 4400, b'"' + b"x" * 60_000 + b'"', b"[" * 50_000, b"[" * 900 + b"]" * 900),
    *(b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b'{"a":' * 5000, b"[-5]", b"[99999999999999999999]"),
    *(
        b"[1, true]",
        b'["", ""]',
        b'[[1], "a"]',
        b"[" + b"1," * 9000 + b"1]",
        b'{"rows": 1}',
        b"1.5",
    ),
    *(
        '"\U0001f600\u2028"'.encode(),
        b'["' + b'","' * 3000 + b'"]',
        b"-0.0",
        b"1e-320",
        b"2147483648",
    ),
)
FIELDS = (
    *("prompt", "max_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed", "echo"),
    *("logprobs", "stream", "stream_options", "model", "rows", "texts", "pairs", "best_of", "odd"),
)
PATHS = ("/predict", "/log_probability", "/v1/completions")


@dataclass(frozen=True)
class LoadConfig:
    """Load a server, and compare its answers."""

    run: str
    """A fine-tuned run of a task with one text."""

    clients: int = 64
    """That ask at the same time."""

    minutes: float = 5.0
    """Of all clients together; one client alone asks for a sixth of it."""

    malformed: int = 1000
    """Bodies that are no requests."""

    requests: int = 160
    """Different ones, which are asked again and again."""

    seed: int = 0
    """Of the requests and of the malformed bodies."""

    kinds: tuple[str, ...] = ("predict", "log_probability", "completions", "logprobs")
    """Which requests there are."""


@dataclass
class Asked:
    """A request, and what has to come back."""

    kind: str
    path: str
    body: bytes
    right: Callable[[Any], bool]


@dataclass
class Counts:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    took: float = 0.0


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words)) + "."


def prepared(run: Any, config: LoadConfig) -> list[Asked]:
    """The requests with their answers."""
    draw = random.Random(config.seed)
    made = []
    for number in range(config.requests):
        kind = config.kinds[number % len(config.kinds)]
        texts = [sentence(draw, draw.randint(2, 40)) for _ in range(draw.choice((1, 1, 1, 3)))]
        made.append(MAKE[kind](run, texts, number))
    return made


def _predict(run: Any, texts: list[str], number: int) -> Asked:
    expected = run.predict(texts)

    def right(answer: Any) -> bool:
        found = answer["predictions"]
        return len(found) == len(expected) and all(
            one["prediction"] == other["prediction"]
            and np.allclose(
                [*one["probabilities"].values()],
                [*other["probabilities"].values()],
                atol=TOLERANCE,
            )
            for one, other in zip(found, expected, strict=True)
        )

    return Asked("predict", "/predict", _json({"rows": texts}), right)


def _log_probability(run: Any, texts: list[str], number: int) -> Asked:
    expected = run.log_probability(texts)

    def right(answer: Any) -> bool:
        found = [one["log_probability"] for one in answer["answers"]]
        return len(found) == len(expected) and np.allclose(found, expected, rtol=TOLERANCE)

    return Asked("log_probability", "/log_probability", _json({"texts": texts}), right)


def _completions(run: Any, texts: list[str], number: int) -> Asked:
    prompt = texts[0]
    options = {"max_tokens": 8 + number % 40, "temperature": (0.0, 0.7, 1.0)[number % 3]}
    options |= {"top_p": (1.0, 0.9)[number % 2]}
    (expected,) = run.generate(prompt, seed=number, **options)
    body = {"prompt": prompt, "seed": number, "echo": True, **options}
    return Asked(
        "completions",
        "/v1/completions",
        _json(body),
        lambda answer: answer["choices"][0]["text"] == expected,
    )


def _logprobs(run: Any, texts: list[str], number: int) -> Asked:
    """As EleutherAI's harness asks."""
    ids = [own.tolist() for own in run.tokenizer.encode(texts)]
    expected = run.log_probability(texts)
    body = {"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}

    def right(answer: Any) -> bool:
        found = [sum(one["logprobs"]["token_logprobs"][:-1]) for one in answer["choices"]]
        return len(found) == len(expected) and np.allclose(found, expected, rtol=TOLERANCE)

    return Asked("logprobs", "/v1/completions", _json(body), right)


MAKE: dict[str, Callable[[Any, list[str], int], Asked]] = {
    "predict": _predict,
    "log_probability": _log_probability,
    "completions": _completions,
    "logprobs": _logprobs,
}


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def malformed(draw: random.Random) -> tuple[str, bytes]:
    """A path, and a body that nobody means."""
    path = draw.choice(PATHS)
    body = {
        "/predict": b'{"rows": [{"text": "a fine film"}]}',
        "/log_probability": b'{"pairs": [{"prompt": "a", "continuation": " b"}]}',
        "/v1/completions": b'{"prompt": "the old", "max_tokens": 4, "logprobs": 2}',
    }[path]
    kind = draw.randrange(6)
    if kind == 0:
        body = draw.choice(NASTY)
    elif kind == 1:
        names = draw.sample(FIELDS, draw.randint(1, 5))
        parts = (b'"%s": %s' % (name.encode(), draw.choice(NASTY)) for name in names)
        body = b"{" + b", ".join(parts) + b"}"
    elif kind == 2:
        at = draw.randrange(len(body))
        body = body[:at] + draw.randbytes(draw.randint(1, 9)) + body[at + draw.randint(0, 3) :]
    elif kind == 3:
        body = body[: draw.randrange(len(body))]
    elif kind == 4:
        body = body[:-1] + b', "%s": %s}' % (draw.choice(FIELDS).encode(), draw.choice(NASTY))
    elif draw.random() < 0.1:
        body = b'{"rows": ["' + b"long " * 600_000 + b'"]}'
    else:
        body = b'{"prompt": "' + b"long word " * draw.randint(1, 20_000) + b'"}'
    return path, body


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        if self._writer is None:
            opened = await asyncio.open_connection("127.0.0.1", self._port)
            self._reader, self._writer = opened
        assert self._reader is not None
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            self._writer.write(head.encode() + body)
            await self._writer.drain()
            told = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", told)
            if length is None:  # a stream ends with its connection, or in parts
                await self.close()
                return int(told.split()[1]), b""
            found = await self._reader.readexactly(int(length[1]))
        except BaseException:
            await self.close()
            raise
        if "connection: close" in told:
            await self.close()
        return int(told.split()[1]), found

    async def close(self) -> None:
        """Leave."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


async def load(asked: Sequence[Asked], port: int, clients: int, seconds: float) -> Counts:
    """Ask for so long, each client the requests in an order of its own."""
    counts, begin = Counts(), time.monotonic()

    async def one(number: int) -> None:
        client, draw = Client(port), random.Random(number)
        while time.monotonic() - begin < seconds:
            request, start = draw.choice(asked), time.monotonic()
            counts.found["asked"] += 1
            status, body = await client.ask(request.path, request.body)
            counts.seconds.append(time.monotonic() - start)
            if status != 200:
                counts.found[f"status {status}"] += 1
            elif request.right(json.loads(body)):
                counts.found["right"] += 1
            else:
                counts.found[f"wrong: {request.kind}"] += 1
        await client.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    counts.took = time.monotonic() - begin
    return counts


async def harm(port: int, count: int, seed: int) -> Counter[str]:
    """Send malformed bodies, sixteen at a time, and count how they were answered."""
    found: Counter[str] = Counter()
    draw = random.Random(seed)
    bodies = iter([malformed(draw) for _ in range(count)])

    async def one() -> None:
        client = Client(port)
        for path, body in bodies:
            try:
                status, _ = await asyncio.wait_for(client.ask(path, body), 120)
                found[str(status)] += 1
            except (OSError, asyncio.IncompleteReadError):  # it did not read all of a huge body
                found["closed"] += 1
        await client.close()

    await asyncio.gather(*(one() for _ in range(16)))
    return found


def line(name: str, counts: Counts) -> str:
    """A row of the table."""
    took = np.array(counts.seconds) * 1000
    rate = len(took) / counts.took
    p50, p99 = np.percentile(took, (50, 99))
    seen = ", ".join(f"{count} {what}" for what, count in sorted(counts.found.items()))
    return f"{name:12} {rate:8.1f} {p50:8.0f} {p99:8.0f}  {seen}"


def main(config: LoadConfig) -> None:
    """Do all of it, and say what came out; the exit code is 1 if anything was wrong."""
    asked = prepared(gptjax.load(config.run), config)
    words = [sys.executable, "-m", "gptjax", "serve", "--run", config.run, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        print(f"{'clients':12} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8}")
        seconds = 60 * config.minutes
        asyncio.run(load(asked, port, 8, min(5.0, seconds)))  # all that is prepared on first use
        alone = asyncio.run(load(asked, port, 1, seconds / 6))
        print(line("1", alone), flush=True)
        many = asyncio.run(load(asked, port, config.clients, seconds))
        print(line(str(config.clients), many), flush=True)
        gain = len(many.seconds) / many.took / (len(alone.seconds) / alone.took)
        print(f"{gain:.1f} times the requests per second of one client")
        harmed = asyncio.run(harm(port, config.malformed, config.seed))
        print(f"malformed: {dict(sorted(harmed.items()))}", flush=True)
        after = asyncio.run(load(asked, port, 4, 2.0))
        print(line("after", after), flush=True)
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    print(f"SIGTERM: exit code {code}")
    whole = all(one.found["asked"] == one.found["right"] for one in (alone, many, after))
    if not (whole and code == 0 and harmed.total() == config.malformed):
        sys.exit(1)


if __name__ == "__main__":
    start(main, LoadConfig, __doc__)
