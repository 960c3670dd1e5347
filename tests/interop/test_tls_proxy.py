"""Behind the documented TLS proxy, under a path: both clients, files, links and live events."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from asyncwb.wire.ingest import CONTENT_TYPE, encode_batch
from tests.fix_proxy import Proxied
from tests.fix_wandb import WandbClient, newest_release
from tests.server.ingest_client import first_frame, head

_OURS = """
import pathlib, sys
import asyncwb

with asyncwb.init(project="p", id="ours") as run:
    path = pathlib.Path(run.dir) / "notes.txt"
    path.write_text("kept")
    run.save(path, base_path=run.dir)
    run.log({"x": 1})
api = asyncwb.Api()
found = api.run("p/ours")
with found.file("notes.txt").download(root=sys.argv[1], replace=True) as file:
    print(file.read(), found.summary["x"], found.url)
"""

_WANDB = """
import pathlib
run = wandb.init(id="theirs")
path = pathlib.Path("notes.txt")
path.write_text("kept")
run.save("notes.txt")
run.log({"x": 1})
url = run.url
run.finish()
found = wandb.Api().run("p/theirs")
with found.file("notes.txt").download(root="down", replace=True) as file:
    answer([file.read(), found.summary["x"], url])
"""


def test_our_client(proxied: Proxied, tmp_path: Path) -> None:
    environ = {
        "ASYNCWB_BASE_URL": proxied.url,
        "ASYNCWB_API_KEY": proxied.server.api_key,
        "ASYNCWB_DATA_DIR": str(tmp_path / "data"),
        **proxied.environ,
    }
    done = subprocess.run(
        [sys.executable, "-c", _OURS, str(tmp_path / "down")],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept, x, url = done.stdout.split()
    assert (kept, x) == ("kept", "1")
    assert url.startswith(f"{proxied.url}/")


@newest_release
def test_the_wandb_client(proxied: Proxied, wandb_client: WandbClient) -> None:
    wandb_client.environ |= {
        "WANDB_BASE_URL": proxied.url,
        "WANDB_API_KEY": proxied.server.api_key,
        **proxied.environ,
    }
    kept, x, url = wandb_client.run(_WANDB)
    assert (kept, x) == ("kept", 1)
    assert url.startswith(f"{proxied.url}/")
    assert wandb_client.failed_requests() == []


def test_the_page_links_and_live_events(proxied: Proxied) -> None:
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=proxied.trust))

    def ask(path: str, body: bytes | None = None) -> HTTPResponse:
        headers = {
            "Authorization": f"Bearer {proxied.server.api_key}",
            "Content-Type": CONTENT_TYPE,
        }
        request = Request(f"{proxied.url}{path}", data=body, headers=headers)
        answer: HTTPResponse = opener.open(request, timeout=20)
        return answer

    with ask("/") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
    with ask("/api/v1/login/links", b"") as answer:
        assert json.load(answer)["url"].startswith(f"{proxied.url}/login?token=")
    with ask("/api/v1/ingest", encode_batch([(head(), [first_frame()])])) as answer:
        assert answer.status == 200
    with ask("/api/v1/viewer") as answer:
        entity = json.load(answer)["entity"]
    with ask(f"/api/v1/runs/{entity}/p/r1/live") as live:  # waits in vain where a proxy buffers
        assert live.readline() == b"event: run\n"
