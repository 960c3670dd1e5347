"""What both sides of an interop test read with: our own Api, on the server that wandb logs to."""

from __future__ import annotations

import pytest

import asyncwb
from tests.fix_server import ServerHandle


@pytest.fixture
def api(server: ServerHandle) -> asyncwb.Api:
    """Give our Api on the server under test."""
    return asyncwb.Api({"base_url": server.url}, api_key=server.api_key)
