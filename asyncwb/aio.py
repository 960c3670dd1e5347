"""The same names, async: `import asyncwb.aio as wandb`, then `await`.

async with wandb.init(project="mnist") as run:
    await wandb.log({"loss": 0.3})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncwb.client.live.init import init_async as init
    from asyncwb.client.live.module import define_metric, log_nowait
    from asyncwb.client.live.module import finish_async as finish
    from asyncwb.client.live.module import flush_async as flush
    from asyncwb.client.live.module import log_async as log
    from asyncwb.client.live.module import save_async as save
    from asyncwb.client.live.run import AsyncRun as Run
    from asyncwb.client.query.api import AsyncApi as Api

_ASYNC = {
    "Api": "AsyncApi",
    "Run": "AsyncRun",
    "finish": "finish_async",
    "flush": "flush_async",
    "init": "init_async",
    "log": "log_async",
    "save": "save_async",
}

__all__ = ["Api", "Run", "define_metric", "finish", "flush", "init", "log", "log_nowait", "save"]


def __getattr__(name: str) -> Any:
    # The front door itself says which names there are, and which run is the current one.
    return getattr(importlib.import_module("asyncwb"), _ASYNC.get(name, name))


def __dir__() -> list[str]:
    dunder = [name for name in globals() if name.startswith("__")]
    return sorted({*dunder, *__all__})
