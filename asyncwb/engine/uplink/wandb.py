"""Speaks to a W&B server: GraphQL for the run, `file_stream` for what it logs.

Theory of operation. Each writer has a `Conversation`, which turns its frames into W&B's shapes
(`wire. wandb`) and sends them in this order: the run is created or changed (`UpsertBucket`),
history lines under their numbers, summary and end with the last of them. Then the state of the
translation is written into the run's folder, and only then the frames count as acknowledged: what
is sent again after any crash are the same lines under the same numbers, and the server takes them
once.

    frames --> lines, config, attributes --> UpsertBucket --> file_stream ... --> wandb.json --> ack

What W&B's protocol cannot promise: it numbers a run's lines in one sequence, so one writer at a
time can send. On one machine writers wait for each other: the one that has begun goes first, the
others' rows stay in their journals. On several machines nobody sees the other. Rows of a step
that is still open wait in `wandb.json` until it is closed, or the writer has ended.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from anyio.lowlevel import checkpoint

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import TINY, too_large
from asyncwb.engine.frames.source import Prepared
from asyncwb.engine.journal.folder import Description, RunFolder, folders_of
from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.graphql import Declined, answered, ask, judge, nonsense, problem_of
from asyncwb.engine.uplink.http import Http, NoAnswer
from asyncwb.engine.uplink.speaker import (
    Answer,
    Batch,
    NotNow,
    Refused,
    Taken,
    Undelivered,
    Waits,
    no_such_run,
)
from asyncwb.typing import JsonObject
from asyncwb.wire.retry import SLOW, Action, Verdict, rate_limit_wait
from asyncwb.wire.rows.frames import Frame, decode
from asyncwb.wire.rows.keys import STEP
from asyncwb.wire.rows.values import loads
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.uplink_documents import RUN_STATUS, UPSERT_RUN
from asyncwb.wire.wandb import (
    MAX_BYTES,
    Existing,
    Translation,
    post_body,
    read_existing,
    smaller_config,
)

_MAX_REQUEST: Final = 2 * 2**20
"""raw bytes of frames in one batch: as JSON they are up to five times that."""
_AT_ONCE: Final = 4 * 2**20
"""characters of lines in one post, unless one line is more."""
_ROWS_A_TURN: Final = 500
"""rows that are translated before the loop gets a turn: some milliseconds."""
_CLOUD: Final = {"https://api.wandb.ai": "https://wandb.ai"}
"""where the pages are, for a server that has them elsewhere"""


class WandbSpeaker:
    """Sends one writer's frames at a time, as W&B's shapes.

    Args:
        http: the connections.
        interval: seconds for which rows gather.
    """

    alone = True
    gather = 0.0
    depth = 1
    max_request = _MAX_REQUEST

    def __init__(self, http: Http, interval: float) -> None:
        self.interval = interval
        self._http = http
        self._conversations: WeakKeyDictionary[Outbox, Conversation] = WeakKeyDictionary()

    async def send(self, address: Address, batch: Batch) -> list[Answer]:
        """Send the frames of the one writer; see `Speaker`."""
        [(box, frames)] = batch
        conversation = self._conversations.get(box)
        if conversation is None:
            conversation = self._conversations[box] = Conversation(self._http, address, box)
        try:
            return [await conversation.send(frames)]
        except Declined as error:
            return [NotNow(error.message)]
        except _Stop as stop:
            return [stop.answer]
        except Undelivered as error:
            if error.verdict.action is not Action.SPLIT:
                raise
            # Of what is small, or was cut as far as it can be: then a person has to act.
            judged = Verdict(Action.RETRY, SLOW, error.verdict.reason, lasting=True)
            raise Undelivered(judged) from error
        except NoAnswer:
            raise
        except BaseException:
            del self._conversations[
                box
            ]  # it may have stopped half way: go on from what was written down
            raise


class _Stop(Exception):  # noqa: N818
    """Ends a conversation for now, with the answer for the uplink."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Conversation:
    """One writer's conversation with one server.

    Mutable state: `_translation` (None before it has begun), `_outgoing` (lines that are numbered
    from `_translation.count` on), `_saved` (what was written down last), `_run` (entity, project
    and name as the server gives them), `_most` (characters of lines in one post, as many as were
    taken), `_stop`, `_wait` and `_dropped`, which go into the answer.
    """

    def __init__(self, http: Http, address: Address, box: Outbox) -> None:
        self._http = http
        self._address = address
        self._box = box
        self._translation: Translation | None = None
        self._outgoing: deque[str] = deque()
        self._saved: JsonObject = {}
        self._run = ("", "", "")
        self._stop = False
        self._wait = 0.0
        self._most = _AT_ONCE
        self._dropped = 0

    async def send(self, frames: Sequence[Prepared]) -> Answer:
        """Send what is new in these frames, and what an earlier attempt has left.

        Raises:
            NoAnswer, Undelivered, Declined: it is to be tried again, with these frames or more.
        """
        if self._translation is None:
            self._translation = await self._begin(frames)
        translation = self._translation
        await self._translate(translation, frames)
        await self._tell(translation)
        await self._post(translation)
        await self._write_down(translation)
        dropped, self._dropped = self._dropped, 0
        return Taken(
            next_seq=translation.next_seq,
            run_path="/".join(self._run),
            base_url=_CLOUD.get(self._address.url, self._address.url),
            stop=self._stop,
            aside=dropped,
            holds=translation.lines.holds,
            wait=self._wait,
        )

    # Beginning.

    async def _begin(self, frames: Sequence[Prepared]) -> Translation:
        box, folder = self._box, self._box.folder
        if folder is not None:
            self._saved = folder.read_translated(self._address.url) or {}
            await asyncio.to_thread(_check_turn, folder, box, self._address.url)
        existing = await find(self._http, self._address, box.head)
        translation = self._restored(existing)
        if translation is None:
            _check_resume(_start_of(frames), existing, box.head)
            translation = Translation.after(existing)
            if existing is None:  # else the server makes a name up
                translation.attributes["displayName"] = box.head.run
            await self._write_down(translation)
        return translation

    def _restored(self, existing: Existing | None) -> Translation | None:
        """Go on from what was written down, behind whatever others have added meanwhile.

        A server that counts fewer lines may only be late with counting: no number is used twice.
        """
        try:
            translation = Translation.from_state(self._saved["translation"])
            sent = int(self._saved["sent"])
        except (KeyError, ValueError, TypeError):
            return None
        if existing is None:  # it is gone: what is still here makes it anew
            translation.begin_again()
        elif existing.lines > sent:  # others have added theirs, which must not be written over
            translation.count = existing.lines
        return translation

    async def _upsert(self, variables: Mapping[str, object]) -> None:
        head = self._box.head
        entity, project, name = self._run if self._run[2] else (head.entity, head.project, head.run)
        who = {"name": name, "project": project, "entity": entity}
        data = await ask(
            self._http, self._address, UPSERT_RUN, {**variables, **who}, conflict_is_final=False
        )
        try:
            bucket = data["upsertBucket"]["bucket"]
            at = bucket["project"]
            self._run = (str(at["entity"]["name"]), str(at["name"]), str(bucket["name"]))
        except (KeyError, TypeError) as error:
            raise nonsense(self._address, f"a run without {error}") from error

    # Sending.

    async def _translate(self, translation: Translation, frames: Sequence[Prepared]) -> None:
        for prepared in frames:
            if prepared.end_seq <= translation.next_seq:
                continue
            for part in _parts(decode(prepared.data)):
                self._outgoing.extend(translation.feed(part))
                await checkpoint()
        pending = self._box.pending
        if self._box.ended and (not pending or pending[-1].end_seq <= translation.next_seq):
            self._outgoing.extend(translation.lines.close())

    async def _tell(self, translation: Translation) -> None:
        variables = translation.take_update()
        if variables is None and self._run[2]:
            return
        try:
            await self._upsert_what_fits(variables or {})
        except BaseException:
            translation.untake(variables or {})
            raise

    async def _upsert_what_fits(self, variables: Mapping[str, Any]) -> None:
        """Tell what is new of the run; the largest values of a config that is too large are left
        out."""
        told = dict(variables)
        while True:
            try:
                await self._upsert(told)
            except Undelivered as error:
                less = smaller_config(told.get("config", "{}"))
                if error.verdict.action is not Action.SPLIT or less is None:
                    raise
                told["config"], why = less, too_large(error.verdict.reason)
                self._set_aside("config", variables["config"], "the config", why, counts=False)
            else:
                is_sent = "config" in variables and told["config"] == variables["config"]
                self._drop_aside("config", sent=is_sent)
                return

    async def _post(self, translation: Translation) -> None:
        """Post the lines, as many requests as they take; summary and end go with the last."""
        if self._outgoing:
            sent = translation.count + len(self._outgoing)
            await self._keep({**self._saved, "sent": sent})
        summary: str | None = translation.summary_text()
        while True:
            lines = _some(self._outgoing, self._most)
            size = sum(map(len, lines))
            total = size + len(summary or "")
            last = not lines or (len(lines) == len(self._outgoing) and total <= self._most)
            body = (
                post_body(
                    lines, translation.count, summary=summary, exit_code=translation.exit_code
                )
                if last
                else post_body(lines, translation.count)
            )
            refusal = await self._post_one(body)
            if refusal is None:
                for _ in lines:
                    self._outgoing.popleft()
                translation.count += len(lines)
                if last:
                    self._drop_aside("summary", sent=summary is not None)
                    return
            elif len(lines) > 1 or (lines and last):
                self._most = max(1, (total if last else size) // 2)
            elif len(body) <= TINY:
                raise Undelivered(Verdict(Action.RETRY, SLOW, refusal, lasting=True))
            elif lines:
                self._set_aside_line(self._outgoing.popleft(), too_large(refusal))
            elif summary is not None:  # what is known of the run without it is its end
                self._set_aside("summary", summary, "the summary", too_large(refusal), counts=False)
                summary = None

    def _set_aside_line(self, line: str, why: str) -> None:
        name = f"step-{loads(line)[STEP]:012d}-{zlib.crc32(line.encode()):08x}"
        self._set_aside(name, line, "a row", why)
        self._dropped += 1

    def _set_aside(self, name: str, text: str, what: str, why: str, *, counts: bool = True) -> None:
        """Keep JSON that fits no request, and say so; it must not keep back the rest."""
        aside = self._box.aside
        if aside is None:
            raise _Stop(Refused(f"{what} is {why}"))
        aside.put(name, loads(text), why, counts=counts)
        self._box.say_aside(what, len(text), why)

    def _drop_aside(self, name: str, *, sent: bool) -> None:
        if sent and self._box.aside is not None:
            self._box.aside.drop(name)

    async def _post_one(self, body: bytes) -> str | None:
        """Send one request; returns why not where it is larger than a server takes."""
        if len(body) > MAX_BYTES:
            return f"{len(body):,} bytes, of {MAX_BYTES:,}"
        path = "/".join(quote(part, safe="") for part in self._run)
        reply = await self._http.request(
            "POST",
            f"{self._address.url}/files/{path}/file_stream",
            key=self._address.key,
            data=body,
        )
        if reply.status == 413:
            return f"HTTP 413: {problem}" if (problem := problem_of(reply)) else "HTTP 413"
        judge(reply)
        self._stop = bool(answered(reply, self._address).get("stopped"))
        self._wait = rate_limit_wait(reply.headers)
        return None

    # Remembering.

    async def _write_down(self, translation: Translation) -> None:
        before = self._saved.get("translation", {})
        reached = (before.get("next_seq"), before.get("count"))
        if reached != (translation.next_seq, translation.count):
            await self._keep({"translation": translation.state(), "sent": translation.count})

    async def _keep(self, state: JsonObject) -> None:
        folder = self._box.folder
        try:
            if folder is not None and not self._box.settled.is_set():
                await asyncio.to_thread(folder.write_translated, self._address.url, state)
        except OSError as error:
            reason = f"how far the run is could not be written down: {error}"
            raise Undelivered(Verdict(Action.RETRY, None, reason)) from error
        self._saved = state


async def find(http: Http, address: Address, head: StreamHead) -> Existing | None:
    """Ask a W&B server for a run; None where it has none.

    Raises:
        NoAnswer, Undelivered, Declined: it could not be told.
    """
    variables = {"project": head.project, "entity": head.entity, "name": head.run}
    data = await ask(http, address, RUN_STATUS, variables)
    try:
        project = data["model"]
        return None if project is None else read_existing(project["bucket"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise nonsense(address, f"the state of a run without {error}") from error


def _check_resume(start: Mapping[str, object], existing: Existing | None, head: StreamHead) -> None:
    resume, exists = start.get("resume"), existing is not None and existing.logged
    path = f"{head.project}/{head.run}"
    if resume == "must" and not exists:
        reason = f'resume="must", and the server has no run {path}. Check the id'
        raise _Stop(no_such_run(f"{reason}, or use resume='allow'"))
    if resume == "never" and exists:
        reason = f'resume="never", and the server has a run {path}. Choose another id'
        raise _Stop(Refused(f"{reason}, or use resume='allow'"))


def _start_of(frames: Sequence[Prepared]) -> Mapping[str, object]:
    if frames and frames[0].first_seq == 0:
        for _, event in decode(frames[0].data).events[:1]:
            return event if event.get("t") == "start" else {}
    return {}


def _parts(frame: Frame) -> Iterator[Frame]:
    """Cut a frame into pieces that are quickly translated."""
    while frame.count > _ROWS_A_TURN and not frame.lost:
        rest = frame.skip(_ROWS_A_TURN)
        rows = frame.table.n - rest.table.n
        events = frame.events[: len(frame.events) - len(rest.events)]
        yield Frame(frame.first_seq, frame.table.slice(0, rows), events)
        frame = rest
    yield frame


def _some(lines: deque[str], most: int) -> list[str]:
    """Return lines from the front, up to `most` characters and at least one."""
    taken: list[str] = []
    for line in lines:
        most -= len(line)
        if taken and most < 0:
            break
        taken.append(line)
    return taken


# Several writers of one run.


@dataclass(frozen=True, slots=True, order=True)
class _Rank:
    """Who of two writers goes first: who has begun, of these the newest; else the oldest."""

    waiting: bool
    age: float
    writer: str


def _check_turn(folder: RunFolder, box: Outbox, url: str) -> None:
    """Stop where another process of this machine is at work on the run and goes first."""
    told = folder.describe()
    if box.live and told.mode == "online":
        reason = "a writer logs to it still, and sends it by itself; sync it when that has ended"
        raise _Stop(Refused(reason))
    mine = _rank(folder, told, url)
    for other, theirs in folders_of(folder.path.parent, told.project, told.run):
        if other.path != folder.path and _goes_first(other, theirs, mine, url):
            reason = (
                "another writer logs to it, and a W&B server takes one at a time; these rows "
                "wait in their journal until that one has ended"
            )
            raise _Stop(Waits(reason))


def _goes_first(other: RunFolder, theirs: Description, mine: _Rank, url: str) -> bool:
    if _rank(other, theirs, url) > mine:
        return False
    try:
        free = other.lock()
    except OSError:
        return False  # gone meanwhile: nobody works on it
    other.unlock()
    return not free


def _rank(folder: RunFolder, told: Description, url: str) -> _Rank:
    begun = folder.read_translated(url) is not None
    return _Rank(not begun, -told.started_at if begun else told.started_at, told.writer)
