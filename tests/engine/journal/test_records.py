"""Records lie as the module says, and any byte that changes is noticed."""

from __future__ import annotations

import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwb.engine.journal.records import (
    DEFINE,
    EVENT,
    FIRST_SCHEMA,
    HEAD,
    HEAD_SIZE,
    JSON_ROW,
    OPEN,
    Schema,
    is_whole,
    pack_text,
    sealed,
)


def test_a_text_lies_behind_its_head_padded_to_eight_bytes() -> None:
    record = pack_text(EVENT, 0, 12.5, -3, b'{"t":"x"}')
    assert HEAD.unpack_from(record)[1:] == (len(record), EVENT, 0, 12.5, -3)
    assert len(record) == HEAD_SIZE + 16
    assert record[HEAD_SIZE:] == b'{"t":"x"}' + 7 * b" "


def test_a_row_lies_in_the_order_of_its_schemas_keys() -> None:
    schema = Schema(FIRST_SCHEMA, {"loss": 0.5, "n": 3, "best": True})
    record = sealed(schema.pack(schema.open_front, 2.0, 7, 0.25, 4, False))
    assert HEAD.unpack_from(record)[1:] == (schema.size, FIRST_SCHEMA, OPEN, 2.0, 7)
    assert struct.unpack_from("<dqq", record, HEAD_SIZE) == (0.25, 4, 0)
    assert len(record) == schema.size


def test_a_schema_says_what_its_rows_are() -> None:
    schema = Schema(FIRST_SCHEMA, {"a.b": 1.0, "n": np.int32(3), "best": True})
    assert HEAD.unpack_from(schema.define)[2] == DEFINE
    said = orjson.loads(schema.define[HEAD_SIZE:])
    assert said == {"n": FIRST_SCHEMA, "k": ["a\\.b", "n", "best"], "t": "fib"}
    assert schema.types == [float, np.int32, bool]


@pytest.mark.parametrize("value", ["text", None, [1.0], {"a": 1.0}, 1j])
def test_what_is_no_plain_number_has_no_schema(value: object) -> None:
    with pytest.raises(KeyError):
        Schema(FIRST_SCHEMA, {"a": value})


@given(text=st.binary(min_size=1, max_size=40), data=st.data())
def test_a_record_that_was_changed_or_cut_is_not_whole(text: bytes, data: st.DataObject) -> None:
    record = bytearray(pack_text(JSON_ROW, OPEN, 1.0, 5, text))
    assert is_whole(memoryview(record))
    cut = data.draw(st.integers(0, len(record) - 1))
    assert not is_whole(memoryview(record)[:cut])
    record[data.draw(st.integers(0, len(record) - 1))] ^= data.draw(st.integers(1, 255))
    assert not is_whole(memoryview(record))


def test_a_page_of_zeros_is_no_record() -> None:
    assert not is_whole(memoryview(bytes(4096)))
