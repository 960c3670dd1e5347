"""What the handlers of one server share, found in the application under `STATE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from asyncwb.server.config import ServerConfig
from asyncwb.server.fold_cache import FoldCache
from asyncwb.server.live import Hub
from asyncwb.server.metrics import Metrics
from asyncwb.server.run_changes import RunChanges
from asyncwb.server.signing import Signer
from asyncwb.server.store.database import Database
from asyncwb.server.store.files import Files
from asyncwb.server.store.ingest import IngestStore
from asyncwb.server.store.invitations import Invitations
from asyncwb.server.store.keys import Keys
from asyncwb.server.store.projects import Projects
from asyncwb.server.store.reports import Reports
from asyncwb.server.store.runs import Runs
from asyncwb.server.store.sweeps import Sweeps
from asyncwb.server.store.teams import Teams
from asyncwb.server.store.users import User, Users
from asyncwb.server.threads import Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The parts of a running server. `clock` gives unix seconds."""

    config: ServerConfig
    database: Database
    users: Users
    keys: Keys
    teams: Teams
    invitations: Invitations
    projects: Projects
    reports: Reports
    runs: Runs
    sweeps: Sweeps
    ingest: IngestStore
    changes: RunChanges
    folds: FoldCache
    files: Files
    signer: Signer
    hub: Hub
    metrics: Metrics
    clock: Callable[[], float]
    writers: Threads


STATE: web.AppKey[State] = web.AppKey("state", State)
USER: web.RequestKey[User] = web.RequestKey("user", User)
