"""A store: a database and the objects that it names, which belong together.

An id stands in both. A database knows its own; so a server whose `--objects` are another one's is
refused at start, before it serves what is not there, or collects what it does not know.

A store without an id (a new one, or one that an older release made) gets one. That is only done
where nothing speaks against it: objects that a database names are there, and a database that names
none does not get a folder that has objects already.
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import to_thread

from asyncwb.errors import UsageError
from asyncwb.server.config import ServerConfig
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store import damaged_log
from asyncwb.server.store.database import Database
from asyncwb.server.store.identity import Identity
from asyncwb.server.store.migrate import HEAD
from asyncwb.server.store.snapshot import revision_of

FOLDERS: Final = ("segments", "files")
"""where a server's objects are"""
LOCK: Final = "server.lock"
"""the file of a data folder that its server holds locked"""
ID_OBJECT: Final = "store-id"
"""the object that holds the store's id"""


@dataclass(frozen=True, slots=True)
class Store:
    """An existing store, opened. `problems` names damage of its log, now and at former starts."""

    database: Database
    objects: Objects
    problems: list[str]


def place_of_objects(config: ServerConfig) -> str | Path:
    """Return where a server's objects are."""
    return config.objects or config.data / "objects"


@asynccontextmanager
async def opened(config: ServerConfig) -> AsyncIterator[Store]:
    """Open a store that is there, beside its server or without one; nothing is made or migrated.

    Where SQLite's log is damaged and no server has it open, it is copied beside the database first.

    Raises:
        UsageError: there is none, it is of another release, or its objects are another store's.
    """
    database = Database(config.database_url)
    file = database.file
    if file is not None and not file.is_file():
        raise UsageError(f"there is no database {file}. Nothing was done; give --data, --database.")
    problems = [] if file is None else await to_thread.run_sync(_look_at_log, config, file)
    try:
        await database.open()
        _check_revision(await revision_of(database))
        objects = await to_thread.run_sync(Objects.open, place_of_objects(config))
        mine = await Identity(database).read()
        if mine is not None and await to_thread.run_sync(id_of, objects) != mine:
            raise UsageError(_OTHER.format(place=place_of_objects(config)))
        yield Store(database, objects, problems)
    finally:
        await database.leave()


def _look_at_log(config: ServerConfig, file: Path) -> list[str]:
    try:
        if _is_served(config.data):
            return [*damaged_log.in_use(file), *damaged_log.kept(file)]
        damaged_log.keep(file)
        return damaged_log.kept(file)
    except OSError as error:
        raise UsageError(
            f"SQLite's write-ahead log of {file} cannot be read: {error.strerror or error}. "
            "Nothing was done; see to it that its folder can be read by you."
        ) from error


def _is_served(data: Path) -> bool:
    """Tell whether a server runs on a data folder."""
    try:
        with (data / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _check_revision(revision: str | None) -> None:
    if revision is None:
        raise UsageError("the database holds no store. Nothing was done; give another --database.")
    if revision != HEAD:
        raise UsageError(
            f"the database is of another release (its schema is {revision}, this asyncwb's is "
            f"{HEAD}). Nothing was done; use the asyncwb that serves it, or start that server with "
            "this one once."
        )


async def open_objects(config: ServerConfig, database: Database, now: float) -> Objects:
    """Open a server's objects, and make sure that they are those of its database.

    Raises:
        SettingsError: they cannot be opened.
        UsageError: they are another database's.
    """
    place = place_of_objects(config)
    objects = await to_thread.run_sync(Objects.open, place)
    await identify(database, objects, place, now)
    return objects


async def identify(database: Database, objects: Objects, place: str | Path, now: float) -> None:
    """Make sure that a database and objects belong together; give them an id where they have none.

    Args:
        database: migrated.
        objects: where it says that its objects are.
        place: the same in words.
        now: unix seconds.

    Raises:
        UsageError: they do not; nothing was changed.
    """
    identity = Identity(database)
    mine, theirs = await identity.read(), await to_thread.run_sync(id_of, objects)
    if mine is None:
        theirs = await _adopt(identity, objects, place, theirs)
        # Two servers may start at once: the first one's id is the database's.
        mine = await identity.write(theirs, now)
    if mine != theirs:
        raise UsageError(_OTHER.format(place=place))


async def _adopt(
    identity: Identity, objects: Objects, place: str | Path, theirs: str | None
) -> str:
    """Return the id that a database without one may have: that of its objects, or a new one."""
    named = await identity.some_objects()
    if named:
        there = await to_thread.run_sync(lambda: any(objects.has(name) for name in named))
    else:
        there = await to_thread.run_sync(is_empty, objects)
    if not there:
        raise UsageError(_OTHER.format(place=place))
    if theirs is not None:
        return theirs
    await to_thread.run_sync(objects.put_new, ID_OBJECT, uuid.uuid4().hex.encode())
    made = await to_thread.run_sync(id_of, objects)
    assert made is not None
    return made


def id_of(objects: Objects) -> str | None:
    """Return the id of an object store; None where it has none. Blocks."""
    try:
        return objects.get(ID_OBJECT).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None


def is_empty(objects: Objects) -> bool:
    """Tell whether an object store has nothing but perhaps an id. Blocks."""
    return not any(True for folder in FOLDERS for _ in objects.list(folder))


_OTHER: Final = (
    "the objects at {place} are not those of this database: its rows and files lie elsewhere. "
    "Nothing was changed. Give the --objects (or --data) that belong to the --database; where the "
    "objects were moved, move all of them, `store-id` too."
)
