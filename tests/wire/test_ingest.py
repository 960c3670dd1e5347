"""The ingest protocol: at least once on the wire, once in effect."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.errors import BatchError
from asyncwb.wire.ingest import Admission, StreamHead, admit, decode_batch, encode_batch
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.frames import Frame, encode, peek

_NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=20)
_NAME = _NAMES.filter(lambda name: "/" not in name)
heads = st.builds(StreamHead, st.none() | _NAME, _NAME, _NAME, _NAME)


def frame(first: int, count: int) -> Frame:
    return Frame(first, empty(), tuple((0, {"n": first + i}) for i in range(count)))


@given(st.lists(st.tuples(heads, st.lists(st.binary(max_size=20), max_size=3)), max_size=4))
def test_a_batch_comes_apart_as_it_was_put_together(
    streams: list[tuple[StreamHead, list[bytes]]],
) -> None:
    found = decode_batch(encode_batch(streams))
    assert [(s.head, [bytes(f) for f in s.frames]) for s in found] == streams


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=12))
def test_whatever_arrives_in_whatever_order_counts_once(sent: list[tuple[int, int]]) -> None:
    next_seq, stored = 0, []
    for first, count in sent:
        part = frame(first, count)
        verdict, skip = admit(next_seq, peek(encode(first, part.table, part.events)))
        if verdict is Admission.GAP:
            assert first > next_seq
            continue
        if verdict is Admission.DUPLICATE:
            assert first + count <= next_seq
            assert skip == count
            continue
        assert (verdict is Admission.ACCEPT) == (skip == 0)
        stored += [event["n"] for _, event in part.skip(skip).events]
        next_seq = first + count
    assert stored == list(range(next_seq))


def batch(head: Any, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<4sI", b"AWB1", len(text)) + text + body


def entry(**more: Any) -> dict[str, Any]:
    return {"entity": None, "project": "p", "run": "r", "writer": "w", "frames": [], **more}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"AWB1",
        struct.pack("<4sI", b"NOPE", 0),
        struct.pack("<4sI", b"AWB1", 2**32 - 1) + b"{}",
        batch(b"{"),
        batch([]),
        batch({"streams": {}}),
        batch({"streams": [5]}),
        batch({"streams": [{}]}),
        batch({"streams": [entry(frames=[5])]}, b"1234"),
        batch({"streams": [entry(frames=[3])]}, b"1234"),
        batch({"streams": [entry(frames=[-1])]}),
        batch({"streams": [entry(frames=[True])]}, b"1"),
        batch({"streams": [entry(frames=[1.0])]}, b"1"),
        batch({"streams": [entry(frames=[2**64])]}, b"1"),
        batch({"streams": [entry(frames="ab")]}),
        batch({"streams": [entry(writer="a/b")]}),
        batch({"streams": [entry(writer="")]}),
        batch({"streams": [entry(writer="a\nb")]}),
        batch({"streams": [entry(run=7)]}),
        batch({"streams": [entry(writer="w" * 65)]}),
        batch({"streams": [entry(project=None)]}),
        batch({"streams": [entry()] * 10_001}),
    ],
    ids=range(23),
)
def test_a_batch_that_lies_is_refused(body: bytes) -> None:
    with pytest.raises(BatchError):
        decode_batch(body)


@given(st.data())
def test_any_cut_of_a_batch_is_refused(data: st.DataObject) -> None:
    whole = encode_batch([(StreamHead("e", "p", "r", "w"), [b"abc", b"d"])])
    with pytest.raises(BatchError):
        decode_batch(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BatchError):
        decode_batch(whole + b"x")
