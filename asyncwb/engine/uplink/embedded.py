"""Finds the server of this machine, or starts it.

One server a data folder, however many processes start at once: each looks for `server.json`, and
where nothing answers starts a detached server process; the server that gets the folder's lock
lives on and announces itself in `server.json`, the others leave at once. Nobody's training waits
for any of this: it happens on the engine's thread, while rows go to the journal.

A server that was killed leaves `server.json` behind, and its port to whoever takes it. So it is
believed only while somebody holds the folder's lock, and what listens there is told nothing before
it has proved to hold the folder's secret (`wire.proof`), on each connection.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from asyncwb.engine.process.forks import fork_waits
from asyncwb.engine.uplink.http import Http, NoAnswer
from asyncwb.errors import CommError
from asyncwb.printable import in_seconds
from asyncwb.private import make_private_folder
from asyncwb.wire.proof import SECRET_FILE
from asyncwb.wire.rows.values import loads

START_TIMEOUT: Final = 30.0
"""seconds that a server may take from its start to its first answer."""
_POLL: Final = 0.05
_LOG_TAIL: Final = 2000

_SERVERS_OWN: Final = ("ASYNCWB_API_KEY", "ASYNCWB_SERVER_")
_children: Final[list[subprocess.Popen[bytes]]] = []
"""servers that this process started: kept, since collecting a live Popen is a warning."""


def _is_locked(path: Path) -> bool:
    """Tell whether a server holds the lock of its folder; True where that cannot be told."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:  # a file system without locks: its proof decides
        return True
    return False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and the key for it."""

    url: str
    key: str | None


class Embedded:
    """The server of one data folder; one object of this serves all who need it on a loop.

    Mutable state, guarded by `_turn`: `_outcome`, the last search's address or failure, and when
    it came (monotonic); `_child`, the server that was started last, and until when it may take.
    """

    def __init__(self, folder: Path, http: Http, *, idle_timeout: float) -> None:
        self._folder = folder
        self._http = http
        self._idle_timeout = idle_timeout
        self._turn = anyio.Lock()
        self._outcome: tuple[float, Address | CommError] | None = None
        self._child: tuple[subprocess.Popen[bytes], float] | None = None

    async def find(self) -> Address | None:
        """Return the address of the running server, None where none answers."""
        try:
            announced = loads((self._folder / "server.json").read_bytes())
            url = str(announced["url"])
            key = (self._folder / "api_key").read_text().strip()
            secret = (self._folder / SECRET_FILE).read_text().strip()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not _is_locked(self._folder / "server.lock"):
            return None
        try:
            proved = await self._http.prove(url, secret)
        except NoAnswer:
            return None
        return Address(url, key) if proved else None

    async def find_or_start(self) -> Address:
        """Return the address of the running server, starting it first where none answers.

        Whoever asks while another one waits for the server gets the same outcome: each process
        that is started costs seconds of a processor, and all but one of them leave again.

        Raises:
            CommError: it cannot be started, or does not answer in time; its log says why.
        """
        asked = time.monotonic()
        async with self._turn:
            if self._outcome is None or self._outcome[0] < asked:
                found = await self._find_or_start()
                self._outcome = time.monotonic(), found
            outcome = self._outcome[1]
        if isinstance(outcome, Address):
            return outcome
        raise CommError(outcome.message)

    async def _find_or_start(self) -> Address | CommError:
        address = await self.find()
        if address is not None:
            return address
        # Where there is one, whoever started it has not waited for it.
        if self._child is None or time.monotonic() >= self._child[1]:
            self._child = self._start(), time.monotonic() + START_TIMEOUT
        child, deadline = self._child
        why = f"did not answer within {in_seconds(START_TIMEOUT)}"
        while time.monotonic() < deadline:
            address = await self.find()
            if address is not None:
                self._child = None
                return address
            if child.poll() not in (None, 0):
                why = "could not be started"
                break
            await anyio.sleep(_POLL)
        self._child = None
        return CommError(f"the embedded server {why}: {self._log_tail()}")

    def _start(self) -> subprocess.Popen[bytes]:
        make_private_folder(self._folder)
        command = [sys.executable, "-m", "asyncwb", "server", "--embedded"]
        command += ["--data", str(self._folder), "--port", "0"]
        command += ["--idle-timeout", str(self._idle_timeout)]
        # Not the caller's server settings: they would point the server at another database.
        env = {k: v for k, v in os.environ.items() if not k.startswith(_SERVERS_OWN)}
        with (self._folder / "server.log").open("ab") as log, fork_waits():
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=env,
                start_new_session=True,
            )
        _children.append(child)
        return child

    def _log_tail(self) -> str:
        try:
            text = (self._folder / "server.log").read_bytes()[-_LOG_TAIL:].decode(errors="replace")
        except OSError:
            text = ""
        last = [line for line in text.splitlines() if line.strip()]
        return last[-1] if last else f"see {self._folder / 'server.log'}"
