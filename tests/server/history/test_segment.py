"""Reading a sealed segment."""

from __future__ import annotations

import os

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from asyncwb.server.history import seal, wide
from asyncwb.server.history.sources import Opened
from tests.server.history_lab import Lab, table_of


@pytest.mark.anyio
async def test_columns_are_decoded_on_the_thread_that_asks(
    lab: Lab, request: pytest.FixtureRequest
) -> None:
    """A thread of Arrow's own lets go of what it read when nobody waits for it any more.

    Where the interpreter is exiting by then, the whole process aborts.
    """
    run = await lab.run()
    await lab.log(run, [(step, {f"m{n}": 1.0 for n in range(50)}) for step in range(10)])
    await lab.set(run, state="finished")
    while await lab.sealer().turn():
        pass
    (row,) = (await lab.sources.outline(run.id)).segments
    with Opened(lab.sources) as opened:
        segment = opened.segment(row)
        usual = pa.cpu_count()
        request.addfinalizer(lambda: pa.set_cpu_count(usual))
        pa.set_cpu_count(usual + 4)  # whatever threads it has by now, it would start some more
        threads = set(os.listdir("/proc/self/task"))
        assert segment.table([0]).n == 10
        assert set(os.listdir("/proc/self/task")) <= threads


def test_only_of_a_wide_segment_few_rows_are_kept_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has its values already; of any other one a sample needs no file."""
    table = table_of([(step, {f"m{n}": 1.0 for n in range(8)}) for step in range(100)])
    assert table.width == 10 == len(table.columns)
    monkeypatch.setattr(seal, "SAMPLE_CELLS", 200)
    assert seal.sample_of(table).n == 100
    monkeypatch.setattr(wide, "_COLUMNS", 10)
    assert seal.sample_of(table).steps.tolist()[::19] == [0, 99]
    assert seal.sample_of(table).n == 20
