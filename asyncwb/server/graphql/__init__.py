"""GraphQL as W&B's clients speak it, in files by subject: `<subject>.graphql` and `<subject>.py`.

    base          what every subject shares, and what the server says of itself
    users         users, keys, entities, teams
    projects      projects
    runs          runs: begun, found, edited, rewound, stopped, deleted
    history       a run's rows, system metrics and console
    files         files of runs
    sweeps        sweeps
    reports       reports and saved workspaces
    alerts        alerts that a run raised
    inputs        what mutations are given, typed as the SDL declares it
    nodes         what several subjects point to, fetched for a whole list at once
    later         what this server does not have yet
    execution/    from the text of a request to its answer, within bounds

The schema is ours: the union of what the clients send, so that each of their documents validates.
A subject extends `Query` and `Mutation` in its SDL and lists its resolvers in `BINDABLES`. In
Python every name is in snake case: `entityName` arrives as the argument `entity_name`, input
objects have such keys, and a field without a resolver is read from such a key or attribute.

A resolver is thin: it asks `access` whether the user may, and one store for the rows. It raises
`ApiError` for what it refuses; a query for something that is not there answers null
(`context.if_there`). What a node of a list needs besides its row goes through `Context.batch`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web
from anyio import to_thread
from ariadne import convert_schema_names
from graphql import GraphQLObjectType, GraphQLSchema, build_ast_schema, parse

from asyncwb.server.graphql import (
    alerts,
    base,
    files,
    history,
    later,
    projects,
    reports,
    runs,
    sweeps,
    users,
)
from asyncwb.server.graphql.execution.context import Context
from asyncwb.server.graphql.execution.encode import CHUNK, encode
from asyncwb.server.graphql.execution.execute import Executor, Request
from asyncwb.server.graphql.execution.pace import in_time
from asyncwb.server.http import body_limits
from asyncwb.server.http.address import base_url
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import STATE, USER
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many

__all__ = ["Context", "executable_schema", "routes"]

MAX_BODY: Final = 16 * 2**20
"""bytes of one request: a run's whole config and summary fit"""

_THREAD_ABOVE: Final = 256 * 2**10
"""bytes of a body above which reading it is worth the hop to a thread"""
_FOLDER: Final = Path(__file__).parent
_SUBJECTS: Final = (*(alerts, base, files, history, later, projects, reports, runs, sweeps, users),)
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """Return a GraphQL name in Python's spelling: `hexMD5` is `hex_md5`, `runID` is `run_id`."""
    return _WORD.sub("_", name).lower()


@cache
def executable_schema() -> GraphQLSchema:
    """Return the schema with its resolvers; built once a process.

    The SDL is ours and tests hold it to the rules: checked here, it took as long as all the rest.
    """
    schema = build_ast_schema(parse(sdl()), assume_valid_sdl=True)
    for subject in _SUBJECTS:
        for bindable in subject.BINDABLES:
            bindable.bind_to_schema(schema)
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for field in kind.fields.values():
                if field.resolve is not None:
                    field.resolve = in_time(field.resolve)
    convert_schema_names(schema, lambda name, _schema, _path: snake(name))
    return schema


def sdl() -> str:
    """Return the text of the schema."""
    return "\n".join(path.read_text("utf-8") for path in sorted(_FOLDER.glob("*.graphql")))


@cache
def _executor() -> Executor:
    return Executor(executable_schema())


def routes() -> list[web.RouteDef]:
    """Return the one route; builds the schema, for which the first request would stall others."""
    _executor()
    return [web.post("/graphql", graphql)]


async def graphql(request: web.Request) -> web.StreamResponse:
    """Answer a GraphQL request."""
    body = await body_limits.read(request, MAX_BODY)
    asked = await to_thread.run_sync(_read, body) if len(body) > _THREAD_ABOVE else _read(body)
    context = Context(request.app[STATE], request[USER], request.app, base_url(request))
    answer = await _executor().answer(asked, context)
    chunks = encode(answer)
    first = await anext(chunks)
    if len(first) < CHUNK:
        return web.Response(body=first, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


def _read(body: bytes) -> Request:
    if has_too_many(body):
        raise _bad_body(f"The body has more than {MAX_VALUES:,} values and names.")
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_body(f"The body is not JSON: {error}.") from None
    if not isinstance(said, dict) or not isinstance(said.get("query"), str):
        raise _bad_body("The body is not a JSON object with the text of a `query`.")
    # The only way to write one in JSON: most bodies need not be looked through.
    has_nul = b"\\u0000" in body and _has_nul(said.get("variables"))
    large = len(body) > _THREAD_ABOVE
    return Request(said["query"], said.get("variables"), said.get("operationName"), has_nul, large)


def _bad_body(message: str) -> ApiError:
    return ApiError(400, "bad_request", f"{message} Nothing was done.")


def _has_nul(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
