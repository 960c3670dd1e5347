"""How a server shows that a data folder is its own, before it is told anything.

A client finds the server of its machine by an address in the folder. Whoever was quick may listen
there by now: so it sends a number that it has just drawn, and the server answers with an HMAC of it
under a secret that lies in the folder, where only the folder's owner can read. The port is part of
what is signed, or somebody could pass the question on to where the server is now.

    GET /ready                  Asyncwb-Challenge: <number>
    200                         Asyncwb-Proof: hex(HMAC-SHA256(secret, "ready <port> <number>"))
"""

from __future__ import annotations

import hmac
import re
from typing import Final

PATH: Final = "/ready"
CHALLENGE: Final = "Asyncwb-Challenge"
PROOF: Final = "Asyncwb-Proof"
SECRET_FILE: Final = "secret"
"""the file in the server's data folder"""
_CHALLENGE: Final = re.compile(r"[0-9a-f]{32,128}")


def prove(secret: str, port: int, challenge: str) -> str | None:
    """Return the answer to a challenge; None for what is none."""
    if not _CHALLENGE.fullmatch(challenge):
        return None
    return hmac.digest(secret.encode(), f"ready {port} {challenge}".encode(), "sha256").hex()


def proves(secret: str, port: int, challenge: str, answer: str | None) -> bool:
    """Tell whether an answer is that of the server at a port."""
    wanted = prove(secret, port, challenge)
    return wanted is not None and hmac.compare_digest(wanted.encode(), (answer or "").encode())
