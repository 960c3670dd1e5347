"""The tables, once, for SQLite and PostgreSQL.

A run's identity to the outside is (entity, project, run id); inside, every table points to the
integer `runs.id`. Rows of history live first in `frames` (the very bytes that a client sent, in
the order they were committed) and later in `segments` (Parquet in the object store) with
`rollups` (chart pyramids) with them. Times are float unix seconds of the server's clock
unless a comment says otherwise. A change here needs a migration: a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

from asyncwb.server.store.documents import Document
from asyncwb.wire.rows.values import dumps, loads

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only auto-increments INTEGER keys; it stores 64 bits either way.
BigId = BigInteger().with_variant(Integer, "sqlite")


# Text that sorts and compares by its UTF-8 bytes, as Python and SQLite do it.
ByteOrdered = Text().with_variant(Text(collation="C"), "postgresql")


class Json(TypeDecorator[object]):
    """A JSON value kept as text, NaN and infinities included.

    Not the databases' own JSON types: PostgreSQL's refuses NaN, and nothing queries inside.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        return None if value is None else dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        return None if value is None else loads(value.encode())


users = Table(
    "users",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("admin", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("email", String(320)),
    # Service accounts only: the id of the team that they belong to.
    Column("service_of", BigId),
    # Nobody is deleted: runs keep saying whose they are. From here on no key of theirs is good.
    Column("disabled_at", Double),
    Index(None, "email", unique=True),
)

# Who may own projects: a user's personal entity (of the user's name), or a team. One namespace.
entities = Table(
    "entities",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),  # "user" or "team"
    Column("created_at", Double, nullable=False),
)

# A personal entity has no members: it is its user's.
members = Table(
    "members",
    metadata,
    Column("entity_id", BigId, ForeignKey("entities.id"), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), primary_key=True),
    Column("role", String(8), nullable=False),  # "admin", "member" or "viewer"
    Column("created_at", Double, nullable=False),
    Index(None, "user_id"),
)

# An invitation makes an account, and a member of a team where it names one.
invitations = Table(
    "invitations",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("entity_id", BigId, ForeignKey("entities.id")),
    Column("email", String(320)),
    Column("role", String(8), nullable=False),
    Column("invited_by", BigId, ForeignKey("users.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
)

# What the processes of one server share and nobody else may know, such as the key that signs
# addresses.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
    Column("created_at", Double, nullable=False),
)

# A key is kept as the SHA-256 of its text; keys are random and long, so no slow hash is needed.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("description", Text),
    Index(None, "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("key_id", BigId, ForeignKey("api_keys.id", name="fk_sessions_key_id")),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Index(None, "user_id"),
)

login_links = Table(
    "login_links",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("key_id", BigId, ForeignKey("api_keys.id", name="fk_login_links_key_id")),
    Column("expires_at", Double, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("created_at", Double, nullable=False),
    # "private": the entity's members; "public": every user of the server may read.
    Column("visibility", String(8), nullable=False, server_default="private"),
    Column("description", Text),
    Column("user_id", BigId),  # who made it; users are never deleted
    UniqueConstraint("entity", "name"),
)

# Names that projects had; a project of that name comes first (see former_names.py).
former_names = Table(
    "former_names",
    metadata,
    Column("entity", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Index("ix_former_names_project", "project_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id"), nullable=False),
    Column("run", String(128), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    # The client's clock: when the first writer started, and when the last one finished.
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("heartbeat_at", Double, nullable=False),
    Column("exit_code", Integer),
    Column("rows", BigInteger, nullable=False),
    Column("last_step", BigInteger),
    Column("lost", BigInteger, nullable=False),
    Column("tags", Json, nullable=False),
    Column("notes", Text),
    Column("group_name", Text),
    Column("job_type", Text),
    Column("host", Text),
    Column("program", Text),
    Column("python", Text),
    Column("client", Text),
    # Grows by one with every committed change of the run; what caches and the live page go by.
    Column("version", BigInteger, nullable=False),
    # JSON that is encoded outside the event loop: `summary` is `Fold.as_dict()`, `fold` is
    # `Fold.state()`.
    Column("config", Document, nullable=False),
    Column("summary", Document, nullable=False),
    Column("fold", Document, nullable=False),
    Column("user_id", BigId),  # who made it; users are never deleted
    Column("description", Text),
    Column("repo", Text),
    Column("commit", Text),
    Column("sweep", String(128)),  # `sweeps.sweep` of the same project
    # Somebody asked for the run to end; its client is told until it does.
    Column("stop_requested", Boolean, nullable=False, server_default=false()),
    # The last row of system metrics, as JSON.
    Column("system", Document, nullable=False, default="{}", server_default="{}"),
    # The version of the run that `field_values` was made from; -1 before the first time.
    Column("indexed_version", BigInteger, nullable=False, server_default="-1"),
    # Its frames that are not sealed: how many, their rows and bytes. Counted in the transaction
    # that adds or deletes them, so that nobody has to look at all frames to know what is due.
    Column("tail_frames", BigInteger, nullable=False, server_default="0"),
    Column("tail_rows", BigInteger, nullable=False, server_default="0"),
    Column("tail_size", BigInteger, nullable=False, server_default="0"),
    Column("tail_at", Double),  # when the last of them came
    UniqueConstraint("project_id", "run"),
    # The run list reads a project newest first; crash detection reads the running ones.
    Index(None, "project_id", "id"),
    Index(None, "state", "heartbeat_at"),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "project_id", "heartbeat_at", "id"),
    # Runs whose field values are behind; empty most of the time.
    Index(
        "ix_runs_stale",
        "project_id",
        "id",
        sqlite_where=text("indexed_version <> version"),
        postgresql_where=text("indexed_version <> version"),
    ),
    Index(
        "ix_runs_unsealed",
        "id",
        sqlite_where=text("tail_frames > 0"),
        postgresql_where=text("tail_frames > 0"),
    ),
    Index(
        "ix_runs_sweep",
        "project_id",
        "sweep",
        sqlite_where=text("sweep IS NOT NULL"),
        postgresql_where=text("sweep IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

writers = Table(
    "writers",
    metadata,
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("writer", String(128), primary_key=True),
    Column("next_seq", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("exit_code", Integer),
)

# Ids are never used again (autoincrement), and within one run they grow in commit order:
# ingest locks the run's row before it inserts.
frames = Table(
    "frames",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("writer", String(128), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    # Null where the frame holds events only.
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("run_id", "writer", "first_seq"),
    Index(None, "run_id", "id"),
    sqlite_autoincrement=True,
)

segments = Table(
    "segments",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("rows", BigInteger, nullable=False),
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("columns", Json, nullable=False),
    Column("size", BigInteger, nullable=False),
    # The highest frame id inside: segments of one run, in this order, are its history.
    Column("sorted_after_frame", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    # What `server.objects.checksums` makes of the file's bytes; null where an older server sealed
    # it.
    Column("checksums", LargeBinary),
    Index(None, "run_id", "sorted_after_frame"),
    sqlite_autoincrement=True,
)

SAMPLE: Final = "sample"
"""the kind under which a segment's sample of rows stands among its rollups"""
AXIS: Final = "axis"
"""the kind under which the steps and times of a wide segment's rows do"""

rollups = Table(
    "rollups",
    metadata,
    Column("segment_id", BigId, ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

HEADS: Final = "heads"
"""the stream of lines that are digests of W&B clients' line 0, by generation: bytes, no text"""

# Lines of text of a run: "events" (system metrics, a JSON object a line) and "output" (console).
# A chunk holds `count` lines from line `first` on; chunks do not overlap.
lines = Table(
    "lines",
    metadata,
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("stream", String(16), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),  # zstd over the lines, each ended by "\n"
)

# Bytes that rows of other tables refer to, under their SHA-256 (hex; null where an older server
# stored them): the object of that name. `uses` counts the rows, and since when there are none is
# said in `unused_since`; after a grace the bytes are let go of.
blobs = Table(
    "blobs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("sha256", String(64)),
    Column("object", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("md5", String(32)),  # base64
    # As those of segments.
    Column("checksums", LargeBinary),
    Column("uses", BigInteger, nullable=False),
    Column("unused_since", Double),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("sha256"),
    UniqueConstraint("object"),
    Index(
        "ix_blobs_unused",
        "unused_since",
        sqlite_where=text("unused_since IS NOT NULL"),
        postgresql_where=text("unused_since IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# Files of runs: `blob_id` is null until their bytes came.
files = Table(
    "files",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("blob_id", BigId, ForeignKey("blobs.id")),
    Column("mimetype", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("run_id", "name"),
    Index(None, "blob_id"),
    sqlite_autoincrement=True,
)

# Objects that no segment and no blob names any more, and since when: they are deleted once whoever
# began to read before that has had the time to end.
dropped_objects = Table(
    "dropped_objects",
    metadata,
    Column("name", Text, primary_key=True),
    Column("dropped_at", Double, nullable=False),
    Index(None, "dropped_at"),
)

# What runs are filtered and sorted by: what `server.queries.document.Values.rows` says of each run.
# `fields` gives a path in a project its number.
fields = Table(
    "fields",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False),
    UniqueConstraint("project_id", "path"),
    sqlite_autoincrement=True,
)

# One field's values lie together, in the order of runs: a filter or an order reads one such
# stretch, and looks up single runs in the next. PostgreSQL reads it from the key alone.
field_values = Table(
    "field_values",
    metadata,
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Double),
    Column("field_id", Integer, ForeignKey("fields.id", ondelete="CASCADE"), nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),  # wire.document.ValueKind
    Column("logged", Boolean, nullable=False),  # it is a metric that rows of history hold
    Column("text", ByteOrdered),  # short enough for the key
    Column("long", ByteOrdered),  # the whole text, where `text` is not
    PrimaryKeyConstraint(
        "field_id", "run_id", "position", postgresql_include=["kind", "number", "text", "logged"]
    ),
    Index(None, "run_id"),
    sqlite_with_rowid=False,
)

reports = Table(
    "reports",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("type", String(32), nullable=False),
    Column("name", String(128), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text),
    Column("spec", Document, nullable=False),  # JSON
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("level", String(8), nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "run_id", "id"),
)

# A sweep's runs are those of its project that name it in `runs.sweep`. `config_name`, `method`,
# `metric`, `maximize` and `expected_runs` are what `config` says, read once.
sweeps = Table(
    "sweeps",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("project_id", BigId, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("sweep", String(128), nullable=False),
    Column("display_name", Text),
    Column("config_name", Text),
    Column("description", Text),
    Column("config", Document, nullable=False),  # YAML, as the client wrote it
    Column("method", String(16), nullable=False),
    Column("metric", Text),  # as in `fields.path`
    Column("maximize", Boolean, nullable=False),
    Column("expected_runs", Integer),  # null: there is no end to them
    Column("state", String(16), nullable=False),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("project_id", "sweep"),
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Double, nullable=False),
)
