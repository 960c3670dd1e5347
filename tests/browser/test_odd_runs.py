"""Runs that no training should have, and some have: the page must not stand still for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fix_web import WebServer

pytestmark = pytest.mark.timeout(180)

_EXTREMES = """
import asyncwb
with asyncwb.init(project="odd", id="extremes") as run:
    for step, sign in ((0, 1), (1, -1), (2**63 - 2, 1)):
        run.log({
            "": sign, "decades": 1 if sign > 0 else 1e-23, "tiny": 1e-310 * sign,
            "least": 5e-324, "most": 1.7e308 * sign, "flat": 1.7e308, "mixed": 1e-300 * (step + 1),
        }, step=step)
"""
_NAMES = ("", "decades", "tiny", "least", "most", "flat", "mixed")


def test_values_of_every_magnitude_are_drawn_with_axes(
    wide: Page, web_server: WebServer, tmp_path: Path
) -> None:
    web_server.run_python(_EXTREMES, tmp_path)
    web_server.sign_in(wide)
    for query in ("", "?log=1", "?x=time", "?x=relative&log=1"):
        wide.goto(f"{web_server.url}/{web_server.entity}/odd/runs/extremes{query}")
        for name in _NAMES:
            plot = wide.locator(f'[data-testid="chart"][data-key="{name}"] .plot')
            expect(plot).to_have_attribute("data-points", "3")
        # A page that stands still answers nothing.
        wide.get_by_role("button", name="Log", exact=True).click()
        expect(wide.get_by_role("alert")).to_have_count(0)
