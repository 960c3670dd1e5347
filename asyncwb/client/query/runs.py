"""The runs of a project: filtered, sorted, and their histories together.

Source: https://docs.wandb.ai/ref/python/public-api/runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_runs, pages
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.rows.dataframes import check_format, joined
from asyncwb.client.query.run import AsyncPublicRun
from asyncwb.errors import ArgumentError
from asyncwb.tasks import gather
from asyncwb.typing import JsonObject
from asyncwb.wire.paths import ProjectPath
from asyncwb.wire.rows.keys import STEP
from asyncwb.wire.rows.values import dumps

DEFAULT_ORDER: Final = "+created_at"

_AT_ONCE: Final = 8
"""histories on their way at a time"""


class AsyncRuns(AsyncPages[AsyncPublicRun]):
    """The runs of a project: a lazy list. Made by `AsyncApi.runs()`.

        async for run in api.runs("mnist", {"config.lr": {"$gt": 0.01}}):
            print(run.name, run.summary.get("loss"))

    Args:
        client: the server.
        path: the project.
        filters: which runs, in MongoDB's query language; None is all.
        order: by what they are sorted, with "+" (ascending) or "-" (descending) before it;
            without a sign it is descending.
        per_page: how many one question gives.
        include_sweeps: whether runs that belong to a sweep are among them.
        lazy: whether the keys of the runs' histories are left to the runs' own loading.
    """

    def __init__(
        self,
        client: Connection,
        path: ProjectPath,
        filters: Mapping[str, object] | None = None,
        order: str = DEFAULT_ORDER,
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> None:
        self.filters: JsonObject = dict(filters or {})
        self.order = order or DEFAULT_ORDER
        text = as_json({} if filters is None else filters, include_sweeps)
        self._fixed = {
            "filters": text,
            "order": with_sign(self.order),
            "perPage": per_page,
            "sweeps": include_sweeps,
            "keys": not lazy,
        }
        super().__init__(
            pages(client, of_runs, path, self._fixed),
            lambda entry: AsyncPublicRun(
                client, entry["entity"], path.project, entry["name"], entry, include_sweeps
            ),
            per_page,
        )
        self._path = path

    async def upgrade_to_full(self) -> None:
        """Load what lazy lists leave out: of the runs that are loaded, and of those to come.

        The loaded ones are loaded whole, a question or two a run; those to come bring the keys of
        their histories with them. The async face asks for eight runs at a time.

        Raises:
            CommError: the server does not answer.
        """
        self._fixed["keys"] = True
        self._ahead = None  # a page on its way would come without
        # sync: for run in self.objects: run.load()
        # sync: drop
        for at in range(0, len(self.objects), _AT_ONCE):
            await gather([run.load for run in self.objects[at : at + _AT_ONCE]])

    async def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        format: str = "default",
        stream: str = "default",
    ) -> Any:
        """Read a sample of every run's history; each row says whose it is by its `run_id`.

        Returns a list of dicts, or a DataFrame with its columns in the order of their names. The
        async face reads eight runs at a time.

        Args:
            samples: how many rows a run at most, >= 1.
            keys: only these, and only rows that have all of them.
            x_axis: with `keys`, one more key that a row must have.
            format: "default", a list of dicts; "pandas" or "polars", a DataFrame.
            stream: "default", the metrics that were logged; "system", the machine's.

        Raises:
            ValueError: an argument at fault.
            UnsupportedError: the library for the format is not installed.
            CommError: the server does not answer.

        Source: https://docs.wandb.ai/ref/python/public-api/runs (`histories`).
        """
        check_format(format)
        found: list[tuple[str, list[JsonObject]]] = []
        # sync: asked = (samples, keys, x_axis, False, stream)
        # sync: found += [(run.id, run.history(*asked)) for run in self]
        # sync: drop
        for at in range(0, await self.len(), _AT_ONCE):
            runs = await self.get(slice(at, at + _AT_ONCE))
            reads = [partial(run.history, samples, keys, x_axis, False, stream) for run in runs]
            found += zip((run.id for run in runs), await gather(reads), strict=True)
        return joined(found, format)

    def __repr__(self) -> str:
        return f"<Runs {self._path}>"


def with_sign(order: str) -> str:
    """Write an order with its sign: without one it is descending."""
    return order if order.startswith(("+", "-")) else f"-{order}"


def as_json(filters: Mapping[str, object], include_sweeps: bool = True) -> str:
    """Write filters as JSON; raises ValueError for what is no mapping or no JSON."""
    if not isinstance(filters, Mapping):
        raise ArgumentError(f"filters is a dict in MongoDB's query language, not {filters!r}")
    wanted: JsonObject = dict(filters)
    if not include_sweeps:
        alone = {"sweep": None}
        wanted = {"$and": [wanted, alone]} if wanted else alone
    try:
        return dumps(wanted).decode()
    except TypeError as error:
        raise ArgumentError(f"the filters {filters!r} are not JSON: {error}") from error
