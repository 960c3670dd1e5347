"""Counters of this process, as Prometheus text.

A dozen plain numbers, so the exposition format is written here and no client library is needed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from aiohttp import web

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HELP: Final = {
    "asyncwb_requests_total": ("counter", "Requests answered, by status class."),
    "asyncwb_ingest_rows_total": ("counter", "Rows of history committed."),
    "asyncwb_ingest_frames_total": ("counter", "Frames committed."),
    "asyncwb_ingest_bytes_total": ("counter", "Bytes of ingest requests received."),
    "asyncwb_ingest_stream_errors_total": ("counter", "Streams refused inside a batch, by code."),
    "asyncwb_ingest_seconds_total": ("counter", "Time spent in committed ingest requests."),
    "asyncwb_runs_crashed_total": ("counter", "Runs ended because their heartbeat stopped."),
    "asyncwb_task_failures_total": ("counter", "Turns of a background task that failed."),
    "asyncwb_task_failing": ("gauge", "1: the last turn of a background task failed."),
    "asyncwb_live_connections": ("gauge", "Open live connections."),
    "asyncwb_runs_running": ("gauge", "Runs that are running."),
}


class Metrics:
    """Counts; `add` and `set` cost well under a microsecond."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, value: float = 1, label: str = "") -> None:
        """Add to a counter (or gauge). `label` is `name="value"`, "" for none."""
        self._values[name, label] += value  # type: ignore[assignment]

    def set(self, name: str, value: float, label: str = "") -> None:
        """Set a gauge. `label` is as in `add`."""
        self._values[name, label] = value  # type: ignore[assignment]

    def get(self, name: str, label: str = "") -> float:
        """Return a value, 0 where nothing was counted."""
        return self._values[name, label]

    def text(self) -> str:
        """Return everything in Prometheus' text format."""
        lines: list[str] = []
        for name, (kind, says) in _HELP.items():
            lines += (f"# HELP {name} {says}", f"# TYPE {name} {kind}")
            found = sorted((label, v) for (n, label), v in self._values.items() if n == name)
            for label, value in found or [("", 0)]:
                lines.append(f"{name}{{{label}}} {value}" if label else f"{name} {value}")
        return "\n".join(lines) + "\n"


def counting(metrics: Metrics) -> Any:
    """Return the middleware that counts answers by status class."""

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        metrics.add("asyncwb_requests_total", label=f'status="{response.status // 100}xx"')
        return response

    return count
