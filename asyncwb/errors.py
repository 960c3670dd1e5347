"""The one exception tree: whatever asyncwb raises on purpose is in it.

    Error                      everything below; `.message` is the text
    ├── UsageError             the call does not fit the state, or a name is no good
    │   ├── ArgumentError      an argument is no good (ValueError)
    │   ├── SettingsError      a setting has an unknown name or a value it cannot take (ValueError)
    │   ├── UnsupportedError   the call is known, but this version, mode or platform lacks it
    │   └── IncompleteRunHistoryError  all of a history was asked for while its run goes on
    ├── ConfigError            a config key would change, is too deep or too large; or no config
    ├── CommError              a server could not be reached, refused, or answered nonsense
    │   ├── NoAnswer               it could not be reached, or did not answer in time
    │   ├── AuthenticationError    the server does not accept the API key
    │   └── NotFoundError          the server has no such thing (ValueError)
    │       └── RunNotFoundError   the server has no such run
    ├── LogTypeError           log() was given what no row can hold (TypeError and ValueError)
    ├── StepError              step_policy="raise" and the step went backwards
    ├── JournalFull            the journal may grow no further and the overflow policy says raise
    ├── JournalCorrupt         a journal on disk ends in bytes that fail their checksum
    ├── EngineStopped          the engine's thread has ended; what was logged is safe on disk
    ├── FilterError            a filter, an order or a cursor of a query is no good (ValueError)
    ├── FrameError             bytes are no valid frame (ValueError)
    │   └── FrameTooLargeError     a valid one, perhaps, of which a reader takes no more
    └── BatchError             bytes are no valid batch of frames (ValueError)

A message answers three questions, in this order: what failed; is the data safe, and where; what
to do next. Exceptions of other libraries are turned into these once, where they enter. All of
them can be pickled, since they cross process boundaries in data-parallel training.
"""

from __future__ import annotations


class Error(Exception):
    """The base of every exception that asyncwb raises on purpose.

    `message` is the full text, as `str(error)` gives it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class UsageError(Error):
    """The call does not fit: the run has finished, none was started, or an argument is no good."""


class ArgumentError(UsageError, ValueError):
    """An argument is no good: a path of another form, a tag that is empty, a file that is there.

    It is a ValueError, too: the field's documents promise one of the two here and the other there.
    """


class SettingsError(UsageError, ValueError):
    """A setting is unknown, or its value has the wrong type or is none of the choices.

    `setting` is the name of the setting.
    """

    def __init__(self, message: str = "", setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class UnsupportedError(UsageError):
    """The call is part of the API, but not possible in this mode, version or platform."""


class IncompleteRunHistoryError(UsageError):
    """The files of a history were asked for, all of it, but there are or may come more rows.

    Source: https://docs.wandb.ai/ref/python/public-api/run (`download_history_exports`).
    """


class ConfigError(Error):
    """A config key would change its value or is nested too deep, or a file cannot be read."""


class CommError(Error):
    """A server could not be reached, refused the request, or gave an answer that makes no sense.

    `status` is the HTTP status of the answer, None where there was no answer; `code` is the
    server's own word for the error (snake_case), "" where it gave none.
    """

    def __init__(self, message: str = "", status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NoAnswer(CommError):  # noqa: N818
    """The server could not be reached, or did not answer in time; nothing is known of the data."""


class AuthenticationError(CommError):
    """The server does not accept the API key, or there is none for it."""


class NotFoundError(CommError, ValueError):
    """The server has no such project, team, file or report, or the key may not see it."""


class RunNotFoundError(NotFoundError):
    """The server has no run at that path, or the key may not see it."""


class LogTypeError(Error, TypeError, ValueError):
    """`log()` was given a non-mapping, a key that is no string, or a value that no row can hold.

    `key` is the path of the offending value, "" where the whole argument is at fault. It is both a
    TypeError and a ValueError because the field's documents promise one and its clients raise the
    other.
    """

    def __init__(self, message: str = "", key: str = "") -> None:
        super().__init__(message)
        self.key = key


class StepError(Error):
    """A step went backwards while `step_policy="raise"`; the row was not written."""


class JournalFull(Error):  # noqa: N818 - a state of the disk, named as users search for it
    """The journal reached its bound and the overflow policy says to raise; the row is not in it."""


class JournalCorrupt(Error):  # noqa: N818
    """A journal holds bytes that fail their checksum; what stands before them was read.

    `good` is the number of records read before the damage.
    """

    def __init__(self, message: str = "", good: int = 0) -> None:
        super().__init__(message)
        self.good = good


class EngineStopped(Error):  # noqa: N818
    """The engine's thread has ended, at the interpreter's exit or because of an error."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "the logging engine has stopped; what was logged is safe in the journal on disk. "
            "Send it with: asyncwb sync"
        )


class FilterError(Error, ValueError):
    """A filter, an order or a cursor of a query over runs cannot be understood.

    `place` is where in the filter, such as `$and[1].config.lr.$gt`; "" for the whole of it.
    """

    def __init__(self, message: str = "", place: str = "") -> None:
        super().__init__(message)
        self.place = place


class FrameError(Error, ValueError):
    """Bytes are not a valid frame: cut short, a wrong checksum, or larger than allowed."""


class FrameTooLargeError(FrameError):
    """A frame becomes more than its reader takes: bytes when decompressed, or values of JSON."""


class BatchError(Error, ValueError):
    """Bytes are not a valid batch of frames."""
