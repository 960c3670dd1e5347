"""Nothing is accepted and ignored: each argument is read, or stands here with the reason."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from graphql import GraphQLField, GraphQLInputObjectType, GraphQLObjectType, get_named_type

from asyncwb.server.graphql import executable_schema, snake
from asyncwb.server.graphql.later import EMPTY, NOT_YET

_ROOM = "asyncwb.server.graphql"

UNREAD = {
    "Mutation.deleteRun.deleteArtifacts": "runs have no artifacts yet, so none is left or deleted",
    "Mutation.deleteView.deleteDrafts": "reports have no drafts, so none is left or deleted",
    "Mutation.upsertBucket.debug": "for those who run W&B's server; no answer depends on it there",
    "Mutation.upsertView.createdUsing": "W&B's statistics; no answer shows it",
    "Project.bucket.desc": "of 2018, when a read could make the run; nothing is made by a read",
    "Project.run.desc": "likewise",
    "Run.logLines.useImprovedPagination": "its cursors are the improved ones in any case",
    "Run.parquetHistory.liveKeys": "narrows `liveData`, of which the client reads the first step",
    "Query.organization.name": "there are no organizations, whatever the name",
}
"""argument: why the answer is right without it; the schema's own text says so to whoever asks"""

CONSTANT = {
    "Entity.codeSavingEnabled": True,
    "Entity.defaultAccess": "PRIVATE",
    "Entity.limits": "{}",
    "Entity.available": False,
    "Entity.isPaid": False,
    "Entity.privateOnly": False,
    "Project.isBenchmark": False,
    "Project.isPublished": False,
    "Sweep.controller": None,
    "Sweep.controllerRunName": None,
    "Sweep.earlyStopJobRunning": False,
    "Sweep.scheduler": None,
    "User.flags": "{}",
    "View.locked": False,
}
"""fields that always answer the same: what they say is so for every object of the kind"""


def _reachable() -> Iterator[tuple[str, GraphQLField]]:
    """Give the fields that a document can get to, but for those that raise."""
    schema = executable_schema()
    waiting = [schema.query_type, schema.mutation_type]
    seen: set[str] = set()
    while waiting:
        kind = waiting.pop()
        if not isinstance(kind, GraphQLObjectType) or kind.name in seen:
            continue
        seen.add(kind.name)
        for name, field in kind.fields.items():
            if name not in NOT_YET.get(kind.name, ()):
                yield f"{kind.name}.{name}", field
                if name not in EMPTY.get(kind.name, {}):
                    waiting.append(get_named_type(field.type))


def _unread() -> Iterator[str]:
    for path, field in _reachable():
        for argument, what in field.args.items():
            kind = get_named_type(what.type)
            if isinstance(kind, GraphQLInputObjectType):
                words = _words(_resolver(field), set())
                yield from (f"{path}.{name}" for name in kind.fields if snake(name) not in words)
            elif snake(argument) not in _loaded(_resolver(field)):
                yield f"{path}.{argument}"


def _loaded(resolver: Callable[..., Any] | None) -> set[str]:
    """Return the names of the arguments that a function uses."""
    code = getattr(resolver, "__code__", None)
    if code is None:
        return set()
    return {str(i.argval) for i in dis.get_instructions(code) if i.opname.startswith("LOAD_")}


def _resolver(field: GraphQLField) -> Callable[..., Any] | None:
    return None if field.resolve is None else inspect.unwrap(field.resolve)


def _words(function: Any, seen: set[CodeType]) -> set[str]:
    """Return the texts that stand in a function, and in what it uses of its room: keys it reads."""
    code = getattr(function, "__code__", None)
    if code is None or code in seen:
        return set()
    seen.add(code)
    words: set[str] = set()
    names: set[str] = set()
    waiting = [code]
    while waiting:
        part = waiting.pop()
        names.update(part.co_names)
        waiting += [inner for inner in part.co_consts if isinstance(inner, CodeType)]
        words |= _texts(part.co_consts)
    for name in names:
        used = function.__globals__.get(name)
        found = [used]
        if isinstance(used, ModuleType) and used.__name__.startswith(_ROOM):
            found = [getattr(used, inner, None) for inner in names]
        for item in found:
            if isinstance(item, FunctionType) and item.__module__.startswith(_ROOM):
                words |= _words(item, seen)
            elif isinstance(item, (tuple, Mapping)):
                words |= _texts(item)
    return words


def _texts(items: Any) -> set[str]:
    inner = [*items, *(items.values() if isinstance(items, Mapping) else ())]
    inner += [text for item in inner if isinstance(item, tuple) for text in item]
    return {item for item in inner if isinstance(item, str)}


def test_each_argument_is_read_or_stands_in_the_list() -> None:
    assert sorted(_unread()) == sorted(UNREAD)


def test_fields_that_always_answer_the_same_stand_in_the_list() -> None:
    found = {}
    for path, field in _reachable():
        code = getattr(_resolver(field), "__code__", None)
        if code is not None and not code.co_names and not code.co_freevars:
            loads = {i.opname for i in dis.get_instructions(code)}
            if not any(name.startswith("LOAD_FAST") for name in loads):
                found[path] = field.resolve(None, None)  # type: ignore[misc]
    assert found == CONSTANT
