"""Users, their keys, entities, teams and who is in them; what is allowed, `accounts` says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from ariadne import MutationType, ObjectType, QueryType

from asyncwb.server.graphql import projects
from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, if_there
from asyncwb.server.graphql.execution.pace import in_steps
from asyncwb.server.graphql.inputs import (
    CreateInviteInput,
    CreateServiceAccountInput,
    CreateTeamInput,
    CreateUserInput,
    DeleteApiKeyInput,
    DeleteInviteInput,
    GenerateApiKeyInput,
    back,
)
from asyncwb.server.graphql.nodes import NamedEntity, entity_of, user_of
from asyncwb.server.http.access import Action, Role, may
from asyncwb.server.http.errors import ApiError
from asyncwb.server.people import accounts, teams
from asyncwb.server.people.accounts import refused
from asyncwb.server.store.people.invitations import Invitation
from asyncwb.server.store.people.keys import StoredKey
from asyncwb.server.store.people.teams import Member
from asyncwb.server.store.people.users import User
from asyncwb.server.store.runs.projects import StoredProject
from asyncwb.server.store.usage import stored_bytes

LIST: Final = "users"

query = QueryType()
mutation = MutationType()
user_type = ObjectType("User")
entity_type = ObjectType("Entity")
BINDABLES = [query, mutation, user_type, entity_type]


@query.field("viewer")
def _viewer(_: object, info: Info) -> User:
    user: User = info.context.user
    return user


@query.field("users")
async def _users(
    _: object,
    info: Info,
    query: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> paging.Connection:
    context: Context = info.context
    size, cursor = paging.page_size(first), paging.decode(after, LIST)
    rows = await accounts.list_users(
        context.state,
        context.user,
        search=query or None,
        limit=size + 1,
        after=0 if cursor is None else cursor[1],
    )
    return paging.connection(rows, size, lambda row: (None, row.id), LIST)


@query.field("user")
async def _user(_: object, info: Info, user_name: str) -> User | None:
    context: Context = info.context
    return await if_there(accounts.find_user(context.state, context.user, user_name))


@query.field("entity")
async def _entity(_: object, info: Info, name: str | None = None) -> NamedEntity | None:
    """Return an entity that the user may know of.

    One that is not there is an error, where queries for other things answer null: W&B's
    `api.team("nope")` dies of a null in a KeyError.
    """
    if not name:
        return None
    known = may(info.context.user, Action.READ, name) and await entity_of(info.context, name)
    if not known:
        what = f"There is no user or team {name}, or you may not see it."
        raise ApiError(404, "entity_not_found", what)
    return NamedEntity(name)


@user_type.field("id")
def _user_id(user: User, _: Info) -> str:
    return ids.encode("User", user.id)


@user_type.field("username")
def _username(user: User, _: Info) -> str:
    return user.name


@user_type.field("email")
def _email(user: User, info: Info) -> str | None:
    return user.email if accounts.sees(info.context.user, user) else None


@user_type.field("accountType")
def _account_type(user: User, _: Info) -> str:
    return "SERVICE" if user.service else "USER"


@user_type.field("flags")
def _flags(_: User, _info: Info) -> str:
    return "{}"


@user_type.field("deletedAt")
def _deleted_at(user: User, _: Info) -> float | None:
    return user.disabled_at


@user_type.field("teams")
def _teams(user: User, info: Info) -> paging.Connection:
    """Give the user's own entity and those teams that the viewer may know of."""
    viewer: User = info.context.user
    known = [name for name in user.roles if name == user.name or may(viewer, Action.READ, name)]
    return paging.nodes([NamedEntity(name) for name in known])


@user_type.field("apiKeys")
async def _api_keys(user: User, info: Info) -> paging.Connection:
    context: Context = info.context
    if not accounts.keeps_keys_of(context.user, user):
        return paging.nodes([])
    return paging.nodes([_key(key) for key in await context.batch(_keys, user.id) or ()])


@user_type.field("projects")
async def _user_projects(
    user: User, info: Info, first: int | None = None, after: str | None = None
) -> paging.Connection:
    return await projects.page(info.context, user.name, first, after)


async def _keys(context: Context, user_ids: list[int]) -> dict[int, list[StoredKey]]:
    return await context.state.keys.of(user_ids)


def _key(key: StoredKey, text: str | None = None) -> dict[str, object]:
    return {
        "id": ids.encode("ApiKey", key.id),
        "name": text or key.hint,
        "description": key.description,
        "created_at": key.created_at,
    }


@entity_type.field("id")
async def _entity_id(entity: NamedEntity, info: Info) -> str:
    found = await entity_of(info.context, entity.name)
    # Projects may be older than the list of entities: such a one has its name for an id.
    return ids.encode("Entity", entity.name if found is None else found.id)


@entity_type.field("isTeam")
async def _is_team(entity: NamedEntity, info: Info) -> bool:
    found = await entity_of(info.context, entity.name)
    return found is not None and found.kind == "team"


@entity_type.field("entityType")
async def _entity_kind(entity: NamedEntity, info: Info) -> str:
    return "team" if await _is_team(entity, info) else "user"


@entity_type.field("createdAt")
async def _entity_made(entity: NamedEntity, info: Info) -> float | None:
    found = await entity_of(info.context, entity.name)
    return None if found is None else found.created_at


@entity_type.field("available")
@entity_type.field("isPaid")
@entity_type.field("privateOnly")
def _no(_: NamedEntity, _info: Info) -> bool:
    return False


@entity_type.field("codeSavingEnabled")
def _yes(_: NamedEntity, _info: Info) -> bool:
    return True


@entity_type.field("limits")
def _limits(_: NamedEntity, _info: Info) -> str:
    return "{}"


@entity_type.field("defaultAccess")
def _default_access(_: NamedEntity, _info: Info) -> str:
    return "PRIVATE"


@entity_type.field("readOnly")
def _read_only(entity: NamedEntity, info: Info) -> bool:
    return not may(info.context.user, Action.WRITE, entity.name)


@entity_type.field("readOnlyAdmin")
def _read_only_admin(entity: NamedEntity, info: Info) -> bool:
    return not may(info.context.user, Action.MANAGE, entity.name)


@entity_type.field("storageBytes")
async def _storage_bytes(entity: NamedEntity, info: Info) -> int | None:
    if not may(info.context.user, Action.READ, entity.name):
        return None
    return await info.context.batch(_bytes, entity.name)


async def _bytes(context: Context, names: list[str]) -> Mapping[str, int]:
    return await stored_bytes(context.state.database, names)


@entity_type.field("user")
async def _entity_user(entity: NamedEntity, info: Info) -> User | None:
    """Give whose own entity it is; null for a team."""
    context: Context = info.context
    if not may(context.user, Action.READ, entity.name) or await _is_team(entity, info):
        return None
    return await context.state.users.find(entity.name)


@entity_type.field("project")
async def _entity_project(
    entity: NamedEntity, info: Info, name: str | None = None
) -> StoredProject | None:
    return await projects.find(info.context, entity.name, name)


@entity_type.field("projects")
async def _entity_projects(
    entity: NamedEntity,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    filters: object = None,
    order: str | None = None,
) -> paging.Connection:
    if filters or order not in (None, "", "-created_at"):
        raise refused("Projects are listed newest first; there is no filter and no other order.")
    return await projects.page(info.context, entity.name, first, after)


@entity_type.field("members")
async def _members(entity: NamedEntity, info: Info) -> AsyncIterator[dict[str, object]]:
    """Give members and, to who may invite, open invitations, in the order of their coming."""
    context: Context = info.context
    if not may(context.user, Action.READ, entity.name):
        return in_steps([])
    if not await _is_team(entity, info):
        owner = await context.state.users.find(entity.name)
        own = [] if owner is None else [_member(Member(owner, Role.ADMIN, 0.0), entity.name)]
        return in_steps(own)
    found = await teams.list_members(context.state, context.user, entity.name)
    coming = [(member.joined_at, _member(member, entity.name)) for member in found]
    coming += [(one.created_at, _pending(one)) for one in await _open(context, entity.name)]
    return in_steps([node for _, node in sorted(coming, key=lambda pair: pair[0])])


def _member(member: Member, team: str) -> dict[str, object]:
    user = member.user
    return {
        "id": ids.encode("Member", f"{user.id}@{team}"),
        "admin": member.role is Role.ADMIN,
        "pending": False,
        "email": user.email,
        "username": user.name,
        "name": user.name,
        "account_type": "SERVICE" if user.service else "USER",
        "role": member.role.value,
    }


def _pending(invitation: Invitation) -> dict[str, object]:
    return {
        "id": ids.encode("Invite", invitation.id),
        "admin": invitation.role is Role.ADMIN,
        "pending": True,
        "email": invitation.email,
        "name": invitation.email or "",
        "account_type": "USER",
        "role": invitation.role.value,
    }


@entity_type.field("invites")
async def _invites(entity: NamedEntity, info: Info) -> AsyncIterator[dict[str, object]]:
    found = await _open(info.context, entity.name)
    return in_steps([_invite(invitation) for invitation in found])


def _invite(invitation: Invitation, url: str | None = None) -> dict[str, object]:
    return {
        "id": ids.encode("Invite", invitation.id),
        "name": invitation.email or "",
        "email": invitation.email,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "url": url,
    }


def _joined(member: Member, team: str) -> dict[str, object]:
    """Give what an invitation would be of somebody who has an account and is in at once."""
    user = member.user
    return {
        "id": ids.encode("Member", f"{user.id}@{team}"),
        "name": user.name,
        "email": user.email,
        "created_at": member.joined_at,
        "to_user": user,
    }


async def _open(context: Context, team: str) -> list[Invitation]:
    if not may(context.user, Action.MANAGE, team):
        return []
    return await context.state.invitations.pending(context.state.clock(), teams=[team])


@mutation.field("createTeam")
async def _create_team(_: object, info: Info, input: CreateTeamInput) -> dict[str, object]:
    context, admin = info.context, input.get("team_admin_user_name")
    team = await teams.create_team(context.state, context.user, input["team_name"], admin)
    return {**back(input), "entity": NamedEntity(team.name)}


@mutation.field("createInvite")
async def _create_invite(_: object, info: Info, input: CreateInviteInput) -> dict[str, object]:
    """Make a user of this server a member at once; invite an address that nobody here has."""
    context: Context = info.context
    state, viewer, team, role = context.state, context.user, input["entity_name"], _role(input)
    found = await teams.require_team(state, viewer, Action.MANAGE, team)
    name, email = input.get("username"), input.get("email")
    if not name and not email:
        raise refused("An invitation needs a user's name or an email address.")
    known = await state.users.find(str(name or email))
    if name and known is None:
        raise refused(f"There is no user {name!r}; invite an email address.")
    if known is None:
        made, token = await teams.invite(state, viewer, team=team, email=email, role=role)
        return {**back(input), "invite": _invite(made, teams.link_of(context.url, token))}
    if team in known.roles:
        raise refused(f"{known.name} is in {found.name} already.")
    member = await teams.set_member(state, viewer, team, known.name, role)
    return {**back(input), "invite": _joined(member, team)}


def _role(input: CreateInviteInput) -> Role:
    asked = input.get("role") or ("admin" if input.get("admin") else "member")
    try:
        return Role(asked)
    except ValueError:
        raise refused(f"A role is admin, member or viewer, not {asked!r}.") from None


@mutation.field("deleteInvite")
async def _delete_invite(_: object, info: Info, input: DeleteInviteInput) -> dict[str, object]:
    context, which = info.context, input.get("id") or ""
    if ids.kind(which) == "Invite":
        number = ids.number(which, "Invite")
        await teams.withdraw_invitation(context.state, context.user, number)
        return {**back(input), "success": True}
    (member,) = ids.decode(which, "Member")
    number_text, _at, team = member.partition("@")
    user = await user_of(context, int(number_text)) if number_text.isdecimal() else None
    if user is None or input.get("entity_name") not in (None, team):
        raise refused(f"There is no such member of {input.get('entity_name')}.")
    await teams.remove_member(context.state, context.user, team, user.name)
    return {**back(input), "success": True}


@mutation.field("createServiceAccount")
async def _create_service_account(
    _: object, info: Info, input: CreateServiceAccountInput
) -> dict[str, object]:
    context, description = info.context, input["description"]
    account, key = await teams.create_service_account(
        context.state, context.user, input["entity_name"], description=description
    )
    return {**back(input), "user": account, "api_key": key}


@mutation.field("createUser")
async def _create_user(_: object, info: Info, input: CreateUserInput) -> dict[str, object]:
    context: Context = info.context
    user, key = await accounts.create_user(
        context.state,
        context.user,
        name=input.get("username"),
        email=input["email"],
        admin=bool(input.get("admin")),
    )
    return {**back(input), "user": user, "api_key": key}


@mutation.field("generateApiKey")
async def _generate_key(_: object, info: Info, input: GenerateApiKeyInput) -> dict[str, object]:
    context, description = info.context, input.get("description")
    key, text = await accounts.create_key(context.state, context.user, context.user, description)
    return {**back(input), "api_key": _key(key, text)}


@mutation.field("deleteApiKey")
async def _delete_key(_: object, info: Info, input: DeleteApiKeyInput) -> dict[str, object]:
    number = ids.number(input["id"], "ApiKey")
    await accounts.revoke_key(info.context.state, info.context.user, number)
    return {**back(input), "success": True}
