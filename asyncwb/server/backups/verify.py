"""Reading a store from end to end: every byte that has a checksum is checked, none is changed.

SQLite itself takes in the log that a killed server left; a damaged one is kept (`damaged_log`).

`verify(config)` reads what a server keeps, also while that runs. What a store of an older release
has without checksums is decoded, and counted as unchecked.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field

import zstandard
from anyio import to_thread

from asyncwb.errors import FrameError
from asyncwb.server.backups.stores import opened
from asyncwb.server.config import ServerConfig
from asyncwb.server.history import wide
from asyncwb.server.history.segment import Segment
from asyncwb.server.history.series import Rollup
from asyncwb.server.objects.checksums import SegmentSums, checked
from asyncwb.server.objects.damage import MISMATCH, DamagedError, found
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store import documents
from asyncwb.server.store.database import Database
from asyncwb.server.store.documents import DamagedText
from asyncwb.server.store.inventory import Inline, NamedObject, complaints, inline, named_objects
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.values import loads


@dataclass(slots=True)
class Verified:
    """What was read: how many of each kind, how many of them without a checksum, what is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    unchecked: int = 0
    problems: list[str] = field(default_factory=list)


async def verify(config: ServerConfig) -> Verified:
    """Read all that a server stores.

    Raises:
        UsageError: there is no store at these places.
    """
    result = Verified()
    async with opened(config) as store:
        result.problems += [*store.problems, *await complaints(store.database)]
        async for one in inline(store.database):
            _look(one, result)
        await _objects(store.database, store.objects, result)
    return result


def _look(one: Inline, result: Verified) -> None:
    result.counts[one.kind] += 1
    try:
        match one.kind:
            case "frame":
                frames.decode(one.data)
            case "rollup" if wide.is_values(one.data):
                wide.check(one.data)
            case "rollup":
                Rollup.decode(one.data)
                result.unchecked += not Rollup.has_checksum(one.data)
            case "lines":
                zstandard.ZstdDecompressor().decompress(one.data)
                result.unchecked += not zstandard.get_frame_parameters(one.data).has_checksum
            case "document":
                result.unchecked += not _check_document(one)
    except (FrameError, ValueError, zstandard.ZstdError) as error:
        result.problems.append(f"{one.place} is damaged: {error}")


def _check_document(one: Inline) -> bool:
    """Return whether a document has a checksum; one without is decoded, where it is JSON."""
    text, sealed = documents.read(one.data)
    if isinstance(text, DamagedText):
        raise ValueError(MISMATCH if sealed else "it is no text")
    if not sealed and one.json:
        loads(text.encode())
    return sealed


async def _objects(database: Database, objects: Objects, result: Verified) -> None:
    async with database.connect() as connection:
        everything = await named_objects(connection)
    wrong: dict[str, str] = {}
    for named in everything:
        result.counts[named.kind] += 1
        result.unchecked += named.checksums is None and named.md5 is None
        try:
            await check(objects, named)
        except DamagedError as error:
            wrong[named.name] = str(error)
    if wrong:  # what was dropped and collected meanwhile is no damage
        async with database.connect() as connection:
            left = {named.name for named in await named_objects(connection)}
        result.problems += [said for name, said in wrong.items() if name in left]


async def check(objects: Objects, named: NamedObject) -> None:
    """Read one object and check it against all that the database says of it.

    Raises:
        DamagedError: it is not what was stored, or not there.
    """
    with found(named.name, gone_is_lost=True):
        if named.kind == "segment":
            await to_thread.run_sync(_check_segment, objects, named)
        else:
            await _check_blob(objects, named)


def _check_segment(objects: Objects, named: NamedObject) -> None:
    data = objects.get(named.name)
    if len(data) != named.size:
        raise DamagedError(named.name, f"it has {len(data)} of {named.size} bytes")
    if named.checksums is not None and not SegmentSums.decode(named.checksums).fit(data):
        raise DamagedError(named.name, MISMATCH)
    with (
        closing(objects.reader(named.name, named.size)) as source,
        closing(Segment(source, named.name, named.size, named.checksums)) as segment,
    ):
        for group in segment.groups:
            segment.table([group.index])


async def _check_blob(objects: Objects, named: NamedObject) -> None:
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    async for piece in _pieces(objects, named):
        md5.update(piece)
        sha256.update(piece)
        size += len(piece)
    if size != named.size:
        raise DamagedError(named.name, f"it has {size} of {named.size} bytes")
    if named.md5 not in (None, base64.b64encode(md5.digest()).decode()):
        raise DamagedError(named.name, "its MD5 is another one")
    if named.sha256 not in (None, sha256.hexdigest()):
        raise DamagedError(named.name, "its SHA-256 is another one")


def _pieces(objects: Objects, named: NamedObject) -> AsyncIterator[bytes]:
    stream = objects.stream(named.name, 0, named.size)
    if named.checksums is None or not named.size:
        return stream
    return checked(stream, named.checksums, 0, named.size, named.name)
