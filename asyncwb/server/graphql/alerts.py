"""What a run's own code raised the alarm about."""

from __future__ import annotations

from typing import Final

from ariadne import ObjectType

from asyncwb.server.graphql.execution import ids
from asyncwb.server.graphql.execution.context import Info, refused
from asyncwb.server.store.records import StoredRun
from asyncwb.server.store.runs import alerts as store
from asyncwb.server.store.runs.alerts import StoredAlert

MAX_ALERTS: Final = 100

run_type = ObjectType("Run")
alert_type = ObjectType("RunAlert")
BINDABLES = [run_type, alert_type]


@run_type.field("alerts")
async def _alerts(run: StoredRun, info: Info, first: int | None = None) -> list[StoredAlert]:
    if first is not None and first < 1:
        raise refused("bad_page", "Ask for one alert or more.")
    size = min(first or MAX_ALERTS, MAX_ALERTS)
    return await store.latest(info.context.state.database, run.id, size)


@alert_type.field("id")
def _id(alert: StoredAlert, _: Info) -> str:
    return ids.encode("Alert", alert.id)
