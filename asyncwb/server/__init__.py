"""The library: the server that runs log to, and that shows them.

It keeps what clients send (`ingest`), seals it into columns (`seal`), and reads it back for
charts and for users (`history`, `chart`). `asyncwb server` and the embedded server are both
`serve(ServerConfig(...))`. It meets the client only in `asyncwb.wire`.
"""

from asyncwb.server.config import ServerConfig, admin_key_from
from asyncwb.server.lifecycle import AlreadyRunning, RunningServer, run_server, serve

__all__ = [
    "AlreadyRunning",
    "RunningServer",
    "ServerConfig",
    "admin_key_from",
    "run_server",
    "serve",
]
