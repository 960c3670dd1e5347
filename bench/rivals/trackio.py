"""trackio, local: rows go through a queue and a thread into a SQLite file of the project."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import import_module
from typing import Any

from bench.rivals.base import Log, Rival, Startup


class TrackioRival(Rival):
    """trackio as it comes, without the browser frame that it shows in notebooks."""

    package = "trackio"

    def prepare(self) -> None:
        """Choose its folder before it is imported: it reads the variable only then."""
        os.environ["TRACKIO_DIR"] = str(self.folder / "trackio")

    def open(self) -> Log:
        """Begin a run in a local project."""
        trackio: Any = import_module("trackio")
        self._trackio = trackio
        trackio.init(project="bench", embed=False)
        log: Log = trackio.log
        return log

    def finish(self) -> None:
        """End the run: its queue is written to the database."""
        self._trackio.finish()

    def stored(self) -> int:
        """Count the rows of the project's database."""
        (database,) = (self.folder / "trackio").glob("*.db")
        with closing(sqlite3.connect(database)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM metrics").fetchone()
        return int(count)

    def startup(self) -> Startup:
        """The two lines of its quick start."""
        return Startup(
            "import trackio", "trackio.init(project='bench', embed=False)", "trackio.finish()"
        )
