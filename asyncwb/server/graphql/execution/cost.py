"""What a request would cost, said before it runs: page size x fields, down the tree.

    runs(first: 1000) { edges { node { id config } } }      1 + 1000 x (2 + 1 + 10) and a little

A field costs 1, more where it reads or computes more (`FIELDS`); rows of history cost too, by their
number. What stands below a page counts once for each of its rows, through all lists above it, and
an alias is one more field. What an edge or a list has in truth is not known yet, so a page counts
as full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    value_from_ast_untyped,
)
from graphql.language import DocumentNode

from asyncwb.server.graphql.execution.paging import MAX_PAGE
from asyncwb.wire.rows.values import loads

MAX_COST: Final = 100_000
"""W&B's list of runs with all that it can ask for costs some 60,000 at its largest page."""
FIELDS: Final = {
    ("Run", "config"): 10,
    ("Run", "wandbConfig"): 10,
    ("Run", "historyKeys"): 10,
    ("Run", "summaryMetrics"): 3,
    ("Run", "systemMetrics"): 3,
    ("Run", "history"): 20,
    ("Run", "historyTail"): 20,
    ("Run", "eventsTail"): 20,
    ("Run", "sampledHistory"): 20,
    ("Run", "events"): 100,
    ("Run", "logLines"): 20,
    ("Project", "runCount"): 50,
    ("RunConnection", "totalCount"): 50,
    ("Entity", "storageBytes"): 50,
}
"""by type and field: what it costs where that is more than 1"""
_OBJECT: Final = 5
"""what an object or a page costs that has to be looked up"""
_ROWS_A_UNIT: Final = 5
_SAMPLES: Final = 500
_PAGE: Final = 50
_LINES: Final = 1000
_MAX_LINES: Final = 10_000
_LIST: Final = 5
"""how long a list without pages is taken to be: a user's keys and teams, an artifact's aliases"""

_UNPAGED: Final = ("apiKeys", "teams")
"""connections that take no `first`"""

_Variables = Mapping[str, object]


def refuse_if_too_costly(
    schema: GraphQLSchema, document: DocumentNode, variables: _Variables | None, name: str | None
) -> None:
    """Refuse a valid document whose operation would cost too much.

    Raises:
        GraphQLError: too_costly, with the cost and the bound.
    """
    found = cost(schema, document, variables, name)
    if found > MAX_COST:
        raise GraphQLError(
            f"The request costs {found:,} (page size x fields, down the tree); {MAX_COST:,} are "
            "allowed. Nothing was done; ask for smaller pages and go on with their cursors, or for "
            "fewer fields and rows at a time.",
            extensions={"code": "too_costly", "cost": found, "bound": MAX_COST},
        )


def cost(
    schema: GraphQLSchema, document: DocumentNode, variables: _Variables | None, name: str | None
) -> int:
    """Return what the operation of that name (or the only one) would cost."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    total = 0
    for operation in operations:
        root = schema.get_root_type(operation.operation)
        if root is not None and (name is None or (operation.name and operation.name.value == name)):
            counter = _Counter(schema, document, _with_defaults(operation, variables or {}))
            total = max(total, counter.below(operation.selection_set, root))
    return total


def _with_defaults(operation: OperationDefinitionNode, said: _Variables) -> dict[str, object]:
    defaults = {
        one.variable.name.value: value_from_ast_untyped(one.default_value)
        for one in operation.variable_definitions or ()
        if one.default_value is not None
    }
    return {**defaults, **said}


class _Counter:
    """Walks one operation of a valid document, which `execute` has found to be small."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: _Variables
    ) -> None:
        self._schema = schema
        self._variables = variables
        self._fragments = {
            one.name.value: one
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }

    def below(self, selections: SelectionSetNode, kind: GraphQLNamedType, page: int = 1) -> int:
        """Return what one object of a type costs with what is asked of it.

        Args:
            selections: what is asked.
            kind: the type.
            page: rows, where the type is a connection.
        """
        total = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                total += self._field(node, kind, page)
            elif isinstance(node, InlineFragmentNode | FragmentSpreadNode):
                inner: FragmentDefinitionNode | InlineFragmentNode = (
                    self._fragments[node.name.value]
                    if isinstance(node, FragmentSpreadNode)
                    else node
                )
                condition = inner.type_condition
                found = self._schema.type_map[condition.name.value] if condition else kind
                total += self.below(inner.selection_set, found, page)
        return total

    def _field(self, node: FieldNode, parent: GraphQLNamedType, page: int) -> int:
        name = node.name.value
        found = self._schema.get_field(parent, name)  # type: ignore[arg-type]
        if found is None:  # a union has __typename only
            return 1
        kind = get_named_type(found.type)
        arguments = {one.name.value: self._value(one.value) for one in node.arguments or ()}
        own = FIELDS.get((parent.name, name), 1) + _rows(parent.name, name, arguments)
        if is_leaf_type(kind) or node.selection_set is None:
            return own
        if kind.name.endswith("Connection"):
            size = _page_size(name, arguments)
            return own + _OBJECT + self.below(node.selection_set, kind, size)
        here = parent.name.endswith(("Connection", "Edge")) or parent.name.startswith("__")
        if is_list_type(get_nullable_type(found.type)):
            size = (
                page
                if parent.name.endswith("Connection")
                else _LISTS.get((parent.name, name), _LIST)
            )
            return own + size * (1 + self.below(node.selection_set, kind))
        return own + (0 if here else _OBJECT) + self.below(node.selection_set, kind)

    def _value(self, node: ValueNode) -> object:
        if isinstance(node, VariableNode):
            return self._variables.get(node.name.value)
        return value_from_ast_untyped(node, dict(self._variables))


def _rows(parent: str, name: str, arguments: _Variables) -> int:
    """Return what the rows cost that a field reads."""
    if parent != "Run":
        return 0
    if name in ("history", "events"):
        return _count(arguments.get("samples"), _SAMPLES) // _ROWS_A_UNIT
    if name == "sampledHistory":
        specs = arguments.get("specs")
        each = specs if isinstance(specs, list) else [specs]
        return sum(_samples(spec) for spec in each) // _ROWS_A_UNIT
    return 0


def _samples(spec: object) -> int:
    try:
        said = loads(spec) if isinstance(spec, str) else None
    except (ValueError, RecursionError):
        said = None
    return _count(said.get("samples") if isinstance(said, dict) else None, _SAMPLES)


def _page_size(name: str, arguments: _Variables) -> int:
    """Return how many rows a page has at most."""
    said = arguments.get("first")
    if said is None:
        said = arguments.get("last")
    if name == "logLines":
        return min(_count(said, _LINES), _MAX_LINES)
    if said is None and "first" not in arguments and name in _UNPAGED:
        return _LIST
    return min(_count(said, _PAGE), MAX_PAGE)


_LISTS: Final = {
    ("Entity", "members"): 100,
    ("Entity", "invites"): 20,
    ("CreateRunFilesPayload", "files"): 100,
    ("__Schema", "types"): 300,
    ("__Schema", "directives"): 8,
    ("__Type", "fields"): 3,
    ("__Type", "inputFields"): 1,
    ("__Type", "enumValues"): 1,
    ("__Type", "interfaces"): 1,
    ("__Type", "possibleTypes"): 1,
    ("__Field", "args"): 1,
    ("__Directive", "args"): 2,
}
"""how long lists without pages are; of the schema on the average"""


def _count(said: object, default: int) -> int:
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 19:
        said = int(said)
    if not isinstance(said, int) or isinstance(said, bool):
        return default
    return max(0, said)
