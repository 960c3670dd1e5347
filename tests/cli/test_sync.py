"""`asyncwb sync`: everything that can be sent is sent, whatever else fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.usefixtures("stop_server")
def test_one_bad_run_does_not_stop_the_rest(
    cli: Cli, log_offline: Callable[[str, int], Path]
) -> None:
    log_offline("good", 300)
    (log_offline("bad", 10) / "run.json").write_text("{")
    done = cli("sync")
    assert done.returncode == 1, done.stderr
    assert "cli/good" in done.stdout
    assert "300" in done.stdout
    assert "failed" in done.stdout
    (left,) = json.loads(cli("status", "--json").stdout)
    assert left["rows"] == 10


@pytest.mark.usefixtures("stop_server")
def test_one_folder_again_and_again(cli: Cli, log_offline: Callable[[str, int], Path]) -> None:
    folder, other = log_offline("one", 300), log_offline("two", 5)
    for _ in range(2):
        assert cli("sync", str(folder)).returncode == 0
    (left,) = json.loads(cli("status", "--json").stdout)
    assert left["path"] == str(other)


@pytest.mark.usefixtures("stop_server")
def test_one_row_is_spoken_of_in_the_singular(
    cli: Cli, log_offline: Callable[[str, int], Path]
) -> None:
    log_offline("one", 1)
    assert "one: 1 row (" in cli("status").stdout
    assert "one: 1 row sent" in cli("sync").stdout


def test_who_is_no_server_of_ours_is_named(
    cli: Cli, environ: dict[str, str], log_offline: Callable[[str, int], Path]
) -> None:
    log_offline("one", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as stranger:
        url = f"http://127.0.0.1:{stranger.server_port}"
        serving = threading.Thread(target=stranger.serve_forever)
        serving.start()
        try:
            environ |= {"ASYNCWB_BASE_URL": url, "ASYNCWB_API_KEY": "k" * 40}
            done = cli("sync")
        finally:
            stranger.shutdown()
            serving.join()
    assert done.returncode == 1
    assert f"0 rows sent; failed: {url} answered HTTP 501" in done.stdout


def test_nothing_to_send(cli: Cli) -> None:
    done = cli("sync")
    assert done.returncode == 0
    assert done.stdout.startswith("Nothing waits in ")


def test_a_run_that_somebody_else_has_sent_is_no_failure(cli: Cli, tmp_path: Path) -> None:
    gone = tmp_path / "20261121_093000-k3v9q2xa-5f1c09d2"
    done = cli("sync", str(gone))
    assert done.returncode == 0, done.stderr
    assert "is not there (any more) was sent meanwhile" in done.stdout
