"""What everything that the query API returns has in common: fields, and a face in a notebook.

A field that the server sent is an attribute under the server's name or its snake_case spelling:
`run.history_line_count` is `historyLineCount`.

Source: https://docs.wandb.ai/ref/python/public-api/run (`snake_to_camel`, `display`).
"""

from __future__ import annotations

import html
import importlib
import sys
from typing import Any

from asyncwb.typing import JsonObject


class Attributes:
    """An object of the server. Mutable state: `_attrs`, its fields as they were loaded last."""

    def __init__(self, attrs: JsonObject) -> None:
        self._attrs = dict(attrs)

    def snake_to_camel(self, string: str) -> str:
        """Write a snake_case name as the server does: "created_at" gives "createdAt"."""
        first, *rest = string.split("_")
        return first[:1].lower() + first[1:] + "".join(word.capitalize() for word in rest)

    def to_html(self, height: int = 420, hidden: bool = False) -> str | None:
        """Write HTML that shows the object; None for what has no page of its own.

        Args:
            height: of the frame, in pixels.
            hidden: whether it starts hidden, behind a button.
        """
        return None

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show the object in a Jupyter notebook; False elsewhere, and where it has no page.

        Args:
            height: of the frame, in pixels.
            hidden: whether it starts hidden, behind a button.
        """
        page = self.to_html(height, hidden) if in_notebook() else None
        if page is None:
            return False
        shown = importlib.import_module("IPython.display")
        shown.display(shown.HTML(page))
        return True

    def __getattr__(self, name: str) -> Any:
        attrs = self.__dict__.get("_attrs", {})  # not there yet while a copy is unpickled
        for key in () if name.startswith("__") else (self.snake_to_camel(name), name):
            if key in attrs:
                return attrs[key]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def in_notebook() -> bool:
    """Tell whether the program is a cell of a Jupyter notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def frame(url: str, what: str, height: int, hidden: bool) -> str:
    """Write an iframe of a page, behind a button where it is hidden."""
    style = f"border:none;width:100%;height:{height:d}px;" + ("display:none;" if hidden else "")
    button = (
        "<button onClick=\"this.nextSibling.style.display='block';"
        f"this.style.display='none';\">Display {html.escape(what)}</button>"
    )
    page = f'<iframe src="{html.escape(url)}?jupyter=true" style="{style}"></iframe>'
    return button + page if hidden else page
