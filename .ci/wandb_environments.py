"""Make an environment for each release of the `wandb` client that the interop tests drive.

python .ci/wandb_environments.py        makes those that are missing, in .venv-EXTRA each

The releases are pinned as extras in pyproject.toml whose names begin with "interop".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Install what each extra names into a fresh environment; a broken one is made again."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra, requirements in extras.items():
        if extra.startswith("interop"):
            make(ROOT / f".venv-{extra}", requirements)


def make(folder: Path, requirements: list[str]) -> None:
    """Make one environment, unless it is there with these very requirements."""
    stamp = folder / "requirements.txt"
    wanted = "".join(f"{line}\n" for line in requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-compile", *requirements],
        check=True,
    )
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
