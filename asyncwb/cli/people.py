"""`asyncwb users`, `teams`, `invite`, `join`, `keys`: who may use a server, from a terminal.

Each command is one request to the server's native API, with the key of whoever runs it; what
somebody may do, the server says. Keys and links are printed once: nobody can read them again.
"""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import parse_qs, quote, urlsplit

import typer

from asyncwb.cli.native import ChosenServer, ask
from asyncwb.cli.output import say, show_table
from asyncwb.cli.usage import only_one, refuse
from asyncwb.errors import UsageError
from asyncwb.settings import Settings, read_credentials, write_credentials
from asyncwb.typing import JsonObject


def users(
    add: Annotated[str | None, typer.Option(help="Create a user of this name.")] = None,
    email: Annotated[str | None, typer.Option(help="The new user's email address.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Make the new user an admin.")] = False,
    disable: Annotated[str | None, typer.Option(help="Let this user in no more.")] = None,
    enable: Annotated[str | None, typer.Option(help="Let a disabled user in again.")] = None,
) -> None:
    """List the users that you share a team with (an admin: all), or create or disable one.

    A new user's first key is printed once.
    """
    only_one(add=add, disable=disable, enable=enable)
    if add is None and (admin or email is not None):
        refuse("--email and --admin are for a new user: give its name with --add.")
    server = ChosenServer()
    if add is not None:
        body = {"name": add, "email": email, "admin": admin}
        made = server.ask("POST", "users", body)
        say(f"{made['user']['username']} may use {server.url} with this key:\n{made['key']}")
        return
    for name, off in ((disable, True), (enable, False)):
        if name is not None:
            server.ask("PATCH", f"users/{_part(name)}", {"disabled": off})
            say(f"{name} is {'disabled' if off else 'enabled'}.")
            return
    rows = [
        (one["username"], one["email"] or "", _what(one), ", ".join(one["teams"]))
        for one in server.ask("GET", "users?limit=1000")["users"]
    ]
    show_table(("user", "email", "", "teams"), rows)


def teams(
    team: Annotated[str | None, typer.Argument(help="The team; left out: list yours.")] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the team.")] = False,
    add: Annotated[
        str | None, typer.Option(help="Make this user a member, or give another role.")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="The role for --add: admin, member or viewer.", show_default="member"),
    ] = None,
    remove: Annotated[str | None, typer.Option(help="Let this member go.")] = None,
    service: Annotated[
        str | None, typer.Option(help="Make an account for programs: what its key is for.")
    ] = None,
) -> None:
    """List teams or a team's members, create a team, or change who is in it."""
    if team is None and (create or any(one is not None for one in (add, role, remove, service))):
        refuse("Which team? Its name comes first: asyncwb teams NAME --create.")
    if role is not None and add is None:
        refuse("--role is for a member: say for whom with --add.")
    server = ChosenServer()
    if team is None:
        found = server.ask("GET", "teams")["teams"]
        show_table(("team", "your role"), [(one["name"], one["role"] or "") for one in found])
        return
    members = f"teams/{_part(team)}/members"
    if create:
        server.ask("POST", "teams", {"name": team})
    if add is not None:
        server.ask("POST", members, {"user": add, "role": role or "member"})
    if remove is not None:
        server.ask("DELETE", f"{members}/{_part(remove)}")
    if service is not None:
        path = f"teams/{_part(team)}/service-accounts"
        made = server.ask("POST", path, {"description": service})
    if create:  # printed when all is done: stdout may take nothing
        say(f"The team {team} is there, and you are its admin.")
    if service is not None:
        name = made["user"]["username"]
        say(f"{name} may log to {team} with this key:\n{made['key']}")
        return
    rows = [
        (one["username"], one["email"] or "", one["role"], _what(one))
        for one in server.ask("GET", members)["members"]
    ]
    show_table(("member", "email", "role", ""), rows)


def invite(
    team: Annotated[str | None, typer.Option(help="The team to join, if any.")] = None,
    role: Annotated[
        str | None,
        typer.Option(help="Role there: admin, member, viewer.", show_default="member"),
    ] = None,
    email: Annotated[str | None, typer.Option(help="Whom it is meant for.")] = None,
) -> None:
    """Make a link that lets one person in: an account, and a place in the team.

    It works once, within 7 days. The server sends no mail: give the link to the person yourself.
    """
    if role is not None and team is None:
        refuse("--role is a role in a team: say in which with --team.")
    server = ChosenServer()
    body = {"team": team, "role": role or "member", "email": email}
    made = server.ask("POST", "invitations", body)
    say(f"Good once, for 7 days:\n{made['url']}")
    say("In a terminal it is taken up with: asyncwb join LINK --name NAME")


def join(
    link: Annotated[str, typer.Argument(help="The link of an invitation.")],
    name: Annotated[str, typer.Option(help="The name of your new account.")],
    email: Annotated[str | None, typer.Option(help="Your email address.")] = None,
) -> None:
    """Take up an invitation: make an account, store its key, and send runs there from now on."""
    parts = urlsplit(link)
    token = parse_qs(parts.query).get("token", [""])[0]
    if not token or not parts.netloc:
        raise UsageError("That is no link of an invitation. Nothing was done; copy all of it.")
    path = parts.path.removesuffix("/invite")
    url = Settings.resolve({"base_url": f"{parts.scheme}://{parts.netloc}{path}"}).base_url or ""
    body = {"token": token, "name": name, "email": email}
    made = ask(url, "/api/v1/invitations/accept", method="POST", body=body)
    folder = Settings.resolve().data_dir
    stored = read_credentials(folder)
    for entry in stored.values():
        entry.pop("default", None)
    kept = write_credentials(folder, stored | {url: {"key": made["key"], "default": True}})
    say(f"You are {name} at {url}; the key is in {kept}. Runs go there now.")


def keys(
    create: Annotated[str | None, typer.Option(help="Make a key: what it is for.")] = None,
    revoke: Annotated[int | None, typer.Option(help="Make the key of this id worthless.")] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose: a service account of your team.", metavar="NAME")
    ] = None,
) -> None:
    """List your API keys, make one, or revoke one. A new key is printed once."""
    only_one(create=create, revoke=revoke)
    if revoke is not None and user is not None:
        refuse("The id alone says which key --revoke means: leave --user out.")
    server = ChosenServer()
    path = "keys" if user is None else f"users/{_part(user)}/keys"
    if create is not None:
        say(server.ask("POST", path, {"description": create})["key"])
        return
    if revoke is not None:
        mine = server.ask("GET", "viewer")["username"]  # before: it may be the key that asks
        say(f"{_which(revoke, server.ask('DELETE', f'keys/{revoke}'), mine)} is worthless now.")
        return
    rows = [
        (
            str(key["id"]),
            key["hint"],
            key["description"] or "",
            time.strftime("%Y-%m-%d", time.localtime(key["created_at"])),
        )
        for key in server.ask("GET", path)["keys"]
    ]
    show_table(("id", "ends in", "for", "made"), rows)


def _which(number: int, answer: JsonObject, mine: str) -> str:
    """Name the key that was revoked, and whose it was; an older server does not say."""
    if "key" not in answer:
        return f"The key {number}"
    owner = answer["user"]["username"]
    whose = f"Your key {number}" if owner == mine else f"The key {number} of {owner}"
    return f"{whose} (ends in {answer['key']['hint'].lstrip('.')})"


def _part(name: str) -> str:
    return quote(name, safe="")


def _what(user: JsonObject) -> str:
    words = [word for word in ("admin", "service", "disabled") if user[word]]
    return ", ".join(words)
