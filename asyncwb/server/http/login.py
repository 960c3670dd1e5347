"""Logging the page in: by a one-time link, or by an API key typed into its form.

A link is made by whoever has a key, and works once and for ten minutes. To open it changes
nothing, since any site can make a browser do that: the page says whose account it is, and signs in
when asked to. The session's cookie cannot be read by scripts nor made use of by other sites, and
the session ends with the key that opened it.
"""

from __future__ import annotations

from aiohttp import web

from asyncwb.server.http.access import forbidden
from asyncwb.server.http.address import base_path, base_url
from asyncwb.server.http.answers import Viewer
from asyncwb.server.http.auth import (
    COOKIE,
    KEYS,
    LINK_LIFETIME,
    SESSION_LIFETIME,
    new_token,
    public,
    require_same_origin,
)
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.json_body import fields
from asyncwb.server.http.pages import page
from asyncwb.server.http.state import STATE, USER
from asyncwb.server.http.strict_json import json_response
from asyncwb.server.store.people.users import User


def routes() -> list[web.RouteDef]:
    """Return the routes of logging in and out."""
    return [
        web.get("/api/v1/viewer", viewer),
        web.post("/api/v1/login/links", make_link),
        web.post("/api/v1/login/links/show", show_link),
        web.get("/login", page, allow_head=False),
        web.post("/api/v1/login", log_in),
        web.post("/api/v1/logout", log_out),
    ]


async def viewer(request: web.Request) -> web.Response:
    """Say who the key or the session belongs to."""
    return json_response(viewer_entry(request[USER]))


def viewer_entry(user: User) -> Viewer:
    """Return what somebody is told of the own account."""
    return {
        "username": user.name,
        "entity": user.entity,
        "admin": user.admin,
        "email": user.email,
        "service": user.service,
        "teams": dict(user.teams),
    }


async def make_link(request: web.Request) -> web.Response:
    """Make a link that logs a browser in once."""
    _require_person(request[USER])
    state, token = request.app[STATE], new_token()
    await state.users.add_login_link(request[USER], token, state.clock(), LINK_LIFETIME)
    return web.json_response({"url": f"{base_url(request)}/login?token={token}"})


@public
async def show_link(request: web.Request) -> web.Response:
    """Say whom a link would log in, to whoever has it; it stays good."""
    asked = await fields(request, token=str)
    state = request.app[STATE]
    user = await state.users.by_link(asked["token"], state.clock())
    if user is None:
        raise _no_link()
    return web.json_response({"username": user.name})


@public
async def log_in(request: web.Request) -> web.Response:
    """Open a session for whoever knows a key, or has a link: that is used up."""
    require_same_origin(request)
    asked = await fields(request, key=str | None, token=str | None)
    state = request.app[STATE]
    if asked["token"] is not None:
        user = await state.users.use_login_link(asked["token"], state.clock())
        if user is None:
            raise _no_link()
    else:
        user = await request.app[KEYS].user(asked["key"] or "", state.clock())
        if user is None:
            raise ApiError(401, "unauthorized", "The server does not know this key. Check it.")
    _require_person(user)
    response = json_response(viewer_entry(user))
    await open_session(request, user, response)
    return response


@public
async def log_out(request: web.Request) -> web.Response:
    """Close the session; fine without one."""
    require_same_origin(request)
    token = request.cookies.get(COOKIE)
    if token is not None:
        await request.app[STATE].users.close_session(token)
    response = web.json_response({})
    response.del_cookie(COOKIE, path=base_path(request) or "/")
    return response


def _no_link() -> ApiError:
    what = "This sign-in link was already used, or has expired. Ask for a new one."
    return ApiError(404, "link_not_found", what)


def _require_person(user: User) -> None:
    if user.service:
        raise forbidden("This key is a service account's, which cannot sign in to the page.")


async def open_session(request: web.Request, user: User, response: web.Response) -> None:
    """Sign the browser in that gets this response."""
    state, token = request.app[STATE], new_token()
    await state.users.open_session(user, token, state.clock(), SESSION_LIFETIME)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_LIFETIME),
        path=base_path(request) or "/",
        httponly=True,
        samesite="Lax",
        secure=base_url(request).startswith("https://"),
    )
