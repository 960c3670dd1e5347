"""The query API's classes where users of wandb look for them.

    from asyncwb.apis.public import Api, Run

`Run` here is what the server knows of a run; the one that a training loop logs to is
`asyncwb.Run`. The names with Async are the same classes for coroutines.
"""

from __future__ import annotations

from asyncwb.client.api import Api, Projects, Runs
from asyncwb.client.api_async import AsyncApi, AsyncProjects, AsyncRuns
from asyncwb.client.history import HistoryScan
from asyncwb.client.history_async import AsyncHistoryScan
from asyncwb.client.projects import Project, User
from asyncwb.client.public import PublicRun as Run
from asyncwb.client.public_async import AsyncPublicRun as AsyncRun

__all__ = [
    "Api",
    "AsyncApi",
    "AsyncHistoryScan",
    "AsyncProjects",
    "AsyncRun",
    "AsyncRuns",
    "HistoryScan",
    "Project",
    "Projects",
    "Run",
    "Runs",
    "User",
]
