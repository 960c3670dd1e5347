"""A page costs as many statements however long it is: nothing is read once a row."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from asyncwb.server.http.state import STATE
from asyncwb.server.runs import edit_requests
from asyncwb.server.runs.edits import Edit
from asyncwb.server.runs.sweeps import SweepEdit, create_sweep
from asyncwb.server.store.people.users import Role
from asyncwb.server.store.records import RunKey
from tests.fix_people import TEAM, People
from tests.server.graphql.asking import data

PERSON = """
id username email entity
apiKeys { edges { node { id name } } }
teams { edges { node { id name isTeam } } }
"""
PROJECTS = f"""
query ($first: Int) {{
  models(entityName: "lab", first: $first) {{
    edges {{ node {{ id readOnly user {{ {PERSON} }} entity {{ id isTeam }} }} }}
  }}
}}
"""
MEMBERS = """
query { entity(name: "lab") { id members { id name email role } invites { id email } } }
"""
USERS = f"query ($first: Int) {{ users(first: $first) {{ edges {{ node {{ {PERSON} }} }} }} }}"
REPORTS = f"""
query ($first: Int) {{
  project(entityName: "lab", name: "project0") {{
    allViews(first: $first) {{
      edges {{ node {{ id spec project {{ id entity {{ id }} }} user {{ {PERSON} }} }} }}
    }}
  }}
}}
"""
SWEEPS = """
query ($first: Int) {
  project(entityName: "lab", name: "project0") {
    totalSweeps
    sweeps(first: $first) {
      edges {
        node {
          id bestLoss runCount runCountExpected heartbeatAt
          project { id entity { id } } user { username }
        }
      }
    }
  }
}
"""
RUNS_OF_SWEEPS = """
query ($first: Int) {
  project(entityName: "lab", name: "project0") {
    runs(first: $first) { edges { node { id sweepName sweep { id state bestLoss } } } }
  }
}
"""


async def _fill(app: web.Application, people: People) -> None:
    """Make fifty more people in the team, each with a project and a report."""
    state, now = app[STATE], app[STATE].clock()
    team = await state.teams.find(TEAM)
    assert team is not None
    first, _ = await state.projects.create(TEAM, "project0", now)
    for number in range(50):
        user = await state.users.create(f"user{number}", f"key{number}" * 10, now)
        await state.teams.set_member(team.id, user.id, Role.MEMBER, now)
        await state.projects.create(TEAM, f"more{number}", now, user_id=user.id)
        await state.reports.create(
            first.id,
            user.id,
            now + number,
            type="runs",
            name=f"report{number}",
            display_name="",
            description=None,
            spec="{}",
        )


async def _search(app: web.Application, people: People) -> None:
    """Make fifty sweeps of one run each."""
    state, admin = app[STATE], people.users["admin"]
    edit = SweepEdit(config="{method: grid, metric: {name: loss}}")
    for number in range(50):
        sweep, _ = await create_sweep(state, admin, TEAM, "project0", edit)
        run = RunKey(TEAM, "project0", f"run{number}")
        await edit_requests.upsert(
            state, admin, run, Edit(sweep=sweep.sweep, summary={"loss": number})
        )


def _length(value: Any) -> int:
    """Return the length of the longest list within."""
    if isinstance(value, dict):
        return max(map(_length, value.values()), default=0)
    return max(len(value), *map(_length, value)) if isinstance(value, list) and value else 0


def _cost(people: People, query: str, /, **variables: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the answer to a query, and its statements at best.

    Two ways to the same kind of node share a statement only if both get there at the same time,
    and a key is looked up again after ten seconds: neither has to do with how many nodes there are,
    so one statement more or less says nothing, and one a row says it fifty times.
    """
    tries: list[list[str]] = []
    found: dict[str, Any] = {}
    for _ in range(10):
        with people.server.statements() as seen:
            found = data(people.server, query, people.headers("admin"), **variables)
        tries.append(seen)
    return found, min(tries, key=len)


def test_pages_of_two_and_of_fifty_cost_the_same(people: People) -> None:
    people.server.call(lambda app: _fill(app, people))
    for query in (PROJECTS, USERS, REPORTS):
        _, few = _cost(people, query, first=2)
        found, many = _cost(people, query, first=50)
        assert _length(found) >= 50
        assert max(len(few), len(many)) <= 7, (few, many)


def test_sweeps_cost_the_same_however_many(people: People) -> None:
    people.server.call(lambda app: _search(app, people))
    for query in (SWEEPS, RUNS_OF_SWEEPS):
        _, few = _cost(people, query, first=2)
        found, many = _cost(people, query, first=50)
        assert _length(found) >= 50
        assert max(len(few), len(many)) <= 10, (few, many)


def test_members_cost_the_same_however_many(people: People) -> None:
    _, few = _cost(people, MEMBERS)
    people.server.call(lambda app: _fill(app, people))
    found, many = _cost(people, MEMBERS)
    assert len(found["entity"]["members"]) >= 54
    assert max(len(few), len(many)) <= 8, many
