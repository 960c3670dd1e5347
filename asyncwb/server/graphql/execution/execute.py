"""From the text of a GraphQL request to its answer, within bounds.

    body -> parse (tokens bounded) -> measure (depth, fields) -> validate -> count the cost
    -> run (time bounded, in small steps)

Whatever is JSON with a `query` is answered with 200 and, where something failed, `errors`:
W&B clients show those to the user, and retry a 5xx for minutes. What a resolver did not foresee
is logged and answered as "internal error".
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Final

from anyio import to_thread
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    execute,
    parse,
    validate,
)

from asyncwb.printable import in_seconds
from asyncwb.server.graphql.execution.context import Context
from asyncwb.server.graphql.execution.cost import refuse_if_too_costly
from asyncwb.server.http.errors import refusal_of
from asyncwb.server.store.database import DatabaseError
from asyncwb.typing import JsonObject

log = logging.getLogger("asyncwb.server")

MAX_LENGTH: Final = 2**18
MAX_TOKENS: Final = 8000
MAX_DEPTH: Final = 25
MAX_FIELDS: Final = 400
"""A W&B client's largest document has 2,200 characters, 72 fields and 11 levels. Validating 400
fields of one name takes some 0.5 s (in a thread), and the time grows with the square."""

MAX_SECONDS: Final = 30.0
_OUTCOME: Final = (
    "If this was to change something, whether it did is not known; look before you send it again."
)
_MAX_ERRORS: Final = 20
_KEPT: Final = 256
_KEPT_LENGTH: Final = 20_000
_QUOTED: Final = re.compile(r"'([\w$@.!\[\]]*)'")
_NUL: Final = re.compile(r"\\u(0000|\{0+\})")


@dataclass(frozen=True, slots=True)
class Request:
    """One GraphQL request, as it came: nothing of it is checked yet."""

    query: str
    variables: object = None
    operation: object = None
    has_nul: bool = False
    """whether there is a NUL character in the variables"""
    large: bool = False
    """whether to read the variables, JSON texts that they may be, is worth the hop to a thread"""


class Executor:
    """Answers requests against one schema; documents that came before are not checked again.

    Args:
        schema: what may be asked.
        max_seconds: how long the resolvers of one request may take.
    """

    def __init__(self, schema: GraphQLSchema, max_seconds: float = MAX_SECONDS) -> None:
        self._schema = schema
        self._max_seconds = max_seconds
        self._checked: OrderedDict[str, DocumentNode] = OrderedDict()

    async def answer(self, request: Request, context: Context) -> JsonObject:
        """Return `{"data": ..}`, `{"errors": ..}` or both."""
        try:
            document = await self._document(request.query)
            variables, operation = _arguments(request)
            result = await self._run(document, variables, operation, context, request.large)
        except _RefusedError as refused:
            return {"data": None, "errors": [_formatted(error) for error in refused.errors]}
        if not result.errors:
            return {"data": result.data}
        return {"data": result.data, "errors": [_formatted(error) for error in result.errors]}

    async def _document(self, text: str) -> DocumentNode:
        known = self._checked.get(text)
        if known is not None:
            self._checked.move_to_end(text)
            return known
        document = await to_thread.run_sync(_check, self._schema, text)
        if len(text) <= _KEPT_LENGTH:
            self._checked[text] = document
            if len(self._checked) > _KEPT:
                self._checked.popitem(last=False)
        return document

    async def _run(
        self,
        document: DocumentNode,
        variables: JsonObject | None,
        operation: str | None,
        context: Context,
        large: bool,
    ) -> ExecutionResult:
        try:
            count = partial(refuse_if_too_costly, self._schema, document, variables, operation)
            if large:
                await to_thread.run_sync(count)
            else:
                count()
        except GraphQLError as error:
            raise _RefusedError([error]) from None
        run = partial(
            execute,
            self._schema,
            document,
            context_value=context,
            variable_values=variables,
            operation_name=operation,
        )
        # The schema is long, and nothing in it waits; variables are read before anything waits.
        by_itself = large or _asks_for_the_schema(document)
        try:
            # Not anyio's: GraphQL gathers resolvers in tasks that know of no scope, and a scope
            # would cancel them in every turn of the loop, also while they give a connection back.
            async with asyncio.timeout(self._max_seconds) as timeout:
                context.limit.begin(timeout)
                result = await to_thread.run_sync(run) if by_itself else run()
                return await result if isawaitable(result) else result
        except TimeoutError:
            message = f"The request took longer than {in_seconds(self._max_seconds)}. Ask for less."
            raise _RefusedError.saying("timeout", message) from None
        except RecursionError:
            raise _RefusedError.saying("too_deep", "The request's values are too deep.") from None


class _RefusedError(Exception):
    """A request that no resolver saw, or that had to be given up."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__()
        self.errors = errors

    @classmethod
    def saying(cls, code: str, message: str) -> _RefusedError:
        return cls([GraphQLError(message, extensions={"code": code})])


def _check(schema: GraphQLSchema, text: str) -> DocumentNode:
    if len(text) > MAX_LENGTH:
        message = f"The query has {len(text)} characters; {MAX_LENGTH} are allowed."
        raise _RefusedError.saying("too_large", message)
    if _NUL.search(text):
        raise _RefusedError.saying("bad_text", "Text with NUL characters is not taken.")
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
        _measure(document)
        errors = validate(schema, document, max_errors=_MAX_ERRORS)
    except GraphQLError as error:
        raise _RefusedError([error]) from None
    except RecursionError:
        raise _RefusedError.saying("too_deep", "The request is nested too deep.") from None
    if errors:
        raise _RefusedError([_requoted(error) for error in errors])
    return document


def _requoted(error: GraphQLError) -> GraphQLError:
    """Put names in double quotes, as graphql-js does: W&B clients look for those very texts."""
    return GraphQLError(_QUOTED.sub(r'"\1"', error.message), error.nodes)


def _measure(document: DocumentNode) -> None:
    """Refuse what would cost more to validate or run than any honest request does.

    Fragments count where they are used. A cycle of them is left to the validation, which names it.
    """
    fragments = {
        node.name.value: node.selection_set
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    known: dict[str, tuple[int, int]] = {}
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode):
            depth, fields = _size(node.selection_set, fragments, known)
            if depth > MAX_DEPTH:
                raise _RefusedError.saying(
                    "too_deep", f"The request is {depth} levels deep; {MAX_DEPTH} are allowed."
                )
            if fields > MAX_FIELDS:
                raise _RefusedError.saying(
                    "too_large", f"The request asks for {fields} fields; {MAX_FIELDS} are allowed."
                )


def _size(
    selections: SelectionSetNode,
    fragments: dict[str, SelectionSetNode],
    known: dict[str, tuple[int, int]],
) -> tuple[int, int]:
    deepest, total = 0, 0
    for node in selections.selections:
        if isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name not in known:
                known[name] = (0, 0)  # what a cycle finds
                if name in fragments:
                    known[name] = _size(fragments[name], fragments, known)
            depth, fields = known[name]
        else:
            inner = getattr(node, "selection_set", None)
            depth, fields = (0, 0) if inner is None else _size(inner, fragments, known)
            if isinstance(node, FieldNode):
                depth, fields = depth + 1, fields + 1
        deepest, total = max(deepest, depth), total + fields
    return deepest, total


def _arguments(request: Request) -> tuple[JsonObject | None, str | None]:
    variables, operation = request.variables, request.operation
    if not (variables is None or isinstance(variables, dict)):
        raise _RefusedError.saying("bad_variables", "`variables` must be a JSON object.")
    if not (operation is None or isinstance(operation, str)):
        raise _RefusedError.saying("bad_operation", "`operationName` must be a string.")
    if request.has_nul:
        raise _RefusedError.saying("bad_text", "Text with NUL characters is not taken.")
    return variables, operation or None


def _asks_for_the_schema(document: DocumentNode) -> bool:
    """Tell whether a valid document asks for the schema.

    Raises:
        _RefusedError: for something else, too.
    """
    fragments = {
        one.name.value: one.selection_set
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    for one in document.definitions:
        if isinstance(one, OperationDefinitionNode):
            names = set(_fields(one.selection_set, fragments))
            if names & {"__schema", "__type"}:
                if not all(name.startswith("__") for name in names):
                    message = "Ask for the schema by itself, without any other field."
                    raise _RefusedError.saying("mixed", message)
                return True
    return False


def _fields(selections: SelectionSetNode, fragments: dict[str, SelectionSetNode]) -> Iterator[str]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield node.name.value
        elif isinstance(node, FragmentSpreadNode):
            yield from _fields(fragments[node.name.value], fragments)
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments)


def _formatted(error: GraphQLError) -> JsonObject:
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    said: JsonObject = dict(error.formatted)
    if cause is None:
        return said
    code, said["message"] = _explained(cause)
    said["extensions"] = {**(error.extensions or {}), "code": code}
    return said


def _explained(cause: Exception) -> tuple[str, str]:
    refusal = refusal_of(cause)
    if refusal is not None:
        return refusal.code, refusal.message
    if isinstance(cause, DatabaseError | OSError):
        log.error("the storage failed: %s", getattr(cause, "orig", cause))
        return "storage_unavailable", f"The server's storage cannot take this now. {_OUTCOME}"
    log.error("a resolver failed", exc_info=cause)
    return "internal", f"internal error: the server's log says why. {_OUTCOME}"
