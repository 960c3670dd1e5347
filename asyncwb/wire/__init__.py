"""The language that the engine and the server share.

    names               which names there can be, and how long texts may be
    paths               paths of projects, runs and sweeps as users write them
    run_names           two words and a number for runs that nobody named
    rows/               logged values -> keys -> columns -> frames, and back
    history             the step and commit rules of one writer
    summary/            what a run's summary keeps of its rows and events
    changes             what changed between two JSON objects
    picking             which of many rows stand for all of them
    stream              whose rows a frame carries
    ingest              the ingest protocol, both ends: at least once on the wire, once in effect
    retry               what to do with an answer, or with none
    proof               how a server shows that a data folder is its own
    uplink_documents    every GraphQL document that the engine sends
    query_documents     every GraphQL document that the query API sends
    wandb               W&B's shapes of rows, summary and config, and back

Everything here is pure: no socket, no file, no thread, no event loop and no clock (time is an
argument), and it needs no optional dependency. A row that one end encodes is a row that the other
end decodes, whatever lies between.
"""
