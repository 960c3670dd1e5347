"""Frames: what goes in comes out, from any sequence number on; what is damaged is refused."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncwb.errors import FrameError, FrameTooLargeError
from asyncwb.wire.rows.columns import empty
from asyncwb.wire.rows.frames import (
    HEADER_SIZE,
    Frame,
    decode,
    encode,
    encode_lost,
    peek,
    verify,
)
from asyncwb.wire.rows.keys import STEP, TIME
from asyncwb.wire.rows.value_count import count as count_values
from asyncwb.wire.rows.values import dumps
from tests.wire.rows_model import Row, rows, sequence, table_of

_EVENTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.floats(), max_size=2)
SMALL = encode(
    7,
    table_of([{STEP: 3, TIME: 0.5, "a": 1}, {STEP: 4, TIME: 1.5, "b": "x"}]),
    [(0, {"t": "start"}), (2, {"t": "finish"})],
)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Draw a frame of rows with events anywhere between them."""
    table = table_of(draw(rows()))
    places = sorted(draw(st.lists(st.integers(0, table.n), max_size=4)))
    events = [(at, {"t": "e", "n": i}) for i, at in enumerate(places)]
    if not table.n and not events:
        events = [(0, {"t": "e"})]
    return Frame(draw(st.integers(0, 2**40)), table, tuple(events))


@given(frames())
def test_what_goes_in_comes_out(frame: Frame) -> None:
    data = frame.encode()
    info = peek(b"xyz" + data, 3)
    assert (info.first_seq, info.count, info.size) == (frame.first_seq, frame.count, len(data))
    assert (info.rows, info.lost, verify(data)) == (frame.table.n, False, info)
    back = decode(b"xyz" + data + b"more", 3)
    assert back.first_seq == frame.first_seq
    assert sequence(back) == sequence(frame)


@given(frames())
def test_skip_leaves_the_rest_of_the_sequence(frame: Frame) -> None:
    told = sequence(frame)
    assert frame.count == len(told)
    for count in range(len(told) + 1):
        rest = frame.skip(count)
        assert (rest.first_seq, rest.count) == (frame.first_seq + count, len(told) - count)
        assert sequence(rest) == told[count:]
        if rest.count:
            assert sequence(decode(rest.encode())) == told[count:]
    for bad in (-1, frame.count + 1):
        with pytest.raises(ValueError, match="cannot skip"):
            frame.skip(bad)


@given(st.integers(0, 2**40), st.integers(1, 50), st.text())
def test_a_lost_frame_stands_in_for_what_is_gone(first: int, count: int, reason: str) -> None:
    frame = decode(encode_lost(first, count, reason))
    assert (frame.first_seq, frame.count, frame.lost, frame.table.n) == (first, count, count, 0)
    for skipped in range(count):
        rest = frame.skip(skipped)
        left = count - skipped
        assert (rest.first_seq, rest.count, rest.lost) == (first + skipped, left, left)
        assert rest.events == ((0, {"t": "lost", "rows": left, "reason": reason}),)
        assert decode(rest.encode()).count == left
    assert (frame.skip(count).count, frame.skip(count).lost) == (0, 0)


@pytest.mark.parametrize("data", [SMALL, encode_lost(7, 3, "disk_full")], ids=["rows", "lost"])
def test_every_cut_and_every_flipped_byte_is_refused(data: bytes) -> None:
    for cut in range(len(data)):
        with pytest.raises(FrameError):
            decode(data[:cut])
    for at in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[at] ^= mask
            with pytest.raises(FrameError):
                decode(bytes(flipped))


def sealed(raw: bytes, count: int, rows: int, flags: int = 0) -> bytes:
    """Seal any bytes as a frame whose checksum is right, as a client gone wrong would."""
    body = zstandard.ZstdCompressor().compress(raw)
    head = struct.pack("<4sHHQIIII", b"AWF1", 1, flags, 0, count, rows, len(raw), len(body))
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head + bytes(4)))) + body


_RAW = zstandard.ZstdDecompressor().decompress(SMALL[HEADER_SIZE:])


@given(st.data())
@settings(max_examples=300)
def test_a_sound_checksum_over_nonsense_is_no_other_error(data: st.DataObject) -> None:
    raw = bytearray(_RAW)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    frame = sealed(
        bytes(raw[:cut]),
        data.draw(st.integers(0, 5) | st.just(2**32 - 1)),
        data.draw(st.integers(0, 5) | st.just(2**32 - 1)),
        data.draw(st.integers(0, 1)),
    )
    try:
        found = decode(frame)
    except FrameError:
        return
    assert len(sequence(found)) == (1 if found.lost else found.count)
    assert sequence(decode(found.encode())) == sequence(found)


@pytest.mark.parametrize(
    "directory",
    [
        b'{"b":[],"x":[],"e":0}',
        b'{"b":[{"k":["_step","_timestamp"],"t":"if","r":null}],"x":[],"e":0}',
        b'{"b":[{"k":["_step"],"t":"if","r":null}],"x":[],"e":0}',
        b'{"b":[{"k":[1,2],"t":"if","r":null}],"x":[],"e":0}',
        b'{"b":[{"k":["_step","_timestamp"],"t":"if","r":-1}],"x":[],"e":0}',
        b'{"b":[],"x":[{"k":"a","r":null,"s":-5}],"e":0}',
        b"[]",
        b"null",
        b"{",
        b'{"b":[[]],"x":{},"e":7}',
    ],
)
def test_a_directory_that_lies(directory: bytes) -> None:
    raw = struct.pack("<I", len(directory)) + directory
    with pytest.raises(FrameError):
        decode(sealed(raw, 1, 1))


def test_decompression_is_bounded_by_the_reader_and_by_the_header() -> None:
    with pytest.raises(FrameError, match="at most 10"):
        decode(SMALL, max_raw=10)
    body = zstandard.ZstdCompressor().compress(bytes(10**7))
    head = struct.pack("<4sHHQIIII", b"AWF1", 1, 0, 0, 1, 0, 100, len(body))
    crc = struct.pack("<I", zlib.crc32(body, zlib.crc32(head + bytes(4))))
    with pytest.raises(FrameError, match="lies about its size"):
        decode(head + crc + body)


@given(st.lists(_EVENTS, min_size=1, max_size=3))
def test_events_alone_make_a_frame(events: list[dict[str, Any]]) -> None:
    frame = decode(encode(0, table_of([]), [(0, event) for event in events]))
    ints = all(-(2**63) <= v < 2**63 for e in events for v in e.values() if isinstance(v, int))
    if ints:
        assert [repr(event) for _, event in frame.events] == list(map(repr, events))


def test_many_shapes_in_one_table() -> None:
    logged: list[Row] = [{STEP: i, TIME: float(i), f"k{i % 7}": i, "x": [i]} for i in range(100)]
    frame = Frame(0, table_of(logged))
    assert sequence(decode(frame.encode())) == sequence(frame)


def test_frames_of_one_shape_share_the_names_of_their_columns() -> None:
    """A run's tail may be 64 frames of 100,000 columns."""
    one, other, unlike = (
        decode(encode(7 * i, table_of([{STEP: i, TIME: 0.5 * i, name: i, "b": 0.5}])))
        for i, name in enumerate(("a", "a", "c"))
    )
    assert one.table.blocks[0].keys is other.table.blocks[0].keys
    assert one.table.keys == ["a", "b"]
    assert unlike.table.keys == ["c", "b"]
    assert [frame.table.steps.tolist() for frame in (one, other, unlike)] == [[0], [1], [2]]


def _event(values: int) -> dict[str, Any]:
    """Return an event that has so many values as JSON, without its frame."""
    event = {"t": "summary", "set": {"a": [0] * (values - 7)}}
    assert count_values(dumps(event)) == values
    return event


_ROW: dict[str, Row] = {
    "one list": {"a": [0] * 398},
    "numbers": {f"k{i}": 0.5 for i in range(398)},
    "texts": {f"k{i}": "x" for i in range(398)},
    "empty lists": {f"k{i}": [] for i in range(199)},
}


@pytest.mark.parametrize("name", _ROW)
def test_a_row_or_event_of_the_most_values_is_read_and_one_of_many_more_is_not(name: str) -> None:
    most = count_values(dumps(_ROW[name]))
    assert 399 <= most <= 800, "its names included"
    row = encode(0, table_of([{STEP: 0, TIME: 0.5, **_ROW[name]}]))
    assert decode(row, max_values=most).table.n == 1
    assert decode(encode(0, empty(), [(0, _event(400))]), max_values=400).count == 1
    for frame in (row, encode(0, empty(), [(0, _event(400))]), encode_lost(0, 1, "x" * 10)):
        assert decode(frame).count == 1, "nobody else is bound"
    dense = [
        encode(0, empty(), [(0, _event(421))]),
        encode(0, empty(), [(0, _event(211)), (0, _event(212))]),
        encode(0, table_of([{STEP: 0, TIME: 0.5, "a": [0] * 421}])),
        encode(0, table_of([{STEP: i, TIME: 0.5, "a": [0] * 100} for i in range(5)])),
        encode(0, table_of([{STEP: 0, TIME: 0.5, **{f"k{i}": "x" for i in range(420)}}])),
    ]
    for frame in dense:
        with pytest.raises(FrameTooLargeError, match="over 400 values"):
            decode(frame, max_values=400)
        assert decode(frame).count
