"""People over GraphQL: what each may see of the others, teams, invitations and keys."""

from __future__ import annotations

from typing import Any

from asyncwb.server.graphql.execution import ids
from tests.fix_people import TEAM, People
from tests.server.graphql.asking import ask, codes, data

ME = "{ viewer { id username entity email admin flags teams { edges { node { name } } } } }"
TEAM_NOW = """
query ($name: String!) {
  entity(name: $name) {
    id isTeam entityType readOnly readOnlyAdmin storageBytes
    members { id name role pending accountType apiKey email }
    invites { id email url }
  }
}
"""
INVITE = """
mutation ($team: String!, $email: String, $name: String, $role: String, $admin: Boolean) {
  createInvite(
    input: {entityName: $team, email: $email, username: $name, role: $role, admin: $admin}
  ) { invite { id name email url createdAt expiresAt toUser { name } } }
}
"""
LEAVE = """
mutation ($id: String, $team: String) {
  deleteInvite(input: {id: $id, entityName: $team}) { success }
}
"""
NEW_KEY = 'mutation { generateApiKey(input: {description: "d"}) { apiKey { id name } } }'
KEYS = "{ viewer { apiKeys { edges { node { id name description createdAt } } } } }"
DROP_KEY = "mutation ($id: String!) { deleteApiKey(input: {id: $id}) { success } }"


def _as(people: People, role: str, query: str, /, **variables: Any) -> dict[str, Any]:
    return data(people.server, query, people.headers(role), **variables)


def _refusal(people: People, role: str, query: str, /, **variables: Any) -> list[str]:
    return codes(ask(people.server, query, people.headers(role), **variables))


def _nodes(connection: dict[str, Any]) -> list[Any]:
    return [edge["node"] for edge in connection["edges"]]


def test_the_viewer(people: People) -> None:
    me = _as(people, "member", ME)["viewer"]
    assert me["id"] == ids.encode("User", people.users["member"].id)
    assert (me["username"], me["entity"], me["admin"]) == ("member", "member", False)
    assert me["flags"] == "{}"
    assert [node["name"] for node in _nodes(me["teams"])] == ["member", TEAM]
    assert _as(people, "service", ME)["viewer"]["entity"] == TEAM


def test_users_are_found_by_who_may_know_of_them(people: People) -> None:
    query = "query ($query: String) { users(query: $query) { edges { node { username } } } }"

    def found(role: str, search: str | None = None) -> set[str]:
        return {n["username"] for n in _nodes(_as(people, role, query, query=search)["users"])}

    assert found("stranger") == {"stranger"}
    assert {"member", "manager", "viewer", "service"} <= found("viewer")
    assert "stranger" not in found("viewer")
    assert found("admin", "strang") == {"stranger"}
    one = "query ($name: String!) { user(userName: $name) { email } }"
    assert _as(people, "stranger", one, name="member") == {"user": None}
    assert _as(people, "admin", one, name="member") == {"user": {"email": None}}


def test_only_an_admin_finds_users_by_part_of_an_address(people: People) -> None:
    """Anybody else could find out a hidden one, letter by letter."""
    make = "mutation ($email: String!) { createUser(input: {email: $email}) { user { id } } }"
    query = "query ($query: String) { users(query: $query) { edges { node { email } } } }"
    _as(people, "admin", make, email="guest%@example.org")
    for part in ("guest%", "%@EXAMPLE", "example.org"):
        assert _nodes(_as(people, "admin", query, query=part)["users"]) == [
            {"email": "guest%@example.org"}
        ]
        assert _nodes(_as(people, "member", query, query=part)["users"]) == []


def test_users_come_in_pages(people: People) -> None:
    query = """
    query ($after: String) {
      users(first: 2, after: $after) {
        edges { node { username } cursor } pageInfo { endCursor hasNextPage }
      }
    }
    """
    seen: list[str] = []
    after, more = None, True
    while more:
        page = _as(people, "admin", query, after=after)["users"]
        seen += [node["username"] for node in _nodes(page)]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert sorted(seen) == sorted(user.name for user in people.users.values())
    assert _refusal(people, "admin", query, after="bm9uZQ==") == ["bad_cursor"]


def test_a_team_is_seen_from_within(people: People) -> None:
    seen = _as(people, "viewer", TEAM_NOW, name=TEAM)["entity"]
    assert (seen["isTeam"], seen["entityType"], seen["storageBytes"]) == (True, "team", 0)
    assert (seen["readOnly"], seen["readOnlyAdmin"]) == (True, True)
    roles = {member["name"]: member["role"] for member in seen["members"]}
    assert roles == {
        "viewer": "viewer",
        "member": "member",
        "manager": "admin",
        "service": "member",
    }
    assert seen["members"][-1]["accountType"] == "SERVICE"
    assert _refusal(people, "stranger", TEAM_NOW, name=TEAM) == ["entity_not_found"]
    assert _refusal(people, "stranger", TEAM_NOW, name="no-such-user") == ["entity_not_found"]
    own = _as(people, "stranger", TEAM_NOW, name="stranger")["entity"]
    assert (own["isTeam"], own["readOnlyAdmin"]) == (False, False)
    assert [member["name"] for member in own["members"]] == ["stranger"]


def test_somebody_with_an_account_is_in_at_once(people: People) -> None:
    asked = {"team": TEAM, "name": "stranger", "role": "viewer"}
    invite = _as(people, "manager", INVITE, **asked)["createInvite"]["invite"]
    assert (invite["toUser"], invite["url"]) == ({"name": "stranger"}, None)
    assert _as(people, "stranger", ME)["viewer"]["teams"]["edges"][1]["node"]["name"] == TEAM
    assert _refusal(people, "manager", INVITE, **asked) == ["bad_request"]
    assert _as(people, "manager", LEAVE, id=invite["id"], team=TEAM)["deleteInvite"]["success"]
    assert _refusal(people, "stranger", TEAM_NOW, name=TEAM) == ["entity_not_found"]
    assert _refusal(people, "manager", LEAVE, id=invite["id"], team=TEAM) == ["user_not_found"]


def test_an_address_is_invited(people: People) -> None:
    asked = {"team": TEAM, "email": "New@Example.com", "admin": True}
    invite = _as(people, "manager", INVITE, **asked)["createInvite"]["invite"]
    assert invite["email"] == "new@example.com"
    assert invite["url"].startswith(f"{people.server.url}/invite?token=")
    seen = _as(people, "manager", TEAM_NOW, name=TEAM)["entity"]
    assert [(i["id"], i["url"]) for i in seen["invites"]] == [(invite["id"], None)]
    assert (seen["members"][-1]["pending"], seen["members"][-1]["role"]) == (True, "admin")
    hidden = _as(people, "member", TEAM_NOW, name=TEAM)["entity"]
    assert (hidden["invites"], len(hidden["members"])) == ([], len(seen["members"]) - 1)
    assert _as(people, "manager", LEAVE, id=invite["id"], team=TEAM)["deleteInvite"]["success"]
    assert _as(people, "manager", TEAM_NOW, name=TEAM)["entity"]["invites"] == []


def test_what_cannot_be_an_invitation(people: People) -> None:
    for asked in (
        {"team": TEAM},
        {"team": TEAM, "name": "no-such-user"},
        {"team": TEAM, "email": "no address"},
        {"team": TEAM, "name": "stranger", "role": "king"},
    ):
        assert _refusal(people, "manager", INVITE, **asked) == ["bad_request"], asked
    assert _refusal(people, "manager", LEAVE, id="x", team=TEAM) == ["bad_id"]
    assert _refusal(people, "manager", LEAVE, team=TEAM) == ["bad_id"]
    elsewhere = ids.encode("Member", f"{people.users['member'].id}@{TEAM}")
    assert _refusal(people, "manager", LEAVE, id=elsewhere, team="other") == ["bad_request"]


def test_a_key_is_shown_once_and_lets_in_until_it_is_revoked(people: People) -> None:
    made = _as(people, "member", NEW_KEY)["generateApiKey"]["apiKey"]
    headers = {"Authorization": f"Bearer {made['name']}"}
    keys = _nodes(data(people.server, KEYS, headers)["viewer"]["apiKeys"])
    assert [key["description"] for key in keys] == [None, "d"]
    assert made["name"] not in str(keys)
    assert keys[-1]["name"] == f"...{made['name'][-4:]}"
    assert _refusal(people, "stranger", DROP_KEY, id=made["id"]) == ["key_not_found"]
    assert _as(people, "member", DROP_KEY, id=made["id"])["deleteApiKey"]["success"]
    assert len(_nodes(_as(people, "member", KEYS)["viewer"]["apiKeys"])) == 1


def test_nobody_sees_the_keys_of_another(people: People) -> None:
    query = 'query { user(userName: "member") { apiKeys { edges { node { name } } } } }'
    assert _as(people, "manager", query)["user"]["apiKeys"]["edges"] == []
    assert len(_as(people, "admin", query)["user"]["apiKeys"]["edges"]) == 1


def test_accounts_for_people_and_programs(people: People) -> None:
    make = """
    mutation ($email: String!) {
      createUser(input: {email: $email}) { user { username email } apiKey }
    }
    """
    made = _as(people, "admin", make, email="ann@example.com")["createUser"]
    assert made["user"] == {"username": "ann", "email": "ann@example.com"}
    me = data(people.server, ME, {"Authorization": f"Bearer {made['apiKey']}"})
    assert me["viewer"]["username"] == "ann"
    assert _refusal(people, "admin", make, email="ann@example.com") == ["taken"]
    service = """
    mutation ($team: String!) {
      createServiceAccount(input: {entityName: $team, description: "ci"}) { user { id } apiKey }
    }
    """
    account = _as(people, "manager", service, team=TEAM)["createServiceAccount"]
    me = data(people.server, ME, {"Authorization": f"Bearer {account['apiKey']}"})
    assert (me["viewer"]["id"], me["viewer"]["entity"]) == (account["user"]["id"], TEAM)
