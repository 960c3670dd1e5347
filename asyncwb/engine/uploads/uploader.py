"""Sends the files that a run has saved: to our server and to W&B's in the same way.

Theory of operation. An uploader serves one run folder. Every few seconds, and at once when `save()`
has named something, it looks through `files.json` and at the files themselves: what is due joins a
queue. From the queue some files at a time are announced in one `CreateRunFiles`, which gives a
signed address for each, and go out by PUT, a few side by side and never one file twice. What became
of each is noted in `files.json`, many notes in one writing. Nothing is asked before the server has
acknowledged the run's first frame: a file belongs to a run that exists.

    look --> queue --> CreateRunFiles --> PUT --> note (size, mtime) --> files.json

| what came back | then |
| --- | --- |
| taken | noted |
| taken, and the file has changed meanwhile | again, three times at most for one look |
| no answer, busy | again, with a fresh address, after a backoff; `Retry-After` is kept to |
| the address is refused | again with a fresh one: it may have expired; twice: refused for good |
| no address for this name, the document declined | refused for good: counted, said, left |
| the key is not accepted | again, slowly, and at the run's end; said once |
| the file is gone, or cannot be read | counted, said; again when it is seen to have changed |
| rows are missing that it had | all it was sent, again: it lost data, and may have lost files |
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

import anyio
from anyio.abc import TaskGroup

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.graphql import Declined, ask, nonsense, problem_of
from asyncwb.engine.uplink.http import Http, NoAnswer
from asyncwb.engine.uplink.speaker import Undelivered
from asyncwb.engine.uploads.saved import GONE, FileAccount, Mark, Saved, SavedFile, Seen
from asyncwb.engine.uploads.signed_address import put
from asyncwb.errors import CommError, Error
from asyncwb.tasks import raise_unless_failed
from asyncwb.wire.retry import Action, Backoff, Verdict, wandb_verdict
from asyncwb.wire.uplink_documents import CREATE_FILES

LOOK: Final = 2.0
"""seconds between two looks at the files, and at least between two uploads of one"""
_BESIDE: Final = 8
"""uploads at a time"""
_ANNOUNCED: Final = 32
"""files that may have an address at a time: one that waits for long may expire"""
_CHANGES: Final = 3
_REFUSALS: Final = 2
_HELD: Final = 0.2
"""seconds after which it is looked again whether another process still sends these files"""


@dataclass(slots=True)
class _Tries:
    """What has gone wrong with one file since it was last sent."""

    backoff: Backoff = field(default_factory=lambda: Backoff(random=random.random))
    not_before: float = 0.0
    rest_until: float = 0.0
    refusals: int = 0
    changes: int = 0


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a look has found: files to be sent, the names of all, and the account of all."""

    due: list[SavedFile]
    names: set[str]
    waiting: set[str]
    uploaded: set[str]
    failed: dict[str, str]


class Uploader:
    """Sends the saved files of one run folder.

    Args:
        saved: the files.
        http: connections to use.
        where: what the server is called in `files.json`.
        address: finds the server.
        run_path: gives "entity/project/run" once the server has the run.
        account: where it is noted which files wait, have arrived, have failed.
        say: prints one line for the user, the first time it is called with a topic.
        retry: try once more what was refused before.

    Mutable state, touched by the engine's loop only: `_queue` (due, in order), `_busy` (on its
    way), `_notes` (to be written), `_tries` (of each file), `_over` (was sent or given up since
    this uploader started), `_closing` (settle once nothing is due), `_ended` (the run changes
    nothing more), `_pause_until` (monotonic; the server asked for that), `_met` (the server has
    the run), `_holds` (no other process sends these files), `_gone` (the server has lost data, and
    maybe the run), `_lost` (`files.json` does not say so yet), `_outdated` (on its way since before
    that).
    """

    def __init__(
        self,
        saved: Saved,
        http: Http,
        *,
        where: str,
        address: Callable[[], Awaitable[Address]],
        run_path: Callable[[], str | None],
        account: FileAccount,
        say: Callable[[str, str], None],
        retry: bool = False,
    ) -> None:
        self.settled = anyio.Event()
        """set once the run has ended and nothing is left to be sent"""
        self.stuck = anyio.Event()
        """set once a try has shown that nothing can be sent before a person acts"""
        self.sent = 0
        """uploads that the server has taken"""
        self.active_at = time.monotonic()
        """when something last went forward, monotonic seconds"""
        self._saved = saved
        self._http = http
        self._where = where
        self._find = address
        self._run_path = run_path
        self._account = account
        self._say = say
        self._retry = retry
        self._address: Address | None = None
        self._wake = anyio.Event()
        self._slots = anyio.CapacityLimiter(_BESIDE)
        self._sending: TaskGroup | None = None
        self._backoff = Backoff(random=random.random)
        self._queue: deque[SavedFile] = deque()
        self._busy: set[str] = set()
        self._notes: dict[str, Mark] = {}
        self._tries: dict[str, _Tries] = {}
        self._over: set[str] = set()
        self._closing = False
        self._ended = False
        self._look_at = 0.0
        self._pause_until = 0.0
        self._alone = False  # one name a document, to find the one that is declined
        self._met = False
        self._holds = False
        self._gone = False
        self._lost = False
        self._outdated: set[str] = set()

    def look_soon(self) -> None:
        """Look at once: `save()` has named something."""
        self._look_at = 0.0
        self._wake.set()

    def meet(self) -> None:
        """Begin: the server has the run now. May be called again and again."""
        if self._gone or not self._met:
            self._met, self._gone = True, False
            self.look_soon()

    def send_again(self) -> None:
        """Send everything again: the server has lost data, and nobody knows what files it has."""
        self._lost = self._gone = True
        self._outdated |= self._busy
        self._notes.clear()
        self._tries.clear()
        self._over.clear()
        if self.settled.is_set():
            self.settled = anyio.Event()  # whoever has run this runs it once more
        self.look_soon()

    def end(self, *, for_now: bool = False) -> None:
        """Send what is left, then settle; the run changes its files no more, unless `for_now`."""
        self._closing = True
        self._ended = not for_now
        if self.stuck.is_set():
            self.stuck, self._pause_until = anyio.Event(), 0.0
        self.look_soon()

    async def run(self) -> None:
        """Send until cancelled, or settled."""
        try:
            async with anyio.create_task_group() as self._sending:
                await self._send_until_settled()
        finally:
            try:
                with anyio.CancelScope(shield=True):  # it has arrived, and is not to be sent again
                    await self._write_notes()
            finally:
                self._holds = False
                self._saved.let_go()

    async def _send_until_settled(self) -> None:
        while not self.settled.is_set():
            self._wake = anyio.Event()
            try:
                pause = await self._turn()
            except BaseException as error:  # must not die: nothing is lost, and it is said
                raise_unless_failed(error)
                self._fail(f"sending files failed ({type(error).__name__}: {error})")
                pause = self._backoff.next_wait()
            if not self.settled.is_set():
                with anyio.move_on_after(pause):
                    await self._wake.wait()

    async def _turn(self) -> float:
        """Do what can be done now; returns seconds to wait, unless something happens."""
        now = time.monotonic()
        if self._run_path() is None or self._gone:
            return LOOK
        await self._write_notes()
        if now >= self._look_at or (self._closing and self._is_idle):
            self._look_at = now + LOOK
            if await self._look() and self._closing and self._is_idle:
                self.settled.set()
        if self._queue and not self._holds:
            return await self._take_over()
        if now < self._pause_until:
            return self._pause_until - now
        files, wait = self._next(now)
        if files:
            await self._announce(files)
            return 0.0
        return min(wait, max(0.0, self._look_at - now))

    @property
    def _is_idle(self) -> bool:
        return not self._queue and not self._busy

    async def _take_over(self) -> float:
        """Become the one who sends; whoever was it before has noted what it has sent."""
        self._queue.clear()
        self._look_at = 0.0
        self._holds = await asyncio.to_thread(self._saved.hold)
        if not self._holds:
            self._fail("another process is sending the run's files")
        return 0.0 if self._holds else _HELD

    # Looking.

    async def _look(self) -> bool:
        """Find what is due; False where something was sent meanwhile, so that it is not exact."""
        before = dict(self._notes)
        found = await asyncio.to_thread(self._survey, before)
        same = self._notes == before and not self._lost
        self._queue = deque(
            file
            for file in found.due
            if file.name not in self._busy and self._notes.get(file.name) == before.get(file.name)
        )
        if same:
            self._account.waiting = found.waiting
            self._account.uploaded = found.uploaded
            # What could not even be linked is not in `files.json`, and stays failed.
            others = self._account.failed.items()
            kept = {name: why for name, why in list(others) if name not in found.names}
            self._account.failed = {**kept, **found.failed}
        return same

    def _survey(self, notes: Mapping[str, Mark]) -> _Looked:
        files = self._saved.read()
        found = _Looked([], set(files), set(), set(), {})
        for file in files.values():
            if file.name in notes:
                file = file.marked(self._where, notes[file.name])
            seen = self._saved.seen(file.name)
            error = file.error_at(self._where)
            over = file.name in self._over
            again = self._retry and error is not None and not over
            once = over and self._closing and not self._ended  # a file that never rests
            if again or (file.is_due(self._where, seen, ended=self._ended) and not once):
                found.due.append(file)
            if file.is_due(self._where, seen, ended=True) or again:
                found.waiting.add(file.name)
            elif error is not None:
                found.failed[file.name] = error
            if file.is_sent(self._where):
                found.uploaded.add(file.name)
        return found

    def _next(self, now: float) -> tuple[list[SavedFile], float]:
        """Take files from the queue whose time has come; seconds until there are more."""
        room = (1 if self._alone else _ANNOUNCED) - len(self._busy)
        ready: list[SavedFile] = []
        later: list[SavedFile] = []
        wait = LOOK
        while self._queue and len(ready) < room:
            file = self._queue.popleft()
            tries = self._tries_of(file)
            until = tries.not_before if self._closing else max(tries.not_before, tries.rest_until)
            if file.name not in self._busy and until <= now:
                ready.append(file)
            else:
                later.append(file)
                wait = min(wait, max(0.0, until - now) or LOOK)
        self._queue.extendleft(reversed(later))
        return ready, wait

    def _tries_of(self, file: SavedFile) -> _Tries:
        return self._tries.setdefault(file.name, _Tries())

    # Announcing.

    async def _announce(self, files: list[SavedFile]) -> None:
        """Get an address for each of these files, and start sending them."""
        try:
            places, headers = await self._ask([file.name for file in files])
        except Declined as error:
            self._declined(files, error.message)
        except Undelivered as error:
            if error.verdict.action in (Action.FATAL, Action.SPLIT):
                self._declined(files, error.verdict.reason)
            else:
                self._postpone(files, error.verdict)
        except CommError as error:
            self._address = None  # an embedded server may come back on another port
            self._postpone(files, Verdict(Action.RETRY, None, error.message))
        else:
            self._backoff.reset()
            self._alone = False
            for file in files:
                self._start(file, places[file.name], headers)

    async def _ask(self, names: list[str]) -> tuple[dict[str, str | None], list[str]]:
        if self._address is None:
            self._address = await self._find()
        address, path = self._address, self._run_path()
        assert path is not None
        entity, project, run = path.split("/")
        who = {"entity": entity, "project": project, "name": run, "files": names}
        data = await ask(self._http, address, CREATE_FILES, who)
        try:
            made = data["createRunFiles"]
            headers = [str(header) for header in made["uploadHeaders"] or ()]
            urls = [place["uploadUrl"] for place in made["files"]]
            places = dict(zip(names, urls, strict=True))  # in the order that was asked
        except (KeyError, TypeError, ValueError) as error:
            raise nonsense(address, f"no addresses for files ({error})") from error
        root = f"{address.url}/"
        return {name: url and urljoin(root, str(url)) for name, url in places.items()}, headers

    def _declined(self, files: list[SavedFile], reason: str) -> None:
        """Find the file that is at fault; what is declined alone, twice, is left."""
        if len(files) > 1:
            self._alone = True
            self._queue.extendleft(reversed(files))
            return
        (file,) = files
        tries = self._tries_of(file)
        tries.refusals += 1
        if tries.refusals >= _REFUSALS:
            self._give_up(file, self._saved.seen(file.name), reason)
        else:
            self._later(file, None)

    def _postpone(self, files: list[SavedFile], judged: Verdict) -> None:
        """Let all files wait: it is the server that has no time, or does not know us."""
        if judged.action is Action.AUTH:
            self._say("auth", f"the server does not accept the API key ({judged.reason}).")
        self._fail(judged.reason)
        self._queue.extendleft(reversed(files))
        self._pause_until = time.monotonic() + self._backoff.next_wait(judged.delay_hint)
        if judged.lasting:
            self.stuck.set()

    # Sending.

    def _start(self, file: SavedFile, url: str | None, headers: list[str]) -> None:
        if url is None:
            reason = "the server has no place for a file of this name"
            self._give_up(file, self._saved.seen(file.name), reason)
            return
        assert self._sending is not None
        self._busy.add(file.name)
        self._sending.start_soon(self._send, file, url, headers)

    async def _send(self, file: SavedFile, url: str, headers: list[str]) -> None:
        """Send one file and draw the conclusions."""
        try:
            await self._put(file, url, headers)
        finally:
            self._busy.discard(file.name)
            self._outdated.discard(file.name)
            self._wake.set()

    async def _put(self, file: SavedFile, url: str, headers: list[str]) -> None:
        async with self._slots:
            began = time.monotonic()
            try:
                reply, seen = await put(
                    self._http, url, self._saved.path_of(file.name), headers, self._moved
                )
            except FileNotFoundError:
                self._give_up(file, GONE, "the file is gone")
            except NoAnswer as error:
                self._address = None
                self._fail(error.message)
                self._later(file, None)
            except OSError as error:
                self._unreadable(file, error)
            except BaseException as error:  # one file must not take the others with it
                raise_unless_failed(error)
                self._fail(f"sending {file.name} failed ({type(error).__name__}: {error})")
                self._later(file, None)
            else:
                problem = problem_of(reply) or None
                judged = wandb_verdict(reply.status, reply.headers, problem, now=time.time())
                self._answered(file, seen, judged, time.monotonic() - began)

    def _moved(self, _size: int) -> None:
        self.active_at = time.monotonic()

    def _answered(self, file: SavedFile, seen: Seen, judged: Verdict, took: float) -> None:
        tries = self._tries_of(file)
        if judged.action is Action.DONE:
            self._taken(file, seen, took)
        elif judged.action is Action.RETRY:
            self._fail(f"{file.name}: {judged.reason}")
            if judged.delay_hint is not None:
                self._pause_until = max(self._pause_until, time.monotonic() + judged.delay_hint)
            self._later(file, judged.delay_hint)
        else:
            tries.refusals += 1
            if tries.refusals >= _REFUSALS:
                self._give_up(file, seen, judged.reason)
            else:
                self._later(file, None)

    def _taken(self, file: SavedFile, seen: Seen, took: float) -> None:
        tries = self._tries_of(file)
        self.sent += 1
        self.active_at = time.monotonic()
        self._backoff.reset()
        if file.name in self._outdated:
            self._later(file, None)
            return
        if self._saved.seen(file.name) != seen and tries.changes < _CHANGES - 1:
            tries.changes += 1  # what was sent may be half of each version
            self._later(file, None)
            return
        self._account.error = None
        self._over.add(file.name)
        # A file that never rests is left some rest between two uploads.
        rest = max(LOOK, took) if file.policy == "live" else 0.0
        self._tries[file.name] = _Tries(rest_until=time.monotonic() + rest)
        self._notes[file.name] = Mark(file.asked, seen, last=self._ended)
        self._account.waiting.discard(file.name)
        self._account.failed.pop(file.name, None)
        self._account.uploaded.add(file.name)

    def _unreadable(self, file: SavedFile, error: OSError) -> None:
        seen, tries = self._saved.seen(file.name), self._tries_of(file)
        tries.changes += 1
        if tries.changes < _CHANGES:
            self._later(file, None)
        else:
            self._give_up(file, seen, f"it cannot be read: {error}")

    def _later(self, file: SavedFile, hint: float | None) -> None:
        tries = self._tries_of(file)
        tries.not_before = time.monotonic() + tries.backoff.next_wait(hint)
        self._queue.append(file)

    def _give_up(self, file: SavedFile, seen: Seen, reason: str) -> None:
        """Count a file that cannot be sent; it is tried again once it has changed."""
        self._over.add(file.name)
        self.active_at = time.monotonic()
        self._tries.pop(file.name, None)
        self._notes[file.name] = Mark(file.asked, seen, reason, last=self._ended)
        self._account.waiting.discard(file.name)
        self._account.failed[file.name] = reason
        self._account.error = None
        self._say(f"file {file.name}", f"the file {file.name} is not sent: {reason}.")

    def _fail(self, reason: str) -> None:
        self._account.error = reason

    # Remembering.

    async def _write_notes(self) -> None:
        """Write down what became of files; what cannot be written is tried again later."""
        lost, self._lost = self._lost, False
        notes = dict(self._notes)
        try:
            if lost:
                await asyncio.to_thread(self._saved.unmark, self._where)
            if notes:
                await asyncio.to_thread(self._saved.mark, self._where, notes)
        except (Error, OSError) as error:  # whoever comes after us sends these once more
            self._lost = self._lost or lost
            self._fail(str(error))
            return
        for name, mark in notes.items():
            if self._notes.get(name) is mark:
                del self._notes[name]
