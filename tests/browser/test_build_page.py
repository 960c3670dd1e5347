"""The page is built when it has to be, and a package is made even where that cannot be done."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NODE = "#!/bin/sh\necho v22.12.0\n"
NPM_BUILDS = '#!/bin/sh\necho "$@" >> calls\nmkdir -p dist node_modules\n: > dist/index.html\n'
NPM_FAILS = "#!/bin/sh\necho npm error code ENOTFOUND\nexit 1\n"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_page", ROOT / ".ci" / "build_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_page = _load()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose page has one source, and was never built."""
    web = tmp_path / build_page.WEB
    (web / "src").mkdir(parents=True)
    for name in ("index.html", "package.json", "package-lock.json", "src/main.ts"):
        (web / name).write_text("{}")
    return tmp_path


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch, npm: str) -> None:
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("node", NODE), ("npm", npm)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")


def _packed(root: Path, target: str) -> dict[str, str]:
    hook = build_page.CustomBuildHook(str(root), {}, None, None, str(root), target)
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", data)
    included: dict[str, str] = data["force_include"]
    return included


def test_page_is_built_once_and_again_when_a_source_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(root, monkeypatch, NPM_BUILDS)
    web = root / build_page.WEB
    calls = web / "calls"

    build_page.build(root)
    build_page.build(root)
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["ci", "run"]

    built = (web / "dist" / "index.html").stat().st_mtime
    os.utime(web / "src" / "main.ts", (built + 5, built + 5))
    assert not build_page.is_fresh(root)
    build_page.build(root)
    assert calls.read_text().splitlines()[-1] == "run build"


def test_package_is_made_without_the_page_where_npm_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(root, monkeypatch, NPM_FAILS)
    included = _packed(root, "wheel")

    said = capsys.readouterr().err
    assert said.count("WARNING") == 1
    assert "`npm ci` failed with status 1" in said
    assert "ENOTFOUND" in said
    assert build_page.BUILD_COMMAND in said
    # The wheel carries what the page can be built from in place.
    assert str(build_page.WEB / "src" / "main.ts") in included.values()
    assert str(build_page.WEB / "package-lock.json") in included.values()


def test_old_page_is_not_packed_as_if_it_were_new(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(root, monkeypatch, NPM_FAILS)
    old = root / build_page.WEB / "dist" / "index.html"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (1, 1))
    assert str(build_page.WEB / "dist") not in _packed(root, "sdist").values()
    os.utime(old)
    assert str(build_page.WEB / "dist") in _packed(root, "sdist").values()


def test_node_comes_from_pypi_only_where_it_is_needed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanted() -> list[str]:
        hook = build_page.CustomBuildHook(str(root), {}, None, None, str(root), "wheel")
        found: list[str] = hook.dependencies()
        return found

    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert wanted() == [build_page.NODE_FROM_PYPI]
    (root / build_page.WEB / "dist").mkdir()
    (root / build_page.WEB / "dist" / "index.html").touch()
    assert wanted() == []


def test_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / build_page.WEB / "package-lock.json").read_text())
    packages = lock["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name)
