"""Edits of a run that is read back: what was changed is sent, and nothing else.

Our own server applies the changes to what it has by then, in one transaction. A W&B server takes
config, summary and tags as a whole only, so they are read once more right before; what somebody
writes within those milliseconds is lost there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from asyncwb.client.query.requests.query import Connection
from asyncwb.engine.session import Worker
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.changes import Changes
from asyncwb.wire.paths import RunPath
from asyncwb.wire.rows.values import dumps, loads
from asyncwb.wire.wandb import unwrap, wrap

_NOTHING = Changes({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEdit:
    """What is to change in a run; `texts` are variables of the documents that change runs."""

    texts: Mapping[str, str] = field(default_factory=dict)
    config: Changes = _NOTHING
    summary: Changes = _NOTHING
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()

    def __bool__(self) -> bool:
        tags = self.add_tags or self.remove_tags
        return bool(self.texts or self.config or self.summary or tags)


def send(client: Connection, path: RunPath, storage_id: str, edit: RunEdit) -> Future[None]:
    """Have a run changed."""

    async def work(worker: Worker) -> None:
        if await client.speaks_natively(worker):
            document, variables = query_documents.CHANGE_RUN, _changes(edit)
        else:
            named = edit.config or edit.summary or edit.add_tags or edit.remove_tags
            run = (
                await client.query_run(worker, path, query_documents.RUN_DOCUMENTS, {})
                if named
                else {}
            )
            document, variables = query_documents.UPDATE_RUN, _documents(edit, run)
        await client.query(worker, document, {"id": storage_id, **edit.texts, **variables})

    return client.submit(work)


def _changes(edit: RunEdit) -> JsonObject:
    changes = {"config": edit.config, "summary": edit.summary}
    written = {name: dumps(c.as_json()).decode() for name, c in changes.items() if c}
    tags = {"addTags": list(edit.add_tags), "removeTags": list(edit.remove_tags)}
    return {**written, **{name: some for name, some in tags.items() if some}}


def _documents(edit: RunEdit, run: JsonObject) -> JsonObject:
    """Write out the documents and tags that the changes lead to."""
    documents: JsonObject = {}
    if edit.config:
        config = edit.config.applied(unwrap(read_object(run["config"])))
        documents["config"] = dumps(wrap(config)).decode()
    if edit.summary:
        summary = edit.summary.applied(read_object(run["summaryMetrics"]))
        documents["summary"] = dumps(summary).decode()
    if edit.add_tags or edit.remove_tags:
        kept = [tag for tag in run["tags"] or () if tag not in edit.remove_tags]
        documents["tags"] = list(dict.fromkeys([*kept, *edit.add_tags]))
    return documents


def read_object(value: str | JsonObject | None) -> JsonObject:
    """Read a JSON object that came as text, as it is, or not at all."""
    return dict(loads(value) if isinstance(value, str) else value or {})
