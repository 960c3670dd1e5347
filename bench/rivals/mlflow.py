"""mlflow, local: `log_metrics` into a SQLite store, synchronously, as it does by default."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import import_module
from itertools import count
from typing import Any

from bench.rivals.base import Log, Rival, Row, Startup


class MlflowRival(Rival):
    """mlflow's fluent API on a SQLite store; its first start makes the tables."""

    package = "mlflow-skinny"

    def prepare(self) -> None:
        """Point it at a database of its own, made now: a user's tables exist already."""
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder / 'mlflow.db'}"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        import_module("mlflow").search_experiments()

    def open(self) -> Log:
        """Begin a run and return a `log` that counts the steps for the caller."""
        mlflow: Any = import_module("mlflow")
        self._mlflow = mlflow
        mlflow.start_run()
        log_metrics = mlflow.log_metrics
        steps = count()

        def log(row: Row) -> None:
            log_metrics(row, step=next(steps))

        return log

    def finish(self) -> None:
        """End the run; every call was committed already."""
        self._mlflow.end_run()

    def stored(self) -> int:
        """Count the metric rows of the database and divide by the row's width."""
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as connection:
            (values,) = connection.execute("SELECT count(*) FROM metrics").fetchone()
        return int(values) // len(self.keys)

    def startup(self) -> Startup:
        """The two lines of its quick start, on tables that exist."""
        return Startup("import mlflow", "mlflow.start_run()", "mlflow.end_run()")
