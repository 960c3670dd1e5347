"""The one place that speaks HTTP as a client; foreign exceptions end here.

A request either gives a `Reply`, whatever its status, or raises `NoAnswer`.

Where the server is that of a data folder (`Http.prove`), each new connection has it prove that
before anything is sent: a port that was the server's may be anybody's once that has died.
"""

from __future__ import annotations

import asyncio
import errno
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from os import SEEK_END
from secrets import token_hex
from typing import IO, Any, Final
from urllib.parse import urlsplit

import aiohttp
import anyio
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from asyncwb.errors import CommError
from asyncwb.errors import NoAnswer as NoAnswer
from asyncwb.version import __version__
from asyncwb.wire import proof
from asyncwb.wire.rows.values import loads

_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError)
_PIECE: Final = 256 * 2**10
_WARNED: Final = 2**20
"""bytes: aiohttp warns of larger bodies that are plain bytes, and a warning may be an error"""
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_PROOF_TIMEOUT: Final = 10.0
_STRANGER: Final = "what listens there is not the server of this data folder"

_secrets: Final[dict[tuple[str | None, int | None], str]] = {}
"""by host and port: the secret that a server has proved to hold, and has to prove again"""


class Unproved(aiohttp.ClientConnectionError):
    """Somebody else listens there. As when nobody does, nothing was sent."""

    errno = errno.ECONNREFUSED


class _Connector(aiohttp.TCPConnector):
    """Makes connections to servers that prove who they are, where that is expected of them."""

    async def _create_connection(
        self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        made = await super()._create_connection(req, traces, timeout)
        secret = _secrets.get((req.url.host, req.url.port))
        if secret is not None:
            try:
                with anyio.fail_after(_PROOF_TIMEOUT):
                    await _have_proved(made, req.url.host, req.url.port, secret)
            except BaseException:
                made.close()
                raise
        return made


async def _have_proved(made: ResponseHandler, host: str, port: int, secret: str) -> None:
    challenge = token_hex(32)
    assert made.transport is not None
    made.set_response_params()
    asked = f"GET {proof.PATH} HTTP/1.1\r\nHost: {host}:{port}\r\n{proof.CHALLENGE}: {challenge}"
    made.transport.write(f"{asked}\r\n\r\n".encode())
    try:
        answer, body = await made.read()
    except (aiohttp.ClientError, HttpProcessingError) as error:
        raise Unproved(_STRANGER) from error
    if not proof.proves(secret, port, challenge, answer.headers.get(proof.PROOF)):
        raise Unproved(_STRANGER)
    await body.read()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its headers and its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Decode the body; raises CommError where it is not JSON."""
        try:
            return loads(self.body)
        except ValueError as error:
            raise CommError(
                f"the server answered HTTP {self.status} with something that is not JSON",
                self.status,
            ) from error

    @property
    def problem(self) -> str:
        """What an error answer says of itself."""
        code, message = self.error
        return message or code or f"HTTP {self.status}"

    @property
    def error(self) -> tuple[str, str]:
        """The (code, message) of an error answer; empty where it has another shape."""
        try:
            error = loads(self.body)["error"]
            return str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            return "", ""


class Http:
    """A pool of connections; belongs to the loop on which it is first used.

    Args:
        timeout: seconds that one request may take, connecting included.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pools: dict[bool, aiohttp.ClientSession] = {}

    def _pool(self, url: str) -> aiohttp.ClientSession:
        # A proxy from the environment is for the world outside, not for this machine, on whichever
        # of its addresses a server of it has proved itself.
        parts = urlsplit(url)
        proved = (parts.hostname, parts.port or 80) in _secrets
        outside = parts.hostname not in _LOOPBACK and not proved
        if outside not in self._pools:
            self._pools[outside] = aiohttp.ClientSession(
                connector=None if outside else _Connector(),
                trust_env=outside,
                auto_decompress=True,
                headers={"User-Agent": f"asyncwb/{__version__}"},
                max_line_size=64 * 1024,
            )
        return self._pools[outside]

    async def prove(self, url: str, secret: str) -> bool:
        """Ask whether a server of this machine is ready and holds a secret; tells it nothing.

        If it does, each connection to it asks again from now on, whichever pool it belongs to.
        Raises NoAnswer where nobody answers.
        """
        challenge, parts = token_hex(32), urlsplit(url)
        closing = aiohttp.TCPConnector(force_close=True)  # not to be used for what is no question
        asked = {proof.CHALLENGE: challenge}
        timeout = aiohttp.ClientTimeout(total=_PROOF_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(connector=closing, timeout=timeout) as session,
                session.get(url + proof.PATH, headers=asked, allow_redirects=False) as answer,
            ):
                shown = answer.headers.get(proof.PROOF) if answer.status == 200 else None
        except _FAILURES as error:
            raise NoAnswer(f"no answer from {_origin(url)}: {error}") from error
        proved = proof.proves(secret, parts.port or 80, challenge, shown)
        if proved:
            _secrets[parts.hostname, parts.port or 80] = secret
        return proved

    async def request(
        self,
        method: str,
        url: str,
        *,
        key: str | None = None,
        data: bytes | None = None,
        params: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and read the whole answer; raises NoAnswer where there is none."""
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        call = self._open(method, url, key, data, params, content_type, timeout, headers)
        async with call as response:
            body = await response.read()
            return Reply(response.status, response.headers, body)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        key: str | None = None,
        params: list[tuple[str, str]] | None = None,
        follow: bool = False,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET a body piece by piece; raises CommError for any status but 200.

        The timeout is for each wait, not for the whole: a long history takes its time. With
        `follow` it goes where the server sends it on to, which no key does.
        """
        call = self._open("GET", url, key, None, params, "", self._each_wait(), follow=follow)
        async with call as response:
            if response.status != 200:
                reply = Reply(response.status, response.headers, await response.read())
                raise CommError(reply.problem, reply.status, reply.error[0])
            yield response.content.iter_chunked(2**20)

    async def upload(
        self,
        url: str,
        body: IO[bytes],
        headers: Mapping[str, str],
        moved: Callable[[int], None] | None = None,
    ) -> Reply:
        """PUT what a file holds, piece by piece, with these headers and no key.

        As much is sent as there is at the start, whatever is added meanwhile. The timeout is for
        each wait: until a piece is taken (`moved` is called with its size), and for the answer.

        Raises:
            NoAnswer: the server could not be reached, or did not take it all.
            OSError: the file cannot be read, or became shorter.
        """

        def taken(size: int) -> None:
            patience.deadline = anyio.current_time() + 2 * self._timeout
            if moved is not None:
                moved(size)

        pieces = await asyncio.to_thread(_Pieces, body, taken)
        patience = anyio.move_on_after(2 * self._timeout)
        try:
            # Once all is sent, aiohttp's own timeout waits for the answer.
            with patience:
                return await self._put(url, pieces, headers)
        except NoAnswer:
            if pieces.error is not None:
                raise pieces.error from None
            raise
        raise NoAnswer(f"no answer from {_origin(url)}: it takes no more bytes")

    async def _put(self, url: str, pieces: _Pieces, headers: Mapping[str, str]) -> Reply:
        more = {**headers, "Content-Length": str(pieces.left)}
        wait = self._each_wait()
        async with self._open("PUT", url, None, pieces.read(), None, "", wait, more) as response:
            return Reply(response.status, response.headers, await response.read())

    def _each_wait(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout, sock_read=self._timeout
        )

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        url: str,
        key: str | None,
        data: bytes | AsyncIterator[bytes] | None,
        params: list[tuple[str, str]] | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        more: Mapping[str, str] | None = None,
        *,
        follow: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": _basic(key)} if key else {}
        if data is not None and content_type:
            headers["Content-Type"] = content_type
        headers |= more or {}
        body: object = data
        if isinstance(data, bytes) and len(data) > _WARNED:
            body = BytesIO(data)
        try:
            async with self._pool(url).request(
                method,
                url,
                data=body,
                params=params,
                headers=headers,
                timeout=timeout,
                allow_redirects=follow,
                # A signature may cover the headers: none is added to those that were given.
                skip_auto_headers=() if content_type else ("Content-Type",),
            ) as response:
                yield response
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            raise NoAnswer(f"no answer from {_origin(url)}: {reason}") from error

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()


class _Pieces:
    """What is left of a file, to be read piece by piece on threads.

    Mutable state: `left` (bytes), `error` (why it could not be read to its end).
    """

    def __init__(self, body: IO[bytes], moved: Callable[[int], None]) -> None:
        at = body.tell()
        self.left = body.seek(0, SEEK_END) - at
        self.error: OSError | None = None
        body.seek(at)
        self._body = body
        self._moved = moved

    async def read(self) -> AsyncIterator[bytes]:
        try:
            while self.left:
                piece = await asyncio.to_thread(self._body.read, min(_PIECE, self.left))
                if not piece:
                    raise OSError("it became shorter while it was sent")
                yield piece
                self.left -= len(piece)
                self._moved(len(piece))
        except OSError as error:
            self.error = error
            raise


def _basic(key: str) -> str:
    # What W&B's servers take, and ours.
    return "Basic " + b64encode(f"api:{key}".encode()).decode()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
