"""What the real client says beside its rows: metrics' rules, alerts, console, system metrics."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

import asyncwb
from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import alerts
from tests.fix_wandb import WandbClient

_LOGS = """
import time
settings = wandb.Settings(x_stats_sampling_interval=0.1, console="wrap")
run = wandb.init(id="r", settings=settings)
print("first")
for i in range(20):
    sys.stderr.write(f"\\rstep {i}/20 " + "#" * i)
sys.stderr.write("\\n")
print("\\x1b[31mred\\x1b[0m ünïcode 日本")
sys.stderr.write("to stderr\\n")
print("line\\n\\nafter an empty one")
run.define_metric("low", summary="min")
run.define_metric("high", summary="max")
run.define_metric("all", summary="min,max,mean,last,first")
run.define_metric("hidden", summary="none")
run.define_metric("epoch")
run.define_metric("val/*", step_metric="epoch")
for i in range(6):
    value = (i * 3) % 7 + 0.5
    run.log({"low": value, "high": value, "all": value, "hidden": value,
             "plain": value, "epoch": i // 2, "val/loss": value})
run.alert("Low", "it is low", level=wandb.AlertLevel.WARN, wait_duration=60)
run.alert("Low", "again, too early", wait_duration=60)
run.alert("Other", "another")
time.sleep(0.8)
run.finish()
"""

_READS = """
run = wandb.Api().run("p/r")
def plain(value):
    return {key: plain(value[key]) for key in value.keys()} if hasattr(value, "keys") else value
answer({
    "summary": {key: plain(run.summary[key]) for key in run.summary.keys() if key[0] != "_"},
    "console": run.file("output.log").download(root="down").read().splitlines(),
    "lines": [[line.number, line.level, line.content] for line in run.console_logs()]
             if hasattr(run, "console_logs") else None,
    "system": run.history(stream="system", pandas=False),
    "newest": dict(run.system_metrics),
})
"""

_CONSOLE = [
    "first",
    "step 19/20 " + "#" * 19,
    "\x1b[31mred\x1b[0m ünïcode 日本",
    "to stderr",
    "line",
    "",
    "after an empty one",
]


def test_rules_alerts_console_and_system_metrics(
    wandb_client: WandbClient, api: asyncwb.Api
) -> None:
    wandb_client.run(_LOGS)
    assert wandb_client.failed_requests() == []
    theirs = wandb_client.run(_READS)
    run = api.run("p/r")
    check_summary(run, theirs["summary"])
    check_console(wandb_client, run, theirs)
    check_system(run, theirs)
    assert wandb_client.server.call(_alerts) == [
        ("Low", "it is low", "WARN"),
        ("Other", "another", "INFO"),
    ]


def check_summary(run: Any, theirs: dict[str, Any]) -> None:
    values = [(i * 3) % 7 + 0.5 for i in range(6)]
    low, high, last = min(values), max(values), values[-1]
    mean = sum(values) / len(values)
    expected = {
        "low": {"min": low},
        "high": {"max": high},
        "all": {"min": low, "max": high, "mean": mean, "last": last, "first": values[0]},
        "plain": last,
        "epoch": 2,
        "val/loss": last,
    }
    assert theirs == expected
    ours = {key: value for key, value in run.summary_metrics.items() if key[0] != "_"}
    assert ours == expected
    metrics = {"step": run.history_keys["keys"]["val/loss"]["typeCounts"]}
    assert metrics["step"][0] == {"type": "number", "count": len(values)}


def check_console(client: WandbClient, run: Any, theirs: dict[str, Any]) -> None:
    (written,) = client.folder.glob("wandb/run-*/files/output.log")
    assert written.read_text().splitlines() == theirs["console"] == _CONSOLE
    lines = list(run.console_logs())
    assert [line.content for line in lines] == _CONSOLE
    errors = {line.content for line in lines if line.level == "error"}
    assert errors == {_CONSOLE[1], _CONSOLE[3]}
    if theirs["lines"] is not None:
        assert theirs["lines"] == [[line.number, line.level, line.content] for line in lines]


def check_system(run: Any, theirs: dict[str, Any]) -> None:
    rows = run.history(stream="system", pandas=False)
    assert len(rows) >= 3
    assert theirs["system"] == rows
    assert all(row["system.proc.cpu.threads"] > 0 for row in rows)
    times = [row["_timestamp"] for row in rows]
    assert times == sorted(set(times))
    newest = run.system_metrics
    assert theirs["newest"] == newest
    assert newest["system.memory_percent"] == rows[-1]["system.memory_percent"]


async def _alerts(app: web.Application) -> list[tuple[str, str, str]]:
    wanted = sa.select(alerts.c.title, alerts.c.text, alerts.c.level).order_by(alerts.c.id)
    async with app[STATE].database.connect() as connection:
        return [(row[0], row[1], row[2]) for row in await connection.execute(wanted)]
