"""The order of metrics on the page."""

from __future__ import annotations

import random
from itertools import islice

from asyncwb.server.history.sections import ordered

IN_ORDER = (
    "", "/lead", "acc", "charts/b", "loss2", "Loss10",
    "Train/x", "train/x", "train/a/loss2", "train/a/loss10",
    "val2/x", "val10/eta", "val10/été", "val10/zeta", "val10/\u05d0", "val10/\u202eabc",
    "system/cpu", "system/gpu.0/temp",
)  # fmt: skip
"""without a section first, the system last, layer2 before layer10; accents count least"""


def test_names_are_in_order_by_section() -> None:
    names = list(IN_ORDER)
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert tuple(ordered(names)) == IN_ORDER
        assert tuple(islice(ordered(names), 7)) == IN_ORDER[:7]


def test_paths_are_ordered_by_the_names_that_people_read() -> None:
    assert list(ordered(["b", "a\\.c", "a.b"])) == ["a.b", "a\\.c", "b"]


def test_numbers_are_numbers_however_long_or_padded() -> None:
    numbers = ["0", "007", "8", "10", "1" * 200, "2" * 200]
    assert list(ordered(reversed([f"n{number}" for number in numbers]))) == [
        f"n{number}" for number in numbers
    ]
    assert sorted(ordered({"n1": 0, "n01": 0, "n001": 0})) == ["n001", "n01", "n1"]
