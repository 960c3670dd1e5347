"""API keys: many a user, shown once, known by their last characters, revocable."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, update

from asyncwb.server.store.database import Database
from asyncwb.server.store.people.users import Users, add_key, digest
from asyncwb.server.store.schema import api_keys


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it can be shown: `hint` is its end. Times are unix seconds."""

    id: int
    user_id: int
    hint: str
    description: str | None
    created_at: float


class Keys:
    """Makes, lists and revokes keys. Every method is one short transaction or read."""

    def __init__(self, database: Database, users: Users) -> None:
        self._database = database
        self._users = users

    async def add(
        self, user_id: int, key: str, now: float, description: str | None = None
    ) -> StoredKey:
        """Let `key` stand for the user too."""
        async with self._database.transaction() as connection:
            key_id = await add_key(connection, user_id, key, now, description)
        return StoredKey(key_id, user_id, f"...{key[-4:]}", description, now)

    async def of(self, user_ids: Collection[int]) -> dict[int, list[StoredKey]]:
        """Return the good keys of some users, oldest first, in one statement."""
        statement = _KEY.where(api_keys.c.user_id.in_(user_ids), api_keys.c.revoked_at.is_(None))
        found: dict[int, list[StoredKey]] = {user_id: [] for user_id in user_ids}
        async with self._database.connect() as connection:
            for row in await connection.execute(statement.order_by(api_keys.c.id)):
                found[row.user_id].append(StoredKey(*row))
        return found

    async def get(self, key_id: int) -> StoredKey | None:
        """Return a good key by id."""
        statement = _KEY.where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else StoredKey(*row)

    async def find(self, key: str) -> StoredKey | None:
        """Return what is stored of this very key, if it is good."""
        mine = _KEY.where(api_keys.c.digest == digest(key), api_keys.c.revoked_at.is_(None))
        async with self._database.connect() as connection:
            row = (await connection.execute(mine)).first()
        return None if row is None else StoredKey(*row)

    async def revoke(self, key_id: int, now: float) -> bool:
        """Make a key worthless from now on; False where there is no good key of that id.

        This process knows at once, others within the seconds that they remember keys for.
        """
        good = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
        async with self._database.transaction() as connection:
            done = await connection.execute(update(api_keys).where(good).values(revoked_at=now))
        self._users.changed()
        return done.rowcount == 1


_KEY: Final = select(*(api_keys.c[name] for name in StoredKey.__slots__))
