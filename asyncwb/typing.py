"""Type aliases that more rooms than one speak of; no behaviour lives here."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object: an event, a config, an answer of the server. Floats may be NaN."""

MetricPath: TypeAlias = str
"""A metric's path as it goes over the wire: nested keys joined with ".", a literal "." as `\\.`."""

FilePath: TypeAlias = str | PathLike[str]
"""A place in the file system as callers write it."""

Mode: TypeAlias = Literal["online", "offline", "disabled"]
"""Send rows, keep them on disk for `asyncwb sync`, or do nothing at all."""

StepPolicy: TypeAlias = Literal["merge", "drop", "raise"]
"""What to do with a row whose step is below the last one."""

Overflow: TypeAlias = Literal["block", "drop_oldest", "raise"]
"""What `log()` does when the journal is full."""

Resume: TypeAlias = Literal["allow", "must", "never", "auto"]
"""Whether a run that exists on the server may, must or must not be continued."""
