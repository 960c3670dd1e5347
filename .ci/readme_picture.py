"""Take the README's picture: the page of a run of `asyncwb demo`, while it is logging.

    python .ci/readme_picture.py [--dark] [--narrow] [FILE]

Needs the `test` extra and the system's chromium.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "run-page.png"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--narrow", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ASYNCWB_DATA_DIR": folder, "ASYNCWB_SERVER_IDLE_TIMEOUT": "5"}
        demo = subprocess.Popen(
            [sys.executable, "-m", "asyncwb", "demo", "--seconds", "25", "--runs", "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        assert demo.stdout is not None
        run, link = "", ""
        for line in demo.stdout:
            run = (re.search(r"is at (http\S+)", line) or ["", run])[1]
            link = (re.search(r"(http\S+/login\?token=\S+)", line) or ["", link])[1]
            if run and link:
                break
        take(run, link, chosen)
        demo.communicate()


def take(run: str, link: str, chosen: argparse.Namespace) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(
            viewport={"width": 390 if chosen.narrow else 1360, "height": 860},
            color_scheme="dark" if chosen.dark else "light",
        )
        page.goto(link)
        page.goto(run)
        page.wait_for_selector("canvas")
        page.wait_for_timeout(12_000)  # let the curves grow
        page.screenshot(path=str(chosen.file))
        browser.close()


main()
