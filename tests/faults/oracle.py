"""Reads a run back from the server and compares it with what was logged."""

from __future__ import annotations

import json
import struct
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import FLOAT, INT, JSON, Table, concat
from tests.faults.trainee import NOTE_EVERY
from tests.fix_faults import Target

_direct = build_opener(ProxyHandler({}))  # a proxy of the environment is not for this machine


def get(target: Target, path: str) -> bytes:
    """GET from the server."""
    request = Request(target.url + path, headers={"Authorization": f"Bearer {target.key}"})
    with _direct.open(request, timeout=30) as response:
        body: bytes = response.read()
    return body


def info(target: Target, run: str, project: str = "faults") -> dict[str, Any]:
    """Return what the server says of a run."""
    entity = json.loads(get(target, "/api/v1/viewer"))["entity"]
    found: dict[str, Any] = json.loads(get(target, f"/api/v1/runs/{entity}/{project}/{run}"))
    return found


def exists(target: Target, run: str) -> bool:
    """Tell whether the server has a run."""
    try:
        info(target, run)
    except HTTPError as error:
        if error.code == 404:
            return False
        raise
    return True


def history(target: Target, run: str) -> Table:
    """Return every row that the server has."""
    about = info(target, run)
    body = get(target, f"/api/v1/runs/{about['entity']}/faults/{run}/history?format=frames")
    tables, at = [], 0
    while at < len(body):
        (size,) = struct.unpack_from("<I", body, at)
        tables.append(frames.decode(body[at + 4 : at + 4 + size]).table)
        at += 4 + size
    return concat(tables)


def received(target: Target, run: str, key: str = "a") -> NDArray[np.int64]:
    """Return the numbers of a writer's rows that arrived, in order of step.

    Checks that each arrived once and as it was logged, and that nothing was made up.
    """
    table = history(target, run)
    column = table.get(f"{key}_i", INT)
    if column is None:
        return np.empty(0, np.int64)
    numbers: NDArray[np.int64] = np.asarray(column.values)
    assert len(np.unique(numbers)) == len(numbers), "a row is there twice"
    halves = table.get(f"{key}_x", FLOAT)
    assert halves is not None
    np.testing.assert_array_equal(halves.values, numbers / 2)
    notes = table.get(f"{key}_note", JSON)
    noted = [f"row {n}" for n in numbers.tolist() if n % NOTE_EVERY == 0]
    assert (list(notes.values) if notes else []) == noted
    return numbers


def expect_all(target: Target, run: str, returned: int, key: str = "a") -> int:
    """Check that every row whose `log()` had returned is there, once and in order.

    One more may be: the row that was in the journal while its `log()` had yet to return.
    """
    numbers = received(target, run, key)
    assert len(numbers) in (returned, returned + 1), f"{returned} returned, {len(numbers)} arrived"
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    return len(numbers)


def expect_run(target: Target, run: str, returned: int) -> int:
    """Check a run of one writer: `expect_all`, and the server counts the same rows, none lost."""
    rows = expect_all(target, run, returned)
    about = info(target, run)
    assert (about["rows"], about["lost"]) == (rows, 0)
    return rows
