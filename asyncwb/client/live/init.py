"""Starting a run: `init` and `init_async`, which do the same work.

A run starts without a server: its folder and journal are made (about a millisecond), the engine
looks for the server on its own thread. Only `resume` has to ask the server first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any, Final, TypedDict, TypeVar, Unpack

from asyncwb.client.live import at_exit, current
from asyncwb.client.live._sync.run import Run
from asyncwb.client.live.config import as_mapping, convert
from asyncwb.client.live.current import Face
from asyncwb.client.live.run import AsyncRun
from asyncwb.client.live.state import RunAttributes, RunState, check_tags
from asyncwb.client.waiting import wait, wait_async
from asyncwb.engine.disabled import DisabledSession
from asyncwb.engine.journal.folder import RunFolder, new_writer, run_folders
from asyncwb.engine.session import AnySession, Session
from asyncwb.engine.thread import Engine
from asyncwb.errors import ArgumentError, Error, UsageError
from asyncwb.settings import Settings, closest
from asyncwb.typing import JsonObject
from asyncwb.version import __version__
from asyncwb.wire.run_names import made_name
from asyncwb.wire.stream import StreamHead

F = TypeVar("F", bound=Face)

_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_REINIT: Final = ("create_new", "return_previous", "finish_previous")
_DEFAULTS: Final = Path("config-defaults.yaml")
_NOBODY: Final = "dummy"
"""who owns a disabled run, as W&B has it"""


class Arguments(TypedDict, total=False):
    """The keywords that `init` and `init_async` take besides project and entity."""

    config: Mapping[str, object] | str | object | None
    config_exclude_keys: Iterable[str] | None
    config_include_keys: Iterable[str] | None
    allow_val_change: bool
    id: str | None
    name: str | None
    notes: str | None
    tags: Iterable[str] | None
    group: str | None
    job_type: str | None
    mode: str | None
    dir: str | os.PathLike[str] | None
    resume: str | bool | None
    reinit: str | bool | None
    settings: Settings | Mapping[str, object] | None


def _start(
    what: str, project: str | None, entity: str | None, arguments: Mapping[str, Any]
) -> _Start:
    for name in arguments:
        if name not in Arguments.__annotations__:
            meant = closest(name, Arguments.__annotations__)
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}{meant}")
    return _Start(project, entity, **arguments)


class _Start:
    """The arguments of `init`, checked, and the settings that they make.

    The order in which `init` and `init_async` go on: `previous` (a run to return or to finish
    first), `lookup` (only where `resume` asks for it), `begin`.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        *,
        config: Mapping[str, object] | str | object | None = None,
        config_exclude_keys: Iterable[str] | None = None,
        config_include_keys: Iterable[str] | None = None,
        allow_val_change: bool = False,
        id: str | None = None,
        name: str | None = None,
        notes: str | None = None,
        tags: Iterable[str] | None = None,
        group: str | None = None,
        job_type: str | None = None,
        mode: str | None = None,
        dir: str | os.PathLike[str] | None = None,
        resume: str | bool | None = None,
        reinit: str | bool | None = None,
        settings: Settings | Mapping[str, object] | None = None,
    ) -> None:
        if not isinstance(settings, (Settings, Mapping, NoneType)):
            raise ArgumentError(f"settings are a Settings or a mapping, not {settings!r}")
        given = settings.given if isinstance(settings, Settings) else dict(settings or {})
        arguments = {
            "project": project,
            "entity": entity,
            "run_id": id,
            "run_name": name,
            "run_notes": notes,
            "run_tags": None if tags is None else tuple(check_tags(tags)),
            "run_group": group,
            "run_job_type": job_type,
            "mode": mode,
            "dir": None if dir is None else Path(dir),
            "resume": resume,
        }
        given.update({name: value for name, value in arguments.items() if value is not None})
        self.settings = Settings.resolve(given)
        self.config = _chosen(config, config_include_keys, config_exclude_keys)
        self.defaults = _defaults()
        self.allow_val_change = allow_val_change
        self.reinit = _reinit(reinit)
        known = self.settings.run_id or _interrupted(self.settings)
        self.run_id = known or _new_id()
        self.made_name = self._made_name(is_new=known is None)
        self.step = 0
        self.resumed = False
        self.known: JsonObject = {}
        """what the server, or offline this machine, has of a run that is resumed"""

    def _made_name(self, *, is_new: bool) -> str | None:
        """Return the name for a run that nobody names; None where the server may have one."""
        if self.settings.mode == "disabled":
            return f"{_NOBODY}-{self.run_id}"
        return made_name(self.run_id, 1 + int.from_bytes(os.urandom(4)) % 999) if is_new else None

    @property
    def previous(self) -> Face | None:
        """The run that `reinit` says to return or to finish, or None."""
        return None if self.reinit == "create_new" else current.current()

    @property
    def must_look(self) -> bool:
        """Whether the server, offline this machine, has to be asked whether the run exists."""
        settings = self.settings
        known = settings.run_id is not None or settings.resume == "auto"
        return settings.mode != "disabled" and bool(settings.resume) and known

    def lookup(self) -> Future[JsonObject | None]:
        """Ask for the run, on the engine's thread; the answer is None where there is none."""
        settings = self.settings
        head = self._head()
        return Engine.current().submit(lambda worker: worker.find_run(settings, head))

    def found(self, info: JsonObject | None) -> None:
        """Take in what was found; raises UsageError where `resume` forbids to go on."""
        resume = self.settings.resume
        who = "the server" if self.settings.mode == "online" else "this machine"
        path = f"{self.settings.project}/{self.run_id}"
        if info is None:
            if resume == "must":
                raise UsageError(
                    f'resume="must", and {who} has no run {path}: nothing was started. '
                    "Check the id, or use resume='allow'."
                )
            return
        if resume == "never":
            raise UsageError(
                f'resume="never", and {who} has a run {path}: nothing was started. '
                "Choose another id, or use resume='allow'."
            )
        self.resumed = True
        last = info.get("last_step")
        self.step = 0 if last is None else int(last) + 1
        self.known = info

    def begin(self, face: Callable[[RunState], F]) -> F:
        """Start the run and make it the current one; costs about a millisecond."""
        settings = self.settings
        # Only what the caller gives: the server may have a run of this id, and keeps the rest.
        given: RunAttributes = {
            "name": settings.run_name or self.made_name,
            "tags": list(settings.run_tags or ()),
            "notes": settings.run_notes,
            "group": settings.run_group,
            "job_type": settings.run_job_type,
        }
        started_at = time.time()
        known = self.known.get("config", {})
        config = convert({k: v for k, v in self.defaults.items() if k not in known} | self.config)
        start = {
            "t": "start",
            "at": started_at,
            **given,
            "config": config,
            "host": os.uname().nodename,
            "program": sys.argv[0] if sys.argv else "",
            "python": ".".join(map(str, sys.version_info[:3])),
            "client": __version__,
            "resume": settings.resume,
        }
        session: AnySession
        if settings.mode == "disabled":
            session = DisabledSession(settings, self._head(), start)
        else:
            session = Session(
                settings,
                self._head(),
                start,
                step=self.step,
                before=self.known,
                engine=Engine.current,
            )
        state = RunState(
            session,
            attributes=self._attributes(given),
            config={**known, **config},
            started_at=started_at,
            resumed=self.resumed,
            allow_val_change=self.allow_val_change,
        )
        run = face(state)
        if isinstance(session, Session):
            at_exit.watch()
            session.reopened = lambda: at_exit.adopt(state)
        current.enter(run)
        return run

    def _attributes(self, given: RunAttributes) -> RunAttributes:
        """What is shown of the run: what the caller gave, else what the server has."""
        known = self.known
        notes, group, job_type = (
            known.get(name) if given[name] is None else given[name]
            for name in ("notes", "group", "job_type")
        )
        return {
            "name": given["name"] or known.get("name") or self.run_id,
            "tags": given["tags"] or list(known.get("tags") or ()),
            "notes": notes,
            "group": group,
            "job_type": job_type,
        }

    def _head(self) -> StreamHead:
        settings = self.settings
        entity = settings.entity
        if settings.mode == "disabled":
            entity = entity or _NOBODY
        return StreamHead(entity, settings.project, self.run_id, new_writer())


def init(
    project: str | None = None, entity: str | None = None, **arguments: Unpack[Arguments]
) -> Run:
    """Start a run; as a context manager it finishes itself.

    Returns within milliseconds and needs no server: one that cannot be reached costs a line of
    warning, and the rows wait in the journal. With nothing configured the run goes to a server on
    this machine, which is found or started by itself.

        with asyncwb.init(project="mnist", config={"lr": 0.1}) as run:
            run.log({"loss": 0.3, "acc": 0.9})

    Args:
        project: the project (1 to 128 characters without / \\ # ? % :); see `Settings` for this
            and every other default. Project and entity may be given by position, in this order;
            newer releases of W&B's client have the entity first, so name them in code for both.
        entity: who owns the run: a user or a team; left out: the user of the API key.
        config: the run's configuration: a mapping, a namespace, a dataclass, or a YAML file. What
            it leaves out comes from the file `config-defaults.yaml` in the current folder, if there
            is one.
        config_exclude_keys, config_include_keys: which keys of `config` to leave out, or which ones
            to take; not both.
        allow_val_change: whether config keys may change their value later on.
        id: the run's id, unique in the project; left out: a random one.
        name: what the run is called. Left out, a run with a random id gets two words and a number,
            such as "misty-river-412"; one with an id of yours keeps the name that the server has
            for it, at first its id.
        notes, tags, group, job_type: what the run is sorted by.
        mode: "online", "offline" (kept on disk for `asyncwb sync`) or "disabled".
        dir: where the run's folder goes.
        resume: with `id`: "allow" goes on where a run of this id stopped, "must" and "never" raise
            UsageError where there is none, or is one; "auto", without `id`, goes on with the last
            run of the project that was cut off on this machine. Only this asks the server, and
            waits for it at most `init_timeout` seconds: the run then shows the config, summary,
            name, tags and so on that the server has. What an earlier process of the run left on
            this machine is sent before, so that the steps go on behind it. With or without it, an
            existing run keeps what is not given here. Offline nobody is asked: a run is there, and
            is gone on with, where its rows lie on this machine.
        reinit: while another run is open: "create_new" (the default) starts one beside it,
            "return_previous" returns that one, "finish_previous" (or True) finishes it first.
        settings: a `Settings`, or a mapping of some of its values.

    Raises:
        UsageError, SettingsError, ConfigError: an argument at fault; nothing was started.
        CommError: `resume` was given and the server could not be asked.

    Source: https://docs.wandb.ai/ref/python/init.
    """
    start = _start("init", project, entity, arguments)
    previous = start.previous
    if previous is not None:
        if start.reinit == "return_previous":
            return _sync_face(previous)
        _sync_face(previous).finish()
    if start.must_look:
        start.found(wait(start.lookup()))
    return start.begin(Run)


class Starting:
    """What `init_async` returns: await it for the run, or enter it to have it finished too."""

    __slots__ = ("_run", "_start")

    def __init__(self, start: _Start) -> None:
        self._start = start
        self._run: AsyncRun | None = None

    async def _begin(self) -> AsyncRun:
        start = self._start
        previous = start.previous
        if previous is not None:
            if start.reinit == "return_previous":
                return _async_face(previous)
            await _async_face(previous).finish()
        if start.must_look:
            start.found(await wait_async(start.lookup()))
        return start.begin(AsyncRun)

    def __await__(self) -> Generator[Any, None, AsyncRun]:
        return self._begin().__await__()

    async def __aenter__(self) -> AsyncRun:
        self._run = await self._begin()
        return await self._run.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._run is not None
        await self._run.__aexit__(kind, error, traceback)


def init_async(
    project: str | None = None, entity: str | None = None, **arguments: Unpack[Arguments]
) -> Starting:
    """Start a run from a coroutine: `run = await init_async()`, or `async with init_async()`.

    Takes what `init` takes and costs the event loop about a millisecond.

        async with asyncwb.init_async(project="mnist", config={"lr": 0.1}) as run:
            await run.log({"loss": 0.3, "acc": 0.9})
    """
    return Starting(_start("init_async", project, entity, arguments))


def _sync_face(run: Face) -> Run:
    return run if isinstance(run, Run) else Run(run._state)


def _async_face(run: Face) -> AsyncRun:
    return run if isinstance(run, AsyncRun) else AsyncRun(run._state)


def _new_id() -> str:
    return "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in os.urandom(8))


def _interrupted(settings: Settings) -> str | None:
    """With resume="auto": the id of the last run of this project that was cut off here."""
    if settings.resume != "auto":
        return None
    for path in reversed(run_folders(settings.runs_dir)):
        folder = RunFolder(path)
        try:
            found = folder.describe()
            if found.project == settings.project and found.mode == "online" and folder.lock():
                return found.run
        except (Error, OSError):
            continue  # not readable, or sent and deleted meanwhile: not this one
        finally:
            folder.unlock()
    return None


def _reinit(value: str | bool | None) -> str:
    if value is None:
        return "create_new"
    if isinstance(value, bool):
        return "finish_previous" if value else "return_previous"
    if value not in _REINIT:
        raise ArgumentError(
            f"reinit is one of {', '.join(_REINIT)}, not {value!r}: nothing was started"
        )
    return value


def _defaults() -> JsonObject:
    return dict(as_mapping(_DEFAULTS)) if _DEFAULTS.is_file() else {}


def _chosen(
    config: object, include: Iterable[str] | None, exclude: Iterable[str] | None
) -> JsonObject:
    if include is not None and exclude is not None:
        raise ArgumentError(
            "config_include_keys and config_exclude_keys were given together: nothing was started. "
            "Give one of them."
        )
    values = {} if config is None else dict(as_mapping(config))
    for name, keys in (("include", include), ("exclude", exclude)):
        if isinstance(keys, str):
            raise ArgumentError(f"config_{name}_keys is a list of keys, not {keys!r}")
    if include is not None:
        values = {key: values[key] for key in include if key in values}
    for key in exclude or ():
        values.pop(key, None)
    return values
