"""Who may do what: every route of the application, for everybody, against one table.

A route without an entry in the table fails the test: whoever adds one says here who may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from asyncwb.server.http import pages
from asyncwb.server.http.access import Action, Role, deleting, may, readable
from asyncwb.server.http.auth import new_token
from asyncwb.server.http.state import STATE
from asyncwb.server.store.people.users import User
from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from tests.fix_people import NO_KEY, ROLES, TEAM, People
from tests.fix_server import both_databases
from tests.server.ingest_client import first_frame, head

pytestmark = pytest.mark.anyio

OK: Final = 0
"""any status below 400"""
Rule = Mapping[str, int]


def _rule(**statuses: int) -> Rule:
    """Say what each role is answered; who is not named is let in, who has no key is not."""
    return {role: 401 if role in NO_KEY else statuses.get(role, OK) for role in ROLES}


def _but(rule: Rule, **statuses: int) -> Rule:
    return {**rule, **statuses}


OPEN: Final = dict.fromkeys(ROLES, OK)
KEY: Final = _rule()
PERSON: Final = _rule(service=403)
ADMIN: Final = _rule(stranger=403, viewer=403, member=403, manager=403, service=403)
READ: Final = _rule(stranger=404)
WRITE: Final = _rule(stranger=404, viewer=403)
MANAGE: Final = _rule(stranger=404, viewer=403, member=403, service=403)
HIDDEN: Final = _rule(stranger=404, viewer=404, member=404, service=404)
"""as MANAGE, for what one who may not touch it is not told of"""
LOG: Final = _rule(stranger=403, viewer=403)
ALL_403: Final = dict.fromkeys(ROLES, 403)


@dataclass(frozen=True)
class Case:
    """One request to a route.

    Two rules are for private and for public projects; `fill` makes what stands in the
    braces of the address, `body` what is sent; both may make what the request then uses up.
    """

    rules: Rule | tuple[Rule, Rule]
    body: Callable[[Try], Any] | None = None
    fill: Callable[[Try], dict[str, str]] = lambda _: {}
    headers: Callable[[Try], dict[str, str]] = lambda _: {}
    status: Callable[[int, bytes], int] = lambda status, _: status

    def rule(self, visibility: str) -> Rule:
        """Return the rule for projects of this visibility."""
        if isinstance(self.rules, tuple):
            return self.rules[visibility == "public"]
        return self.rules


@dataclass
class Try:
    """What a case may use: the people, and a project (a fresh one, if it asks)."""

    people: People
    visibility: str
    project: str
    state: dict[str, Any] = field(default_factory=dict)

    def fresh(self) -> dict[str, str]:
        return {"project": self.people.project(self.visibility)}

    def call(self, work: Callable[[web.Application], Any]) -> Any:
        return self.people.server.call(work)


def _key_id(on: Try) -> dict[str, str]:
    async def work(app: web.Application) -> int:
        member = on.people.users["member"]
        return (await app[STATE].keys.add(member.id, new_token(), 0.0)).id

    return {"id": str(on.call(work))}


def _invited(team: str) -> Callable[[Try], tuple[int, str]]:
    def make(on: Try) -> tuple[int, str]:
        async def work(app: web.Application) -> tuple[int, str]:
            state, token, admin = app[STATE], new_token(), on.people.users["admin"]
            await state.teams.ensure({team}, state.clock(), admin_id=admin.id)
            found = await state.teams.find(team)
            assert found is not None
            made = await state.invitations.create(
                token, state.clock(), 60.0, invited_by=admin.id, team_id=found.id
            )
            return made.id, token

        invitation: tuple[int, str] = on.call(work)
        return invitation

    return make


def _invitation_id(on: Try) -> dict[str, str]:
    return {"id": str(_invited(TEAM)(on)[0])}


def _newcomer(on: Try, joins: bool) -> str:
    async def work(app: web.Application) -> str:
        state, name = app[STATE], on.people.unique("newcomer")
        user = await state.users.create(name, new_token(), 0.0)
        if joins:
            team = await state.teams.find(TEAM)
            assert team is not None
            await state.teams.set_member(team.id, user.id, Role.VIEWER, 0.0)
        return name

    name: str = on.call(work)
    return name


def _own_page(on: Try) -> dict[str, str]:
    return {"Origin": on.people.server.url}


def _batch(on: Try) -> bytes:
    return encode_batch([(head(project=on.project, entity=TEAM, writer=new_token()), [_FRAME])])


def _stream_status(status: int, body: bytes) -> int:
    return 403 if status == 200 and b'"code":"forbidden"' in body else status


def _uploaded(on: Try) -> dict[str, str]:
    """Put a file there for the ones who read."""
    if "file" not in on.state:
        on.state["file"] = "notes.txt"

        async def work(app: web.Application) -> None:
            url = f"{on.people.server.url}/files/{TEAM}/{on.project}/r1/notes.txt"
            async with (
                aiohttp.ClientSession(headers=on.people.headers("member")) as session,
                session.put(url, data=b"text") as answer,
            ):
                assert answer.status < 300

        on.call(work)
    return {"name": "notes.txt"}


_FRAME: Final = first_frame(1)
_RUN: Final = "/api/v1/runs/{entity}/{project}/{run}"
_PROJECT: Final = "/api/v1/projects/{entity}/{project}"
_MEMBER: Final = "/api/v1/teams/{team}/members/{user}"
_FILE: Final = "/files/{entity}/{project}/{run}/{name}"
_READS: Final = (READ, KEY)
_WRITES: Final = (WRITE, _but(WRITE, stranger=403))
_MANAGES: Final = (MANAGE, _but(MANAGE, stranger=403))
_OF_MEMBER: Final = _rule(stranger=404, viewer=403, manager=403, service=403)

TABLE: Final[dict[tuple[str, str], tuple[Case, ...]]] = {
    ("GET", "/ready"): (Case(OPEN),),
    ("GET", "/metrics"): (Case(KEY),),
    ("GET", "/"): (Case(OPEN),),
    ("GET", "/assets/{name}"): (Case(OPEN),),
    ("GET", "/favicon.ico"): (Case(OPEN),),
    ("GET", "/icon.svg"): (Case(OPEN),),
    ("GET", "/invite"): (Case(OPEN),),
    ("GET", "/login"): (Case(OPEN),),
    ("GET", "/{entity}"): (Case(OPEN),),
    ("GET", "/{entity}/{project}"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/reports"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/reports/{name}"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/settings"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/runs/{run}"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/sweeps"): (Case(OPEN),),
    ("GET", "/{entity}/{project}/sweeps/{name}"): (Case(OPEN),),
    ("POST", "/api/v1/login"): (
        Case(OPEN, body=lambda on: {"key": on.people.keys["viewer"]}, headers=_own_page),
        Case(
            dict.fromkeys(ROLES, 403),
            body=lambda on: {"key": on.people.keys["service"]},
            headers=_own_page,
        ),
    ),
    ("POST", "/api/v1/logout"): (Case(OPEN, headers=_own_page),),
    ("POST", "/api/v1/login/links"): (Case(PERSON),),
    ("POST", "/api/v1/login/links/show"): (
        Case(dict.fromkeys(ROLES, 404), body=lambda _: {"token": "unknown"}),
    ),
    ("GET", "/api/v1/viewer"): (Case(KEY),),
    ("POST", "/graphql"): (Case(KEY, body=lambda _: {"query": "{ __typename }"}),),
    ("POST", "/api/v1/ingest"): (
        Case(
            LOG,
            body=_batch,
            headers=lambda _: {"Content-Type": CONTENT_TYPE},
            status=_stream_status,
        ),
    ),
    # Users and keys.
    ("GET", "/api/v1/users"): (Case(KEY),),
    ("POST", "/api/v1/users"): (Case(ADMIN, body=lambda on: {"name": on.people.unique("u")}),),
    ("GET", "/api/v1/users/{user}"): (Case(READ),),
    ("PATCH", "/api/v1/users/{user}"): (
        Case(_OF_MEMBER, body=lambda on: {"email": f"{on.people.unique('m')}@example.org"}),
        Case(
            _but(_OF_MEMBER, member=403),
            fill=lambda on: {"user": _newcomer(on, joins=True)},
            body=lambda _: {"disabled": True},
        ),
        Case(
            _rule(stranger=404, viewer=403, member=403, manager=403, service=403),
            body=lambda _: {"admin": False},
        ),
    ),
    ("GET", "/api/v1/users/{user}/keys"): (
        Case(_OF_MEMBER),
        Case(
            MANAGE,
            fill=lambda _: {"user": "service"},
        ),
    ),
    ("POST", "/api/v1/users/{user}/keys"): (
        Case(_OF_MEMBER),
        Case(MANAGE, fill=lambda _: {"user": "service"}),
    ),
    ("GET", "/api/v1/keys"): (Case(PERSON),),
    ("POST", "/api/v1/keys"): (Case(PERSON, body=lambda _: {"description": "laptop"}),),
    ("DELETE", "/api/v1/keys/{id}"): (Case(_but(HIDDEN, member=OK, manager=404), fill=_key_id),),
    # Teams.
    ("GET", "/api/v1/teams"): (Case(KEY),),
    ("POST", "/api/v1/teams"): (Case(ADMIN, body=lambda on: {"name": on.people.unique("t")}),),
    ("GET", "/api/v1/teams/{team}/members"): (Case(READ),),
    ("POST", "/api/v1/teams/{team}/members"): (
        Case(MANAGE, body=lambda on: {"user": _newcomer(on, joins=False), "role": "viewer"}),
    ),
    ("PATCH", _MEMBER): (
        Case(
            MANAGE,
            fill=lambda on: {"user": _newcomer(on, joins=True)},
            body=lambda _: {"role": "member"},
        ),
    ),
    ("DELETE", _MEMBER): (Case(MANAGE, fill=lambda on: {"user": _newcomer(on, joins=True)}),),
    ("POST", "/api/v1/teams/{team}/service-accounts"): (Case(MANAGE),),
    # Invitations.
    ("GET", "/api/v1/invitations"): (Case(KEY),),
    ("POST", "/api/v1/invitations"): (
        Case(MANAGE, body=lambda _: {"team": TEAM}),
        Case(ADMIN, body=lambda _: {"email": "new@example.org"}),
    ),
    ("DELETE", "/api/v1/invitations/{id}"): (Case(HIDDEN, fill=_invitation_id),),
    ("POST", "/api/v1/invitations/{id}/link"): (Case(HIDDEN, fill=_invitation_id),),
    ("POST", "/api/v1/invitations/show"): (
        Case(OPEN, body=lambda on: {"token": _invited(TEAM)(on)[1]}),
    ),
    ("POST", "/api/v1/invitations/accept"): (
        Case(
            OPEN,
            body=lambda on: {"token": _invited("guild")(on)[1], "name": on.people.unique("guest")},
        ),
    ),
    ("POST", "/api/v1/invitations/join"): (
        Case(PERSON, body=lambda on: {"token": _invited("guild")(on)[1]}),
    ),
    # Projects and runs.
    ("GET", "/api/v1/projects"): (Case(KEY),),
    ("POST", "/api/v1/projects"): (
        Case(LOG, body=lambda on: {"entity": TEAM, "name": on.people.unique()}),
        Case(
            _but(ADMIN, manager=OK),
            body=lambda on: {"entity": TEAM, "name": on.people.unique(), "visibility": "public"},
        ),
    ),
    ("GET", _PROJECT): (Case(_READS),),
    ("PATCH", _PROJECT): (
        Case(_WRITES, body=lambda _: {"description": "what it is about"}),
        Case(_MANAGES, body=lambda on: {"visibility": on.visibility}),
        Case(_MANAGES, fill=Try.fresh, body=lambda on: {"name": on.people.unique()}),
    ),
    ("DELETE", _PROJECT): (Case(_MANAGES, fill=Try.fresh),),
    ("GET", f"{_PROJECT}/runs"): (Case(_READS),),
    ("GET", _RUN): (Case(_READS),),
    ("GET", f"{_RUN}/series"): (Case(_READS),),
    ("GET", f"{_RUN}/metrics"): (Case(_READS),),
    ("GET", f"{_RUN}/history"): (Case(_READS),),
    ("GET", f"{_RUN}/live"): (Case(_READS),),
    # Files: an address with a token is its own key, and a wrong token is nobody's.
    ("PUT", "/storage/{token}"): (Case(ALL_403, body=lambda _: b"text"),),
    ("GET", "/storage/{token}"): (Case(ALL_403),),
    ("PUT", _FILE): (Case(_WRITES, fill=lambda _: {"name": "new.txt"}, body=lambda _: b"text"),),
    ("GET", _FILE): (Case(_READS, fill=_uploaded),),
    ("POST", "/files/{entity}/{project}/{run}/file_stream"): (Case(_WRITES, body=lambda _: {}),),
}


def routes_of(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }


@pytest.fixture
def built_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page, so that its files are there."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    for name in ("index.html", "icon.svg", "favicon.ico", "assets/page.js"):
        (dist / name).write_text("")
    monkeypatch.setattr(pages, "DIST", dist)


async def test_every_route_is_in_the_table(people: People) -> None:
    """HEAD is GET without its body, by the same handler."""
    routes = {key for key in routes_of(people.server.app) if key[0] != "HEAD"}
    assert routes == TABLE.keys()


@both_databases
@pytest.mark.parametrize("role", ROLES)
async def test_everybody_at_every_route(people: People, role: str, built_page: None) -> None:
    heads = {path for method, path in routes_of(people.server.app) if method == "HEAD"}
    wrong = []
    connector = aiohttp.TCPConnector(force_close=True)  # live answers do not end
    async with aiohttp.ClientSession(people.server.url, connector=connector) as session:
        for visibility in ("private", "public"):
            on = Try(people, visibility, people.project(visibility))
            for (method, path), cases in TABLE.items():
                for number, case in enumerate(cases):
                    rule = case.rule(visibility)
                    methods = ["HEAD", method] if method == "GET" and path in heads else [method]
                    for one in methods:
                        status = await _status(session, on, role, one, path, case)
                        if not (status == rule[role] or (rule[role] == OK and status < 400)):
                            wrong.append((visibility, one, path, number, status, rule[role]))
    assert not wrong


async def _status(
    session: aiohttp.ClientSession, on: Try, role: str, method: str, path: str, case: Case
) -> int:
    status, body = await _answer(session, on, role, method, path, case)
    return case.status(status, body)


async def _answer(
    session: aiohttp.ClientSession,
    on: Try,
    role: str,
    method: str,
    path: str,
    case: Case,
    **names: str,
) -> tuple[int, bytes]:
    filled = {"entity": TEAM, "team": TEAM, "project": on.project, "run": "r1", "user": "member"}
    filled |= {"name": "page.js", "token": "x" * 20, "id": "1", "key": "loss"}
    address = path.format(**{**filled, **case.fill(on), **names})
    query = {"key": "loss"} if path.endswith("/series") else {}
    body = case.body(on) if case.body is not None else None
    sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    headers = {**on.people.headers(role), **case.headers(on)}
    async with session.request(method, address, params=query, headers=headers, **sent) as answer:
        live = path.endswith("/live") and answer.status == 200
        return answer.status, b"" if live else await answer.read()


async def test_a_refusal_tells_nothing_of_what_is_there(people: People) -> None:
    """What is hidden and what is not there are answered alike."""
    on = Try(people, "private", people.project())
    compared = 0
    async with aiohttp.ClientSession(people.server.url) as session:
        for (method, path), cases in TABLE.items():
            hidden = {"project", "team", "user", "id"} & {w.strip("{}") for w in path.split("/")}
            if not hidden or path.startswith("/{entity}"):
                continue
            for case in cases:
                for role in ("anonymous", "wrong key", "stranger"):
                    if case.rule("private")[role] not in (401, 404):
                        continue
                    name = min(hidden)
                    there = await _answer(session, on, role, method, path, case)
                    missing = "999999" if name == "id" else "nothing"
                    not_there = await _answer(
                        session, on, role, method, path, case, **{name: missing}
                    )
                    assert there[0] == not_there[0] == case.rule("private")[role], (
                        method,
                        path,
                        role,
                    )
                    assert _shape(there[1]) == _shape(not_there[1]), (method, path, role)
                    compared += 1
    assert compared > 50


def _shape(body: bytes) -> str:
    """Return an error without the names that the address had."""
    words = body.decode().split()
    return " ".join(word for word in words if "/" not in word and "'" not in word)


ANNA: Final = User(1, "anna", roles={"anna": Role.ADMIN, "lab": Role.MEMBER, "club": Role.VIEWER})


def test_what_is_not_allowed_is_denied() -> None:
    allowed = {
        (entity, action)
        for entity in ("anna", "lab", "club", "other", "")
        for action in Action
        if may(ANNA, action, entity)
    }
    assert allowed == {
        *(("anna", action) for action in (Action.READ, Action.WRITE, Action.MANAGE)),
        *(("lab", action) for action in (Action.READ, Action.WRITE)),
        ("club", Action.READ),
    }
    assert [action for action in Action if may(ANNA, action, "other", "public")] == [Action.READ]
    assert not may(ANNA, Action.WRITE, "club", "public")
    assert readable(ANNA) == frozenset(("anna", "lab", "club"))
    root = User(2, "root", admin=True)
    assert all(may(root, action, "anywhere") for action in Action)
    assert readable(root) is None


def test_what_one_made_one_may_delete() -> None:
    assert deleting(ANNA, 1) is Action.WRITE
    assert deleting(ANNA, 2) is Action.MANAGE
    assert deleting(ANNA, None) is Action.MANAGE
