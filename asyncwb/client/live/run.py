"""A live run: what a training loop holds in its hand.

A method has one of three shapes. *Hand-off* (`log`): the row is in the journal when it returns,
no other thread was asked; only a full journal makes it wait. *Command* (`flush`, `finish`): the
engine does it, the caller waits. *Local* (`config`, `summary`, `step`, `status`): plain memory.

Both faces of one run share its session.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from asyncwb.client.live import current
from asyncwb.client.live.at_exit import exit_code_of
from asyncwb.client.live.config import Config, ConfigStatic
from asyncwb.client.live.state import RunState, check_exit_code, check_timeout
from asyncwb.client.live.summary import Summary
from asyncwb.client.waiting import in_thread, shielded_after, wait_async
from asyncwb.engine.session import AnySession, RunStatus
from asyncwb.engine.uploads.saved import Policy
from asyncwb.errors import EngineStopped, UsageError
from asyncwb.settings import Settings
from asyncwb.wire.summary.metrics import MetricRule, metric_event


class AsyncRun:
    """Log to a run, and finish it; made by `asyncwb.init_async()`, not by hand.

        async with asyncwb.init_async(project="mnist", config={"lr": 0.1}) as run:
            await run.log({"loss": 0.3, "acc": 0.9})

    Leaving the block finishes the run, with exit code 1 where an exception passes through.
    """

    __slots__ = ("__weakref__", "_config", "_log", "_session", "_state", "_summary")

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._session: AnySession = state.session
        self._config: Config = state.config
        self._summary: Summary = state.summary
        self._log = state.session.log

    async def log(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> None:
        """Record a row of metrics.

        Costs about 1 us for plain numbers under keys seen before, and never waits for a network or
        a disk. When it returns, the row survives SIGKILL of the process. Only a journal at its
        bound makes it wait, if `overflow` is "block", for at most `overflow_timeout` seconds.

        Args:
            data: names to values: numbers, strings, lists, arrays, nested mappings of these.
            step: int >= 0, the row's step; left out: one after the last. A step that was logged
                before is added to, also when it lies behind (see `step_policy`). A row with a step
                below 0 has no place: it is dropped, counted, and said.
            commit: False leaves the step open, so that the next row joins it; the default is True
                without `step`, False with it.

        Raises:
            LogTypeError: not a mapping, a key that is no string, or a value that no row can hold;
                both a TypeError and a ValueError.
            StepError: the step lies behind, or below 0, and `step_policy` is "raise".
            JournalFull: the journal is at its bound and `overflow` is "raise".
            UsageError: the run has finished.

        Source: https://docs.wandb.ai/ref/python/sdk/classes/run (`log`).
        """
        if not self._log(data, step, commit):
            await wait_async(self._session.log_when_room(dict(data), step, commit))

    def log_nowait(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> bool:
        """Record a row without ever waiting; also outside of a coroutine.

        Returns False where the journal is at its bound and `overflow` is "block": the row was
        dropped, and `status().dropped` counts it. Arguments and errors are those of `log`.
        """
        taken = self._log(data, step, commit)
        if not taken:
            self._session.inbox.count_dropped("overflow")
        return taken

    async def flush(self, *, durable: bool = False, timeout: float | None = None) -> bool:
        """Wait until everything logged so far is acknowledged by the server (offline: on disk).

        With `durable` wait instead until it is on this machine's disk, the names of its files
        included, whatever the network does: from then on a power loss takes none of it.

        Args:
            durable: force it to this disk, rather than to the server.
            timeout: seconds to wait for the server; the default is the setting `finish_timeout`.

        Returns whether all of it arrived; what did not is safe in the journal, and goes on being
        sent. Nobody waits for what a person has to put right (an API key that the server does not
        accept, an address where no such server is): once a try has shown that, it is False. With
        `durable`, False means that the disk did not take all of it, and `status().last_error` says
        why. Raises UsageError for a timeout that is none.
        """
        seconds = check_timeout(timeout, self._session.settings.finish_timeout, "flush")
        return await wait_async(self._session.flush(durable=durable, timeout=seconds))

    async def finish(
        self,
        exit_code: int | None = None,
        quiet: bool | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Mark the run as finished and send what is left; always returns in time.

        Past the deadline the rest stays in the journal on disk, a process of its own goes on
        sending it, and the command that resumes is printed. That is at once where one more try
        shows that a person has to act first (the API key is not accepted, say). What processes that
        logged to the run (children, most of the time) left behind when they ended is sent, too. If
        this is cancelled or interrupted the engine goes on; a second call waits for what is under
        way, and once the run has ended it does nothing.

        Args:
            exit_code: int of 32 bits; 0 (the default) is success, anything else a failure.
            quiet: deprecated, say `init(settings={"quiet": True})`: True prints nothing about it.
            timeout: seconds to wait for the server; the default is the setting `finish_timeout`.

        Raises:
            UsageError: the exit code or the timeout is none; the run goes on.

        Source: https://docs.wandb.ai/ref/python/sdk/classes/run (`finish`).
        """
        if quiet is not None:
            deprecated = 'finish(quiet=) is deprecated: use init(settings={"quiet": True})'
            warnings.warn(deprecated, DeprecationWarning, stacklevel=2)
        state, code = self._state, check_exit_code(exit_code)
        seconds = check_timeout(timeout, self._session.settings.finish_timeout, "finish")
        future = state.finish(code, seconds, quiet)
        if future is None:
            return
        current.leave(self)
        ending = None
        try:
            ending = await wait_async(future)
        except EngineStopped as error:
            self._session.notices.warn(error.message)
        state.end(ending)

    def define_metric(
        self,
        name: str,
        step_metric: str | MetricRule | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | Sequence[str] | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> MetricRule:
        """Say how a metric is charted and summarised; holds for rows from now on.

        What the summary computes is taken over the rows that the server gets after the definition:
        those of parts of the run that are synced before it do not count.

        Args:
            name: the metric; a `*` at its end stands for every metric with that prefix, but for
                those that begin with "_".
            step_metric: the metric on its x axis.
            step_sync: fill the step metric into rows that lack it, with its last value (0 before
                there is one); the default is True where `step_metric` is given.
            hidden: leave it out of the automatic charts.
            summary: what the summary keeps: "min", "max", "mean", "last", "first", "best", "copy"
                or "none", several separated by commas. NaN is skipped by min, max and mean.
            goal: "minimize" or "maximize": what "best" means.
            overwrite: forget what was defined for this name before, instead of adding to it.

        Raises:
            UsageError: an argument at fault, or the run has finished.

        Source: https://docs.wandb.ai/ref/python/sdk/classes/run (`define_metric`).
        """
        path = step_metric.name if isinstance(step_metric, MetricRule) else step_metric
        event = metric_event(
            name,
            step_metric=path,
            step_sync=step_sync,
            hidden=hidden,
            summary=summary,
            goal=goal,
            overwrite=overwrite,
        )
        return self._session.define(event)

    async def save(
        self,
        glob_str: str | bytes | os.PathLike[str],
        base_path: str | os.PathLike[str] | None = None,
        policy: Policy = "live",
        *,
        glob: bool = True,
    ) -> list[str]:
        """Store files with the run; they are sent beside the training, by the engine.

        When it returns, the files are linked into `run.dir` and noted on disk: after a SIGKILL of
        the process `asyncwb sync` sends what is still missing, as it is then. A file system without
        links costs a copy, which does not follow the file: "live" is "now" for it.

            run.save("ckpt/*.pt")                              # named ckpt/... in the run
            run.save("/data/job7/ckpt/*.pt", base_path="/data")    # job7/ckpt/...

        Args:
            glob_str: a path or a pattern, relative to the current folder or absolute; expanded
                now, so what is made later is not meant. `**` is any number of folders. A file that
                is called exactly so ("x[1].pt") is meant, too.
            base_path: the folder that names in the run are relative to; left out: the current one.
                Of an absolute path only the last folder is kept, and a warning says so.
            policy: "live" sends a file again whenever it has changed, "now" once, "end" when the
                run finishes.
            glob: False takes `glob_str` as it stands, with `*`, `?` and `[` in it.

        Returns the paths in `run.dir`, sorted; empty where nothing matches, for an address in cloud
        storage and in a disabled run. What cannot be linked or sent is warned of, and counted in
        `status().files_failed`.

        Raises:
            ValueError: another policy, or a pattern that is not below `base_path`.
            UsageError: the run has finished.

        Source: https://docs.wandb.ai/ref/python/sdk/classes/run (`save`).
        """
        return await in_thread(self._state.save, glob_str, base_path, policy, glob)

    def status(self) -> RunStatus:
        """Count rows accepted, acknowledged and dropped, the server's lag, and saved files.

        After `finish()` it is the final record of what this process has brought to the server.
        """
        return self._session.status()

    @property
    def config(self) -> Config:
        """The run's configuration: a mapping whose changes are recorded."""
        return self._config

    @config.setter
    def config(self, values: Mapping[str, object]) -> None:
        self._config.update(values)

    @property
    def config_static(self) -> ConfigStatic:
        """A read-only snapshot of the configuration."""
        return ConfigStatic(self._config.as_dict())

    @property
    def summary(self) -> Summary:
        """The last value of every metric, or what `define_metric` asked for; read locally."""
        return self._summary

    @property
    def step(self) -> int:
        """The step that the next `log()` without a step writes."""
        return self._session.rule.step

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self._session.head.run

    @property
    def name(self) -> str | None:
        """The name shown for the run."""
        return self._state.attributes["name"]

    @name.setter
    def name(self, value: str) -> None:
        self._state.set_attr("name", value)

    @property
    def notes(self) -> str | None:
        """Free text about the run."""
        return self._state.attributes["notes"]

    @notes.setter
    def notes(self, value: str | None) -> None:
        self._state.set_attr("notes", value)

    @property
    def tags(self) -> tuple[str, ...]:
        """Labels of the run, 1 to 64 characters each."""
        return tuple(self._state.attributes["tags"])

    @tags.setter
    def tags(self, value: Iterable[str]) -> None:
        self._state.set_attr("tags", value)

    @property
    def group(self) -> str:
        """The group that the run belongs to, "" where it has none."""
        return self._state.attributes["group"] or ""

    @property
    def job_type(self) -> str:
        """What the run does in its group ("train", "eval"), "" where it was not said."""
        return self._state.attributes["job_type"] or ""

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self._session.head.project

    @property
    def entity(self) -> str | None:
        """Who owns the run; None until a server that was not asked before has said it."""
        return self._state.entity

    @property
    def path(self) -> str:
        """`entity/project/id`; without the entity where none is known."""
        parts = (self.entity, self.project, self.id)
        return "/".join(part for part in parts if part)

    @property
    def url(self) -> str | None:
        """The run's page; None offline, and until the embedded server has been found."""
        project = self.project_url
        return project and f"{project}/runs/{self.id}"

    @property
    def project_url(self) -> str | None:
        """The project's page; None where `url` is."""
        base, entity = self._state.base_url, self.entity
        return f"{base}/{entity}/{self.project}" if base and entity else None

    @property
    def dir(self) -> str:
        """The folder for the run's files."""
        return str(self._state.files_dir)

    @property
    def start_time(self) -> float:
        """When the run started, unix seconds."""
        return self._state.started_at

    @property
    def settings(self) -> Settings:
        """The run's settings; frozen."""
        return self._session.settings

    @property
    def disabled(self) -> bool:
        """Whether the run records nothing at all."""
        return self._session.settings.mode == "disabled"

    @property
    def offline(self) -> bool:
        """Whether the run stays on this machine until `asyncwb sync`."""
        return self._session.settings.mode == "offline"

    @property
    def resumed(self) -> bool:
        """Whether the run went on from an earlier one."""
        return self._state.resumed

    async def __aenter__(self) -> AsyncRun:
        if self._state.finished:
            raise UsageError("the run has finished: start another one with asyncwb.init_async()")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # sync: self.finish(exit_code_of(error))
        # sync: drop
        with shielded_after(error):  # what cancelled the block shall not cancel its end
            await self.finish(exit_code_of(error))

    def __repr__(self) -> str:
        state = "finished" if self._state.finished else "running"
        return f"<{type(self).__name__} {self.path} ({state}, step {self.step})>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(
            "a live run cannot be pickled: log from a forked child directly, or start a run with "
            "the same id in the other process, "
            f"asyncwb.init(entity={self.entity!r}, project={self.project!r}, id={self.id!r})"
        )
