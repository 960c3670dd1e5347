"""What somebody may do with teams, their members and invitations, whichever interface asks.

Like `accounts.py`: every function checks who asks and raises `ApiError`. To manage a team takes
`Action.MANAGE` there; who is not in a team is told that there is none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from asyncwb.server.http.access import (
    Action,
    Role,
    forbidden,
    may,
    readable,
    require_admin,
)
from asyncwb.server.http.auth import new_token
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import State
from asyncwb.server.people.accounts import (
    checked_email,
    checked_name,
    checked_text,
    find_user,
    refused,
    taken,
)
from asyncwb.server.store.people.invitations import GoneError, Invitation
from asyncwb.server.store.people.teams import Entity, LastAdminError, Member
from asyncwb.server.store.people.users import TakenError, User
from asyncwb.server.store.texts import is_storable

INVITATION_LIFETIME: Final = 7 * 86400.0


async def require_team(state: State, viewer: User, action: Action, name: str) -> Entity:
    """Return a team that the viewer may do this with.

    Raises:
        ApiError: 404 where there is none or the viewer is not in it, 403.
    """
    known = may(viewer, Action.READ, name) and is_storable(name)
    team = await state.teams.find(name) if known else None
    if team is None or team.kind != "team":
        raise ApiError(404, "team_not_found", f"There is no team {name!r}. Check the name.")
    if not may(viewer, action, name):
        raise forbidden(f"Only an admin of {name} may do that.")
    return team


async def list_teams(state: State, viewer: User) -> list[Entity]:
    """Return the teams that the viewer is in; all of them for an admin of the server."""
    return await state.teams.page(readable(viewer))


async def create_team(state: State, viewer: User, name: str, admin: str | None = None) -> Entity:
    """Create a team; for admins of the server.

    Args:
        state: the server.
        viewer: who asks.
        name: the team's.
        admin: its first admin, by name or email address; None is the viewer.
    """
    require_admin(viewer)
    first = viewer if admin is None else await find_user(state, viewer, admin)
    if first.service:
        raise refused("A service account cannot be a team's admin.")
    try:
        return await state.teams.create(checked_name(name), state.clock(), admin_id=first.id)
    except TakenError as error:
        raise taken(name) from error


async def missing_teams(state: State, viewer: User, names: Collection[str]) -> list[str]:
    """Return the teams to make for an admin of the server who writes to entities that nobody has.

    Nobody else may write to such a one, so for others there is nothing to make.

    Raises:
        ApiError: 400 for a name that no team can have.
    """
    missing = set(names) - viewer.roles.keys() if viewer.admin else ()
    return [checked_name(name) for name in await state.teams.unknown(missing)] if missing else []


async def ensure_entities(state: State, viewer: User, names: Collection[str]) -> None:
    """Make what `missing_teams` tells, at once; for who has nothing more to refuse."""
    new = await missing_teams(state, viewer, names)
    await state.teams.ensure(new, state.clock(), admin_id=viewer.id)


async def list_members(state: State, viewer: User, team: str) -> list[Member]:
    """Return a team's members in the order of their joining; for its members."""
    found = await require_team(state, viewer, Action.READ, team)
    return await state.teams.members(found.id)


async def set_member(state: State, viewer: User, team: str, name: str, role: Role) -> Member:
    """Make a user a member, or give a member another role; for the team's admins.

    Args:
        state: the server.
        viewer: who asks.
        team: its name.
        name: the user's exact name or email address.
        role: the new one.

    Raises:
        ApiError: 409 where the team's last admin would be one no more, which only an admin of the
            server may do.
    """
    found = await require_team(state, viewer, Action.MANAGE, team)
    # A team's admin may name anybody; of who was not named nothing is told.
    user = await state.users.find(name) if is_storable(name) else None
    if user is None:
        raise ApiError(404, "user_not_found", f"There is no user {name!r}. Invite them instead.")
    if user.service:
        raise refused("A service account belongs to one team, as a member.")
    try:
        await state.teams.set_member(
            found.id, user.id, role, state.clock(), keep_admin=not viewer.admin
        )
    except LastAdminError as error:
        raise _last_admin(name, team) from error
    members = await state.teams.members(found.id)
    return next(member for member in members if member.user.id == user.id)


async def remove_member(state: State, viewer: User, team: str, name: str) -> None:
    """Let a member go; for the team's admins, and for whoever leaves.

    A service account that is removed is disabled: it has no other place.

    Raises:
        ApiError: 404 where the user is no member; 409 for the team's last admin, whom only an
            admin of the server may take out.
    """
    action = Action.READ if name == viewer.name and not viewer.service else Action.MANAGE
    found = await require_team(state, viewer, action, team)
    user = await state.users.find(name) if is_storable(name) else None
    try:
        keep = not viewer.admin
        gone = user and await state.teams.remove_member(found.id, user.id, keep_admin=keep)
    except LastAdminError as error:
        raise _last_admin(name, team) from error
    if user is None or not gone:
        raise ApiError(404, "user_not_found", f"{team} has no member {name!r}.")
    if user.service:
        await state.users.disable(user.id, state.clock())


def _last_admin(name: str, team: str) -> ApiError:
    return ApiError(
        409,
        "last_admin",
        f"{name} is the last admin of {team}. Nothing was changed; make another member an "
        "admin first.",
    )


async def create_service_account(
    state: State,
    viewer: User,
    team: str,
    *,
    name: str | None = None,
    description: str | None = None,
) -> tuple[User, str]:
    """Create an account for programs of a team, with a key; for the team's admins.

    Args:
        state: the server.
        viewer: who asks.
        team: its name.
        name: None makes one of the team's name.
        description: of the key.

    Returns:
        The account and its key, which can never be read again.
    """
    found = await require_team(state, viewer, Action.MANAGE, team)
    description = checked_text(description, "description")
    made = new_token()[:8]
    chosen = checked_name(name) if name is not None else f"service-{team[:40]}-{made}"
    key = new_token()
    try:
        account = await state.teams.create_service_account(
            found, chosen, key, state.clock(), description=description
        )
    except TakenError as error:
        raise taken(chosen) from error
    return account, key


async def invite(
    state: State,
    viewer: User,
    *,
    team: str | None = None,
    email: str | None = None,
    role: Role = Role.MEMBER,
) -> tuple[Invitation, str]:
    """Invite somebody into a team (its admins may), or just to the server (its admins may).

    Returns:
        The invitation, and the token for its link (see `link_of`), which is shown once.
    """
    if viewer.service:
        raise forbidden("A service account invites nobody.")
    if team is None:
        require_admin(viewer)
    found = None if team is None else await require_team(state, viewer, Action.MANAGE, team)
    token = new_token()
    invitation = await state.invitations.create(
        token,
        state.clock(),
        INVITATION_LIFETIME,
        invited_by=viewer.id,
        team_id=None if found is None else found.id,
        email=checked_email(email),
        role=role,
    )
    return invitation, token


def link_of(url: str, token: str) -> str:
    """Return the address that an invited person opens; `url` is the server's."""
    return f"{url}/invite?token={token}"


async def list_invitations(state: State, viewer: User, team: str | None = None) -> list[Invitation]:
    """Return invitations that nobody used yet, of all teams that the viewer manages or of one."""
    if team is not None:
        await require_team(state, viewer, Action.MANAGE, team)
        return await state.invitations.pending(state.clock(), teams=[team])
    managed = [name for name in viewer.roles if may(viewer, Action.MANAGE, name)]
    teams = None if viewer.admin else managed
    return await state.invitations.pending(state.clock(), teams=teams)


async def withdraw_invitation(state: State, viewer: User, invitation_id: int) -> None:
    """Make an invitation worthless; for whoever could have made it."""
    await _require_invitation(state, viewer, invitation_id)
    await state.invitations.withdraw(invitation_id)


async def renew_invitation(state: State, viewer: User, invitation_id: int) -> str:
    """Return a fresh token for an invitation whose link was lost; the old link is worthless."""
    await _require_invitation(state, viewer, invitation_id)
    token = new_token()
    if not await state.invitations.renew(invitation_id, token, state.clock(), INVITATION_LIFETIME):
        raise gone()
    return token


async def show_invitation(state: State, token: str) -> Invitation:
    """Return the invitation of a link, to whoever has it."""
    invitation = await state.invitations.find(token, state.clock())
    if invitation is None:
        raise gone()
    return invitation


async def accept_invitation(
    state: State, token: str, name: str, email: str | None = None
) -> tuple[User, str]:
    """Make an account by an invitation.

    Args:
        state: the server.
        token: the link's.
        name: the account's.
        email: None is the address that the invitation was meant for.

    Returns:
        The user and the first key, which can never be read again.
    """
    invitation = await show_invitation(state, token)
    email, key = checked_email(email) or invitation.email, new_token()
    try:
        user = await state.invitations.accept(token, checked_name(name), email, key, state.clock())
    except GoneError as error:
        raise gone() from error
    except TakenError as error:
        what = f"The name {name} or the email address"
        raise ApiError(
            409,
            "taken",
            f"{what} is taken. Nothing was written; choose another, or sign in first if it is you.",
        ) from error
    return user, key


async def join(state: State, viewer: User, token: str) -> Invitation:
    """Use an invitation into a team with the account that the viewer has."""
    invitation = await show_invitation(state, token)
    if viewer.service:
        raise forbidden("A service account belongs to one team.")
    if invitation.team is None:
        raise refused("You have an account already, and the invitation is for one.")
    try:
        await state.invitations.join(token, viewer, state.clock())
    except GoneError as error:
        raise gone() from error
    return invitation


async def _require_invitation(state: State, viewer: User, invitation_id: int) -> None:
    found = await state.invitations.get(invitation_id, state.clock())
    allowed = viewer.admin or (
        found is not None and found.team is not None and may(viewer, Action.MANAGE, found.team)
    )
    if found is None or not allowed:
        raise gone()


def gone() -> ApiError:
    """Return the refusal for an invitation that lets nobody in (any more)."""
    return ApiError(
        404,
        "invitation_not_found",
        "This invitation was used, withdrawn or has expired. Ask for a new one.",
    )
