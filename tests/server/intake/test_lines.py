"""Lines: the last word at a number counts, whatever came in whatever order."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncwb.server.http.state import STATE, State
from asyncwb.server.intake import lines
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.runs import lines as store
from asyncwb.server.store.runs.lines import Chunk
from tests.fix_server import ServerHandle, both_databases
from tests.server.wandb_client import make_run

pytestmark = both_databases


async def write(
    connection: AsyncConnection, run_id: int, offset: int, content: Sequence[str]
) -> None:
    """Put lines into a run's console as file_stream does."""
    old = await lines.touched(connection, run_id, lines.OUTPUT, offset, content)
    new = lines.merged(old, offset, content)
    await store.replace(connection, run_id, lines.OUTPUT, old, new)


class Stream:
    """One stream of one run."""

    def __init__(self, server: ServerHandle) -> None:
        self.server = server
        _, self.run_id = make_run(server, uuid.uuid4().hex)

    def on(self, work: Callable[[State], Any]) -> Any:
        async def run(app: web.Application) -> Any:
            return await work(app[STATE])

        return self.server.call(run)

    def write(self, offset: int, *content: str) -> None:
        async def work(state: State) -> None:
            async with state.database.transaction() as connection:
                await write(connection, self.run_id, offset, content)

        self.on(work)

    def read(self, **part: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = self.on(
            lambda state: lines.read(state, self.run_id, lines.OUTPUT, **part)
        )
        return found

    def tail(self, count: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = self.on(
            lambda state: lines.tail(state, self.run_id, lines.OUTPUT, count)
        )
        return found

    def count(self) -> int:
        found: int = self.on(lambda state: lines.count(state, self.run_id, lines.OUTPUT))
        return found

    def chunks(self) -> list[Chunk]:
        async def work(state: State) -> list[Chunk]:
            async with state.database.connect() as connection:
                return await store.between(connection, self.run_id, lines.OUTPUT, 0, 2**60)

        found: list[Chunk] = self.on(work)
        return found


_BLOCKS = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.text(max_size=3), max_size=8)), max_size=12
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(blocks=_BLOCKS)
def test_lines_are_a_map_from_numbers_to_text(
    server: ServerHandle, blocks: list[tuple[int, list[str]]]
) -> None:
    stream = Stream(server)
    model: dict[int, str] = {}
    for offset, content in blocks:
        clean = [line.encode("utf-8", "replace").decode() for line in content]
        stream.write(offset, *content)
        model.update((offset + i, line.replace("\n", "\u2424")) for i, line in enumerate(clean))
    assert stream.read() == sorted(model.items())
    assert stream.count() == max(model, default=-1) + 1
    assert stream.read(first=5, count=3) == [x for x in sorted(model.items()) if x[0] >= 5][:3]
    end = stream.count()
    assert stream.tail(4) == [x for x in sorted(model.items()) if x[0] >= end - 4]
    chunks = stream.chunks()
    assert all(a.first + a.count <= b.first for a, b in pairwise(chunks))


def test_many_small_blocks_become_few_chunks_and_large_ones_are_cut(server: ServerHandle) -> None:
    stream = Stream(server)
    for start in range(0, 300, 3):
        stream.write(start, *(str(i) for i in range(start, start + 3)))
    assert len(stream.chunks()) == 1
    stream.write(300, *(str(i) for i in range(300, 10_000)))
    assert [chunk.count for chunk in stream.chunks()] == [lines.CHUNK_LINES] * 5
    assert stream.read(first=1990, count=5000) == [(i, str(i)) for i in range(1990, 6990)]
    long = "x" * lines.CHUNK_BYTES
    stream.write(0, long, long)
    assert [line for _, line in stream.read(count=2)] == [long, long]
    assert len(stream.read(count=20_000)) == 10_000


def test_holes_take_no_memory_and_are_skipped(server: ServerHandle) -> None:
    stream = Stream(server)
    stream.write(2**50, "far")
    stream.write(5, "near")
    assert stream.count() == 2**50 + 1
    assert stream.read() == [(5, "near"), (2**50, "far")]
    assert stream.read(first=6) == [(2**50, "far")]
    assert stream.tail(10) == [(2**50, "far")]
    assert stream.read(first=2**51) == []
