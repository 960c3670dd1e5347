"""What a request costs is known before it runs, and what may run lets everything else go on."""

from __future__ import annotations

import asyncio
import gc
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import Mock

import orjson
import pytest
from aiohttp import web
from graphql import get_introspection_query, parse
from sqlalchemy import insert, select

from asyncwb.server import ServerConfig
from asyncwb.server.graphql import executable_schema
from asyncwb.server.graphql import runs as graphql_runs
from asyncwb.server.graphql.execution.cost import MAX_COST, cost
from asyncwb.server.http.state import STATE
from asyncwb.server.lifecycle import tune_garbage_collection
from asyncwb.server.runs import edit_requests
from asyncwb.server.runs.edits import Edit
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.schema import runs
from asyncwb.wire import query_documents
from asyncwb.wire import uplink_documents as engine_documents
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from tests.fix_server import ServerHandle
from tests.server.graphql.asking import ask, codes, data
from tests.server.ingest_client import event_frame, head, start_event

RUNS = 1000
LATE = 0.1
LEAVES = (
    "id name displayName state createdAt heartbeatAt tags notes group jobType host commit readOnly "
    "running failed computeSeconds summaryMetrics systemMetrics"
)
WORST = {
    "a page with configs": f"runs(first: 1000) {{ edges {{ node {{ {LEAVES} config a: config "
    "b: config project { name } user { username } runInfo { program } } } }",
    "a page of leaves": "runs(first: 1000) { edges { node { "
    + " ".join(f"a{i}: displayName" for i in range(90))
    + " } } }",
    "a page of what is looked up": "runs(first: 1000) { edges { node { "
    + " ".join(f"a{i}: project {{ id }}" for i in range(10))
    + " } } }",
    "a page of histories": "runs(first: 1000) { edges { node { history(samples: 100) } } }",
    "pages in pages": "runs(first: 300) { edges { node { project { runs(first: 30) { edges { node "
    "{ id name summaryMetrics } } } } } } }",
    "aliases of a page": " ".join(
        f"a{i}: runs(first: 100) {{ edges {{ node {{ id config }} }} }}" for i in range(60)
    ),
}
MANY = {
    "counts": " ".join(f"a{i}: runCount" for i in range(390)),
    "totals": " ".join(f"a{i}: runs(first: 0) {{ totalCount }}" for i in range(190)),
    "runs": " ".join(f'a{i}: run(name: "r{i}") {{ id }}' for i in range(190)),
}
"""fields that cost little, as often as they can be asked for"""


def price(text: str, **variables: object) -> int:
    """Return what a document costs."""
    return cost(executable_schema(), parse(text), variables, None)


def of_project(asked: str) -> str:
    """Ask something of the project under test."""
    return '{ project(name: "p") { ' + asked + " } }"


def test_a_page_counts_what_is_asked_of_each_row() -> None:
    one = price(of_project("runs(first: 1) { edges { node { id } } }"))
    many = price(of_project("runs(first: 501) { edges { node { id } } }"))
    more = price(of_project("runs(first: 501) { edges { node { id name } } }"))
    assert many - one == 500 * ((many - one) // 500)
    assert more - many == 501
    default = price(of_project("runs { edges { node { id } } }"))
    assert default == price(of_project("runs(first: 50) { edges { node { id } } }"))
    named = "query ($n: Int = 7) { project { runs(first: $n) { edges { node { id } } } } }"
    assert price(named) < price(named, n=70) < price(named, n=700)
    assert price(named, n=10**9) == price(named, n=1000), "a page has 1,000 rows at most"
    once = price(of_project("runs(first: 1000) { totalCount edges { node { id } } }"))
    assert once < price(of_project("runs(first: 1000) { edges { node { id } } }")) + 100


def test_lists_in_lists_multiply_whatever_they_are_written_with() -> None:
    flat = of_project(
        "runs(first: 100) { edges { node { project { runs(first: 100) { edges { node { id } } } } "
        "} } }"
    )
    spread = (
        "{ project { runs(first: 100) { edges { node { ...f } } } } } fragment f on Run { project "
        "{ ... on Project { runs(first: 100) { edges { node { id } } } } } }"
    )
    assert price(flat) == price(spread) > 10_000
    rows = price(of_project('run(name: "r") { history(samples: 100000) }'))
    specs = price(
        of_project('run(name: "r") { sampledHistory(specs: ["{\\"samples\\": 100000}"]) }')
    )
    assert min(rows, specs) > 20_000


def test_what_is_too_much_is_refused_with_its_cost(server: ServerHandle) -> None:
    nested = of_project(
        "runs(first: 1000) { edges { node { project { runs(first: 1000) { edges { node { id } } } "
        "} } } }"
    )
    heavy = " ".join(f"h{i}: history(samples: 10000)" for i in range(90))
    for query in (nested, of_project('run(name: "r") { ' + heavy + " }")):
        began = time.monotonic()
        answer = ask(server, query)
        assert codes(answer) == ["too_costly"]
        (error,) = answer["errors"]
        assert error["extensions"]["cost"] > error["extensions"]["bound"] == MAX_COST
        assert f"{MAX_COST:,}" in error["message"]
        assert "smaller pages" in error["message"]
        assert time.monotonic() - began < 10
    mixed = "query { ...q } fragment q on Query { __schema { types { name } } viewer { id } }"
    assert codes(ask(server, mixed)) == ["mixed"]


def _documents() -> dict[str, str]:
    api = {f"api {name}": text for name, text in query_documents.DOCUMENTS.items()}
    return api | {f"engine {name}": text for name, text in engine_documents.DOCUMENTS.items()}


@pytest.mark.parametrize("name", sorted(_documents()))
def test_what_our_clients_send_is_allowed(name: str) -> None:
    largest = {"perPage": 1000, "first": 1000, "samples": 100_000}
    assert price(_documents()[name], **largest) <= MAX_COST


def test_the_schema_may_be_asked_for() -> None:
    assert price(get_introspection_query()) <= MAX_COST


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """A server whose admin has a thousand runs, each with a config and a summary."""
    server = ServerHandle(ServerConfig(data=tmp_path_factory.mktemp("crowd")))
    server.start()

    async def fill(app: web.Application) -> None:
        state = app[STATE]
        user = await state.users.first()
        assert user is not None
        much = {f"key{i}": {"value": i, "text": "x" * 40} for i in range(100)}
        edit = Edit(name="a run", config=much, summary=much)
        await edit_requests.upsert(state, user, RunKey(user.entity, "p", "r0"), edit)
        async with state.database.transaction() as connection:
            one = (await connection.execute(select(runs))).one()._mapping
            same = {name: value for name, value in one.items() if name != "id"}
            more = [{**same, "run": f"r{number}"} for number in range(1, RUNS)]
            await connection.execute(insert(runs), more)

    loop = server._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(fill(server.app), loop).result(timeout=120)
    before = gc.get_threshold()
    tune_garbage_collection()  # as a server's own process does
    yield server
    gc.unfreeze()
    gc.set_threshold(*before)
    server.stop()


@contextmanager
def lateness(server: ServerHandle) -> Iterator[Callable[[], float]]:
    """Measure the most that the server's loop works between two looks at its timers.

    In seconds of its thread's processor time, which a busy machine does not change.
    """
    most, done = 0.0, False

    async def look(_: web.Application) -> None:
        nonlocal most
        last = time.thread_time()
        while not done:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            most, last = max(most, now - last), now

    with ThreadPoolExecutor(1) as pool:
        loop = server._loop
        assert loop is not None
        looking = asyncio.run_coroutine_threadsafe(look(server.app), loop)
        try:
            yield lambda: most
        finally:
            done = True
            looking.result(timeout=30)
        pool.shutdown()


def test_the_worst_that_is_allowed_is_worth_its_name() -> None:
    for asked in WORST.values():
        assert MAX_COST * 0.4 < price(of_project(asked)) <= MAX_COST


@pytest.mark.parametrize("what", [*WORST, *MANY])
def test_the_loop_goes_on_under_the_worst_that_is_allowed(crowd: ServerHandle, what: str) -> None:
    query = of_project((WORST | MANY)[what])
    body = orjson.dumps({"query": query})
    request = urllib.request.Request(f"{crowd.url}/graphql", body, crowd.headers)
    latest = []
    for _ in range(3):  # what stops the loop by itself does so each time
        with lateness(crowd) as late, urllib.request.urlopen(request, timeout=60) as response:
            answer = response.read()
        assert not answer.startswith(b'{"data":null'), answer[:500]
        assert b'"errors"' not in answer[-2000:]
        latest.append(late())
        if latest[-1] < LATE:
            return
    raise AssertionError(f"the loop stood still for {latest} s")


def test_nodes_in_turns_are_in_their_order(crowd: ServerHandle) -> None:
    found = data(crowd, of_project("runs(first: 1000) { edges { node { name config } } }"))
    names = [edge["node"]["name"] for edge in found["project"]["runs"]["edges"]]
    assert names == [f"r{number}" for number in range(RUNS)]


ENTITY = "root"
KEYS = {f"key{number}": number for number in range(60_000)}
WRAPPED = {key: {"value": value} for key, value in KEYS.items()}
UPSERT = """
mutation ($name: String, $config: JSONString, $summary: JSONString, $changes: JSONString) {
  upsertBucket(
    input: {
      modelName: "wide", name: $name, config: $config, summaryMetrics: $summary
      configChanges: $changes
    }
  ) { bucket { config summaryMetrics wandbConfig } }
}
"""
COUNT = '{ project(name: "wide") { runCount(filters: "{\\"config.key59999\\": 59999}") } }'
LIST = '{ project(name: "wide") { runs { edges { node { summaryMetrics config } } } } }'


def said(value: object) -> str:
    return orjson.dumps(value).decode()


class Wide:
    """Requests to a server about one run with very many keys."""

    def __init__(self, server: ServerHandle, name: str) -> None:
        self.server = server
        self.name = name

    def graphql(self, query: str, **variables: str) -> urllib.request.Request:
        body = orjson.dumps({"query": query, "variables": {"name": self.name, **variables}})
        return urllib.request.Request(f"{self.server.url}/graphql", body, self.server.headers)

    def batch(self, seq: int, event: Mapping[str, object]) -> urllib.request.Request:
        body = encode_batch([(head(self.name, project="wide"), [event_frame(seq, event)])])
        headers = {**self.server.headers, "Content-Type": CONTENT_TYPE}
        return urllib.request.Request(f"{self.server.url}/api/v1/ingest", body, headers)

    def stream(self, files: Mapping[str, object]) -> urllib.request.Request:
        path = f"{self.server.url}/files/{ENTITY}/wide/{self.name}/file_stream"
        body = orjson.dumps({"files": files})
        return urllib.request.Request(path, body, self.server.headers)

    def info(self, query: str = "") -> urllib.request.Request:
        path = f"{self.server.url}/api/v1/runs/{ENTITY}/wide/{self.name}{query}"
        return urllib.request.Request(path, headers=self.server.headers)


def edited(run: Wide) -> list[urllib.request.Request]:
    changes = said({"set": {"key1": 2}, "delete": []})
    return [
        run.graphql(UPSERT, config=said(WRAPPED), summary=said(KEYS)),
        run.graphql(UPSERT, changes=changes),
        run.info(),
        run.info("?values=short"),
    ]


def logged(run: Wide) -> list[urllib.request.Request]:
    small = {"t": "config", "set": {"key1": 2}, "delete": []}
    return [
        run.batch(0, start_event(config=KEYS)),
        run.batch(1, {"t": "summary", "set": KEYS, "delete": []}),
        run.batch(2, small),
        run.batch(3, {"t": "summary", "set": {"key1": 2}, "delete": []}),
    ]


def streamed(run: Wide) -> list[urllib.request.Request]:
    line = said({"_step": 0, **KEYS})
    return [
        run.graphql(UPSERT, config=said(WRAPPED)),
        run.stream({"wandb-summary.json": {"offset": 0, "content": [said(KEYS)]}}),
        run.stream({"wandb-history.jsonl": {"offset": 0, "content": [line]}}),
        run.stream({"wandb-history.jsonl": {"offset": 1, "content": ['{"_step": 1, "a": 2}']}}),
    ]


def listed(run: Wide) -> list[urllib.request.Request]:
    runs_of = f"{run.server.url}/api/v1/projects/{ENTITY}/wide/runs"
    return [
        run.graphql(UPSERT, config=said(WRAPPED), summary=said(KEYS)),
        run.graphql(COUNT),
        run.graphql(LIST),
        urllib.request.Request(runs_of, headers=run.server.headers),
    ]


def test_a_large_config_is_made_once_however_often_it_is_asked_for(
    crowd: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Mock(wraps=graphql_runs._wrapped)
    monkeypatch.setattr(graphql_runs, "_wrapped", made)
    run = Wide(crowd, "asked")
    names = " ".join(f"a{number}: config" for number in range(20))
    upsert = UPSERT.replace("{ bucket { config summaryMetrics wandbConfig } }", "{ inserted }")
    with urllib.request.urlopen(run.graphql(upsert, config=said(WRAPPED)), timeout=60):
        pass
    query = f'{{ project(name: "wide") {{ run(name: "asked") {{ {names} }} }} }}'
    with urllib.request.urlopen(run.graphql(query), timeout=60) as response:
        found = orjson.loads(response.read())["data"]["project"]["run"]
    assert [len(orjson.loads(text)) for text in found.values()] == [len(KEYS)] * 20
    assert made.call_count == 1


@pytest.mark.parametrize("what", [edited, logged, streamed, listed])
def test_the_loop_goes_on_whatever_the_width_of_a_run(
    crowd: ServerHandle, what: Callable[[Wide], list[urllib.request.Request]]
) -> None:
    latest = []
    for attempt in range(3):  # what stops the loop by itself does so each time
        requests = what(Wide(crowd, f"{what.__name__}{attempt}"))
        with lateness(crowd) as late:
            for request in requests:
                with urllib.request.urlopen(request, timeout=60) as response:
                    answer = response.read()
                assert b'"error' not in answer[-2000:], answer[-2000:]
        latest.append(late())
        if latest[-1] < LATE:
            return
    raise AssertionError(f"the loop stood still for {latest} s")
