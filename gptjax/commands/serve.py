"""`gptjax serve`: a trained model behind HTTP."""

import os
from dataclasses import dataclass
from typing import Annotated

from gptjax.config import alias
from gptjax.errors import UserError, check_counts, check_settings
from gptjax.evaluation.model import Model, load
from gptjax.runs.memory import rows_at_once
from gptjax.runs.open import Reading, sample_notice
from gptjax.runs.published import is_published, short_name
from gptjax.runs.train import say
from gptjax.serving import extra as extra  # first: it says what is not installed
from gptjax.serving.asking import Asking
from gptjax.serving.limits import Limits
from gptjax.serving.server import Server, is_local, listen, warm_up

TOKEN = "GPTJAX_SERVE_TOKEN"


@dataclass(frozen=True)
class ServeConfig(Reading):
    """Answer requests over HTTP with a trained model: labels, probabilities of texts, and texts as
    OpenAI's clients ask for them."""

    host: str = "127.0.0.1"
    """Address to listen on. Only this machine can reach the default; any other needs a token."""
    port: int = 8000
    """Port to listen on; 0 for one that is free."""
    token: str | None = None
    """What clients have to send as their API key. The environment variable GPTJAX_SERVE_TOKEN does
    the same, and no other user of the machine sees it."""
    name: str | None = None
    """The name of the model for OpenAI's clients. None: the last part of the run's name."""
    batch_size: int = 32
    """Rows that are computed together at most."""
    max_rows: int = 256
    """The most rows, texts or samples in one request."""
    max_queue: int = 2048
    """The most rows of all requests that wait or are computed; further ones are refused (503)."""
    max_bytes: int = 1_048_576
    """The largest body of a request (413)."""
    timeout: float = 60.0
    """Seconds that a request may take (503), and its body to come (408)."""
    gather: float = 4.0
    """Milliseconds that an idle device waits for further requests after the first one."""
    patience: float = 30.0
    """Seconds for the requests under way when a signal ends the server."""
    head: Annotated[str | None, alias("--adapter")] = None
    """A head.safetensors, with --run the pre-trained run whose backbone it was trained on."""

    def __post_init__(self) -> None:
        check_counts(self, "", "batch_size max_rows max_queue max_bytes")
        check_counts(self, "", "port", least=0, most=65535)
        if self.max_queue < self.max_rows:
            raise UserError(
                f"`max_queue={self.max_queue}`: a request may have {self.max_rows:,} rows "
                "(`max_rows`); allow at least as many to wait"
            )
        check_settings(self, "", "timeout", lambda x: 0 < x <= 86400, "above 0, at most 86,400")
        check_settings(self, "", "gather", lambda x: 0 <= x <= 1000, "from 0 to 1,000")
        check_settings(self, "", "patience", lambda x: 0 <= x <= 3600, "from 0 to 3,600")


def run(config: ServeConfig) -> None:
    """Compile, listen, and answer until a signal comes."""
    token = config.token or os.environ.get(TOKEN) or None
    if token is None and not is_local(config.host):
        raise UserError(
            f"`host={config.host}`: others can reach this address; set the environment variable "
            f"{TOKEN} to what clients have to send (or give `token`)"
        )
    listening = listen(config.host, config.port)
    model = load(
        config.run,
        config.checkpoint,
        config.head,
        num_heads=config.heads,
        mode=config.vocabulary.mode,
    )
    asking = Asking(model, _limits(config, model))
    if not asking.workers:
        raise UserError(
            f"`run={config.run}`: {model.model.called} without a task, which can do nothing "
            "that is served; fine-tune it first"
        )
    if notice := sample_notice(model):
        say(notice)
    say(f"{config.run} ({model.checkpoint}): {model.model.describe()}")
    warm_up(asking, say)
    folder = model.folder.path.resolve().name
    name = config.name or (short_name(config.run) if is_published(config.run) else folder)
    server = Server(asking, listening, name=name, token=token, patience=config.patience)
    server.run(lambda line: print(line, flush=True))


def _limits(config: ServeConfig, model: Model) -> Limits:
    length = model.model.context_length
    rows_at_once(model.model, config.batch_size, config.batch_size, length)  # or it refuses
    return Limits(
        batch_size=config.batch_size,
        length=length,
        gather=config.gather / 1000,
        rows=config.max_rows,
        queue=config.max_queue,
        body=config.max_bytes,
        seconds=config.timeout,
    )
