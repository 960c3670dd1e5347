"""Backups of a store: one moment of the database, and every object that it names.

    DIR/backup.json                what stands here, with checksums; written last, and swapped whole
    DIR/database-.../              the database as of one moment (`store.snapshot`)
    DIR/objects-....jsonl          name, size and SHA-256 of each object
    DIR/objects/                   the objects
    DIR/api_key                    the first admin's key, where the data folder has it

A backup is taken while the server runs. The database comes first, so all that it names was there
at that moment; objects never change, and one that is dropped meanwhile stays for a grace
(`sweep.GRACE`). Where that was too short, the database is copied once more, and only what is new
since then: each round has less to copy.

DIR holds one moment. A further backup into it copies only the objects that are not there yet, and
deletes those that its database does not name once it stands; until then, and where it fails, the
former one is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import anyio
import orjson
from anyio import to_thread
from obstore.exceptions import BaseError

from asyncwb.errors import Error, UsageError
from asyncwb.private import close_to_others, make_private_folder, write_private
from asyncwb.server.backups.stores import (
    FOLDERS,
    ID_OBJECT,
    Store,
    id_of,
    is_empty,
    opened,
    place_of_objects,
)
from asyncwb.server.backups.verify import check
from asyncwb.server.config import ServerConfig
from asyncwb.server.objects.damage import DamagedError
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store import snapshot
from asyncwb.server.store.database import Database
from asyncwb.server.store.identity import Identity
from asyncwb.server.store.inventory import NamedObject
from asyncwb.server.store.migrate import HEAD
from asyncwb.server.store.snapshot import Contents
from asyncwb.typing import JsonObject
from asyncwb.version import __version__

_FORMAT: Final = 1
_MANIFEST: Final = "backup.json"
_LOCK: Final = "backup.lock"
_KEY: Final = "api_key"
_ROUNDS: Final = 5
_AT_ONCE: Final = 4
"""objects that are copied at a time"""


@dataclass(frozen=True, slots=True)
class CopiedObject:
    """An object of a backup: bytes, and SHA-256 of what was copied (hex).

    `sound` False: it was damaged in the store, and is copied anew by the next backup.
    """

    name: str
    size: int
    sha256: str
    sound: bool


@dataclass(slots=True)
class BackedUp:
    """What a backup, or restoring one, has done; `problems` names what is damaged, in words."""

    copied: int = 0
    kept: int = 0
    removed: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What `backup.json` says."""

    format: int
    made_at: float
    version: str
    store: str
    database: str
    files: dict[str, str]
    """SHA-256 of each file of the database, by its name"""
    objects: str
    objects_sha256: str
    contents: Contents


async def backup(config: ServerConfig, folder: Path) -> BackedUp:
    """Copy a store, which a server may be serving, into a folder.

    Costs reading the database, and the objects that are not in the folder yet. What is damaged in
    the store is copied as it is, unless the folder has it whole, and named.

    Args:
        config: where the store is.
        folder: made where it is missing; or one that holds an older backup of the same store.

    Raises:
        UsageError: there is no store, or the folder is not for it; nothing was changed.
    """
    async with opened(config) as store:
        _make(folder)
        with _locked(folder):
            identity = await Identity(store.database).read()
            assert identity is not None
            former = _former(folder, identity)
            return await _backup(config, store, folder, identity, former)


async def _backup(
    config: ServerConfig, store: Store, folder: Path, identity: str, former: _Manifest | None
) -> BackedUp:
    result, target = BackedUp(), await to_thread.run_sync(Objects.open, folder / "objects")
    have = {} if former is None else _objects_of(folder, former)
    gone: set[str] = set()
    for _ in range(_ROUNDS):
        stamp = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        place = folder / f"database-{stamp}"
        place.mkdir(mode=0o700)
        contents, named = await snapshot.copy(store.database, place)
        before, gone = gone, await _copy_all(store.objects, target, named, have, result)
        if gone <= before:  # and not for our slowness: they were not there the last time either
            break
        shutil.rmtree(place)
    result.problems += [f"{name} is damaged: the object is not there" for name in sorted(gone)]
    result.problems += store.problems
    identity_object = await to_thread.run_sync(store.objects.get, ID_OBJECT)
    await to_thread.run_sync(target.put, ID_OBJECT, identity_object)
    if (key := config.data / _KEY).is_file():
        write_private(folder / _KEY, key.read_bytes())
    kept = [have[one.name] for one in named if one.name in have]
    result.kept = max(0, len(kept) - result.copied)
    listing = b"".join(orjson.dumps(asdict(one)) + b"\n" for one in kept)
    write_private(folder / f"objects-{stamp}.jsonl", listing)
    manifest = _Manifest(
        _FORMAT, time.time(), __version__, identity, place.name,
        await to_thread.run_sync(_hashes, place), f"objects-{stamp}.jsonl",
        hashlib.sha256(listing).hexdigest(), contents,
    )  # fmt: skip
    write_private(folder / _MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
    _sync(folder)
    result.removed = await to_thread.run_sync(_prune, folder, target, manifest, kept)
    return result


async def _copy_all(
    source: Objects,
    target: Objects,
    named: list[NamedObject],
    have: dict[str, CopiedObject],
    result: BackedUp,
) -> set[str]:
    """Copy the objects that are not there yet; returns the names of those that are not found."""
    gone: set[str] = set()
    there = await to_thread.run_sync(_sizes, target)
    waiting = iter([one for one in named if not _stands(have.get(one.name), there)])

    async def work() -> None:
        for one in waiting:
            try:
                have[one.name] = await _copy(source, target, one, result)
            except FileNotFoundError:
                have.pop(one.name, None)
                gone.add(one.name)

    await _several(work)
    return gone


async def _several(work: Callable[[], Coroutine[object, None, None]]) -> None:
    """Do the same work several times at once, until nothing is left of it.

    Raises:
        Error: the disk, or an object store, failed.
    """
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(work)
    except* (OSError, BaseError) as group:
        (first, *_) = group.exceptions
        raise Error(
            f"the objects could not all be copied: {first}. What was copied from is untouched, and "
            "so is an older backup; make room, or mend the way there, and begin again."
        ) from first


def _sizes(objects: Objects) -> dict[str, int]:
    return {one.name: one.size for part in FOLDERS for one in objects.list(part)}


def _stands(kept: CopiedObject | None, there: dict[str, int]) -> bool:
    """Tell whether an object was copied whole before, and is still there."""
    return kept is not None and kept.sound and there.get(kept.name) == kept.size


async def _copy(
    source: Objects, target: Objects, named: NamedObject, result: BackedUp
) -> CopiedObject:
    digest, size = hashlib.sha256(), 0
    length = await to_thread.run_sync(source.size, named.name)

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in source.stream(named.name, 0, length):
            digest.update(piece)
            size += len(piece)
            yield piece

    await target.put_stream(named.name, pieces())
    result.copied += 1
    result.size += size
    sound = True
    try:
        await check(target, named)  # read back: it is what was stored once, and it is here
    except DamagedError as error:
        result.problems.append(str(error))
        sound = False
    return CopiedObject(named.name, size, digest.hexdigest(), sound)


async def restore(config: ServerConfig, folder: Path) -> BackedUp:
    """Make a store of a backup, where there is none; no server may be running there.

    The objects come first and the database last, so that nothing passes for a store before it is
    one. What is damaged in the backup is restored as it is, and named.

    Args:
        config: where the store shall be: a data folder that is empty or missing, objects that are
            none, and a database without tables, of the kind that the backup is of.
        folder: what `backup` filled.

    Raises:
        UsageError: this is no backup, or its database is damaged, or there is something already;
            nothing was changed.
    """
    manifest = _manifest(folder)
    problems = await to_thread.run_sync(_damage_of_database, folder, manifest)
    if problems:
        raise UsageError(f"{problems[0]}. Nothing was restored; take another backup.")
    database = Database(config.database_url)
    try:
        await _check_place(config, database, manifest)
        target = await to_thread.run_sync(Objects.open, place_of_objects(config))
        if await to_thread.run_sync(_has_objects, target):
            raise _taken(f"the objects at {place_of_objects(config)} are there already")
        result = await _restore_objects(folder, manifest, target)
        if database.file is not None:
            await to_thread.run_sync(snapshot.place_file, folder / manifest.database, database.file)
        else:
            await snapshot.load(database, folder / manifest.database, manifest.contents)
    finally:
        await database.leave()
    if (key := folder / _KEY).is_file():
        write_private(config.data / _KEY, key.read_bytes())
    return result


async def _check_place(config: ServerConfig, database: Database, manifest: _Manifest) -> None:
    kind = "sqlite" if database.is_sqlite else "postgresql"
    if kind != manifest.contents.kind:
        raise UsageError(
            f"the backup is of a {manifest.contents.kind} database, and cannot be restored into "
            f"{kind}. Nothing was done; give a --database of its kind."
        )
    if config.data.exists() and any(config.data.iterdir()):
        raise _taken(f"the data folder {config.data} is not empty")
    if database.file is None:
        await database.open()
        if not await snapshot.is_empty(database):
            raise _taken("the database has tables already")
    elif database.file.exists():
        raise _taken(f"the database {database.file} is there already")
    make_private_folder(config.data)
    close_to_others(config.data)


def _taken(what: str) -> UsageError:
    return UsageError(
        f"{what}. Nothing was restored, and nothing there was touched; give new ones."
    )


async def _restore_objects(folder: Path, manifest: _Manifest, target: Objects) -> BackedUp:
    result, source = BackedUp(), await to_thread.run_sync(Objects.open, folder / "objects")
    waiting = iter(_objects_of(folder, manifest).values())

    async def work() -> None:
        for one in waiting:
            try:
                await _restore(source, target, one)
                result.copied += 1
                result.size += one.size
            except FileNotFoundError:
                result.problems.append(f"{one.name} is not in the backup any more")
            except DamagedError as error:
                result.problems.append(str(error))

    await _several(work)
    await to_thread.run_sync(target.put, ID_OBJECT, manifest.store.encode())
    return result


async def _restore(source: Objects, target: Objects, kept: CopiedObject) -> None:
    digest = hashlib.sha256()
    length = await to_thread.run_sync(source.size, kept.name)

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in source.stream(kept.name, 0, length):
            digest.update(piece)
            yield piece

    await target.put_stream(kept.name, pieces())
    if digest.hexdigest() != kept.sha256:
        raise DamagedError(kept.name, "the backup's copy is not what was copied")


async def verify_backup(folder: Path) -> BackedUp:
    """Read a backup from end to end and check it against what it says of itself.

    Raises:
        UsageError: this is no backup.
    """
    manifest = _manifest(folder)
    result = BackedUp(problems=await to_thread.run_sync(_damage_of_database, folder, manifest))
    if not any(manifest.objects in problem for problem in result.problems):
        await to_thread.run_sync(_look_at_objects, folder, manifest, result)
    return result


def _look_at_objects(folder: Path, manifest: _Manifest, result: BackedUp) -> None:
    for one in _objects_of(folder, manifest).values():
        path = folder / "objects" / one.name
        result.kept += 1
        result.size += one.size
        if not path.is_file():
            result.problems.append(f"{one.name} is not there")
        elif _hash(path) != one.sha256:
            result.problems.append(f"{one.name} is damaged: its SHA-256 does not match")


# The folder.


def _make(folder: Path) -> None:
    try:
        make_private_folder(folder)
        close_to_others(folder, _MANIFEST)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot hold a backup: {error.strerror or error}. Nothing was written; give "
            "another folder."
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another backup into {folder} is under way. Nothing was written; wait for it."
            ) from error
        yield


def _former(folder: Path, identity: str) -> _Manifest | None:
    if not (folder / _MANIFEST).exists():
        return None
    former = _manifest(folder)
    if former.store != identity:
        raise UsageError(
            f"{folder} holds a backup of another store. Nothing was written; give another folder."
        )
    return former


def _manifest(folder: Path) -> _Manifest:
    try:
        said: JsonObject = orjson.loads((folder / _MANIFEST).read_bytes())
        if said["format"] != _FORMAT or said["contents"]["revision"] > HEAD:
            raise UsageError(
                f"the backup in {folder} was made by asyncwb {said['version']}, which is newer. "
                "Nothing was done; use that version."
            )
        return _Manifest(**said | {"contents": Contents(**said["contents"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds no backup: {error}. Nothing was done.") from error


def _objects_of(folder: Path, manifest: _Manifest) -> dict[str, CopiedObject]:
    lines = (folder / manifest.objects).read_bytes().splitlines()
    return {one.name: one for one in (CopiedObject(**orjson.loads(line)) for line in lines)}


def _damage_of_database(folder: Path, manifest: _Manifest) -> list[str]:
    expected = {f"{manifest.database}/{name}": sha for name, sha in manifest.files.items()}
    expected[manifest.objects] = manifest.objects_sha256
    found = []
    for name, sha in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} of the backup is not there")
        elif _hash(path) != sha:
            found.append(f"{name} of the backup is damaged: its SHA-256 does not match")
    return found


def _hashes(place: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, which are all on the disk then."""
    found = {}
    for path in sorted(place.iterdir()):
        path.chmod(0o600)
        _sync(path)
        found[path.name] = _hash(path)
    _sync(place)
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_objects(objects: Objects) -> bool:
    return id_of(objects) is not None or not is_empty(objects)


def _prune(folder: Path, target: Objects, manifest: _Manifest, kept: list[CopiedObject]) -> int:
    """Delete what earlier backups, and attempts, left that this one does not need."""
    for path in folder.glob("database-*"):
        if path.name != manifest.database:
            shutil.rmtree(path)
    for path in folder.glob("objects-*.jsonl"):
        if path.name != manifest.objects:
            path.unlink()
    needed, removed = {one.name for one in kept}, 0
    for part in FOLDERS:
        for stored in list(target.list(part)):
            if stored.name not in needed:
                target.delete(stored.name)
                removed += 1
    return removed
