"""What the handlers of one server share, found in the application under `STATE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from asyncwb.server.config import ServerConfig
from asyncwb.server.http.signing import Signer
from asyncwb.server.live.feed import Hub
from asyncwb.server.process.fold_cache import FoldCache
from asyncwb.server.process.metrics import Metrics
from asyncwb.server.process.run_changes import RunChanges
from asyncwb.server.process.threads import Threads
from asyncwb.server.store.claims import Claims
from asyncwb.server.store.database import Database
from asyncwb.server.store.people.invitations import Invitations
from asyncwb.server.store.people.keys import Keys
from asyncwb.server.store.people.teams import Teams
from asyncwb.server.store.people.users import User, Users
from asyncwb.server.store.runs.files import Files
from asyncwb.server.store.runs.ingest import IngestStore
from asyncwb.server.store.runs.projects import Projects
from asyncwb.server.store.runs.reports import Reports
from asyncwb.server.store.runs.runs import Runs
from asyncwb.server.store.runs.sweeps import Sweeps


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
    claims: Claims
    folds: FoldCache
    files: Files
    signer: Signer
    hub: Hub
    metrics: Metrics
    clock: Callable[[], float]
    writers: Threads


STATE: web.AppKey[State] = web.AppKey("state", State)
USER: web.RequestKey[User] = web.RequestKey("user", User)
