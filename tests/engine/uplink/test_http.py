"""The HTTP client by itself: a deadline holds, whatever the other end does."""

from __future__ import annotations

import io
import socket

import pytest

from asyncwb.engine.uplink.http import Http, NoAnswer
from tests.fix_server import ServerHandle


@pytest.mark.anyio
async def test_a_server_that_takes_no_more_bytes() -> None:
    http = Http(0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(NoAnswer):
            await http.upload(url, io.BytesIO(bytes(20_000_000)), {})
    await http.close()


@pytest.mark.anyio
async def test_a_large_request_warns_nobody(server: ServerHandle) -> None:
    """Here, as in a program of a user's, a warning is an error."""
    http = Http(30.0)
    body = bytes(2**20 + 1)
    reply = await http.request("POST", f"{server.url}/api/v1/ingest", key="no", data=body)
    assert reply.status == 401
    await http.close()
