"""How a run ends, as meta.json says it: whatever the end is, the status is true."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gptjax.errors import Interrupted, NonFiniteError, UserError, explain
from gptjax.runs.folder import RunFolder
from gptjax.training import parallel
from gptjax.training.interrupt import before_quitting
from gptjax.training.place import Place


class Status:
    """The status of a run that this process trains. Before `begin`, nothing is written of it."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._place: Place | None = None

    def begin(self) -> None:
        """From now on the folder is this run's; it must be there."""
        self._place = self._place or Place(self._folder.path)

    def end(self, status: str, reason: str | None = None) -> None:
        """Note how it ended, if that can be written."""
        if self._place is not None and self._place.is_there() and parallel.is_main():
            with suppress(OSError, UserError, ValueError):
                self._folder.update_meta(status=status, reason=reason)

    def explained(self, error: BaseException) -> BaseException:
        """The error to end with: one that says where and what to do, if the user can mend it."""
        if self._place is None or not isinstance(error, Exception):
            return error
        try:
            self._place.check()
        except UserError as gone:
            return gone
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(self._folder.path)  # a full disk names no file
        return known if (known := explain(error)) is not None else error


@contextmanager
def recorded(folder: RunFolder) -> Iterator[Status]:
    """Note in meta.json how a run ends, if it does not reach its end."""
    status = Status(folder)
    try:
        with before_quitting(lambda: status.end("interrupted")):
            yield status
    except (Interrupted, KeyboardInterrupt):
        status.end("interrupted")
        raise
    except NonFiniteError as error:
        status.end("non-finite", str(error))
        raise
    except BaseException as error:
        shown = status.explained(error)
        status.end("failed", str(shown) or type(shown).__name__)
        if shown is error:
            raise
        raise shown from error
