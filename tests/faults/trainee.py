"""A training program for the fault tests to be cruel to: `python -m tests.faults.trainee PLAN`.

Each time `log()` has returned it raises a counter in a file that it shares with the test. The
mapping is shared memory: the counter says exactly how many calls had returned, also after SIGKILL.
Row i has `i`, `x` = i / 2 and, every `NOTE_EVERY` rows, a text; so every value can be foretold.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.fix_clock import JumpingClock

NOTE_EVERY = 50
SLOT = struct.Struct("<q")
SLOTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a trainee does.

    `counter`: the shared file; `rows`: how many to log, None: until it is killed; `pace`: seconds
    between two rows; `key`: put before every metric's name, so that writers of one run can be told
    apart; `slot`: which counter; `noise`: floats of noise in each row, to fill disks; `forks`:
    children that log beside the parent, each with the next key and slot; `clock`: the seed of a
    clock that jumps; `after_full`: once rows were dropped and then taken again, log so many more;
    `flush_every`: after so many rows wait until they are where they are to go.
    """

    counter: str
    run: str
    project: str = "faults"
    mode: str = "online"
    rows: int | None = None
    pace: float = 0.0
    key: str = "a"
    slot: int = 0
    noise: int = 0
    forks: int = 0
    clock: int | None = None
    after_full: int | None = None
    flush_every: int | None = None

    def command(self) -> list[str]:
        """Return the command that does this."""
        return [sys.executable, "-m", "tests.faults.trainee", json.dumps(asdict(self))]


class Counters:
    """How many `log()` calls have returned, for each slot; survives the death of who counts."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(SLOTS * SLOT.size)
            self._map = mmap.mmap(file.fileno(), SLOTS * SLOT.size)

    def __getitem__(self, slot: int) -> int:
        (count,) = SLOT.unpack_from(self._map, slot * SLOT.size)
        return int(count)

    def __setitem__(self, slot: int, count: int) -> None:
        # Copied, not packed into place: that clears the place first, where a kill would leave a 0.
        self._map[slot * SLOT.size : (slot + 1) * SLOT.size] = SLOT.pack(count)


def row(key: str, i: int, noise: int = 0) -> dict[str, Any]:
    """Return the i-th row of a writer."""
    made: dict[str, Any] = {f"{key}_i": i, f"{key}_x": i / 2}
    if noise:
        values = struct.unpack(f"{noise}Q", os.urandom(8 * noise))
        made.update({f"noise{n}": value / 2**64 for n, value in enumerate(values)})
    if i % NOTE_EVERY == 0:
        made[f"{key}_note"] = f"row {i}"
    return made


def train(run: Any, plan: Plan, counters: Counters, key: str, slot: int) -> None:
    """Log the rows of one writer, counting each."""
    i = 0
    ends = _Ends(run, plan)
    while not ends.reached(i):
        run.log(row(key, i, plan.noise))
        i += 1
        counters[slot] = i
        if plan.flush_every and i % plan.flush_every == 0:
            run.flush()
        if plan.pace:
            time.sleep(plan.pace)


class _Ends:
    """Tells when a trainee has logged enough, and says on stdout how a full disk shows."""

    def __init__(self, run: Any, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._accepted_when_full: int | None = None
        self._last: int | None = plan.rows

    def reached(self, i: int) -> bool:
        if self._plan.after_full is not None and self._last is None:
            self._look(i, self._plan.after_full)
        return self._last is not None and i >= self._last

    def _look(self, i: int, more: int) -> None:
        status = self._run.status()
        if self._accepted_when_full is None:
            if status.dropped:
                self._accepted_when_full = status.accepted
                say({"full_at": i})
        elif status.accepted > self._accepted_when_full:
            self._last = i + more


def say(what: dict[str, Any]) -> None:
    """Tell the test something."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(plan: Plan) -> None:
    """Do what the plan says."""
    if plan.clock is not None:
        time.time = JumpingClock(plan.clock, every=20)  # before asyncwb is imported
    import asyncwb  # the clock had to be in place first

    counters = Counters(Path(plan.counter))
    run = asyncwb.init(project=plan.project, id=plan.run, mode=plan.mode)
    children = [_fork(run, plan, counters, n) for n in range(1, plan.forks + 1)]
    train(run, plan, counters, plan.key, plan.slot)
    for child in children:
        os.waitpid(child, 0)
    run.finish()
    status = run.status()
    dropped, accepted = dict(status.dropped), status.accepted
    say({"accepted": accepted, "acknowledged": status.acknowledged, "dropped": dropped})


def _fork(run: Any, plan: Plan, counters: Counters, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        train(run, plan, counters, f"{plan.key}{number}", plan.slot + number)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
