"""A client's connection: how long it may keep a request waiting, and what no request is.

The one place for both, below all routes. A request that has begun must go on: where nothing of it
comes for `patience` seconds, or so little that it would never end, it is refused with 408 and the
connection is closed, so that nobody can hold a server by beginning and not going on. Only waiting
for the client counts, never the time that the server takes for what it has.

What is no request at all (a length below zero, an address without end, a broken chunk) aiohttp
refuses with words of its own and a traceback in the log; here that has the one shape of all
errors, and a line in the log.
"""

# aiohttp (3.14) has no bound of its own on the wait for a head or a body, and no say in what it
# answers below all routes; so `Connection` overrides what it does not document. For that the extra
# `server` admits one minor release of it; a test names what is relied on.

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import anyio
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, AsyncStreamIterator, StreamReader

from asyncwb.server.http.errors import ApiError, error_response, log

_LEAST_RATE: Final = 256
"""bytes a second: what a body must come to in the long run; the slowest telephone has more"""
_LINGER: Final = 10.0
"""seconds in which the rest of a refused body is read and thrown away, so that the client, which
still sends, gets to read the answer"""
_IDLE: Final = 300.0
"""seconds that a connection may stay open without a request; more than proxies keep theirs"""


class Slow(ApiError):  # noqa: N818 - a state of the client
    """The client began a request and did not go on."""

    def __init__(self, what: str) -> None:
        super().__init__(
            408, "too_slow", f"{what} Nothing was written; send it again, all in one go."
        )


def still(patience: float, waited: float, received: int) -> float:
    """Return for how many seconds a body may be waited for now.

    Args:
        patience: seconds of silence that are borne.
        waited: seconds that this body was waited for until now.
        received: bytes of it that have come.
    """
    return min(patience, patience + received / _LEAST_RATE - waited)


class PatientBody:
    """A request's body as aiohttp gives it, for which nobody waits without end.

    Mutable state: `_waited`, seconds.
    """

    def __init__(self, body: StreamReader, patience: float) -> None:
        self._body = body
        self._patience = patience
        self._waited = 0.0

    async def readany(self) -> bytes:
        """Return what is there, or what comes next; b"" at the end.

        Raises:
            Slow: nothing came in time.
        """
        began = anyio.current_time()
        try:
            with anyio.fail_after(still(self._patience, self._waited, self._body.total_bytes)):
                return await self._body.readany()
        except TimeoutError:
            raise Slow("The rest of the body did not come in time.") from None
        finally:
            self._waited += anyio.current_time() - began

    def iter_any(self) -> AsyncStreamIterator[bytes]:
        """Give the body piece by piece."""
        return AsyncStreamIterator(self.readany)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, with bounds.

    Mutable state: `_body`, the last request's; `_answered`, whether it has its answer; `_head`, the
    alarm that ends the wait for the rest of the next one's head. (A part of the next head that
    comes along with a request is not seen; that wait ends with the idle time.)
    """

    def __init__(self, server: web.Server, patience: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # how aiohttp's own runner leaves it out
            auto_decompress=False,
            keepalive_timeout=_IDLE,
            lingering_time=min(_LINGER, patience),
        )
        self._patience = patience
        self._body: StreamReader = EMPTY_PAYLOAD
        self._answered = True
        self._head: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the first ones of a request start its alarm."""
        # aiohttp gives no bytes at all where it goes on with what it had put aside.
        if data and self._head is None and self._answered and self._body.is_eof():
            self._head = asyncio.get_running_loop().call_later(self._patience, self._give_up)
        super().data_received(data)

    def begun(self, body: StreamReader) -> None:
        """Take note that a request's head is complete."""
        self._body, self._answered = body, False
        self._disarm()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer, whereupon the next request may begin."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of what belongs to the connection."""
        self._disarm()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, or what failed outside of every handler, in the one shape."""
        if isinstance(exc, HttpProcessingError):
            log.info("refused what %s sent: %s", request.remote, _named(exc))
            response = error_response(status, "bad_request", _said(exc))
        else:
            log.error("a request of %s failed", request.remote, exc_info=exc)
            text = "The server failed; its log says why. Whether it was done is not known."
            response = error_response(status, "internal", text)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun; there is no place for another one")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what nobody caught; a body that broke after its answer is a line, no fault."""
        error = kw.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            log.info("the rest of a refused body is broken: %s", type(error).__name__)
        else:
            log.error(*args, **kw)

    def _give_up(self) -> None:
        self._head = None
        if self.transport is None:
            return
        error = Slow("The head of the request did not come in time.")
        body = error_response(error.status, error.code, error.message).body
        assert isinstance(body, bytes)
        head = (
            "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.force_close()

    def _disarm(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def connections(server: web.Server, patience: float) -> Callable[[], Connection]:
    """Return what makes the protocol of each new connection of a server.

    Args:
        server: as its runner has set it up.
        patience: seconds of silence that are borne in the midst of a request.
    """
    make = server.request_factory

    def request(
        message: RawRequestMessage,
        body: StreamReader,
        connection: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        assert isinstance(connection, Connection)
        connection.begun(body)
        # Most bodies have come with their heads.
        patient: Any = body if body.is_eof() else PatientBody(body, patience)
        return make(message, patient, connection, writer, task)

    server.request_factory = request
    return lambda: Connection(server, patience)


def _named(error: HttpProcessingError) -> str:
    """Say in a line what is wrong; the text goes on with the bytes that were sent."""
    return (error.message or type(error).__name__).split("\n", 1)[0].rstrip(": ")[:200]


def _said(error: HttpProcessingError) -> str:
    if isinstance(error, LineTooLong):
        what = "The address or one of the headers is too long."
    else:
        what = f"This is no request that makes sense: {_named(error)}."
    return f"{what} Nothing was written; check the address, the headers and the body's length."
