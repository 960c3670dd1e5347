"""Connections that say what went over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwb.engine.uplink.http import Http, Reply


class Line(Http):
    """Connections that note what is asked; `answer` is given to GETs of a run in its place."""

    def __init__(self) -> None:
        super().__init__(10.0)
        self.asked: list[str] = []
        self.answer: Reply | None = None

    async def request(self, method: str, url: str, **more: Any) -> Reply:
        self.asked.append(url)
        if self.answer is not None and "/api/v1/runs/" in url:
            return self.answer
        return await super().request(method, url, **more)

    @property
    def routes(self) -> list[str]:
        """The last parts of what was asked."""
        return [url.rpartition("/")[2] for url in self.asked]


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """Connections to any server."""
    made = Line()
    yield made
    await made.close()
