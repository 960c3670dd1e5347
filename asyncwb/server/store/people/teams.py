"""Teams: who is in them as what, their service accounts, and the invitations that let others in.

An entity is a user's own or a team; only teams have members. Nothing here is ever renamed or
deleted: runs keep saying whose they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Executable, delete, insert, select
from sqlalchemy.exc import IntegrityError

from asyncwb.server.store.database import AsyncConnection, Database
from asyncwb.server.store.people.users import Role, TakenError, User, Users, add_key, add_user
from asyncwb.server.store.schema import entities, members, users


@dataclass(frozen=True, slots=True)
class Entity:
    """Who may own projects: `kind` is "user" or "team"."""

    id: int
    name: str
    kind: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team, since `joined_at` (unix seconds)."""

    user: User
    role: Role
    joined_at: float


class LastAdminError(Exception):
    """The only admin of a team would be none any more; nothing was changed."""


class Teams:
    """Reads and changes teams. Every method is one short transaction or read."""

    def __init__(self, database: Database, users: Users) -> None:
        self._database = database
        self._users = users
        self._known: set[str] = set()  # entities that are there: they stay

    async def find(self, name: str) -> Entity | None:
        """Return the entity of that name, a user's own or a team."""
        found = await self._read(_ENTITY.where(entities.c.name == name))
        return found[0] if found else None

    async def some(self, names: Collection[str]) -> dict[str, Entity]:
        """Return entities by name, in one statement."""
        found = await self._read(_ENTITY.where(entities.c.name.in_(names))) if names else []
        return {entity.name: entity for entity in found}

    async def page(
        self, names: Collection[str] | None = None, *, limit: int = 1000, after: int = 0
    ) -> list[Entity]:
        """Return teams in the order of their making.

        Args:
            names: only these; None is every team.
            limit: teams at most.
            after: the id before the first; page through by the last id of a page.
        """
        statement = _ENTITY.where(entities.c.kind == "team", entities.c.id > after)
        if names is not None:
            statement = statement.where(entities.c.name.in_(names))
        return await self._read(statement.order_by(entities.c.id).limit(limit))

    async def create(self, name: str, now: float, *, admin_id: int) -> Entity:
        """Create a team whose first admin is the user with that id.

        Raises:
            TakenError: a user or a team has the name.
        """
        row = {"name": name, "kind": "team", "created_at": now}
        try:
            async with self._database.transaction() as connection:
                added = await connection.execute(insert(entities).values(row))
                assert added.inserted_primary_key is not None
                entity_id: int = added.inserted_primary_key[0]
                await self.put_member(connection, entity_id, admin_id, Role.ADMIN, now)
        except IntegrityError as error:
            raise TakenError(name) from error
        self._users.changed()
        return Entity(entity_id, name, "team", now)

    async def unknown(self, names: Collection[str]) -> list[str]:
        """Return those names that no entity has; free for names that were seen before."""
        asked = set(names) - self._known
        found = await self.some(asked)
        self._known |= found.keys()
        return sorted(asked - found.keys())

    async def ensure(self, names: Iterable[str], now: float, *, admin_id: int) -> None:
        """Make teams of those names; one that is there meanwhile stays as it is."""
        for name in list(names):
            try:
                await self.create(name, now, admin_id=admin_id)
            except TakenError:  # another request was faster
                continue

    async def add(
        self, connection: AsyncConnection, names: Iterable[str], now: float, *, admin_id: int
    ) -> None:
        """Do what `ensure` does, as a part of the caller's transaction; `made` is for after it."""
        for name in sorted(names):
            row = {"name": name, "kind": "team", "created_at": now}
            new = self._database.insert(entities).values(row).on_conflict_do_nothing()
            entity_id = (await connection.execute(new.returning(entities.c.id))).scalar()
            if entity_id is not None:
                await self.put_member(connection, entity_id, admin_id, Role.ADMIN, now)

    def made(self, names: Collection[str]) -> None:
        """Say that teams which `add` made are committed."""
        if names:
            self._users.changed()

    async def members(self, entity_id: int) -> list[Member]:
        """Return a team's members in the order of their joining, disabled users too."""
        statement = select(members.c.user_id, members.c.role, members.c.created_at)
        mine = members.c.entity_id == entity_id
        ordered = statement.where(mine).order_by(members.c.created_at, members.c.user_id)
        async with self._database.connect() as connection:
            rows = (await connection.execute(ordered)).all()
        found = await self._users.some([row.user_id for row in rows])
        return [Member(found[row.user_id], Role(row.role), row.created_at) for row in rows]

    async def set_member(
        self, entity_id: int, user_id: int, role: Role, now: float, *, keep_admin: bool = False
    ) -> None:
        """Make a user a member with that role, or give a member another role.

        Raises:
            LastAdminError: with `keep_admin`, the team would be left without an admin.
        """
        async with self._database.transaction() as connection:
            if keep_admin and role is not Role.ADMIN:
                await self._require_other_admin(connection, entity_id, user_id)
            await self.put_member(connection, entity_id, user_id, role, now)
        self._users.changed()

    async def remove_member(
        self, entity_id: int, user_id: int, *, keep_admin: bool = False
    ) -> bool:
        """Let a member go; False where the user is none.

        Raises:
            LastAdminError: with `keep_admin`, the team would be left without an admin.
        """
        gone = delete(members).where(members.c.entity_id == entity_id, members.c.user_id == user_id)
        async with self._database.transaction() as connection:
            if keep_admin:
                await self._require_other_admin(connection, entity_id, user_id)
            removed = (await connection.execute(gone)).rowcount
        self._users.changed()
        return removed == 1

    async def _require_other_admin(
        self, connection: AsyncConnection, entity_id: int, user_id: int
    ) -> None:
        # Two admins who go at the same time follow one another.
        team = select(entities.c.id).where(entities.c.id == entity_id).with_for_update()
        await connection.execute(team)
        admins = (
            select(members.c.user_id)
            .join(users, users.c.id == members.c.user_id)
            .where(
                members.c.entity_id == entity_id,
                members.c.role == Role.ADMIN.value,
                users.c.disabled_at.is_(None),
            )
        )
        if set(await connection.scalars(admins)) == {user_id}:
            raise LastAdminError

    async def create_service_account(
        self, team: Entity, name: str, key: str, now: float, *, description: str | None = None
    ) -> User:
        """Create an account that belongs to a team, with a key (and its description).

        Raises:
            TakenError: a user or a team has the name.
        """
        try:
            async with self._database.transaction() as connection:
                user_id = await add_user(connection, name, now, service_of=team.id)
                await add_key(connection, user_id, key, now, description)
                await self.put_member(connection, team.id, user_id, Role.MEMBER, now)
        except IntegrityError as error:
            raise TakenError(name) from error
        self._users.changed()
        roles = {team.name: Role.MEMBER}
        return User(user_id, name, roles=roles, service=True, created_at=now)

    async def put_member(
        self, connection: AsyncConnection, entity_id: int, user_id: int, role: Role, now: float
    ) -> None:
        """Do what `set_member` does, as a part of the caller's transaction."""
        row = {"entity_id": entity_id, "user_id": user_id, "role": role.value, "created_at": now}
        new = self._database.insert(members).values(row)
        key = [members.c.entity_id, members.c.user_id]
        await connection.execute(
            new.on_conflict_do_update(index_elements=key, set_={"role": role.value})
        )

    async def _read(self, statement: Executable) -> list[Entity]:
        async with self._database.connect() as connection:
            return [Entity(*row) for row in await connection.execute(statement)]


_ENTITY: Final = select(*(entities.c[name] for name in Entity.__slots__))
