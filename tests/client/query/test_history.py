"""What a run logged, read back: as frames from our server, by GraphQL from one without them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import asyncwb
from asyncwb.apis.public import Api, Run
from asyncwb.client.query.rows.json_rows import read_row
from asyncwb.wire.rows.columns import Column, Table
from asyncwb.wire.rows.frames import encode
from asyncwb.wire.rows.values import spelled
from tests.client.query.test_api import api_of, ingest, settings_of
from tests.fix_server import ServerHandle
from tests.server.ingest_client import first_frame, rows, start_event

NESTED = {"train": {"loss": 0.5, "ok": True}, "lr.base": 1}


@pytest.fixture
def logged(server: ServerHandle) -> Run:
    """A finished run of ten rows, of which every other one has `val`."""
    with asyncwb.init(project="p", id="r1", settings=settings_of(server)) as run:
        for step in range(10):
            row: dict[str, Any] = {"loss": 1.0 / (step + 1), "n": step, **NESTED}
            if step % 2:
                row["val"] = math.nan if step == 3 else step
            run.log(row)
    return api_of(server).run("p/r1")


@pytest.fixture(params=["native", "graphql"])
def either(
    request: pytest.FixtureRequest,
    start_server: Callable[..., ServerHandle],
    server: ServerHandle,
    tmp_path: Path,
    logged: Run,
) -> Run:
    """The same run, read natively and from a server that has nothing but W&B's interface."""
    if request.param == "native":
        return logged
    server.stop()
    return api_of(start_server(data=server.data, native=False)).run("p/r1")


def test_history_is_a_data_frame_or_rows(logged: Run) -> None:
    frame = logged.history()
    assert isinstance(frame, pd.DataFrame)
    assert frame["_step"].tolist() == list(range(10))
    assert frame["loss"].tolist() == [1.0 / (step + 1) for step in range(10)]
    assert {str(frame[key].dtype) for key in ("n", "lr.base")} == {"int64"}
    assert str(frame["train.ok"].dtype) == "bool"
    assert list(frame.columns) == [
        *("_step", "_timestamp", "_runtime"),
        *("loss", "lr.base", "n", "train.loss", "train.ok", "val"),
    ]
    assert frame["val"].isna().sum() == 6
    assert logged.history(2, keys=["n", "val"], x_axis="loss")["n"].tolist() == [1, 9]
    assert logged.history(keys=["absent"]).empty


def test_without_pandas_there_are_rows_and_a_warning(
    logged: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwb.client.query._sync.run.has_pandas", lambda: False)
    with pytest.warns(UserWarning, match="pandas"):
        assert logged.history(keys=["n"])[3] == {"_step": 3, "n": 3}


def test_a_sample_has_what_was_asked_for(either: Run) -> None:
    rows = either.history(pandas=False, keys=["val", "train.loss"])
    assert [row["_step"] for row in rows] == [1, 3, 5, 7, 9]
    assert rows[0] == {"_step": 1, "val": 1, "train.loss": 0.5}
    assert [row["_step"] for row in either.history(3, pandas=False)] == [0, 4, 9]
    assert either.history(3, pandas=False) == either.history(3, pandas=False)
    assert either.history(keys=["absent"], pandas=False) == []


def test_a_nan_stays_a_float(either: Run) -> None:
    sampled = either.history(pandas=False, keys=["val"])[1]["val"]
    whole = either.history(pandas=False)[3]["val"]
    scanned = list(either.scan_history(keys=["val"]))[1]["val"]
    for value in (sampled, whole, scanned):
        assert type(value) is float
        assert math.isnan(value)


def test_a_nan_is_spelled_out_on_request(either: Run) -> None:
    scan = either.scan_history(["_step", "val"], nan_as_string=True)
    assert {row["_step"]: row["val"] for row in scan} == {1: 1, 3: "NaN", 5: 5, 7: 7, 9: 9}
    value = {"a": [math.inf, {"b": -math.inf}], "c": "text", "d": 0.5}
    found = {"a": ["Infinity", {"b": "-Infinity"}], "c": "text", "d": 0.5}
    assert spelled(value) == found


def test_a_scan_gives_every_row_of_a_range(either: Run) -> None:
    scan = either.scan_history(page_size=3)
    rows = list(scan)
    assert [row["_step"] for row in rows] == list(range(10)) == [row["n"] for row in scan]
    assert "val" not in rows[0]
    assert rows[1]["val"] == 1
    assert type(rows[1]["val"]) is int
    assert rows[0]["lr.base"] == 1
    assert rows[0]["train.ok"] is True
    assert list(either.scan_history(keys=["val", "n"], min_step=3, max_step=7))[1:] == [
        {"val": 5, "n": 5}
    ]
    assert list(either.scan_history(keys=["_step"], max_step=2)) == [{"_step": 0}, {"_step": 1}]
    assert next(scan) == rows[0]
    assert next(scan) == rows[1]


def test_more_keys_than_an_address_holds(logged: Run) -> None:
    many = ["n", *(f"{number:0200}" for number in range(200))]
    assert logged.history(keys=many, pandas=False) == []


def test_a_sample_of_one_key_keeps_its_extremes(server: ServerHandle) -> None:
    values = np.sin(np.arange(5000) / 100)
    values[1234], values[4321] = 9.0, -9.0
    table = Table.from_columns(5000, [*rows(0, 5000).columns, Column("v", "f", values)])
    ingest(server, "r1", encode(0, table, [(0, start_event())]))
    run = api_of(server).run("p/r1")
    found = [row["v"] for row in run.history(samples=50, keys=["v"], pandas=False)]
    assert len(found) <= 50
    assert (max(found), min(found)) == (9.0, -9.0)
    for size in (2, 3, 4):
        found = [row["v"] for row in run.history(samples=size, keys=["v"], pandas=False)]
        assert len(found) == size
        assert (max(found), min(found)) == (9.0, -9.0)
    assert [row["_step"] for row in run.history(samples=1, keys=["v"], pandas=False)] == [0]


def test_pages_leave_no_row_out_where_steps_are_sparse(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server()
    steps = np.array([0, 1, 2, 500, 501, 99_000])
    columns = [
        Column("_step", "i", steps),
        Column("_timestamp", "f", 1.7e9 + steps),
        Column("v", "f", steps.astype(np.float64)),
    ]
    ingest(server, "r1", encode(0, Table.from_columns(6, columns), [(0, start_event())]))
    server.stop()
    api = api_of(start_server(data=server.data, native=False))
    scan = api.run("p/r1").scan_history(page_size=10_000)
    assert [row["v"] for row in scan] == steps.tolist()


def test_rows_of_json_are_what_frames_would_give() -> None:
    row = read_row('{"a":{"b":1,"c":NaN},"d":"NaN","e":["Infinity",1],"f":{"_type":"x"},"_step":0}')
    assert (row["a.b"], row["e"], row["f"], row["_step"]) == (1, [math.inf, 1], {"_type": "x"}, 0)
    assert math.isnan(row["a.c"])
    assert math.isnan(row["d"])


def test_waiting_ends_where_there_are_no_live_events(
    start_server: Callable[..., ServerHandle], server: ServerHandle
) -> None:
    ingest(server, "r1", first_frame(2))
    with asyncwb.init(project="p", id="done", settings=settings_of(server)) as run:
        run.log({"x": 1})
    server.stop()
    api: Api = api_of(start_server(data=server.data, native=False))
    found = api.run("p/done")
    found.wait_until_finished()
    assert (found.state, found.exit_code) == ("finished", None)
