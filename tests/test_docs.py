"""The documentation under test: it names everything, its links lead somewhere, its examples run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from asyncwb.cli import app
from asyncwb.engine.session import RunStatus
from asyncwb.server.app import create_app
from asyncwb.server.config import ServerConfig
from tests.fix_server import ServerHandle

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text())


SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(_blocks(page, "python"), start=1)
]
COMMANDS = [
    line
    for page in PAGES
    for block in _blocks(page, "bash")
    for line in block.splitlines()
    if re.search(r"\basyncwb [a-z]", line)
]


def test_the_reference_has_the_fields_of_a_status_and_nothing_for_maintainers() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
    described = pages["python"].partition("\n## `RunStatus`\n")[2]
    missing = [f.name for f in fields(RunStatus) if f"\n* `{f.name}`: " not in described]
    assert not missing
    assert not [name for name, text in pages.items() if "Mutable state" in text]


@pytest.mark.parametrize("script", ["page_types", "readme_table", "reference"])
def test_what_is_generated_says_what_its_source_says(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings, commands, errors, the Python API; and what the server answers to the page."""
    status = _script(script).main(["--check"])
    assert status == 0, f"run python .ci/{script}.py\n{capsys.readouterr().out}"


def test_every_route_is_documented(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    routes = create_app(ServerConfig(data=tmp_path)).router.routes()
    paths = {route.resource.canonical for route in routes if route.resource and route.method != "*"}
    assert len(paths) > 15
    assert not [path for path in paths if f"{path}`" not in page]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_in_the_documentation_exist(line: str) -> None:
    words = shlex.split(line.split("asyncwb ", 1)[1], comments=True)
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    for word in words[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_relative_links_lead_to_files_and_headings() -> None:
    dead = []
    for page in PAGES:
        for link in LINK.findall(re.sub(r"(?ms)^```.*?^```$", "", page.read_text())):
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if re.match(r"[a-z]+:", link):
                continue
            if not target.exists() or (heading and heading not in _headings(target)):
                dead.append(f"{page.relative_to(ROOT)}: {link}")
    assert not dead


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def _call(
    server: ServerHandle, folder: Path, *command: str | Path
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ASYNCWB_", "WANDB_"))}
    environment |= {
        "ASYNCWB_BASE_URL": server.url,
        "ASYNCWB_API_KEY": server.api_key,
        "ASYNCWB_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def _run(script: Path, server: ServerHandle, folder: Path) -> str:
    done = _call(server, folder, script)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code: str, server: ServerHandle, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(code)
    _run(script, server, tmp_path)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(script: Path, server: ServerHandle, tmp_path: Path) -> None:
    assert _run(script, server, tmp_path)


def test_the_wandb_example_shows_what_was_logged_wherever_that_was(
    server: ServerHandle, tmp_path: Path
) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import sys, asyncwb\n"
        "with asyncwb.init(project='elsewhere', id='r1') as run:\n"
        "    run.log({'a': 1})\n"
        "sys.exit(7)\n"
    )
    example = ROOT / "examples" / "wandb_client.py"
    done = _call(server, tmp_path, example, sys.executable, program)
    assert done.returncode == 7, done.stderr
    assert "r1 finished 1 rows" in done.stdout
    assert "/elsewhere/runs/r1" in done.stdout
