"""The summary of a run that is read back, async: a dict whose changes can be sent.

The sync face is generated from this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncwb.client import documents
from asyncwb.client.query import Connection
from asyncwb.client.waiting import wait_async
from asyncwb.errors import LogTypeError
from asyncwb.typing import JsonObject
from asyncwb.wire.values import dumps, to_wire, to_wire_again


class AsyncRunSummary(dict[str, Any]):
    """The last value of each metric, or what its definition asks for; nested like the keys.

        run.summary["best"] = 0.9
        await run.summary.update()         # or `await run.update()`, with whatever else changed

    Made by the run. A key is an attribute, too. Mutable state: the dict; `_sent`, how it was when
    it was loaded or sent last.
    """

    def __init__(self, client: Connection, storage_id: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._client = client
        self._storage_id = storage_id
        self.settle()

    async def update(  # type: ignore[override]  # W&B's: it sends, where a dict's would not
        self, key_vals: Mapping[str, Any] | None = None, overwrite: bool = True
    ) -> None:
        """Take values in and send the whole summary to the server, if anything changed.

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
        if (text := self.changed()) is not None:
            ask = self._client.ask(documents.UPDATE_RUN, id=self._storage_id, summary=text)
            await wait_async(ask)
            self.settle()

    def changed(self) -> str | None:
        """Return the summary as JSON where it is not what the server was told last."""
        text = self._text()
        return None if text == self._sent else text

    def settle(self) -> None:
        """Take note that the server has the summary as it is."""
        self._sent = self._text()

    def _text(self) -> str:
        return dumps({key: to_wire_again(value, key) for key, value in self.items()}).decode()

    @property
    def _json_dict(self) -> JsonObject:  # programs written for W&B reach for it
        return dict(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None
