"""Projects over GraphQL: found, in pages, made, renamed, made public, deleted."""

from __future__ import annotations

from typing import Any

import pytest

from asyncwb.server.graphql.execution import ids
from tests.fix_people import TEAM, People
from tests.fix_server import ServerHandle, both_databases
from tests.server.graphql.asking import ask, codes, data

FIELDS = "id internalId name entityName createdAt isBenchmark readOnly access description"
UPSERT = f"""
mutation ($input: UpsertModelInput!) {{
  upsertModel(input: $input) {{ inserted clientMutationId project {{ {FIELDS} }} model {{ id }} }}
}}
"""
GET = f"""
query ($entity: String, $name: String) {{
  project(entityName: $entity, name: $name) {{ {FIELDS} user {{ username }} entity {{ name }} }}
}}
"""
PAGE = """
query ($after: String, $first: Int) {
  models(first: $first, after: $after) {
    edges { node { name } cursor } pageInfo { endCursor hasNextPage }
  }
}
"""


def _upsert(server: ServerHandle, headers: Any = None, /, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = data(server, UPSERT, headers, input=fields)["upsertModel"]
    return made


@both_databases
def test_a_project_is_made_once(server: ServerHandle) -> None:
    made = _upsert(server, name="p", description="d", clientMutationId="7")
    me = made["project"]["entityName"]
    assert (made["inserted"], made["clientMutationId"]) == (True, "7")
    assert made["model"] == {"id": ids.encode("Project", "p", me)}
    again = _upsert(server, name="p", entityName=me)
    assert not again["inserted"]
    assert again["project"] == made["project"]
    found = data(server, GET, name="p")["project"]
    assert found["user"] == {"username": me}
    assert found["entity"] == {"name": me}
    assert (found["access"], found["description"], found["readOnly"]) == ("PRIVATE", "d", False)
    assert (found["isBenchmark"], found["createdAt"][-1]) == (False, "Z")
    assert data(server, GET, name="nothing") == {"project": None}
    assert data(server, GET) == {"project": None}


def test_an_admins_project_makes_its_entity(server: ServerHandle) -> None:
    assert _upsert(server, name="p", entityName="new-team")["inserted"]
    entity = data(server, '{ entity(name: "new-team") { isTeam } }')["entity"]
    assert entity == {"isTeam": True}


def test_a_project_changes(people: People) -> None:
    manager, stranger = people.headers("manager"), people.headers("stranger")
    name = people.project()
    which = ids.encode("Project", name, TEAM)
    changed = _upsert(people.server, manager, id=which, description="new", access="USER_READ")
    assert changed["project"]["description"] == "new"
    seen = data(people.server, GET, stranger, entity=TEAM, name=name)["project"]
    assert (seen["access"], seen["readOnly"]) == ("USER_READ", True)
    assert _upsert(people.server, manager, id=which)["project"]["access"] == "USER_READ"
    renamed = _upsert(people.server, manager, id=which, name="renamed", access="PRIVATE")
    assert (renamed["project"]["name"], renamed["inserted"]) == ("renamed", False)
    assert data(people.server, GET, stranger, entity=TEAM, name="renamed") == {"project": None}
    member = people.headers("member")
    refused = ask(people.server, UPSERT, member, input={"id": renamed["model"]["id"], "name": "x"})
    assert codes(refused) == ["forbidden"]


def test_what_cannot_be_a_project(server: ServerHandle) -> None:
    _upsert(server, name="taken")
    other = _upsert(server, name="other")["model"]["id"]
    for fields, code in (
        ({}, "bad_request"),
        ({"name": ""}, "bad_request"),
        ({"name": "a/b"}, "bad_request"),
        ({"name": ".."}, "bad_request"),
        ({"name": "x" * 10_000}, "bad_request"),
        ({"name": "p", "access": "EVERYBODY"}, "bad_access"),
        ({"name": "p", "description": "x" * 10_000}, "bad_request"),
        ({"name": "p", "dockerImage": "x"}, "not_yet"),
        ({"name": "taken", "id": other}, "taken"),
        ({"name": "p", "id": "abc"}, "bad_id"),
        ({"id": ids.encode("Project", "p", "no-such-user")}, "project_not_found"),
    ):
        answer = ask(server, UPSERT, input=fields)
        assert codes(answer) == [code], (fields, answer)
    assert data(server, GET, name="p") == {"project": None}


def test_pages_stay_right_while_projects_are_made(server: ServerHandle) -> None:
    for number in range(5):
        _upsert(server, name=f"p{number}")
    first = data(server, PAGE, first=2)["models"]
    _upsert(server, name="p5")
    seen = [edge["node"]["name"] for edge in first["edges"]]
    after = first["pageInfo"]["endCursor"]
    while after is not None:
        page = data(server, PAGE, first=2, after=after)["models"]
        seen += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
    assert seen == ["p4", "p3", "p2", "p1", "p0"]
    assert codes(ask(server, PAGE, after="x")) == ["bad_cursor"]
    assert codes(ask(server, PAGE, first=-1)) == ["bad_page"]


@pytest.mark.parametrize("how", ["deleteModel", "renameProject"])
def test_a_project_goes_away(people: People, how: str) -> None:
    name = people.project()
    which = ids.encode("Project", name, TEAM)
    queries = {
        "deleteModel": f'deleteModel(input: {{id: "{which}"}}) {{ success }}',
        "renameProject": f"""renameProject(input: {{
          entityName: "lab", oldProjectName: "{name}", newProjectName: "new"
        }}) {{ project {{ run(name: "r1") {{ name }} }} }}""",
    }
    data(people.server, f"mutation {{ {queries[how]} }}", people.headers("manager"))
    there = {"name": "r1"} if how == "renameProject" else None
    for project in (name, "new"):
        run = f'{{ run(id: "{ids.encode("Run", "r1", project, TEAM)}") {{ name }} }}'
        assert data(people.server, run) == {"run": there}
    found = data(people.server, GET, entity=TEAM, name=name)["project"]
    assert (found is None) == (how == "deleteModel")
    if found is not None:
        again = f'mutation {{ deleteModel(input: {{id: "{which}"}}) {{ success }} }}'
        assert codes(ask(people.server, again, people.headers("manager"))) == ["project_renamed"]


def test_an_entity_lists_its_projects(people: People) -> None:
    name = people.project("public")
    query = 'query { entity(name: "lab") { projects { edges { node { name } } } } }'
    edges = data(people.server, query, people.headers("viewer"))["entity"]["projects"]["edges"]
    assert edges == [{"node": {"name": name}}]
    filtered = query.replace("projects {", 'projects(filters: "{\\"a\\": 1}") {')
    assert codes(ask(people.server, filtered)) == ["bad_request"]
