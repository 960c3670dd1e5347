"""Histories as files: what the real client is told of them, and that its scans stay exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyarrow import parquet  # type: ignore[import-untyped]

import asyncwb
from tests.fix_wandb import WandbClient, newest_release
from tests.interop.test_values import plain as named

pytestmark = newest_release

_LOGS = """
run = wandb.init(id="r")
run.log({"a": 1, "f": 0.5, "s": "x", "b": True, "n": {"d": 1, "e": 2.5}, "l": [1, {"q": None}]},
        step=3)
run.log({"a": 2, "f": math.nan, "none": None, "mixed": 1}, step=4)
run.log({"only": 2**53 + 1, "mixed": "t"}, step=10)
run.log({"a": -4, "b": False, "f": math.inf, "h": wandb.Histogram([1, 2, 3])}, step=11)
run.finish()
"""

_READS = """
def download(run, **options):
    try:
        found = run.download_history_exports("exports", **options)
    except Exception as error:
        return type(error).__name__
    return [[str(path) for path in found.paths], found.contains_live_data]

run = wandb.Api().run("p/r")
scans = [dict(), dict(page_size=2), dict(use_cache=False), dict(min_step=4, max_step=11),
         dict(keys=["a", "f"]), dict(keys=["n.d"]), dict(keys=["a", "absent"])]
going = wandb.init(id="going", reinit=True)
answer({
    "scans": [[dict(row) for row in run.scan_history(**scan)] for scan in scans],
    "whole": download(run), "what there is": download(run, require_complete_history=False),
    "going on": download(wandb.Api().run("p/going")),
})
going.finish()
"""


def test_no_history_passes_for_an_empty_one(
    wandb_client: WandbClient, api: asyncwb.Api, tmp_path: Path
) -> None:
    wandb_client.run(_LOGS)
    theirs = wandb_client.run(_READS)
    assert theirs["whole"] == theirs["going on"] == "IncompleteRunHistoryError"
    assert theirs["what there is"] == [[], True]

    run = api.run("p/r")
    rows = list(run.scan_history())
    assert [row["_step"] for row in rows] == [3, 4, 10, 11]
    whole, paged, fresh, part, keyed, nested, absent = theirs["scans"]
    assert plain(whole) == plain(paged) == plain(fresh) == plain(rows)
    assert plain(part) == plain(rows[1:3])
    both = [_of(row, "a", "f") for row in (rows[0], rows[1], rows[3])]
    assert [*map(named, keyed)] == [*map(named, both)]
    assert nested == [_of(rows[0], "n.d")]
    assert absent == []

    (path,) = run.download_history_exports(tmp_path / "exports").paths
    table = parquet.read_table(path)
    assert table.column("_step").to_pylist() == [3, 4, 10, 11]
    assert table.column("a").to_pylist() == [1, 2, None, -4]
    assert table.column("only").to_pylist() == [None, None, 2**53 + 1, None]
    assert table.column("b").to_pylist() == [True, None, None, False]
    assert repr(table.column("f").to_pylist()) == "[0.5, nan, None, inf]"
    assert table.column("mixed").to_pylist() == [None, "1", '"t"', None]


def _of(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: row[key] for key in ("_step", *keys)}


def plain(rows: Any) -> list[list[tuple[str, str]]]:
    """Rows so that NaN equals NaN; W&B's client gives a whole float as an int."""
    return [sorted((key, repr(_whole(value))) for key, value in row.items()) for row in rows]


def _whole(value: Any) -> Any:
    match value:
        case dict():
            return {key: _whole(item) for key, item in sorted(value.items())}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer():
            return int(value)
    return value
