"""Values: the conversion table, refusal at the call with the key's name, and the JSON codec."""

from __future__ import annotations

import datetime
import enum
import json
import math
import subprocess
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncwb.errors import LogTypeError
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.values import Row, convert_row, dumps, loads, to_wire

NAN, INF = math.nan, math.inf


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(enum.StrEnum):
    LOSS = "loss"


class Tensor:
    """What a torch tensor can do, as far as logging is concerned."""

    def __init__(self, array: Any, *, bfloat16: bool = False, device: str = "cuda") -> None:
        self.array = np.asarray(array)
        self.bfloat16 = bfloat16
        self.device = device
        self.graph = True

    def detach(self) -> Tensor:
        self.graph = False
        return self

    def cpu(self) -> Tensor:
        self.device = "cpu"
        return self

    def numel(self) -> int:
        return self.array.size

    def item(self) -> Any:
        return self.array.reshape(-1)[0].item()

    def float(self) -> Tensor:
        return Tensor(self.array).detach().cpu()

    def numpy(self) -> Any:
        if self.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        if self.device != "cpu" or self.graph:
            raise TypeError("still on the device, or in the graph")
        return self.array


class EagerTensor:
    """What a TensorFlow tensor can do."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def numpy(self) -> Any:
        return self.array


class JaxArray:
    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array


class Frame(JaxArray):
    columns = ("a", "b")


def plain_function() -> None: ...


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (1, 1),
        (2.0, 2.0),
        (True, True),
        ("é", "é"),
        (None, None),
        (2**63 - 1, 2**63 - 1),
        (2**63, 9.223372036854775808e18),
        (-(2**70), -float(2**70)),
        (10**400, INF),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint64(2**64 - 1), float(2**64)),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.longdouble(0.25), 0.25),
        (np.datetime64("2024-01-02T03:04:05.000000006", "ns"), "2024-01-02T03:04:05"),
        (np.array(3), 3),
        (np.array([[0.5]]), 0.5),
        (np.array([]), []),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.arange(32), list(range(32))),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([1 + 2j, 0]), ["(1+2j)", "0j"]),
        (np.array([Colour.RED, None], dtype=object), ["red", None]),
        (Tensor(2.5), 2.5),
        (Tensor([1, 2]), [1, 2]),
        (Tensor([1.5, 2], bfloat16=True), [1.5, 2.0]),
        (EagerTensor(np.float32(4)), 4.0),
        (JaxArray([1, 2]), [1, 2]),
        ([1, (2, {3}), range(2)], [1, [2, [3]], [0, 1]]),
        ([], []),
        (OrderedDict(a=np.int8(1)), {"a": 1}),
        ({1: {2: Colour.RED}}, {"1": {"2": "red"}}),
        (b"caf\xc3\xa9", "café"),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (Level.HIGH, 3),
        (Name.LOSS, "loss"),
        (1j, "1j"),
        (plain_function, f"{__name__}.plain_function"),
        (Colour, f"{__name__}.Colour"),
        (len, "builtins.len"),
    ],
    ids=lambda value: type(value).__name__,  # no address: workers must agree on the names
)
def test_conversion(value: Any, wire: Any) -> None:
    converted = to_wire(value, "k")
    assert converted == wire
    assert type(converted) is type(wire)
    assert loads(dumps(converted)) == wire


@pytest.mark.parametrize("number", [NAN, INF])
@pytest.mark.parametrize("shape", [lambda x: [x], lambda x: (0, {"b": (None, [x])})])
def test_a_float_that_is_not_finite_is_found_beside_nulls(shape: Any, number: float) -> None:
    assert loads(dumps({"a": [None, "null"], "x": shape(1.5)})) == {
        "a": [None, "null"],
        "x": json.loads(json.dumps(shape(1.5))),
    }
    [found] = [token for token in (b"NaN", b"Infinity") if token in dumps(shape(number))]
    assert found == json.dumps(number).encode()


def test_what_looks_at_every_number_calls_nothing_for_it() -> None:
    """A server does this on its loop, for documents of a million numbers."""
    value = {"a": [0] * 1000, "b": [0.5] * 1000, "c": ["null"] * 1000}
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        dumps(value)
        keys.is_too_deep(value)
    finally:
        sys.setprofile(None)
    assert calls < 100


@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float32("nan"), np.array(-INF)])
def test_non_finite_floats_survive(value: Any) -> None:
    sent = loads(dumps([to_wire(value, "k"), None]))
    assert sent[1] is None
    assert type(sent[0]) is float
    np.testing.assert_equal(sent[0], float(value))


@given(
    st.lists(st.floats(width=64) | st.just(1.7e308) | st.just(-1.7e308), min_size=33, max_size=60)
)
@example([0.0] * 33)
@example([NAN] * 40)
@example([1e300] * 40)
@example([1.7976931348623157e308] * 40)
@example([1.7976931348623157e308, -1.7976931348623157e308] * 20)
@example([0.0, 5e-324] * 20)
@example([1.0, 1.0 + 2.3e-16] * 20)
def test_large_arrays_become_histograms_of_their_finite_values(numbers: list[float]) -> None:
    wire: Any = to_wire(np.array(numbers), "k")
    finite = [x for x in numbers if math.isfinite(x)]
    assert wire["_type"] == "histogram"
    assert len(wire["values"]) == 32
    assert sum(wire["values"]) == len(finite)
    assert len(wire["bins"]) == 33
    assert all(map(math.isfinite, wire["bins"]))
    assert wire["bins"] == sorted(wire["bins"])
    if finite:
        slack = 1e-9 * max(abs(x) for x in finite)
        assert wire["bins"][0] - slack <= min(finite)
        assert wire["bins"][-1] + slack >= max(finite)


def test_float16_bool_and_object_arrays_beyond_the_limit() -> None:
    assert to_wire(np.full(33, 60000, np.float16), "k")["values"][16] == 33  # type: ignore
    assert sum(to_wire(np.ones(40, bool), "k")["values"]) == 40  # type: ignore
    assert to_wire(np.array(["a"] * 40), "k") == ["a"] * 40


@pytest.mark.parametrize(
    "value", [object(), iter([1]), memoryview(b"x"), [1, {"x": object()}], Frame([[1, 2]])]
)
def test_what_has_no_json_form_is_refused_with_the_key(value: Any) -> None:
    with pytest.raises(LogTypeError, match=r"'a\.b'.*not JSON serializable") as caught:
        to_wire(value, "a.b")
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.key == "a.b"


def test_unreadable_text_is_refused_with_the_key() -> None:
    with pytest.raises(LogTypeError, match=r"'k'.*UTF-8"):
        to_wire(b"\xff", "k")
    for text in ("\udc80", ["\udc80"], {"\udc80": 1}):
        with pytest.raises(LogTypeError, match=r"'k'.*surrogate"):
            to_wire(text, "k")
    with pytest.raises(LogTypeError, match="surrogate"):
        convert_row({"\udc80": 1.0})


def test_a_tensor_that_cannot_be_copied_is_an_error_at_the_call() -> None:
    class Meta(Tensor):
        def cpu(self) -> Tensor:
            raise RuntimeError("no data on device meta")

    with pytest.raises(LogTypeError, match=r"'w'.*no data"):
        to_wire(Meta([1, 2]), "w")


def test_cycles_and_absurd_depth_are_errors_not_recursion() -> None:
    endless: list[Any] = []
    endless.append(endless)
    loop: dict[str, Any] = {}
    loop["a"] = {"b": loop}
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    array = np.empty(2, dtype=object)
    array[:] = [array, 1]
    for value in (endless, loop, {"_type": "x", "v": endless}, deep, array):
        with pytest.raises(LogTypeError, match=r"'k'.*itself"):
            convert_row({"k": value})
    assert dumps(to_wire([[[1]]], "k")) == b"[[[1]]]"

    def near_the_limit() -> None:
        try:
            near_the_limit()
        except RecursionError:
            convert_row({"k": {"x": [[[[[[[[{"y": 1}]]]]]]]]}})

    try:
        near_the_limit()
    except LogTypeError as error:
        assert error.key == "k"  # noqa: PT017 - nearer the limit the caller's own error may win
    except RecursionError:
        pass


def test_rows_are_flat_and_system_keys_are_ours() -> None:
    row = convert_row(
        {
            "loss": 0.5,
            "a.b": 1,
            "a": {"b": np.int64(2), "c": {}},
            "h": {"_type": "histogram", "bins": (0, 1), "values": [1]},
            Name.LOSS: 0.25,
            "_step": "whatever",
            "_runtime": object(),
            "_open": True,
            "_timestamp": np.float64(12.5),
            "_mine": True,
            "none": None,
        }
    )
    assert row == Row(
        {
            "loss": 0.25,
            r"a\.b": 1,
            "a.b": 2,
            "h": {"_type": "histogram", "bins": [0, 1], "values": [1]},
            "_mine": True,
            "none": None,
        },
        12.5,
    )
    assert convert_row({}) == Row({})


@pytest.mark.parametrize("data", [None, 1, [("a", 1)], "text", {1: 2}, {b"a": 1}, {None: 1}])
def test_rows_are_mappings_with_string_keys(data: Any) -> None:
    with pytest.raises(LogTypeError, match="nothing was recorded"):
        convert_row(data)


@pytest.mark.parametrize("stamp", ["now", None, NAN, INF, True, [1]])
def test_a_timestamp_is_a_finite_number(stamp: Any) -> None:
    with pytest.raises(LogTypeError, match="_timestamp"):
        convert_row({"_timestamp": stamp})


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@example([NAN, None, "null", 2**63])
@example({"\\ud800": NAN})
def test_json_round_trip(value: Any) -> None:
    decoded = loads(dumps(value))
    # repr tells NaN, -0.0, int and float apart; == does not.
    assert repr(decoded) == repr(value)


@given(JSON)
def test_finite_json_is_standard_json(value: Any) -> None:
    encoded = dumps(value)
    if b"NaN" not in encoded and b"Infinity" not in encoded:
        assert repr(json.loads(encoded)) == repr(value)
        assert encoded == orjson.dumps(value)


def test_ints_beyond_64_bits_become_floats() -> None:
    assert loads(dumps({"a": [2**70, NAN, -(2**200)]}))["a"][::2] == [2.0**70, -(2.0**200)]
    assert loads(b"[NaN,%d]" % 2**70)[1] == 2.0**70
    assert loads(b"[NaN," + b"9" * 5000 + b"]")[1] == INF
    assert loads(dumps(10**400)) == INF


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"nan", b"{", b"[NaN", b'{"a":NaN,}', b"\xff", b'["\xff",NaN]', b'["\\ud800",NaN]'),
        b"[" * 100_000 + b"NaN" + b"]" * 100_000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_bad_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parsers'
        loads(data)


@pytest.mark.parametrize("value", [{1: 2}, {1: NAN}, object(), [NAN, object()], {NAN: 1}, {1, 2}])
def test_what_is_no_json_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize("levels", [253, 255, 300])
def test_what_is_nested_deeper_than_one_encoder_goes_is_written_by_the_other(levels: int) -> None:
    value: Any = NAN
    for _ in range(levels):
        value = {"a": value, "b": None}
    assert dumps(loads(dumps(value))) == dumps(value)


def test_dumps_of_a_cycle_is_a_type_error() -> None:
    endless: list[Any] = [None]
    endless.append(endless)
    with pytest.raises(TypeError):
        dumps(endless)


def test_numpy_is_not_imported_to_convert_plain_values() -> None:
    code = (
        "import sys\n"
        "from asyncwb.wire.rows.values import convert_row, dumps\n"
        "dumps(convert_row({'a': {'b': [1, 2.0, None]}}).values)\n"
        "assert 'numpy' not in sys.modules, 'numpy was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
