"""The trackers that are measured, one module each, and the environment that each one runs in.

A rival's module is imported only inside a worker process, in the environment that has its package.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.rivals.base import Rival

#: name -> the class that drives it; the module is `bench.rivals.<name in lower case>`.
CLASSES = {
    "asyncwb": "AsyncwbRival",
    "limit": "LimitRival",
    "wandb": "WandbRival",
    "wandb_online": "WandbOnlineRival",
    "trackio": "TrackioRival",
    "tensorboardX": "TensorboardXRival",
    "mlflow": "MlflowRival",
}

#: Those that run in the environment that runs the harness.
AT_HOME = frozenset({"asyncwb", "limit"})

#: Those that run in another rival's environment.
SHARED = {"wandb_online": "wandb"}


def create(name: str, folder: Path, keys: Sequence[str]) -> Rival:
    """Import the rival called `name` and return it, to log rows of `keys` under `folder`.

    KeyError for an unknown name, ImportError where its package is not installed.
    """
    module = import_module(f"bench.rivals.{name.lower()}")
    rival = getattr(module, CLASSES[name])(folder, keys)
    assert isinstance(rival, Rival)
    return rival
