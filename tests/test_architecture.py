"""Who may import whom, and what a room says of itself. The rooms stay apart because this test does.

Imports inside functions and under TYPE_CHECKING count like any other. A generated room (`_sync`)
counts as the one beside whose files it lies.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "asyncwb"
FOR_EVERYONE = {
    "descriptors",
    "errors",
    "printable",
    "private",
    "settings",
    "tasks",
    "typing",
    "version",
}

_WIRE = {"wire", "wire.rows", "wire.summary"}
_ENGINE = {f"engine.{room}" for room in ("journal", "frames", "uplink", "uploads", "process")}
_STORE = {"server.store", *(f"server.store.{room}" for room in ("runs", "queries", "people"))}
_SERVER = {"server.config", "server.http", "server.process", *_STORE}
MAY_IMPORT: dict[str, set[str]] = {
    "descriptors": set(),
    "errors": set(),
    "typing": set(),
    "printable": set(),
    "private": set(),
    "settings": {"wire"},
    "tasks": set(),
    "version": set(),
    # The language.
    "wire.rows": set(),
    "wire.summary": {"wire.rows"},
    "wire": {"wire.rows", "wire.summary"},
    # The worker.
    "engine.journal": _WIRE,
    "engine.process": {"engine.journal"},
    "engine.frames": {"engine.journal", *_WIRE},
    "engine.uplink": {"engine.frames", "engine.journal", "engine.process", *_WIRE},
    "engine.uploads": {"engine.journal", "engine.uplink", *_WIRE},
    "engine": {*_ENGINE, *_WIRE},
    # The faces.
    "importers": {"engine", *_ENGINE, *_WIRE},
    "client": set(),
    "client.sync": {"engine", *_ENGINE, *_WIRE},
    "client.live": {"client", "client.sync", "engine", *_ENGINE, *_WIRE},
    "client.query.requests": {"client", "importers", "engine", *_ENGINE, *_WIRE},
    "client.query.rows": {"client.query.requests", "engine", *_ENGINE, *_WIRE},
    "client.query": {
        "client",
        "client.query.requests",
        "client.query.rows",
        "engine",
        *_ENGINE,
        *_WIRE,
    },
    # The server.
    "server.config": set(),
    "server.queries": {"wire.rows"},
    "server.store": {"server.queries", *_WIRE},
    "server.store.migrations": {"server.store"},
    "server.store.people": {"server.store"},
    "server.store.queries": {"server.queries", "server.store", *_WIRE},
    "server.store.runs": {
        "server.queries",
        "server.store",
        "server.store.people",
        "server.store.queries",
        *_WIRE,
    },
    "server.live": {"server.process", "server.store", "server.store.people"},
    "server.process": {"server.store", *_WIRE},
    "server.http": {"server.live", "server.process", "server.config", *_STORE, *_WIRE},
    "server.people": _SERVER,
    "server.objects": {*_SERVER, *_WIRE},
    "server.intake": {"server.objects", "server.people", *_SERVER, *_WIRE},
    "server.runs": {
        "server.intake",
        "server.live",
        "server.objects",
        "server.people",
        "server.queries",
        *_SERVER,
        *_WIRE,
    },
    "server.history": {"server.intake", "server.objects", "server.runs", *_SERVER, *_WIRE},
    "server.backups": {"server.history", "server.objects", *_SERVER, *_WIRE},
    "server.graphql.execution": {*_SERVER, *_WIRE},
    "server.graphql": {
        "server.graphql.execution",
        "server.history",
        "server.intake",
        "server.objects",
        "server.people",
        "server.queries",
        "server.runs",
        *_SERVER,
        *_WIRE,
    },
    "server": {
        "server.backups",
        "server.graphql",
        "server.history",
        "server.intake",
        "server.live",
        "server.objects",
        "server.people",
        "server.runs",
        *_SERVER,
        *_WIRE,
    },
    # The doors.
    "apis": {"client.query", "client.query.rows"},
    "__init__": {"apis", "client.live", "client.query"},
    "aio": {"__init__", "client.live", "client.query"},
    "cli": {"__init__", "client.sync", "importers", "server", "server.backups"},
    "__main__": {"cli"},
}

PUT_OFF = {
    "asyncwb.engine.thread": {"asyncwb.engine.worker"},
    "asyncwb.engine.summary": {"asyncwb.engine.frames.pipeline", "asyncwb.wire.summary.fold"},
    "asyncwb.client.live.state": {
        "asyncwb.client.live.saving",
        "asyncwb.client.sync.backlog",
        "asyncwb.engine.process.handover",
    },
}
"""What functions import, by module. The first two keep numpy and aiohttp (0.4 s of imports) off the
thread that calls `init()`; the third what only `save()`, and a run whose end goes badly, needs."""

OF_THE_ENGINE = {
    "aiohttp",
    "anyio",
    "numpy",
    "orjson",
    "propcache",
    "uvloop",
    "xxhash",
    "zstandard",
}
"""What is installed with asyncwb, extras or not."""


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "node_modules" not in path.parts
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
ROOMS = [
    path.parent
    for path in MODULES.values()
    # The package's own docstring is written for users; migrations are numbered files.
    if path.name == "__init__.py" and path.parent != PACKAGE and "migrations" not in path.parts
]


def _imported(tree: ast.AST) -> Iterator[str]:
    """Give the dotted names that a tree imports: by statement, by `import_module`, or by the `load`
    of the command line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "write imports out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "load")
        ):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def _ours(tree: ast.AST) -> set[str]:
    """Give the modules of this package that a tree imports."""
    names = [name for name in _imported(tree) if name.split(".")[0] == "asyncwb"]
    return {name if name in MODULES else name.rpartition(".")[0] or name for name in names}


def _room(module: str) -> str:
    """Give the room that a module stands in; one that stands in none is a room of its own."""
    inside = module.removeprefix("asyncwb").removeprefix(".").replace("._sync", "")
    if inside in FOR_EVERYONE | {"aio", "__main__", "server.config"}:
        return inside
    is_package = MODULES[module].name == "__init__.py"
    return (inside if is_package else inside.rpartition(".")[0]) or "__init__"


def test_imports_follow_the_arrows() -> None:
    assert {_room(module) for module in MODULES} - {"server.store.migrations.versions"} == set(
        MAY_IMPORT
    )
    wrong = [
        f"{module} -> {imported}"
        for module, tree in TREES.items()
        for imported in _ours(tree)
        if _room(imported) not in MAY_IMPORT.get(_room(module), set()) | FOR_EVERYONE
        and _room(imported) != _room(module)
    ]
    assert not wrong


def test_there_is_no_import_cycle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()
    TopologicalSorter({m: _ours(tree) - {m} for m, tree in TREES.items()}).prepare()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_room_names_each_of_its_files(room: Path) -> None:
    source = ast.parse((room / "__init__.py").read_text())
    says = ast.get_docstring(source, clean=False) or ""
    named = re.findall(r"^(?: {4})?(\w+/?)(?: {2,}\S|$)", says, re.MULTILINE)
    files = {file.stem for file in room.glob("*.py")} - {"__init__"}
    inner = {f"{folder.name}/" for folder in room.iterdir() if [*folder.glob("[!.]*.*")]}
    assert sorted(named) == sorted(files | (inner - {"__pycache__/"}))


def test_no_function_imports_a_module_of_ours() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found: dict[str, set[str]] = {}
    for module, tree in TREES.items():
        if _room(module) not in ("__init__", "aio", "cli"):
            for function in ast.walk(tree):
                if isinstance(function, functions) and (ours := _ours(function)):
                    found.setdefault(module, set()).update(ours)
    assert found == PUT_OFF


def test_the_language_needs_nothing_optional() -> None:
    allowed = {"asyncwb", *OF_THE_ENGINE, *sys.stdlib_module_names}
    assert not [
        f"{module} -> {imported}"
        for module, tree in TREES.items()
        if _room(module).startswith("wire")
        for imported in _imported(tree)
        if imported.split(".")[0] not in allowed
    ]


def test_one_file_speaks_http_and_one_room_speaks_sql() -> None:
    def users(*libraries: str) -> set[str]:
        return {
            module
            for module, tree in TREES.items()
            if any(name.startswith(libraries) for name in _imported(tree))
        }

    outside_the_server = {m for m in users("aiohttp") if not _room(m).startswith("server")}
    assert outside_the_server == {"asyncwb.engine.uplink.http"}
    assert not [
        m for m, t in TREES.items() if _room(m).startswith("server") and "ClientS" in ast.unparse(t)
    ]
    assert not [m for m in users("sqlalchemy", "alembic") if ".server.store" not in m]


def test_no_room_is_a_drawer_for_anything() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]


MOST_ANY = 236
"""lines written by hand that name `Any`: it may only fall"""


def test_any_only_becomes_rarer() -> None:
    """`Any` hides a seam from the type checker; it stays where a value truly is anything."""
    found = {
        (name, node.lineno)
        for name, tree in TREES.items()
        if "._sync" not in name
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    }
    assert len(found) <= MOST_ANY, "name the type, or say object"
    assert len(found) == MOST_ANY, f"lower MOST_ANY to {len(found)}"
