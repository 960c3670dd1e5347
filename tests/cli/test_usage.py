"""Options that do not fit together are refused: nothing that was written is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncwb.cli import app


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("teams --create", "asyncwb teams NAME"),
        ("teams --add bob", "asyncwb teams NAME"),
        ("teams --remove bob", "asyncwb teams NAME"),
        ("teams --service nightly", "asyncwb teams NAME"),
        ("teams --role viewer", "asyncwb teams NAME"),
        ("teams lab --role viewer", "--add"),
        ("users --email a@example.org", "--add"),
        ("users --admin", "--add"),
        ("users --disable bob --email a@example.org", "--add"),
        ("users --add ann --disable bob", "--add and --disable"),
        ("users --enable ann --disable bob", "--disable and --enable"),
        ("keys --create a --revoke 1", "--create and --revoke"),
        ("keys --user nightly --revoke 1", "leave --user out"),
        ("invite --role viewer", "--team"),
        ("login --host embedded --key " + "k" * 40, "needs no key"),
        ("login --relogin", "needs no key"),
        ("import wandb noslash", "write both, with a slash"),
        ("import wandb noslash --key k", "write both, with a slash"),
        ("import wandb me/p --key k --filters {bad", "--filters is no JSON"),
        ("import wandb me/p --key k --filters []", "--filters must be a JSON object"),
    ],
)
def test_options_that_do_not_fit_together(
    line: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCWB_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ASYNCWB_BASE_URL", raising=False)
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert done.stderr.endswith("Nothing was done.\n")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
