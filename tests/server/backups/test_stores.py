"""A database and the objects that it names belong together, and a server sees to it at start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from asyncwb.errors import UsageError
from asyncwb.server.backups.stores import ID_OBJECT, id_of, identify
from asyncwb.server.objects.objects import Objects
from asyncwb.server.store.schema import secrets
from tests.fix_server import ServerHandle, both_databases
from tests.server.history_lab import Lab

pytestmark = [pytest.mark.anyio, both_databases]


async def test_a_second_server_with_other_objects_is_refused_at_start(
    start_server: Callable[..., ServerHandle], server: ServerHandle, tmp_path: Path
) -> None:
    database = server.config.database or f"sqlite:///{server.data / 'asyncwb.db'}"
    other: dict[str, Any] = {"data": tmp_path / "second", "database": database}
    with pytest.raises(UsageError, match="not those of this database"):
        start_server(**other)
    assert not (tmp_path / "second").exists(), "it is no data folder, then"
    start_server(**other, objects=str(server.data / "objects"))


async def test_what_an_older_release_made_gets_an_id_at_its_first_start(lab: Lab) -> None:
    run = await lab.run()
    await lab.log(run, [(0, {"loss": 1.0})])
    assert await lab.sealer().turn()
    elsewhere = Objects.open(lab.folder / "elsewhere")
    with pytest.raises(UsageError):  # the database names what is not there
        await identify(lab.database, elsewhere, "elsewhere", lab.now)
    assert id_of(elsewhere) is None
    await identify(lab.database, lab.objects, "here", lab.now)
    mine = id_of(lab.objects)
    assert mine
    await identify(lab.database, lab.objects, "here", lab.now)
    assert id_of(lab.objects) == mine


async def test_a_new_database_does_not_take_the_objects_of_another_one(lab: Lab) -> None:
    lab.objects.put("segments/1/of-another.parquet", b"x")
    for named in (False, True):
        if named:
            lab.objects.put(ID_OBJECT, b"another")
        with pytest.raises(UsageError, match="Nothing was changed"):
            await identify(lab.database, lab.objects, "here", lab.now)
    assert id_of(lab.objects) == "another"


async def test_a_start_that_was_killed_half_way_is_gone_on_with(lab: Lab) -> None:
    await identify(lab.database, lab.objects, "here", lab.now)
    mine = id_of(lab.objects)
    async with lab.database.transaction() as connection:
        await connection.execute(delete(secrets))  # as it was before the commit
    await identify(lab.database, lab.objects, "here", lab.now)
    assert id_of(lab.objects) == mine


async def test_of_several_first_starts_with_different_objects_one_goes_on(lab: Lab) -> None:
    places = [Objects.open(lab.folder / str(number)) for number in range(4)]
    starts = [identify(lab.database, place, "there", lab.now) for place in places]
    found = await asyncio.gather(*starts, return_exceptions=True)
    assert sum(isinstance(one, UsageError) for one in found) == 3
    assert sum(one is None for one in found) == 1
