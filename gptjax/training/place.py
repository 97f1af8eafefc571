"""A folder that must stay where it is while a run writes to it."""

from pathlib import Path

from gptjax.errors import UserError


class Place:
    """Remembers which folder lies at a path, so that another one there is not taken for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._identity = self._look()

    def is_there(self) -> bool:
        """Whether the path still leads to the same folder."""
        return self._look() == self._identity

    def check(self) -> None:
        """Raise a UserError if the folder was moved or removed."""
        if not self.is_there():
            raise UserError(
                f"{self._folder}: the run folder was moved or removed while the run was writing to "
                "it; if it was moved, go on there with `out=NEW_PLACE` and `resume=auto`"
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_dev, found.st_ino
