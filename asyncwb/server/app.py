"""The application: a table of routes, what they share, and the background tasks.

Every route is private unless its handler says `@public`; the order of the middlewares is: count,
turn errors into the one shape, know the host, let in, hold the body's memory. The address of an
API route never falls through to the page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from anyio import to_thread

from asyncwb.server import graphql
from asyncwb.server.backups.stores import open_objects
from asyncwb.server.config import ServerConfig
from asyncwb.server.history import history, run_metrics
from asyncwb.server.http import body_limits, login, pages
from asyncwb.server.http.address import host_check
from asyncwb.server.http.auth import KEYS, KeyCache, auth_middleware, ensure_admin, public
from asyncwb.server.http.errors import error_middleware, error_response, log
from asyncwb.server.http.open_requests import OPEN_REQUESTS, OpenRequests
from asyncwb.server.http.signing import Signer
from asyncwb.server.http.state import STATE, State
from asyncwb.server.intake import file_stream, ingest
from asyncwb.server.intake.crash import watching
from asyncwb.server.live.feed import Hub
from asyncwb.server.live.other_servers import exchanging
from asyncwb.server.objects import files
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.server.people import people
from asyncwb.server.process.activity import ACTIVITY, Activity, activity_middleware
from asyncwb.server.process.background import TASKS, Tasks
from asyncwb.server.process.fold_cache import FoldCache
from asyncwb.server.process.metrics import CONTENT_TYPE, Metrics, counting
from asyncwb.server.process.run_changes import RunChanges
from asyncwb.server.process.threads import WRITERS, Threads
from asyncwb.server.runs import index, projects, runs, streams
from asyncwb.server.store import damaged_log
from asyncwb.server.store.claims import Claims
from asyncwb.server.store.database import Database
from asyncwb.server.store.migrate import migrate
from asyncwb.server.store.people.invitations import Invitations
from asyncwb.server.store.people.keys import Keys
from asyncwb.server.store.people.teams import Teams
from asyncwb.server.store.people.users import Users
from asyncwb.server.store.runs.files import Files
from asyncwb.server.store.runs.ingest import IngestStore
from asyncwb.server.store.runs.projects import Projects
from asyncwb.server.store.runs.reports import Reports
from asyncwb.server.store.runs.runs import Runs
from asyncwb.server.store.runs.sweeps import Sweeps
from asyncwb.settings import default_entity
from asyncwb.version import __version__
from asyncwb.wire.proof import CHALLENGE, PROOF, prove

_ROOMS: Final = (
    files,
    file_stream,
    graphql,
    history,
    ingest,
    login,
    people,
    projects,
    run_metrics,
    runs,
    streams,
)
INGEST_VERSION: Final = 1
READY: web.AppKey[asyncio.Event] = web.AppKey("ready", asyncio.Event)
SECRET: web.AppKey[str] = web.AppKey("secret", str)
"""the data folder's, by which clients know its server"""


def create_app(
    config: ServerConfig, *, clock: Callable[[], float] | None = None
) -> web.Application:
    """Make the application of one server; nothing is opened before it starts up.

    Args:
        config: what the server is told.
        clock: unix seconds; None: the machine's, and for claims the database's.
    """
    metrics, database = Metrics(), Database(config.database_url)
    users = Users(database)
    app = web.Application(
        client_max_size=1,  # whoever reads a body past `bodies` gets a 413
        middlewares=[
            activity_middleware,
            counting(metrics),
            pages.unknown_address,
            error_middleware,
            host_check(config),
            auth_middleware,
            body_limits.holding,
        ],
    )
    app[STATE] = State(
        config=config,
        database=database,
        users=users,
        keys=Keys(database, users),
        teams=Teams(database, users),
        invitations=Invitations(database, users),
        projects=Projects(database),
        reports=Reports(database),
        runs=Runs(database),
        sweeps=Sweeps(database),
        ingest=IngestStore(database),
        changes=RunChanges(database),
        claims=Claims(database, clock),
        folds=FoldCache(),
        files=Files(database),
        signer=Signer(),
        hub=Hub(),
        metrics=metrics,
        clock=clock or time.time,
        writers=Threads("writer", WRITERS),
    )
    app[KEYS] = KeyCache(app[STATE].users)
    app[OPEN_REQUESTS] = OpenRequests(users)
    app[body_limits.MEMORY] = body_limits.Memory(config.max_bodies)
    app[body_limits.UPLOADS] = body_limits.Memory(config.max_bodies)
    app[READY] = asyncio.Event()
    app[ACTIVITY] = Activity()
    app[TASKS] = Tasks(metrics)
    app[run_metrics.KEPT] = run_metrics.Kept()
    app.add_routes(_own_routes(config))
    for room in _ROOMS:
        app.add_routes(_offered(room.routes(), config))
    app.add_routes(pages.routes())
    app.on_response_prepare.append(pages.add_security_headers)
    app.on_shutdown.append(_stop_answering)
    app.cleanup_ctx.extend(
        (
            _open_database,
            _open_tasks,
            history.background,
            files.background,
            index.background,
            streams.background,
            _crash_detection,
            _end_of_requests,
            _other_servers,
        )
    )
    return app


def _offered(routes: list[web.RouteDef], config: ServerConfig) -> list[web.RouteDef]:
    return [route for route in routes if config.native or not route.path.startswith("/api/")]


def _own_routes(config: ServerConfig) -> list[web.RouteDef]:
    # On loopback, behind no key: an embedded server's counters are its user's own.
    shown = public(_open_metrics) if config.embedded else _metrics
    return [web.get("/ready", ready), web.get("/metrics", shown)]


@public
async def ready(request: web.Request) -> web.Response:
    """Say whether the server takes requests and what of its work fails, and prove whose it is."""
    if request.app[READY].is_set():
        offered = {"ingest": INGEST_VERSION} if request.app[STATE].config.native else {}
        failing = request.app[TASKS].failing
        told = {"failing": failing} if failing else {}
        answer = web.json_response({"status": "ready", "version": __version__, **offered, **told})
    else:
        answer = error_response(503, "unavailable", "The server is starting or stopping.")
    if shown := _proof(request):
        answer.headers[PROOF] = shown
    return answer


def _proof(request: web.Request) -> str | None:
    challenge, transport = request.headers.get(CHALLENGE), request.transport
    if challenge is None or transport is None:
        return None
    port = transport.get_extra_info("sockname")[1]
    return prove(request.app[SECRET], port, challenge)


async def _metrics(request: web.Request) -> web.Response:
    """Answer the counters as Prometheus text."""
    return web.Response(
        body=request.app[STATE].metrics.text(), headers={"Content-Type": CONTENT_TYPE}
    )


async def _open_metrics(request: web.Request) -> web.Response:
    return await _metrics(request)


async def _stop_answering(app: web.Application) -> None:
    app[READY].clear()
    app[STATE].hub.close()


async def _open_database(app: web.Application) -> AsyncIterator[None]:
    state = app[STATE]
    file = state.database.file
    damaged = None if file is None else await to_thread.run_sync(damaged_log.keep, file)
    if damaged is not None:
        log.error("%s. The server goes on with what is there.", damaged)
    try:
        await state.database.open()
        await migrate(state.database)
        if damaged is not None:  # what stands behind the damage must not be found there again
            await state.database.checkpoint()
        app[OBJECTS] = await open_objects(state.config, state.database, state.clock())
        made = await ensure_admin(state, default_entity())
        # Schema, id and first key are in the file from now on: no damage of the log takes them.
        if made and state.database.is_sqlite:
            await state.database.checkpoint()
        yield
    finally:
        await state.database.close()
        state.writers.close()


async def _open_tasks(app: web.Application) -> AsyncIterator[None]:
    async with app[TASKS].open():
        yield


async def _crash_detection(app: web.Application) -> AsyncIterator[None]:
    async with watching(app[STATE], app[TASKS]):
        yield


async def _end_of_requests(app: web.Application) -> AsyncIterator[None]:
    async with app[TASKS].keep("ending requests", app[OPEN_REQUESTS].watch, after=0.0):
        yield


async def _other_servers(app: web.Application) -> AsyncIterator[None]:
    state = app[STATE]
    async with exchanging(state.database, state.hub, state.users, app[TASKS]):
        yield
