"""Runs that nobody finished: what happens when the interpreter exits, and with which code.

They are finished with the code that the process ends with (`process_end`), once nothing of the
program can log any more: after its threads and executors, and after its own atexit callbacks, if
they were registered since the first run began (`engine.thread.at_exit`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future

from asyncwb.client.live import current
from asyncwb.client.live.process_end import ProcessEnd
from asyncwb.client.live.state import EXIT_CODES, RunState, under_way, with_others
from asyncwb.client.waiting import wait
from asyncwb.engine.process.ending import Ending
from asyncwb.engine.thread import at_exit
from asyncwb.errors import EngineStopped

INTERRUPTED = 255
FAILED = 1


class _Watch:
    """Finishes what is open when the process ends.

    Mutable state: `installed`, `children`.
    """

    def __init__(self) -> None:
        self.end = ProcessEnd()
        self.installed = False
        self.children: list[RunState] = []
        """runs of the parent's that this forked child has logged to"""

    def _leave(self, state: RunState) -> None:
        """Send what a forked child has logged; the run is its parent's to finish."""
        session = state.session
        ending = None
        try:
            ending = wait(session.finish(None, session.settings.finish_timeout))
        finally:
            if ending is None:
                session.release(complete=False)

    def _see_to_others(self) -> None:
        """Send what children left that were at work when their run was finished, and have ended."""
        states, with_others[:] = [*with_others], []
        for state in states:
            # Where the engine has stopped it waits on the disk, as was said.
            with _told(state), contextlib.suppress(EngineStopped):
                session = state.session
                state.end_others(wait(session.send_others(session.settings.finish_timeout)))

    def install(self) -> None:
        if self.installed:
            return
        self.installed = True
        at_exit(self.finish_all)
        self.end.watch()

    def finish_all(self) -> None:
        """Finish what is still open; each run by its own deadline."""
        children, self.children = self.children, []
        for state in children:
            if not state.finished:
                with _told(state):
                    self._leave(state)
        ended_by = self.end.error
        interrupted = isinstance(ended_by, KeyboardInterrupt)
        runs = current.open_runs()
        if runs or under_way or with_others:
            _end_children()
        begun = [] if interrupted else [*under_way]
        for state in [*under_way] if interrupted else []:
            state.end(None)  # whoever interrupted finish() does not want to wait for it
        for run in runs:
            current.leave(run)
        futures: list[tuple[RunState, Future[Ending] | None]] = []
        for state in [*begun, *(run._state for run in runs)]:
            with _told(state):
                futures.append((state, _finish(state, exit_code_of(ended_by))))
        for state, future in futures:
            ending = None
            with _told(state):
                try:
                    ending = None if future is None else wait(future)
                finally:
                    if future is not None:
                        state.end(ending)
        self._see_to_others()
        if interrupted:
            _stay_interrupted()


_watch = _Watch()


def adopt(state: RunState) -> None:
    """In a forked child that has logged: send its rows when it exits."""
    _watch.children.append(state)


def watch() -> None:
    """From now on, finish open runs when the interpreter exits."""
    _watch.install()


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code that an exception (or its absence) means for a run."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        code = error.code
        return int(code) if isinstance(code, int) and code in EXIT_CODES else FAILED
    return FAILED


@contextlib.contextmanager
def _told(state: RunState) -> Iterator[None]:
    """Say what goes wrong with a run in the block, and go on: others are to be finished, too."""
    try:
        yield
    except EngineStopped as error:
        state.session.notices.warn(error.message)
    except Exception as error:
        run, what = state.session.head.run, f"{type(error).__name__}: {error}"
        state.session.notices.warn(f"run {run} could not be finished as it should be ({what}).")


def _finish(state: RunState, exit_code: int) -> Future[Ending] | None:
    return state.finish(exit_code, state.session.settings.finish_timeout, None)


def _stay_interrupted() -> None:
    """Have the process end by SIGINT, as it would have without us.

    CPython notes that a KeyboardInterrupt has ended the program, and forgets it with the next
    piece of source that anything executes: each dataclass is one, on whichever thread it is
    imported. This makes it note it again.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


def _end_children() -> None:
    """Have multiprocessing end its children now, as it does at the exit of every program.

    Its own turn may come after this one, and what its pools and daemons have logged and not sent
    can be sent once they are dead.
    """
    children = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if util is None or children is None or children.parent_process() is not None:
        return
    ours = [child._parent_pid == os.getpid() for child in children.active_children()]
    if ours and all(ours):  # a forked child has its parent's children in the list
        util._exit_function()


def _forget_all() -> None:
    for state in under_way:
        state.forget_ending()
    under_way.clear()
    with_others.clear()
    current.forget_all()
    _watch.children.clear()


if hasattr(os, "register_at_fork"):
    # In a forked child the parent's runs are the parent's to finish.
    os.register_at_fork(after_in_child=_forget_all)
