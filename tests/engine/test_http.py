"""The HTTP client by itself: a deadline holds, whatever the other end does."""

from __future__ import annotations

import io
import socket

import pytest

from asyncwb.engine.http import Http, NoAnswer


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
