"""`asyncwb demo`: a stranger's first command, from nothing to every row counted."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("stop_server")
def test_every_row_is_counted(cli: Cli) -> None:
    done = cli("demo", "--seconds", "2", "--runs", "3", "--rate", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"logs you in, once\): http://127\.0\.0\.1:\d+/login\?token=\S+", done.stdout)
    totals = re.search(r"^ ?all +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", done.stdout, re.MULTILINE)
    assert totals is not None, done.stdout
    logged, acknowledged, lost, returned = (int(n.replace(",", "")) for n in totals.groups())
    assert logged >= 300
    assert acknowledged == returned == logged
    assert lost == 0
    assert re.search(r"rows/s  log\(\) p50 [\d.]+ us, p99 [\d.]+ us", done.stdout)
