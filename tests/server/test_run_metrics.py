"""The names of what a run logged, as the page draws them."""

from __future__ import annotations

from typing import Any

import pytest

from asyncwb.wire import frames
from tests.fix_server import ServerHandle, both_databases
from tests.server.history_lab import Row, table_of
from tests.server.ingest_client import connect, start_event

pytestmark = [pytest.mark.anyio, both_databases]

ROWS: list[Row] = [
    (0, {"loss": 1.5, "n": 1, "flag": True, "note": "text", "": 2.0}),
    (1, {"loss": 0.5, "n": 2.5, "secret/a": 1, "both": 1}),
    (2, {"both": "text"}),
]


async def test_metrics_are_columns_that_say_what_the_whole_record_says(
    server: ServerHandle,
) -> None:
    async with connect(server) as client:
        hide = {"t": "metric", "name": "secret/*", "hidden": True}
        events = [(0, start_event()), (0, hide), (0, {"t": "summary", "set": {"by hand": 3}})]
        answer = await client.send(frames.encode(0, table_of(ROWS), events))
        run = f"runs/{answer['run']}"
        found = await client.get(f"{run}/metrics")
        keys: list[str] = found["key"]
        assert {key: (kind, count) for key, kind, count in columns(found)} == {
            "loss": ("f", 2), "n": ("f", 2), "flag": ("b", 1), "note": ("j", 1), "": ("f", 1),
            "secret/a": ("i", 1), "both": ("i", 2),
        }  # fmt: skip
        assert [keys[place] for place in found["hidden"]] == ["secret/a"]

        whole = await client.get(run)
        said = [(metric["key"], metric["kind"], metric["count"]) for metric in whole["metrics"]]
        assert said == list(columns(found))
        assert "metrics" not in await client.get(run, metrics="none")
        async with client.session.get(f"/api/v1/{run}x/metrics") as missing:
            assert missing.status == 404


async def test_a_run_without_rows_has_none(server: ServerHandle) -> None:
    async with connect(server) as client:
        answer = await client.send(frames.encode(0, table_of([]), [(0, start_event())]))
        found = await client.get(f"runs/{answer['run']}/metrics")
        assert found == {"key": [], "kind": "", "count": [], "hidden": []}


def columns(found: dict[str, Any]) -> list[tuple[str, str, int]]:
    return list(zip(found["key"], found["kind"], found["count"], strict=True))
