"""Why a request has no answer, as OpenAI's API says it."""

from collections.abc import Mapping
from typing import Any

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    500: "server_error",
    503: "overloaded_error",
}
RETRY_AFTER = 1  # seconds that a client is asked to wait after a 503


class Refusal(Exception):
    """A request that is not answered, or no longer.

    Args:
        status: of HTTP, one of `TYPES`.
        message: what is wrong and what to do, a sentence.
        param: the field of the body that is wrong.
        code: a word that programs can compare.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of OpenAI's errors."""
        kind = TYPES[self.status]
        found = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": found}

    @property
    def headers(self) -> dict[str, str]:
        """Those of the answer."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": str(RETRY_AFTER)} if self.status == 503 else {}
