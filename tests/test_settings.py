"""Settings: one value, checked; and which source wins."""

from __future__ import annotations

import copy
import logging
import pickle
import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from asyncwb.errors import ConfigError, SettingsError, UsageError
from asyncwb.settings import Settings, default_entity, read_credentials, write_credentials

SOURCES = ("argument", "ASYNCWB_", "WANDB_", "asyncwb.toml", "settings.toml", "default")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment that leads to no file of the machine's user."""
    return {
        "ASYNCWB_CONFIG_DIR": str(tmp_path / "config"),
        "ASYNCWB_DATA_DIR": str(tmp_path / "data"),
    }


@pytest.mark.parametrize("winner", range(len(SOURCES)))
def test_the_strongest_source_wins(winner: int, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    arguments: dict[str, Any] = {"project": None}  # None is "not said"
    for rank, source in reversed(list(enumerate(SOURCES))):
        if rank < winner:
            continue
        if source == "argument":
            arguments["project"] = source
        elif source.endswith("_"):
            environ[source + "PROJECT"] = source
        elif source == "asyncwb.toml":
            (tmp_path / source).write_text(f'project = "{source}"\n')
        elif source == "settings.toml":
            (tmp_path / "config" / source).write_text(f'project = "{source}"\n')
    expected = "uncategorized" if SOURCES[winner] == "default" else SOURCES[winner]
    assert Settings.resolve(arguments, environ, tmp_path).project == expected


def test_the_user_s_folders_are_those_of_the_xdg_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert Settings().data_dir == tmp_path / ".local/share/asyncwb"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Settings().data_dir == tmp_path / "data/asyncwb"
    config = tmp_path / "config" / "asyncwb"
    config.mkdir(parents=True)
    (config / "settings.toml").write_text('project = "mine"')
    for home, project in ((config.parent, "mine"), ("config", "uncategorized")):
        made = Settings.resolve(environ={"XDG_CONFIG_HOME": str(home)}, cwd=tmp_path)
        assert made.project == project, "a relative folder is ignored"


def test_a_settings_object_says_only_what_it_was_given(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ |= {"WANDB_MODE": "dryrun", "WANDB_PROJECT": "elsewhere"}
    made = Settings.resolve(Settings(project="mine"), environ, tmp_path)
    assert (made.project, made.mode) == ("mine", "offline")
    again = Settings.resolve(Settings(mode="online"), environ, tmp_path)
    assert again.mode == "online", "a default that is said outranks the environment"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("WANDB_BASE_URL", "https://host/", "base_url", "https://host"),
        ("WANDB_API_KEY", "k" * 40, "api_key", "k" * 40),
        ("WANDB_ENTITY", "me", "entity", "me"),
        ("WANDB_RUN_ID", "a1", "run_id", "a1"),
        ("WANDB_NAME", "first", "run_name", "first"),
        ("WANDB_NOTES", "so: much", "run_notes", "so: much"),
        ("WANDB_TAGS", "a, b", "run_tags", ("a", "b")),
        ("WANDB_RUN_GROUP", "g", "run_group", "g"),
        ("WANDB_JOB_TYPE", "train", "run_job_type", "train"),
        ("WANDB_DIR", "/runs", "dir", Path("/runs")),
        ("WANDB_SILENT", "true", "silent", True),
        ("WANDB_QUIET", "0", "quiet", False),
        ("WANDB_RESUME", "must", "resume", "must"),
        ("WANDB_HTTP_TIMEOUT", "2.5", "http_timeout", 2.5),
        ("WANDB_INIT_TIMEOUT", "7", "init_timeout", 7.0),
        ("ASYNCWB_JOURNAL_MAX_BYTES", "2GiB", "journal_max_bytes", 2**31),
        ("ASYNCWB_SYNC_INTERVAL", "0", "sync_interval", 0.0),
        ("ASYNCWB_DETACH_UPLOADER", "no", "detach_uploader", False),
        ("ASYNCWB_STEP_POLICY", "raise", "step_policy", "raise"),
        ("ASYNCWB_PROJECT", "", "project", "uncategorized"),
    ],
)
def test_the_environment_is_text(
    variable: str, text: str, name: str, value: object, environ: dict[str, str], tmp_path: Path
) -> None:
    environ[variable] = text
    assert getattr(Settings.resolve(None, environ, tmp_path), name) == value


def test_a_data_folder_of_the_field_is_taken(tmp_path: Path) -> None:
    made = Settings.resolve(None, {"WANDB_DATA_DIR": "here"}, tmp_path)
    assert made.data_dir == tmp_path / "here"
    assert made.runs_dir == tmp_path / "here" / "runs"
    assert Settings(dir=tmp_path).runs_dir == tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "shared"),
        ("mode", ["online"]),
        ("project", "a/b"),
        ("project", "x" * 129),
        ("project", ""),
        ("project", None),
        ("project", ".."),
        ("run_id", " a"),
        ("run_id", "a:b"),
        ("run_id", "a%2e"),
        ("entity", "a\u200bb"),
        ("run_name", "x" * 1025),
        ("run_notes", "x" * 100_001),
        ("run_group", "x" * 1025),
        ("run_job_type", "x" * 1025),
        ("run_tags", ["x"] * 1001),
        ("run_id", ""),
        ("run_tags", ["x" * 65]),
        ("run_tags", [""]),
        ("run_tags", 3),
        ("flush_interval", "1"),
        ("flush_interval", True),
        ("flush_interval", 0),
        ("http_timeout", float("nan")),
        ("journal_max_bytes", 1.5),
        ("journal_max_bytes", "much"),
        ("base_url", "host:80"),
        ("data_dir", 3),
        ("silent", "yes"),
        ("step_policy", "keep"),
        ("overflow", None),
    ],
)
def test_an_unfit_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"Setting {name}: ") as caught:
        Settings(**{name: value})
    assert caught.value.setting == name
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize("text", ["soon", "-1", "inf"])
def test_an_unfit_variable_is_refused_by_name(
    text: str, environ: dict[str, str], tmp_path: Path
) -> None:
    environ["WANDB_HTTP_TIMEOUT"] = text
    with pytest.raises(SettingsError, match="Environment variable WANDB_HTTP_TIMEOUT: "):
        Settings.resolve(None, environ, tmp_path)


def test_an_unknown_name_is_refused_with_the_closest(
    environ: dict[str, str], tmp_path: Path
) -> None:
    unknown: dict[str, Any] = {"projct": "x"}
    with pytest.raises(SettingsError, match="did you mean 'project'"):
        Settings(**unknown)
    with pytest.raises(SettingsError, match="did you mean 'project'"):
        Settings.resolve(unknown, environ, tmp_path)
    (tmp_path / "asyncwb.toml").write_text("projct = 'x'")
    with pytest.raises(SettingsError, match=r"asyncwb\.toml: .*did you mean 'project'"):
        Settings.resolve(None, environ, tmp_path)


def test_a_variable_that_no_setting_has_costs_one_line(
    environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ |= {"ASYNCWB_PROJEKT": "x", "ASYNCWB_SERVER_ANYTHING": "1", "WANDB_CONSOLE": "off"}
    with caplog.at_level(logging.WARNING, "asyncwb"):
        for _ in range(3):
            Settings.resolve(None, environ, tmp_path)
    (record,) = caplog.records
    assert "ASYNCWB_PROJEKT" in record.getMessage()
    assert "ASYNCWB_PROJECT" in record.getMessage()


def test_a_damaged_file_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "asyncwb.toml").write_text("project = ")
    with pytest.raises(ConfigError, match=r"asyncwb\.toml cannot be read"):
        Settings.resolve(None, environ, tmp_path)
    (tmp_path / "asyncwb.toml").unlink()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "credentials.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"credentials\.json cannot be read"):
        Settings.resolve(None, environ, tmp_path)


def test_credentials_serve_the_server_in_use(environ: dict[str, str], tmp_path: Path) -> None:
    stored: dict[str, dict[str, Any]] = {
        "http://a": {"key": "ka"},
        "http://b": {"key": "kb", "default": True},
    }
    path = write_credentials(tmp_path / "data", stored)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_credentials(tmp_path / "data") == stored

    def found(**said: object) -> tuple[str | None, str | None]:
        made = Settings.resolve(said, environ, tmp_path)
        return made.base_url, made.api_key

    assert found() == ("http://b", "kb")
    assert found(base_url="http://a/") == ("http://a", "ka")
    assert found(base_url="http://c") == ("http://c", None)
    assert found(base_url="embedded") == (None, None)
    assert found(api_key="mine") == ("http://b", "mine")
    kept = Settings.resolve(Settings(base_url="embedded"), environ, tmp_path)
    assert kept.base_url is None, "said, though it is stored as None"


def test_secrets_stay_out_of_sight() -> None:
    key = "very-secret-key"
    assert key not in repr(Settings(api_key=key))
    unfit: list[dict[str, Any]] = [
        {"api_key": key + " "},
        {"base_url": f"http://me:{key}@host"},
    ]
    for values in unfit:
        with pytest.raises(SettingsError) as caught:
            Settings(**values)
        assert key not in str(caught.value)


def test_settings_travel_and_do_not_change() -> None:
    made = Settings(project="p", run_tags=("a",))
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert twin == made
        assert twin.given == {"project": "p", "run_tags": ("a",)}
    with pytest.raises(AttributeError):
        made.project = "q"  # type: ignore[misc]


def test_every_setting_says_what_it_is_for() -> None:
    assert all(f.metadata["doc"] for f in fields(Settings) if f.init)


def test_importing_settings_is_cheap() -> None:
    code = "import sys, asyncwb.settings; print({'numpy', 'aiohttp', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_the_default_entity_fits_a_url() -> None:
    assert Settings(entity=default_entity()).entity == default_entity()
