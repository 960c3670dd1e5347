"""People over HTTP: users, keys, teams, members, invitations.

    /api/v1/users[/{user}[/keys]]      /api/v1/keys[/{id}]
    /api/v1/teams[/{team}[/members[/{user}]]]      /api/v1/teams/{team}/service-accounts
    /api/v1/invitations[/{id}[/link]]  /api/v1/invitations/{show,accept,join}

Handlers read the request, call one function of `accounts.py` or `teams.py`, and write the answer;
what somebody may do is checked there. A secret (a key, an invitation's link) is in the answer
that makes it and in no other.
"""

from __future__ import annotations

from aiohttp import web

from asyncwb.server.http import answers
from asyncwb.server.http.access import Role
from asyncwb.server.http.address import base_url
from asyncwb.server.http.auth import public, require_same_origin
from asyncwb.server.http.json_body import fields
from asyncwb.server.http.login import open_session
from asyncwb.server.http.pages import page
from asyncwb.server.http.parameters import whole_number
from asyncwb.server.http.state import STATE, USER
from asyncwb.server.http.strict_json import json_response
from asyncwb.server.people import accounts, teams
from asyncwb.server.store.people.invitations import Invitation
from asyncwb.server.store.people.keys import StoredKey
from asyncwb.server.store.people.teams import Entity, Member
from asyncwb.server.store.people.users import User

_ID = r"{id:\d{1,18}}"


def routes() -> list[web.RouteDef]:
    """Return the routes of people."""
    user, team = "/api/v1/users/{user}", "/api/v1/teams/{team}"
    member, invitation = team + "/members/{user}", f"/api/v1/invitations/{_ID}"
    return [
        web.get("/api/v1/users", list_users),
        web.post("/api/v1/users", create_user),
        web.get(user, show_user),
        web.patch(user, change_user),
        web.get(f"{user}/keys", list_keys),
        web.post(f"{user}/keys", create_key),
        web.get("/api/v1/keys", list_keys),
        web.post("/api/v1/keys", create_key),
        web.delete(f"/api/v1/keys/{_ID}", revoke_key),
        web.get("/api/v1/teams", list_teams),
        web.post("/api/v1/teams", create_team),
        web.get(f"{team}/members", list_members),
        web.post(f"{team}/members", put_member),
        web.patch(member, put_member),
        web.delete(member, remove_member),
        web.post(f"{team}/service-accounts", create_service_account),
        web.get("/api/v1/invitations", list_invitations),
        web.post("/api/v1/invitations", create_invitation),
        web.delete(invitation, withdraw_invitation),
        web.post(f"{invitation}/link", renew_invitation),
        web.post("/api/v1/invitations/show", show_invitation),
        web.post("/api/v1/invitations/accept", accept_invitation),
        web.post("/api/v1/invitations/join", join),
        web.get("/invite", page, allow_head=False),
    ]


async def list_users(request: web.Request) -> web.Response:
    """Answer the users whom the viewer sees."""
    query, most = request.query, accounts.MAX_PAGE
    limit = whole_number(query.get("limit"), "limit", default=100, least=1, most=most)
    found = await accounts.list_users(
        request.app[STATE],
        request[USER],
        search=query.get("q"),
        limit=limit,
        after=whole_number(query.get("cursor"), "cursor", default=0, least=0, most=2**62),
    )
    more = str(found[-1].id) if len(found) == limit else None
    entries = [user_entry(request[USER], user) for user in found]
    return json_response({"users": entries, "next": more})


async def create_user(request: web.Request) -> web.Response:
    """Create a user; the answer has the first key."""
    asked = await fields(request, name=str | None, email=str | None, admin=bool | None)
    user, key = await accounts.create_user(
        request.app[STATE],
        request[USER],
        name=asked["name"],
        email=asked["email"],
        admin=bool(asked["admin"]),
    )
    made: answers.Account = {"user": user_entry(request[USER], user), "key": key}
    return _created(made)


async def show_user(request: web.Request) -> web.Response:
    """Answer one user."""
    return json_response({"user": user_entry(request[USER], await _user(request))})


async def change_user(request: web.Request) -> web.Response:
    """Change an account."""
    asked = await fields(request, admin=bool | None, disabled=bool | None, email=str | None)
    name = request.match_info["user"]
    user = await accounts.change_user(request.app[STATE], request[USER], name, **asked)
    return json_response({"user": user_entry(request[USER], user)})


async def list_keys(request: web.Request) -> web.Response:
    """Answer a user's keys: the viewer's own, or those of the user in the address."""
    found = await accounts.list_keys(request.app[STATE], request[USER], await _user(request))
    return json_response({"keys": [key_entry(key) for key in found]})


async def create_key(request: web.Request) -> web.Response:
    """Make a key; the answer has it."""
    asked = await fields(request, description=str | None)
    state, viewer, user = request.app[STATE], request[USER], await _user(request)
    stored, key = await accounts.create_key(state, viewer, user, asked["description"])
    made: answers.NewKey = {**key_entry(stored), "key": key}
    return _created(made)


async def revoke_key(request: web.Request) -> web.Response:
    """Make a key worthless; the answer says which it was, and whose."""
    viewer, number = request[USER], int(request.match_info["id"])
    key, owner = await accounts.revoke_key(request.app[STATE], viewer, number)
    return json_response({"key": key_entry(key), "user": user_entry(viewer, owner)})


async def list_teams(request: web.Request) -> web.Response:
    """Answer the teams that the viewer is in."""
    viewer = request[USER]
    found = await teams.list_teams(request.app[STATE], viewer)
    return json_response({"teams": [team_entry(viewer, team) for team in found]})


async def create_team(request: web.Request) -> web.Response:
    """Create a team."""
    asked = await fields(request, name=str, admin=str | None)
    state, viewer = request.app[STATE], request[USER]
    team = await teams.create_team(state, viewer, asked["name"], asked["admin"])
    return _created({"team": team_entry(viewer, team)})


async def list_members(request: web.Request) -> web.Response:
    """Answer a team's members."""
    team = request.match_info["team"]
    found = await teams.list_members(request.app[STATE], request[USER], team)
    return json_response({"members": [member_entry(request[USER], one) for one in found]})


async def put_member(request: web.Request) -> web.Response:
    """Add a member, named in the body, or change the role of the one in the address."""
    if "user" in request.match_info:
        asked = await fields(request, role=str)
        name = request.match_info["user"]
    else:
        asked = await fields(request, user=str, role=str | None)
        name = asked["user"]
    team, role = request.match_info["team"], _role(asked["role"])
    member = await teams.set_member(request.app[STATE], request[USER], team, name, role)
    return json_response({"member": member_entry(request[USER], member)})


async def remove_member(request: web.Request) -> web.Response:
    """Let a member go."""
    match = request.match_info
    await teams.remove_member(request.app[STATE], request[USER], match["team"], match["user"])
    return json_response({})


async def create_service_account(request: web.Request) -> web.Response:
    """Create an account for programs; the answer has its key."""
    asked = await fields(request, name=str | None, description=str | None)
    state, viewer, team = request.app[STATE], request[USER], request.match_info["team"]
    user, key = await teams.create_service_account(state, viewer, team, **asked)
    made: answers.Account = {"user": user_entry(viewer, user), "key": key}
    return _created(made)


async def list_invitations(request: web.Request) -> web.Response:
    """Answer the invitations that nobody used yet."""
    team = request.query.get("team")
    found = await teams.list_invitations(request.app[STATE], request[USER], team)
    return json_response({"invitations": [invitation_entry(one) for one in found]})


async def create_invitation(request: web.Request) -> web.Response:
    """Invite somebody; the answer has the link."""
    asked = await fields(request, team=str | None, email=str | None, role=str | None)
    invitation, token = await teams.invite(
        request.app[STATE],
        request[USER],
        team=asked["team"],
        email=asked["email"],
        role=_role(asked["role"]),
    )
    link = teams.link_of(base_url(request), token)
    return _created({"invitation": invitation_entry(invitation), "url": link})


async def withdraw_invitation(request: web.Request) -> web.Response:
    """Make an invitation worthless."""
    number = int(request.match_info["id"])
    await teams.withdraw_invitation(request.app[STATE], request[USER], number)
    return json_response({})


async def renew_invitation(request: web.Request) -> web.Response:
    """Make a new link for an invitation; the answer has it."""
    number = int(request.match_info["id"])
    token = await teams.renew_invitation(request.app[STATE], request[USER], number)
    return _created({"url": teams.link_of(base_url(request), token)})


@public
async def show_invitation(request: web.Request) -> web.Response:
    """Say what an invitation is for, to whoever has its link."""
    asked = await fields(request, token=str)
    state = request.app[STATE]
    found = await teams.show_invitation(state, asked["token"])
    host = await state.users.get(found.invited_by)
    offer: answers.Offer = {
        "team": found.team,
        "role": found.role,
        "email": found.email,
        "invited_by": None if host is None else host.name,
        "expires_at": found.expires_at,
    }
    return json_response(offer)


@public
async def accept_invitation(request: web.Request) -> web.Response:
    """Make an account by an invitation; the answer has its first key, and signs a browser in."""
    browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    if browser:
        require_same_origin(request)
    asked = await fields(request, token=str, name=str, email=str | None)
    user, key = await teams.accept_invitation(
        request.app[STATE], asked["token"], asked["name"], asked["email"]
    )
    made: answers.Account = {"user": user_entry(user, user), "key": key}
    response = _created(made)
    if browser:
        await open_session(request, user, response)
    return response


async def join(request: web.Request) -> web.Response:
    """Join a team by an invitation with the account that the viewer has."""
    asked = await fields(request, token=str)
    found = await teams.join(request.app[STATE], request[USER], asked["token"])
    joined: answers.Joined = {"team": found.team, "role": found.role}
    return json_response(joined)


async def _user(request: web.Request) -> User:
    name = request.match_info.get("user")
    if name is None:
        return request[USER]
    return await accounts.find_user(request.app[STATE], request[USER], name)


def _role(text: str | None) -> Role:
    try:
        return Role(text or "member")
    except ValueError as error:
        known = ", ".join(role.value for role in Role)
        raise accounts.refused(f"role must be one of {known}.") from error


def _created(value: object) -> web.Response:
    response = json_response(value)
    response.set_status(201)
    return response


def user_entry(viewer: User, user: User) -> answers.User:
    """Return a user as the viewer may see one; of others' teams only the common ones."""
    roles = (
        user.teams
        if viewer.admin or viewer.id == user.id
        else {name: role for name, role in user.teams.items() if name in viewer.roles}
    )
    return {
        "username": user.name,
        "email": user.email,
        "admin": user.admin,
        "service": user.service,
        "disabled": user.disabled_at is not None,
        "created_at": user.created_at,
        "teams": dict(roles),
    }


def key_entry(key: StoredKey) -> answers.Key:
    """Return a key as it can be shown."""
    return {
        "id": key.id,
        "hint": key.hint,
        "description": key.description,
        "created_at": key.created_at,
    }


def team_entry(viewer: User, team: Entity) -> answers.Team:
    """Return a team, with what the viewer is in it."""
    return {
        "name": team.name,
        "created_at": team.created_at,
        "role": viewer.roles.get(team.name),
    }


def member_entry(viewer: User, member: Member) -> answers.Member:
    """Return a member of a team."""
    entry = user_entry(viewer, member.user)
    return {**entry, "role": member.role, "joined_at": member.joined_at}


def invitation_entry(invitation: Invitation) -> answers.Invitation:
    """Return an invitation without its secret."""
    return {
        "id": invitation.id,
        "team": invitation.team,
        "email": invitation.email,
        "role": invitation.role,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }
