"""`wandb.Api()` asks our server what it asks W&B's, and gets the same answers as ours."""

from __future__ import annotations

import json
import urllib.request

import asyncwb
from tests.fix_server import ServerHandle
from tests.fix_wandb import WandbClient, newest_release

pytestmark = newest_release


def log_runs(server: ServerHandle) -> None:
    settings = asyncwb.Settings(base_url=server.url, api_key=server.api_key, silent=True)
    for i in range(7):
        config = {"lr": i / 10, "model": {"kind": "cnn" if i % 2 else "mlp"}}
        tags = ["even"] if i % 2 == 0 else []
        with asyncwb.init(
            project="p", id=f"r{i}", name=f"run {i}", config=config, tags=tags, settings=settings
        ) as run:
            run.log({"acc": 1 - i / 10})


_QUERIES = """
api = wandb.Api()
def ids(filters=None, order="+created_at", per_page=50):
    return [run.id for run in api.runs("p", filters=filters, order=order, per_page=per_page)]
answer({
    "all": ids(), "pages": ids(per_page=2), "newest": ids(order="-created_at"),
    "config": ids({"config.lr": {"$gte": 0.3}}),
    "value": ids({"config.model.value.kind": "cnn"}) or ids({"config.model.kind": "cnn"}),
    "tags": ids({"tags": "even"}), "in": ids({"tags": {"$in": ["even", "x"]}}),
    "and": ids({"$and": [{"config.model.kind": "cnn"}, {"summary_metrics.acc": {"$lt": 0.8}}]}),
    "or": ids({"$or": [{"display_name": "run 1"}, {"name": "r2"}]}),
    "regex": ids({"displayName": {"$regex": "run [34]"}}),
    "not": ids({"state": {"$ne": "finished"}}),
    "sorted": ids(order="-summary_metrics.acc"),
    "lr": ids(order="-config.lr.value"),
    "count": len(api.runs("p", filters={"config.lr": {"$lt": 0.25}})),
})
"""


def test_filters_order_and_pages(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    log_runs(wandb_client.server)
    found = wandb_client.run(_QUERIES)
    every = [f"r{i}" for i in range(7)]
    expected = {
        "all": every,
        "pages": every,
        "newest": every[::-1],
        "config": every[3:],
        "value": ["r1", "r3", "r5"],
        "tags": ["r0", "r2", "r4", "r6"],
        "in": ["r0", "r2", "r4", "r6"],
        "and": ["r3", "r5"],
        "or": ["r1", "r2"],
        "regex": ["r3", "r4"],
        "not": [],
        "sorted": every,
        "lr": every[::-1],
        "count": 3,
    }
    assert found == expected
    ours = api.runs("p", filters={"config.model.kind": "cnn"}, order="-summary_metrics.acc")
    assert [run.id for run in ours] == ["r1", "r3", "r5"]


_EDITS = """
api = wandb.Api()
run = api.run("p/r0")
run.config["added"] = 1
run.tags = [*run.tags, "new"]
run.name, run.notes = "renamed", "some notes"
run.update()
run.summary["hand"] = 5
run.summary.update({"other": {"deep": 1}})
api.run("p/r1").delete()
again = wandb.Api().run("p/r0")
answer([again.name, again.notes, sorted(again.tags), again.config["added"],
        again.summary["hand"], [r.id for r in wandb.Api().runs("p")]])
"""


def test_edits(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    log_runs(wandb_client.server)
    left = ["r0", *(f"r{i}" for i in range(2, 7))]
    assert wandb_client.run(_EDITS) == ["renamed", "some notes", ["even", "new"], 1, 5, left]
    run = api.run("p/r0")
    assert (run.name, run.notes, sorted(run.tags)) == ("renamed", "some notes", ["even", "new"])
    assert (run.config["added"], run.summary["hand"], run.summary["acc"]) == (1, 5, 1.0)
    assert run.summary["other"]["deep"] == 1
    assert [run.id for run in api.runs("p")] == left


_PEOPLE = """
api = wandb.Api()
me = api.viewer
api.create_project("fresh", me.entity)
team = api.create_team("crew", me.username)
guest = api.create_user("guest@example.org")
account = api.team("crew").create_service_account("robot")
answer({
    "me": [me.username, me.entity, api.default_entity],
    "projects": sorted(project.name for project in api.projects(me.entity)),
    "project": api.project("fresh", me.entity).name,
    "members": sorted(member.username for member in wandb.Api().team("crew").members),
    "found": [user.email for user in api.users("guest@example.org")],
    "missing": api.user("nobody@example.org"),
    "reports": [report.display_name for report in api.reports(f"{me.entity}/fresh")],
    "robot": account.username,
    "removed": account.delete(),
    "left": [member.username for member in wandb.Api().team("crew").members],
})
"""


def test_people_and_projects(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    found = wandb_client.run(_PEOPLE)
    name = api.viewer.username
    assert found["me"] == [name, name, name]
    assert (found["projects"], found["project"]) == (["fresh"], "fresh")
    assert name in found["members"]
    assert len(found["members"]) == 2
    assert (found["found"], found["missing"]) == (["guest@example.org"], None)
    assert found["reports"] == []
    assert found["robot"] in found["members"]
    assert (found["removed"], found["left"]) == (True, [name])


_KEYS = """
api = wandb.Api()
me = api.viewer
key = me.generate_api_key("laptop")
with_it = wandb.Api(api_key=key)
named = [with_it.viewer.username, len(wandb.Api().viewer.api_keys)]
deleted = me.delete_api_key(key)
try:
    wandb.Api(api_key=key).viewer
except Exception as error:
    refused = type(error).__name__
else:
    refused = None
team = api.create_team("crew")
guest = api.create_user("guest@example.org")
invited = [team.invite("guest@example.org"), team.invite("nobody-of-this-name")]
answer({
    "key": len(key), "named": named, "deleted": deleted, "refused": refused,
    "left": len(wandb.Api().viewer.api_keys), "invited": invited,
    "search": [[user.email for user in api.users(part)]
               for part in (guest.username[:4], guest.email)],
    "teams": wandb.Api().viewer.teams,
    "reports": [[r.display_name, r.description, r.spec["blocks"][0]["type"]]
                for r in api.reports("p")],
})
"""
_REPORT = """
mutation Save($entity: String!, $spec: String!) {
  upsertView(input: {
    entityName: $entity, projectName: "p", type: "runs", name: "n", displayName: "A report",
    description: "about it", spec: $spec
  }) { inserted }
}
"""


def test_keys_teams_and_reports(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    me = api.viewer.username
    api.create_project("p", me)
    spec = json.dumps({"blocks": [{"type": "paragraph", "children": [{"text": "x"}]}]})
    body = {"query": _REPORT, "variables": {"entity": me, "spec": spec}}
    request = urllib.request.Request(
        f"{wandb_client.server.url}/graphql",
        json.dumps(body).encode(),
        {**wandb_client.server.headers, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.load(answer) == {"data": {"upsertView": {"inserted": True}}}
    found = wandb_client.run(_KEYS)
    assert found["key"] >= 40
    assert (found["named"], found["deleted"], found["left"]) == ([me, 2], True, 1)
    assert found["refused"]
    assert found["invited"] == [True, False]
    assert found["search"] == [["guest@example.org"]] * 2
    assert {me, "crew"} <= set(found["teams"])
    assert found["reports"] == [["A report", "about it", "paragraph"]]
    assert [[r.display_name, r.spec] for r in api.reports("p")] == [["A report", json.loads(spec)]]
    api.flush()
    assert "crew" in asyncwb.Api(api.settings, api_key=api.api_key).viewer.teams


_FILES = """
import os
api = wandb.Api()
run = api.create_run(run_id="made", project="p")
run = api.run("p/made")
run.name = "made by hand"
run.update()
os.makedirs("sub dir")
with open("sub dir/größe #1.txt", "w") as file:
    file.write("inhalt")
up = run.upload_file("sub dir/größe #1.txt")
with open("other.txt", "w") as file:
    file.write("x" * 3)
run.upload_file("other.txt")
names = sorted(file.name for file in api.run("p/made").files())
kept = api.run("p/made").file("sub dir/größe #1.txt")
text = kept.download(root="down").read()
pattern = [file.name for file in api.run("p/made").files(pattern="sub%")]
api.run("p/made").file("other.txt").delete()
answer({"name": up.name, "names": names, "text": text, "size": kept.size, "pattern": pattern,
        "left": [file.name for file in wandb.Api().run("p/made").files()],
        "run": [run.id, run.name, run.state], "path": run.path})
"""


def test_files_of_a_run_made_by_hand(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    found = wandb_client.run(_FILES)
    name = "sub dir/größe #1.txt"
    assert (found["names"], found["left"]) == (["other.txt", name], [name])
    assert (found["text"], found["size"], found["pattern"]) == ("inhalt", 6, [name])
    assert found["run"][:2] == ["made", "made by hand"]
    run = api.run("p/made")
    assert [(file.name, file.size) for file in run.files()] == [(name, 6)]
    assert (run.name, run.state, list(run.path)) == ("made by hand", found["run"][2], found["path"])


def test_a_wrong_key_is_told(wandb_client: WandbClient) -> None:
    program = """
try:
    wandb.Api().viewer
except Exception as error:
    answer(type(error).__name__)
else:
    answer("let in")
"""
    assert wandb_client.run(program, WANDB_API_KEY="x" * 40) != "let in"


_NOT_YET = """
said = []
def attempt(call):
    try:
        call()
    except Exception as error:
        said.append("does not have" in str(error))
    else:
        said.append(None)
run = wandb.init(id="r")
run.log({"x": 1})
artifact = wandb.Artifact("data", type="dataset")
with open("f.txt", "w") as file:
    file.write("x")
artifact.add_file("f.txt")
logged = run.log_artifact(artifact)
attempt(lambda: logged.wait(timeout=30))
attempt(lambda: run.use_artifact("data:latest"))
run.log({"x": 2})
run.finish()
api = wandb.Api()
sweep = wandb.sweep({"method": "random", "parameters": {"a": {"value": 1}}}, project="p")
attempt(lambda: wandb.agent(sweep, function=lambda: None, count=1, project="p"))
attempt(lambda: api.artifact("p/data:latest"))
attempt(lambda: list(api.artifact_types("p")))
answer(said)
"""


def test_what_is_not_there_is_said_and_harms_nothing(
    wandb_client: WandbClient, api: asyncwb.Api
) -> None:
    assert wandb_client.run(_NOT_YET) == [True] * 5
    run = api.run("p/r")
    assert ([row["x"] for row in run.scan_history()], run.state) == ([1, 2], "finished")


def test_a_login_is_kept(wandb_client: WandbClient, api: asyncwb.Api) -> None:
    key, home = wandb_client.environ.pop("WANDB_API_KEY"), str(wandb_client.folder)
    url = wandb_client.environ.pop("WANDB_BASE_URL")
    wandb_client.environ["HOME"] = home
    wandb_client.command("login", "--host", url, key)
    program = "wandb.init(id='r').finish()\nanswer(wandb.Api().viewer.username)"
    assert wandb_client.run(program) == api.viewer.username
    assert api.run("p/r").state == "finished"


_ODD = """
api = wandb.Api()
said = []

def attempt(call):
    try:
        said.append(call())
    except Exception as error:
        said.append([type(error).__name__, str(error)])

attempt(lambda: bool(api.team("nope").members))
run = api.run("p/r")
attempt(lambda: run.update_state("failed"))
attempt(run.delete)
attempt(run.delete)
answer(said)
"""


def test_what_was_deleted_or_never_there_is_said_in_words(
    wandb_client: WandbClient, api: asyncwb.Api
) -> None:
    packed = "wandb.Settings(x_file_stream_no_gzip=False)"  # the server says that it takes gzip
    begin = f"run = wandb.init(project='p', id='r', settings={packed})"
    wandb_client.run(f"{begin}; run.log({{'x': 1}}); run.finish()")
    assert [row["x"] for row in api.run("p/r").scan_history()] == [1]
    team, state, *deleted = wandb_client.run(_ODD)
    assert (team[0], "no user or team nope" in team[1]) == ("WandbApiFailedError", True), team
    assert "invalid state transition" in state[1], state
    assert deleted == [None, None]
    assert len(api.runs("p")) == 0
