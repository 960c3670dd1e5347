"""What the real client left on disk, or on another server, comes over as if it had come here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncwb.engine.uplink.http import Http
from asyncwb.importers.importing import import_runs
from asyncwb.importers.target import Target
from asyncwb.importers.wandb_logs import find_runs
from asyncwb.importers.wandb_server import WandbServer
from asyncwb.wire.paths import RunPath
from tests.fix_wandb import WandbClient, newest_release
from tests.importers import lab as lab

pytestmark = pytest.mark.anyio

_LOGS = """
import numpy
run = wandb.init(project="origin", id="abc", name="my run", tags=["a"], notes="n", group="g",
                 job_type="train", config={"lr": 0.1, "net": {"x": [1, None]}, "s": "t"})
run.define_metric("acc", summary="max")
run.define_metric("val/*", step_metric="epoch", summary="min,last")
for i in range(40):
    run.log({"loss": 1 / (i + 1), "i": i, "nest": {"a": {"b": i * 0.5}, "dot.k": 1},
             "flag": i % 2 == 0, "acc": i % 7})
run.log({"nan": math.nan, "inf": math.inf, "none": None, "big": 2**70, "text": "héllo",
         "list": [1, 2.5, None], "hist": wandb.Histogram(list(range(10))), "two": 2.0})
run.log({"epoch": 1, "val/x": 3.0})
run.log({"epoch": 2, "val/x": 1.5})
run.log({"late": 1}, step=60)
run.log({"part": 1}, commit=False)
run.log({"rest": 2})
run.log({"image": wandb.Image(numpy.zeros((4, 4, 3), dtype=numpy.uint8))})
run.config.update({"late": 5})
run.summary["hand"] = {"best": 0.5}
print("from the program")
run.finish(EXIT)
"""


async def test_a_folder_comes_over_as_its_client_would_have_sent_it(
    wandb_client: WandbClient,
) -> None:
    program = _LOGS.replace("EXIT", "3")
    wandb_client.run(program)
    wandb_client.run(program, WANDB_MODE="offline")
    logs = [*wandb_client.folder.glob("wandb/offline-run-*")]
    async with lab.target_of(wandb_client.server) as target:
        sources, bad = find_runs(logs, entity=None, project="copies")
        (result,) = await lab.bring(target, *sources)
        assert not bad
        assert (result.error, result.notes, dict(result.left)) == (None, [], {})
        await _compare(target)
        (again,) = await lab.bring(target, *sources)
    assert (again.error, again.rows, again.files) == (None, 0, 0)


@newest_release
async def test_a_run_of_a_server_comes_over_through_its_api(wandb_client: WandbClient) -> None:
    wandb_client.run(_LOGS.replace("EXIT", "0"))
    async with lab.target_of(wandb_client.server) as target:
        http = Http(20.0)
        try:
            key = wandb_client.server.api_key
            origin = WandbServer(http, wandb_client.server.url, key, patience=5.0)
            runs = origin.runs(await target.owner(None), "origin", None, into=(None, "copies"))
            (result,) = await import_runs(runs, target, jobs=1, report=lambda _: None)
        finally:
            await http.close()
        assert (result.error, result.notes, dict(result.left)) == (None, [], {})
        await _compare(target)


async def _compare(target: Target) -> None:
    owner = await target.owner(None)
    there, here = RunPath(owner, "origin", "abc"), RunPath(owner, "copies", "abc")
    one, other = await target.info(there), await target.info(here)
    assert one is not None
    assert other is not None
    for name in ("name", "tags", "notes", "group", "job_type", "state", "exit_code", "rows"):
        assert other[name] == one[name], name
    assert _plain(other["config"]) == _plain(one["config"])
    assert _plain(other["summary"]) == _plain(one["summary"])
    assert _text(await lab.history_of(target, here)) == _text(await lab.history_of(target, there))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _text(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(row, sort_keys=True) for row in rows]
