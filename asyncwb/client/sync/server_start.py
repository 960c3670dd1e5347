"""Starting the server of this machine, for a command that needs one and logs no run.

By the engine, as `init` does; it costs its imports, some 350 ms.
"""

from __future__ import annotations

from asyncwb.engine.thread import Engine
from asyncwb.settings import Settings


def start_server(settings: Settings) -> None:
    """Start the server of this machine where none answers, and wait until it does.

    Raises:
        CommError: it cannot be started, or does not answer in time.
    """
    Engine.current().submit(lambda worker: worker.address(settings)).result()
