"""Lines of text of a run: its console ("output") and its system metrics ("events").

A writer says where its lines begin, and may say lines again: the same place, perhaps with other
words (a progress bar), so the last word at a line counts. Lines may also come before those that
stand in front of them; what never came is a hole, and a hole takes no memory.

Lines rest in chunks, zstd over up to `CHUNK_LINES` lines each. A new block is merged with the
chunks that it touches, so that many small blocks become few chunks; chunks never overlap. Work
on a block is bounded by the block and two chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import zstandard

from asyncwb.server.http.state import State
from asyncwb.server.store.database import AsyncConnection
from asyncwb.server.store.runs import lines as store
from asyncwb.server.store.runs.lines import Chunk

EVENTS: Final = "events"
OUTPUT: Final = "output"
MAX_LINE: Final = 10 * 2**20
"""bytes of one line, in UTF-8"""
MAX_OFFSET: Final = 2**53
CHUNK_LINES: Final = 2000
CHUNK_BYTES: Final = 2**20
_READ_LINES: Final = 4 * CHUNK_LINES
"""lines that are unpacked in one turn of the event loop"""
_LEVEL: Final = 3


async def touched(
    connection: AsyncConnection, run_id: int, stream: str, offset: int, content: Sequence[str]
) -> list[Chunk]:
    """Return the chunks that lines at `offset` are merged with: what `merged` needs. One read.

    Args:
        connection: any.
        run_id: the run's inner id.
        stream: EVENTS or OUTPUT.
        offset: number of the first line, from 0.
        content: lines.
    """
    if not content:
        return []
    # From the line before: a chunk that ends there is gone on with.
    stop = offset + len(content)
    return await store.between(connection, run_id, stream, max(0, offset - 1), stop + 1)


async def read(
    state: State, run_id: int, stream: str, *, first: int = 0, count: int = 1000
) -> list[tuple[int, str]]:
    """Return up to `count` lines from line `first` on as (number, text); holes are left out.

    Reads in the order of lines, chunk by chunk, until it has enough.
    """
    found: list[tuple[int, str]] = []
    async with state.database.connect() as connection:
        end = await store.end(connection, run_id, stream)
        while len(found) < count and first < end:
            stop = first + min(max(CHUNK_LINES, count), _READ_LINES)
            chunks = await store.between(connection, run_id, stream, first, stop)
            found += (line for line in _numbered(chunks) if first <= line[0] < stop)
            first = stop
            if not chunks:  # a hole: go on where the next chunk begins
                first = max(first, await store.next_after(connection, run_id, stream, stop))
    return found[:count]


async def tail(state: State, run_id: int, stream: str, count: int) -> list[tuple[int, str]]:
    """Return the last `count` lines as (number, text), ascending; holes count as lines."""
    async with state.database.connect() as connection:
        end = await store.end(connection, run_id, stream)
        first = max(0, end - count)
        chunks = await store.between(connection, run_id, stream, first, end)
    return [line for line in _numbered(chunks) if line[0] >= first]


async def count(state: State, run_id: int, stream: str) -> int:
    """Return the number behind the last line, which is where a writer goes on; 0 for none."""
    async with state.database.connect() as connection:
        return await store.end(connection, run_id, stream)


def merged(old: Sequence[Chunk], offset: int, content: Sequence[str]) -> list[Chunk]:
    """Put lines at `offset`, over what is there; returns what takes the place of the old chunks.

    Who writes that (`store.runs.lines.replace`) holds the lock of the run's row and knows that the
    old chunks are still those, or chunks could overlap.

    Args:
        old: the chunks that they touch.
        offset: number of the first line, from 0.
        content: lines of at most MAX_LINE bytes; a line break inside one is shown as "\u2424".
    """
    stop = offset + len(content)
    before, after = [], []
    for chunk in old:
        for number, line in _numbered([chunk]):
            if number < offset:
                before.append((number, line))
            elif number >= stop:
                after.append((number, line))
    new = ((offset + i, line.replace("\n", "\u2424")) for i, line in enumerate(content))
    return list(_packed([*before, *new, *after]))


def _packed(numbered: Iterable[tuple[int, str]]) -> Iterator[Chunk]:
    first, size, held = 0, 0, list[bytes]()
    for number, line in numbered:
        data = line.encode("utf-8", "replace") + b"\n"
        full = len(held) >= CHUNK_LINES or size + len(data) > CHUNK_BYTES
        if held and (full or number != first + len(held)):
            yield _chunk(first, held)
            held, size = [], 0
        if not held:
            first = number
        held.append(data)
        size += len(data)
    if held:
        yield _chunk(first, held)


def _chunk(first: int, held: list[bytes]) -> Chunk:
    codec = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    packed = codec.compress(b"".join(held))
    return Chunk(first, len(held), packed)


def _numbered(chunks: Iterable[Chunk]) -> Iterator[tuple[int, str]]:
    for chunk in chunks:
        # Not splitlines(), which cuts at characters that lines may hold.
        try:
            text = zstandard.ZstdDecompressor().decompress(chunk.data).decode()
        except (zstandard.ZstdError, UnicodeDecodeError):
            last = chunk.first + chunk.count - 1
            yield chunk.first, f"[asyncwb: lines {chunk.first} to {last} are damaged in the store]"
            continue
        yield from enumerate(text.split("\n")[:-1], chunk.first)
