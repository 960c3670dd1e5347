"""`asyncwb demo`: several training loops in one event loop, and what became of every row."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from anyio import to_thread
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from asyncwb.cli.native import ask
from asyncwb.errors import CommError, Error
from asyncwb.settings import Settings
from asyncwb.tasks import gather

if TYPE_CHECKING:  # loaded once the training begins
    from asyncwb import AsyncRun
    from asyncwb.cli.training import Regression

_RATES = (0.003, 0.01, 0.03, 0.1)
_SERVER_MAY_TAKE = 60.0  # seconds, on a machine that imports it for the first time
_BURST = 64  # rows a loop may log before the others get their turn


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to train.")] = 20.0,
    runs: Annotated[int, typer.Option(min=1, max=64, help="Training loops at a time.")] = 4,
    rate: Annotated[
        int, typer.Option(min=1, help="Rows a second that each loop logs, as far as it can.")
    ] = 2500,
    project: Annotated[str, typer.Option(help="The project to log to.")] = "demo",
) -> None:
    """Train small networks, watch them live on the page, and count every row at the end.

    Several async training loops share one event loop and log ten metrics a step each, to a server
    on this machine that starts by itself. At the end all rows are read back and counted.
    """
    settings = Settings.resolve({"base_url": "embedded", "mode": "online", "project": project})
    show = Show(Console(markup=False), settings)
    loops = asyncio.run(_train_all(show, settings, seconds, runs, rate))
    show.console.print("Reading every row back ...")
    try:
        returned = _read_back(loops)
    except Error:
        show.console.print(_account(loops, None))
        raise
    show.console.print(_account(loops, returned))
    show.console.print(show.line(loops, latest=None), soft_wrap=True)
    complete = all(loop.rows == n for loop, n in zip(loops, returned, strict=True))
    if not complete:
        show.console.print(
            f"Not every row is at the server: what is missing is in {settings.runs_dir}. "
            "To send it: asyncwb sync"
        )
        raise typer.Exit(1)


@dataclass(slots=True)
class Loop:
    """One training loop: its run, its network, and how many rows its log() calls took."""

    run: AsyncRun
    model: Regression
    rows: int = 0


async def _train_all(
    show: Show, settings: Settings, seconds: float, count: int, rate: int
) -> list[Loop]:
    loops: list[Loop] = []

    async def train_and_show() -> None:
        async with anyio.create_task_group() as showing:
            showing.start_soon(show.watch, loops)
            await gather(
                [partial(_train, show, settings, loops, n, seconds, rate) for n in range(count)]
            )
            show.ended = time.perf_counter()
            showing.cancel_scope.cancel()

    await gather([show.announce, train_and_show])
    return loops


async def _train(
    show: Show, settings: Settings, loops: list[Loop], number: int, seconds: float, rate: int
) -> None:
    """Train one network and log every step: the loop that the demo is about."""
    asyncwb = importlib.import_module("asyncwb")
    training = importlib.import_module("asyncwb.cli.training")
    learning_rate = _RATES[number % len(_RATES)]
    config = {"learning_rate": learning_rate, "seed": number, "hidden": 16, "batch": 32}
    name = f"rate {learning_rate:g} seed {number}"
    async with asyncwb.init_async(config=config, name=name, settings=settings) as run:
        loop = Loop(run, training.Regression(learning_rate, seed=number))
        loops.append(loop)
        async for steps in _paced(seconds, rate):
            for _ in range(steps):
                metrics = loop.model.step()
                began = time.perf_counter_ns()
                await run.log(metrics)
                show.latencies.add(time.perf_counter_ns() - began)
                loop.rows += 1


async def _paced(seconds: float, rate: int) -> AsyncIterator[int]:
    """Say how many steps are due, again and again, and let the other loops run in between."""
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        due = min(int(passed * rate) - done, _BURST)
        yield due
        done += due
        await anyio.sleep(0 if due == _BURST else 0.002)


class Show:
    """What the demo tells while it runs. Mutable state: the latencies, its beginning and end."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self.console = console
        self.settings = settings
        self.latencies = importlib.import_module("asyncwb.cli.training").Latencies()
        self.began = time.perf_counter()
        self.ended: float | None = None

    async def announce(self) -> None:
        """Wait for the server, and print a link that opens its page logged in."""
        self.console.print("Starting the training; the server of this machine is on its way ...")
        deadline = time.perf_counter() + _SERVER_MAY_TAKE
        while time.perf_counter() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError, CommError):
                url = await to_thread.run_sync(
                    _login_link, self.settings.server_dir, abandon_on_cancel=True
                )
                self._say(f"The page, live (this link logs you in, once): {url}")
                return
            await anyio.sleep(0.1)
        self.console.print(
            f"No server yet: rows are kept on disk. Its log: {self.settings.server_dir}/server.log"
        )

    async def watch(self, loops: Sequence[Loop]) -> None:
        """Keep one line up to date; where there is no terminal, print one every two seconds."""
        if not self.console.is_terminal:
            while True:
                await anyio.sleep(2)
                self._say(self.line(loops))
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                await anyio.sleep(0.25)
                live.update(self.line(loops), refresh=True)

    def _say(self, text: str | Text) -> None:
        self.console.print(text, soft_wrap=True)  # a link that is broken in two is no link

    def line(self, loops: Sequence[Loop], latest: int | None = 50_000) -> Text:
        """Say in one line how far it is; the percentiles are those of the `latest` calls."""
        logged = sum(loop.rows for loop in loops)
        acknowledged = sum(loop.run.status().acknowledged for loop in loops)
        p50, p99 = self.latencies.percentiles(latest)
        passed = (self.ended or time.perf_counter()) - self.began
        return Text(
            f"{passed:.1f} s  {logged:,} logged  {acknowledged:,} acknowledged  "
            f"{logged / passed:,.0f} rows/s  log() p50 {p50:.1f} us, p99 {p99:.1f} us",
            no_wrap=True,
            overflow="ellipsis",
        )


def _login_link(folder: Path) -> str:
    url, key, opener = importlib.import_module("asyncwb.client.sync.local_server").announced(folder)
    place = "/api/v1/login/links"
    answer = ask(url, place, key=key, method="POST", timeout=5, opener=opener)
    return str(answer["url"])


def _read_back(loops: Sequence[Loop]) -> list[int]:
    api = importlib.import_module("asyncwb").Api()
    return [
        len(api.run(loop.run.path).history(samples=loop.rows + 1, pandas=False)) for loop in loops
    ]


def _account(loops: Sequence[Loop], returned: Sequence[int] | None) -> Table:
    """Draw the closing table: one line a run, and the sum."""
    states = [loop.run.status() for loop in loops]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_footer=True)
    columns = {
        "logged": [loop.rows for loop in loops],
        "acknowledged": [state.acknowledged for state in states],
        "lost": [sum(state.dropped.values()) for state in states],
    }
    if returned is not None:
        columns["read back"] = list(returned)
    table.add_column("run", "all", overflow="fold")
    for name, numbers in columns.items():
        table.add_column(name, f"{sum(numbers):,}", justify="right")
    for loop, *numbers in zip(loops, *columns.values(), strict=True):
        table.add_row(loop.run.path, *(f"{number:,}" for number in numbers))
    return table
