"""What the uplink and its speakers say to each other.

The uplink decides when and what is sent and keeps account; a speaker puts it into the words of a
server: `native` sends frames to ours, `wandb` turns them into what W&B's servers take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from asyncwb.engine.frames.outbox import Outbox
from asyncwb.engine.frames.source import Prepared
from asyncwb.engine.uplink.embedded import Address
from asyncwb.errors import CommError
from asyncwb.wire.retry import Verdict

Batch: TypeAlias = list[tuple[Outbox, list[Prepared]]]


class Undelivered(CommError):  # noqa: N818
    """The whole batch came to nothing, or part of it did; `verdict` says what is to be done."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Taken:
    """All below `next_seq` is the server's.

    `run_path`: "entity/project/id"; `base_url`: where its page is; `stop`: the server asks for an
    end; `aside`: rows that were set aside on the way, since no request may hold them; `holds`: rows
    wait at the speaker for their step to be closed; `wait`: seconds to leave before the next.
    """

    next_seq: int
    run_path: str
    base_url: str
    stop: bool
    aside: int = 0
    holds: bool = False
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class OtherPosition:
    """The server expects `next_seq`: it was restored, or a frame went missing."""

    next_seq: int


@dataclass(frozen=True, slots=True)
class NotNow:
    """Refused for now; `smaller` asks for smaller batches."""

    reason: str
    smaller: bool = False


@dataclass(frozen=True, slots=True)
class Waits:
    """Another writer of the run has to end first."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Refused for good."""

    reason: str


def no_such_run(reason: str) -> Refused:
    """Return the word on a run that was begun with resume="must" and is not there."""
    return Refused(
        f"{reason.rstrip('.')}. Where the server has lost it, make it anew of what is here: "
        "asyncwb sync --create DIR"
    )


Answer: TypeAlias = Taken | OtherPosition | NotNow | Waits | Refused


class Speaker(Protocol):
    """Sends batches to one kind of server.

    `alone`: takes one writer's frames at a time; `depth`: how many batches may be on their way;
    `interval`: seconds for which a writer's rows gather; `gather`: seconds for which the server,
    which is busy, asks all of them to, as long as they are few; `max_request`: raw bytes of frames
    that a batch may have.
    """

    alone: bool
    depth: int
    interval: float
    gather: float
    max_request: int

    async def send(self, address: Address, batch: Batch) -> list[Answer]:
        """Send a batch; returns an answer for each writer, in order.

        Raises:
            NoAnswer, Undelivered: nothing is known to have arrived; the same batch may be sent
                again.
        """
