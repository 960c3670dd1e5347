"""Answers are written in small pieces, whatever is large in them."""

from __future__ import annotations

import json

import pytest

from asyncwb.server.graphql.execution.encode import CHUNK, encode
from asyncwb.typing import JsonObject

TEXT = "x\n" * 2**19
"""1 MiB, the summary of a run say, which has more as JSON"""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "asked",
    [
        {"run": {f"a{number}": TEXT for number in range(20)}},
        {"run": {"history": [TEXT] * 20}},
        {"runs": [{"a": TEXT, "b": number, "c": [TEXT, "short"]} for number in range(10)]},
    ],
    ids=["aliases of one text", "a list of texts", "texts of several objects"],
)
async def test_long_texts_are_written_one_by_one(asked: JsonObject) -> None:
    answer: JsonObject = {"data": asked}
    chunks = [chunk async for chunk in encode(answer)]
    assert max(map(len, chunks)) < CHUNK + 2 * len(TEXT)
    assert json.loads(b"".join(chunks)) == answer
