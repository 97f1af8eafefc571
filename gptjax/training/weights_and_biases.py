"""A run at Weights & Biases; what fails there never stops the run."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ID_FILE = "wandb-id.txt"
# At the end of a run without a network, wandb would try to upload for days.
SECONDS_TO_UPLOAD = 60


@dataclass(frozen=True)
class Identity:
    """What a run is called there.

    Attributes:
        name: of this run, such as snli/tiny/1; None is the name of its folder.
        group: of the runs that differ by the seed alone, such as snli/tiny.
        settings: every setting of the run, by section.
    """

    name: str | None = None
    group: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class WeightsAndBiases:
    """Sends a run's numbers. The first failure is told in one line, and ends the sending.

    Args:
        folder: the run folder. A resumed run continues under the id that its folder keeps.
        project: the project they are sent to.
        identity: what the run is called there.
        message: prints a line for people.
    """

    def __init__(
        self, folder: Path, project: str, identity: Identity, message: Callable[[str], None]
    ) -> None:
        self._message = message
        self._run: Any = None
        with self._may_fail():
            import wandb  # an extra, and slow to import

            file = folder / ID_FILE
            if not file.exists():
                file.write_text(secrets.token_hex(4), encoding="utf-8")
            self._run = wandb.init(
                project=project,
                name=identity.name or folder.resolve().name,
                group=identity.group,
                config=dict(identity.settings),
                id=file.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(folder),
                settings=wandb.Settings(finish_timeout=SECONDS_TO_UPLOAD),
            )

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send numbers by name, which belong to a step."""
        if self._run is not None:
            with self._may_fail():
                self._run.log(dict(scalars), step=step)

    def log_texts(self, name: str, texts: Sequence[str], step: int) -> None:
        """Send texts as a table of a step."""
        if self._run is not None:
            with self._may_fail():
                import wandb

                rows = [[step, text] for text in texts]
                table = wandb.Table(columns=["step", "text"], data=rows)
                self._run.log({name: table}, step=step)

    def finish(self) -> None:
        """Wait until everything is sent, but not for long. May be called twice."""
        if self._run is not None:
            with self._may_fail():
                self._run.finish()
        self._run = None

    @contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._message(f"wandb failed, the run goes on without it: {reason}")
            if self._run is not None:
                self._run = None
                with suppress(Exception):
                    import wandb

                    # Or its own exit would print a traceback after the run's last line.
                    wandb.teardown()
