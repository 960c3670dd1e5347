"""Importing a TensorBoard folder anew, where a later session replaced what an import had brought.

A run gives no single row back. So the whole history of the run is dropped, and the files are sent
once more, under writers of the next generation:

    sessions-<n>-<which>   the rows of generation n were sent with these sessions known
    again-<n>              generation n: 0 begun, 1 the history before it is dropped, 2 all of it
                           is here

A writer `again-<n>` is at work from before the history is dropped until all is sent, so that a run
whose import was cut off between reads "running", then "crashed", and never "finished". Importing
the folder again goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from asyncwb.importers.items import Event, Part, RemotePart, pack
from asyncwb.importers.target import Target
from asyncwb.importers.tensorboard_logs import FilePart
from asyncwb.importers.tensorboard_run import TensorboardRun
from asyncwb.wire.paths import RunPath
from asyncwb.wire.stream import StreamHead

Parts: TypeAlias = Sequence[Part | RemotePart]

_START: Final[Event] = {"t": "start", "config": {}, "resume": "must", "joins": True}
_IMPORTS: Final = ("again-", "sessions-", "tail-", "end-", "live-")
"""how the names of writers begin that are an import's, beside those of files"""
_BEGUN, _DROPPED = 1, 2


class Anew:
    """What was imported of one folder, and whether it still holds.

    Args:
        source: the folder; its generation is set here.
        target: the server.
        path: the run.
        say: told in a line before anything is dropped.

    Mutable state: `_stage`, how far the present generation is (0: it is the first one), `_settled`,
    the sessions that were looked into.
    """

    def __init__(
        self, source: TensorboardRun, target: Target, path: RunPath, say: Callable[[str], None]
    ) -> None:
        self._source = source
        self._target = target
        self._path = path
        self._say = say
        self._stage = 0
        self._settled: str | None = None
        self.note: str | None = None
        """what to say where replaced values have to stay"""

    @property
    def is_again(self) -> bool:
        """Whether the server has been told that all of it is sent anew."""
        return self._stage > 0

    async def find(self) -> None:
        """See which generation the server has."""
        while stage := await self._target.next_seq(self._again(self._source.generation + 1)):
            self._source.generation += 1
            self._stage = stage

    async def settle(self, parts: Parts, *, media: bool) -> Parts:
        """Drop what later sessions replaced, where the server has any of it; returns the parts that
        are to be sent.

        Raises:
            CommError: the server refuses it, or does not answer.
        """
        if self._stage == _BEGUN:
            return await self._drop(media=media)
        sessions = self._source.sessions
        if sessions is None or sessions == self._settled:
            return parts
        if not await self._target.next_seq(self._known(sessions)):
            if await self._has_replaced(parts):
                if not await self._is_ours():
                    self._settled = sessions
                    self.note = (
                        "values that a later session replaced stay in the run, which has rows of "
                        "another origin as well: import the folder into a run of its own"
                    )
                    return parts
                self._source.generation += 1
                await self._send(self._again(self._source.generation), 0, _START)
                parts = await self._drop(media=media)
            start = {**_START, "resume": "allow"}
            await self._send(self._known(sessions), 0, start, {"t": "leave"})
        self._settled = sessions
        return parts

    async def beat(self) -> None:
        """Say that the import is at work, where it sends a run anew."""
        if self._stage == _DROPPED:
            await self._target.next_seq(self._again(self._source.generation))

    async def end(self) -> None:
        """Say that all is sent."""
        if self._stage == _DROPPED:
            await self._send(self._again(self._source.generation), _DROPPED, {"t": "leave"})
            self._stage += 1

    async def _drop(self, *, media: bool) -> Parts:
        self._say(
            f"{self._path}: a later session replaced what an earlier import had brought. Its rows "
            "are dropped and imported anew; should that be cut off, import the folder again"
        )
        await self._target.drop_history(self._path)
        await self._send(self._again(self._source.generation), _BEGUN, {"t": "dropped"})
        self._stage = _DROPPED
        return await self._source.parts(media=media)

    async def _has_replaced(self, parts: Parts) -> bool:
        for part in parts:
            if isinstance(part, FilePart):
                count = await self._target.next_seq(self._head(part.writer))
                if count and await asyncio.to_thread(part.has_replaced, count):
                    return True
        return False

    async def _is_ours(self) -> bool:
        ours = self._source.writers()
        if self._source.generation:
            ours.add("")  # what a drop leaves stands under no name
        return all(
            name in ours or name.startswith(_IMPORTS)
            for name in await self._target.writers(self._path)
        )

    def _again(self, generation: int) -> StreamHead:
        return self._head(f"again-{generation}")

    def _known(self, sessions: str) -> StreamHead:
        return self._head(f"sessions-{self._source.generation}-{sessions}")

    def _head(self, writer: str) -> StreamHead:
        return StreamHead(self._path.entity, self._path.project, self._path.run, writer)

    async def _send(self, head: StreamHead, first: int, *events: Event) -> None:
        await self._target.send(head, pack(first, list(events)).encode())
