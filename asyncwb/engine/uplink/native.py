"""Speaks to our own server: the frames of many writers as they are, in one request."""

from __future__ import annotations

import math
import time
from secrets import token_hex
from typing import Any, Final

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http, Reply
from asyncwb.engine.uplink.speaker import (
    Answer,
    Batch,
    NotNow,
    OtherPosition,
    Refused,
    Taken,
    Undelivered,
    no_such_run,
)
from asyncwb.errors import CommError
from asyncwb.typing import JsonObject
from asyncwb.wire.ingest import CONTENT_TYPE, TURN_HEADER, encode_batch
from asyncwb.wire.retry import Action, verdict
from asyncwb.wire.stream import Presence, StreamHead

_MAX_REQUEST: Final = 8 * 2**20
"""raw bytes of frames in one request: 70,000 rows of ten floats."""
_MAX_GATHER: Final = 5.0
"""seconds; whatever a server asks for, its pages are to be of use"""
_LOST_TRACK: Final = {"sequence_gap", "writer_not_found", "run_not_found"}
"""errors that say from where to send again: the server was restored or emptied, or a frame went
missing."""


class NativeSpeaker:
    """Posts batches to `/api/v1/ingest`, two at a time: the server takes them in their order."""

    alone = False
    depth = 2
    interval = 0.0
    gather = 0.0
    max_request = _MAX_REQUEST

    def __init__(self, http: Http) -> None:
        self._http = http
        self._sender = token_hex(8)
        self._count = 0
        self._on_their_way: set[int] = set()

    async def send(self, address: Address, batch: Batch) -> list[Answer]:
        """Send a batch; see `Speaker`."""
        heads = [box.head_with(frames) for box, frames in batch]
        contents = ([p.data for p in frames] for _, frames in batch)
        body = encode_batch(list(zip(heads, contents, strict=True)))
        self._count = number = self._count + 1
        before = max(self._on_their_way, default=0)
        self._on_their_way.add(number)
        try:
            reply = await self._http.request(
                "POST",
                f"{address.url}/api/v1/ingest",
                key=address.key,
                data=body,
                content_type=CONTENT_TYPE,
                headers={TURN_HEADER: f"{self._sender} {number} {before}"},
            )
        finally:
            self._on_their_way.discard(number)
        judged = verdict(reply.status, reply.headers, reply.error[1] or None, now=time.time())
        if judged.action is not Action.DONE:
            raise Undelivered(judged)
        answers = _answers(reply, batch, heads, address)
        self.gather = _gather(reply)
        return answers


def _gather(reply: Reply) -> float:
    asked = reply.json().get("gather")
    known = isinstance(asked, (int, float)) and 0 < asked < math.inf
    return min(float(asked), _MAX_GATHER) if known else 0.0


def _answers(reply: Reply, batch: Batch, heads: list[StreamHead], address: Address) -> list[Answer]:
    try:
        streams = reply.json()["streams"]
        if len(streams) != len(heads):
            raise ValueError("it answers for another number of runs")
        return [
            _answer(stream, head, bool(frames) and frames[0].first_seq == 0, address)
            for stream, head, (_, frames) in zip(streams, heads, batch, strict=True)
        ]
    except (CommError, ValueError, KeyError, TypeError) as error:
        reason = f"{address.url} gave an answer that makes no sense: {error}"
        raise Undelivered(verdict(None, error=reason, now=time.time())) from error


def _answer(stream: JsonObject, head: StreamHead, first: bool, address: Address) -> Answer:
    """Read the word on one stream; `first`: it was sent from its beginning."""
    error = stream.get("error")
    if error is None:
        run, stop = str(stream["run"]), bool(stream.get("stop"))
        more = head.presence is Presence.GONE
        return Taken(_number(stream["next"]), run, address.url, stop, holds=more)
    code, message = str(error["code"]), str(error["message"])
    if first and code == "run_not_found":
        return no_such_run(message)
    if code in _LOST_TRACK:
        return OtherPosition(_number(stream["next"]))
    if error.get("retry"):
        return NotNow(message, smaller=code == "frame_too_large")
    return Refused(message)


def _number(value: Any) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(f"{number} is no sequence number")
    return number
