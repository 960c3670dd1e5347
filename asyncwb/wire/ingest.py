"""The ingest protocol, both ends: at least once on the wire, once in effect.

A writer is one process (or one resumed part) that logs to a run. It numbers everything it says,
rows and events alike, from 0 without holes, and sends frames in that order. The server remembers
for each (run, writer) the next number that it expects, and stores a frame and that number in one
transaction. So a frame that comes twice is recognised, one that overlaps is trimmed, and a hole
is refused with the number from which to send again.

    client                         server (next = 8)
    frame 0..7     ----------->    DUPLICATE: acknowledged, not stored
    frame 4..11    ----------->    TRIM 4: stores 8..11, next = 12
    frame 20..30   ----------->    GAP: refused, "send from 12"

A writer that died leaves frames behind, which others find and send for it (`asyncwb sync`, a run
that is resumed). They say so: such a stream is no sign of life (`Presence`).

Rows that a writer lost before it could send them (a full disk, a damaged journal) keep their
numbers: a frame that says `lost` stands in for them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from asyncwb.errors import BatchError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.frames import FrameInfo
from asyncwb.wire.rows.value_count import has_too_many
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.stream import Presence, StreamHead

CONTENT_TYPE: Final = "application/vnd.asyncwb.batch"
TURN_HEADER: Final = "Asyncwb-Turn"
"""names the sender, the request's number among its own, and the one that it follows; see
`server.intake.request_order`"""
MAGIC: Final = b"AWB1"
MAX_STREAMS: Final = 10_000
_LONGEST_WRITER: Final = 64
__all__ = [
    "CONTENT_TYPE",
    "TURN_HEADER",
    "Admission",
    "Presence",
    "Stream",
    "StreamHead",
    "admit",
    "decode_batch",
    "encode_batch",
]

_HEAD: Final = struct.Struct("<4sI")


@dataclass(frozen=True, slots=True)
class Stream:
    """One writer's frames in a batch, in order; none at all is a heartbeat."""

    head: StreamHead
    frames: tuple[memoryview, ...]


class Admission(Enum):
    """What the server does with a frame, given the number that it expects next."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    TRIM = "trim"
    GAP = "gap"


def admit(next_seq: int, info: FrameInfo) -> tuple[Admission, int]:
    """Judge a frame; returns the verdict and how many leading sequence numbers to skip."""
    if info.last_seq < next_seq:
        return Admission.DUPLICATE, info.count
    if info.first_seq > next_seq:
        return Admission.GAP, 0
    if info.first_seq == next_seq:
        return Admission.ACCEPT, 0
    return Admission.TRIM, next_seq - info.first_seq


def encode_batch(streams: Sequence[tuple[StreamHead, Sequence[bytes]]]) -> bytes:
    """Put the frames of several writers into one request body."""
    head = dumps(
        {
            "streams": [
                {
                    "entity": head.entity,
                    "project": head.project,
                    "run": head.run,
                    "writer": head.writer,
                    **({} if head.presence is Presence.HERE else {"is": head.presence.value}),
                    "frames": [len(frame) for frame in frames],
                }
                for head, frames in streams
            ]
        }
    )
    frames = [frame for _, frames in streams for frame in frames]
    return b"".join((_HEAD.pack(MAGIC, len(head)), head, *frames))


def decode_batch(body: bytes | memoryview) -> list[Stream]:
    """Take a request body apart; the frames are views into it, not yet verified.

    Raises:
        BatchError: not a batch, or one whose lengths do not add up.
    """
    view = memoryview(body)
    if len(view) < _HEAD.size:
        raise BatchError("the batch ends inside its header")
    magic, size = _HEAD.unpack_from(view)
    if magic != MAGIC:
        raise BatchError("these bytes are not a batch of frames: the magic number is wrong")
    at = _HEAD.size + size
    if at > len(view):
        raise BatchError("the batch ends inside its header")
    try:
        head = bytes(view[_HEAD.size : at])
        if has_too_many(head):
            raise ValueError("it holds too many values")
        entries = loads(head)["streams"]
        if not isinstance(entries, list) or len(entries) > MAX_STREAMS:
            raise ValueError(f"more than {MAX_STREAMS} streams, or no list of them")
        streams = []
        for entry in entries:
            sizes = [_count(size) for size in entry["frames"]]
            frames = []
            for frame_size in sizes:
                frames.append(view[at : at + frame_size])
                at += frame_size
            streams.append(Stream(_stream_head(entry), tuple(frames)))
    except (ValueError, KeyError, TypeError) as error:
        raise BatchError(f"the batch's header is wrong: {error}") from error
    if at != len(view):
        raise BatchError(f"the batch says that it has {at} bytes and has {len(view)}")
    return streams


def _stream_head(entry: JsonObject) -> StreamHead:
    entity = entry["entity"]
    return StreamHead(
        None if entity is None else _text(entity),
        _text(entry["project"]),
        _text(entry["run"]),
        _writer(entry["writer"]),
        Presence(entry.get("is", Presence.HERE.value)),
    )


def _text(value: object) -> str:
    """Return a name; whether there can be such a one, `wire.names` says of each stream."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is no name")
    return value


def _writer(value: Any) -> str:
    known = isinstance(value, str) and value.isprintable() and "/" not in value
    if not known or not 0 < len(value) <= _LONGEST_WRITER:
        raise ValueError(
            f"{str(value)[:40]!r} is no writer of 1 to {_LONGEST_WRITER} characters without '/'"
        )
    return str(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value
