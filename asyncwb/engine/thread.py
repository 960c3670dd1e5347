"""The engine's thread, and how the faces talk to it.

Whatever the caller does with its own event loop, the engine has one of its own on a thread of its
own: in one second of a blocked caller loop an engine on that loop had no turn at all. numpy,
aiohttp and the codecs (some 350 ms of imports) are imported there, beside the caller's first steps.

There is one engine a process. A forked child gets a new one when it first logs.
"""

from __future__ import annotations

import atexit

# Registers a hook with the interpreter: impossible once it exits (the engine's thread may still be
# importing then), and it has to be there before ours, which then runs first.
import concurrent.futures.thread  # noqa: F401
import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeAlias, TypeVar

from asyncwb.engine.forks import fork_waits
from asyncwb.errors import EngineStopped

T = TypeVar("T")

Work: TypeAlias = Callable[[Any], Coroutine[Any, Any, T]]
"""a coroutine function of the worker, whose module is imported on the engine's thread only"""

_STOP_TIMEOUT: Final = 5.0


class Engine:
    """Runs coroutines on the engine's loop; from any thread, in the order of submission.

    Mutable state, guarded by `_lock`: `_waiting` (submitted before the loop ran), `_worker`.
    """

    _current: Engine | None = None
    _guard = threading.Lock()

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._worker: Any = None
        self._loop: Any = None
        self._stopped = False
        self._thread = threading.Thread(target=self._main, name="asyncwb-engine", daemon=True)
        self._thread.start()

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
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._drain)
        return future

    def stop(self) -> None:
        """End the loop and the thread; what was submitted and has not ended is cancelled."""
        with self._lock:
            self._stopped = True
            loop, worker = self._loop, self._worker
        if loop is not None and worker is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(worker.stopping.set)
            self._thread.join(_STOP_TIMEOUT)

    def _main(self) -> None:
        try:
            with fork_waits():
                worker_module = importlib.import_module("asyncwb.engine.worker")
            worker_module.run(self._run)
        except BaseException as error:  # whoever waits is told, and nobody waits for ever
            self._end(error)
            raise
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Answer everything that was submitted and will not be done."""
        with self._lock:
            self._stopped, self._loop = True, None
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            future.set_exception(_stopped_by(error))

    async def _run(self, worker: Any) -> None:
        with self._lock:
            self._worker, self._loop = worker, worker.loop
        self._drain()
        await worker.run()

    def _drain(self) -> None:
        assert self._worker is not None
        while True:
            with self._lock:
                if not self._waiting:
                    return
                work, future = self._waiting.popleft()
            self._worker.start(work(self._worker), future)


def _stopped_by(error: BaseException | None) -> EngineStopped:
    if error is None:
        return EngineStopped()
    return EngineStopped(
        f"the logging engine has stopped ({type(error).__name__}: {error}); what was logged is "
        "safe in the journal on disk. Send it with: asyncwb sync"
    )


def _forget_after_fork() -> None:
    """A child has none of its parent's threads: the guard may be held by one that is gone."""
    Engine._guard = threading.Lock()
    Engine._current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def at_exit(callback: Callable[[], None]) -> None:
    """Call back when the interpreter exits, while threads and executors still work.

    `atexit` comes too late for that: the default executor, which resolves host names, is shut
    down before it, and from Python 3.12 on no thread can be started.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(callback)


def _stop_at_exit() -> None:
    if Engine._current is not None:
        Engine._current.stop()


atexit.register(_stop_at_exit)
