"""What runs on the engine's loop: the uplinks, the care of the journals, and submitted commands.

Imported on the engine's thread: this is where numpy, aiohttp and the codecs come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import encodings.idna
import functools
import socket
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import anyio

from asyncwb.descriptors import fill_standard_descriptors, require_descriptors
from asyncwb.engine.frames.offline import Sealer
from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.pipeline import LiveSegments, Reader
from asyncwb.engine.frames.source import JournalSource
from asyncwb.engine.local_runs import read_local
from asyncwb.engine.neighbours import send_others
from asyncwb.engine.notices import Notices
from asyncwb.engine.process.ending import Ending, Others
from asyncwb.engine.resume import find_run
from asyncwb.engine.session import Session, Work
from asyncwb.engine.tasks import Task, Tasks, any_of
from asyncwb.engine.upkeep import INTERVAL, Upkeep, sync
from asyncwb.engine.uplink.dialect import Dialects
from asyncwb.engine.uplink.embedded import Address, Embedded
from asyncwb.engine.uplink.http import Http
from asyncwb.engine.uplink.uplink import Uplink
from asyncwb.engine.uploads.uploader import Uploader
from asyncwb.errors import EngineStopped, Error
from asyncwb.settings import Settings
from asyncwb.tasks import raise_unless_failed
from asyncwb.typing import JsonObject
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.summary.fold import Fold

try:
    import uvloop
except ImportError:  # no uvloop on this platform
    uvloop = None  # type: ignore[assignment]

_IMPORTED: Final = (Fold, encodings.idna)
"""what the first frame and the first connection need: imported now, while a fork waits for the
engine's imports"""
_HTTP_TIMEOUT: Final = 30.0
_SAFE: Final = "what was logged is safe in the journal on disk. Send it with: asyncwb sync"
_LOOP_OPENS: Final = 8
"""descriptors that there have to be for a loop: with 1 to 3, libuv aborted (uvloop 0.22)"""


def _say(session: Session, topic: str, text: str) -> None:
    # What is set aside is not sent by a sync either.
    session.notices.warn_once(topic, text, advise=topic != "aside")


def _failed(session: Session, what: str, error: BaseException) -> None:
    """Say that a task of a session's failed in a way that has no name here."""
    session.progress.error = f"{what} failed ({type(error).__name__}: {error})"
    session.notices.warn_once(what, f"{session.progress.error}; it is tried again.")


def new_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that the engine runs on; raises OSError where descriptors are short."""
    fill_standard_descriptors()  # libuv aborts a process that closes one of them
    require_descriptors(_LOOP_OPENS)  # and one where it cannot open what a loop needs
    return asyncio.new_event_loop() if uvloop is None else _loop_for_forks(uvloop)


def _loop_for_forks(uvloop: Any) -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop's that never starts libuv's threads.

    Whoever asks libuv for an address starts them, and in a forked child, where they are not, the
    exit of the process waits for them and crashes.
    """

    class Loop(uvloop.Loop):  # type: ignore[misc]
        async def getaddrinfo(self, host: Any, port: Any, **given: Any) -> Any:
            numeric = {**given, "flags": given.get("flags", 0) | socket.AI_NUMERICHOST}
            try:
                return socket.getaddrinfo(host, port, **numeric)  # no name: never waits
            except socket.gaierror:
                ask = functools.partial(socket.getaddrinfo, host, port, **given)
                return await self.run_in_executor(None, ask)

    return cast("asyncio.AbstractEventLoop", Loop())


def load() -> None:
    """Import what anyio imports when it is first used; to be called while a fork waits."""

    async def use() -> None:
        anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.Event().wait)
            with anyio.move_on_after(0):
                await anyio.sleep_forever()
            group.cancel_scope.cancel()

    loop = new_loop()  # asyncio's own logs that it is made, which a handler may answer by raising
    try:
        loop.run_until_complete(use())
    finally:
        loop.close()


def run(
    main: Callable[[Worker], Coroutine[object, object, None]], helpers: ThreadPoolExecutor
) -> None:
    """Run `main` with a worker on a loop of its own, until it returns.

    `helpers` do what would block the loop. An `asyncio.Runner` would start a thread to end them:
    impossible at the interpreter's exit.
    """

    async def work() -> None:
        async with Worker() as worker:
            await main(worker)

    loop = new_loop()
    loop.set_default_executor(helpers)
    loop.set_exception_handler(_tell)
    # Not in a group: it is what the loop is run for, and the group is made inside it.
    task = loop.create_task(work())
    try:
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:  # from a callback, through the loop
                if not task.done():
                    _tell(loop, {"message": "a callback failed", "exception": error})
        task.result()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _tell(_loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    """Say what nobody caught; the logging handlers of the program are no part of this thread."""
    error = what.get("exception")
    shown = "".join(traceback.format_exception(error)) if error is not None else ""
    Notices().warn(f"the logging engine: {what['message']}\n{shown}".rstrip())


class Worker:
    """Everything that the engine's loop does; made, entered and touched on that loop only.

    Leaving it cancels what is under way, then lets go of the connections.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopping = anyio.Event()
        self.sessions: dict[Session, Outbox] = {}
        self._uplinks: dict[tuple[object, ...], Uplink] = {}
        self._uploads: dict[Session, tuple[Uploader, Task]] = {}
        self._group = anyio.create_task_group()
        self._tasks = Tasks(self._group)
        self._submitted = anyio.Event()
        self._https: dict[float, Http] = {}
        self._dialects = Dialects()
        self._embedded: dict[tuple[Path, float], Embedded] = {}
        self._upkeep = Upkeep(self._group)

    async def __aenter__(self) -> Worker:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            for http in self._https.values():
                await http.close()

    @property
    def http(self) -> Http:
        """The connections, of this loop, with the usual timeout."""
        return self.connections(_HTTP_TIMEOUT)

    def connections(self, timeout: float) -> Http:
        """The connections whose requests may take `timeout` seconds."""
        if timeout not in self._https:
            self._https[timeout] = Http(timeout)
        return self._https[timeout]

    async def run(
        self, submitted: Callable[[], tuple[Work[object], Future[object]] | None]
    ) -> None:
        """Do what is submitted, and care for the journals, until told to stop.

        Args:
            submitted: gives what is to be done next, None where there is nothing; `look` says
                that there may be something.
        """
        self._group.start_soon(self._do_submitted, submitted)
        while not self.stopping.is_set():
            for session in list(self.sessions):
                try:
                    self._upkeep.look(session)
                    session.obey_stop()
                except BaseException as error:  # must not die: the other runs need it
                    raise_unless_failed(error)
                    session.notices.warn_once("care", f"the journal is not well: {error!r}.")
            with anyio.move_on_after(INTERVAL):
                await self.stopping.wait()

    def look(self) -> None:
        """Look for what was submitted; for a callback of the loop."""
        self._submitted.set()

    async def _do_submitted(
        self, submitted: Callable[[], tuple[Work[object], Future[object]] | None]
    ) -> None:
        while True:
            self._submitted = anyio.Event()
            while (next_one := submitted()) is not None:
                work, future = next_one
                self._group.start_soon(self._do, work, future)
            await self._submitted.wait()

    async def _do(self, work: Work[object], future: Future[object]) -> None:
        """Do what was submitted and hand its outcome to the waiting thread."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = await work(self)
        except anyio.get_cancelled_exc_class():
            future.set_exception(EngineStopped())
            raise
        except (SystemExit, KeyboardInterrupt) as error:  # not the submitting thread's to end with
            future.set_exception(Error(f"the logging engine failed ({error!r}); {_SAFE}"))
        except BaseException as error:  # whoever submitted it is told, whatever it is
            future.set_exception(error)
        else:
            future.set_result(result)

    async def attach(self, session: Session) -> None:
        """Start sending (or sealing) what a session logs."""
        inbox = session.inbox
        source = JournalSource(
            Reader(LiveSegments(session.journal)),
            session.summary.fold,
            lambda: (inbox.unwritten, inbox.next_seq),
            inbox.kept,
        )
        say = None if session.settings.silent else functools.partial(_say, session)
        outbox = Outbox(
            session.head,
            source,
            session.progress,
            folder=session.folder,
            aside=session.aside,
            say=say,
            written=lambda: inbox.next_seq,
        )
        self.sessions[session] = outbox
        if session.settings.mode == "offline":
            sealer = Sealer(session.folder, outbox)
            seal = functools.partial(sealer.run, session.settings.flush_interval)
            self._tasks.start(seal, functools.partial(_failed, session, "sealing"))
        else:
            session.progress.moved.append(lambda _: self._greet(session))
            self.uplink(session).add(outbox)

    def _greet(self, session: Session) -> None:
        """Say where the run's page is, once the server has it."""
        progress = session.progress
        if progress.run_path is not None and not session.greeted:
            session.greeted = True
            entity, project, run = progress.run_path.split("/")
            session.notices.tell(
                f"run {run} is at {progress.base_url}/{entity}/{project}/runs/{run}"
            )

    def uplink(self, session: Session) -> Uplink:
        """The uplink to the session's server, started on first use."""
        settings = session.settings
        target = (settings.base_url, settings.api_key, settings.data_dir, settings.http_timeout)
        if target not in self._uplinks:
            uplink = self._uplinks[target] = Uplink(
                self._where(settings),
                self.connections(settings.http_timeout),
                flush_interval=settings.flush_interval,
                heartbeat=settings.heartbeat_seconds,
                memory=settings.memory_max_bytes,
                dialects=self._dialects,
            )
            self._tasks.start(uplink.run, uplink.failed)
        return self._uplinks[target]

    async def upload(self, session: Session) -> None:
        """Look at a session's saved files; its uploader starts with the first of them."""
        if session not in self.sessions:
            return  # it has finished: what is not sent waits in its folder
        if session not in self._uploads:
            settings, progress = session.settings, session.progress
            uploader = Uploader(
                session.saved,
                self.connections(settings.http_timeout),
                where=settings.base_url or "embedded",
                address=lambda: self.address(settings),
                run_path=lambda: progress.run_path,
                account=session.files,
                say=session.notices.warn_once,
            )
            progress.moved.append(lambda _: uploader.meet())
            progress.fell.append(uploader.send_again)
            self._uploads[session] = uploader, self._start_uploads(session, uploader)
        self._uploads[session][0].look_soon()

    def _start_uploads(self, session: Session, uploader: Uploader) -> Task:
        failed = functools.partial(_failed, session, "sending files")
        return self._tasks.start(uploader.run, failed)

    async def _finish_uploads(self, session: Session, deadline: float) -> bool:
        """Send the rest of the files; True once nothing of them waits."""
        if session not in self._uploads:
            return True
        uploader, task = self._uploads.pop(session)
        if task.over.is_set() and not uploader.settled.is_set():  # the server has lost data since
            task = self._start_uploads(session, uploader)
        if session.progress.run_path is not None:  # if not, there is no run that could have them
            with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
                await any_of(task.over.wait, uploader.stuck.wait)
        task.cancel()
        await task.over.wait()
        return uploader.settled.is_set()

    async def flush(self, session: Session, timeout: float) -> bool:
        """Wait until what was logged so far is acknowledged (offline: sealed on disk)."""
        goal = session.inbox.next_seq
        outbox = self.sessions.get(session)
        if outbox is None:  # finished: what has not arrived is no longer sent from here
            return session.progress.next_seq >= goal
        done = anyio.Event()

        def moved(next_seq: int) -> None:
            if next_seq >= goal:
                done.set()

        session.progress.moved.append(moved)
        moved(session.progress.next_seq)
        try:
            outbox.try_again()
            with outbox.hurry(), anyio.move_on_after(timeout):
                self._wake()
                await any_of(outbox.settled.wait, outbox.stuck.wait, done.wait)
            return done.is_set()
        finally:
            session.progress.moved.remove(moved)

    async def sync(self, session: Session) -> bool:
        """Force what was logged so far to the disk; False where that fails, and it is said."""
        if session not in self.sessions:  # finished: its journal is closed
            return max(session.synced_seq, session.progress.next_seq) >= session.inbox.next_seq
        return await sync(session)

    async def finish(self, session: Session, timeout: float, *, ends_run: bool) -> Ending:
        """Send the rest of a closed session and let go of its folder; then see to the others."""
        deadline = anyio.current_time() + timeout
        complete = await self._finish(session, timeout, deadline)
        # Before the others are sent: a W&B server takes one writer at a time.
        await asyncio.to_thread(session.release, complete=complete)
        if not ends_run:
            return Ending(complete)
        left = deadline - anyio.current_time() if complete else 0.0
        return Ending(complete, await self.send_others(session, left))

    async def send_others(self, session: Session, timeout: float) -> Others:
        """Send what other processes left of a session's run; see `neighbours.send_others`."""
        settings = session.settings
        if settings.mode != "online":
            return Others()
        try:
            return await send_others(
                self._where(settings),
                self.http,
                settings,
                session.head,
                since=session.opened_at,
                deadline=anyio.current_time() + timeout,
            )
        except OSError as error:
            return Others(unknown=str(error))

    async def _finish(self, session: Session, timeout: float, deadline: float) -> bool:
        """Send the rest of a closed session; True once all of it is acknowledged."""
        outbox = self.sessions[session]
        outbox.close()
        if session in self._uploads:
            self._uploads[session][0].end()
        self._wake()
        with anyio.move_on_after(timeout):
            await any_of(outbox.settled.wait, outbox.stuck.wait)
        if session.progress.next_seq < session.inbox.next_seq:
            await asyncio.to_thread(session.journal.trim, session.progress.next_seq)
            await self.sync(session)  # what stays here shall be on the disk
        del self.sessions[session]
        for uplink in self._uplinks.values():
            if outbox in uplink.outboxes:
                uplink.outboxes.remove(outbox)
        outbox.stop()
        sent = await self._finish_uploads(session, deadline)
        return sent and session.progress.next_seq >= session.inbox.next_seq

    async def find_run(self, settings: Settings, head: StreamHead) -> JsonObject | None:
        """Look for a run that is to be gone on with: see `resume.find_run`, offline `local`."""
        if settings.mode == "offline":
            return await asyncio.to_thread(read_local, settings, head)
        return await find_run(self._where(settings), self.http, self._dialects, settings, head)

    async def address(self, settings: Settings) -> Address:
        """Find the server that these settings mean, starting the embedded one if need be."""
        where = self._where(settings)
        return where if isinstance(where, Address) else await where.find_or_start()

    def _where(self, settings: Settings) -> Address | Embedded:
        if settings.base_url is not None:
            return Address(settings.base_url, settings.api_key)
        key = settings.server_dir, settings.server_idle_timeout
        if key not in self._embedded:
            self._embedded[key] = Embedded(key[0], self.http, idle_timeout=key[1])
        return self._embedded[key]

    async def log_when_room(
        self, session: Session, data: JsonObject, step: int | None, commit: bool | None
    ) -> None:
        """Log a row once the full journal has room; past the deadline it is dropped, counted."""
        room = anyio.Event()

        def moved(_next_seq: int) -> None:
            session.journal.trim(session.progress.next_seq)
            room.set()

        session.progress.moved.append(moved)
        outbox = self.sessions.get(session)  # None: it has finished, and the inbox says so
        patience = 0.0 if session.overflowing else session.settings.overflow_timeout
        try:
            hurry = contextlib.nullcontext() if outbox is None else outbox.hurry()
            with anyio.fail_after(patience), hurry:
                self._wake()
                while not session.inbox.log(data, step, commit):
                    room = anyio.Event()
                    await room.wait()
            session.overflowing = False
        except TimeoutError:
            session.overflowing = True
            session.inbox.count_dropped("overflow")
            session.notices.warn_once(
                "overflow", f"the journal in {session.folder.path} is full: rows are dropped."
            )
        finally:
            session.progress.moved.remove(moved)

    def _wake(self) -> None:
        for uplink in self._uplinks.values():
            uplink.wake.set()
