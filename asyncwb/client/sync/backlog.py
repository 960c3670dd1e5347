"""What has not left this machine: run folders of which no server is known to have all.

Rows, changes (of the config, the summary, the run's end, ...) and saved files. Reads only what lies
on disk, asks no server and changes nothing, so it may be called at any time, also while runs log. A
row that a server acknowledged a moment ago can still be counted here, since
a journal's segment is deleted as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyncwb.engine.frames.pipeline import FoundSegments, Reader
from asyncwb.engine.frames.source import JournalSource, SealedSource, rest_of
from asyncwb.engine.journal.folder import RunFolder, run_folders
from asyncwb.engine.journal.journal import find_segments
from asyncwb.engine.uploads.saved import Saved
from asyncwb.errors import Error


@dataclass(frozen=True, slots=True)
class UnsentRun:
    """One run folder that `sync` would have something to send from.

    `run`: "entity/project/id" as far as it is known; `mode`: "online" or "offline"; `rows`: rows
    on disk that no server is known to have; `size`: bytes on disk; `started_at`, `written_at`: unix
    seconds of its start (0.0: not known) and of the last write; `live`: a process is at work on it,
    which logs or sends; `error`: what of it cannot be read, or None; `files`: saved files that no
    server has; `changes`: what else was said of the run that no server is known to have (its start,
    its end, changes of config and summary, ...).
    """

    path: Path
    run: str
    mode: str
    rows: int
    size: int
    started_at: float
    written_at: float
    live: bool
    error: str | None
    files: int = 0
    changes: int = 0


def unsent(runs: Path) -> list[UnsentRun]:
    """List the run folders in `runs` with something left to send, oldest first.

    Blocks while it checks every record on disk, about 0.5 us each. A folder that is damaged is
    listed with what could be read and `error`; one that vanishes meanwhile is left out.
    """
    found = [look(path) for path in run_folders(runs)]
    return sorted([run for run in found if run is not None], key=lambda run: run.started_at)


def look(path: Path) -> UnsentRun | None:
    """Look into one run folder; None where nothing of it is left to send."""
    folder = RunFolder(path)
    try:
        stats = [f.stat() for f in (*find_segments(folder.journal), *folder.sealed.glob("*"))]
        written_at = max(stat.st_mtime for stat in [*stats, (path / "run.json").stat()])
        live = _is_live(folder)
        mode, run, started_at, unreadable = _described(folder)
        rows, changes, damage = _count(folder, live)
        files, unreadable_files = _count_files(folder)
    except FileNotFoundError:  # synced or trimmed while we looked
        return None
    if not (rows or changes or damage or files or unreadable_files):
        return None
    return UnsentRun(
        path=path,
        run=run,
        mode=mode,
        rows=rows,
        size=sum(stat.st_size for stat in stats),
        started_at=started_at,
        written_at=written_at,
        live=live,
        error=unreadable or damage or unreadable_files,
        files=files,
        changes=changes,
    )


def _described(folder: RunFolder) -> tuple[str, str, float, str | None]:
    try:
        told = folder.describe()
    except Error as error:
        return "?", folder.path.name, 0.0, error.message
    run = "/".join(part for part in (told.entity, told.project, told.run) if part)
    return told.mode, run, told.started_at, None


def _count_files(folder: RunFolder) -> tuple[int, str | None]:
    try:
        waiting = Saved(folder).waiting()
    except Error as error:
        return 0, error.message
    refused = (mark.error for file in waiting for mark in file.marks.values() if mark.error)
    return len(waiting), next((f"a file is not sent: {reason}" for reason in refused), None)


def _is_live(folder: RunFolder) -> bool:
    if not (folder.path / "lock").exists():
        return False
    free = folder.lock()
    folder.unlock()
    return not free


def _count(folder: RunFolder, live: bool) -> tuple[int, int, str | None]:
    """Count the rows and changes in sealed frames and in the journal, and tell the first damage."""
    synced = max((seq for seq in folder.read_synced().values() if isinstance(seq, int)), default=0)
    segments, rows, changes = FoundSegments(folder.journal, live=live), 0, 0
    source = SealedSource(folder.sealed, JournalSource(Reader(segments, synced)), synced)
    while prepared := source.next():
        if prepared.first_seq < synced and not prepared.lost:  # of this one a server has the start
            prepared = rest_of(prepared, synced)
        rows += prepared.rows
        changes += 0 if prepared.lost else prepared.count - prepared.rows
    damage = [*source.damage, *segments.damage.values()]
    return rows, changes, damage[0] if damage else None
