"""asyncwb: an asyncio-native experiment tracker.

    import asyncwb

    with asyncwb.init(project="mnist") as run:              # or, from a coroutine:
        run.log({"loss": 0.3, "acc": 0.9})                  #   async with asyncwb.init_async(...)

Names are loaded when they are first used, so that importing asyncwb costs a process little.
`asyncwb.run`, `asyncwb.config` and `asyncwb.summary` are those of the current run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from asyncwb.version import __version__

if TYPE_CHECKING:  # for readers and type checkers; at run time `_HOME` says where a name lives
    from asyncwb.client.live._sync.run import Run as Run
    from asyncwb.client.live.config import Config as Config
    from asyncwb.client.live.init import init as init
    from asyncwb.client.live.init import init_async as init_async
    from asyncwb.client.live.module import define_metric as define_metric
    from asyncwb.client.live.module import finish as finish
    from asyncwb.client.live.module import finish_async as finish_async
    from asyncwb.client.live.module import flush as flush
    from asyncwb.client.live.module import flush_async as flush_async
    from asyncwb.client.live.module import log as log
    from asyncwb.client.live.module import log_async as log_async
    from asyncwb.client.live.module import log_nowait as log_nowait
    from asyncwb.client.live.module import save as save
    from asyncwb.client.live.module import save_async as save_async
    from asyncwb.client.live.run import AsyncRun as AsyncRun
    from asyncwb.client.live.summary import Summary as Summary
    from asyncwb.client.query._sync.api import Api as Api
    from asyncwb.client.query.api import AsyncApi as AsyncApi
    from asyncwb.errors import ArgumentError as ArgumentError
    from asyncwb.errors import AuthenticationError as AuthenticationError
    from asyncwb.errors import BatchError as BatchError
    from asyncwb.errors import CommError as CommError
    from asyncwb.errors import ConfigError as ConfigError
    from asyncwb.errors import EngineStopped as EngineStopped
    from asyncwb.errors import Error as Error
    from asyncwb.errors import FilterError as FilterError
    from asyncwb.errors import FrameError as FrameError
    from asyncwb.errors import FrameTooLargeError as FrameTooLargeError
    from asyncwb.errors import IncompleteRunHistoryError as IncompleteRunHistoryError
    from asyncwb.errors import JournalCorrupt as JournalCorrupt
    from asyncwb.errors import JournalFull as JournalFull
    from asyncwb.errors import LogTypeError as LogTypeError
    from asyncwb.errors import NoAnswer as NoAnswer
    from asyncwb.errors import NotFoundError as NotFoundError
    from asyncwb.errors import RunNotFoundError as RunNotFoundError
    from asyncwb.errors import SettingsError as SettingsError
    from asyncwb.errors import StepError as StepError
    from asyncwb.errors import UnsupportedError as UnsupportedError
    from asyncwb.errors import UsageError as UsageError
    from asyncwb.settings import Settings as Settings

    run: AsyncRun | Run | None
    config: Config
    summary: Summary

_HOME = {
    "asyncwb.client.query._sync.api": ("Api",),
    "asyncwb.client.query.api": ("AsyncApi",),
    "asyncwb.client.live.config": ("Config",),
    "asyncwb.client.live.init": ("init", "init_async"),
    "asyncwb.client.live.module": (
        "define_metric",
        "finish",
        "finish_async",
        "flush",
        "flush_async",
        "log",
        "log_async",
        "log_nowait",
        "save",
        "save_async",
    ),
    "asyncwb.client.live._sync.run": ("Run",),
    "asyncwb.client.live.run": ("AsyncRun",),
    "asyncwb.client.live.summary": ("Summary",),
    "asyncwb.errors": (
        "ArgumentError",
        "AuthenticationError",
        "BatchError",
        "CommError",
        "ConfigError",
        "EngineStopped",
        "Error",
        "FilterError",
        "FrameError",
        "FrameTooLargeError",
        "IncompleteRunHistoryError",
        "JournalCorrupt",
        "JournalFull",
        "LogTypeError",
        "NoAnswer",
        "NotFoundError",
        "RunNotFoundError",
        "SettingsError",
        "StepError",
        "UnsupportedError",
        "UsageError",
    ),
    "asyncwb.settings": ("Settings",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_OF_CURRENT_RUN = ("config", "run", "summary")
_ROOMS = ("aio", "apis", "errors")
"""modules that are there without an import of their own"""

__all__ = ["__version__", *sorted(_MODULE_OF), *_OF_CURRENT_RUN]


def __getattr__(name: str) -> Any:
    if name in _OF_CURRENT_RUN:
        return importlib.import_module("asyncwb.client.live.module").of_current_run(name)
    if name in _ROOMS:
        return importlib.import_module(f"asyncwb.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'asyncwb' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    dunder = [name for name in globals() if name.startswith("__")]
    return sorted({*dunder, *__all__, *_ROOMS})
