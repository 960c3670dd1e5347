"""A pattern that PostgreSQL is given is found in the same texts as RE2 finds it in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from asyncwb.server.config import ServerConfig
from asyncwb.server.queries.conditions import searcher
from asyncwb.server.queries.postgres_patterns import as_postgres
from asyncwb.server.store.database import Database

ALPHABET = "abABkKsS1_- .\n\té\\^$[]{}()|*+?\u212a\u017f"
"""characters of texts; the last two are a k and an s where case does not matter"""

texts = st.text(ALPHABET, max_size=8)
characters = st.sampled_from(
    ("a", "b", "1", "é", " ", "-", "_", "\n", r"\.", r"\\", r"\$", r"\n", r"\t", r"\-", r"\]")
)
members = st.one_of(
    characters.filter(lambda char: char != "-"),
    st.sampled_from(("a-b", "A-K", "r-t", "0-9", r"\d", r"\w", ".")),
)
classes = st.tuples(st.sampled_from(("", "^")), st.lists(members, min_size=1, max_size=3)).map(
    lambda found: f"[{found[0]}{''.join(found[1])}]"
)
quantifiers = st.sampled_from(("", "", "*", "+", "?", "*?", "{2}", "{1,}", "{0,2}", "{0}"))
letters = st.sampled_from((".", r"\d", r"\D", r"\w", r"\W", r"\s", "K", "k", "S"))
atoms = st.one_of(characters, classes, letters)


def branches(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.one_of(st.tuples(inner, quantifiers).map("".join), st.sampled_from(("^", "$")))
    branch = st.lists(parts, min_size=1, max_size=3).map("".join)
    return st.lists(branch, min_size=1, max_size=3).map("|".join)


groups = st.recursive(
    atoms, lambda inner: branches(inner).map(lambda found: f"({found})"), max_leaves=6
)
patterns = st.tuples(st.sampled_from(("", "(?i)")), branches(groups)).map("".join)


class Matcher:
    """Asks a real PostgreSQL."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._database = Database(url)

    def found(self, pattern: str, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether the pattern is found in it."""

        async def ask() -> list[bool]:
            statement = text(
                'SELECT each COLLATE "C" ~ CAST(:pattern AS text)'
                " FROM unnest(CAST(:texts AS text[])) WITH ORDINALITY AS given(each, place)"
                " ORDER BY place"
            )
            async with self._database.connect() as connection:
                given = {"pattern": pattern, "texts": list(texts)}
                return list(await connection.scalars(statement, given))

        return self._runner.run(ask())

    def close(self) -> None:
        self._runner.run(self._database.close())


@pytest.fixture
def matcher(postgres_url: str) -> Iterator[Matcher]:
    with asyncio.Runner() as runner:
        made = Matcher(ServerConfig(data=Path(), database=postgres_url).database_url, runner)
        yield made
        made.close()


@settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(pattern=patterns, some=st.lists(texts, min_size=1, max_size=12))
def test_it_is_found_where_re2_finds_it(matcher: Matcher, pattern: str, some: list[str]) -> None:
    translated = as_postgres(pattern)
    try:
        search = searcher(pattern)
    except ValueError:
        return  # none of RE2's: it is refused before
    if translated is not None:
        assert matcher.found(translated, some) == [bool(search(each)) for each in some]


@pytest.mark.parametrize(
    "pattern",
    [
        *("adam", "^run-[0-9]+$", "a|b", r"lr=0\.1", "(resnet|vit)-(s|b)", ".*x", "[^a-z]"),
        *("run_{2,3}x", "(?i)adam", "(?i)^[a-z]+ 2"),
    ],
)
def test_what_people_write_is_translated(pattern: str) -> None:
    assert as_postgres(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?s)a", "(?i)é", r"(?i)\w", r"\ba", r"\pL", "(?P<x>a)", "[[:alpha:]]", r"\x41"),
        *("[a-é]", "[a-Z]", "a{300}", "((a{16}){16}){2}", "a**", "^*", "", "a|", "()", "(a"),
        *("a)", "[a", "a{", "a{2", "a\\", "[]", "a" * 1001, "\x00", "\x01", "a{2}{3}", "{"),
        *("*a", r"[\D]", "a{1,300}", "a{\u0663}", "a{1,\u0663}", "a{2,\u0663}"),
        # What PostgreSQL has no room for, takes minutes over or refuses.
        *("(" * 300 + "a" + ")" * 300, "(" * 40 + "a?b?" * 20 + ")+" * 40, "(^|$|a){20}"),
        *("(((a?b?c?d?){0,15}){0,15})", "(abcdef|ghijkl){50}", "a?" * 101, "(^a?|b?$)*" * 9),
    ],
)
def test_what_may_mean_something_else_is_not(pattern: str) -> None:
    assert as_postgres(pattern) is None
