"""The worker: one thread with one uvloop loop, whatever the caller does with its own.

    session       one writer of one run: what its faces may call, and what it costs
    disabled      the session of `mode="disabled"`, which records nothing
    journal/      what `log()` touches: rows on disk before it returns
    summary       the run's summary on this side, folded from the journal
    frames/       committed rows -> tables -> frames, as many at once as there are
    uplink/       frames of all runs -> requests to a server, ours or W&B's
    uploads/      the files that a run saves
    tasks         of the loop: each ends by itself, and is started again where it fails
    upkeep        of the journals: room ahead, nothing old, bytes on the disk
    worker        what runs on the loop: all of the above, and submitted commands
    thread        the thread, its loop, and how the faces talk to them
    notices       what is said to the user, on a thread that alone waits for stderr
    process/      this process: forks, signals, its end, and who sends the rest after it
    resume        going on with a run that another process has begun
    local_runs    what this machine has of a run, where no server is asked
    drain         run folders that some process left behind, or still writes
    neighbours    what children left that could not send it, drained by whoever finishes the run

The caller's thread only ever touches `journal`; numpy, aiohttp and the codecs are imported on the
engine's thread, so that importing asyncwb and starting a run stay cheap.
"""
