"""Users and what they show to be let in: API keys, one-time login links, sessions.

Only SHA-256 digests of secrets are stored. They are looked up by digest, so no comparison of
secrets can tell by its timing how much of one was right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import api_keys, login_links, sessions, users


@dataclass(frozen=True, slots=True)
class User:
    """Who sends a request. A user's own entity has the user's name."""

    id: int
    name: str
    admin: bool

    def may_use(self, entity: str) -> bool:
        """Tell whether the user may read and write what belongs to `entity`."""
        return self.admin or entity == self.name


class Users:
    """Accounts and their secrets. Every method is one short transaction or read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_first_admin(self, name: str, key: str, now: float) -> bool:
        """Create the first user with `key`; False where there is a user already."""
        async with self._database.transaction() as connection:
            await self._database.lock_schema(connection)
            if (await connection.execute(select(users.c.id).limit(1))).first() is not None:
                return False
            row = {"name": name, "admin": True, "created_at": now}
            user_id = (await connection.execute(insert(users).values(row))).inserted_primary_key
            assert user_id is not None
            await _add_key(connection, user_id[0], key, now)
            return True

    async def create(self, name: str, key: str, now: float, *, admin: bool = False) -> User:
        """Create a user with an API key."""
        async with self._database.transaction() as connection:
            row = {"name": name, "admin": admin, "created_at": now}
            user_id = (await connection.execute(insert(users).values(row))).inserted_primary_key
            assert user_id is not None
            await _add_key(connection, user_id[0], key, now)
            return User(user_id[0], name, admin)

    async def first(self) -> User | None:
        """Return the user who was there first: the admin of an embedded server."""
        return await self._one(_user().order_by(users.c.id).limit(1))

    async def by_key(self, key: str) -> User | None:
        """Return whose API key this is; None for an unknown or revoked one."""
        who = _user().join(api_keys, api_keys.c.user_id == users.c.id)
        return await self._one(
            who.where(api_keys.c.digest == digest(key), api_keys.c.revoked_at.is_(None))
        )

    async def revoke_key(self, key: str, now: float) -> None:
        """Make a key worthless from now on."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(api_keys).where(api_keys.c.digest == digest(key)).values(revoked_at=now)
            )

    async def by_session(self, token: str, now: float) -> User | None:
        """Return whose session cookie this is; None for an unknown or expired one."""
        who = _user().join(sessions, sessions.c.user_id == users.c.id)
        return await self._one(
            who.where(sessions.c.digest == digest(token), sessions.c.expires_at > now)
        )

    async def open_session(self, user: User, token: str, now: float, lifetime: float) -> None:
        """Let `token` stand for the user for `lifetime` seconds; expired sessions go."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            row = {"user_id": user.id, "created_at": now, "expires_at": now + lifetime}
            await connection.execute(insert(sessions).values(digest=digest(token), **row))

    async def close_session(self, token: str) -> None:
        """Forget a session."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(sessions).where(sessions.c.digest == digest(token)))

    async def add_login_link(self, user: User, token: str, now: float, lifetime: float) -> None:
        """Let `token` log the user in, once, within `lifetime` seconds."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(login_links).where(login_links.c.expires_at <= now))
            row = {"user_id": user.id, "expires_at": now + lifetime}
            await connection.execute(insert(login_links).values(digest=digest(token), **row))

    async def use_login_link(self, token: str, now: float) -> User | None:
        """Use a login link up; of several who try, one gets the user and the others None."""
        mine = login_links.c.digest == digest(token)
        who = _user().join(login_links, login_links.c.user_id == users.c.id).where(mine)
        async with self._database.transaction() as connection:
            row = (await connection.execute(who.where(login_links.c.expires_at > now))).first()
            gone = await connection.execute(delete(login_links).where(mine))
            return User(*row) if row is not None and gone.rowcount == 1 else None

    async def _one(self, statement: Select[Any]) -> User | None:
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else User(*row)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _user() -> Select[Any]:
    return select(users.c.id, users.c.name, users.c.admin)


async def _add_key(connection: AsyncConnection, user_id: int, key: str, now: float) -> None:
    row = {"user_id": user_id, "digest": digest(key), "hint": f"...{key[-4:]}", "created_at": now}
    await connection.execute(insert(api_keys).values(row))
