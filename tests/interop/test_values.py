"""Values that clients get wrong: many, large, of every script, not finite; and two writers at once.

Both programs run at the same time, into one server; the test compares with what they were given.
"""

from __future__ import annotations

import json
import math
from typing import Any

import asyncwb
from tests.fix_server import both_databases
from tests.fix_wandb import WandbClient

ROWS = 5_000
WIDE = 1_000
BIG = 200_000
KEYS = (
    "größe",
    "训练/损失",
    "emoji 🚀",
    "with space",
    "a.b.c",
    "quote\"'",
    "back\\slash",
    "per%cent",
)

_HARD = f"""
keys = {KEYS!r}
run = wandb.init(id="hard", name="名前 · Läufe", tags=["日本", "a/b"], notes="zwei\\nZeilen",
                 group="gruppe ü", job_type="evaluate",
                 config={{"größe": "ß", "训练": {{"层": [1, 2]}}, "big": 2**60, "tiny": 5e-324}})
run.log({{f"m/{{i}}": i / 7 for i in range({WIDE})}})
run.log({{key: i + 0.5 for i, key in enumerate(keys)}})
run.log({{"text": "x" * {BIG}, "line": "a\\nb\\tc\\u2028d", "japanese": "こんにちは", "empty": ""}})
run.log({{"huge": 1e308, "tiny": 5e-324, "tenth": 0.1, "long": 2**53 - 1}})
run.log({{"nan": math.nan, "inf": math.inf, "minus": -math.inf}})
run.log({{"list": [1, [2.5, None], "x"], "deep": {{"a": {{"b": {{"c": 1}}}}}}}})
run.summary["größe ü"] = "ö"
run.finish()
"""

_FAST = f"""
run = wandb.init(id="fast", group="loop", job_type="train")
for i in range({ROWS}):
    run.log({{"i": i, "square": i * i, "third": i / 3, "even": i % 2 == 0}})
run.finish()
"""

_READS = """
api = wandb.Api()
hard, fast = api.run("p/hard"), api.run("p/fast")
rows = [dict(row) for row in hard.scan_history()]
sampled = fast.history(keys=["third"], samples=100, pandas=False)
answer({
    "rows": rows, "config": dict(hard.config), "name": hard.name, "tags": sorted(hard.tags),
    "notes": hard.notes, "summary": {key: hard.summary[key] for key in
        ("größe ü", "nan", "inf", "tenth", "long", "训练/损失", "m/999", "japanese")},
    "fast": [[row["i"], row["square"], row["third"], row["even"]] for row in
             fast.scan_history(page_size=777)],
    "keyed": [row["square"] for row in fast.scan_history(["square"], page_size=333)],
    "part": [row["i"] for row in fast.scan_history(["i"], min_step=998, max_step=1003,
                                                   page_size=2)],
    "same": sampled == fast.history(keys=["third"], samples=100, pandas=False)
            and fast.history(samples=50, pandas=False) == fast.history(samples=50, pandas=False),
    "sampled": sampled,
    "groups": [[run.id for run in api.runs("p", filters=filters)] for filters in
               ({"group": "loop"}, {"group": "gruppe ü"}, {"jobType": "train"},
                {"job_type": {"$ne": "train"}}, {"tags": "日本"},
                {"config.größe": "ß"}, {"summary_metrics.训练/损失": 1.5})],
})
"""


@both_databases
def test_hard_values_of_two_writers(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    programs = [wandb_client.start(_HARD), wandb_client.start(_FAST)]
    for program in programs:
        out, err = program.communicate(timeout=100)
        assert program.returncode == 0, out + err
    assert wandb_client.failed_requests() == []
    theirs = wandb_client.run(_READS)
    check_hard(api, theirs)
    check_fast(api, theirs)
    loop, hard = ["fast"], ["hard"]
    assert theirs["groups"] == [loop, hard, loop, hard, hard, hard, hard]
    assert [run.id for run in api.runs("p", {"group": "gruppe ü"})] == hard


def check_hard(api: asyncwb.Api, theirs: dict[str, Any]) -> None:
    run = api.run("p/hard")
    rows = list(run.scan_history())
    for row, other in zip(rows, theirs["rows"], strict=True):
        assert plain(row) == plain(other)
    wide, named, texts, numbers, infinite, nested = rows
    assert [wide[f"m/{i}"] for i in range(WIDE)] == [i / 7 for i in range(WIDE)]
    assert [named[key] for key in KEYS] == [i + 0.5 for i in range(len(KEYS))]
    assert (texts["text"], texts["japanese"]) == ("x" * BIG, "こんにちは")
    assert (texts["line"], texts["empty"]) == ("a\nb\tc\u2028d", "")
    assert (numbers["huge"], numbers["tiny"], numbers["tenth"]) == (1e308, 5e-324, 0.1)
    assert numbers["long"] == 2**53 - 1
    assert math.isnan(infinite["nan"])
    assert (infinite["inf"], infinite["minus"]) == (math.inf, -math.inf)
    assert nested["list"] == [1, [2.5, None], "x"]
    config = {"größe": "ß", "训练": {"层": [1, 2]}, "big": 2**60, "tiny": 5e-324}
    assert dict(run.config) == theirs["config"] == config
    about = (run.name, sorted(run.tags), run.notes)
    assert about == ("名前 · Läufe", ["a/b", "日本"], "zwei\nZeilen")
    assert about == (theirs["name"], theirs["tags"], theirs["notes"])
    assert (run.group, run.job_type) == ("gruppe ü", "evaluate")
    summary = {key: run.summary[key] for key in theirs["summary"]}
    assert plain(summary) == plain(theirs["summary"])
    assert math.isnan(summary["nan"])
    assert (summary["inf"], summary["long"], summary["größe ü"]) == (math.inf, 2**53 - 1, "ö")


def check_fast(api: asyncwb.Api, theirs: dict[str, Any]) -> None:
    logged = [[i, i * i, i / 3, i % 2 == 0] for i in range(ROWS)]
    rows = [
        [row[key] for key in ("i", "square", "third", "even")]
        for row in api.run("p/fast").scan_history()
    ]
    assert rows == theirs["fast"] == logged
    assert theirs["keyed"] == [i * i for i in range(ROWS)]
    assert theirs["part"] == [998, 999, 1000, 1001, 1002]
    assert theirs["same"] is True
    kept = [(row["_step"], row["third"]) for row in theirs["sampled"]]
    assert 90 <= len(kept) <= 110
    assert (kept[0], kept[-1]) == ((0, 0), (ROWS - 1, (ROWS - 1) / 3))
    assert all(value == step / 3 for step, value in kept)


def plain(row: dict[str, Any]) -> str:
    """Return a row as text in which a float that JSON has no number for is equal to its name."""
    return json.dumps({key: _named(value) for key, value in row.items()}, sort_keys=True)


def _named(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
