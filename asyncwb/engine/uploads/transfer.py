"""Files on their way between the disk and a server, in bounded memory.

A file that is downloaded appears at its place whole or not at all; its place is never outside the
folder that the caller named, whatever the file is called. Runs on the engine's loop; the disk is
touched on threads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeVar
from uuid import uuid4

from asyncwb.engine.uploads.signed_address import put
from asyncwb.errors import ArgumentError, CommError, Error
from asyncwb.typing import FilePath

T = TypeVar("T")

_OK: Final = range(200, 300)


def place_in(root: Path, name: str) -> Path:
    """Return where a file of a run goes below `root`.

    Links that lead out of `root` count as outside. Raises ValueError for a name that does not
    stay inside, and where a file stands in the place of a folder or the other way round: a run may
    have a file `x` and a file `x/y`, a disk may not.
    """
    parts = PurePosixPath(name).parts
    odd = PureWindowsPath(name)
    named = bool(parts) and "\0" not in name and not odd.drive and not odd.is_absolute()
    if not named or ".." in (*parts, *odd.parts) or PurePosixPath(name).is_absolute():
        raise ArgumentError(
            f"the file {name!r} has no place below {root}: its name leads elsewhere"
        )
    base = root.resolve()
    target = base.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(base):
        raise ArgumentError(f"the file {name!r} has no place below {root}: a link leads elsewhere")
    above = [folder for folder in target.parents if folder.is_relative_to(base)]
    file = next((place for place in above if place.exists() and not place.is_dir()), None)
    if file is not None or target.is_dir():
        there = f"a file {file}" if file is not None else f"a folder {target}"
        raise ArgumentError(
            f"the file {name!r} has no place below {root}: there is {there} already. Nothing was "
            "written; download it to another folder"
        )
    return target


def named_below(path: FilePath, root: FilePath) -> tuple[Path, str]:
    """Return a file's whole path, and its name relative to `root` with "/" between the parts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not below `root`, or is no file.
    """
    source, base = Path(os.path.abspath(path)), os.path.abspath(root)
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source} to upload")
    name = os.path.relpath(source, base).replace(os.sep, "/")
    if name.startswith("../") or not source.is_file():
        raise ArgumentError(f"{source} is no file below {base}")
    return source, name


async def save(chunks: AsyncIterator[bytes], target: Path) -> None:
    """Write chunks to a temporary file beside `target`, then put it in its place.

    Raises Error where the disk does not take it.
    """
    part = target.with_name(f".{target.name[:100]}.{uuid4().hex}.part")
    file = await _on_disk(target, _create, part)
    try:
        async for chunk in chunks:
            await _on_disk(target, file.write, chunk)
        await _on_disk(target, file.close)
        await _on_disk(target, os.replace, part, target)
    finally:
        file.close()
        part.unlink(missing_ok=True)


async def _on_disk(target: Path, do: Callable[..., T], *args: object) -> T:
    """Do it on a thread; an error of the disk must not pass for one of the connection."""
    try:
        return await asyncio.to_thread(do, *args)
    except OSError as error:
        why = error.strerror or str(error)
        raise Error(
            f"{target} cannot be written: {why}. Nothing is there; look at the disk"
        ) from error


def _create(part: Path) -> Any:
    part.parent.mkdir(parents=True, exist_ok=True)
    return part.open("xb")


async def send(http: Any, url: str, source: Path, headers: list[str]) -> None:
    """PUT a file with headers that are written as "Name: value"; raises CommError if refused."""
    reply, _ = await put(http, url, source, headers)
    if reply.status not in _OK:
        why = reply.problem.rstrip(".")
        raise CommError(
            f"the server did not take the file {source}: {why}. It is not stored there; try again",
            reply.status,
            reply.error[0],
        )
