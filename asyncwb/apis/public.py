"""The query API's classes where users of wandb look for them.

    from asyncwb.apis.public import Api, Run

`Run` here is what the server knows of a run; the one that a training loop logs to is
`asyncwb.Run`. The names with Async are the same classes for coroutines.
"""

from __future__ import annotations

from asyncwb.client.query._sync.api import Api
from asyncwb.client.query._sync.files import File, Files
from asyncwb.client.query._sync.history import HistoryScan
from asyncwb.client.query._sync.projects import Project, Projects
from asyncwb.client.query._sync.reports import Report as BetaReport
from asyncwb.client.query._sync.reports import Reports
from asyncwb.client.query._sync.run import PublicRun as Run
from asyncwb.client.query._sync.runs import Runs
from asyncwb.client.query._sync.summary import RunSummary
from asyncwb.client.query._sync.sweeps import Sweep, Sweeps
from asyncwb.client.query._sync.teams import Member, Team
from asyncwb.client.query._sync.users import User
from asyncwb.client.query.api import AsyncApi
from asyncwb.client.query.console import ConsoleLogLine
from asyncwb.client.query.files import AsyncFile, AsyncFiles
from asyncwb.client.query.history import AsyncHistoryScan
from asyncwb.client.query.projects import AsyncProject, AsyncProjects
from asyncwb.client.query.reports import AsyncReport as AsyncBetaReport
from asyncwb.client.query.reports import AsyncReports
from asyncwb.client.query.rows.exports import DownloadHistoryResult
from asyncwb.client.query.run import AsyncPublicRun as AsyncRun
from asyncwb.client.query.runs import AsyncRuns
from asyncwb.client.query.summary import AsyncRunSummary
from asyncwb.client.query.sweeps import AsyncSweep, AsyncSweeps
from asyncwb.client.query.teams import AsyncMember, AsyncTeam
from asyncwb.client.query.users import AsyncUser
from asyncwb.errors import IncompleteRunHistoryError

__all__ = [
    "Api",
    "AsyncApi",
    "AsyncBetaReport",
    "AsyncFile",
    "AsyncFiles",
    "AsyncHistoryScan",
    "AsyncMember",
    "AsyncProject",
    "AsyncProjects",
    "AsyncReports",
    "AsyncRun",
    "AsyncRunSummary",
    "AsyncRuns",
    "AsyncSweep",
    "AsyncSweeps",
    "AsyncTeam",
    "AsyncUser",
    "BetaReport",
    "ConsoleLogLine",
    "DownloadHistoryResult",
    "File",
    "Files",
    "HistoryScan",
    "IncompleteRunHistoryError",
    "Member",
    "Project",
    "Projects",
    "Reports",
    "Run",
    "RunSummary",
    "Runs",
    "Sweep",
    "Sweeps",
    "Team",
    "User",
]
