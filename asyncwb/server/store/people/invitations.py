"""Invitations: a secret that makes an account or a member of a team, once and for some days."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Executable, Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from asyncwb.server.store.database import AsyncConnection, Database
from asyncwb.server.store.people.users import (
    Role,
    TakenError,
    User,
    Users,
    add_key,
    add_user,
    digest,
)
from asyncwb.server.store.schema import entities, invitations, members


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that nobody used yet. Times are unix seconds.

    `team` is None where it only makes an account; `email` is whom it is meant for.
    """

    id: int
    team: str | None
    email: str | None
    role: Role
    invited_by: int
    created_at: float
    expires_at: float


class GoneError(Exception):
    """The invitation was used, withdrawn or has expired meanwhile; nothing was written."""


class Invitations:
    """Makes and uses invitations. Every method is one short transaction or read."""

    def __init__(self, database: Database, users: Users) -> None:
        self._database = database
        self._users = users

    async def create(
        self,
        token: str,
        now: float,
        lifetime: float,
        *,
        invited_by: int,
        team_id: int | None = None,
        email: str | None = None,
        role: Role = Role.MEMBER,
    ) -> Invitation:
        """Let whoever has `token` in, once, within `lifetime` seconds."""
        row = {"entity_id": team_id, "email": email, "role": role.value, "invited_by": invited_by}
        times = {"created_at": now, "expires_at": now + lifetime}
        new = insert(invitations).values(digest=digest(token), **row, **times)
        async with self._database.transaction() as connection:
            added = (await connection.execute(new)).inserted_primary_key
            assert added is not None
            statement = _INVITATION.where(invitations.c.id == added[0])
            return _invitation((await connection.execute(statement)).one())

    async def find(self, token: str, now: float) -> Invitation | None:
        """Return the invitation that `token` is good for."""
        found = await self._read(_good(now).where(invitations.c.digest == digest(token)))
        return found[0] if found else None

    async def get(self, invitation_id: int, now: float) -> Invitation | None:
        """Return a good invitation by id."""
        found = await self._read(_good(now).where(invitations.c.id == invitation_id))
        return found[0] if found else None

    async def pending(
        self, now: float, *, teams: Collection[str] | None = None
    ) -> list[Invitation]:
        """Return good invitations, oldest first: into these teams, or all there are (None)."""
        statement = _good(now)
        if teams is not None:
            statement = statement.where(entities.c.name.in_(teams))
        return await self._read(statement.order_by(invitations.c.id))

    async def withdraw(self, invitation_id: int) -> bool:
        """Make an invitation worthless; False where it is not there or was used."""
        unused = (invitations.c.id == invitation_id) & invitations.c.used_at.is_(None)
        async with self._database.transaction() as connection:
            return (await connection.execute(delete(invitations).where(unused))).rowcount == 1

    async def renew(self, invitation_id: int, token: str, now: float, lifetime: float) -> bool:
        """Give an unused invitation a new token, the old one being lost or expired."""
        unused = (invitations.c.id == invitation_id) & invitations.c.used_at.is_(None)
        new = (
            update(invitations)
            .where(unused)
            .values(digest=digest(token), expires_at=now + lifetime)
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(new)).rowcount == 1

    async def join(self, token: str, user: User, now: float) -> None:
        """Use an invitation into a team for a user who is there already.

        A member keeps the role unless the invitation's allows more.

        Raises:
            GoneError: it is no longer good.
        """
        async with self._database.transaction() as connection:
            await self._use(connection, token, user.id, now)
        self._users.changed()

    async def accept(self, token: str, name: str, email: str | None, key: str, now: float) -> User:
        """Use an invitation to make an account with a first key.

        Raises:
            GoneError: it is no longer good.
            TakenError: a user or a team has the name, or a user the email address; the
                invitation is still good.
        """
        try:
            async with self._database.transaction() as connection:
                user_id = await add_user(connection, name, now, email=email)
                await add_key(connection, user_id, key, now, "first key")
                await self._use(connection, token, user_id, now)
        except IntegrityError as error:
            raise TakenError(name) from error
        self._users.changed()
        user = await self._users.get(user_id)
        assert user is not None
        return user

    async def _use(self, connection: AsyncConnection, token: str, user_id: int, now: float) -> None:
        mine = invitations.c.digest == digest(token)
        good = mine & invitations.c.used_at.is_(None) & (invitations.c.expires_at > now)
        used = await connection.execute(update(invitations).where(good).values(used_at=now))
        if used.rowcount != 1:
            raise GoneError
        asked = select(invitations.c.entity_id, invitations.c.role).where(mine)
        team_id, role = (await connection.execute(asked)).one()
        if team_id is None:
            return
        row = {"entity_id": team_id, "user_id": user_id, "role": role, "created_at": now}
        new = self._database.insert(members).values(row)
        less = {Role.ADMIN: (Role.MEMBER, Role.VIEWER), Role.MEMBER: (Role.VIEWER,)}
        weaker = [other.value for other in less.get(Role(role), ())]
        await connection.execute(
            new.on_conflict_do_update(
                index_elements=[members.c.entity_id, members.c.user_id],
                set_={"role": role},
                where=members.c.role.in_(weaker),
            )
        )

    async def _read(self, statement: Executable) -> list[Invitation]:
        async with self._database.connect() as connection:
            return [_invitation(row) for row in await connection.execute(statement)]


_INVITATION: Final = select(
    invitations.c.id,
    entities.c.name.label("team"),
    *(invitations.c[name] for name in Invitation.__slots__[2:]),
).outerjoin(entities, entities.c.id == invitations.c.entity_id)


def _good(now: float) -> Select[Any]:
    return _INVITATION.where(invitations.c.used_at.is_(None), invitations.c.expires_at > now)


def _invitation(row: Row[*tuple[Any, ...]]) -> Invitation:
    times = (row.created_at, row.expires_at)
    return Invitation(row.id, row.team, row.email, Role(row.role), row.invited_by, *times)
