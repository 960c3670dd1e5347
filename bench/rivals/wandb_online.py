"""wandb, unmodified, against our server: how fast it logs to it, and how fast it reads from it."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any, ClassVar
from urllib.request import Request, urlopen

from bench.rivals.base import PROJECT, Archive, Startup
from bench.rivals.server import AsyncwbServer
from bench.rivals.wandb import WandbRival


class WandbOnlineRival(WandbRival, Archive):
    """wandb as it comes, with the address and the key of our server."""

    server_module: ClassVar[str] = "asyncwb"

    def prepare(self) -> None:
        """Start the server and point the client at it."""
        super().prepare()
        self.folder.mkdir(exist_ok=True)
        self._server = AsyncwbServer(self.folder, self.server_module)
        self._server.start()
        os.environ["WANDB_BASE_URL"] = self._server.url
        os.environ["WANDB_API_KEY"] = self._server.key
        os.environ["WANDB_ERROR_REPORTING"] = "false"

    def close(self) -> None:
        """Stop the server."""
        self._server.stop()

    def stored(self) -> int:
        """Ask the server how many rows its runs have."""
        entity = self._get("/api/v1/viewer")["entity"]
        runs = self._get(f"/api/v1/projects/{entity}/{PROJECT}/runs")["runs"]
        return sum(run["rows"] for run in runs)

    def startup(self) -> Startup:
        """The two lines of its quick start."""
        return Startup(
            "import wandb",
            f"run = wandb.init(project={PROJECT!r}, dir={str(self.folder)!r})",
            "run.finish()",
        )

    def fill(self, rows: int, metrics: int, seed: int) -> None:
        """Log the run by asyncwb, which takes seconds instead of minutes."""
        path = self._server.fill(rows, metrics, seed)
        self._reader: Any = import_module("wandb").Api(timeout=60).run(path)

    def scan_history(self) -> int:
        """Iterate over `scan_history()`."""
        return sum(1 for _ in self._reader.scan_history(page_size=10_000))

    def sample_history(self, samples: int) -> int:
        """Ask for `history(samples=...)` as dicts."""
        return len(self._reader.history(samples=samples, pandas=False))

    def _begin(self, **options: str) -> Any:
        wandb = import_module("wandb")
        # Said here too: it reads the environment once a process.
        server = wandb.Settings(base_url=self._server.url, api_key=self._server.key)
        return wandb.init(project=PROJECT, dir=str(self.folder), settings=server, **options)

    def _get(self, target: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._server.key}"}
        with urlopen(Request(self._server.url + target, headers=headers), timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


class WandbUnheardRival(WandbOnlineRival):
    """The same client and a server that forgets what is streamed to it, which costs it nothing."""

    server_module = "bench.rivals.discarding_server"
