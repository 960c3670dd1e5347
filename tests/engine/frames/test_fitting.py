"""A proxy whose limit is small keeps nothing back but what is larger by itself."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import numpy as np
import pytest

import asyncwb
from asyncwb.client.sync.sync import sync
from asyncwb.engine.frames.fitting import cut
from asyncwb.engine.frames.source import prepare
from asyncwb.settings import Settings
from asyncwb.wire.rows.columns import FLOAT, INT, Column, Table
from asyncwb.wire.rows.frames import Frame, decode
from tests.fix_faults import HttpFront, Network, Target
from tests.fix_server import ServerHandle

LIMIT = 64 * 2**10
LETTERS = random.Random(1)


def noise(size: int) -> str:
    """A text that does not become smaller by compressing."""
    return "".join(chr(LETTERS.randrange(0x100, 0x2000)) for _ in range(size // 2))


@pytest.fixture(params=[True, False], ids=["native", "wandb"])
def front(request: pytest.FixtureRequest, start_server: Any, network: Network) -> HttpFront:
    """What stands in front of our server, and of one that speaks W&B's protocol only."""
    server: ServerHandle = start_server(native=request.param)
    return HttpFront(Target(server.url, server.api_key), most=LIMIT)


@pytest.fixture
def target(front: HttpFront, network: Network) -> Target:
    return Target(network.listen(front).url, front.upstream.key)


def init(target: Target, **more: Any) -> Any:
    settings = {
        "base_url": target.url,
        "api_key": target.key,
        "flush_interval": 0.01,
        "heartbeat_seconds": 0.05,
        "detach_uploader": False,
    }
    return asyncwb.init("p", id="r", settings=settings, **more)


def history(front: HttpFront) -> tuple[Any, list[dict[str, Any]]]:
    api = asyncwb.Api(overrides={"base_url": front.upstream.url}, api_key=front.upstream.key)
    run = api.run(f"{api.default_entity}/p/r")
    return run, list(run.scan_history())


def test_frames_are_cut_and_the_limit_is_kept(target: Target, front: HttpFront) -> None:
    rows = [{f"m{k}": random.random() for k in range(50)} for _ in range(2000)]
    with init(target) as run:
        for row in rows:
            run.log(row)
    assert not run._session.folder.path.exists(), "all of it is at the server"
    assert run.status().acknowledged == 2000
    _, found = history(front)
    assert [{k: row[k] for k in rows[0]} for row in found] == rows
    assert front.refused <= 10, "it is learned how much is too much"


def test_one_row_that_is_too_large_is_set_aside(
    target: Target, front: HttpFront, capsys: pytest.CaptureFixture[str]
) -> None:
    large = noise(2 * LIMIT)
    with init(target) as run:
        for i in range(300):
            run.log({"i": i} if i != 100 else {"i": i, "large": large})
        run.summary["large"] = "short"
    _, found = history(front)
    assert [row["i"] for row in found] == [i for i in range(300) if i != 100]
    folder = run._session.folder.path
    (kept,) = (folder / "aside").iterdir()
    row = json.loads(kept.read_bytes())
    assert (row["_step"], row["large"]) == (100, large)
    status = run.status()
    assert (status.acknowledged, status.journaled, status.lost) == (299, 1, 0)
    said = capsys.readouterr().err
    assert said.count("1 row or event is larger than the server, or a proxy in front of it") == 1
    assert str(folder / "aside") in said
    assert "asyncwb sync" not in said, "which would not send it either"


def test_a_config_that_is_too_large_keeps_nothing_back(target: Target, front: HttpFront) -> None:
    config = {"lr": 0.1, "large": noise(2 * LIMIT)}
    with init(target, config=config) as run:
        for i in range(100):
            run.log({"i": i})
    there, found = history(front)
    assert [row["i"] for row in found] == list(range(100))
    assert there.state == "finished"
    (kept,) = (run._session.folder.path / "aside").iterdir()
    content = json.loads(kept.read_bytes())
    left_out = content["config"]["large"] if "config" in content else content["large"]["value"]
    assert left_out == config["large"]


def test_what_was_left_is_synced_in_parts(target: Target, front: HttpFront) -> None:
    large = noise(2 * LIMIT)
    nowhere = Target("http://127.0.0.1:9", "k")
    run = init(nowhere)
    for i in range(5000):
        run.log({"i": i, "x": random.random()} if i != 100 else {"i": i, "large": large})
    run.summary["large"] = "short"
    run.finish(timeout=0)
    folder = run._session.folder.path
    given = {"base_url": target.url, "api_key": target.key, "finish_timeout": 30.0}
    settings = Settings.resolve(given)
    (result,) = asyncio.run(sync([folder], settings=settings, jobs=1, report=lambda _: None))
    assert (result.sent, result.lost) == (4999, 0)
    assert "1 row or event is larger than the server" in str(result.error)
    _, found = history(front)
    assert [row["i"] for row in found] == [i for i in range(5000) if i != 100]
    assert len(list((folder / "aside").iterdir())) == 1


def test_a_server_that_decompresses_little_is_sent_little(start_server: Any) -> None:
    server: ServerHandle = start_server(max_raw=LIMIT)
    with init(Target(server.url, server.api_key)) as run:
        for i in range(20_000):
            run.log({"i": i} if i != 100 else {"i": i, "large": "x" * LIMIT})
    assert (run.status().acknowledged, run.status().journaled) == (19_999, 1)
    _, found = history(HttpFront(Target(server.url, server.api_key)))
    assert [row["i"] for row in found] == [i for i in range(20_000) if i != 100]


@pytest.mark.parametrize("most", [1, 100, 1000, 4000, 10**6])
def test_parts_of_a_frame_are_the_frame(most: int) -> None:
    steps = np.arange(100)
    kinds = {"_step": INT, "_timestamp": FLOAT, "i": INT}
    columns = [
        Column(k, kind, steps.astype(np.int64 if kind == INT else np.float64))
        for k, kind in kinds.items()
    ]
    table = Table.from_columns(100, columns)
    events = ((0, {"t": "start"}), (50, {"t": "config"}), (100, {"t": "finish"}))
    whole = Frame(7, table, events)
    parts = [decode(part.data) for part in cut(prepare(whole), most)]
    assert [f.first_seq for f in parts] == [7, *(f.first_seq + f.count for f in parts)][:-1]
    assert [row for f in parts for row in f.table.iter_rows()] == list(table.iter_rows())
    assert [e for f in parts for _, e in f.events] == [e for _, e in events]
    assert all(f.count == 1 or len(f.encode()) <= most for f in parts)
