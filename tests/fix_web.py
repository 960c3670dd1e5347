"""The page as a person has it: a server, a program that logs to it, and Chromium, all real.

Each is a process of its own. The program logs in a loop until it is told to stop, so that a test
can look at the page while the run moves.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
KEY = "k" * 40
DEADLINE = 30.0
"""seconds that anything here may take to start or to stop."""

_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A burst, so that charts have more rows than points; then a loop at a training's pace.
_TRAINING = """
import math, sys, threading
import asyncwb

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

def row(step):
    return {
        "loss": 2 * math.exp(-step / 2000) + 0.1 + 0.02 * math.sin(step),
        "train/accuracy": 1 - math.exp(-step / 3000),
        "train/signed": math.sin(step / 500),
        "val/score": math.nan if step % 400 == 0 else step / 1000,
    }

config = {"lr": 0.1, "model": {"depth": 18}, "note": "<img src=x onerror=alert(1)>"}
with asyncwb.init(project="vision", id=sys.argv[1], name="<b>first</b> run", config=config) as run:
    for step in range(6000):
        run.log(row(step))
    print("burst", flush=True)
    step = 6000
    while not stop.wait(0.005):
        run.log(row(step))
        step += 1
"""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A running server and the key that it knows."""

    url: str
    key: str

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """Send one request with the key; return the answer's JSON, None for an empty one.

        `body` is sent as JSON, bytes as they are.
        """
        headers = {"Authorization": f"Bearer {key or self.key}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @property
    def entity(self) -> str:
        """The entity of the user whose key this is."""
        name: str = self.ask("GET", "/api/v1/viewer")["entity"]
        return name

    def run_python(self, code: str, folder: Path, *arguments: str) -> str:
        """Run a program that logs to this server; return what it printed."""
        environment = _environment(folder)
        environment |= {"ASYNCWB_BASE_URL": self.url, "ASYNCWB_API_KEY": self.key}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, cwd=folder, text=True,
            capture_output=True, timeout=2 * DEADLINE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sign_in(self, page: Page) -> None:
        """Sign a browser's page in."""
        page.goto(self.login_link())
        page.get_by_role("button", name="Sign in as").click()
        expect(page.get_by_role("heading", name="Projects")).to_be_visible()

    def login_link(self) -> str:
        """Make a link that signs a browser in once."""
        link: str = self.ask("POST", "/api/v1/login/links")["url"]
        return link


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that a program logs to until `finish`. `path` is the page's address of it."""

    path: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def api(self) -> str:
        """Its address in the HTTP API."""
        return f"/api/v1/runs{self.path.replace('/runs/', '/')}"

    def finish(self) -> None:
        """Let the program end its run and leave."""
        self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, self.log.read_text()


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> None:
    """See that the page is built and not older than its sources; workers take turns."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "page.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, str(ROOT / ".ci" / "build_page.py")]
        # npm may have to ask a registry, and need the authorities that tests/conftest.py hides.
        trusting = {name: value for name, value in os.environ.items() if value != os.devnull}
        done = subprocess.run(command, env=trusting, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"The page cannot be tested, because it cannot be built.\n{done.stderr}")


@pytest.fixture(scope="module")
def web_server(built_page: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A server of its own process on a free port of loopback, ready for requests."""
    folder = tmp_path_factory.mktemp("web_server")
    data, log = folder / "server", folder / "server.log"
    command = [sys.executable, "-m", "asyncwb", "server", "--port", "0", "--data", str(data)]
    environment = _environment(folder) | {"ASYNCWB_API_KEY": KEY}
    with _process(command, environment, log) as server:
        yield WebServer(_address(server, data, log), KEY)


@pytest.fixture
def live_run(web_server: WebServer, tmp_path: Path) -> Iterator[LiveRun]:
    """A run that has logged 6,000 rows and goes on logging until it is finished."""
    with _training(web_server, tmp_path.name, tmp_path) as run:
        yield run


@pytest.fixture(scope="module")
def done_run(web_server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> LiveRun:
    """A run of at least 6,000 rows that has finished."""
    with _training(web_server, "done", tmp_path_factory.mktemp("done_run")) as run:
        run.finish()
        return run


@contextmanager
def _training(server: WebServer, name: str, folder: Path) -> Iterator[LiveRun]:
    environment = _environment(folder)
    environment |= {"ASYNCWB_BASE_URL": server.url, "ASYNCWB_API_KEY": server.key}
    log = folder / "training.log"
    with _process([sys.executable, "-c", _TRAINING, name], environment, log) as training:
        entity = server.ask("GET", "/api/v1/viewer")["entity"]
        assert training.stdout is not None
        lines = iter(training.stdout.readline, "")
        assert any(line == "burst\n" for line in lines), f"it did not start: {log.read_text()}"
        yield LiveRun(f"/{entity}/vision/runs/{name}", training, log)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        pytest.fail(
            "The page is tested in a real browser, and there is no Chromium here. Install it "
            "(Debian: apt-get install chromium) or leave these tests out with "
            "--ignore=tests/browser."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def wide(chromium: Browser) -> Iterator[Page]:
    """A page of a laptop's size; it fails the test if a script of ours failed."""
    yield from _page(chromium, 1440, 900)


@pytest.fixture
def other(chromium: Browser) -> Iterator[Page]:
    """A page of somebody else's browser: no cookie is shared with `wide`."""
    yield from _page(chromium, 1440, 900)


@pytest.fixture
def narrow(chromium: Browser) -> Iterator[Page]:
    """A page of a phone's size, likewise."""
    yield from _page(chromium, 390, 844)


def _page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(15_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("console", lambda message: problems.extend(_refusals(message)))
    yield page
    context.close()
    assert problems == []


def _refusals(message: ConsoleMessage) -> list[str]:
    """Return what the page's own policy refused: the page must never ask for it."""
    return [message.text] if "Content Security Policy" in message.text else []


def fits(page: Page) -> bool:
    """Tell whether the page needs no sideways scrolling."""
    answer: bool = page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return answer


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment without anyone's own settings, with a data folder of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCWB_", "WANDB_"))}
    return kept | {"ASYNCWB_DATA_DIR": str(folder / "data"), "PYTHONUNBUFFERED": "1"}


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[str]]:
    with (
        log.open("w") as said,
        subprocess.Popen(
            command, env=environment, text=True, cwd=log.parent,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
        ) as process,
    ):  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _address(server: subprocess.Popen[str], data: Path, log: Path) -> str:
    """Wait until the server has announced itself; its announcement is written when it is ready."""
    deadline = time.monotonic() + DEADLINE
    announced = data / "server.json"
    while time.monotonic() < deadline and server.poll() is None:
        if announced.is_file():
            url: str = json.loads(announced.read_text())["url"]
            return url
        time.sleep(0.02)
    pytest.fail(f"The server did not start.\n{log.read_text()}")
