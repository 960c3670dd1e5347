"""The engine's thread, and how the faces talk to it.

Whatever the caller does with its own event loop, the engine has one of its own on a thread of its
own: in one second of a blocked caller loop an engine on that loop had no turn at all. numpy,
aiohttp and the codecs (some 350 ms of imports) are imported there, beside the caller's first steps.

There is one engine a process. A forked child gets a new one when it first logs.

At the interpreter's exit it works longer than anything that may still log. CPython first tells
the executors to end, then waits for the threads that are no daemons, then calls the atexit
callbacks, the latest first; runs are finished in one of those, and the engine ends in the last.
So its thread is a daemon, and so are the helpers that do for it what would block its loop: an
executor's own threads are gone by then, and from Python 3.12 on none can be started any more.
"""

from __future__ import annotations

import _imp
import atexit
import contextlib
import importlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

# Its module registers a hook with the interpreter: impossible once that exits, when the engine's
# thread may still be importing.
from concurrent.futures.thread import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from asyncwb.engine.process.forks import fork_waits
from asyncwb.engine.session import Work
from asyncwb.errors import EngineStopped

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from asyncwb.engine.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")

_STOP_TIMEOUT: Final = 5.0
_MOST_HELPERS: Final = 8


class Helpers(ThreadPoolExecutor):
    """Threads that work until the very end of the process, for what would block the loop.

    One is there from the start, more are started while all are busy and the interpreter allows
    it; what comes when none can be started waits for its turn. For one submitting thread. It is a
    `ThreadPoolExecutor` by name only, since a loop takes no other one as its default.

    It serves `asyncio.to_thread`. anyio's own threads cannot: they are no daemons, so that the
    interpreter's exit would wait for them before it calls what finishes the runs.

    Mutable state: `_jobs`, `_started` (how many threads), `_idle` (of these, waiting for a job).
    """

    def __init__(self) -> None:
        super().__init__()
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a helper call `fn`; never waits."""
        future: Future[T] = Future()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._started < _MOST_HELPERS:
            with contextlib.suppress(RuntimeError):  # the interpreter is about to end
                self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the helpers end once nothing waits; nobody waits for them, since they are daemons."""
        del wait, cancel_futures
        for _ in range(self._started):
            self._jobs.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._help, name="asyncwb-helper", daemon=True).start()
        self._started += 1

    def _help(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                self._idle.release()
                job = self._jobs.get()
            if job is None:
                return
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # whoever submitted it is told, whatever it is
                    future.set_exception(error)
            del job, future, call  # not to be kept alive while this waits for the next one


class Engine:
    """Runs coroutines on the engine's loop; from any thread, in the order of submission.

    Mutable state, guarded by `_lock`: `_waiting` (submitted, not begun), `_worker`, `_loop`,
    `_stopped`; `_error`, what it has ended with.
    """

    _current: Engine | None = None
    _guard = threading.Lock()

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._worker: Worker | None = None
        self._loop: AbstractEventLoop | None = None
        self._stopped = False
        self._error: BaseException | None = None
        self._helpers = Helpers()  # now: a program may end before the engine's imports have
        self._thread = threading.Thread(target=self._main, name="asyncwb-engine", daemon=True)
        self._thread.start()
        if _fork.in_thread:
            threading.Thread(target=_end_the_child, name="asyncwb-exit", daemon=True).start()

    @classmethod
    def current(cls) -> Engine:
        """Return this process's engine, starting it on first use."""
        with cls._guard:
            engine = cls._current
            if engine is None or engine._stopped or engine.pid != os.getpid():
                engine = cls._current = Engine()
            return engine

    def submit(self, work: Work[T]) -> Future[T]:
        """Run `work(worker)` on the engine's loop; never waits."""
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                future.set_exception(EngineStopped())
                return future
            self._waiting.append((work, future))
            loop, worker = self._loop, self._worker
        if loop is not None and worker is not None:
            _call(loop, worker.look)
        else:
            _unlock_imports()
        return future

    @property
    def problem(self) -> str | None:
        """Why nothing is sent any more, None while it works."""
        return _stopped(self._error) if self._stopped else None

    def stop(self) -> None:
        """End the loop and the thread; what was submitted and has not ended is cancelled."""
        with self._lock:
            self._stopped = True
            loop, worker = self._loop, self._worker
        if loop is not None and worker is not None and self._thread.is_alive():
            _call(loop, worker.stopping.set)
            self._thread.join(_STOP_TIMEOUT)

    def _main(self) -> None:
        try:
            with fork_waits():
                worker_module = importlib.import_module("asyncwb.engine.worker")
                worker_module.load()
            worker_module.run(self._run, self._helpers)
        except BaseException as error:  # whoever waits is told, and nobody waits for ever
            self._end(error)
            raise
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Answer everything that was submitted and will not be done."""
        with self._lock:
            self._stopped, self._error, self._loop = True, error, None
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            future.set_exception(_stopped_by(error))

    async def _run(self, worker: Worker) -> None:
        with self._lock:
            self._worker, self._loop = worker, worker.loop
        await worker.run(self._next)

    def _next(self) -> tuple[Work[object], Future[object]] | None:
        """Take what was submitted first; None where nothing waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None


def _unlock_imports() -> None:
    """Give the lock of imports back where the calling thread left it locked.

    CPython leaves it so where Ctrl-C comes while a thread waits for it: the engine, which imports
    meanwhile, would wait for it for ever, and the program for the engine.
    """
    if _imp.lock_held():
        with contextlib.suppress(RuntimeError):  # another thread has it, for a moment
            _imp.release_lock()


def _call(loop: AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed by now: `_end` answers what waits
        loop.call_soon_threadsafe(callback)


def _stopped_by(error: BaseException | None) -> EngineStopped:
    if error is None:
        return EngineStopped()
    return EngineStopped(
        f"{_stopped(error)}; what was logged is safe in the journal on disk. Send it with: "
        "asyncwb sync"
    )


def _stopped(error: BaseException | None) -> str:
    why = "" if error is None else f" ({type(error).__name__}: {error})"
    return f"the logging engine has stopped{why}"


class _Fork:
    """Remembers of a forked child whether it, or its parent, was forked in a thread.

    Mutable state: `in_thread`.
    """

    def __init__(self) -> None:
        self.in_thread = False
        self._by_thread = False

    def before(self) -> None:
        self._by_thread = threading.current_thread() is not threading.main_thread()

    def in_child(self) -> None:
        self.in_thread = self.in_thread or self._by_thread


_fork = _Fork()
_callbacks: Final[list[Callable[[], None]]] = []
"""what `at_exit` was given"""


def _forget_after_fork() -> None:
    """A child has none of its parent's threads: the guard may be held by one that is gone."""
    Engine._guard = threading.Lock()
    Engine._current = None
    _fork.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_fork.before, after_in_child=_forget_after_fork)


def at_exit(callback: Callable[[], None]) -> None:
    """Call back when the interpreter exits, once no thread that it waits for can log any more.

    That is among the atexit callbacks: after those that are registered later than this one.
    A child of `multiprocessing` leaves them out; it calls back before, from a thread that it waits
    for, once all others that it waits for have ended. The callback may come twice.
    """
    atexit.register(callback)
    _callbacks.append(callback)
    # Without it, or too late for it: the child of a foreign implementation, or nearly gone.
    with contextlib.suppress(AttributeError, RuntimeError):
        threading._register_atexit(_in_child, callback)  # type: ignore[attr-defined]


def _in_child(callback: Callable[[], None]) -> None:
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        threading.Thread(target=_after_others, args=(callback,), name="asyncwb-exit").start()


def _after_others(callback: Callable[[], None]) -> None:
    _join_all_but(threading.current_thread(), threading.main_thread())
    callback()


def _join_all_but(*these: threading.Thread) -> None:
    while others := [t for t in threading.enumerate() if not t.daemon and t not in these]:
        for thread in others:
            thread.join()


def _end_the_child() -> None:
    """End a child that was forked in a thread once that thread and all others have ended.

    It has no interpreter's exit: it ends with the last of its threads, with code 0 whatever that
    one raised, so it would go on as long as the engine's do.
    """
    threading.main_thread().join()  # which is now the one that forked
    _join_all_but(threading.current_thread(), threading.main_thread())
    for callback in reversed(_callbacks):
        with contextlib.suppress(Exception):  # the next one has rows to send, too
            callback()
    _stop_at_exit()
    os._exit(0)


def _stop_at_exit() -> None:
    if Engine._current is not None:
        Engine._current.stop()


atexit.register(_stop_at_exit)
