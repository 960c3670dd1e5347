"""Files of runs over GraphQL: announced, listed, downloaded, deleted."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import insert, update

from asyncwb.server.http.state import STATE
from asyncwb.server.store.schema import blobs
from asyncwb.server.store.schema import files as files_table
from tests.fix_server import ServerHandle
from tests.server.graphql.asking import ask, codes, data
from tests.server.graphql.wandb_client import WandbClient

CREATE = """
mutation C($files: [String!]!, $run: String!) {
  createRunFiles(input: {projectName: "p", runName: $run, files: $files}) {
    runID uploadHeaders files { name uploadUrl }
  }
}
"""
FILES = """
query F($names: [String] = [], $pattern: String, $first: Int = 50, $after: String) {
  project(name: "p") {
    run(name: "r1") {
      fileCount
      files(names: $names, pattern: $pattern, first: $first, after: $after) {
        edges {
          node { id name url(upload: false) directUrl sizeBytes mimetype updatedAt md5 }
          cursor
        }
        pageInfo { endCursor hasNextPage }
        totalCount
      }
    }
  }
}
"""
DELETE = """
mutation D($files: [ID!]!, $project: Int) {
  deleteFiles(input: {files: $files, projectId: $project}) { success }
}
"""


@pytest.fixture
def client(server: ServerHandle) -> WandbClient:
    client = WandbClient(server)
    client.begin()
    return client


def _upload(client: WandbClient, **contents: str) -> None:
    names = [name.replace("_", ".") for name in contents]
    made = data(client.server, CREATE, files=names, run=client.run)["createRunFiles"]
    assert [file["name"] for file in made["files"]] == names
    for file, content in zip(made["files"], contents.values(), strict=True):
        put = urllib.request.Request(file["uploadUrl"], content.encode(), method="PUT")
        with urllib.request.urlopen(put, timeout=30) as answer:
            assert answer.status == 200


def _files(client: WandbClient, **asked: Any) -> Any:
    return data(client.server, FILES, **asked)["project"]["run"]


def test_what_is_uploaded_is_listed_and_downloaded(client: WandbClient) -> None:
    _upload(client, b_txt="bb", a_json="{}", empty_log="")
    found = _files(client)
    nodes = [edge["node"] for edge in found["files"]["edges"]]
    assert found["fileCount"] == found["files"]["totalCount"] == 3
    assert [(n["name"], n["sizeBytes"]) for n in nodes] == [
        ("a.json", 2),
        ("b.txt", 2),
        ("empty.log", 0),
    ]
    assert nodes[0]["mimetype"] == "application/json"
    for address in (nodes[1]["url"], nodes[1]["directUrl"]):
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read() == b"bb"


def test_a_file_counts_once_it_is_there(client: WandbClient) -> None:
    data(client.server, CREATE, files=["later.txt"], run="r1")
    assert _files(client)["fileCount"] == 0
    marked = client.do("markRunFilesUploaded", projectName="p", runName="r1", files=["later.txt"])
    assert marked["data"]["markRunFilesUploaded"]["success"] is False
    _upload(client, later_txt="x")
    marked = client.do("markRunFilesUploaded", projectName="p", runName="r1", files=["later.txt"])
    assert marked["data"]["markRunFilesUploaded"]["success"] is True


def test_no_name_is_left_out_of_many(client: WandbClient) -> None:
    names = [f"{number:04}.txt" for number in range(700)]
    data(client.server, CREATE, files=names, run="r1")

    async def uploaded(app: web.Application) -> None:
        async with app[STATE].database.transaction() as connection:
            row = {"object": "files/x", "size": 1, "uses": 700, "created_at": 0.0}
            await connection.execute(insert(blobs).values(id=1, **row))
            await connection.execute(update(files_table).values(blob_id=1))

    client.server.call(uploaded)
    about = {"projectName": "p", "runName": "r1"}
    marked = client.do("markRunFilesUploaded", files=names, **about)
    assert marked["data"]["markRunFilesUploaded"]["success"] is True
    marked = client.do("markRunFilesUploaded", files=[*names, "none.txt"], **about)
    assert marked["data"]["markRunFilesUploaded"]["success"] is False
    found = _files(client, names=names, first=1000)["files"]
    assert (found["totalCount"], len(found["edges"])) == (700, 700)
    assert codes(ask(client.server, FILES, names=[str(n) for n in range(10_001)])) == [
        "too_many_files"
    ]


def test_as_many_answers_as_names_even_bad_ones(client: WandbClient) -> None:
    names = ["good.txt", "../bad", "/bad", "x" * 5000, "good.txt"]
    made = data(client.server, CREATE, files=names, run="r1")["createRunFiles"]
    assert [file["name"] for file in made["files"]] == names
    assert [file["uploadUrl"] is None for file in made["files"]] == [False, True, True, True, False]
    assert codes(ask(client.server, CREATE, files=[], run="none")) == ["run_not_found"]


def test_files_are_chosen_by_name_and_pattern_and_paged(client: WandbClient) -> None:
    _upload(client, a_txt="1", b_txt="2", c_log="3", d_txt="4")

    def names(**asked: Any) -> list[str]:
        return [edge["node"]["name"] for edge in _files(client, **asked)["files"]["edges"]]

    assert names(names=["d.txt", "a.txt", "nothing"]) == ["a.txt", "d.txt"]
    assert names(pattern="%.txt") == ["a.txt", "b.txt", "d.txt"]
    page = _files(client, first=2)["files"]
    _upload(client, a0_txt="before the cursor")
    assert page["pageInfo"]["hasNextPage"] is True
    assert names(first=2, after=page["pageInfo"]["endCursor"]) == ["c.log", "d.txt"]
    assert codes(ask(client.server, FILES, after="x")) == ["bad_cursor"]


def test_deleted_files_are_gone(client: WandbClient) -> None:
    _upload(client, a_txt="1", b_txt="2")
    nodes = [edge["node"] for edge in _files(client)["files"]["edges"]]
    found = data(client.server, '{ project(name: "p") { run(name: "r1") { projectId } } }')
    project = int(found["project"]["run"]["projectId"])
    wrong = ask(client.server, DELETE, files=[nodes[0]["id"]], project=project + 1)
    assert codes(wrong) == ["bad_project"]
    gone = ask(client.server, DELETE, files=[nodes[0]["id"]], project=project)
    assert gone["data"]["deleteFiles"]["success"] is True
    assert [e["node"]["name"] for e in _files(client)["files"]["edges"]] == ["b.txt"]
    again = ask(client.server, DELETE, files=[nodes[0]["id"]])
    assert again["data"]["deleteFiles"]["success"] is True  # asked again after a lost answer
    assert codes(ask(client.server, DELETE, files=["bm9uZQ=="])) == ["bad_id"]
