"""The ways a command may end other than well, and the exit code of each."""


class GptjaxError(Exception):
    """Base of the errors that end a command with one line instead of a traceback."""

    exit_code = 1


class UserError(GptjaxError):
    """Bad input or usage. The message says what, where, and what to do, in one line."""

    exit_code = 2


class NoCheckpointError(GptjaxError):
    """Checkpoints exist or are needed, but none of them can be used."""

    exit_code = 3


class NonFiniteError(GptjaxError):
    """Training met a loss or gradient that is not finite, and stopped before using it."""

    exit_code = 4


class Interrupted(GptjaxError):
    """Training was asked to stop, and saved a checkpoint from which it can resume."""

    exit_code = 75
