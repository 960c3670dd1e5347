"""Every root field against every role: deny by default.

A root field without an entry fails here: whoever adds one says who may use it. Fields that the
server does not have yet have their entry in `later.NOT_YET`; they answer everybody alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from aiohttp import web
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

from asyncwb.server.graphql import executable_schema
from asyncwb.server.graphql.execution import ids
from asyncwb.server.graphql.later import EMPTY, NOT_YET
from asyncwb.server.http.state import STATE
from asyncwb.server.store.records import RunKey
from tests.fix_people import NO_KEY, ROLES, TEAM, People
from tests.server.graphql.asking import ask, codes, data, post

KEYED: Final = tuple(role for role in ROLES if role not in NO_KEY)
IN_TEAM: Final = ("viewer", "member", "manager", "service")

Outcomes = Mapping[str, str]


def only(*roles: str, others: str, **by_role: str) -> Outcomes:
    """Say that these roles may, and what the others are told."""
    return {role: by_role.get(role, "ok" if role in roles else others) for role in KEYED}


EVERYBODY: Final = only(*KEYED, others="")
READ: Final = only(*IN_TEAM, "admin", others="null")
WRITERS: Final = ("member", "manager", "service", "admin")
MANAGERS: Final = ("manager", "admin")


def write(hidden: str) -> Outcomes:
    """Who may write; a stranger is told that there is nothing."""
    return only(*WRITERS, others="forbidden", stranger=hidden)


def manage(hidden: str) -> Outcomes:
    """Who may manage; a stranger is told that there is nothing."""
    return only(*MANAGERS, others="forbidden", stranger=hidden)


def delete_of_member(hidden: str) -> Outcomes:
    """Who may delete what the member made."""
    return only("member", *MANAGERS, others="forbidden", stranger=hidden)


@dataclass(frozen=True)
class Case:
    """A root field: its arguments and selection, and what each role is told.

    `arguments` is made afresh for each role. `public` is what a stranger is told where the
    project is public; None where no project is meant.
    """

    call: str
    expected: Outcomes
    arguments: Callable[[People, str], Mapping[str, Any]] = field(default=lambda *_: {})
    public: str | None = None


def _run(people: People, project: str) -> dict[str, str]:
    return {"id": ids.encode("Run", "r1", project, TEAM)}


def _project_id(people: People, project: str) -> dict[str, str]:
    return {"id": ids.encode("Project", project, TEAM)}


def _named(people: People, project: str) -> dict[str, str]:
    return {"project": project}


def _fresh(people: People, project: str) -> dict[str, str]:
    return {"project": project, "name": people.unique()}


NEW_VIEW: Final = """
mutation ($project: String) {
  upsertView(input: {entityName: "lab", projectName: $project}) { view { id } }
}
"""


def _view(people: People, project: str) -> dict[str, str]:
    made = data(people.server, NEW_VIEW, people.headers("member"), project=project)
    return {"id": made["upsertView"]["view"]["id"]}


def _file(people: People, project: str) -> dict[str, str]:
    async def announce(app: web.Application) -> int:
        state = app[STATE]
        run = await state.projects.locate_run(RunKey(TEAM, project, "r1"))
        assert run is not None
        (file,) = await state.files.announce(run.id, {"a": None}, state.clock())
        return file.id

    return {"id": ids.encode("File", people.server.call(announce))}


def _invitation(people: People, _: str) -> dict[str, str]:
    query = """
    mutation { createInvite(input: {entityName: "lab", email: "a@b.c"}) { invite { id } } }
    """
    made = data(people.server, query, people.headers("manager"))
    return {"id": made["createInvite"]["invite"]["id"]}


def _key(people: People, _: str) -> dict[str, str]:
    query = "mutation { generateApiKey(input: {}) { apiKey { id } } }"
    made = data(people.server, query, people.headers("member"))
    return {"id": made["generateApiKey"]["apiKey"]["id"]}


def _somebody(people: People, _: str) -> dict[str, str]:
    return {"name": people.unique("somebody")}


QUERIES: Final = {
    "serverInfo": Case("serverInfo { features { name } }", EVERYBODY),
    "viewer": Case("viewer { id }", EVERYBODY),
    "users": Case("users { edges { cursor } }", EVERYBODY),
    "user": Case('user(userName: "member") { id }', READ),
    "entity": Case(
        'entity(name: "lab") { id }', only(*IN_TEAM, "admin", others="entity_not_found")
    ),
    "organization": Case('organization(name: "lab") { id }', only(others="null")),
    "project": Case('project(entityName: "lab", name: $project) { id }', READ, _named, "ok"),
    "model": Case('model(entityName: "lab", name: $project) { id }', READ, _named, "ok"),
    "models": Case('models(entityName: "lab") { edges { cursor } }', READ, _named, "ok"),
    "run": Case("run(id: $id) { id }", READ, _run, "ok"),
    "view": Case("view(id: $id) { id }", READ, _view, "ok"),
}

MUTATIONS: Final = {
    "createTeam": Case(
        "createTeam(input: {teamName: $name}) { entity { id } }",
        only("admin", others="forbidden"),
        _somebody,
    ),
    "createInvite": Case(
        'createInvite(input: {entityName: "lab", email: "a@b.c"}) { invite { id } }',
        manage("team_not_found"),
    ),
    "deleteInvite": Case(
        "deleteInvite(input: {id: $id}) { success }",
        only(*MANAGERS, others="invitation_not_found"),
        _invitation,
    ),
    "createServiceAccount": Case(
        'createServiceAccount(input: {entityName: "lab", description: ""}) { user { id } }',
        manage("team_not_found"),
    ),
    "createUser": Case(
        'createUser(input: {email: "", username: $name}) { user { id } }',
        only("admin", others="forbidden"),
        _somebody,
    ),
    "generateApiKey": Case(
        "generateApiKey(input: {}) { apiKey { id } }",
        only(*KEYED, others="", service="forbidden"),
    ),
    "deleteApiKey": Case(
        "deleteApiKey(input: {id: $id}) { success }",
        only("member", "admin", others="key_not_found"),
        _key,
    ),
    "upsertModel": Case(
        'upsertModel(input: {entityName: "lab", name: $name}) { inserted }',
        write("forbidden"),
        _somebody,
    ),
    "deleteModel": Case(
        "deleteModel(input: {id: $id}) { success }",
        manage("project_not_found"),
        _project_id,
        "forbidden",
    ),
    "renameProject": Case(
        """renameProject(
          input: {entityName: "lab", oldProjectName: $project, newProjectName: $name}
        ) { project { id } }""",
        manage("project_not_found"),
        _fresh,
        "forbidden",
    ),
    "upsertView": Case(
        'upsertView(input: {entityName: "lab", projectName: $project}) { inserted }',
        write("project_not_found"),
        _named,
        "forbidden",
    ),
    "deleteView": Case(
        "deleteView(input: {id: $id}) { success }",
        delete_of_member("view_not_found"),
        _view,
        "forbidden",
    ),
    "upsertBucket": Case(
        'upsertBucket(input: {entityName: "lab", modelName: $project, name: "r1"}) { inserted }',
        write("forbidden"),
        _named,
        "forbidden",
    ),
    "upsertSweep": Case(
        """upsertSweep(
          input: {entityName: "lab", projectName: $project, config: "method: grid"}
        ) { sweep { id } }""",
        write("forbidden"),
        _named,
        "forbidden",
    ),
    "rewindRun": Case(
        """rewindRun(
          input: {
            entityName: "lab", projectName: $project, runName: "r1"
            metricName: "_step", metricValue: 0
          }
        ) { rewoundRun { id } }""",
        write("run_not_found"),
        _named,
        "forbidden",
    ),
    "stopRun": Case(
        "stopRun(input: {id: $id}) { success }", write("run_not_found"), _run, "forbidden"
    ),
    "updateRunState": Case(
        'updateRunState(input: {id: $id, state: "failed"}) { success }',
        write("run_not_found"),
        _run,
        "forbidden",
    ),
    "deleteRun": Case(
        "deleteRun(input: {id: $id}) { success }",
        delete_of_member("run_not_found"),
        _run,
        "forbidden",
    ),
    "notifyScriptableRunAlert": Case(
        """notifyScriptableRunAlert(
          input: {
            entityName: "lab", projectName: $project, runName: "r1", title: "t", text: "t"
          }
        ) { success }""",
        write("run_not_found"),
        _named,
        "forbidden",
    ),
    "createRunFiles": Case(
        """createRunFiles(
          input: {entityName: "lab", projectName: $project, runName: "r1", files: ["a"]}
        ) { runID }""",
        write("run_not_found"),
        _named,
        "forbidden",
    ),
    "markRunFilesUploaded": Case(
        """markRunFilesUploaded(
          input: {entityName: "lab", projectName: $project, runName: "r1", files: []}
        ) { success }""",
        write("run_not_found"),
        _named,
        "forbidden",
    ),
    "deleteFiles": Case(
        "deleteFiles(input: {files: [$id]}) { success }",
        write("run_not_found"),
        _file,
        "forbidden",
    ),
}
CASES: Final = {("Query", name): case for name, case in QUERIES.items()} | {
    ("Mutation", name): case for name, case in MUTATIONS.items()
}
_KINDS: Final = {"id": "ID!", "project": "String!", "name": "String!"}


def document_of(kind: str, case: Case, arguments: Mapping[str, Any]) -> str:
    """Return the document that asks a root field as its case says."""
    # W&B's inputs differ in whether an id is an ID or a String.
    strings = ("deleteModel", "deleteApiKey", "deleteInvite")
    kinds = {**_KINDS, "id": "String!" if case.call.startswith(strings) else "ID!"}
    used = [name for name in arguments if f"${name}" in case.call]
    declared = ", ".join(f"${name}: {kinds[name]}" for name in used)
    return f"{kind.lower()} {f'({declared})' if declared else ''} {{ it: {case.call} }}"


def _outcome(answer: Mapping[str, Any]) -> str:
    if "errors" in answer:
        return codes(answer)[0]
    it = answer["data"]["it"]
    empty = it is None or it.get("edges") == [] or it.get("success") is False
    return "null" if empty else "ok"


def test_every_root_field_has_an_entry() -> None:
    schema = executable_schema()
    for kind, root in (("Query", schema.query_type), ("Mutation", schema.mutation_type)):
        assert root is not None
        declared = {name for k, name in CASES if k == kind}
        assert declared | set(NOT_YET[kind]) == set(root.fields)
        assert not declared & set(NOT_YET[kind])
        assert set(EMPTY.get(kind, {})) <= declared


@pytest.mark.parametrize(("kind", "name"), sorted(CASES))
def test_a_root_field_against_every_role(people: People, kind: str, name: str) -> None:
    case = CASES[kind, name]
    for role in KEYED:
        arguments = case.arguments(people, people.project())
        document = document_of(kind, case, arguments)
        answer = ask(people.server, document, people.headers(role), **arguments)
        assert _outcome(answer) == case.expected[role], (role, answer)
    if case.public is not None:
        arguments = case.arguments(people, people.project("public"))
        answer = ask(people.server, document, people.headers("stranger"), **arguments)
        assert _outcome(answer) == case.public, answer


def test_without_a_good_key_every_field_is_closed(people: People) -> None:
    for role in NO_KEY:
        for (kind, _), case in CASES.items():
            body = f'{{"query": "{kind.lower()} {{ {case.call.split("(")[0]} }}"}}'
            status, answer = post(people.server, body.encode(), people.headers(role))
            assert (status, answer["error"]["code"]) == (401, "unauthorized")


def _sample(kind: Any) -> str:
    """Write the least value that a type takes."""
    kind = kind.of_type if is_non_null_type(kind) else kind
    if is_list_type(kind):
        return f"[{_sample(kind.of_type)}]"
    if isinstance(kind, GraphQLInputObjectType):
        needed = [(n, f) for n, f in kind.fields.items() if is_required_input_field(f)]
        return "{" + ", ".join(f"{n}: {_sample(f.type)}" for n, f in needed) + "}"
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    return {"Boolean": "true", "JSONString": '"{}"', "Int": "1", "Float": "1"}.get(kind.name, '"1"')


def _least(root: GraphQLObjectType, name: str) -> str:
    """Write a selection of a field with the least arguments that it takes."""
    field = root.fields[name]
    needed = [(n, a) for n, a in field.args.items() if is_required_argument(a)]
    arguments = ", ".join(f"{n}: {_sample(a.type)}" for n, a in needed)
    below = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"{name}{f'({arguments})' if arguments else ''}{below}"


def test_what_is_not_there_yet_says_so_to_everybody(people: People) -> None:
    schema, project = executable_schema(), people.project("public")
    make = """mutation ($project: String) {
      it: upsertSweep(
        input: {entityName: "lab", projectName: $project, config: "method: grid"}
      ) { sweep { name } }
    }"""
    made = data(people.server, make, people.headers("member"), project=project)
    sweep = made["it"]["sweep"]["name"]
    where = {
        "Query": "query {{ {} }}",
        "Mutation": "mutation {{ {} }}",
        "Project": f'query {{{{ project(entityName: "lab", name: "{project}") {{{{ {{}} }}}} }}}}',
        "Run": f"""query {{{{ project(entityName: "lab", name: "{project}") {{{{
            run(name: "r1") {{{{ {{}} }}}}
        }}}} }}}}""",
        "Sweep": f"""query {{{{ project(entityName: "lab", name: "{project}") {{{{
            sweep(sweepName: "{sweep}") {{{{ {{}} }}}}
        }}}} }}}}""",
        "Entity": 'query {{ entity(name: "stranger") {{ {} }} }}',
    }
    assert where.keys() == NOT_YET.keys()
    for kind, names in NOT_YET.items():
        root = schema.type_map[kind]
        assert isinstance(root, GraphQLObjectType)
        for name in names:
            query = where[kind].format(_least(root, name))
            answer = ask(people.server, query, people.headers("stranger"))
            assert codes(answer) == ["not_yet"], (query, answer)
            assert f"{kind}.{name}" in answer["errors"][0]["message"]
