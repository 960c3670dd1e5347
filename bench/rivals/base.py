"""What a tracker must be able to do to be measured.

One instance serves one measurement in its own process. `prepare` starts what a user would have
running already (a server) and `close` stops it; neither is ever timed. Between them a case opens
the run, logs, finishes, and asks how many rows are in the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar

PROJECT = "bench"

Value = float | int | bool | str
Row = Mapping[str, Value]
Log = Callable[[Row], object]
AsyncLog = Callable[[Row], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Startup:
    """Two lines of Python, timed apart in a bare interpreter, and the line that ends the run."""

    import_line: str
    init_line: str
    finish_line: str


class UnsupportedError(Exception):
    """The rival has no such thing; a case should not have asked."""


class Rival(ABC):
    """One tracker in one process, keeping everything it writes under `folder`.

    `keys` are those of the rows that will be logged.
    """

    package: ClassVar[str]

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder = folder
        self.keys = tuple(keys)

    def version(self) -> str:
        """Return the installed version of the tracker."""
        return metadata.version(self.package)

    def prepare(self) -> None:  # noqa: B027 - most rivals need nothing
        """Start what runs before the measurement."""

    def close(self) -> None:  # noqa: B027 - most rivals need nothing
        """Stop what `prepare` started."""

    @abstractmethod
    def open(self) -> Log:
        """Begin a run and return the call that logs one row into it, without a wrapper if any."""

    @abstractmethod
    def finish(self) -> None:
        """End the run; returns once the rows are where the tracker promises to bring them."""

    @abstractmethod
    def stored(self) -> int:
        """Count the rows in the tracker's own store, all runs of this process together."""

    def startup(self) -> Startup:
        """Return the lines that import the tracker and begin a run."""
        raise UnsupportedError(f"{self.package}: startup")

    async def open_runs(self, count: int) -> list[AsyncLog]:
        """Begin `count` runs on the caller's loop and return one awaitable `log` for each.

        A tracker without an async API is called where a user of it would call it: on the loop.
        """
        if count != 1:
            raise UnsupportedError(f"{self.package}: {count} runs in one process")
        return [awaitable(self.open())]

    async def finish_runs(self) -> None:
        """End what `open_runs` began."""
        self.finish()


@dataclass(frozen=True, slots=True)
class CrowdFigures:
    """What a crowd cost: seconds of CPU, and for each watched row the seconds until a page had it.

    `wall` is how long it took, the runs' ends included.
    """

    rows: int
    server_cpu: float
    client_cpu: float
    delays: Sequence[float]
    wall: float


class Crowd(ABC):
    """A tracker with a server that many runs of several processes log to."""

    @abstractmethod
    def crowd(
        self, processes: int, runs: int, rate: float, seconds: float, metrics: int
    ) -> CrowdFigures:
        """Let each process hold `runs` runs that log `rate` rows a second; RuntimeError where a row
        is not in the store at the end."""


@dataclass(frozen=True, slots=True)
class BrowsedFigures:
    """What a run that logs and the pages beside it had.

    `rows_per_s` until all were acknowledged; `acknowledged`: seconds that each single row of
    another run took; `charts`, how many the pages were given; `answers`: seconds until each page
    had its.
    """

    rows_per_s: float
    acknowledged: Sequence[float]
    charts: int
    answers: Sequence[float]


class Browsed(ABC):
    """A tracker with a server that draws charts while it takes rows."""

    @abstractmethod
    def fill(self, rows: int, metrics: int, seed: int) -> None:
        """Have the server hold a finished run of `rows` rows in its final form; not timed."""

    @abstractmethod
    def browsed(
        self, pages: int, charts: int, every: float, seconds: float, metrics: int
    ) -> BrowsedFigures:
        """Let a run log as fast as it can while `pages` pages ask for `charts` charts of the filled
        run, `every` so many seconds; RuntimeError where a row is not acknowledged."""


class Archive(ABC):
    """A client that reads a long run back from a server."""

    @abstractmethod
    def fill(self, rows: int, metrics: int, seed: int) -> None:
        """Have the server hold a finished run of `rows` rows in its final form; not timed."""

    @abstractmethod
    def scan_history(self) -> int:
        """Iterate over every row of that run as a dict, by the client's own call; count them."""

    @abstractmethod
    def sample_history(self, samples: int) -> int:
        """Fetch a sample of that run's rows by the client's own call; return how many came."""


class Charts(Archive):
    """An archive whose server makes charts and hands out columns."""

    @abstractmethod
    def series(self, key: str, buckets: int) -> tuple[int, float]:
        """Fetch one metric reduced to at most `buckets` buckets.

        Returns how many came, and the seconds that the server says it took for them.
        """

    @abstractmethod
    def series_from_rows(self, key: str, buckets: int) -> int:
        """Make the same answer from the sealed rows alone, in this process; return its buckets."""

    @abstractmethod
    def scan(self, keys: list[str]) -> int:
        """Fetch every row of `keys` as columns; return how many rows came."""

    @abstractmethod
    def sample_at_server(self, samples: int) -> float:
        """Return the seconds that the server says a sample of `samples` rows took."""


def awaitable(log: Log) -> AsyncLog:
    """Give a blocking `log` the shape of an async one; it still blocks the loop."""

    async def call(row: Row) -> object:
        return log(row)

    return call
