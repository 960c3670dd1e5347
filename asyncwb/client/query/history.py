"""Reading a run's history: table by table, or row by row.

Rows come as frames where the server offers them, in which a NaN is a float; else by GraphQL, page
by page.

A batch of frames is always on its way while the one before is read. A connection that is cut is
opened again after the last row that came, which loses and repeats nothing, since rows come in
ascending order of step and once a step.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future

from asyncwb.client.query.requests.query import Connection
from asyncwb.client.query.rows.download import Download
from asyncwb.client.query.rows.formats import HistoryQuery, Names, as_dicts, matching
from asyncwb.client.query.rows.json_rows import having, picked, read_row
from asyncwb.client.waiting import in_thread, wait_async
from asyncwb.engine.notices import caution
from asyncwb.errors import CommError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import RunPath
from asyncwb.wire.rows import frames
from asyncwb.wire.rows.columns import Table
from asyncwb.wire.rows.values import spelled


class AsyncTables:
    """Reads a selection of a run's history in pieces. `close` it, whatever happens.

    Mutable state: `_download` and `_ahead`, the batch on its way; `_last_step`, the step of the
    last row that came; `_failed`, whether the connection was cut and nothing came since.
    """

    def __init__(self, connection: Connection, path: RunPath, selection: HistoryQuery) -> None:
        self._connection = connection
        self._path = path
        self._selection = selection
        self._download: Download | None = None
        self._ahead: Future[list[bytes]] | None = None
        self._last_step: int | None = None
        self._failed = False

    async def next(self) -> list[Table] | None:
        """Return the next tables, rows ascending by step; None after the last.

        Raises:
            CommError: the connection was cut twice with nothing between, or the server refused.
            FrameError: what the server sent is damaged.
        """
        while True:
            download, ahead = self._open()
            try:
                batch = await wait_async(ahead)
            except CommError as error:
                self._cut(error)
                continue
            if not batch:
                return None
            self._ahead = download.next()
            self._failed = False
            return await in_thread(self._decode, batch)

    def close(self) -> None:
        """Give the connection back; never waits."""
        if self._download is not None:
            self._download.close()
        self._download = self._ahead = None

    def _open(self) -> tuple[Download, Future[list[bytes]]]:
        if self._download is None or self._ahead is None:
            start = None if self._last_step is None else self._last_step + 1
            params = self._selection.params(start)
            self._download = Download(self._connection, self._path, params, afresh=self._failed)
            self._ahead = self._download.next()
        return self._download, self._ahead

    def _cut(self, error: CommError) -> None:
        """Get ready to go on after the last row, or give up."""
        self.close()
        sampled = self._selection.sampled_by_server and self._last_step is not None
        if error.status is not None or self._failed or sampled:
            raise error
        self._failed = True

    def _decode(self, batch: list[bytes]) -> list[Table]:
        decoded = [frames.decode(frame) for frame in batch]
        for frame in decoded:
            if frame.lost:  # the server's store is damaged there
                reason = frame.events[0][1]["reason"]
                caution(f"the history is not whole; its server's store is damaged: {reason}")
        tables = [frame.table for frame in decoded]
        self._last_step = next((int(t.steps[-1]) for t in reversed(tables) if t.n), self._last_step)
        return [matching(table, self._selection.names) for table in tables]


class AsyncRowPages:
    """Reads a selection of a run's history by GraphQL: as many steps at a time as a page has rows.

    A page is never sampled that way, since there is one row a step. The next page is on its way
    while the last one is read.

    Mutable state: `_at`, the first step that was not asked for; `_end`, the first one that is not
    wanted, once `_end_known`; `_ahead`, the page on its way.
    """

    def __init__(
        self, connection: Connection, path: RunPath, selection: HistoryQuery, page_size: int
    ) -> None:
        self._connection = connection
        self._path = path
        self._names: Names = selection.names
        self._page_size = page_size
        self._at = selection.min_step or 0
        self._end: int | None = selection.max_step
        self._end_known = False
        self._ahead: Future[JsonObject] | None = None

    async def next(self) -> list[JsonObject] | None:
        """Return the next rows, ascending by step, perhaps none of them; None after the last."""
        if not self._end_known:
            await self._find_end()
        page = self._ask()
        if page is None:
            return None
        found = await wait_async(page)
        self._ahead = None
        self._ask()
        rows = map(read_row, found["rows"] or ())
        return [row for row in rows if having(row, self._names)]

    async def _find_end(self) -> None:
        run = await wait_async(self._connection.ask_run(self._path, query_documents.HISTORY_KEYS))
        last = (run["historyKeys"] or {}).get("lastStep")
        behind = 0 if last is None else int(last) + 1
        self._end = behind if self._end is None else min(self._end, behind)
        self._end_known = True

    def _ask(self) -> Future[JsonObject] | None:
        assert self._end is not None
        if self._ahead is None and self._at < self._end:
            until = min(self._at + self._page_size, self._end)
            window = {"minStep": self._at, "maxStep": until, "samples": self._page_size}
            self._ahead = self._connection.ask_run(
                self._path, query_documents.HISTORY_PAGE, **window
            )
            self._at = until
        return self._ahead


class AsyncHistoryScan:
    """Every row of a history as a dict, ascending by step; made by `run.scan_history()`.

        async for row in run.scan_history(keys=["loss"]):
            print(row["loss"])

    Each loop over it reads the history anew. Memory stays bounded, however long the history is.
    """

    def __init__(
        self,
        connection: Connection,
        path: RunPath,
        selection: HistoryQuery,
        page_size: int,
        *,
        nan_as_string: bool = False,
    ) -> None:
        self._connection = connection
        self._path = path
        self._selection = selection
        self._page_size = page_size
        self._nan_as_string = nan_as_string
        self._rows: AsyncGenerator[JsonObject, None] | None = None

    async def __aiter__(self) -> AsyncGenerator[JsonObject, None]:
        if not await wait_async(self._connection.native()):
            pages = AsyncRowPages(self._connection, self._path, self._selection, self._page_size)
            while (rows := await pages.next()) is not None:
                # sync: yield from self._shown(picked(rows, self._selection.names))
                # sync: drop
                for row in self._shown(picked(rows, self._selection.names)):
                    yield row
            return
        tables = AsyncTables(self._connection, self._path, self._selection)
        try:
            while (batch := await tables.next()) is not None:
                for table in batch:
                    for start in range(0, table.n, self._page_size):
                        page = table.slice(start, start + self._page_size)
                        # sync: yield from self._shown(as_dicts(page, self._selection.names))
                        # sync: drop
                        for row in self._shown(as_dicts(page, self._selection.names)):
                            yield row
        finally:
            tables.close()

    def _shown(self, rows: Iterable[JsonObject]) -> Iterable[JsonObject]:
        return map(spelled, rows) if self._nan_as_string else rows

    async def __anext__(self) -> JsonObject:
        if self._rows is None:
            self._rows = aiter(self)
        return await anext(self._rows)
