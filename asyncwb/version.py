"""The version, in one place: the package's metadata, the engine and the server read it here."""

from __future__ import annotations

__version__ = "0.1.0"
