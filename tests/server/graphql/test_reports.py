"""Reports, as W&B's own tools send and read them."""

from __future__ import annotations

import json
from typing import Any

from asyncwb.server.graphql.execution import ids
from asyncwb.server.graphql.reports import MAX_SPEC
from asyncwb.wire.rows.value_count import MAX_VALUES
from tests.fix_people import TEAM, People
from tests.fix_server import both_databases
from tests.server.graphql.asking import ask, codes, data

UPSERT = """
mutation (
  $id: ID, $entity: String, $project: String, $type: String, $name: String, $title: String
  $description: String, $spec: String
) {
  upsertView(
    input: {
      id: $id, entityName: $entity, projectName: $project, type: $type, name: $name
      displayName: $title, description: $description, spec: $spec, createdUsing: WANDB_SDK
    }
  ) {
    inserted
    view {
      id type name displayName description spec createdAt updatedAt locked
      project { name entityName } user { username } accessTokens { token }
    }
  }
}
"""
LIST = """
query ($project: String, $type: String = "runs", $name: String, $user: String, $after: String) {
  project(entityName: "lab", name: $project) {
    allViews(viewType: $type, viewName: $name, userName: $user, first: 2, after: $after) {
      edges { node { id displayName } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""
GET = "query ($id: ID!) { view(id: $id) { displayName spec } }"
DELETE = "mutation ($id: ID!) { deleteView(input: {id: $id}) { success pendingDrafts } }"


def _save(people: People, role: str = "member", /, **fields: Any) -> dict[str, Any]:
    saved: dict[str, Any] = data(people.server, UPSERT, people.headers(role), **fields)
    return saved["upsertView"]  # type: ignore[no-any-return]


def _titles(people: People, /, **variables: Any) -> list[str]:
    page = data(people.server, LIST, people.headers("viewer"), **variables)
    return [edge["node"]["displayName"] for edge in page["project"]["allViews"]["edges"]]


@both_databases
def test_a_report_is_written_and_rewritten(people: People) -> None:
    project = people.project()
    spec = json.dumps({"blocks": [{"type": "paragraph"}], "version": 5})
    made = _save(people, entity=TEAM, project=project, title="First", description="d", spec=spec)
    view = made["view"]
    assert made["inserted"]
    assert (view["type"], view["displayName"], view["description"]) == ("runs", "First", "d")
    assert view["project"] == {"name": project, "entityName": TEAM}
    assert (view["user"], view["accessTokens"]) == ({"username": "member"}, [])
    assert json.loads(view["spec"]) == json.loads(spec)
    changed = _save(people, "manager", id=view["id"], title="Second")
    assert not changed["inserted"]
    assert changed["view"]["displayName"] == "Second"
    assert changed["view"]["name"] == view["name"]
    assert changed["view"]["user"] == {"username": "member"}
    assert changed["view"]["updatedAt"] > view["updatedAt"]
    found = data(people.server, GET, people.headers("viewer"), id=view["id"])["view"]
    assert found == {"displayName": "Second", "spec": view["spec"]}
    gone = data(people.server, DELETE, people.headers("member"), id=view["id"])["deleteView"]
    assert gone == {"success": True, "pendingDrafts": False}
    assert data(people.server, GET, people.headers("member"), id=view["id"]) == {"view": None}


def test_reports_are_listed_newest_first_in_pages(people: People) -> None:
    project = people.project()
    for number in range(3):
        _save(people, entity=TEAM, project=project, title=f"report {number}", name=f"n{number}")
    _save(people, "manager", entity=TEAM, project=project, title="desk", type="project-view")
    assert _titles(people, project=project) == ["report 2", "report 1"]
    first = data(people.server, LIST, people.headers("viewer"), project=project)
    info = first["project"]["allViews"]["pageInfo"]
    assert info["hasNextPage"]
    _save(people, entity=TEAM, project=project, title="meanwhile")
    assert _titles(people, project=project, after=info["endCursor"]) == ["report 0"]
    assert _titles(people, project=project, name="n1") == ["report 1"]
    assert _titles(people, project=project, type="project-view") == ["desk"]
    assert _titles(people, project=project, type=None, user="manager") == ["desk"]
    wrong = ask(people.server, LIST, project=project, after=ids.encode("View", 1))
    assert codes(wrong) == ["bad_cursor"]


def test_what_cannot_be_a_report(people: People) -> None:
    project = people.project()
    where = {"entity": TEAM, "project": project}
    _save(people, **where, name="taken")
    other = _save(people, **where)["view"]["id"]
    for fields, code in (
        ({}, "bad_request"),
        ({"entity": TEAM, "project": "nothing"}, "project_not_found"),
        ({**where, "name": "taken"}, "taken"),
        ({"id": other, "name": "taken"}, "taken"),
        ({**where, "spec": "{"}, "bad_request"),
        ({**where, "spec": "[" * 100_000}, "bad_request"),
        ({**where, "spec": '"' + "x" * MAX_SPEC + '"'}, "bad_request"),
        ({**where, "spec": json.dumps([0] * MAX_VALUES)}, "bad_request"),
        ({**where, "name": "x" * 10_000}, "bad_request"),
        ({**where, "type": "x" * 33}, "bad_request"),
        ({**where, "description": "x" * 10_000}, "bad_request"),
        ({"id": ids.encode("View", 10**6)}, "view_not_found"),
        ({"id": "x"}, "bad_id"),
    ):
        answer = ask(people.server, UPSERT, people.headers("member"), **fields)
        assert codes(answer) == [code], (str(fields)[:100], answer)


def test_a_projects_reports_go_with_it(people: People) -> None:
    project = people.project()
    view = _save(people, entity=TEAM, project=project)["view"]["id"]
    which = ids.encode("Project", project, TEAM)
    data(people.server, f'mutation {{ deleteModel(input: {{id: "{which}"}}) {{ success }} }}')
    assert data(people.server, GET, id=view) == {"view": None}
