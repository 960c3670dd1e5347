"""The library: the server that runs log to, and that shows them.

    config       what it is told when it starts
    lifecycle    the life of a server process: one a data folder
    app          the application: a table of routes, and the background tasks
    http/        who sends a request, what may be in it, what the answer looks like
    process/     background work: tasks, threads, claims, counters
    intake/      what arrives: frames, file_stream, lines of text
    history/     what was logged: rows, samples, charts; sealing and rewinding
    objects/     whole byte strings under names that the server made up, and files
    runs/        projects, runs and sweeps: shown, edited
    people/      accounts, keys, teams, invitations
    queries/     the language of filters and orders
    graphql/     GraphQL as W&B's clients speak it
    live/        what changed, for open pages
    backups/     a store as a whole: backed up, restored, verified
    store/       the database; nothing else writes SQL
    web/         the page

`asyncwb server` and the embedded server are both `serve(ServerConfig(...))`. It meets the client
only in `asyncwb.wire`.
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
