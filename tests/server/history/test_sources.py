"""What is remembered is bounded by what it holds, not by how many there are."""

from __future__ import annotations

import pytest

from asyncwb.server.history import sources
from asyncwb.server.history.sources import ChartId, Charts, Opened, Sources
from asyncwb.server.store.runs.segments import RunRef, SegmentFile
from tests.server.history_lab import Lab


async def segment_of(lab: Lab, columns: int) -> SegmentFile:
    run: RunRef = await lab.run()
    await lab.log(run, [(0, {f"m{number}": 1.0 for number in range(columns)})])
    await lab.set(run, state="finished")
    while await lab.sealer().turn():
        pass
    (segment,) = (await lab.sources.outline(run.id)).segments
    return segment


@pytest.mark.anyio
async def test_few_footers_of_many_columns_are_kept_and_many_of_few(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNKS", 300)
    wide = [await segment_of(lab, 150) for _ in range(3)]
    narrow = [await segment_of(lab, 5) for _ in range(12)]
    kept = Sources(lab.store, lab.objects)

    def opened(*segments: SegmentFile) -> list[str]:
        for row in segments:
            with Opened(kept) as some:
                assert some.segment(row).footer.num_rows == 1
        return list(kept._footers)

    assert opened(*wide) == [wide[2].path]
    assert opened(*narrow) == [row.path for row in narrow]
    assert opened(narrow[0]) == [row.path for row in (*narrow[1:], narrow[0])]
    assert kept._chunks == 12 * (16 + 7)

    monkeypatch.setattr(sources, "_CHUNKS", 1)
    assert opened(wide[0]) == [wide[0].path], "the last one, whatever its size"


def test_charts_that_were_asked_for_last_stay() -> None:
    def chart(of: str) -> ChartId:
        return ((1, 2), (3,)), of

    each = sources._cost(chart("a"), b"a" * 10)
    charts = Charts(2 * each)
    for of in "abc":
        charts.keep(chart(of), of.encode() * 10)
        charts.keep(chart(of), b"another")
        charts.get(chart("a"))
    assert [charts.get(chart(of)) for of in "abc"] == [b"a" * 10, None, b"c" * 10]
    charts.keep((((), ()), "small"), b"")
    assert charts.get(chart("a")) is None, "what it is of takes room, too"
    charts.keep(chart("large"), b"-" * 2 * each)
    assert [charts.get(chart(of)) for of in ("c", "large")] == [None] * 2
