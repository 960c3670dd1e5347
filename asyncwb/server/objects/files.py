"""Files of runs: uploads and downloads, by signed address or with a key.

    PUT, GET, HEAD /storage/{token}                           who has the token; it expires, and it
                                                              ends with the key that it is from
    PUT, GET, HEAD /files/{entity}/{project}/{run}/{name}     who may write or read the run

A file's bytes are a blob, in an object of a random name, never a path made of what a user said. An
upload streams into a new object; once all of it is there, is as long as the request said and has
the SHA-256 that it said (`Repr-Digest`, where it did), one transaction lets the file refer to it,
and the old bytes are released: deleted once nothing has referred to them for a grace. So a reader
sees the old file or the new one, whole, and a broken upload leaves nothing but an object that
`collect_orphans` removes.

What users store must not act in the page's name: an answer has a type that the browser may not
guess anew, a policy that lets nothing run, and only pictures, sound, video and plain text are
shown in place; all else is to be saved.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import mimetypes
import re
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from aiohttp import web
from anyio import to_thread
from obstore.exceptions import BaseError

from asyncwb.server.http import body_limits
from asyncwb.server.http.access import Action, require_run
from asyncwb.server.http.auth import public
from asyncwb.server.http.body_limits import UPLOADS
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.open_requests import OPEN_REQUESTS
from asyncwb.server.http.signing import new_secret, refused
from asyncwb.server.http.state import STATE, USER, State
from asyncwb.server.objects import garbage_collection
from asyncwb.server.objects.checksums import FileSums, checked, whole_pieces
from asyncwb.server.objects.damage import DamagedError
from asyncwb.server.objects.objects import OBJECTS, Objects
from asyncwb.server.process.background import TASKS, shielded
from asyncwb.server.store.blobs import Content
from asyncwb.server.store.database import UncertainCommitError
from asyncwb.server.store.people.users import User
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.runs.details import Details
from asyncwb.server.store.runs.files import StoredFile
from asyncwb.wire.names import file_problem

log = logging.getLogger("asyncwb.server")

FOLDER: Final = "files"
MAX_NAMES: Final = 10_000
UPLOAD_LIFETIME: Final = 86_400.0
DOWNLOAD_LIFETIME: Final = 86_400.0
_UPLOAD: Final = "put"
_DOWNLOAD: Final = "get"
_NO_KEY: Final = 0
"""in an address, where its user came in by no key"""
_WHOLE: Final = 4 * 2**20
"""bytes; a smaller upload is stored in one piece"""
_ORPHANS_EVERY: Final = 3600.0
_ORPHAN_AGE: Final = 2 * UPLOAD_LIFETIME
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_DIGEST: Final = re.compile(r"(?:^|[,\s])sha-256=:([^:]*):")
_SHOWN: Final = re.compile(
    r"image/(png|jpeg|gif|webp|bmp|avif)|audio/[\w.+-]+|video/[\w.+-]+|text/(plain|csv)"
    r"|application/json"
)
_INERT: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}
_TYPES: Final = {
    ".log": "text/plain",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".py": "text/plain",
    ".patch": "text/plain",
    ".yaml": "text/plain",
    ".yml": "text/plain",
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}


def routes() -> list[web.RouteDef]:
    """Return the routes of files."""
    by_name = "/files/{entity}/{project}/{run}/{name:[\\s\\S]+}"
    return [
        web.put("/storage/{token}", put_signed),
        web.get("/storage/{token}", get_signed),
        web.put(by_name, put_named),
        web.get(by_name, get_named),
    ]


async def background(app: web.Application) -> AsyncIterator[None]:
    """Share the signing secret, and delete what uploads left behind (a cleanup context)."""
    state = app[STATE]
    state.signer.use(await state.files.secret("signing", new_secret(), state.clock()))

    async def turn() -> float:
        if await shielded(garbage_collection.is_due(state.claims, FOLDER, _ORPHANS_EVERY)):
            await shielded(collect_orphans(app))
        return _ORPHANS_EVERY

    async with app[TASKS].keep("collecting files", turn, after=_ORPHANS_EVERY):
        yield


# What other rooms call.


async def create(
    state: State, user: User, run_id: int, names: Sequence[str], base: str
) -> list[tuple[str, str | None]]:
    """Announce files of a run and return where to upload each, in the order of `names`.

    Args:
        state: the server.
        user: who asks; the addresses are worth what the user's key and rights are.
        run_id: the run's inner id.
        names: at most MAX_NAMES. For a name that `file_problem` refuses the address is None, which
            W&B clients take as "skip it".
        base: the server's address as the client knows it.

    Raises:
        ApiError: 400: too many names.
    """
    if len(names) > MAX_NAMES:
        raise ApiError(400, "too_many_files", f"Ask for at most {MAX_NAMES} files at once.")
    good = {name: mimetype(name) for name in names if file_problem(name) is None}
    made = await state.files.announce(run_id, good, state.clock())
    urls = {file.name: upload_url(state, user, file, base) for file in made}
    return [(name, urls.get(name)) for name in names]


def url(state: State, user: User, file: StoredFile, base: str) -> str:
    """Return an address that gives the file's bytes to whoever has it, for a day.

    It ends sooner with the key that the user came in by, and with the user's right to the run.
    """
    return _signed(state, user, file, base, _DOWNLOAD, DOWNLOAD_LIFETIME)


def upload_url(state: State, user: User, file: StoredFile, base: str) -> str:
    """Return an address that takes the file's bytes from whoever has it, for a day, as `url`."""
    return _signed(state, user, file, base, _UPLOAD, UPLOAD_LIFETIME)


def _signed(
    state: State, user: User, file: StoredFile, base: str, purpose: str, lifetime: float
) -> str:
    expires = state.clock() + lifetime
    token = state.signer.sign(purpose, file.id, user.id, user.key_id or _NO_KEY, expires=expires)
    return f"{base}/storage/{token}"


async def delete(app: web.Application, run_id: int, ids: Collection[int]) -> int:
    """Delete a run's files of these inner ids; return how many there were."""
    state = app[STATE]
    return await state.files.delete(run_id, ids, state.clock())


async def _discard(objects: Objects, name: str) -> None:
    """Delete an object that nothing ever pointed to; where that fails it is an orphan."""
    try:
        await to_thread.run_sync(objects.delete, name)
    except (OSError, BaseError) as error:
        log.warning("an object stays until it is collected: %s", error)


def mimetype(name: str) -> str | None:
    """Guess a file's type by its name."""
    dot = name.rfind(".")
    known = _TYPES.get(name[dot:].lower()) if dot >= 0 else None
    return known or mimetypes.guess_type(name.replace("\\", "/").rpartition("/")[2])[0]


# Uploads.


@public
async def put_signed(request: web.Request) -> web.Response:
    """Take a file's bytes; the address says which file, and from whom."""
    user, file = await _asked(request, _UPLOAD, Action.WRITE)
    with request.app[OPEN_REQUESTS].entered(request, user):
        await _upload(request, user, file.id)
    return web.json_response({})


async def _asked(request: web.Request, purpose: str, action: Action) -> tuple[User, StoredFile]:
    """Return whom a signed address was given to, and its file, where both are as they were then.

    Raises:
        ApiError: 403: it is no address of this server, or the key that it is from is worthless by
            now; 403 or 404: the user has lost the right to the run; 404: there is no such file.
    """
    state = request.app[STATE]
    ids = state.signer.check(request.match_info["token"], purpose, state.clock())
    if len(ids) != 3:  # of a release that did not say whose it was
        raise refused("This address is of an older release; ask for a new one.")
    file_id, user_id, key_id = ids
    user = await state.users.by_ids(user_id, None if key_id == _NO_KEY else key_id)
    if user is None:
        raise refused("The key that this address was made with is worthless by now.")
    file = await state.files.by_id(file_id)
    if file is None:
        raise _no_file()
    places = await Details(state.database).places([file.run_id])
    if file.run_id not in places:
        raise _no_file()
    await require_run(state, user, action, places[file.run_id][1])
    return user, file


async def put_named(request: web.Request) -> web.Response:
    """Take a file's bytes from who may write the run."""
    state, name = request.app[STATE], request.match_info["name"]
    _, run_id = await require_run(state, request[USER], Action.WRITE, _path(request))
    if (why := file_problem(name)) is not None:
        raise ApiError(400, "bad_name", f"{why.capitalize()}. Nothing was written.")
    (file,) = await state.files.announce(run_id, {name: mimetype(name)}, state.clock())
    await _upload(request, request[USER], file.id)
    return web.json_response({})


def _path(request: web.Request) -> RunKey:
    match = request.match_info
    return RunKey(match["entity"], match["project"], match["run"])


async def _upload(request: web.Request, user: User, file_id: int) -> None:
    state, objects = request.app[STATE], request.app[OBJECTS]
    size = request.content_length
    if size is None:
        raise ApiError(411, "length_required", "Say the file's Content-Length; nothing was stored.")
    if "Content-Encoding" in request.headers:
        raise ApiError(415, "encoded", "Send the file's bytes as they are; nothing was stored.")
    if size > state.config.max_upload:
        raise _too_large(size, state.config.max_upload)
    name = f"{FOLDER}/{secrets.token_hex(16)}"
    with request.app[UPLOADS].share() as share:
        if size <= _WHOLE:
            body = _Body(body_limits.pieces(request, share, user, size), size)
            data = b"".join([piece async for piece in body.pieces()])
            await to_thread.run_sync(objects.put, name, data)
        else:
            coming = body_limits.pieces(request, share, user, objects.stream_memory)
            body = _Body(coming, size)
            await objects.put_stream(name, body.pieces())
    try:
        _check_digest(request, body.sha256())
        stored = Content(name, size, body.sha256(), body.md5(), body.checksums())
        kept = await state.files.put(file_id, stored, state.clock())
    except UncertainCommitError:
        raise  # the file may point to it by now; if not, it is collected
    except Exception:
        await _discard(objects, name)
        raise
    if not kept:
        await _discard(objects, name)
        raise _no_file()


def _check_digest(request: web.Request, sha256: str) -> None:
    """Compare what came with what the request says of it (RFC 9530), where it gives a SHA-256."""
    for header in ("Repr-Digest", "Content-Digest"):
        said = _DIGEST.search(request.headers.get(header, ""))
        if said is not None and said[1] != _base64(sha256):
            raise ApiError(
                400,
                "bad_digest",
                f"What came has another SHA-256 than {header} says. Nothing was stored; send the "
                "file again.",
            )


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


class _Body:
    """A request's body as it comes in, counted and hashed on the way."""

    def __init__(self, coming: AsyncIterator[bytes], size: int) -> None:
        self._coming = coming
        self._size = size
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._sums = FileSums()

    async def pieces(self) -> AsyncIterator[bytes]:
        seen = 0
        async for piece in self._coming:
            seen += len(piece)
            self._md5.update(piece)
            self._sha256.update(piece)
            self._sums.update(piece)
            yield piece
        if seen != self._size:
            raise ApiError(
                400, "cut_short", f"{seen} of {self._size} bytes came. Nothing was stored."
            )

    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def checksums(self) -> bytes:
        return self._sums.encode()


# Downloads.


@public
async def get_signed(request: web.Request) -> web.StreamResponse:
    """Give a file's bytes; the address says which file, and to whom."""
    user, file = await _asked(request, _DOWNLOAD, Action.READ)
    with request.app[OPEN_REQUESTS].entered(request, user):
        return await _download(request, file)


async def get_named(request: web.Request) -> web.StreamResponse:
    """Give a file's bytes to who may read the run."""
    state, name = request.app[STATE], request.match_info["name"]
    _, run_id = await require_run(state, request[USER], Action.READ, _path(request))
    known = file_problem(name) is None
    return await _download(request, await state.files.get(run_id, name) if known else None)


async def _download(request: web.Request, file: StoredFile | None) -> web.StreamResponse:
    if file is None or file.object is None:
        raise _no_file()
    headers = _headers(file)
    if headers["ETag"] in _tags(request.headers.get("If-None-Match", "")):
        return web.Response(status=304, headers=headers)
    asked = request.headers.get("Range")
    if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        asked = None
    part = _range(asked, file.size)
    start, stop = part or (0, file.size)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    response.content_length = stop - start
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    sums = await request.app[STATE].files.blobs.checksums(file.object)
    return await _send(request, response, _pieces(request.app[OBJECTS], file, sums, start, stop))


def _pieces(
    objects: Objects, file: StoredFile, sums: bytes | None, start: int, stop: int
) -> AsyncIterator[bytes]:
    """Read a part of a file, each byte checked where the file has checksums."""
    assert file.object is not None
    if sums is None or stop <= start:
        return objects.stream(file.object, start, stop)
    around = whole_pieces(start, stop, file.size)
    return checked(objects.stream(file.object, *around), sums, start, stop, file.object)


async def _send(
    request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send the pieces; the first is read before the status goes out."""
    try:
        first = await anext(pieces, b"")
    except FileNotFoundError:  # replaced or deleted since the row was read
        raise _no_file() from None
    except DamagedError as error:
        log.error("%s", error)
        raise _damaged_file() from error
    await response.prepare(request)
    await response.write(first)
    try:
        async for piece in pieces:
            await response.write(piece)
    except (OSError, DamagedError) as error:
        log.error("a file could not be sent: %s", error)
        # What is short must not pass for whole.
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the file could not be read to its end") from None
    await response.write_eof()
    return response


def _headers(file: StoredFile) -> dict[str, str]:
    kind = file.mimetype or "application/octet-stream"
    shown = _SHOWN.fullmatch(kind) is not None
    if kind.startswith("text/") or kind.endswith(("javascript", "ecmascript")):
        kind = f"{kind if kind in ('text/csv', 'text/html') else 'text/plain'}; charset=utf-8"
    place = "inline" if shown else "attachment"
    last = file.name.replace("\\", "/").rpartition("/")[2]
    digest = {} if file.sha256 is None else {"Repr-Digest": f"sha-256=:{_base64(file.sha256)}:"}
    return {
        **_INERT,
        **digest,
        "Content-Type": kind,
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(last, safe='')}",
        "ETag": f'"{file.sha256 or (file.object or "").rpartition("/")[2]}"',
        "Last-Modified": formatdate(file.updated_at, usegmt=True),
    }


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return [start, stop) of a Range header; None where the whole file is to be sent.

    Several ranges, and what is no range of bytes, are passed over as RFC 9110 allows.

    Raises:
        ApiError: 416: the file has no such bytes.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    else:
        start, stop = max(0, size - int(last)), size
    if start >= size or stop <= start:
        raise ApiError(
            416,
            "range_not_satisfiable",
            f"The file has {size} bytes, and none of those asked for.",
            {"Content-Range": f"bytes */{size}"},
        )
    return start, stop


def _too_large(size: int, most: int) -> ApiError:
    return ApiError(
        413,
        "file_too_large",
        f"The file has {size} bytes; this server takes {most} (its --max-upload says so). Nothing "
        "was stored; the rest of the run is not affected.",
    )


def _damaged_file() -> ApiError:
    message = (
        "The file's bytes in the server's store are not those that were uploaded, so they are not "
        "given. `asyncwb verify` on the server names what is damaged, and a backup may still have "
        "it; or upload the file again."
    )
    return ApiError(410, "file_damaged", message)


def _no_file() -> ApiError:
    return ApiError(404, "file_not_found", "There is no such file. Nothing was read or written.")


# What uploads leave behind.


async def collect_orphans(app: web.Application) -> int:
    """Delete objects of uploads that were never finished; return how many."""
    state = app[STATE]
    before = state.clock() - _ORPHAN_AGE
    return await garbage_collection.collect_orphans(
        app[OBJECTS], FOLDER, before, state.files.blobs.known_objects
    )
