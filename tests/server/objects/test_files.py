"""Files: whole or not at all, by name and by signed address, and never able to script the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import update
from yarl import URL

from asyncwb.server.http.state import STATE
from asyncwb.server.objects import files
from asyncwb.server.objects.checksums import PIECE
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.store.records import RunKey
from asyncwb.server.store.schema import blobs
from asyncwb.wire.names import MAX_FILE_NAME, file_problem
from tests.fix_server import FakeTime, ServerHandle, both_databases
from tests.server.wandb_client import make_run

pytestmark = [pytest.mark.anyio, both_databases]

BIG = bytes(range(256)) * 2**16  # 16 MiB: more than one part


class Client:
    """Requests to one server about one run; `session` has a key, `anonymous` none."""

    def __init__(
        self,
        server: ServerHandle,
        session: aiohttp.ClientSession,
        anonymous: aiohttp.ClientSession,
    ) -> None:
        self.server = server
        self.session = session
        self.anonymous = anonymous
        self.path, self.run_id = make_run(server)

    def on(self, work: Callable[[web.Application], Any]) -> Any:
        """Run a coroutine function on the server's loop."""
        return self.server.call(work)

    def create(self, *names: str) -> list[str]:
        """Announce files; returns their upload addresses."""

        async def announce(app: web.Application) -> Any:
            state = app[STATE]
            user = await state.users.first()
            assert user is not None
            return await files.create(state, user, self.run_id, names, self.server.url)

        made = self.on(announce)
        assert [name for name, _ in made] == list(names)
        return [url for _, url in made]

    def url(self, name: str) -> str:
        """Return the signed download address of a file."""

        async def find(app: web.Application) -> str:
            state = app[STATE]
            file = await state.files.get(self.run_id, name)
            user = await state.users.first()
            assert file is not None
            assert user is not None
            return files.url(state, user, file, self.server.url)

        found: str = self.on(find)
        return found

    def file(self, name: str) -> Any:
        """Return what is stored about a file."""
        return self.on(lambda app: app[STATE].files.get(self.run_id, name))

    def by_name(self, name: str, path: RunKey | None = None) -> URL:
        """Return the address of a file by its name."""
        where = f"{self.server.url}/files/{path or self.path}/{quote(name, safe='')}"
        return URL(where, encoded=True)

    async def put(self, url: str | URL, data: bytes, **headers: str) -> int:
        """Upload without a key; returns the status."""
        body = io.BytesIO(data)
        async with self.anonymous.put(url, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def get(self, url: str | URL, **headers: str) -> tuple[int, bytes, Any]:
        """Download without a key."""
        async with self.anonymous.get(url, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    def objects(self) -> list[str]:
        """Return the names of all objects of files, without those that were dropped."""
        self.server.collect()

        async def listed(app: web.Application) -> list[str]:
            return [found.name for found in app[OBJECTS].list("files")]

        return sorted(self.on(listed))

    def names(self, **which: Any) -> list[str]:
        """Return the names of the files that are there."""

        async def listed(app: web.Application) -> list[str]:
            page = await app[STATE].files.page(self.run_id, **which)
            return [file.name for file in page]

        found: list[str] = self.on(listed)
        return found


@asynccontextmanager
async def connected(server: ServerHandle) -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession(headers=server.headers) as session,
        aiohttp.ClientSession() as anonymous,
    ):
        yield Client(server, session, anonymous)


async def test_a_file_goes_up_and_comes_down_by_signed_addresses(server: ServerHandle) -> None:
    async with connected(server) as client:
        for name, data in (("a/b.txt", b"hello"), ("empty", b""), ("big.bin", BIG)):
            (url,) = client.create(name)
            assert name not in client.names()  # announced is not there
            with pytest.raises(AssertionError):
                assert (await client.get(client.url(name)))[0] == 200
            assert await client.put(url, data) == 200
            status, body, headers = await client.get(client.url(name))
            assert (status, body) == (200, data)
            assert headers["Content-Length"] == str(len(data))
            file = client.file(name)
            digest = base64.b64encode(hashlib.md5(data).digest()).decode()
            assert (file.size, file.md5) == (len(data), digest)
        assert client.names() == ["a/b.txt", "big.bin", "empty"]
        assert len(client.objects()) == 3


async def test_a_second_upload_replaces_the_file_and_its_object(server: ServerHandle) -> None:
    async with connected(server) as client:
        (url,) = client.create("x.json")
        assert await client.put(url, b"1") == 200
        before = client.objects()
        _, _, old = await client.get(client.url("x.json"))
        assert await client.put(url, b"22") == 200
        (after,) = client.objects()
        assert after not in before
        assert client.create("x.json")  # announced again: the bytes stay
        status, body, new = await client.get(client.url("x.json"))
        assert (status, body) == (200, b"22")
        assert new["ETag"] != old["ETag"]


async def test_a_file_whose_commit_was_not_answered_keeps_its_bytes(server: ServerHandle) -> None:
    async with connected(server) as client:
        (url,) = client.create("x.json")
        with server.lost_commits():
            assert await client.put(url, b"1") == 503
        assert (await client.get(client.url("x.json")))[:2] == (200, b"1")
        assert await client.put(url, b"1") == 200
        assert len(client.objects()) == 1


async def test_ranges_and_conditions(server: ServerHandle) -> None:
    async with connected(server) as client:
        assert await client.put(client.create("r.txt")[0], b"0123456789") == 200
        assert await client.put(client.create("empty")[0], b"") == 200
        url = client.url("r.txt")
        for asked, part, shown in (
            ("bytes=2-4", b"234", "bytes 2-4/10"),
            ("bytes=7-", b"789", "bytes 7-9/10"),
            ("bytes=-3", b"789", "bytes 7-9/10"),
            ("bytes=5-99", b"56789", "bytes 5-9/10"),
            ("bytes=0-9", b"0123456789", "bytes 0-9/10"),
            ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ):
            status, body, headers = await client.get(url, Range=asked)
            assert (status, body, headers["Content-Range"]) == (206, part, shown)
        for whole in ("bytes=1-2,4-5", "lines=1-2", "bytes=", "bytes=-", "nonsense"):
            status, body, _ = await client.get(url, Range=whole)
            assert (status, body) == (200, b"0123456789")
        for none in ("bytes=10-", "bytes=5-4", "bytes=-0", "bytes=99-100"):
            status, body, headers = await client.get(url, Range=none)
            assert (status, headers["Content-Range"]) == (416, "bytes */10")
            assert json.loads(body)["error"]["code"] == "range_not_satisfiable"
        assert (await client.get(client.url("empty"), Range="bytes=0-"))[0] == 416
        _, _, headers = await client.get(url)
        tag = headers["ETag"]
        assert headers["Accept-Ranges"] == "bytes"
        assert (await client.get(url, **{"If-None-Match": f'"x", {tag}'}))[0] == 304
        assert (await client.get(url, **{"If-Range": tag, "Range": "bytes=1-1"}))[0] == 206
        assert (await client.get(url, **{"If-Range": '"x"', "Range": "bytes=1-1"}))[0] == 200
        async with client.anonymous.head(url) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "10")
        async with client.anonymous.head(url, headers={"Range": "bytes=0-2"}) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (206, "3")


async def test_nothing_that_is_stored_can_script_the_page(server: ServerHandle) -> None:
    async with connected(server) as client:
        expected = {
            "x.html": ("text/html; charset=utf-8", "attachment"),
            "x.svg": ("image/svg+xml", "attachment"),
            "x.js": ("text/plain; charset=utf-8", "attachment"),
            "x.xml": (None, "attachment"),
            "x.png": ("image/png", "inline"),
            "x.log": ("text/plain; charset=utf-8", "inline"),
            "x.unknown": ("application/octet-stream", "attachment"),
            'q"\u00e9;.txt': ("text/plain; charset=utf-8", "inline"),
        }
        for name, (kind, place) in expected.items():
            (url,) = client.create(name)
            assert await client.put(url, b"<script>", **{"Content-Type": "text/html"}) == 200
            _, _, headers = await client.get(client.url(name))
            assert kind in (None, headers["Content-Type"])
            shown = headers["Content-Disposition"]
            assert shown == f"{place}; filename*=UTF-8''{quote(name, safe='')}"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


async def test_odd_names_are_only_names(server: ServerHandle) -> None:
    names = [
        "%2e%2e",
        "a#b?c=d&e",
        "\u00fc/\u65e5\u672c.txt",
        "a b",
        ".hidden",
        "x" * MAX_FILE_NAME,
    ]
    async with connected(server) as client:
        for name in names:
            async with client.session.put(client.by_name(name), data=b"odd") as answer:
                assert answer.status == 200, await answer.text()
            async with client.session.get(client.by_name(name)) as answer:
                assert (answer.status, await answer.read()) == (200, b"odd")
        assert sorted(client.names()) == sorted(names)
        assert not any(name in stored for stored in client.objects() for name in names)
    assert not list(server.data.rglob("*hidden*"))


async def test_names_that_lead_elsewhere_are_refused(server: ServerHandle) -> None:
    names = ["..", "../x", "a/../../x", "a\\..\\x", "/etc/passwd", "a\0b", "a\nb", ".", "a/", "a/."]
    names.append("x" * (MAX_FILE_NAME + 1))
    async with connected(server) as client:
        for name in names:
            async with client.session.put(client.by_name(name), data=b"x") as answer:
                said = await answer.json()
                assert (answer.status, name) == (400, name)
                assert said["error"]["code"] in ("bad_name", "bad_request")
            async with client.session.get(client.by_name(name)) as answer:
                assert answer.status in (400, 404)
        made = client.create(*names, "good")
        assert [url is None for url in made] == [True] * len(names) + [False]
        assert client.objects() == []
    for odd in ("", None, 7, "\ud800"):
        assert file_problem(odd) is not None


async def test_an_upload_that_is_cut_short_leaves_nothing(server: ServerHandle) -> None:
    async with connected(server) as client:
        small, large = client.create("small", "large")
        assert await client.put(small, b"old") == 200
        held = client.objects()
        for url, size in ((small, 10), (large, len(BIG))):
            parts = urlsplit(url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = f"PUT {parts.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
            writer.write(head.encode() + BIG[: size - 1])
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
        assert client.objects() == held
        assert (await client.get(client.url("small")))[1] == b"old"
        assert (await client.get(client.url("large")))[0] == 404


async def test_a_flipped_bit_is_never_given_as_a_files_byte(server: ServerHandle) -> None:
    async with connected(server) as client:
        large = os.urandom(3 * PIECE + 100)
        for name, data in (("small", b"hello"), ("large", large)):
            assert await client.put(client.create(name)[0], data) == 200
        for name, place in (("small", 2), ("large", PIECE + 7)):
            path = server.data / "objects" / client.file(name).object
            damaged = bytearray(path.read_bytes())
            damaged[place] ^= 1
            path.write_bytes(damaged)
        status, body, _ = await client.get(client.url("small"))
        assert (status, json.loads(body)["error"]["code"]) == (410, "file_damaged")
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.get(client.url("large"))
        # Ranges beside the damage are given, whatever MiB they begin and end in.
        for start, stop in ((0, 10), (PIECE - 1, PIECE), (2 * PIECE, len(large))):
            span = {"Range": f"bytes={start}-{stop - 1}"}
            status, body, _ = await client.get(client.url("large"), **span)
            assert (status, body) == (206, large[start:stop])
        for start, stop in ((PIECE, PIECE + 1), (0, 2 * PIECE), (2 * PIECE - 1, 2 * PIECE)):
            span = {"Range": f"bytes={start}-{stop - 1}"}
            try:
                assert (await client.get(client.url("large"), **span))[0] == 410
            except aiohttp.ClientPayloadError:
                assert start < PIECE, "nothing was sent of what is damaged"

        async def forget(app: web.Application) -> None:
            async with app[STATE].database.transaction() as connection:
                await connection.execute(update(blobs).values(checksums=None))

        client.on(forget)  # as what an older server stored
        assert (await client.get(client.url("small")))[1] == b"hello"[:2] + b"m" + b"lo"


async def test_bytes_are_those_that_the_digest_says(server: ServerHandle) -> None:
    def digest(data: bytes) -> str:
        return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"

    async with connected(server) as client:
        for name, data in (("small", b"hello"), ("large", bytes(PIECE) * 5)):
            (url,) = client.create(name)
            said = f"sha-512=:AA==:, {digest(data)}"
            assert await client.put(url, data, **{"Repr-Digest": said}) == 200
            status, body, headers = await client.get(client.url(name))
            assert (status, body, headers["Repr-Digest"]) == (200, data, digest(data))
            for header in ("Repr-Digest", "Content-Digest"):
                assert await client.put(url, data[:-1] + b"!", **{header: said}) == 400
            assert (await client.get(client.url(name)))[1] == data
        assert len(client.objects()) == 2


async def test_a_damaged_file_is_mended_by_the_same_bytes(server: ServerHandle) -> None:
    async with connected(server) as client:
        for url in client.create("a", "b"):
            assert await client.put(url, b"hello") == 200
        (name,) = client.objects()
        path = server.data / "objects" / name
        path.write_bytes(b"hellO")
        assert (await client.get(client.url("a")))[0] == 410
        (url,) = client.create("b")
        assert await client.put(url, b"hello") == 200
        for name in "ab":
            assert (await client.get(client.url(name)))[:2] == (200, b"hello")
        assert len(client.objects()) == 1


async def test_uploads_need_a_length_and_plain_bytes(server: ServerHandle) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async with connected(server) as client:
        (url,) = client.create("f")
        async with client.anonymous.put(url, data=chunks()) as answer:
            assert answer.status == 411
        assert await client.put(url, b"x", **{"Content-Encoding": "gzip"}) == 415
        assert client.objects() == []


async def test_addresses_expire_and_are_for_one_thing(
    start_server: Callable[..., ServerHandle],
) -> None:
    clock = FakeTime()
    server = start_server(clock=clock)
    async with connected(server) as client:
        (up,) = client.create("f")
        assert await client.put(up, b"x") == 200
        down = client.url("f")
        for wrong in (up, down[:-4] + "AAAA", f"{server.url}/storage/x"):
            status, body, _ = await client.get(wrong)
            assert (status, json.loads(body)["error"]["code"]) == (403, "bad_signature")
        assert await client.put(down, b"y") == 403
        clock.now += files.UPLOAD_LIFETIME + 1
        assert await client.put(up, b"y") == 403
        assert (await client.get(down))[0] == 403
        assert (await client.get(client.url("f")))[1] == b"x"


async def test_another_process_takes_the_addresses(
    start_server: Callable[..., ServerHandle],
) -> None:
    server = start_server()
    async with connected(server) as client:
        (url,) = client.create("f")
        server.stop()
        server.start()
        token = url.rpartition("/")[2]
        assert await client.put(f"{server.url}/storage/{token}", b"x") == 200


async def test_files_by_name_need_a_key_of_the_run(server: ServerHandle) -> None:
    async with connected(server) as client:
        assert await client.put(client.by_name("f"), b"x") == 401
        assert (await client.get(client.by_name("f")))[0] == 401
        other = client.path._replace(run="other")
        async with client.session.put(client.by_name("f", other), data=b"x") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "run_not_found")
        async with client.session.get(client.by_name("f")) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (
                404,
                "file_not_found",
            )


async def test_lists_and_deletion(server: ServerHandle) -> None:
    async with connected(server) as client:
        names = ["a.txt", "b%.txt", "media/x.png", "media/y.png", "z"]
        for name, url in zip(names, client.create(*names), strict=True):
            assert await client.put(url, name.encode()) == 200
        client.create("announced")
        assert client.names() == names
        assert client.names(first=2) == names[:2]
        assert client.names(pattern="media/%") == ["media/x.png", "media/y.png"]
        assert client.names(pattern=r"b\%.txt") == ["b%.txt"]
        assert client.names(names=["z", "gone"]) == ["z"]
        assert client.names(after="media/x.png") == ["media/y.png", "z"]
        count = client.on(lambda app: app[STATE].files.count(client.run_id, pattern="media/%"))
        assert count == 2
        gone = client.on(lambda app: app[STATE].files.get(client.run_id, "z"))
        _, other_id = make_run(server, "r2")
        assert client.on(lambda app: files.delete(app, other_id, [gone.id])) == 0
        held = client.objects()
        url = client.url("z")
        assert client.on(lambda app: files.delete(app, client.run_id, [gone.id, 10**9])) == 1
        assert (await client.get(url))[0] == 404
        assert len(client.objects()) == len(held) - 1
        assert client.names() == [name for name in names if name != "z"]


async def test_what_uploads_left_behind_is_swept_when_it_is_old(
    start_server: Callable[..., ServerHandle],
) -> None:
    clock = FakeTime()
    server = start_server(clock=clock)
    async with connected(server) as client:
        await client.put(client.create("f")[0], b"x")
        (kept,) = client.objects()

        async def leave(app: web.Application) -> None:
            app[OBJECTS].put("files/orphan", b"x")

        client.on(leave)
        modified = client.on(_modified)
        clock.now = modified
        assert client.on(files.collect_orphans) == 0
        clock.now = modified + 3 * files.UPLOAD_LIFETIME
        assert client.on(files.collect_orphans) == 1
        assert client.objects() == [kept]


async def _modified(app: web.Application) -> float:
    return max(found.modified for found in app[OBJECTS].list("files"))
