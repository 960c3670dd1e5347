"""Build what would be published, and use the wheel as somebody who has nothing else would.

The wheel is built from the sdist, so a file that the sdist forgot is found here.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IN_THE_WHEEL = (
    "asyncwb/py.typed",
    "asyncwb/server/graphql/runs.graphql",
    "asyncwb/server/web/dist/index.html",
    "asyncwb/server/web/dist/icon.svg",
)
EVERY_NAME = """
import asyncwb, asyncwb.aio
of_a_run = {"config", "run", "summary"}
found = [getattr(asyncwb, name) for name in asyncwb.__all__ if name not in of_a_run]
found += [getattr(asyncwb.aio, name) for name in asyncwb.aio.__all__]
print(len(found), "public names")
"""
NOT_IN_THE_WHEEL = (
    "node_modules/",
    "tests/",
    "asyncwb/server/web/src/",
    "asyncwb/server/web/public/",
)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run one command, show it and what it prints; its failure ends the check."""
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(f"failed with status {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def check_contents(wheel: Path) -> None:
    """See that the wheel holds the built page and the type marker, and no sources of the page."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [name for name in IN_THE_WHEEL if name not in names]
    extra = [name for name in names if any(part in name for part in NOT_IN_THE_WHEEL)]
    if missing or extra:
        sys.exit(f"{wheel.name}: missing {missing}, should not hold {extra[:5]}")


def check_installed(wheel: Path, folder: Path) -> None:
    """Install the wheel without extras, import every public name, ask for the version."""
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", str(wheel))
    run(binaries / "python", "-W", "error", "-c", EVERY_NAME, cwd=folder)
    version = run(binaries / "asyncwb", "--version", cwd=folder)
    if wheel.name.split("-")[1] not in version:
        sys.exit(f"asyncwb --version says {version!r}, the wheel is {wheel.name}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="asyncwb-package-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
        run(sys.executable, "-m", "twine", "check", "--strict", *folder.glob("asyncwb-*"))
        (wheel,) = folder.glob("*.whl")
        check_contents(wheel)
        check_installed(wheel, folder)
    print("the package is complete")


if __name__ == "__main__":
    main()
