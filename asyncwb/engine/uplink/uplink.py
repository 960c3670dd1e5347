"""The uplink: frames of all runs that log to one server, in as few requests as there can be.

Theory of operation. One loop a server: collect what the outboxes have ready, send it as one batch,
make more frames while the answer is on its way, apply the answer, repeat. A batch that was large
is followed at once by the next; otherwise rows gather for `flush_interval`, or for as long as a
busy server asks for.

Where there is more to send than a request holds, a second one goes off before the first is
answered, so that the server decodes it meanwhile. The server takes both in their order; should it
not (they reached two processes), it names the hole, all of it is sent again, and from then on one
request is on its way at a time. Whatever fails takes the requests behind it down with it, and is
simply sent again.

What a batch is on the wire is a `Speaker`'s part: the server is asked once which it needs. Where
it speaks W&B's protocol only, a batch is one writer's, and rows gather for as long as W&B's own
clients let them: the time between two heartbeats.

| outcome | then |
| --- | --- |
| taken | the outbox lets go of what is below `next` |
| hole in the sequence, nothing there | the outbox rewinds to what the server expects |
| more than was written | that writer stops; its data stays in the journal; said once |
| no answer, busy | the same batch again, after a backoff |
| key not accepted, not our server | the same again, slowly, and where somebody begins to wait for
| | it; who waits need wait no longer; said once |
| too large | smaller frames and batches; one row that is, by itself, is set aside |
| another writer first | that writer's data waits in its journal |
| refused for good | that writer stops; its data stays in the journal; said once |
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.oversized import TINY, too_large
from asyncwb.engine.frames.source import Prepared
from asyncwb.engine.uplink.dialect import Dialect, Dialects
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.engine.uplink.native import NativeSpeaker
from asyncwb.engine.uplink.speaker import (
    Answer,
    Batch,
    NotNow,
    OtherPosition,
    Refused,
    Speaker,
    Taken,
    Undelivered,
    Waits,
)
from asyncwb.engine.uplink.wandb import WandbSpeaker
from asyncwb.errors import CommError
from asyncwb.settings import key_advice
from asyncwb.tasks import raise_unless_failed
from asyncwb.wire.retry import SLOW, Action, Backoff, Verdict, verdict
from asyncwb.wire.rows.frames import MAX_FRAME

_HEAD: Final = 512
"""bytes of a request that each writer in it takes, beside its frames"""
_UNLIMITED: Final = MAX_FRAME + _HEAD
"""bytes of a request, as long as nobody on the way takes less"""
_IDLE: Final = 0.02
"""seconds between two looks for something to send, where nothing is to be waited for."""
_MAX_REJECTIONS: Final = 8
"""answers in a row that refuse a writer's frames for now; then they are refused for good."""
_BUSY: Final = 2**20
"""bytes: a batch of this size is followed by the next without a pause."""
_WORTH: Final = 2**20
"""raw bytes of frames that are worth making: each frame holds up the program, which wants the
interpreter lock, too"""
_GATHER: Final = 0.05
"""seconds for which rows gather where there is less"""
_TURN: Final = 1.0
"""seconds after which a writer that waits (for another one, for its disk) looks again."""


class _Request:
    """A batch on its way, since `started` (monotonic time); `follows` another unanswered one.

    Mutable state: `over`, set once there are answers, or a failure, or it was called back.
    """

    def __init__(self, batch: Batch, *, follows: bool) -> None:
        self.batch = batch
        self.follows = follows
        self.started = time.monotonic()
        self.over = anyio.Event()
        self._scope = anyio.CancelScope()
        self._answers: list[Answer] = []
        self._failure: BaseException | None = None

    async def run(self, send: Callable[[Batch], Awaitable[list[Answer]]]) -> None:
        """Be sent; whoever asks for the answers is told what went wrong."""
        try:
            with self._scope:
                self._answers = await send(self.batch)
        except BaseException as error:
            raise_unless_failed(error)
            self._failure = error
        finally:
            self.over.set()

    def call_back(self) -> None:
        """Send it no further; nobody will ask for its answers."""
        self._scope.cancel()

    def answers(self) -> list[Answer]:
        """Return the answers once it is over, or raise what went wrong."""
        if self._failure is not None:
            raise self._failure
        return self._answers


class Uplink:
    """Sends the frames of several outboxes to one server.

    Args:
        where: an address, or the embedded server.
        flush_interval: seconds for which rows gather.
        heartbeat: seconds of silence after which a run says that it lives.
        memory: bytes of frames that all outboxes together may keep ready.
        dialects: what servers speak, where several uplinks may know it.
    """

    def __init__(
        self,
        where: Address | Embedded,
        http: Http,
        *,
        flush_interval: float,
        heartbeat: float,
        memory: int,
        dialects: Dialects | None = None,
    ) -> None:
        self.outboxes: list[Outbox] = []
        self.wake = anyio.Event()
        self._sending: TaskGroup | None = None
        self._where = where
        self._address = where if isinstance(where, Address) else None
        self._http = http
        self._flush_interval = flush_interval
        self._heartbeat = heartbeat
        self._memory = memory
        self._backoff = Backoff(random=random.random)
        self._dialects = dialects or Dialects()
        self._speaker: Speaker = NativeSpeaker(http)  # what most are, and what an embedded one is
        self._met = isinstance(where, Embedded)
        self._taken = False
        self._requests: deque[_Request] = deque()
        self._well = False  # the last answer was good: what follows need not wait for its own
        self._in_order = True  # requests are taken in the order in which they were sent
        self._max_request = self._speaker.max_request
        self._most = _UNLIMITED
        self._alone = False  # one writer a request, to find the one that the server refuses
        self._stuck = False  # the last request failed until a person acts
        self._first = 0

    def add(self, outbox: Outbox) -> None:
        """Send this outbox's frames from now on."""
        self._narrow(outbox)
        self.outboxes.append(outbox)
        self.wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with anyio.create_task_group() as self._sending:
            while True:
                try:
                    await self._turn()
                except BaseException as error:  # must not die: nothing is lost, and it is said
                    raise_unless_failed(error)
                    await self._give_up()
                    self.failed(error)
                    await self._pause(self._backoff.next_wait(), urgent=False)

    def failed(self, error: BaseException) -> None:
        """Say that something went wrong that has no name here."""
        reason = f"sending failed ({type(error).__name__}: {error})"
        for box in self.outboxes:
            box.progress.error = reason
        self._say("failed", f"{reason}; it is tried again.")

    async def _turn(self) -> None:
        self._stuck = False
        batch = self._collect() if self._may_send else []
        if batch:
            self._start(batch)
        elif not self._requests:
            await self._pause(max(self._flush_interval, _IDLE))
            return
        await self._work_while_sending()
        if self._requests[0].over.is_set():
            await self._finish(self._requests.popleft())

    @property
    def _may_send(self) -> bool:
        several = self._well and self._in_order and not self._alone
        return len(self._requests) < (self._speaker.depth if several else 1)

    def _start(self, batch: Batch) -> None:
        for box, frames in batch:
            box.send(frames)
        request = _Request(batch, follows=bool(self._requests))
        self._requests.append(request)
        assert self._sending is not None
        self._sending.start_soon(request.run, self._send)

    async def _finish(self, request: _Request) -> None:
        """Apply the answers to the oldest request; wait where more need not be sent at once."""
        batch = request.batch
        try:
            answers = request.answers()
        except Undelivered as error:
            judged = error.verdict
            self._doubt()
        except CommError as error:
            if isinstance(self._where, Embedded):
                self._address = None  # it may come back on another port
            judged = verdict(None, error=error.message, now=time.time())
        else:
            self._apply_all(request, answers)
            await self._rest(request)
            return
        await self._give_up()
        await self._pause(self._failed(batch, judged), urgent=False)

    def _apply_all(self, request: _Request, answers: list[Answer]) -> None:
        self._well = True
        for (box, frames), answer in zip(request.batch, answers, strict=False):
            if request.follows and isinstance(answer, OtherPosition):
                self._in_order = False  # it overtook the other one, which has been taken since
            else:
                self._apply(request.batch, box, answer)
            if not (isinstance(answer, Taken) and _all_of(frames, answer)):
                box.unsend()
        for box, _ in request.batch[len(answers) :]:  # a speaker that takes one writer at a time
            box.unsend()
        self._backoff.reset()
        self._alone = self._alone and len(self.outboxes) > 1

    async def _rest(self, request: _Request) -> None:
        self.outboxes = [box for box in self.outboxes if not box.settled.is_set()]
        size = sum(len(p.data) for _, frames in request.batch for p in frames)
        if self._requests or (self._speaker.alone and len(self.outboxes) > 1):
            return  # the others have waited long enough
        if size >= _BUSY or self._has_plenty:
            return
        until = request.started + max(self._flush_interval, self._speaker.gather)
        woken = self._hurry
        while not woken and (left := until - time.monotonic()) > 0:
            part = min(left, max(self._flush_interval, _GATHER))
            woken = await self._pause(part) or self._has_much

    @property
    def _hurry(self) -> bool:
        return any(box.urgent for box in self.outboxes)

    @property
    def _has_much(self) -> bool:
        """Whether so much has been logged that frames of it are worth making."""
        return sum(box.unread_bytes for box in self.outboxes) >= _WORTH

    async def _give_up(self) -> None:
        """Call back every request: what is behind one that failed would only meet a hole."""
        self._well = False
        requests = list(self._requests)
        self._requests.clear()
        for box in self.outboxes:  # that of a request that is being answered among them
            box.unsend()
        for request in requests:
            request.call_back()
        for request in requests:
            await request.over.wait()

    async def _pause(self, seconds: float, *, urgent: bool = True) -> bool:
        """Wait, at most until someone is in a hurry (unless we wait because the server is); tell
        whether somebody was.

        Where a person has to act first, that is somebody for whom it was not tried yet.
        """
        if seconds <= 0:
            await checkpoint()
            return False
        if urgent:
            if self.wake.is_set():
                self.wake = anyio.Event()
            now = time.monotonic()
            if any(box.urgent and box.not_before <= now for box in self.outboxes):
                seconds = min(seconds, 0.005)
        with anyio.move_on_after(seconds) as waiting:
            while not urgent and not (self._stuck and self._has_untried):
                self.wake = anyio.Event()
                await self.wake.wait()
            if urgent:
                await self.wake.wait()
        return not waiting.cancelled_caught

    @property
    def _has_untried(self) -> bool:
        now = time.monotonic()
        return any(
            box.urgent
            and not box.stuck.is_set()
            and box.not_before <= now
            and (box.waiting > 0 or (box.holds and box.ended) or self._make_frame(box))
            for box in self.outboxes
        )

    def _collect(self) -> Batch:
        """Take what is ready, turn by turn, so that a busy run does not starve the others."""
        now = time.monotonic()
        self._first = (self._first + 1) % max(1, len(self.outboxes))
        order = self.outboxes[self._first :] + self.outboxes[: self._first]
        batch: Batch = []
        left, most = self._max_request, self._most
        room = self._memory_left
        for box in order:
            if box.progress.refused or now < box.not_before or left <= 0:
                continue
            room -= self._fill(box, room)
            frames = box.take(left, most - _HEAD)
            size = _size_of([(box, frames)])
            if batch and size > most:
                continue  # its turn comes
            if self._is_due(box, frames, now - box.sent_at):
                batch.append((box, frames))
                left -= sum(prepared.raw for prepared in frames)
                most -= size
            if batch and (self._alone or self._speaker.alone):
                break
        return batch

    def _is_due(self, box: Outbox, frames: list[Prepared], silence: float) -> bool:
        if self._requests:
            return bool(frames) and (box.urgent or self._has_plenty)
        known = box.progress.next_seq > 0  # before, the server would not know who lives
        if known and silence >= self._heartbeat:
            return True
        if not frames:
            return box.holds and box.ended
        full = box.waiting >= min(self._max_request, self._most)
        return full or box.urgent or silence >= self._speaker.interval

    @property
    def _has_plenty(self) -> bool:
        """Whether there is more than a request's worth to send, beside what is on its way."""
        now = time.monotonic()
        waiting = sum(box.waiting for box in self.outboxes if box.not_before <= now)
        return waiting >= min(self._max_request, self._most)

    @property
    def _memory_left(self) -> int:
        """Bytes of frames that may be made beside those that are kept."""
        return self._memory - sum(box.size for box in self.outboxes)

    def _fill(self, box: Outbox, room: int) -> int:
        """Make frames of this outbox until it has a request's worth, or there is no room; returns
        their bytes."""
        had = box.size
        while box.size - had < room:
            before = box.waiting
            if not self._make_frame(box):
                break
            if not box.closed and box.waiting - before < _WORTH:
                break  # what was logged meanwhile would make a small frame, too
        return box.size - had

    def _make_frame(self, box: Outbox) -> bool:
        """Make one more frame of an outbox; True if there was data for it.

        Whose journal cannot be read is tried again later, and keeps nobody else back.
        """
        now = time.monotonic()
        if now < box.unread_until:
            return False
        try:
            made = box.fill(self._max_request)
        except BaseException as error:  # whatever it is, it is this run's alone
            raise_unless_failed(error)
            box.unread_until = now + _TURN
            box.unread = f"its journal cannot be read ({type(error).__name__}: {error})"
            box.progress.error = box.unread
            box.say("unread", f"{_path(box)}: {box.unread}; it is tried again.")
            return False
        if box.unread is not None:
            box.unread = box.progress.error = None
        return made

    async def _send(self, batch: Batch) -> list[Answer]:
        """Send a batch; answers for its writers in order, or for the first ones only."""
        address = await self._resolve()
        await self._meet(address)
        return await self._speaker.send(address, batch[:1] if self._speaker.alone else batch)

    async def _meet(self, address: Address) -> None:
        """Find out how the server is to be spoken to."""
        if self._met:
            return
        dialect = await self._dialects.of(address, self._http)
        if dialect is Dialect.NATIVE:
            self._speaker = NativeSpeaker(self._http)
        elif not self._speaker.alone:
            self._speaker = WandbSpeaker(self._http, self._heartbeat)
            self._max_request = min(self._max_request, self._speaker.max_request)
        self._met = True

    def _doubt(self) -> None:
        """Ask again what the server speaks, where nothing of what it was sent has been taken.

        A proxy's page in place of an answer must not decide it for good.
        """
        if self._address is not None and self._speaker.alone and not self._taken:
            self._dialects.forget(self._address)
            self._met = False

    async def _work_while_sending(self) -> None:
        """Make the next frames until a request is answered, or another one may be sent."""
        first = self._requests[0].over
        await checkpoint()
        while not first.is_set() and not (self._may_send and self._has_plenty):
            if not self._hurry and not self._has_much:
                with anyio.move_on_after(_GATHER):  # or each request has two frames of a run
                    await first.wait()
                continue
            before = sum(box.waiting for box in self.outboxes)
            room = self._memory_left
            for box in list(self.outboxes):
                if first.is_set():
                    return
                if room > 0:
                    had = box.size
                    made = self._make_frame(box)
                    room -= box.size - had
                    if made:
                        await checkpoint()
            if sum(box.waiting for box in self.outboxes) - before < _WORTH:
                with anyio.move_on_after(_GATHER):
                    await first.wait()

    async def _resolve(self) -> Address:
        if self._address is None:
            assert isinstance(self._where, Embedded)
            self._address = await self._where.find_or_start()
        return self._address

    def _apply(self, batch: Batch, box: Outbox, answer: Answer) -> None:
        progress, now = box.progress, time.monotonic()
        box.sent_at = now
        believed = box.believe(answer.next_seq) if isinstance(answer, (Taken, OtherPosition)) else 0
        if (overstated := box.overstated()) is not None:
            box.refuse(overstated)
            box.say("overstated", f"{_path(box)}: {overstated}.")
            return
        match answer:
            case Taken():
                self._take(box, answer, believed, now)
            case OtherPosition():
                box.rewind(believed)
                box.not_before = now + self._backoff.next_wait()
            case NotNow(reason, smaller=True):
                progress.error = reason
                wait = self._split(batch, reason, raw=True)
                box.not_before = max(box.not_before, now + wait)
            case NotNow(reason) if box.rejections < _MAX_REJECTIONS:
                box.rejections += 1
                progress.error = reason
                box.not_before = now + self._backoff.next_wait()
            case Waits(reason):
                self._wait(box, reason, now)
            case NotNow(reason) | Refused(reason):
                self._refuse(box, reason)

    def _take(self, box: Outbox, answer: Taken, believed: int, now: float) -> None:
        progress = box.progress
        self._taken = True
        progress.connected, progress.error = True, box.unread
        progress.run_path, progress.base_url = answer.run_path, answer.base_url
        progress.stop_requested = answer.stop
        box.holds, box.not_before = answer.holds, now + answer.wait
        box.add_held(-answer.aside)  # acknowledged, but not sent
        if answer.next_seq < progress.next_seq and not self._speaker.alone:
            box.rewind(answer.next_seq)  # it has lost data since it said that it has more
        else:
            box.acknowledge(believed)

    def _wait(self, box: Outbox, reason: str, now: float) -> None:
        """Let a writer wait its turn; one that has ended does not hold its process up for that."""
        box.progress.error = reason
        box.not_before = now + _TURN
        if box.closed and not box.found:
            box.refuse(reason)
        if not box.found:
            box.say("waits", f"{_path(box)}: {reason}.")

    def _failed(self, batch: Batch, judged: Verdict) -> float:
        """Say what went wrong with a request; returns the seconds to wait."""
        where = self._address.url if self._address else "the embedded server"
        reason = judged.reason
        if reason.startswith("HTTP "):
            reason = f"{where} answered {reason}"
        if judged.action is Action.AUTH:
            reason = f"{where} does not accept the API key ({judged.reason.rstrip('.')})"
            if self._address is not None and not isinstance(self._where, Embedded):
                reason += f"; {key_advice(where, self._address.key)}"
        for box, _ in batch:
            box.progress.error, box.progress.connected = reason, False
        self._get_stuck(batch, lasting=judged.lasting)
        if judged.action is Action.SPLIT:
            return self._split(batch, judged.reason)
        if judged.action is Action.AUTH:
            if isinstance(self._where, Embedded):
                self._address = None  # one whose folder was deleted has made itself a new key
            self._say("auth", f"{reason}.")
        elif judged.action is Action.FATAL:
            if len(batch) == 1:
                self._refuse(batch[0][0], reason)
            self._alone = len(batch) > 1
            return 0.0
        else:
            goes_on = " The run goes on." if any(not box.found for box, _ in batch) else ""
            self._say("unreachable", f"{reason}.{goes_on}")
        return self._backoff.next_wait(judged.delay_hint)

    def _get_stuck(self, batch: Batch, *, lasting: bool = True) -> None:
        """Tell those who wait for these writers that it does not help."""
        self._stuck = lasting
        for box, _ in batch if lasting else ():
            box.stuck.set()

    def _split(self, batch: Batch, reason: str, *, raw: bool = False) -> float:
        """Send less at once from now on: somebody on the way takes no more, in bytes of a request
        or (`raw`) of what it decompresses to. Returns the seconds to wait."""
        prepared = [each for _, frames in batch for each in frames]
        size = sum(each.raw for each in prepared) if raw else _size_of(batch)
        if len(batch) > 1 or sum(each.count for each in prepared) > 1:
            if raw:
                self._max_request = max(1, min(self._max_request, size // 2))
            else:
                self._most = max(1, min(self._most, size // 2))
            self._narrow(*self.outboxes)
            return 0.0
        if size <= TINY:
            where = self._address.url if self._address else "the embedded server"
            self._say("tiny", f"{where} takes no request of {size:,} bytes: {reason}.")
            self._get_stuck(batch)
            self._most, self._max_request = _UNLIMITED, self._speaker.max_request
            self._narrow(*self.outboxes)
            return self._backoff.next_wait(SLOW)
        [(box, [first])] = batch
        if box.pending and box.pending[0] is first:
            self._set_aside(box, size, reason)
        return 0.0

    def _narrow(self, *boxes: Outbox) -> None:
        for box in boxes:
            box.narrow(max(1, self._most - _HEAD), self._max_request)

    def _set_aside(self, box: Outbox, size: int, reason: str) -> None:
        """One row or event is too large by itself: it must not keep back all behind it."""
        if box.aside is None:
            self._refuse(box, reason)
        else:
            why = too_large(reason)
            try:
                box.set_aside(why)
            except OSError as error:
                box.progress.error = f"what is {why} cannot be set aside: {error}"
                box.not_before = time.monotonic() + _TURN
                box.say("not aside", f"{_path(box)}: {box.progress.error}; it is tried again.")
            else:
                box.say_aside("a row or event", size, why)

    def _refuse(self, box: Outbox, reason: str) -> None:
        box.refuse(reason)
        box.say("refused", f"the server refuses the {_path(box)}: {reason}.")

    def _say(self, topic: str, text: str) -> None:
        """Say what concerns all runs: one of them does, for those that have not been told yet."""
        untold = [box for box in self.outboxes if topic not in box.told]
        for box in untold:
            box.told.add(topic)
        speaker = next((box for box in untold if box.has_user), None)
        if speaker is not None:
            speaker.say(topic, text)


def _path(box: Outbox) -> str:
    return f"run {box.head.project}/{box.head.run}"


def _size_of(batch: Batch) -> int:
    """Return about how many bytes a request with this batch has."""
    return sum(_HEAD + sum(len(prepared.data) for prepared in frames) for _, frames in batch)


def _all_of(frames: list[Prepared], answer: Taken) -> bool:
    return not frames or frames[-1].end_seq <= answer.next_seq
