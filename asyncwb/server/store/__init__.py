"""The server's memory: the only room that writes SQL.

    schema             the tables, once, for SQLite and PostgreSQL
    migrate            brings a database to the newest schema
    migrations/        the steps
    database           one engine for both; where they differ is here
    write_ahead_log    SQLite's log: what of it can be read, and what is lost
    damaged_log        a damaged one, kept beside the database and named
    identity           the id that a database and its objects share
    records            what the store hands out
    documents          texts that end in a checksum of themselves
    allowance          how many bytes of documents one request may have read
    texts              text in the tables of queries
    claims             what one task of one process has for a while
    notifications      what servers of one PostgreSQL tell each other
    runs/              projects and runs: rows, lines, files, sweeps, reports
    queries/           filters as SQL
    people/            accounts, teams, keys
    blobs              bytes that rows refer to, stored once and counted
    dropped            which objects nothing names any more, and since when
    inventory          what a store holds
    snapshot           a copy of it as of one moment
    usage              how much room it takes

Each file holds the statements of one noun behind a small class that is given the `Database`. One
text serves SQLite and PostgreSQL; where they differ (locks, upserts) the difference lives in
`database.py`. A method that takes a `connection` takes part in its caller's transaction; one that
does not opens its own.
"""
