"""Every document that the engine sends is one that our own schema takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from asyncwb.wire.uplink_documents import DOCUMENTS

SDL = Path(__file__).parents[2] / "asyncwb" / "server" / "graphql"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_takes_it(name: str) -> None:
    schema = build_schema("\n".join(path.read_text() for path in sorted(SDL.glob("*.graphql"))))
    document = parse(DOCUMENTS[name])
    assert validate(schema, document) == []
    assert f" {name}(" in DOCUMENTS[name]
