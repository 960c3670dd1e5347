"""One small request to a server's native API, for commands that need a single answer.

Plain blocking HTTP from the standard library: a command waits for its answer anyway, and the
engine with its connections is not worth loading for it. Failures come out as asyncwb's own errors.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from http.client import HTTPException
from ipaddress import ip_address
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from asyncwb.errors import AuthenticationError, CommError, UsageError
from asyncwb.settings import Settings, key_advice, read_credentials
from asyncwb.typing import JsonObject

_LONGEST_ERROR: Final = 65_536


class ChosenServer:
    """The server that runs go to, and the key for it.

    Args:
        start: start the one on this machine where it does not run; it is an error otherwise.

    Raises:
        UsageError: there is no key for it.
        CommError: the one on this machine does not run, or cannot be started.
    """

    def __init__(self, *, start: bool = False) -> None:
        settings = Settings.resolve()
        self._opener: OpenerDirector | None = None
        if settings.base_url is not None:
            stored = read_credentials(settings.data_dir).get(settings.base_url, {})
            self.url, self._key = settings.base_url, settings.api_key or stored.get("key")
        else:
            if start:
                starts = importlib.import_module("asyncwb.client.sync.server_start")
                starts.start_server(settings)
            local = importlib.import_module("asyncwb.client.sync.local_server")
            self.url, self._key, self._opener = local.announced(settings.server_dir)
        if not self._key:
            raise UsageError(f"No API key for {self.url}. Run: asyncwb login --host {self.url}")

    def ask(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Send a request to the native API."""
        place = f"/api/v1/{path}"
        return ask(self.url, place, key=self._key, method=method, body=body, opener=self._opener)


def ask(
    base_url: str,
    path: str,
    *,
    key: str | None = None,
    method: str = "GET",
    timeout: float = 10.0,
    body: Mapping[str, object] | None = None,
    opener: OpenerDirector | None = None,
) -> JsonObject:
    """Send one request and return the JSON object of its answer.

    Blocks for at most about `timeout` seconds. `opener` makes the connection, where it is no usual
    one. Raises AuthenticationError when the server refuses
    the key, CommError when the server says that it will not (with its words), when there is no
    server, no answer in time, or one that is no JSON object.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(base_url + path, method=method, headers=headers)
    if method in ("POST", "PATCH"):
        request.data = json.dumps(body or {}).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with (opener or _opener(base_url)).open(request, timeout=timeout) as response:
            answer = json.loads(response.read())
    except HTTPError as error:
        with error:
            raise _refused(base_url, error, key) from None
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise CommError(
            f"{base_url} gave no usable answer: {why}. Nothing was changed; check the address and "
            "that a server runs there."
        ) from error
    if not isinstance(answer, dict):
        raise CommError(f"{base_url} is no asyncwb server: its answer is no object.")
    return answer


def _opener(base_url: str) -> OpenerDirector:
    """Keep a system-wide proxy out of the way to this very machine."""
    host = urlsplit(base_url).hostname or ""
    return build_opener(ProxyHandler({})) if _is_loopback(host) else build_opener()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(base_url: str, error: HTTPError, key: str | None) -> CommError:
    said = _said(error)
    if error.code != 401 and said is not None:
        return CommError(f"{base_url} refused: {said}", status=error.code)
    if error.code in (401, 403):
        return AuthenticationError(
            f"{base_url} does not accept this API key. Nothing was changed; "
            f"{key_advice(base_url, key)}.",
            status=error.code,
        )
    return CommError(
        f"{base_url} answered {error.code} {error.reason}. Nothing was changed; check that this is "
        "the address of an asyncwb server.",
        status=error.code,
    )


def _said(error: HTTPError) -> str | None:
    """Return the server's own words, where the answer has our shape."""
    try:
        said = json.loads(error.read(_LONGEST_ERROR))["error"]["message"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, str) else None
