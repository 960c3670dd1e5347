"""The server of this machine, for a command that asks it a single question without the engine.

As the engine's connections do (`engine.uplink.embedded`), each has the server prove that it holds
the data folder's secret before the key is sent. A server is neither started nor waited for.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.request import HTTPHandler, OpenerDirector, ProxyHandler, Request, build_opener

from asyncwb.errors import CommError
from asyncwb.wire import proof
from asyncwb.wire.rows.values import loads


class LocalServer(NamedTuple):
    """Its address, its admin's key, and what opens connections to it that may carry the key."""

    url: str
    key: str
    opener: OpenerDirector


def announced(folder: Path) -> LocalServer:
    """Read what the server of a data folder has left there; CommError where there is none."""
    try:
        url = str(loads((folder / "server.json").read_bytes())["url"])
        key = (folder / "api_key").read_text().strip()
        secret = (folder / proof.SECRET_FILE).read_text().strip()
    except (OSError, ValueError, KeyError, TypeError):
        raise CommError(
            "No server runs on this machine. Nothing was done; start it with: asyncwb server, "
            "or choose another one with: asyncwb login --host URL"
        ) from None
    return LocalServer(url, key, build_opener(ProxyHandler({}), _Handler(secret)))


class _Handler(HTTPHandler):
    """Opens `http://` by connections that have the server prove who it is."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Connection, secret=self._secret), req)


class _Connection(HTTPConnection):
    def __init__(self, *given: Any, secret: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self._secret = secret

    def connect(self) -> None:
        super().connect()
        challenge = token_hex(32)
        asked = f"GET {proof.PATH} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
        self.sock.sendall(f"{asked}{proof.CHALLENGE}: {challenge}\r\n\r\n".encode())
        with closing(HTTPResponse(self.sock)) as answer:
            try:
                answer.begin()
                shown = answer.getheader(proof.PROOF)
            except HTTPException:
                shown = None
            if not proof.proves(self._secret, self.port, challenge, shown):
                self.close()
                raise OSError("what listens there is not the server of this data folder")
            answer.read()
