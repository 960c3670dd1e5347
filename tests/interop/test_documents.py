"""What the real client's releases send is within the cost that a request may have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    parse,
    validate,
)
from graphql.language import Node

from asyncwb.server.graphql import executable_schema
from asyncwb.server.graphql.execution.cost import MAX_COST, cost
from tests.fix_wandb import RELEASES, ROOT

LARGEST = dict.fromkeys(("perPage", "first", "limit"), 200) | {"samples": 10_000}
"""the client's own sizes of pages are 50, 100 and 200"""


def _parsed(package: Path) -> Iterator[DocumentNode]:
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "{" in node.value:
                try:
                    yield parse(node.value)
                except GraphQLError:
                    continue


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, FragmentSpreadNode):
        yield node.name.value
    for key in node.keys:
        value = getattr(node, key)
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, Node):
                yield from _names(one)


def _documents(package: Path) -> Iterator[DocumentNode]:
    """Give the operations in a package's sources, with the fragments that they use."""
    parsed = list(_parsed(package))
    fragments = {
        one.name.value: one
        for document in parsed
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    for document in parsed:
        if any(isinstance(one, OperationDefinitionNode) for one in document.definitions):
            parts = list(document.definitions)
            for part in parts:  # grows on the way
                have = {one.name.value for one in parts if isinstance(one, FragmentDefinitionNode)}
                used = dict.fromkeys(_names(part))
                parts.extend(fragments[name] for name in used if name in fragments.keys() - have)
            yield DocumentNode(definitions=tuple(parts))


@pytest.mark.parametrize("release", RELEASES)
def test_its_documents_may_be_sent(release: str) -> None:
    schema, seen = executable_schema(), 0
    (package,) = (ROOT / f".venv-{release}").glob("lib/python3*/site-packages/wandb")
    for document in _documents(package):
        if not validate(schema, document):
            seen += 1
            assert cost(schema, document, LARGEST, None) <= MAX_COST
    assert seen > 100
