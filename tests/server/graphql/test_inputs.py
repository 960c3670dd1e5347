"""The types of what mutations are given are those of the SDL: names, what must be there, kinds."""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
)

from asyncwb.server.graphql import executable_schema, inputs, snake
from asyncwb.server.graphql.later import NOT_YET

_SCALARS = {"String": str, "ID": str, "Int": int, "Float": float, "Boolean": bool}


def _mutations() -> dict[str, GraphQLField]:
    root = executable_schema().mutation_type
    assert root is not None
    return {name: field for name, field in root.fields.items() if name not in NOT_YET["Mutation"]}


def _input_of(mutation: GraphQLField) -> GraphQLInputObjectType:
    kind = get_named_type(mutation.args["input"].type)
    assert isinstance(kind, GraphQLInputObjectType)
    return kind


def _fits(hint: object, kind: GraphQLInputType) -> bool:
    """Tell whether a hint says of a value what the SDL does; `object` says nothing, so it may."""
    if hint is object:
        return True
    if isinstance(kind, GraphQLNonNull):
        return _says(hint, kind.of_type)
    if not isinstance(hint, UnionType):
        return False
    inner, *others = get_args(hint)
    return others == [NoneType] and _says(inner, kind)


def _says(hint: object, kind: GraphQLInputType) -> bool:
    if isinstance(kind, GraphQLList):
        return get_origin(hint) is list and _fits(get_args(hint)[0], kind.of_type)
    named = get_named_type(kind)
    wanted = str if isinstance(named, GraphQLEnumType) else _SCALARS.get(named.name)
    return hint is wanted


@pytest.mark.parametrize("mutation", sorted(_mutations()))
def test_a_mutation_is_given_what_the_sdl_says(mutation: str) -> None:
    kind = _input_of(_mutations()[mutation])
    typed = getattr(inputs, kind.name)
    hints = get_type_hints(typed)
    fields = {snake(name): field for name, field in kind.fields.items()}
    assert hints.keys() == fields.keys()
    must = {name for name, field in fields.items() if isinstance(field.type, GraphQLNonNull)}
    assert typed.__required_keys__ == must
    wrong = [name for name, hint in hints.items() if not _fits(hint, fields[name].type)]
    assert not wrong


@pytest.mark.parametrize("mutation", sorted(_mutations()))
def test_the_resolver_of_a_mutation_says_so(mutation: str) -> None:
    field = _mutations()[mutation]
    assert field.resolve is not None
    said = inspect.signature(inspect.unwrap(field.resolve)).parameters["input"].annotation
    assert said == _input_of(field).name


def test_every_type_is_of_a_mutation() -> None:
    used = {_input_of(field).name for field in _mutations().values()}
    typed = {name for name in vars(inputs) if name.endswith("Input")}
    assert typed - used == {"MutationInput", "RunInput"}
