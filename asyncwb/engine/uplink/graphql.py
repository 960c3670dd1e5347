"""Asks a W&B server in GraphQL: one document, one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.engine.uplink.speaker import Undelivered
from asyncwb.errors import CommError
from asyncwb.typing import JsonObject
from asyncwb.wire.retry import Action, verdict, wandb_verdict
from asyncwb.wire.rows.values import dumps, loads


class Declined(CommError):  # noqa: N818
    """The server has understood the document and answered with errors; nothing was done."""


async def ask(
    http: Http,
    address: Address,
    document: str,
    variables: Mapping[str, object],
    *,
    conflict_is_final: bool = True,
) -> JsonObject:
    """Send a document and return its data.

    Raises:
        NoAnswer, Undelivered: it may be sent again, as the verdict says.
        Declined: the server says what is wrong with it.
    """
    body = {"query": document, "variables": dict(variables), "operationName": None}
    reply = await http.request("POST", f"{address.url}/graphql", key=address.key, data=dumps(body))
    judge(reply, conflict_is_final=conflict_is_final)
    answer = answered(reply, address)
    if answer.get("errors"):
        raise Declined(_first(answer["errors"]) or "the server declines, and does not say why")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise nonsense(address, "no data")
    return data


def judge(reply: Reply, *, conflict_is_final: bool = True) -> None:
    """Raise Undelivered for any answer of a W&B server but success."""
    judged = wandb_verdict(
        reply.status,
        reply.headers,
        problem_of(reply) or None,
        now=time.time(),
        conflict_is_final=conflict_is_final,
    )
    if judged.action is not Action.DONE:
        raise Undelivered(judged)


def answered(reply: Reply, address: Address) -> JsonObject:
    """Return the JSON object of a success; raises Undelivered where it is none."""
    try:
        answer = reply.json()
    except CommError as error:
        raise nonsense(address, error.message) from error
    if not isinstance(answer, dict):
        raise nonsense(address, "no object")
    return answer


def nonsense(address: Address, what: str) -> Undelivered:
    """Return the error for an answer that cannot be: it may be a proxy's, and pass."""
    reason = f"{address.url} gave an answer that makes no sense: {what}"
    return Undelivered(verdict(None, error=reason, now=time.time()))


def problem_of(reply: Reply) -> str:
    """Return what an error answer says of itself, in any of the shapes that are in use."""
    try:
        said = loads(reply.body)
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    return _text(said.get("error")) or _first(said.get("errors"))


def _first(errors: object) -> str:
    return _text(errors[0]) if isinstance(errors, list) and errors else ""


def _text(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""
