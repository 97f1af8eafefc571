"""The life of a server: it compiles, listens, and stops when it is told to."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from gptjax.errors import UserError
from gptjax.serving.app import Door, make_app
from gptjax.serving.asking import Asking
from gptjax.training.interrupt import StopRequest

LOOK = 0.05  # seconds between two looks at whether the server is to stop
CONNECTIONS = 1000  # that are open at a time; uvicorn answers further ones with 503
BACKLOG = 2048  # connections that wait to be accepted


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 is any that is free.

    Raises:
        UserError: the address is taken, or is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(
            f"`host={host}`: {error.strerror}; give an address of this machine"
        ) from None
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise UserError(
            f"`port={port}`: {host} cannot be listened to there ({error.strerror}); choose another "
            "port, or 0 for one that is free"
        ) from None
    return found


def warm_up(asking: Asking, say: Callable[[str], None]) -> None:
    """Compile all shapes, and say how many and how long it took."""
    for kind, workers in asking.workers.items():
        begin = time.perf_counter()
        count = sum(worker.warm_up() for worker in workers.values())
        say(f"compiled {count} shapes for {kind} in {time.perf_counter() - begin:.1f} s")


class Server:
    """A server that answers until a signal comes or `stop` is called, and then finishes its work.

    Args:
        asking: the model; its shapes are compiled.
        listening: from `listen`.
        name: of the model.
        token: which clients have to name, or None.
        patience: seconds for what is under way when it is to stop.
    """

    def __init__(
        self,
        asking: Asking,
        listening: socket.socket,
        *,
        name: str,
        token: str | None = None,
        patience: float = 30.0,
    ) -> None:
        self._asking, self._listening, self._patience = asking, listening, patience
        self._door = Door(make_app(asking, name), token)
        self._stopped = False

    @property
    def address(self) -> str:
        """Where it listens, as http://HOST:PORT."""
        host, port = self._listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        """Take no new requests, and end when those under way are answered."""
        self._stopped = True

    def run(self, say: Callable[[str], None]) -> None:
        """Answer; ``say`` tells people where, once it does."""
        self._asking.engine.start()
        with StopRequest(self._finishing, again="Ctrl-C once more ends at once") as signals:
            say(f"listening on {self.address}")
            asyncio.run(self._until(lambda: self._stopped or signals.requested))
        self._asking.engine.stop(self._patience)

    def _finishing(self) -> str:
        if (count := self._door.inside) == 0:
            return "stopping"
        what = "1 request" if count == 1 else f"{count:,} requests"
        return f"finishing {what}, for {self._patience:g} seconds at most"

    async def _until(self, stop: Callable[[], bool]) -> None:
        """Serve until then, and until all requests are answered or time is up."""
        config = uvicorn.Config(
            self._door,
            loop="asyncio",  # others listen to signals themselves
            lifespan="off",
            # Its own settings would close the handlers of everybody else in this process, and with
            # them streams. Errors reach standard error without any.
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        server = _Uvicorn(config)
        serving = asyncio.create_task(server.serve(sockets=[self._listening]))
        while not (stop() or serving.done()):
            await asyncio.sleep(LOOK)
        self._door.closed, until = True, time.monotonic() + self._patience
        while self._door.inside and time.monotonic() < until:
            await asyncio.sleep(LOOK)
        server.should_exit = True
        await serving


class _Uvicorn(uvicorn.Server):
    """Uvicorn's server, but deaf to signals: it would take no new requests, without a word."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
