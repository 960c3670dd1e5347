"""What stands between uploads and a server, and what the server has of a run's files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncwb
from tests.fix_faults import DROP, PASS, Answer, HttpFront, Target, _answer

Decide: TypeAlias = Callable[[str, int], Any]
"""`decide("put", 3)`: what becomes of the fourth PUT: PASS, DROP, an Answer, or an Event to wait
for first"""


@dataclass
class FileFront(HttpFront):
    """Passes everything on but what has to do with files, of which `decide` says what becomes.

    The kinds: "announce" (CreateRunFiles) and "put".
    """

    decide: Decide = lambda kind, number: PASS
    seen: Counter[str] = field(default_factory=Counter)
    heads: list[bytes] = field(default_factory=list)

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        kind = "put" if head.startswith(b"PUT") else ""
        if b"CreateRunFiles" in body[:200]:
            kind = "announce"
        if not kind:
            return await super()._ask(head, body)
        what = self.decide(kind, self.seen[kind])
        self.seen[kind] += 1
        if kind == "put":
            self.heads.append(head)
        if isinstance(what, asyncio.Event):
            await what.wait()
            what = PASS
        if isinstance(what, Answer):
            self.refused += 1
            return _answer(what)
        answer = await super()._ask(head, body)
        if what == DROP:
            self.dropped += 1
            raise OSError("the answer is lost")
        return answer


def md5(content: bytes) -> str:
    """Return a file's hash as a server tells it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def stored(target: Target, run: str, project: str = "p") -> dict[str, str]:
    """Return the hash of every file that the server has of a run, by name."""
    api = asyncwb.Api(overrides={"base_url": target.url}, api_key=target.key)
    found = api.run(f"{api.default_entity}/{project}/{run}").files(per_page=500)
    return {file.name: file.md5 for file in found if file.size or file.md5 == md5(b"")}


def hashes(contents: dict[str, bytes]) -> dict[str, str]:
    """Return what `stored` gives for files of these contents."""
    return {name: md5(content) for name, content in contents.items()}
