"""Documents end in a checksum of themselves.

Nothing is to be changed: those that are there have none until they are written again. But a release
before this one could not read the new ones, and does not open a database of this revision.
"""

from __future__ import annotations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change nothing."""
