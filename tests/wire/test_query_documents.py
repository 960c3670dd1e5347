"""Every document that the query API sends is one that the server's schema answers."""

from __future__ import annotations

import pytest
from graphql import parse, validate
from graphql.language import OperationDefinitionNode

from asyncwb.server.graphql import executable_schema
from asyncwb.wire.query_documents import DOCUMENTS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_fits_the_schema(name: str) -> None:
    document = parse(DOCUMENTS[name])
    assert validate(executable_schema(), document) == []
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    assert len(operations) == 1, "one document, one operation: nobody has to name it"
