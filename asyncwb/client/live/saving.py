"""What `save()` does on the caller's side: which files are meant, and their links in `run.dir`.

A file keeps its place below `base_path`, and that is its name in the run. Nothing is read or sent
here; only a file system that knows neither symbolic nor hard links costs a copy.

Source: https://docs.wandb.ai/ref/python/sdk/classes/run (`save`).
"""

from __future__ import annotations

import contextlib
import glob as globbing
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from asyncwb.engine.notices import Notices
from asyncwb.engine.session import Session
from asyncwb.engine.uploads.saved import Link, Policy, SavedFile
from asyncwb.errors import ArgumentError, Error
from asyncwb.typing import FilePath
from asyncwb.wire.names import file_problem

_POLICIES: Final = ("live", "now", "end")
_CLOUD: Final = ("gs://", "s3://")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call of `save()` asks for: what is below `base` and matches `pattern`."""

    base: Path
    pattern: str
    policy: Policy
    expand: bool

    def sources(self) -> Iterator[Path]:
        """Give the files that are meant, in order; the pattern is expanded now."""
        yield from (self.base / name for name in self._names(self.base))

    def present(self, folder: Path) -> Iterator[Path]:
        """Give the files in `run.dir` itself that are meant."""
        yield from (folder / name for name in self._names(folder))

    def _names(self, root: Path) -> list[str]:
        if not self.expand:
            return [self.pattern] if os.path.lexists(root / self.pattern) else []
        found = sorted(globbing.glob(self.pattern, root_dir=root, recursive=True))
        exact = self.pattern not in found and os.path.lexists(root / self.pattern)
        return [*found, self.pattern] if exact else found  # a file that is called so, "x[1].pt"


def understand(
    pattern: FilePath | bytes,
    base_path: FilePath | None,
    policy: str,
    expand: bool,
    folder: Path,
    notices: Notices,
) -> Wanted | None:
    """Check the arguments of `save()`; None: an address in a cloud, which no run can hold.

    `folder` is `run.dir`. Raises ValueError for an unknown policy, or a pattern above its base.
    """
    given = os.fsdecode(pattern)
    if given.startswith(_CLOUD):
        notices.tell(f"{given} is an address in cloud storage: no file of it is saved to the run.")
        return None
    if policy not in _POLICIES:
        raise ArgumentError(
            f"policy is one of {', '.join(_POLICIES)}, not {policy!r}: nothing saved"
        )
    absolute = os.path.abspath(given)
    base = os.path.abspath(_base(given, absolute, base_path, folder, notices))
    below = os.path.relpath(absolute, base)
    if below.split(os.sep)[0] == os.pardir:
        raise ArgumentError(f"{given!r} is not below base_path {base!r}: nothing was saved")
    return Wanted(Path(base), below, cast(Policy, policy), expand)


def _base(
    given: str, absolute: str, base_path: FilePath | None, folder: Path, notices: Notices
) -> FilePath:
    if base_path is not None:
        return base_path
    if not os.path.isabs(given):
        return "."
    if Path(absolute).is_relative_to(folder):
        return folder
    notices.warn_once(
        "save absolute",
        "save() of an absolute path keeps only the last folder of it; pass base_path to say which "
        "part of the path names the file in the run.",
        advise=False,
    )
    return Path(absolute).parent.parent


def save(session: Session, wanted: Wanted) -> list[str]:
    """Link the files into `run.dir` and have them sent; returns their paths there.

    What cannot be linked costs a warning, and `status().files_failed` names it.
    """
    folder = session.folder.files
    known = {name for name, file in _known(session).items() if file.linked}
    links: dict[str, Link] = {}
    tried: set[str] = set()
    for source in wanted.sources():
        name = os.path.relpath(source, wanted.base).replace(os.sep, "/")
        tried.add(name)
        try:
            link = _link(source, folder, name, wanted.policy, known)
        except (OSError, ValueError) as error:
            _failed(session, name, str(error))
            continue
        if link is not None:
            links[name] = link
    for path in wanted.present(folder):
        name = os.path.relpath(path, folder).replace(os.sep, "/")
        if name not in tried and path.is_file():
            links[name] = Link(name, wanted.policy, linked=False)
    if links:
        try:
            session.save([*links.values()])
        except (Error, OSError) as error:
            for name in links:
                _failed(session, name, str(error))
            return []
    return sorted(str(folder / name) for name in links)


def _known(session: Session) -> dict[str, SavedFile]:
    try:
        return session.saved.read()
    except Error:
        return {}  # said when it is to be written


def _failed(session: Session, name: str, reason: str) -> None:
    shown = name.encode(errors="backslashreplace").decode()
    session.files.failed[shown] = reason
    session.notices.warn_once(
        f"file {shown}",
        f"the file {shown} is not saved: {reason}. The run goes on.",
        advise=False,
    )


def _link(
    source: Path, folder: Path, name: str, policy: Policy, known: Collection[str]
) -> Link | None:
    """Let `folder/name` be `source`; None where that is no file."""
    if not source.is_file():
        return None
    if (problem := file_problem(name)) is not None:
        raise ValueError(problem)
    target = folder / name
    with contextlib.suppress(OSError):
        if source.samefile(target):
            return Link(name, policy, linked=False)  # unless it was before
    if target.exists() and not target.is_symlink() and name not in known:
        raise FileExistsError(f"run.dir has another file of that name, {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.parent / f".{os.urandom(8).hex()}"
    try:
        copied = _make(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return Link(name, "now" if copied and policy == "live" else policy, linked=True)


def _make(source: Path, fresh: Path) -> bool:
    """Make `fresh` be `source`, by the cheapest way that there is; True: it is a copy."""
    for way in (os.symlink, os.link):
        with contextlib.suppress(OSError, NotImplementedError):
            way(source, fresh)
            return False
    shutil.copy2(source, fresh)
    return True
