"""The uplink: frames of all runs that log to one server, in as few requests as there can be.

Theory of operation. One loop a server: collect what the outboxes have ready, send it as one batch,
make more frames while the answer is on its way, apply the answer, repeat. A batch that was large
is followed at once by the next; otherwise rows gather for `flush_interval`. One request is on its
way at a time, so frames of a writer arrive in order; whatever fails is simply sent again.

| outcome | then |
| --- | --- |
| taken | the outbox lets go of what is below `next` |
| hole in the sequence | the outbox rewinds to what the server expects |
| no answer, busy | the same batch again, after a backoff |
| key not accepted | the same again, slowly; said once |
| too large | smaller batches |
| refused for good | that writer stops; its data stays in the journal; said once |
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

from asyncwb.engine.embedded import Address, Embedded
from asyncwb.engine.http import Http, NoAnswer, Reply
from asyncwb.engine.outbox import Outbox
from asyncwb.engine.source import Prepared
from asyncwb.errors import CommError
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from asyncwb.wire.retry import Action, Backoff, verdict

_MAX_REQUEST: Final = 8 * 2**20
"""raw bytes of frames in one request: 70,000 rows of ten floats."""
_MIN_REQUEST: Final = 64 * 2**10
_IDLE: Final = 0.02
"""seconds between two looks for something to send, where nothing is to be waited for."""
_MAX_REJECTIONS: Final = 8
"""answers in a row that refuse a writer's frames for now; then they are refused for good."""
_BUSY: Final = 128 * 2**10
"""bytes: a batch of this size is followed by the next without a pause."""

_LOST_TRACK: Final = {"sequence_gap", "writer_not_found"}
"""errors that say from where to send again: the server was restored, or a frame went missing."""

Batch = list[tuple[Outbox, list[Prepared]]]


class Uplink:
    """Sends the frames of several outboxes to one server.

    Args:
        where: an address, or the embedded server.
        flush_interval: seconds for which rows gather.
        heartbeat: seconds of silence after which a run says that it lives.
        memory: bytes of frames that all outboxes together may keep ready.
        say: prints one line for the user, the first time it is called with a topic.
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
        self._max_request = _MAX_REQUEST
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
            known = box.progress.next_seq > 0  # before, the server would not know who lives
            if frames or (known and now - box.sent_at >= self._heartbeat):
                batch.append((box, frames))
                left -= sum(prepared.raw for prepared in frames)
            if self._alone and batch:
                break
        return batch

    def _fill(self, box: Outbox) -> None:
        """Make frames of this outbox until it has a request's worth, or memory is short."""
        while sum(b.size for b in self.outboxes) < self._memory:
            if not box.fill(self._max_request):
                return

    async def _send(self, batch: Batch) -> float | None:
        """Send a batch and apply the answer; returns seconds to wait where it failed."""
        try:
            address = await self._resolve()
        except CommError as error:
            return self._failed(batch, verdict(None, error=error.message, now=time.time()), None)
        body = encode_batch([(box.head, [p.data for p in frames]) for box, frames in batch])
        url = f"{address.url}/api/v1/ingest"
        post = asyncio.ensure_future(
            self._http.request("POST", url, key=address.key, data=body, content_type=CONTENT_TYPE)
        )
        try:
            await self._work_while(post)
            reply = await post
        except NoAnswer as error:
            if isinstance(self._where, Embedded):
                self._address = None  # it may come back on another port
            return self._failed(batch, verdict(None, error=error.message, now=time.time()), address)
        finally:
            post.cancel()
        judged = verdict(reply.status, reply.headers, reply.error[1] or None, now=time.time())
        if judged.action is not Action.DONE:
            return self._failed(batch, judged, address)
        return self._apply(batch, reply, address)

    async def _work_while(self, post: asyncio.Future[Reply]) -> None:
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

    def _apply(self, batch: Batch, reply: Reply, address: Address) -> float | None:
        try:
            answers = reply.json()["streams"]
            if len(answers) != len(batch):
                raise ValueError("it answers for another number of runs")
            for (box, _), answer in zip(batch, answers, strict=True):
                self._apply_one(box, answer, address)
        except (CommError, ValueError, KeyError, TypeError) as error:
            reason = f"{address.url} gave an answer that makes no sense: {error}"
            return self._failed(batch, verdict(None, error=reason, now=time.time()), address)
        self._backoff.reset()
        self._alone = self._alone and len(self.outboxes) > 1
        return None

    def _apply_one(self, box: Outbox, answer: dict[str, Any], address: Address) -> None:
        progress = box.progress
        box.sent_at = time.monotonic()
        error = answer.get("error")
        if error is None:
            progress.connected, progress.error = True, None
            progress.run_path, progress.base_url = answer["run"], address.url
            progress.stop_requested = bool(answer.get("stop"))
            box.acknowledge(int(answer["next"]))
        elif error["code"] in _LOST_TRACK:
            box.rewind(int(answer["next"]))
            box.not_before = time.monotonic() + self._backoff.next_wait()
        elif error.get("retry") and box.rejections < _MAX_REJECTIONS:
            box.rejections += 1
            progress.error = str(error["message"])
            box.not_before = time.monotonic() + self._backoff.next_wait()
            if error["code"] == "frame_too_large":
                self._max_request = max(_MIN_REQUEST, self._max_request // 2)
        else:
            self._refuse(box, str(error["message"]))

    def _failed(self, batch: Batch, judged: Any, address: Address | None) -> float:
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
