"""What somebody may do with accounts and API keys, whichever interface asks for it.

Every function takes who asks, checks, and changes the store; the HTTP routes and GraphQL call
these and decide nothing themselves. What goes wrong is an `ApiError`: 400 for words that cannot
be taken, 403, 404 for what is not there or not to be seen, 409 for what is taken.
"""

from __future__ import annotations

import re
from typing import Final

from asyncwb.server.http.access import Action, forbidden, may, readable, require_admin
from asyncwb.server.http.auth import new_token
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.store.people.keys import StoredKey
from asyncwb.server.store.people.users import TakenError, User
from asyncwb.server.store.texts import is_storable

MAX_PAGE: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_EMAIL: Final = re.compile(r"[^@\s\0]{1,64}@[^@\s\0]{1,255}")
_RESERVED: Final = frozenset(
    (
        *("api", "assets", "files", "graphql", "invite", "login", "logout", "metrics", "ready"),
        *("favicon.ico", "icon.svg", "me", "oidc", "proxy", "settings", "storage", "teams"),
        *("users", "viewer"),
    )
)
"""names that are addresses of the server or of its page"""
_LONGEST_TEXT: Final = 1000


async def find_user(state: State, viewer: User, name: str) -> User:
    """Return a user by name or email address.

    Raises:
        ApiError: 404, also for somebody whom the viewer does not see: neither the viewer nor in
            one of the viewer's teams.
    """
    found = await state.users.find(name) if is_storable(name) else None
    if found is None or not sees(viewer, found):
        raise ApiError(404, "user_not_found", f"There is no user {name!r}. Check the name.")
    return found


def sees(viewer: User, user: User) -> bool:
    """Tell whether somebody may know of another user: from a common team, or as an admin."""
    return viewer.admin or viewer.id == user.id or not viewer.roles.keys().isdisjoint(user.teams)


async def list_users(
    state: State, viewer: User, *, search: str | None = None, limit: int = 100, after: int = 0
) -> list[User]:
    """Return whom the viewer sees, in the order of their ids.

    Args:
        state: the server.
        viewer: who asks.
        search: part of a name, or an email address; for an admin of the server, part of one.
        limit: users at most.
        after: the id before the first; page through by the last id of a page.
    """
    if search is not None and not is_storable(search):
        return []
    sharing = readable(viewer)
    return await state.users.page(search=search, sharing=sharing, limit=limit, after=after)


async def create_user(
    state: State,
    viewer: User,
    *,
    name: str | None = None,
    email: str | None = None,
    admin: bool = False,
) -> tuple[User, str]:
    """Create a user with a first key; for admins of the server.

    Args:
        state: the server.
        viewer: who asks.
        name: None makes one of the email address.
        email: at least one of name and email.
        admin: of the server.

    Returns:
        The user and the key, which can never be read again.
    """
    require_admin(viewer)
    email = checked_email(email)
    key, now = new_token(), state.clock()
    for choice in _choices(name, email):
        try:
            user = await state.users.create(
                choice, key, now, admin=admin, email=email, description="first key"
            )
        except TakenError:
            if name is not None or (email and await state.users.find(email)):
                break
        else:
            return user, key
    raise taken(name or str(email))


def _choices(name: str | None, email: str | None) -> list[str]:
    if name is not None:
        return [checked_name(name)]
    if email is None:
        raise refused("A user needs a name or an email address.")
    local = re.sub(r"[^A-Za-z0-9_.-]+", "-", email.partition("@")[0]).strip(".-_")[:48] or "user"
    choices = [local, *(f"{local}-{new_token()[:6]}" for _ in range(3))]
    return [choice for choice in choices if choice.lower() not in _RESERVED]


async def change_user(
    state: State,
    viewer: User,
    name: str,
    *,
    admin: bool | None = None,
    disabled: bool | None = None,
    email: str | None = None,
) -> User:
    """Change an account; None leaves as it is. Only the email address is the user's own to change.

    Raises:
        ApiError: 409 for an admin's own admin right or account: somebody has to be left.
    """
    user = await find_user(state, viewer, name)
    if admin is not None or disabled is not None or user.id != viewer.id:
        require_admin(viewer)
    email = checked_email(email)
    if user.id == viewer.id and (admin is False or disabled):
        raise ApiError(
            409, "own_account", "Nobody can do that to the own account. Ask another admin."
        )
    if email is not None:
        try:
            await state.users.set_email(user.id, email)
        except TakenError as error:
            raise taken(email) from error
    if admin is not None:
        await state.users.set_admin(user.id, admin)
    if disabled is not None:
        await (
            state.users.disable(user.id, state.clock()) if disabled else state.users.enable(user.id)
        )
    return await find_user(state, viewer, user.name)


async def list_keys(state: State, viewer: User, user: User) -> list[StoredKey]:
    """Return the good keys of a user whom the viewer has found.

    Raises:
        ApiError: 403 for another person's keys.
    """
    _require_keys_of(viewer, user)
    return (await state.keys.of([user.id]))[user.id]


async def create_key(
    state: State, viewer: User, user: User, description: str | None = None
) -> tuple[StoredKey, str]:
    """Make a key for a user whom the viewer has found.

    Returns:
        What is stored of it, and the key itself, which can never be read again.

    Raises:
        ApiError: 403 for another person.
    """
    _require_keys_of(viewer, user)
    key = new_token()
    description = checked_text(description, "description")
    return await state.keys.add(user.id, key, state.clock(), description), key


async def revoke_key(state: State, viewer: User, key_id: int) -> tuple[StoredKey, User]:
    """Make a key worthless; returns what is stored of it, and whose it was.

    Raises:
        ApiError: 404 where there is no such key, or none of the viewer's to revoke.
    """
    key = await state.keys.get(key_id)
    owner = await state.users.get(key.user_id) if key is not None else None
    if key is None or owner is None or not keeps_keys_of(viewer, owner):
        raise ApiError(404, "key_not_found", "You have no such key. Nothing was revoked.")
    await state.keys.revoke(key_id, state.clock())
    return key, owner


def keeps_keys_of(viewer: User, user: User) -> bool:
    """Tell whether the viewer may list, make and revoke a user's keys.

    One's own, those of the service accounts of a team that one manages, and all of them for
    an admin of the server. A service account makes no keys, not even for itself.
    """
    if viewer.service:
        return False
    of_team = user.service and may(viewer, Action.MANAGE, user.entity)
    return viewer.admin or viewer.id == user.id or of_team


def _require_keys_of(viewer: User, user: User) -> None:
    if not keeps_keys_of(viewer, user):
        raise forbidden(f"The keys of {user.name} are not yours to see or to make.")


def checked_name(name: str) -> str:
    """Return a name that a user or a team can have.

    Raises:
        ApiError: 400.
    """
    if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        raise refused(
            "A name has 1 to 64 letters, digits, '-', '_' and '.', begins with a letter or a "
            "digit, and is no address of the server."
        )
    return name


def checked_email(email: str | None) -> str | None:
    """Return an email address in the form in which it is stored; "" and None are none.

    Raises:
        ApiError: 400.
    """
    if not email or not email.strip():
        return None
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise refused("That is no email address.")
    return email


def checked_text(text: str | None, what: str) -> str | None:
    """Return a text that can be stored.

    Raises:
        ApiError: 400 for one that is too long or has a NUL in it.
    """
    if text is not None and (len(text) > _LONGEST_TEXT or not is_storable(text)):
        raise refused(f"The {what} must have at most {_LONGEST_TEXT} characters, and no NUL.")
    return text


def refused(what: str) -> ApiError:
    """Return the refusal of what cannot be taken as it stands."""
    return ApiError(400, "bad_request", f"{what} Nothing was written.")


def taken(what: str) -> ApiError:
    """Return the refusal of a name or an email address that somebody has."""
    return ApiError(409, "taken", f"{what} is taken. Nothing was written; choose another.")
