"""Who may import whom. The rooms stay apart because this test says so.

    cli -> launch, client, server       launch -> client       client -> engine -> wire
    client -> data_types -> wire        server -> wire         everyone -> errors, typing, settings
                                        settings -> wire

Imports inside functions and under TYPE_CHECKING count like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "asyncwb"
FOR_EVERYONE = {"descriptors", "errors", "printable", "private", "settings", "typing", "version"}
MAY_IMPORT = {
    "descriptors": set(),
    "errors": set(),
    "typing": set(),
    "printable": set(),
    "private": set(),
    "settings": {"wire"},
    "version": set(),
    "wire": set(),
    "data_types": {"wire"},
    "engine": {"wire"},
    "client": {"data_types", "engine", "wire"},
    "server": {"wire"},
    "launch": {"client"},
    "apis": {"client"},
    "__init__": {"apis", "client"},
    "aio": {"__init__", "apis", "client"},
    "cli": {"__init__", "client", "launch", "server"},
    "__main__": {"cli"},
}

PUT_OFF = {"asyncwb.engine.thread", "asyncwb.engine.summary", "asyncwb.client.live.state"}
"""The first two keep numpy and aiohttp (0.4 s of imports) off the thread that calls `init()`, the
third what only `save()` needs."""


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def _imported(tree: ast.AST) -> Iterator[str]:
    """Give the dotted names that a tree imports, by statement or by `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "write imports out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def _ours(tree: ast.AST) -> set[str]:
    """Give the modules of this package that a tree imports."""
    names = [name for name in _imported(tree) if name.split(".")[0] == "asyncwb"]
    return {name if name in MODULES else name.rpartition(".")[0] or name for name in names}


def _room(module: str) -> str:
    return f"{module}.__init__".split(".")[1]


def test_imports_follow_the_arrows() -> None:
    rooms = {_room(module) for module in MODULES}
    assert rooms <= MAY_IMPORT.keys()
    wrong = [
        f"{module} -> {imported}"
        for module, tree in TREES.items()
        for imported in _ours(tree)
        if _room(imported) not in MAY_IMPORT[_room(module)] | FOR_EVERYONE | {_room(module)}
    ]
    assert not wrong


def test_there_is_no_import_cycle() -> None:
    TopologicalSorter({m: _ours(tree) - {m} for m, tree in TREES.items()}).prepare()


def test_no_function_imports_a_module_of_ours() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {
        module
        for module, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, functions) and _room(module) not in ("__init__", "aio", "cli")
        if _ours(function)
    }
    assert found == PUT_OFF


def test_one_file_speaks_http_and_one_room_speaks_sql() -> None:
    def users(*libraries: str) -> set[str]:
        return {
            module
            for module, tree in TREES.items()
            if any(name.startswith(libraries) for name in _imported(tree))
        }

    outside_the_server = {m for m in users("aiohttp") if _room(m) != "server"}
    assert outside_the_server <= {"asyncwb.engine.uplink.http"}
    assert not [m for m, t in TREES.items() if _room(m) == "server" and "ClientS" in ast.unparse(t)]
    assert not [m for m in users("sqlalchemy", "alembic") if ".server.store" not in m]


def test_no_room_is_a_drawer_for_anything() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]
