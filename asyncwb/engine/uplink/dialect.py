"""Which language a server speaks: it is asked once, with `GET /ready`.

Our server answers with JSON that has `ingest` in it. Any other answer that is one (another JSON,
a page, 404) means a server that speaks W&B's protocol only. A server that is down, starting or
busy has not answered, and is asked again.
"""

from __future__ import annotations

import time
from enum import Enum

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.engine.uplink.speaker import Undelivered
from asyncwb.errors import CommError
from asyncwb.wire.retry import Action, verdict


class Dialect(Enum):
    """What a server takes."""

    NATIVE = "native"
    WANDB = "wandb"


class Dialects:
    """Remembers what servers speak, by URL."""

    def __init__(self) -> None:
        self._known: dict[str, Dialect] = {}

    async def of(self, address: Address, http: Http) -> Dialect:
        """Tell what a server speaks, asking it the first time.

        Raises:
            NoAnswer, Undelivered: it cannot be told yet.
        """
        known = self._known.get(address.url)
        if known is None:
            reply = await http.request("GET", f"{address.url}/ready")
            known = self._known[address.url] = _judge(reply)
        return known

    def forget(self, address: Address) -> None:
        """Ask again: what was thought of the server does not hold."""
        self._known.pop(address.url, None)


def _judge(reply: Reply) -> Dialect:
    if reply.status != 404:
        judged = verdict(reply.status, reply.headers, reply.error[1] or None, now=time.time())
        # A redirection or a refusal is an answer, only not one of ours.
        if judged.action is Action.RETRY and (reply.status >= 500 or reply.status in (408, 429)):
            raise Undelivered(judged)
    try:
        said = reply.json()
    except CommError:
        return Dialect.WANDB
    announced = reply.status == 200 and isinstance(said, dict) and "ingest" in said
    return Dialect.NATIVE if announced else Dialect.WANDB
