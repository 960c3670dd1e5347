"""What a server is told when it starts; nothing reads the environment after this."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from asyncwb.errors import SettingsError

MIN_KEY_LENGTH: Final = 40
MIB: Final = 2**20
_PUBLIC_URL: Final = re.compile(
    r"https?://([A-Za-z0-9_.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The settings of one server process, checked when it is made.

    Args:
        data: the folder for the database, objects, key and `server.json`.
        host, port: where to listen; port 0 takes a free one.
        database: SQLAlchemy URL of PostgreSQL or SQLite; None is a SQLite file in `data`.
        objects: URL of the object store; None is the folder `objects` in `data`.
        admin_key: the first admin's API key, used at first boot only; None makes one.
        idle_timeout: seconds without a request or a running run before stopping; None: never.
        embedded: started by a client for itself: gives way quietly where one runs already, and
            `/metrics` needs no key.
        crash_after: seconds without a heartbeat after which a running run counts as crashed.
        max_body: bytes of one request body.
        max_bodies: bytes of memory that the bodies of all requests under way may take together;
            as much again is for uploads of files; one user gets half of each.
        max_upload: bytes of one file of a run.
        max_raw: bytes that one request may decompress to.
        patience: seconds of silence in the midst of a request after which it is refused.
        native: offer the endpoints under `/api`; without them the server speaks W&B's protocol
            only, as W&B's own do (its pages then have nothing to show).
        public_url: how users reach the server where that is not `http://host:port`: behind a
            proxy that speaks TLS, or that serves it under a path.
        hosts: further names that requests may call this server by; "*" is any.

    Raises:
        SettingsError: a key too short for W&B clients, or a number out of range.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    database: str | None = None
    objects: str | None = None
    admin_key: str | None = None
    idle_timeout: float | None = None
    embedded: bool = False
    crash_after: float = 60.0
    max_body: int = 32 * MIB
    max_bodies: int = 256 * MIB
    max_upload: int = 50 * 1024 * MIB
    max_raw: int = 256 * MIB
    patience: float = 30.0
    native: bool = True
    public_url: str | None = None
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.admin_key is not None:
            _check_key(self.admin_key)
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not between 0 and 65535", "port")
        if self.public_url is not None:
            object.__setattr__(self, "public_url", _checked_url(self.public_url))
        for name in ("crash_after", "max_body", "max_bodies", "max_upload", "max_raw", "patience"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} must be above 0", name)

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL with an async driver."""
        if self.database is None:
            return f"sqlite+aiosqlite:///{self.data / 'asyncwb.db'}"
        scheme, _, rest = self.database.partition("://")
        drivers = {
            "postgres": "postgresql+asyncpg",
            "postgresql": "postgresql+asyncpg",
            "sqlite": "sqlite+aiosqlite",
        }
        return f"{drivers.get(scheme, scheme)}://{rest}"


def _has_port(text: str) -> bool:
    try:
        return urlsplit(text).port != 0  # reading it checks it
    except ValueError:
        return False


def _checked_url(text: str) -> str:
    """Return a public URL without a slash at its end; refuse what no link can begin with."""
    if _PUBLIC_URL.fullmatch(text) is None or not _has_port(text):
        raise SettingsError(
            f"the public URL {text!r} is not like https://tracker.example.org or "
            "https://example.org/tracker. Nothing was started.",
            "public_url",
        )
    return text.rstrip("/")


def _check_key(key: str) -> None:
    """Refuse what W&B's clients would: they take the text before a dash for a prefix."""
    secret = key.split("-", 1)[-1]
    if len(secret) < MIN_KEY_LENGTH:
        raise SettingsError(
            f"ASYNCWB_API_KEY has {len(secret)} characters (what stands before its first dash does "
            f"not count); a server's key needs at least {MIN_KEY_LENGTH}, because W&B clients "
            "refuse shorter ones. Nothing was started; give a longer key, or none and one is made.",
            "api_key",
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise SettingsError(
            "ASYNCWB_API_KEY may only have letters, digits, `_` and `-`, because W&B clients "
            "refuse others. Nothing was started; give another key, or none and one is made.",
            "api_key",
        )


def admin_key_from(environ: Mapping[str, str] = os.environ) -> str | None:
    """Read the first admin's key from `ASYNCWB_API_KEY`; empty counts as not given."""
    return environ.get("ASYNCWB_API_KEY") or None
