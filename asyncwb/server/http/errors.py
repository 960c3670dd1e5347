"""How the server says that something failed: one shape, whoever notices it.

    {"error": {"code": "snake_case", "message": "what failed; is the data safe; what to do"}}

Handlers raise `ApiError`; the middleware turns it, aiohttp's own refusals (404, 405, 413) and
anything unforeseen into that shape. An unforeseen error is logged with its traceback and tells
the client nothing of the inside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from asyncwb.printable import counted
from asyncwb.server.process.admission_queue import QueueFullError
from asyncwb.server.store.allowance import TooMuchError
from asyncwb.server.store.database import DatabaseError
from asyncwb.server.store.queries.fields import IndexBehindError
from asyncwb.typing import JsonObject

log = logging.getLogger("asyncwb.server")

_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    421: "unknown_host",
    429: "too_many_requests",
    503: "unavailable",
}
_SAID: Final = {
    404: "There is nothing at this address. Check the path.",
    405: "This address does not take that method.",
    413: "The request's body is larger than this server takes. Nothing was written; send less.",
}


_REPEATABLE: Final = "_asyncwb_repeatable"
H = TypeVar("H", bound=Callable[..., object])
_IDEMPOTENT: Final = ("GET", "HEAD", "PUT", "DELETE")


def repeatable(handler: H) -> H:
    """Declare that a request to a handler may be sent again: what it did already counts once."""
    setattr(handler, _REPEATABLE, True)
    return handler


class ApiError(Exception):
    """A refusal of the whole request; nothing was written.

    Args:
        status: the HTTP status, 4xx or 503.
        code: what a program goes by, snake_case.
        message: what failed; is the data safe; what to do next.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def refusal_of(error: BaseException) -> ApiError | None:
    """Return what is said of an error that refuses a request: here, or below HTTP."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            message = "The server is behind with its work. Nothing was written; send it again."
            return ApiError(429, "too_many_requests", message, {"Retry-After": "1"})
        case IndexBehindError():
            runs = counted(error.left, "run of this project is", "runs of this project are")
            message = (
                f"{runs} new or changed, and not ready to be searched; nothing is lost. Ask again "
                "in a few seconds."
            )
            return ApiError(503, "index_behind", message, {"Retry-After": "5"})
        case TooMuchError():
            return ApiError(400, "too_much", str(error))
    return None


class StreamError(Exception):
    """A refusal of one stream of a batch; the other streams go on.

    `retry` says whether sending again can help, `next_seq` from which number (None: unknown).
    """

    def __init__(
        self, code: str, message: str, *, retry: bool = False, next_seq: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry = retry
        self.next_seq = next_seq

    def as_dict(self) -> JsonObject:
        """Return the entry for this stream in the answer."""
        error = {"code": self.code, "message": self.message, "retry": self.retry}
        return {"error": error, "next": self.next_seq}


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer in the one shape."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    response = web.Response(status=status, body=body, content_type="application/json")
    response.headers.update(headers or {})
    return response


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into the one shape.

    The broad `except` is the top of a request: it must answer, and it is logged and counted (by
    status, in the metrics).
    """
    try:
        return await handler(request)
    except (ApiError, QueueFullError, IndexBehindError, TooMuchError) as error:
        said = refusal_of(error)
        assert said is not None
        refusal = error_response(said.status, said.code, said.message, said.headers)
        if said.status == 408:
            refusal.force_close()  # the rest of the body may still come: no place for a request
        return refusal
    except web.HTTPException as error:
        return _from_aiohttp(error)
    except web.RequestPayloadError:
        text = "The body was cut short, or is damaged. Nothing was written; send it again."
        refusal = error_response(400, "bad_body", text)
        refusal.force_close()  # where the next request would begin, nobody knows
        return refusal
    except ConnectionResetError:  # the client has gone: nobody reads this, and it is no fault
        return error_response(400, "disconnected", "The connection was lost. Send it again.")
    except (DatabaseError, OSError) as error:
        # Not the whole of a database error: its text has the statement's parameters in it.
        log.error("the storage failed: %s", getattr(error, "orig", error))
        message = f"The server's storage cannot take this now. {_outcome(request)}"
        return error_response(503, "storage_unavailable", message, {"Retry-After": "5"})
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        message = f"The server failed; its log says why. {_outcome(request)}"
        return error_response(500, "internal", message)


def _outcome(request: web.Request) -> str:
    """Say what has become of a request that failed: it may have done all of it, or a part."""
    if request.method in ("GET", "HEAD"):
        return "Nothing was changed; try again."
    handler = request.match_info.handler
    if request.method in _IDEMPOTENT or getattr(handler, _REPEATABLE, False):
        return "Whether it was written is not known; sending it again is safe."
    return "Whether it was done is not known; look before you send it again."


def _from_aiohttp(error: web.HTTPException) -> web.StreamResponse:
    if error.status < 400:
        return web.Response(status=error.status, headers=error.headers)
    code = _CODES.get(error.status, "refused")
    message = _SAID.get(error.status, f"The request was refused: {error.reason}.")
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return error_response(error.status, code, message, headers)
