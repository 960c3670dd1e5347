"""Ids and cursors: what was given out comes back, and nothing else is taken."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncwb.server.graphql import snake
from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.http.errors import ApiError

NAMES = st.text(min_size=1, max_size=30)


@given(NAMES, NAMES, NAMES)
@example("a:b", "%3A", "c%25")
def test_what_is_in_an_id_comes_out(run: str, project: str, entity: str) -> None:
    text = ids.encode("Run", run, project, entity)
    assert ids.decode(text, "Run") == (run, project, entity)
    assert ids.kind(text) == "Run"


def test_clients_can_read_a_runs_id() -> None:
    text = ids.encode("Run", "abc", "p", "e")
    assert base64.b64decode(text) == b"Run:v1:abc:p:e"
    assert base64.b64decode(ids.encode("User", 7)) == b"User:7"
    assert ids.number(ids.encode("User", 7), "User") == 7


def _id(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        *("", "User:7", "!!", "\0", "é", "A" * 100_000),
        *(_id(t) for t in ("User", "User:", "User:-1", "User:x", "User:٣", "Team:7", "User:1:2")),
        *(_id(t) for t in (f"User:{2**63}", "User:" + "9" * 3000, "user:7", "User: 7")),
        base64.b64encode(b"User:\xff").decode(),
    ],
)
def test_foreign_ids_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        ids.number(text, "User")
    assert caught.value.code == "bad_id"
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("text", ["Run:v1:a:b", "Run:v1:a:b:c:d", "Run:v2:a:b:c", "Run:v1::b:c"])
def test_a_run_has_three_names(text: str) -> None:
    with pytest.raises(ApiError):
        ids.decode(_id(text), "Run")


@given(st.one_of(st.none(), st.text(max_size=50), st.floats(allow_nan=False), st.integers(0, 99)))
def test_cursors_come_back(value: Any) -> None:
    if isinstance(value, float) and abs(value) == float("inf"):
        value = 0.5
    text = paging.encode("list", (value, 5))
    assert paging.decode(text, "list") == (value, 5)
    with pytest.raises(ApiError):
        paging.decode(text, "another list")


NO_KEYS: list[Any] = [
    *([], {}, ["list"], ["list", 1], ["list", 1, 2, 3], ["list", {}, 1], ["list", 1, True]),
    *(["list", 1, 2**63], ["list", 1, "1"], [1, 1, 1]),
]


def _cursor(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("cursor", ["x", "é", "=", "A" * 100_000, *map(_cursor, NO_KEYS)])
def test_foreign_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(ApiError) as caught:
        paging.decode(cursor, "list")
    assert caught.value.code == "bad_cursor"


def test_a_page_is_bounded() -> None:
    assert paging.page_size(None) == 50
    assert paging.page_size(10**9) == paging.MAX_PAGE
    with pytest.raises(ApiError):
        paging.page_size(-1)


@pytest.mark.anyio
async def test_a_connection_of_one_row_more_than_asked_for_has_a_next_page() -> None:
    page = paging.connection([1, 2, 3], 2, lambda row: (None, row), "list")
    assert [(await edge)["node"] for edge in page["edges"]] == [1, 2]
    assert page["page_info"]["has_next_page"]
    assert paging.decode(page["page_info"]["end_cursor"], "list") == (None, 2)
    empty = paging.connection([1], 0, lambda row: (None, row), "list")
    assert empty["page_info"] == {
        "start_cursor": None,
        "end_cursor": None,
        "has_next_page": True,
        "has_previous_page": False,
    }


def test_names_in_python_spelling() -> None:
    names = {"entityName": "entity_name", "hexMD5": "hex_md5", "runID": "run_id", "md5": "md5"}
    names |= {"URLPath": "url_path", "display_name": "display_name"}
    assert {name: snake(name) for name in names} == names
