"""The yardstick does what it says: every row, in order, through the bare server."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.rivals.limit import Journal, LimitRival, shuffled_columns
from bench.rows import keys, training_rows


def test_rows_are_packed_in_order_and_shuffled_by_column(tmp_path: Path) -> None:
    rows = training_rows(metrics=3, rows=50, seed=1)
    journal = Journal(tmp_path, keys(3))
    for row in rows:
        journal.log(row)
    packed = journal.filled[0].values[: journal.committed]
    assert packed[:, 1].tolist() == list(range(50))
    assert packed[:, 2:].tolist() == [list(row.values()) for row in rows]
    planes = np.frombuffer(shuffled_columns(packed), np.uint8).reshape(5, 8, 50)
    columns = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(np.float64)[:, :, 0]
    assert (columns == packed.T).all()


def test_every_row_is_acknowledged_once(tmp_path: Path) -> None:
    """More rows than two segments, so that segments are filled, trimmed and used again."""
    rival = LimitRival(tmp_path, keys(600))
    rival.prepare()
    try:
        log = rival.open()
        rows = training_rows(metrics=600, rows=100, seed=1)
        for _ in range(100):
            for row in rows:
                log(row)
        rival.finish()
        assert rival.stored() == 10_000
    finally:
        rival.close()
