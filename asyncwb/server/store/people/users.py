"""Users and what they show to be let in: API keys, one-time login links, sessions.

Only SHA-256 digests of secrets are stored. They are looked up by digest, so no comparison of
secrets can tell by its timing how much of one was right.

A user has a personal entity of the same name; both are made in one transaction, and the table
`entities` keeps users and teams in one namespace. A service account is a user too: it belongs to
one team, has keys but nobody logs in as it, and its entity is the team.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import anyio
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncwb.server.store.database import Database
from asyncwb.server.store.schema import (
    api_keys,
    entities,
    login_links,
    members,
    sessions,
    users,
)


class Role(Enum):
    """What somebody is in an entity: `access.may` says what each role allows."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class User:
    """An account, and who sends a request. Times are unix seconds.

    `admin` means of the whole server. `roles` are by entity: the own one, and teams in the order
    of their making. `service` is an account of a team that nobody logs in as. `key_id` is the key
    that a request came in by, or that opened its session; None: none did.
    """

    id: int
    name: str
    admin: bool = False
    email: str | None = None
    roles: Mapping[str, Role] = field(default_factory=dict, hash=False)
    service: bool = False
    created_at: float = 0.0
    disabled_at: float | None = None
    key_id: int | None = field(default=None, compare=False)

    @property
    def entity(self) -> str:
        """Where things go that name no entity: the user's own one, a service account's team."""
        return next(iter(self.roles), self.name) if self.service else self.name

    @property
    def teams(self) -> dict[str, Role]:
        """The user's roles without that in the personal entity."""
        return {name: role for name, role in self.roles.items() if name != self.name}


class TakenError(Exception):
    """The name or the email address belongs to somebody already; nothing was written."""


class Users:
    """Accounts and their secrets. Every method is one short transaction or read.

    `changes` grows with whatever may change who a key stands for, or what that user may do: who
    remembers users compares it. Changes by other processes count once they are told of. `tell` is
    called with every change of this process.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.changes = 0
        self.tell: Callable[[], None] | None = None
        self._changed = anyio.Event()

    def changed(self, *, elsewhere: bool = False) -> None:
        """Say that a key, a role or an account has changed, here or by another process."""
        self.changes += 1
        self._changed.set()
        self._changed = anyio.Event()
        if self.tell is not None and not elsewhere:
            self.tell()

    async def next_change(self) -> None:
        """Wait until one of them changes."""
        await self._changed.wait()

    async def create_first_admin(self, name: str, key: str, now: float) -> bool:
        """Create the first user with `key`; False where there is a user already."""
        async with self._database.transaction() as connection:
            await self._database.lock_schema(connection)
            if (await connection.execute(select(users.c.id).limit(1))).first() is not None:
                return False
            user_id = await add_user(connection, name, now, admin=True)
            await add_key(connection, user_id, key, now)
            return True

    async def create(
        self,
        name: str,
        key: str,
        now: float,
        *,
        admin: bool = False,
        email: str | None = None,
        description: str | None = None,
    ) -> User:
        """Create a user with a personal entity and an API key (with `description`).

        Raises:
            TakenError: a user or a team has the name, or a user the email address.
        """
        try:
            async with self._database.transaction() as connection:
                user_id = await add_user(connection, name, now, admin=admin, email=email)
                await add_key(connection, user_id, key, now, description)
        except IntegrityError as error:
            raise TakenError(name) from error
        roles = {name: Role.ADMIN}
        return User(user_id, name, admin, email, roles, created_at=now)

    async def first(self) -> User | None:
        """Return the user who was there first: the admin of an embedded server."""
        first = select(func.min(users.c.id)).scalar_subquery()
        return await self._one(users.c.id == first)

    async def get(self, user_id: int) -> User | None:
        """Return a user by id, disabled or not."""
        return await self._one(users.c.id == user_id)

    async def find(self, name: str) -> User | None:
        """Return a user by name or, failing that, by email address, disabled or not."""
        found = await self._all(or_(users.c.name == name, users.c.email == name.lower()))
        return next((user for user in found if user.name == name), found[0] if found else None)

    async def some(self, ids: Collection[int]) -> dict[int, User]:
        """Return users by id, disabled or not, in one statement."""
        return {user.id: user for user in await self._all(users.c.id.in_(ids))} if ids else {}

    async def page(
        self,
        *,
        search: str | None = None,
        sharing: Collection[str] | None = None,
        limit: int = 100,
        after: int = 0,
    ) -> list[User]:
        """Return users in the order of their ids, disabled ones too.

        Args:
            search: part of a name, or a whole email address; None is everyone.
            sharing: names of entities; only who is a member of one, or is the user of that name.
                None is for those who may see every address: `search` may be part of one, too.
            limit: users at most.
            after: the id before the first; page through by the last id of a page.
        """
        chosen = select(users.c.id).where(users.c.id > after)
        if search is not None:
            name, email = users.c.name.icontains(search, autoescape=True), users.c.email
            # Parts of an address would let anybody find out a hidden one, letter by letter.
            whole = email == search.lower()
            part = email.icontains(search, autoescape=True)
            chosen = chosen.where(or_(name, part if sharing is None else whole))
        if sharing is not None:
            among = select(members.c.user_id).join(entities).where(entities.c.name.in_(sharing))
            chosen = chosen.where(or_(users.c.name.in_(sharing), users.c.id.in_(among)))
        ids = chosen.order_by(users.c.id).limit(limit).subquery()
        return await self._all(users.c.id.in_(select(ids.c.id)))

    async def set_admin(self, user_id: int, admin: bool) -> None:
        """Make somebody an admin of the server, or no longer."""
        await self._set(user_id, admin=admin)

    async def set_email(self, user_id: int, email: str | None) -> None:
        """Set or remove an email address.

        Raises:
            TakenError: somebody else has it.
        """
        try:
            await self._set(user_id, email=email)
        except IntegrityError as error:
            raise TakenError(email) from error

    async def disable(self, user_id: int, now: float) -> None:
        """Let nobody in as this user any more: keys, sessions and links are worthless."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(users).where(users.c.id == user_id).values(disabled_at=now)
            )
            for table in (sessions, login_links):
                await connection.execute(delete(table).where(table.c.user_id == user_id))
        self.changed()

    async def enable(self, user_id: int) -> None:
        """Take `disable` back: the keys are good again."""
        await self._set(user_id, disabled_at=None)

    async def by_key(self, key: str) -> User | None:
        """Return whose API key this is; None for an unknown or revoked one, a disabled user."""
        mine = select(api_keys.c.user_id, api_keys.c.id.label("key_id")).where(
            api_keys.c.digest == digest(key), api_keys.c.revoked_at.is_(None)
        )
        return await self._let_in(mine)

    async def by_ids(self, user_id: int, key_id: int | None) -> User | None:
        """Return a user who came in by a key, or by none; None where that would not do by now."""
        mine = select(users.c.id.label("user_id"), null().label("key_id"))
        if key_id is not None:
            mine = select(api_keys.c.user_id, api_keys.c.id.label("key_id")).where(
                api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
            )
        owner = users.c.id if key_id is None else api_keys.c.user_id
        return await self._let_in(mine.where(owner == user_id))

    async def by_session(self, token: str, now: float) -> User | None:
        """Return whose session cookie this is; None for an unknown, ended or expired one."""
        return await self._let_in(_opened_by(sessions, token, now))

    async def by_link(self, token: str, now: float) -> User | None:
        """Return whom a login link would log in; None for one that logs nobody in."""
        return await self._let_in(_opened_by(login_links, token, now))

    async def still_good(self, let_in: Collection[User]) -> set[tuple[int, int | None]]:
        """Return (user, key) of those who would be let in now, too; the key None by none."""
        ids = {user.id for user in let_in}
        key_ids = {user.key_id for user in let_in if user.key_id is not None}
        enabled = select(users.c.id).where(users.c.id.in_(ids), users.c.disabled_at.is_(None))
        keys = select(api_keys.c.user_id, api_keys.c.id).where(
            api_keys.c.id.in_(key_ids), api_keys.c.revoked_at.is_(None)
        )
        async with self._database.connect() as connection:
            good = {row.id for row in await connection.execute(enabled)}
            of_keys = {(row.user_id, row.id) for row in await connection.execute(keys)}
        return {(user_id, None) for user_id in good} | {k for k in of_keys if k[0] in good}

    async def open_session(self, user: User, token: str, now: float, lifetime: float) -> None:
        """Let `token` stand for the user for `lifetime` seconds, or until the user's key ends.

        Expired sessions go.
        """
        async with self._database.transaction() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            opened = {"user_id": user.id, "key_id": user.key_id, "digest": digest(token)}
            times = {"created_at": now, "expires_at": now + lifetime}
            await connection.execute(insert(sessions).values(**opened, **times))

    async def close_session(self, token: str) -> None:
        """Forget a session."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(sessions).where(sessions.c.digest == digest(token)))

    async def add_login_link(self, user: User, token: str, now: float, lifetime: float) -> None:
        """Let `token` log the user in, once, within `lifetime` seconds."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(login_links).where(login_links.c.expires_at <= now))
            opened = {"user_id": user.id, "key_id": user.key_id, "digest": digest(token)}
            row = insert(login_links).values(**opened, expires_at=now + lifetime)
            await connection.execute(row)

    async def use_login_link(self, token: str, now: float) -> User | None:
        """Use a login link up; of several who try, one gets the user and the others None."""
        mine = login_links.c.digest == digest(token)
        async with self._database.transaction() as connection:
            found = await _user_let_in(connection, _opened_by(login_links, token, now))
            gone = await connection.execute(delete(login_links).where(mine))
            return found if gone.rowcount == 1 else None

    async def _set(self, user_id: int, **values: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(update(users).where(users.c.id == user_id).values(values))
        self.changed()

    async def _let_in(self, shown: Select[int, int | None]) -> User | None:
        async with self._database.connect() as connection:
            return await _user_let_in(connection, shown)

    async def _one(self, *conditions: ColumnElement[bool]) -> User | None:
        found = await self._all(*conditions)
        return found[0] if found else None

    async def _all(self, *conditions: ColumnElement[bool]) -> list[User]:
        async with self._database.connect() as connection:
            return users_of(await connection.execute(_accounts(*conditions)))


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _opened_by(table: Table, token: str, now: float) -> Select[int, int | None]:
    """Select the user and the key of a session or a link that is good: its key must be, too."""
    key = api_keys.c.id == table.c.key_id
    return (
        select(table.c.user_id, table.c.key_id)
        .outerjoin_from(table, api_keys, key)
        .where(table.c.digest == digest(token), table.c.expires_at > now)
        .where(api_keys.c.revoked_at.is_(None))
    )


async def _user_let_in(connection: AsyncConnection, shown: Select[int, int | None]) -> User | None:
    """Return the user whom `shown` (user and key) lets in, unless disabled."""
    by = shown.subquery()
    statement = _accounts(users.c.disabled_at.is_(None)).add_columns(by.c.key_id)
    rows = list(await connection.execute(statement.join(by, by.c.user_id == users.c.id)))
    return replace(users_of(rows)[0], key_id=rows[0].key_id) if rows else None


_ACCOUNT: Final = (
    *(users.c.id, users.c.name, users.c.admin, users.c.email, users.c.service_of),
    *(users.c.created_at, users.c.disabled_at),
)


def _accounts(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Select accounts, one row for each of their teams."""
    return (
        select(*_ACCOUNT, entities.c.name.label("team"), members.c.role)
        .outerjoin(members, members.c.user_id == users.c.id)
        .outerjoin(entities, entities.c.id == members.c.entity_id)
        .where(*conditions)
        .order_by(users.c.id, entities.c.id)
    )


def users_of(rows: Iterable[Row[Any]]) -> list[User]:
    """Make users from rows of `_accounts`."""
    found: dict[int, User] = {}
    roles: dict[str, Role] = {}
    for row in rows:
        if row.id not in found:
            service = row.service_of is not None
            roles = {} if service else {row.name: Role.ADMIN}
            account = (row.id, row.name, row.admin, row.email, roles, service)
            found[row.id] = User(*account, row.created_at, row.disabled_at)
        if row.team is not None:
            roles.setdefault(row.team, Role(row.role))
    return list(found.values())


async def add_user(
    connection: AsyncConnection,
    name: str,
    now: float,
    *,
    admin: bool = False,
    email: str | None = None,
    service_of: int | None = None,
) -> int:
    """Add a user and, under the same name, the personal entity; returns the user's id.

    Raises:
        IntegrityError: the name or the email address is taken.
    """
    # A service account's entity owns nothing; it keeps the name from being given to a team.
    row = {"name": name, "kind": "user", "created_at": now}
    await connection.execute(insert(entities).values(row))
    new = {"name": name, "admin": admin, "email": email, "service_of": service_of}
    added = await connection.execute(insert(users).values(**new, created_at=now))
    assert added.inserted_primary_key is not None
    user_id: int = added.inserted_primary_key[0]
    return user_id


async def add_key(
    connection: AsyncConnection,
    user_id: int,
    key: str,
    now: float,
    description: str | None = None,
) -> int:
    """Add an API key; returns its id."""
    row = {"user_id": user_id, "digest": digest(key), "hint": f"...{key[-4:]}", "created_at": now}
    added = await connection.execute(insert(api_keys).values(**row, description=description))
    assert added.inserted_primary_key is not None
    key_id: int = added.inserted_primary_key[0]
    return key_id
