"""The query API's classes where users of wandb look for them.

    from asyncwb.apis.public import Api, Run

`Run` here is what the server knows of a run; the one that a training loop logs to is
`asyncwb.Run`. The names with Async are the same classes for coroutines.
"""

from __future__ import annotations

from asyncwb.client.api import Api
from asyncwb.client.api_async import AsyncApi
from asyncwb.client.console import ConsoleLogLine
from asyncwb.client.exports import DownloadHistoryResult
from asyncwb.client.files import File, Files
from asyncwb.client.files_async import AsyncFile, AsyncFiles
from asyncwb.client.history import HistoryScan
from asyncwb.client.history_async import AsyncHistoryScan
from asyncwb.client.projects import Project, Projects
from asyncwb.client.projects_async import AsyncProject, AsyncProjects
from asyncwb.client.public import PublicRun as Run
from asyncwb.client.public_async import AsyncPublicRun as AsyncRun
from asyncwb.client.reports import Report as BetaReport
from asyncwb.client.reports import Reports
from asyncwb.client.reports_async import AsyncReport as AsyncBetaReport
from asyncwb.client.reports_async import AsyncReports
from asyncwb.client.runs import Runs
from asyncwb.client.runs_async import AsyncRuns
from asyncwb.client.summary_edit import RunSummary
from asyncwb.client.summary_edit_async import AsyncRunSummary
from asyncwb.client.sweeps import Sweep, Sweeps
from asyncwb.client.sweeps_async import AsyncSweep, AsyncSweeps
from asyncwb.client.teams import Member, Team
from asyncwb.client.teams_async import AsyncMember, AsyncTeam
from asyncwb.client.users import User
from asyncwb.client.users_async import AsyncUser
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
