"""The summary of a run that is read back: a dict whose changes can be sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asyncwb.client.query.assigned import AssignedDict
from asyncwb.client.query.edits import RunEdit, send
from asyncwb.client.query.requests.query import Connection
from asyncwb.client.waiting import wait_async
from asyncwb.errors import LogTypeError
from asyncwb.typing import JsonObject
from asyncwb.wire.changes import Changes
from asyncwb.wire.paths import RunPath
from asyncwb.wire.rows.values import dumps, loads, to_wire, to_wire_again


class AsyncRunSummary(AssignedDict):
    """The last value of each metric, or what its definition asks for; nested like the keys.

        run.summary["best"] = 0.9          # `run.summary.best = 0.9` is the same
        await run.summary.update()         # or `await run.update()`, with whatever else changed

    Made by the run. A key is an attribute, too. Mutable state: the dict; `_sent`, how it was when
    it was loaded or sent last, as JSON; and the keys that were assigned since.
    """

    def __init__(
        self, client: Connection, path: RunPath, storage_id: str, values: Mapping[str, object]
    ) -> None:
        super().__init__(values)
        self._client = client
        self._path = path
        self._storage_id = storage_id
        self._sent = self.written()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._client, self._path, self._storage_id, dict(self))

    async def update(  # type: ignore[override]  # W&B's: it sends, where a dict's would not
        self, key_vals: Mapping[str, object] | None = None, overwrite: bool = True
    ) -> None:
        """Take values in and send what was changed to the server, if anything was.

        What was assigned is sent, also where it is the value that was loaded. What was not changed
        here is not sent, so that it stays what it has become meanwhile. (At a W&B server, which
        takes summaries as a whole, the rest is read once more right before.)

        Args:
            key_vals: values to set first; as for `run.log`, but whole where they are nested.
            overwrite: whether they replace values that are there already.

        Raises:
            LogTypeError: a value that no summary can hold; nothing was sent.
            CommError: the server refuses, or does not answer.
        """
        if odd := [key for key in key_vals or {} if not isinstance(key, str)]:
            raise LogTypeError(f"a key of a summary is a text, not {odd[0]!r}: nothing was sent")
        fresh = {key: to_wire(value, key) for key, value in (key_vals or {}).items()}
        super().update({k: v for k, v in fresh.items() if overwrite or k not in self})
        text, assigned = self.written(), self.assigned()
        if changes := self.changes(text, assigned):
            edit = RunEdit(summary=changes)
            await wait_async(send(self._client, self._path, self._storage_id, edit))
            self.settle(text, assigned)

    def written(self) -> str:
        """Return the summary as JSON."""
        return dumps({key: to_wire_again(value, key) for key, value in self.items()}).decode()

    def changes(self, text: str, assigned: Collection[str]) -> Changes:
        """Return what the server is to be told of the summary, written as `text`."""
        same = text == self._sent and not assigned
        return Changes({}) if same else Changes.between(loads(self._sent), loads(text), assigned)

    def settle(self, text: str, assigned: frozenset[str]) -> None:
        """Take note that the server was told of all that is in `text`, and was assigned."""
        self._sent = text
        self.settled(assigned)

    @property
    def _json_dict(self) -> JsonObject:  # programs written for W&B reach for it
        return dict(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"the summary has no {name!r}")
        del self[name]
