"""The uplink: frames of all runs that log to one server, in as few requests as there can be.

Theory of operation. One loop a server: collect what the outboxes have ready, send it as one batch,
make more frames while the answer is on its way, apply the answer, repeat. A batch that was large
is followed at once by the next; otherwise rows gather for `flush_interval`. One request is on its
way at a time, so frames of a writer arrive in order; whatever fails is simply sent again.

What a batch is on the wire is a `Speaker`'s part: the server is asked once which it needs. Where
it speaks W&B's protocol only, a batch is one writer's, and rows gather for as long as W&B's own
clients let them: the time between two heartbeats.

| outcome | then |
| --- | --- |
| taken | the outbox lets go of what is below `next` |
| hole in the sequence | the outbox rewinds to what the server expects |
| no answer, busy | the same batch again, after a backoff |
| key not accepted | the same again, slowly; said once |
| too large | smaller batches |
| another writer first | that writer's data waits in its journal |
| refused for good | that writer stops; its data stays in the journal; said once |
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from asyncwb.engine.dialect import Dialect, Dialects
from asyncwb.engine.embedded import Address, Embedded
from asyncwb.engine.http import Http
from asyncwb.engine.native import NativeSpeaker
from asyncwb.engine.outbox import Outbox
from asyncwb.engine.speaker import (
    Answer,
    Batch,
    Elsewhere,
    NotNow,
    Refused,
    Speaker,
    Taken,
    Undelivered,
    Waits,
)
from asyncwb.engine.wandb import WandbSpeaker
from asyncwb.errors import CommError
from asyncwb.wire.retry import Action, Backoff, Verdict, verdict

_MIN_REQUEST: Final = 64 * 2**10
_IDLE: Final = 0.02
"""seconds between two looks for something to send, where nothing is to be waited for."""
_MAX_REJECTIONS: Final = 8
"""answers in a row that refuse a writer's frames for now; then they are refused for good."""
_BUSY: Final = 128 * 2**10
"""bytes: a batch of this size is followed by the next without a pause."""
_TURN: Final = 1.0
"""seconds after which a writer that waits for another one looks again."""


class Uplink:
    """Sends the frames of several outboxes to one server.

    Args:
        where: an address, or the embedded server.
        flush_interval: seconds for which rows gather.
        heartbeat: seconds of silence after which a run says that it lives.
        memory: bytes of frames that all outboxes together may keep ready.
        say: prints one line for the user, the first time it is called with a topic.
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
        say: Callable[[str, str], None],
        dialects: Dialects | None = None,
    ) -> None:
        self.outboxes: list[Outbox] = []
        self.wake = asyncio.Event()
        self._where = where
        self._address = where if isinstance(where, Address) else None
        self._http = http
        self._flush_interval = flush_interval
        self._heartbeat = heartbeat
        self._memory = memory
        self._say = say
        self._backoff = Backoff(random=random.random)
        self._dialects = dialects or Dialects()
        self._speaker: Speaker = NativeSpeaker(http)  # what most are, and what an embedded one is
        self._met = isinstance(where, Embedded)
        self._taken = False
        self._max_request = self._speaker.max_request
        self._alone = False  # one writer a request, to find the one that the server refuses
        self._first = 0

    def add(self, outbox: Outbox) -> None:
        """Send this outbox's frames from now on."""
        self.outboxes.append(outbox)
        self.wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                await self._turn()
            except Exception as error:  # must not die: nothing is lost, and it is said
                reason = f"sending failed ({type(error).__name__}: {error})"
                for box in self.outboxes:
                    box.progress.error = reason
                self._say("failed", f"{reason}; it is tried again.")
                await self._pause(self._backoff.next_wait(), urgent=False)

    async def _turn(self) -> None:
        batch = self._collect()
        if not batch:
            await self._pause(max(self._flush_interval, _IDLE))
            return
        started = time.monotonic()
        wait = await self._send(batch)
        self.outboxes = [box for box in self.outboxes if not box.settled.is_set()]
        size = sum(len(p.data) for _, frames in batch for p in frames)
        if wait is not None:
            await self._pause(wait, urgent=False)
        elif self._speaker.alone and len(self.outboxes) > 1:
            return  # the others have waited long enough
        elif size < _BUSY and not any(box.urgent for box in self.outboxes):
            await self._pause(self._flush_interval - (time.monotonic() - started))

    async def _pause(self, seconds: float, *, urgent: bool = True) -> None:
        """Wait, at most until someone is in a hurry (unless we wait because the server is)."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        if urgent:
            self.wake.clear()
            now = time.monotonic()
            if any(box.urgent and box.not_before <= now for box in self.outboxes):
                seconds = min(seconds, 0.005)
        try:
            await asyncio.wait_for(self.wake.wait() if urgent else asyncio.Event().wait(), seconds)
        except TimeoutError:
            return

    def _collect(self) -> Batch:
        """Take what is ready, turn by turn, so that a busy run does not starve the others."""
        now = time.monotonic()
        self._first = (self._first + 1) % max(1, len(self.outboxes))
        order = self.outboxes[self._first :] + self.outboxes[: self._first]
        batch: Batch = []
        left = self._max_request
        for box in order:
            if box.progress.refused or now < box.not_before or left <= 0:
                continue
            self._fill(box)
            frames = box.take(left)
            if self._is_due(box, bool(frames), now - box.sent_at):
                batch.append((box, frames))
                left -= sum(prepared.raw for prepared in frames)
            if batch and (self._alone or self._speaker.alone):
                break
        return batch

    def _is_due(self, box: Outbox, ready: bool, silence: float) -> bool:
        known = box.progress.next_seq > 0  # before, the server would not know who lives
        if known and silence >= self._heartbeat:
            return True
        if not ready:
            return box.holds and box.ended
        full = box.raw >= self._max_request
        return full or box.urgent or silence >= self._speaker.interval

    def _fill(self, box: Outbox) -> None:
        """Make frames of this outbox until it has a request's worth, or memory is short."""
        while sum(b.size for b in self.outboxes) < self._memory:
            if not box.fill(self._max_request):
                return

    async def _send(self, batch: Batch) -> float | None:
        """Send a batch and apply the answer; returns seconds to wait where it failed."""
        address = None
        try:
            address = await self._resolve()
            await self._meet(address)
            if self._speaker.alone:
                batch = batch[:1]
            answers = await self._speak(address, batch)
        except Undelivered as error:
            self._doubt(address)
            return self._failed(batch, error.verdict, address)
        except CommError as error:
            if isinstance(self._where, Embedded):
                self._address = None  # it may come back on another port
            return self._failed(batch, verdict(None, error=error.message, now=time.time()), address)
        for (box, _), answer in zip(batch, answers, strict=True):
            self._apply(box, answer)
        self._backoff.reset()
        self._alone = self._alone and len(self.outboxes) > 1
        return None

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

    def _doubt(self, address: Address | None) -> None:
        """Ask again what the server speaks, where nothing of what it was sent has been taken.

        A proxy's page in place of an answer must not decide it for good.
        """
        if address is not None and self._speaker.alone and not self._taken:
            self._dialects.forget(address)
            self._met = False

    async def _speak(self, address: Address, batch: Batch) -> list[Answer]:
        sending = asyncio.ensure_future(self._speaker.send(address, batch))
        try:
            await self._work_while(sending)
            return await sending
        finally:
            sending.cancel()

    async def _work_while(self, post: asyncio.Future[list[Answer]]) -> None:
        """Make the next frames while the server is busy with these."""
        await asyncio.sleep(0)
        ready = True
        while ready and not post.done():
            ready = False
            for box in self.outboxes:
                if not post.done() and sum(b.size for b in self.outboxes) < self._memory:
                    ready = box.fill(2 * self._max_request) or ready
                    await asyncio.sleep(0)

    async def _resolve(self) -> Address:
        if self._address is None:
            assert isinstance(self._where, Embedded)
            self._address = await self._where.find_or_start()
        return self._address

    def _apply(self, box: Outbox, answer: Answer) -> None:
        progress, now = box.progress, time.monotonic()
        box.sent_at = now
        match answer:
            case Taken():
                self._take(box, answer, now)
            case Elsewhere(next_seq):
                box.rewind(next_seq)
                box.not_before = now + self._backoff.next_wait()
            case NotNow(reason, smaller) if box.rejections < _MAX_REJECTIONS:
                box.rejections += 1
                progress.error = reason
                box.not_before = now + self._backoff.next_wait()
                if smaller:
                    self._max_request = max(_MIN_REQUEST, self._max_request // 2)
            case Waits(reason):
                self._wait(box, reason, now)
            case NotNow(reason) | Refused(reason):
                self._refuse(box, reason)

    def _take(self, box: Outbox, answer: Taken, now: float) -> None:
        progress = box.progress
        self._taken = True
        progress.connected, progress.error = True, None
        progress.run_path, progress.base_url = answer.run_path, answer.base_url
        progress.stop_requested = answer.stop
        box.holds, box.not_before = answer.holds, now + answer.wait
        if answer.lost:
            progress.lost += answer.lost
            progress.rows -= answer.lost  # acknowledged, but only as gone
            self._say("lost", f"{answer.lost} rows were larger than the server takes: dropped.")
        box.acknowledge(answer.next_seq)

    def _wait(self, box: Outbox, reason: str, now: float) -> None:
        """Let a writer wait its turn; one that has ended does not hold its process up for that."""
        path = f"{box.head.project}/{box.head.run}"
        box.progress.error = reason
        box.not_before = now + _TURN
        if box.closed and not box.found:
            box.refuse(reason)
        if not box.found:
            self._say(f"waits {box.head.writer}", f"run {path}: {reason}.")

    def _failed(self, batch: Batch, judged: Verdict, address: Address | None) -> float:
        where = address.url if address else "the embedded server"
        for box, _ in batch:
            box.progress.error, box.progress.connected = judged.reason, False
        if judged.action is Action.SPLIT and self._max_request > _MIN_REQUEST:
            self._max_request //= 2
            return 0.0
        if judged.action is Action.AUTH:
            self._say("auth", f"{where} does not accept the API key ({judged.reason}).")
        elif judged.action in (Action.FATAL, Action.SPLIT):
            if len(batch) == 1:
                self._refuse(batch[0][0], judged.reason)
            self._alone = len(batch) > 1
            return 0.0
        else:
            self._say("unreachable", f"{judged.reason}. The run goes on.")
        return self._backoff.next_wait(judged.delay_hint)

    def _refuse(self, box: Outbox, reason: str) -> None:
        box.refuse(reason)
        path = f"{box.head.project}/{box.head.run}"
        self._say(f"refused {box.head.writer}", f"the server refuses the run {path}: {reason}.")
