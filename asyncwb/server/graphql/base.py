"""What every subject of the schema shares: scalars, `Node`, and what the server says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ariadne import InterfaceType, QueryType, ScalarType
from graphql import GraphQLError

from asyncwb.server.graphql.execution.context import Info
from asyncwb.version import __version__
from asyncwb.wire.rows.value_count import MAX_VALUES, has_too_many
from asyncwb.wire.rows.values import dumps, loads

FEATURES: Final = (
    "FILESTREAM_GZIP",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "STRUCTURED_CONSOLE_LOGS",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "UPDATE_RUN_STATE",
)
"""W&B's names for what a client may only do where the server says so; what is not here is off."""

OLDEST_CLIENT: Final = "0.16.0"
NEWEST_CLIENT: Final = "0.31.0"
_INT64: Final = 2**63

json = ScalarType("JSON")
json_string = ScalarType("JSONString")
int64 = ScalarType("Int64")
date_time = ScalarType("DateTime")
duration = ScalarType("Duration")
node = InterfaceType("Node")
query = QueryType()

BINDABLES = [json, json_string, int64, date_time, duration, node, query]


@json_string.serializer
def _json_text(value: object) -> str:
    """Give JSON text: a string is taken as JSON text already."""
    return value if isinstance(value, str) else dumps(value).decode()


@json_string.value_parser
def _json_value(value: object) -> object:
    """Read JSON text, bare NaN and infinities included."""
    if not isinstance(value, str):
        raise GraphQLError("JSONString cannot represent a value that is not a string.")
    if has_too_many(value):
        raise GraphQLError(
            f"JSONString cannot represent text of more than {MAX_VALUES:,} values and names. "
            "Nothing was done; keep large data in a file."
        )
    try:
        return loads(value.encode())
    except (ValueError, RecursionError) as error:
        raise GraphQLError(f"JSONString cannot represent text that is not JSON: {error}") from error


@int64.value_parser
def _int64(value: object) -> int:
    number = value
    if isinstance(value, str) and len(value) <= 20:
        try:
            number = int(value)
        except ValueError:
            number = None
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= _INT64:
        raise GraphQLError("Int64 cannot represent a value that is not a whole number of 64 bits.")
    return number


@date_time.serializer
def iso(value: float | str) -> str:
    """Give a moment (unix seconds) as ISO 8601 in UTC, to the microsecond."""
    if isinstance(value, str):
        return value
    moment = datetime.fromtimestamp(value, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if moment.microsecond else "%Y-%m-%dT%H:%M:%SZ")


@date_time.value_parser
def unix(value: object) -> float:
    """Read ISO 8601 as unix seconds; without a zone it is UTC."""
    wrong = "DateTime cannot represent text that is not ISO 8601."
    if not isinstance(value, str):
        raise GraphQLError(wrong)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise GraphQLError(wrong) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@node.type_resolver
def _kind(value: object, *_: object) -> str:
    return str(value["__typename"]) if isinstance(value, dict) else type(value).__name__


@query.field("serverInfo")
def _server_info(_: object, _info: Info) -> dict[str, object]:
    return {
        "features": [{"name": name, "is_enabled": True} for name in FEATURES],
        # Clients compare their own release with these, and warn of one that is too old.
        "cli_version_info": {
            "min_cli_version": OLDEST_CLIENT,
            "max_cli_version": NEWEST_CLIENT,
        },
        "latest_local_version_info": {
            "out_of_date": False,
            "latest_version_string": __version__,
            "version_on_this_instance_string": __version__,
        },
        "server_version": __version__,
    }
