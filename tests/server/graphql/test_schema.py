"""The schema's shape, and the table of W&B's operations in the docs held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    parse,
    validate,
    validate_schema,
)
from graphql.validation.validate import validate_sdl

from asyncwb.server.graphql import executable_schema, sdl
from asyncwb.server.graphql.base import FEATURES
from asyncwb.server.graphql.later import EMPTY, NOT_YET
from asyncwb.wire import query_documents
from asyncwb.wire import uplink_documents as engine_documents

TABLE = Path(__file__).parents[3] / "docs" / "reference" / "wandb-operations.md"
ROW = re.compile(r"\| (query|mutation) \| `(\w+)` \| (.+) \| (both|0\.\d\d) \| ([a-z ]+) \|")


def _fields(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            yield from ((kind.name, name) for name in kind.fields)


def test_the_schema_is_whole() -> None:
    assert not validate_sdl(parse(sdl()))
    schema = executable_schema()
    assert not validate_schema(schema)
    fields = set(_fields(schema))
    listed = {
        (kind, name) for by_type in (NOT_YET, EMPTY) for kind in by_type for name in by_type[kind]
    }
    assert listed <= fields


def test_connections_and_ids_have_one_shape() -> None:
    schema = executable_schema()
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            continue
        if kind.name.endswith("Connection"):
            edge = get_named_type(kind.fields["edges"].type)
            assert isinstance(edge, GraphQLObjectType)
            assert "node" in edge.fields, edge.name
        if isinstance(kind, GraphQLObjectType) and "Node" in {i.name for i in kind.interfaces}:
            assert str(kind.fields["id"].type) == "ID!", kind.name


def test_every_mutation_takes_one_input() -> None:
    root = executable_schema().mutation_type
    assert root is not None
    for name, field in root.fields.items():
        assert list(field.args) == ["input"], name
        kind = get_named_type(field.args["input"].type)
        assert isinstance(kind, GraphQLInputObjectType)
        assert {"clientMutationId", "clientMutationID"} & kind.fields.keys(), name


def test_what_people_read_has_descriptions() -> None:
    schema = executable_schema()
    for root in (schema.query_type, schema.mutation_type):
        assert root is not None
        for name, field in root.fields.items():
            assert field.description or name in NOT_YET[root.name], name


def test_features_are_names_of_switches() -> None:
    assert list(FEATURES) == sorted(set(FEATURES))
    assert all(re.fullmatch(r"[A-Z_]+", name) for name in FEATURES)


def _documents() -> dict[str, str]:
    api = {f"api {name}": text for name, text in query_documents.DOCUMENTS.items()}
    return api | {f"engine {name}": text for name, text in engine_documents.DOCUMENTS.items()}


@pytest.mark.parametrize("name", sorted(_documents()))
def test_every_document_that_our_client_sends_is_valid(name: str) -> None:
    assert not validate(executable_schema(), parse(_documents()[name]))


def _rows() -> list[tuple[str, str, list[str], str]]:
    lines = [line for line in TABLE.read_text().splitlines() if "` |" in line]
    found = [ROW.fullmatch(line) for line in lines]
    assert lines
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return [(m[1], m[2], re.findall(r"`([\w.]+)`", m[3]), m[5]) for m in found if m]


def _state(kind: str, path: str) -> str:
    """Tell what the resolvers make of a way through the schema."""
    schema = executable_schema()
    here = schema.query_type if kind == "query" else schema.mutation_type
    state = "works"
    for name in path.split("."):
        assert here is not None
        while name not in here.fields:  # the table leaves out what all connections have
            step = "edges" if "edges" in here.fields else "node"
            here = _below(here, step)
        if name in NOT_YET.get(here.name, ()):
            return "not yet"
        state = "empty" if name in EMPTY.get(here.name, {}) else state
        if "." in path and not isinstance(get_named_type(here.fields[name].type), _LEAVES):
            here = _below(here, name)
    return state


_LEAVES = (GraphQLEnumType,)


def _below(kind: GraphQLObjectType, name: str) -> GraphQLObjectType:
    below = get_named_type(kind.fields[name].type)
    return below if isinstance(below, GraphQLObjectType) else kind


def test_the_table_says_what_the_resolvers_do() -> None:
    for kind, operation, paths, state in _rows():
        states = {_state(kind, path) for path in paths}
        found = "not yet" if "not yet" in states else "empty" if states == {"empty"} else "works"
        assert state == found, operation


def test_the_table_names_each_operation_once_and_all_that_is_missing() -> None:
    rows = _rows()
    names = [(kind, operation) for kind, operation, _, _ in rows]
    assert names == sorted(set(names), key=lambda row: (row[0], row[1].lower(), row[1]))
    missing = {path for _, _, paths, state in rows if state == "not yet" for path in paths}
    mentioned = {path.rpartition(".")[2] for path in missing}
    ours = {"pushToRunQueue", "createLaunchAgent"}  # of launch, in core's own words
    ours |= {"createAccessToken", "revokeAccessToken", "updateAccessTokenProjects"}  # of reports
    assert set(NOT_YET["Mutation"]) - mentioned == ours
