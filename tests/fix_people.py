"""People of every role around one team, each with a key, and projects for them to try.

ROLES                   who there is; two of them have no good key
people.headers(role)    what lets (or does not let) this role in
people.project("private" or "public")    a fresh project of the team with the run "r1"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from asyncwb.server.http.auth import new_token
from asyncwb.server.http.state import STATE
from asyncwb.server.store.people.users import Role, User
from asyncwb.server.store.records import RunKey

if TYPE_CHECKING:  # pytest must be the first to import what holds fixtures
    from tests.fix_server import ServerHandle

TEAM: Final = "lab"
ROLES: Final = (
    *("anonymous", "wrong key", "stranger", "viewer", "member"),
    *("manager", "service", "admin"),
)
"""`manager` is an admin of the team, `admin` one of the server and in no team"""
NO_KEY: Final = ROLES[:2]
_IN_TEAM: Final = {"viewer": Role.VIEWER, "member": Role.MEMBER, "manager": Role.ADMIN}


@dataclass
class People:
    """A server with people. `users` are by role."""

    server: ServerHandle
    keys: dict[str, str] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    _number: count[int] = field(default_factory=count)

    def headers(self, role: str) -> dict[str, str]:
        """Return the headers with which this role sends requests."""
        if role == "anonymous":
            return {}
        key = "x" * 43 if role == "wrong key" else self.keys[role]
        return {"Authorization": f"Bearer {key}"}

    def unique(self, word: str = "n") -> str:
        """Return a name that nothing has yet."""
        return f"{word}{next(self._number)}"

    def project(self, visibility: str = "private") -> str:
        """Make a project of the team with the run "r1", both the member's; returns its name."""
        name, user_id = self.unique("project"), self.users["member"].id

        async def make(app: web.Application) -> None:
            state = app[STATE]
            await state.projects.create(
                TEAM, name, state.clock(), user_id=user_id, visibility=visibility
            )
            async with state.database.transaction() as connection:
                path = RunKey(TEAM, name, "r1")
                await state.ingest.create(connection, {path}, state.clock(), user_id)

        self.server.call(make)
        return name

    async def add(self, app: web.Application) -> None:
        """Make the team and everybody in it."""
        state, now = app[STATE], app[STATE].clock()
        first = await state.users.first()
        assert first is not None
        self.users["admin"], self.keys["admin"] = first, self.server.api_key
        for role in ("stranger", *_IN_TEAM):
            self.keys[role] = new_token()
            self.users[role] = await state.users.create(role, self.keys[role], now)
        team = await state.teams.create(TEAM, now, admin_id=self.users["manager"].id)
        for role, meant in _IN_TEAM.items():
            await state.teams.set_member(team.id, self.users[role].id, meant, now)
        self.keys["service"] = new_token()
        self.users["service"] = await state.teams.create_service_account(
            team, "service", self.keys["service"], now
        )


@pytest.fixture
def people(server: ServerHandle) -> People:
    """A server with people of every role."""
    people = People(server)
    server.call(people.add)
    return people
