"""A client's connection: how long it may keep a request waiting, and what no request is.

The one place for both, below all routes. A request that has begun must go on: where nothing of it
comes for `patience` seconds, or so little that it would never end, it is refused with 408 and the
connection is closed, so that nobody can hold a server by beginning and not going on. Only waiting
for the client counts, never the time that the server takes for what it has.

A head has a bound as a whole, since it is read before anybody can be asked for a key. And who has
never been let in is a stranger, of whom the server takes so many (`Strangers`): a further one
costs the oldest its connection, or a thousand silent ones would keep everybody else out.

What is no request at all (a length below zero, an address without end, a broken chunk) aiohttp
refuses with words of its own and a traceback in the log; here that has the one shape of all
errors, and a line in the log.
"""

# aiohttp (3.14) has no bound of its own on the wait for a head or a body, and no say in what it
# answers below all routes; so `Connection` overrides what it does not document. For that the extra
# `server` admits one minor release of it; a test names what is relied on.

from __future__ import annotations

import asyncio
import resource
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
_MAX_HEAD: Final = 64 * 2**10
"""bytes of a head as a whole; aiohttp bounds only its lines (8 KiB) and how many there are (128)"""
_STRANGERS: Final = 1000
"""connections of which no request was let in: with as large a head each they take some 100 MiB"""
_OPEN: Final = 65_536
"""files and connections that a server asks the system for"""


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
    alarm that ends the wait for the rest of the next one's head (a part of it that comes along with
    a request is not seen; that wait ends with the idle time); `_of_head`, bytes of a head whose end
    has not come.
    """

    def __init__(self, server: web.Server, patience: float, strangers: Strangers) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # how aiohttp's own runner leaves it out
            auto_decompress=False,
            keepalive_timeout=_IDLE,
            lingering_time=min(_LINGER, patience),
        )
        self._patience = patience
        self._strangers = strangers
        self._body: StreamReader = EMPTY_PAYLOAD
        self._answered = True
        self._head: asyncio.TimerHandle | None = None
        self._of_head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up a connection: of a stranger, as long as no request of it was let in."""
        super().connection_made(transport)
        self._strangers.add(self)

    def let_in(self) -> None:
        """Take note that a request of it was let in."""
        self._strangers.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the first ones of a request start its alarm."""
        # aiohttp gives no bytes at all where it goes on with what it had put aside.
        if data and self._head is None and self._answered and self._body.is_eof():
            self._head = asyncio.get_running_loop().call_later(self._patience, self._give_up)
        in_head = self._body.is_eof() and not self._messages
        super().data_received(data)
        self._of_head = self._of_head + len(data) if in_head and not self._messages else 0
        if self._of_head > _MAX_HEAD:
            self._of_head = 0
            self._refuse_head()

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
        self._strangers.discard(self)
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
        self._end(Slow("The head of the request did not come in time."), "Request Timeout")

    def _refuse_head(self) -> None:
        self._disarm()
        if not self._answered and self.transport is not None:
            self.transport.abort()  # the answer to the request before it is being written
            return
        what = f"The head of the request has more than {_MAX_HEAD} bytes. Nothing was written."
        self._end(ApiError(431, "head_too_large", what), "Request Header Fields Too Large")

    def _end(self, error: ApiError, reason: str) -> None:
        """Answer what is no whole request yet, and close."""
        if self.transport is None or self.transport.is_closing():
            return
        body = error_response(error.status, error.code, error.message).body
        assert isinstance(body, bytes)
        head = (
            f"HTTP/1.1 {error.status} {reason}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.force_close()

    def _disarm(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class Strangers:
    """The connections of which no request was let in yet, oldest first; at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._there: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        """Take one more, for which the oldest has to go where there is no room."""
        self._there[connection] = None
        if len(self._there) > self._most:
            oldest = next(iter(self._there))
            del self._there[oldest]
            if oldest.transport is not None:
                oldest.transport.abort()

    def discard(self, connection: Connection) -> None:
        """Count a connection no longer: it has ended, or is no stranger's."""
        self._there.pop(connection, None)


def allow_many() -> None:
    """Let this process have as many files and connections open as the system lets it.

    The 1,024 that are usual are few for a crowd of runs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN if hard == resource.RLIM_INFINITY else min(hard, _OPEN)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _most_strangers() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _STRANGERS if soft == resource.RLIM_INFINITY else min(soft // 2, _STRANGERS)


def connections(
    server: web.Server, patience: float, strangers: int | None = None
) -> Callable[[], Connection]:
    """Return what makes the protocol of each new connection of a server.

    Args:
        server: as its runner has set it up.
        patience: seconds of silence that are borne in the midst of a request.
        strangers: connections of who was never let in; None: 1,000, and half of the files that the
            process may have open.
    """
    make, known = server.request_factory, Strangers(strangers or _most_strangers())

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
    return lambda: Connection(server, patience, known)


def _named(error: HttpProcessingError) -> str:
    """Say in a line what is wrong; the text goes on with the bytes that were sent."""
    return (error.message or type(error).__name__).split("\n", 1)[0].rstrip(": ")[:200]


def _said(error: HttpProcessingError) -> str:
    if isinstance(error, LineTooLong):
        what = "The address or one of the headers is too long."
    else:
        what = f"This is no request that makes sense: {_named(error)}."
    return f"{what} Nothing was written; check the address, the headers and the body's length."
