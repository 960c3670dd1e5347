"""Our own server with its native endpoints off: what is logged reads back as from a native one.

The same data is served natively afterwards, to be read.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

import asyncwb
from asyncwb.errors import UsageError
from tests.faults import oracle
from tests.fix_faults import DROP, PASS, Answer, HttpFront, Lab, Network, Tally, Target, wait_for
from tests.fix_server import ServerHandle

pytestmark = pytest.mark.timeout(120)

Start = Callable[..., ServerHandle]
OFTEN = {"heartbeat_seconds": 0.05}
"""rows travel as often as heartbeats do"""


@pytest.fixture
def foreign(start_server: Start) -> ServerHandle:
    """A server that speaks W&B's protocol only."""
    return start_server(native=False)


def target_of(handle: ServerHandle) -> Target:
    return Target(handle.url, handle.api_key)


def native(start_server: Start, foreign: ServerHandle) -> Target:
    """The same server again, with everything that it offers."""
    foreign.stop()
    return target_of(start_server())


def init(handle: ServerHandle, **arguments: Any) -> Any:
    settings = {"base_url": handle.url, "api_key": handle.api_key, "silent": True, **OFTEN}
    return asyncwb.init(
        project="faults", settings={**settings, **arguments.pop("settings", {})}, **arguments
    )


def log_all_sorts(run: Any) -> None:
    """Log what a run can hold: kinds, nested and odd keys, open and late steps, summaries."""
    run.define_metric("val/*", step_metric="epoch", summary="min,mean,last")
    run.define_metric("loss", summary="max", hidden=True)
    run.define_metric("a\\.b", summary="first")
    for i in range(200):
        row: dict[str, Any] = {"loss": 1 / (i + 1), "val/acc": i * 2, "epoch": i // 10, "a.b": i}
        if i % 7 == 0:
            row |= {"text": f"row {i}", "deep": {"er": {"x": i % 2 == 0}, "none": None}}
        if i % 11 == 0:
            row |= {"nan": math.nan, "inf": -math.inf, "big": 2**62, "tiny": 5e-324, "neg": -0.0}
        run.log(row, commit=i % 13 != 0)
        if i % 50 == 49:
            run.log({"late": i}, step=i - 40)
        if i == 100:
            run.config["later"] = {"b": [1, None, 2.5]}
            run.summary["best"] = {"at": 3}
            run.tags = ("x", "y")
    run.log({"mixed": 1})
    run.log({"mixed": 0.5})
    run.log({"mixed": "text", "list": [1, {"a": math.nan}]})
    run.summary["loss"] = 7
    run.name = "renamed"


def read(target: Target, run: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything that is the same wherever and whenever it was logged."""
    about = oracle.info(target, run)
    about["config"].pop("_wandb", None)
    for own in ("entity", "url", "version", "created_at", "started_at", "heartbeat_at", "rows"):
        del about[own]
    for times in ("finished_at", "python", "client"):
        about.pop(times, None)
    for times in ("_timestamp", "_runtime"):
        assert about["summary"].pop(times) >= 0
    about["metrics"] = {metric.pop("key"): metric for metric in about["metrics"]}
    for metric in about["metrics"].values():
        del metric["count"]  # rows of one step are one there, and several here
    about["tags"] = sorted(about["tags"])
    path = f"/api/v1/runs/{oracle.info(target, run)['entity']}/faults/{run}/history?format=jsonl"
    rows = [json.loads(line) for line in oracle.get(target, path).splitlines()]
    for row in rows:
        assert row.pop("_timestamp") > 1e9
        assert 0 <= row.pop("_runtime") < 60
    return about, rows


def test_its_native_endpoints_are_off(foreign: ServerHandle) -> None:
    there = target_of(foreign)
    assert "ingest" not in json.loads(oracle.get(there, "/ready"))
    with pytest.raises(HTTPError) as refused:
        oracle.get(there, "/api/v1/viewer")
    assert refused.value.code == 404
    assert json.load(refused.value)["error"]["code"] == "not_found"
    refused.value.close()


def test_it_reads_back_as_from_a_native_server(
    foreign: ServerHandle, start_server: Start, tmp_path: Path
) -> None:
    home = start_server(data=tmp_path / "home")
    about = {"name": "n", "notes": "some\nnotes", "tags": ["x"], "group": "g", "job_type": "j"}
    config = {"lr": 0.1, "deep": {"a": [1, None]}, "nan": math.nan}
    for handle in (home, foreign):
        run = init(handle, id="run", config=config, **about)
        log_all_sorts(run)
        run.finish(exit_code=3)
        assert run.url == f"{handle.url}/{run.entity}/faults/runs/run"
        status = run.status()
        assert (status.acknowledged, status.lost, status.last_error) == (status.accepted, 0, None)
    expected, expected_rows = read(target_of(home), "run")
    found, rows = read(native(start_server, foreign), "run")
    assert [repr(sorted(row.items())) for row in rows] == [
        repr(sorted(row.items())) for row in expected_rows
    ]
    assert found == expected


def test_resume(foreign: ServerHandle, start_server: Start) -> None:
    with pytest.raises(UsageError, match="must"):
        init(foreign, id="run", resume="must")
    names = {"name": "n", "notes": "m", "group": "g", "job_type": "j"}
    with init(foreign, id="run", resume="never", config={"a": 1}, tags=["keep"], **names) as run:
        run.log({"x": 1.0, "old": 1})
        run.log({"x": 2.0})
    with init(foreign, id="run"):
        pass  # an id that is used again without `resume`
    with init(foreign, id="unnamed"):
        pass
    with pytest.raises(UsageError, match="never"):
        init(foreign, id="run", resume="never")
    with init(foreign, id="run", resume="must", config={"b": 2}) as run:
        assert (run.resumed, run.step, dict(run.config)) == (True, 2, {"a": 1, "b": 2})
        assert {name: getattr(run, name) for name in names} == names
        assert (run.tags, run.summary["x"], run.summary["old"]) == (("keep",), 2.0, 1)
        run.tags += ("new",)
        run.log({"x": 3.0})
        assert (run.summary["x"], run.summary["old"]) == (3.0, 1)
    target = native(start_server, foreign)
    assert oracle.info(target, "unnamed")["name"] == "unnamed"
    about, rows = read(target, "run")
    assert {name: about[name] for name in names} == names
    assert about["tags"] == ["keep", "new"]
    assert [row["x"] for row in rows] == [1.0, 2.0, 3.0]
    assert about["summary"] == {"x": 3.0, "old": 1, "_step": 2}
    assert (about["config"], about["state"]) == ({"a": 1, "b": 2}, "finished")


def test_a_resumed_summary_goes_on(foreign: ServerHandle, start_server: Start) -> None:
    for value in (2.0, 5.0, 3.0):
        with init(foreign, id="run", resume="allow") as run:
            run.define_metric("loss", summary="min,max,last")
            run.define_metric("acc", summary="best", goal="maximize")
            run.log({"loss": value, "acc": value})
            shown = run.summary.as_dict()
    assert shown["loss"] == {"min": 2.0, "max": 5.0, "last": 3.0}
    assert shown["acc"] == {"best": 5.0}
    told = read(native(start_server, foreign), "run")[0]["summary"]
    assert (told["loss"], told["acc"]) == (shown["loss"], shown["acc"])


def test_stop_comes_through(foreign: ServerHandle, lab: Lab) -> None:
    with init(foreign, id="run") as run:
        run.log({"x": 1})
        assert run._state.session.flush(durable=False, timeout=20).result(60)
        _stop(foreign, run.entity)
        progress = run._state.session.progress
        wait_for(lambda: progress.stop_requested, 20)


def _stop(handle: ServerHandle, entity: str) -> None:
    """Ask for an end as a page does."""
    ask = (
        'query($e: String) { project(name: "faults", entityName: $e) { run(name: "run") { id } } }'
    )
    found = graphql(handle, ask, e=entity)["project"]["run"]["id"]
    done = graphql(handle, "mutation($id: ID!) { stopRun(input: {id: $id}) { success } }", id=found)
    assert done["stopRun"]["success"]


def graphql(handle: ServerHandle, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {**handle.headers, "Content-Type": "application/json"}
    with build_opener(ProxyHandler({})).open(
        Request(f"{handle.url}/graphql", body, headers), timeout=20
    ) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer
    return answer["data"]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_kill_9_and_sync(
    lab: Lab, foreign: ServerHandle, start_server: Start, mode: str, tally: Tally
) -> None:
    there = target_of(foreign)
    chance = random.Random(mode)
    moments = [1, chance.randrange(1, 200), chance.randrange(200, 4000)]
    killed = [lab.train(there, f"run{n}", mode=mode, pace=0.0002, settings=OFTEN) for n in range(3)]
    for trainee, count in zip(killed, moments, strict=True):
        trainee.wait_rows(count)
        trainee.kill()
    lab.sync_all(there)
    lab.sync_all(there)  # again and again changes nothing
    target = native(start_server, foreign)
    rows = sum(oracle.expect_run(target, t.plan.run, t.returned()) for t in killed)
    tally(client_kills=3, rows=rows)


def test_answers_lost_and_a_busy_server(
    lab: Lab, network: Network, foreign: ServerHandle, start_server: Start, tally: Tally
) -> None:
    busy = {2: Answer(429, (("Retry-After", "1"),)), 4: Answer(503), 5: Answer(502)}

    def plan(number: int) -> str | Answer:
        return busy.get(number) or (DROP if number % 3 == 0 else PASS)

    front = HttpFront(target_of(foreign), plan)
    through = Target(network.listen(front).url, foreign.api_key)
    lab.train(through, "run", rows=6_000, pace=0.0005, settings=OFTEN).end()
    assert front.dropped >= 3
    assert front.refused == 3
    rows = oracle.expect_run(native(start_server, foreign), "run", 6_000)
    tally(answers_lost=front.dropped, busy_answers=front.refused, rows=rows)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_sync_beside_a_run_that_logs(
    lab: Lab, foreign: ServerHandle, start_server: Start, mode: str
) -> None:
    there = target_of(foreign)
    trainee = lab.train(there, "run", mode=mode, pace=0.001, settings=OFTEN)
    trainee.wait_rows(300)
    beside = lab.sync(there)
    if mode == "online":
        assert "sends it by itself" in beside.stdout
    assert beside.returncode == (1 if mode == "online" else 0), beside.stdout
    trainee.wait_rows(trainee.returned() + 200)
    trainee.kill()
    lab.sync_all(there)
    oracle.expect_run(native(start_server, foreign), "run", trainee.returned())


def test_forked_children_wait_and_are_synced(
    lab: Lab, foreign: ServerHandle, start_server: Start
) -> None:
    there = target_of(foreign)
    trainee = lab.train(there, "run", rows=200, forks=2, settings=OFTEN)
    trainee.end()
    lab.sync_all(there)
    target = native(start_server, foreign)
    for key in ("a", "a1", "a2"):
        assert oracle.expect_all(target, "run", 200, key) == 200


def test_a_server_that_is_down_is_not_taken_for_a_foreign_one(
    lab: Lab, foreign: ServerHandle, start_server: Start, network: Network
) -> None:
    there = target_of(foreign)
    answers = iter([503, 502])

    class Starting(HttpFront):
        async def _ask(self, head: bytes, body: bytes) -> bytes:
            status = next(answers, None) if head.startswith(b"GET /ready") else None
            if status is None:
                return await super()._ask(head, body)
            return f"HTTP/1.1 {status} Starting\r\nContent-Length: 0\r\n\r\n".encode()

    front = Starting(there, lambda number: PASS)
    through = Target(network.listen(front).url, foreign.api_key)
    lab.train(through, "run", rows=100, settings=OFTEN).end()
    assert next(answers, None) is None
    oracle.expect_run(native(start_server, foreign), "run", 100)
