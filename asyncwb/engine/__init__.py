"""The worker: one thread with one uvloop loop, whatever the caller does with its own.

    inbox      the caller's side of `log()`: check, stamp, pack into the journal; never waits
    checks     what it refuses, and why it drops
    holders    who is in the middle of it, when somebody else comes
    kept_events what it was told of the run and still holds, for a server that loses what it had
    records    how a row or an event lies in the journal, for whoever writes or scans it
    journal    segments on disk, in order; trimmed once acknowledged
    segment    one of them: preallocated, memory-mapped
    durable    what makes the disk, not only its cache, hold a file
    pipeline   committed records -> tables -> frames, as many at once as there are
    session    one writer of one run: inbox, journal, pipeline, accounting
    uplink     frames of all sessions -> requests; backoff; acknowledgements
    speaker    what the uplink and those who put frames into a server's words say to each other
    dialect    which of them a server needs
    native     frames as they are, to our own server
    wandb      frames as W&B's shapes, by GraphQL and file_stream
    graphql    one document, one answer; documents: all that are sent
    fitting    frames that fit a request
    aside      what fits none, kept as JSON
    offline    frames -> a sealed file on disk, in place of the uplink
    embedded   finds or starts the server of this machine
    local      what this machine has of a run, where no server is asked
    notices    what is said to the user, on a thread that alone waits for stderr
    upkeep     of the journals: room ahead, nothing old, bytes on the disk
    others     what children left that could not send it: sent by whoever finishes the run
    ending     how that went, as plain values
    handover   what is left at a deadline, given to a process of its own
    thread     the thread, its loop, and how the faces talk to them

The caller's thread only ever touches `inbox` and `journal`; numpy, aiohttp and the codecs are
imported on the engine's thread, so that importing asyncwb and starting a run stay cheap.
"""
