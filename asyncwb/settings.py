# ruff: noqa: RUF009 - `_setting` is dataclasses.field with the columns of the table
"""Everything that can be set, in one frozen value; and where each value comes from.

The order, strongest first: keyword arguments; the environment (`ASYNCWB_<NAME>`, then the
`WANDB_*` name that users of the field know); files (`asyncwb.toml` in the working folder, then
`settings.toml` in the user's config folder, then what `asyncwb login` stored); the default.

The class below is the table: name, type, what it accepts, default, W&B's variable, meaning. Rooms
further in take the values they need, never the whole of it. Importing this module is cheap
(the standard library), because every process that logs imports it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from asyncwb.errors import ConfigError, SettingsError
from asyncwb.private import make_private_folder, write_private
from asyncwb.typing import JsonObject, Mode, Overflow, Resume, StepPolicy
from asyncwb.wire import names

_log = logging.getLogger("asyncwb")
_PREFIX: Final = "ASYNCWB_"
_NOT_SETTINGS: Final = ("ASYNCWB_CONFIG_DIR", "ASYNCWB_SERVER_", "ASYNCWB_BENCH_", "ASYNCWB_TEST_")
_LONGEST_SHOWN: Final = 200
_SIZES: Final = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_TRUE: Final = frozenset(("1", "true", "yes", "on", "y", "t"))
_FALSE: Final = frozenset(("0", "false", "no", "off", "n", "f"))


# What a setting accepts: `check` takes a Python value and gives the stored one or raises
# ValueError; `parse` makes such a value from the text of an environment variable.
@dataclass(frozen=True, slots=True)
class _Kind:
    says: str
    check: Callable[[Any], Any]
    parse: Callable[[str], object] = str
    secret: bool = False  # a message must not repeat the value


def _refuse(_value: object = None) -> NoReturn:
    raise ValueError


def _require(ok: bool, value: Any) -> Any:
    return value if ok else _refuse()


def _name(kind: names.Kind) -> _Kind:
    return _Kind(names.rule(kind), lambda value: _require(names.fits(kind, value), value))


def _text(longest: int) -> _Kind:
    def check(value: object) -> object:
        return _require(isinstance(value, str) and len(value) <= longest, value)

    return _Kind(f"a text of at most {longest} characters", check)


def _one_of(*choices: str, also: Mapping[object, str | None] | None = None) -> _Kind:
    """Accept a choice, or another spelling of it; an unhashable value is a TypeError."""
    spellings: dict[object, str | None] = {
        **(also or {}),
        **dict(zip(choices, choices, strict=True)),
    }

    def check(value: object) -> str | None:
        return spellings[value] if value in spellings else _refuse()

    return _Kind("one of " + ", ".join(choices), check)


def _seconds(*, zero: str = "") -> _Kind:
    def check(value: Any) -> float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        ok = ok and math.isfinite(value) and (value > 0 or (bool(zero) and value == 0))
        return float(_require(ok, value))

    return _Kind("a number of seconds > 0" + (f" (or 0: {zero})" if zero else ""), check, float)


def _check_bytes(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*([KMGT]iB)?", value.strip(), re.IGNORECASE)
        value = int(match[1]) * _SIZES[(match[2] or "").upper()] if match else _refuse()
    return _require(type(value) is int and value >= 2**16, value)


def _check_tags(value: Any) -> tuple[str, ...]:
    parts: Iterable[Any] = value.split(",") if isinstance(value, str) else value
    tags = tuple(tag.strip() if isinstance(tag, str) else _refuse() for tag in parts)
    fit = len(tags) <= names.MAX_TAGS and all(1 <= len(tag) <= names.MAX_TAG for tag in tags)
    return tags if fit else _refuse()


def _check_url(value: Any) -> str | None:
    if value == "embedded":
        return None
    parts = urlsplit(_require(isinstance(value, str), value))
    ok = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    fits = bool(ok) and not parts.query and not parts.fragment
    return str(_require(fits, value)).rstrip("/")


def _check_key(value: object) -> object:
    ok = isinstance(value, str) and re.fullmatch(r"[!-~]+", value)
    return _require(bool(ok), value)


_FLAG = _Kind(
    "true or false",
    lambda value: _require(isinstance(value, bool), value),
    lambda text: _require(text.lower() in _TRUE | _FALSE, text.lower() in _TRUE),
)
_BYTES = _Kind("a number of bytes >= 65536, as 1048576 or '64MiB'", _check_bytes)
_FOLDER = _Kind("the path of a folder", lambda value: Path(value).expanduser().absolute())
_TAGS = _Kind(
    "a list of at most 1000 tags (comma-separated as text) of 1 to 64 characters each", _check_tags
)
_URL = _Kind("an http(s) URL without credentials in it, or 'embedded'", _check_url, secret=True)
_KEY = _Kind("an API key (visible ASCII characters)", _check_key, secret=True)
_RESUME = _one_of(
    "allow", "must", "never", "auto", also={True: "auto", False: None, "true": "auto"}
)


def _setting(kind: _Kind, default: object, wandb: str, doc: str) -> Any:
    table = {"kind": kind, "wandb": wandb, "doc": doc}
    return field(default=default, repr=kind is not _KEY, metadata=table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold every setting of a run, checked when it is made; costs some 50 us.

    Nothing is read from outside by the constructor: that is `resolve`'s part. Raises
    SettingsError (a UsageError and a ValueError) for an unknown name or an unfit value. Times are
    in seconds, sizes in bytes. The API key never shows in `repr`.

        Settings(mode="offline", journal_max_bytes="1GiB")
    """

    # fmt: off
    mode: Mode = _setting(
        _one_of("online", "offline", "disabled", also={"dryrun": "offline"}), "online",
        "WANDB_MODE", "send rows; only keep them on disk; or do nothing at all")
    base_url: str | None = _setting(
        _URL, None, "WANDB_BASE_URL", "the server; unset or 'embedded': one on this machine")
    api_key: str | None = _setting(_KEY, None, "WANDB_API_KEY", "the key for the server")
    entity: str | None = _setting(
        _name("entity"), None, "WANDB_ENTITY", "who owns the run; unset: the key's user")
    project: str = _setting(
        _name("project"), "uncategorized", "WANDB_PROJECT", "the project that the run belongs to")
    run_id: str | None = _setting(
        _name("run"), None, "WANDB_RUN_ID",
        "the run's id in its project; unset: a fresh random one")
    run_name: str | None = _setting(
        _text(names.MAX_TEXT["name"]), None, "WANDB_NAME", "the name shown for the run")
    run_notes: str | None = _setting(
        _text(names.MAX_TEXT["notes"]), None, "WANDB_NOTES", "free text about the run")
    run_tags: tuple[str, ...] | None = _setting(_TAGS, None, "WANDB_TAGS", "labels of the run")
    run_group: str | None = _setting(
        _text(names.MAX_TEXT["group"]), None, "WANDB_RUN_GROUP", "the group of the run")
    run_job_type: str | None = _setting(
        _text(names.MAX_TEXT["job_type"]), None, "WANDB_JOB_TYPE", "what the run does in it")
    resume: Resume | None = _setting(
        _RESUME, None, "WANDB_RESUME", "whether a run with this id may, must or must not exist")
    data_dir: Path = _setting(
        _FOLDER, None, "WANDB_DATA_DIR", "the data folder: runs, the embedded server, credentials")
    dir: Path | None = _setting(
        _FOLDER, None, "WANDB_DIR", "where run folders go; unset: runs/ in the data folder")
    step_policy: StepPolicy = _setting(
        _one_of("merge", "drop", "raise"), "merge", "",
        "a row whose step is below the last one joins that step's row, is dropped, or raises")
    overflow: Overflow = _setting(
        _one_of("block", "drop_oldest", "raise"), "block", "",
        "when the journal is full, log() waits, the oldest rows go (counted), or it raises")
    overflow_timeout: float = _setting(
        _seconds(), 30.0, "", "how long log() may wait for room before the row is dropped, counted")
    journal_max_bytes: int = _setting(
        _BYTES, 4 * 2**30, "", "how large a run's journal may grow on disk")
    memory_max_bytes: int = _setting(
        _BYTES, 64 * 2**20, "", "how much memory frames on their way to the server may take")
    flush_interval: float = _setting(
        _seconds(), 0.25, "", "how often rows are sent while a run logs; a busy server "
        "may ask for longer, up to a second")
    sync_interval: float = _setting(
        _seconds(zero="never"), 0.2, "", "how often the journal is forced to the disk")
    finish_timeout: float = _setting(
        _seconds(zero="do not wait"), 60.0, "", "how long finish() waits for the server")
    detach_uploader: bool = _setting(
        _FLAG, True, "", "after that, leave the rest to a process that goes on by itself")
    http_timeout: float = _setting(
        _seconds(), 30.0, "WANDB_HTTP_TIMEOUT", "how long one request may take")
    init_timeout: float = _setting(
        _seconds(), 90.0, "WANDB_INIT_TIMEOUT", "how long init() may wait if it must ask a server")
    heartbeat_seconds: float = _setting(
        _seconds(), 15.0, "", "how often a run that logs nothing says that it lives")
    stop_on_request: bool = _setting(
        _FLAG, True, "", "interrupt the program when somebody stops the run on its page")
    server_idle_timeout: float = _setting(
        _seconds(zero="never"), 1800.0, "", "when an idle embedded server stops")
    silent: bool = _setting(_FLAG, False, "WANDB_SILENT", "print nothing at all")
    quiet: bool = _setting(_FLAG, False, "WANDB_QUIET", "print only warnings and errors")
    # fmt: on
    _given: frozenset[str] = field(init=False, repr=False, compare=False)

    def __new__(cls, **values: Any) -> Settings:
        """Refuse unknown names, and remember which values were given rather than defaulted."""
        for name in values:
            _known(name, "Settings()")
        self = object.__new__(cls)
        object.__setattr__(self, "_given", frozenset(values))
        return self

    def __post_init__(self) -> None:
        for name in _TABLE:
            value = getattr(self, name)
            if name == "data_dir" and value is None:
                value = _user_folder("XDG_DATA_HOME", ".local/share")
            object.__setattr__(self, name, _checked(name, value, f"Setting {name}"))

    @classmethod
    def resolve(
        cls,
        overrides: Mapping[str, object] | Settings | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Settings:
        """Merge what the caller says with the environment, the files and the defaults.

        Reads at most three small files; no network. `overrides` are the caller's own values, where
        None means "not said" (of a Settings, the values it was made with); `environ` defaults to
        `os.environ`; `cwd` (default: the process's own) is where `asyncwb.toml` is looked for.
        Raises SettingsError for a name or value that does not fit, naming where it stands, and
        ConfigError for a file that cannot be read. A variable `ASYNCWB_*` that no setting has
        costs one line of warning.

            Settings.resolve({"project": "mnist"}).project
        """
        environ = os.environ if environ is None else environ
        cwd = Path.cwd() if cwd is None else cwd
        if isinstance(overrides, Settings):
            overrides = overrides.given
        said = [(f"Setting {name}", name, value) for name, value in (overrides or {}).items()]
        values = _first([*said, *_from_environ(environ), *_from_files(environ, cwd)], cwd)
        for name, value in _from_login(cls(**values)).items():
            values.setdefault(name, value)
        return cls(**values)

    @property
    def given(self) -> dict[str, Any]:
        """Give the values this was made with, without the defaults."""
        values = {name: getattr(self, name) for name in _TABLE if name in self._given}
        if "base_url" in values and self.base_url is None:
            values["base_url"] = "embedded"  # None would read as "not said"
        return values

    @property
    def runs_dir(self) -> Path:
        """The folder that holds one folder for every writer of a run."""
        return self.dir or self.data_dir / "runs"

    @property
    def server_dir(self) -> Path:
        """The embedded server's own folder."""
        return self.data_dir / "server"


_TABLE: Final = {f.name: f.metadata for f in fields(Settings) if "kind" in f.metadata}


def default_entity() -> str:
    """Name the entity of whoever has no account: the system's user name, made fit for a URL.

    Client and embedded server both call this, and so agree without a word. The password database
    is asked before the environment, which may differ between the two processes.
    """
    try:
        import pwd  # not on Windows

        name = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        name = os.environ.get("USERNAME") or _login_name()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-")[:64] or "local"


def _login_name() -> str:
    import getpass  # only where the password database says nothing

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's bare uid has no name at all
        return ""


def read_credentials(data_dir: Path) -> dict[str, JsonObject]:
    """Read what `asyncwb login` stored: `{base_url: {"key": str, "default": bool}}`.

    A missing file is an empty answer; one that is no such object raises ConfigError.
    """
    path = data_dir / "credentials.json"
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(_unreadable(path, error)) from error
    if isinstance(stored, dict) and all(isinstance(entry, dict) for entry in stored.values()):
        return stored
    raise ConfigError(_unreadable(path, "it is not an object of objects"))


def write_credentials(data_dir: Path, credentials: Mapping[str, Mapping[str, object]]) -> Path:
    """Replace the stored credentials in one step, readable by their owner alone; give the path."""
    make_private_folder(data_dir)
    path = data_dir / "credentials.json"
    write_private(path, json.dumps(credentials, indent=2).encode())
    return path


def _checked(name: str, value: object, where: str) -> object:
    kind: _Kind = _TABLE[name]["kind"]
    if value is None and Settings.__dataclass_fields__[name].default is None:
        return None
    try:
        return kind.check(value)
    except (ValueError, TypeError):
        shown = "the value" if kind.secret else repr(value)
        shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
        raise SettingsError(
            f"{where}: {shown} is not {kind.says}. Nothing was started; correct it and try again.",
            name,
        ) from None


def _known(name: str, where: str) -> str:
    if name in _TABLE:
        return name
    raise SettingsError(
        f"{where}: there is no setting {name!r}{closest(name, _TABLE)}. "
        "Nothing was started; correct the name or leave it out.",
        name,
    )


def closest(name: str, names: Iterable[str]) -> str:
    """Write which of the names a mistyped one may stand for, or nothing."""
    import difflib  # only for a message

    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


# Where values come from: each source gives (where, name, value), strongest source first.
_Said = tuple[str, str, object]


def _from_environ(environ: Mapping[str, str]) -> list[_Said]:
    _warn_of_strangers(environ)
    said: list[_Said] = []
    for name, row in _TABLE.items():
        for variable in (_PREFIX + name.upper(), row["wandb"]):
            text = environ.get(variable, "").strip()
            if text:
                said.append((f"Environment variable {variable}", name, _parsed(row["kind"], text)))
    return said


def _parsed(kind: _Kind, text: str) -> object:
    try:
        return kind.parse(text)
    except ValueError:
        return text  # which `check` refuses, with the message that names the variable


def _user_folder(variable: str, default: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return our folder where the XDG base directory specification has it."""
    base = environ.get(variable, "")  # the specification has relative ones ignored
    return Path(base if os.path.isabs(base) else os.path.expanduser(f"~/{default}"), "asyncwb")


def _from_files(environ: Mapping[str, str], cwd: Path) -> list[_Said]:
    home = environ.get("ASYNCWB_CONFIG_DIR")
    config = Path(home) if home else _user_folder("XDG_CONFIG_HOME", ".config", environ)
    said: list[_Said] = []
    for path in (cwd / "asyncwb.toml", config / "settings.toml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise ConfigError(_unreadable(path, error)) from error
        import tomllib  # most users have no such file, and 4 ms is much for an import

        try:
            table = tomllib.loads(text)
        except ValueError as error:
            raise ConfigError(_unreadable(path, error)) from error
        said += [(f"File {path}, {_known(name, str(path))}", name, v) for name, v in table.items()]
    return said


def key_advice(base_url: str, key: str | None) -> str:
    """Say where the key is to be put right: one of the environment wins over a stored one."""
    for variable in ("ASYNCWB_API_KEY", "WANDB_API_KEY"):
        if key and os.environ.get(variable, "").strip() == key:
            return (
                f"it is the one in the environment variable {variable}, which wins over what "
                "asyncwb login stores: correct it or unset it"
            )
    return f"check the key and run: asyncwb login --host {base_url} --relogin"


def _from_login(settings: Settings) -> JsonObject:
    """Give the stored key for the server in use, and that server where none was named."""
    stored = read_credentials(settings.data_dir)
    url = settings.base_url
    if url is None and "base_url" not in settings.given:
        url = next((name for name, entry in stored.items() if entry.get("default")), None)
    key = stored.get(url, {}).get("key") if url else None
    return {"base_url": url} | ({"api_key": key} if key else {}) if url else {}


def _first(said: Iterable[_Said], cwd: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for where, name, value in said:
        if value is None or _known(name, where) in values:
            continue
        if _TABLE[name]["kind"] is _FOLDER and isinstance(value, (str, os.PathLike)):
            value = cwd / Path(value).expanduser()
        values[name] = _checked(name, value, where)
    return values


def _warn_of_strangers(environ: Mapping[str, str]) -> None:
    names = [_PREFIX + name.upper() for name in _TABLE]
    for variable in environ:
        ours = variable.startswith(_PREFIX) and not variable.startswith(_NOT_SETTINGS)
        if ours and variable not in names:
            _warn_of_stranger(variable, closest(variable, names))


@cache
def _warn_of_stranger(variable: str, hint: str) -> None:
    said = "asyncwb: environment variable %s is no setting%s; it is ignored"
    with contextlib.suppress(Exception):  # whatever handlers the program has put there
        _log.warning(said, variable, hint)


def _unreadable(path: Path, why: object) -> str:
    return f"{path} cannot be read: {why}. Nothing was changed; repair the file or move it away."
