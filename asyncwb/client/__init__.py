"""The faces: what users hold in their hands, async and sync.

    live/      a run that logs
    query/     what a server knows, to read and to edit
    sync/      what earlier processes left on this machine
    waiting    how a face waits for the engine: the one line in which async and sync differ

In `live` and `query` the async file is the source. Its sync twin is generated into `_sync/` beside
it by `.ci/unasync.py`, committed, and checked for drift.
"""
