"""What this machine has of a run, for going on with it where no server is asked.

Offline, the folders of a run's earlier processes are all that is known of it: their rows and events
are folded as a server would fold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from asyncwb.engine.frames.pipeline import FoundSegments, Reader
from asyncwb.engine.frames.source import JournalSource, SealedSource
from asyncwb.engine.journal.folder import RunFolder, folders_of
from asyncwb.settings import Settings
from asyncwb.typing import JsonObject
from asyncwb.wire.rows.frames import Frame, decode
from asyncwb.wire.stream import StreamHead
from asyncwb.wire.summary.fold import Fold

_ATTRIBUTES: Final = ("name", "tags", "notes", "group", "job_type")


def read_local(settings: Settings, head: StreamHead) -> JsonObject | None:
    """Read the run's folders; None where there is none. Blocks while it reads every row.

    Returns "last_step", "config", "fold" (its state), "name", "tags", "notes", "group" and
    "job_type", as `resume.find_run` does. What cannot be read is passed over: `sync` tells of it.
    """
    fold, config, attributes, found = Fold(), dict[str, object](), dict[str, object](), False
    for folder, described in folders_of(settings.runs_dir, head.project, head.run):
        if described.entity != head.entity and None not in (described.entity, head.entity):
            continue
        for frame in _frames(folder):
            found = True
            fold.apply(frame.table, frame.events, described.writer)
            for _, event in frame.events:
                _tell(event, config, attributes)
    if not found:
        return None
    state = fold.state()
    return {**attributes, "config": config, "fold": state, "last_step": state["step"]}


def _frames(folder: RunFolder) -> Iterator[Frame]:
    # Whoever logs to it may go on meanwhile: an end that is not written yet is no damage.
    segments = FoundSegments(folder.journal, live=True)
    source = SealedSource(folder.sealed, JournalSource(Reader(segments, 0)), 0)
    while prepared := source.next():
        yield decode(prepared.data, max_raw=prepared.raw)


def _tell(event: Mapping[str, Any], config: JsonObject, attributes: JsonObject) -> None:
    match event.get("t"):
        case "start":
            config |= event.get("config") or {}
            attributes |= {name: event[name] for name in _ATTRIBUTES if event.get(name)}
        case "attrs":
            attributes |= {name: event[name] for name in _ATTRIBUTES if name in event}
        case "config":
            config |= event.get("set") or {}
            for key in event.get("delete") or ():
                config.pop(key, None)
