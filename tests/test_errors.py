"""The exception tree: what its picture shows is what there is."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from asyncwb import errors

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if found.__module__ == errors.__name__
]


def test_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^ {4}(\W*)(\w+) {2,}", errors.__doc__ or "", re.MULTILINE)
    assert {name for _, name in drawn} == {found.__name__ for found in CLASSES}
    above = {0: "Error"}
    for branch, name in drawn[1:]:
        depth = len(branch) // 4
        assert getattr(errors, name).__bases__[0].__name__ == above[depth - 1], name
        above[depth] = name


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_carries_its_message_across_processes(kind: type[errors.Error]) -> None:
    error = pickle.loads(pickle.dumps(kind("what; where; what next")))
    assert type(error) is kind
    assert error.message == str(error) == "what; where; what next"


def test_the_details_travel_too() -> None:
    assert pickle.loads(pickle.dumps(errors.LogTypeError("no", "a.b"))).key == "a.b"
    assert pickle.loads(pickle.dumps(errors.CommError("no", 503, "busy"))).status == 503


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.LogTypeError, (TypeError, ValueError)),
        (errors.ArgumentError, (ValueError, errors.UsageError)),
        (errors.SettingsError, (ValueError, errors.UsageError)),
        (errors.RunNotFoundError, (ValueError, errors.CommError)),
        (errors.FrameError, (ValueError,)),
        (errors.BatchError, (ValueError,)),
    ],
)
def test_errors_are_caught_as_the_field_expects(
    kind: type[Exception], also: tuple[type[Exception], ...]
) -> None:
    for base in also:
        with pytest.raises(base):
            raise kind("no")
