"""A server behind a proxy that speaks TLS: nginx, as docs/how-to/run-a-server.md sets it up."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.fix_server import ServerHandle

DOCS = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "run-a-server.md"
_DEADLINE = 60.0

_AROUND = """
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A server that users reach at `url`; `authority` is the file of who signed for the proxy."""

    server: ServerHandle
    url: str
    authority: Path

    @property
    def environ(self) -> dict[str, str]:
        """What makes Python's and Go's TLS trust the proxy."""
        return {"SSL_CERT_FILE": str(self.authority), "REQUESTS_CA_BUNDLE": str(self.authority)}

    @property
    def trust(self) -> ssl.SSLContext:
        """The same for a client of this process."""
        return ssl.create_default_context(cafile=str(self.authority))


@pytest.fixture
def proxied(start_server: Callable[..., ServerHandle], tmp_path: Path) -> Iterator[Proxied]:
    """Put nginx in front of a server, under a path of its own."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        pytest.fail("There is no nginx. Debian: apt-get install nginx-light")
    folder = tmp_path / "nginx"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "localhost.pem"
    )
    port = _free_port()
    url = f"https://localhost:{port}/asyncwb"
    server = start_server(public_url=url, data=tmp_path / "proxied")
    site = _documented(port, server.url, folder / "localhost.pem")
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, site=site))
    process = subprocess.Popen(
        [nginx, "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off; master_process off;"],
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield Proxied(server, url, folder / "authority.pem")
    finally:
        process.terminate()
        process.wait(_DEADLINE)


def _documented(port: int, server_url: str, certificate: Path) -> str:
    """Return the site that the documentation shows, on a port of this machine."""
    found = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    site = found[1]
    for shown, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("tracker.example.org", "localhost"),
        ("/etc/ssl/tracker.pem", str(certificate)),
        ("/etc/ssl/tracker.key", str(certificate)),
        ("http://127.0.0.1:8080/", f"{server_url}/"),
    ):
        assert shown in site
        site = site.replace(shown, here)
    return site


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx did not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx does not answer")
