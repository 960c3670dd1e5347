"""The object store: whole, immutable byte strings under names that the server made up.

A local folder or a bucket, by URL, through obstore: `/srv/data/objects`, `file:///srv/objects`,
`s3://bucket/prefix`, `memory:///` (for one process). An object appears whole or not at all, and
once `put` has returned it survives a crash. Names are made of internal ids; one that could leave
its place (`..`, a leading slash) is refused here, so nothing from a user becomes a path.

Methods block: call them from a worker thread. `put_stream` and `stream` are for the event loop.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
from aiohttp import web
from anyio import to_thread
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from asyncwb.errors import SettingsError
from asyncwb.private import close_to_others, make_private_folder

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*")
_AT_THE_TOP: Final = ("segments", "files", "store-id")
_READ_AHEAD: Final = 64 * 2**10
_PART: Final = 8 * 2**20
"""bytes of one part of an upload that streams into a bucket, which takes 10,000 parts"""
_LOCAL_PART: Final = 2**20
_AT_ONCE: Final = 2
"""parts of one upload that are written at a time, while the next one comes together"""
_PIECE: Final = 256 * 2**10


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing: `size` in bytes, `modified` in unix seconds of the store's clock."""

    name: str
    size: int
    modified: float


class Objects:
    """One store. Stateless and safe to share between threads."""

    def __init__(self, store: obstore.store.ObjectStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self._part = _PART if folder is None else _LOCAL_PART
        self.stream_memory = (_AT_ONCE + 1) * self._part
        """bytes of an upload that `put_stream` holds at a time"""

    @classmethod
    def open(cls, place: str | Path) -> Objects:
        """Open the store at a folder (made where it is missing) or at a URL.

        Credentials of a bucket come from the environment, as obstore documents.

        Raises:
            SettingsError: the URL is none that obstore can open, or the folder cannot be made or
                closed to others.
        """
        text = os.fspath(place)
        url = urlsplit(text)
        if url.scheme == "file":
            text = unquote(url.path)
        elif "://" in text:
            try:
                return cls(from_url(text), None)
            except (BaseError, ValueError) as error:
                raise SettingsError(
                    f"{text!r} cannot be opened as an object store: {str(error).splitlines()[0]}. "
                    "Nothing was started; give a folder, file:///folder or s3://bucket/prefix.",
                    "objects",
                ) from error
        folder = Path(text).absolute()
        try:
            make_private_folder(folder)
            close_to_others(folder, *_AT_THE_TOP)
        except OSError as error:
            raise SettingsError(
                f"{folder} cannot be the object store: {error.strerror or error}. Nothing was "
                "started; give another folder with --objects.",
                "objects",
            ) from error
        return cls(LocalStore(folder), folder)

    def put(self, name: str, data: bytes) -> None:
        """Store `data` under a new or an old name, whole, and on disk once this returns."""
        obstore.put(self._store, _checked(name), data)
        if self._folder is not None:
            self._sync(self._folder / name)

    def put_new(self, name: str, data: bytes) -> None:
        """Store `data` under a name that has none; what is there already stays."""
        try:
            obstore.put(self._store, _checked(name), data, mode="create")
        except AlreadyExistsError:
            return
        if self._folder is not None:
            self._sync(self._folder / name)

    def has(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        try:
            obstore.head(self._store, _checked(name))
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Return an object's size in bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return int(obstore.head(self._store, _checked(name))["size"])

    def _sync(self, file: Path) -> None:
        # The rows' frames are deleted from the database next: the file must not be in the
        # page cache only, nor a folder above it.
        assert self._folder is not None
        for path in (file, *file.parents):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if path == self._folder:
                break

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what `chunks` gives under a new name; holds some parts of it, not the whole.

        The object appears once all of it is there, and is on disk when this returns. Where
        `chunks` raises, so does this, and there is no object.
        """
        stored = obstore.put_async(
            self._store, _checked(name), chunks, chunk_size=self._part, max_concurrency=_AT_ONCE
        )
        await stored
        if self._folder is not None:
            await to_thread.run_sync(self._sync, self._folder / name)

    async def stream(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield bytes [start, stop) of an object in pieces of about a quarter of a MiB.

        In a local folder an object that is deleted meanwhile is still read to its end.

        Raises:
            FileNotFoundError: there is no such object; before the first piece.
        """
        if stop <= start:
            return
        found = await obstore.get_async(
            self._store, _checked(name), options={"range": (start, stop)}
        )
        async for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)

    def get(self, name: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return bytes(obstore.get(self._store, _checked(name)).bytes())

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of an object.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if stop <= start:
            return b""
        return bytes(obstore.get_range(self._store, _checked(name), start=start, end=stop))

    def reader(self, name: str, size: int) -> io.BufferedIOBase | io.RawIOBase:
        """Open an object of a known size for seeking and reading.

        An object that is deleted meanwhile stays readable in a local folder; in a bucket the
        next read says FileNotFoundError.
        """
        if self._folder is not None:
            return (self._folder / _checked(name)).open("rb")
        return _Reader(self, _checked(name), size)

    def delete(self, name: str) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            obstore.delete(self._store, _checked(name))
        except FileNotFoundError:
            return

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects in a folder and below it."""
        for chunk in obstore.list(self._store, prefix=_checked(prefix)):
            for meta in chunk:
                yield Stored(meta["path"], meta["size"], meta["last_modified"].timestamp())


class _Reader(io.RawIOBase):
    """A seekable view of an object in a bucket; a request for each read that is not small."""

    def __init__(self, objects: Objects, name: str, size: int) -> None:
        self._objects = objects
        self._name = name
        self._size = size
        self._at = 0
        self._ahead = (0, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        start, data = self._ahead
        if not start <= self._at <= self._at + size <= start + len(data):
            # Readers ask for a file's end twice, first its last words, then the directory there.
            start = max(0, min(self._at, self._size - _READ_AHEAD))
            start = start if size < _READ_AHEAD else self._at
            stop = min(self._size, max(self._at + size, start + _READ_AHEAD))
            data = self._objects.get_range(self._name, start, stop)
            self._ahead = (start, data)
        piece = data[self._at - start : self._at - start + size]
        self._at += len(piece)
        return piece

    def readall(self) -> bytes:
        return self.read()


OBJECTS: web.AppKey[Objects] = web.AppKey("objects", Objects)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of an object")
    return name
