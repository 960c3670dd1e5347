"""The files of a run: listed, downloaded, deleted.

Source: https://docs.wandb.ai/ref/python/public-api/file and `files`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from asyncwb.client.query.attributes import Attributes
from asyncwb.client.query.paging import AsyncPages
from asyncwb.client.query.requests.pages import of_files, pages
from asyncwb.client.query.requests.query import Asker, Connection
from asyncwb.client.waiting import in_thread, wait_async
from asyncwb.engine.uploads.transfer import place_in
from asyncwb.errors import ArgumentError
from asyncwb.typing import FilePath, JsonObject
from asyncwb.wire import query_documents
from asyncwb.wire.paths import RunPath

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class AsyncFile(Attributes):
    """A file of a run. Made by `run.file()`, `run.files()` and `run.upload_file()`.

    `name`, `url`, `direct_url`, `md5` (base64), `mimetype` and `updated_at` are attributes.

    A file that the run does not have is in no list, and `run.file()` raises NotFoundError for it. A
    W&B server lists what was asked for by name all the same: such a file has size 0 and md5 "0".
    """

    def __init__(
        self, client: Connection, attrs: JsonObject, project_id: int | None = None
    ) -> None:
        super().__init__(attrs)
        self._client = client
        self._project_id = project_id

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return int(self._attrs.get("sizeBytes") or 0)

    @property
    def path_uri(self) -> str:
        """Where the file is in its bucket, as `s3://bucket/name`; "" where it is in none.

        A file that is only referred to has its own address here.
        """
        direct = self._attrs.get("directUrl") or ""
        if direct and direct == self._attrs.get("url"):
            return str(direct)
        parts = urlsplit(direct)
        host = parts.hostname or ""
        bucket, dot, rest = host.partition(".s3")
        if dot and rest.endswith(".amazonaws.com"):
            return f"s3://{bucket}{parts.path}"
        if host.startswith("s3") and host.endswith(".amazonaws.com"):
            return f"s3:/{parts.path}"
        return ""

    async def download(
        self,
        root: FilePath = ".",
        replace: bool = False,
        exist_ok: bool = False,
        api: Asker | None = None,
    ) -> io.TextIOWrapper:
        """Write the file below a folder, under its own name; returns it, open for reading text.

        It is streamed, in bounded memory, and appears whole or not at all.

        Args:
            root: the folder; made where it is missing.
            replace: whether a file that is there already may be overwritten.
            exist_ok: whether a file that is there already may be taken as it is.
            api: whose key downloads it; left out, that of the Api which found the file.

        Raises:
            ValueError: there is such a file already, or the name leads out of `root`.
            CommError: the server did not give it; nothing was written.
        """
        target = place_in(Path(root), self._attrs["name"])
        if target.exists() and not replace:
            if exist_ok:
                return _open(target)
            raise ArgumentError(
                f"File already exists: {target}. Nothing was written; pass replace=True to "
                "overwrite it or exist_ok=True to take it as it is."
            )
        client = self._client if api is None else api.client
        await wait_async(client.download(self._attrs["url"], target))
        return await in_thread(_open, target)

    async def delete(self) -> None:
        """Delete the file on the server.

        Raises:
            CommError: the server refuses.
        """
        variables = {"files": [self._attrs["id"]], "projectId": self._project_id}
        await wait_async(self._client.ask(query_documents.DELETE_FILES, **variables))

    def __repr__(self) -> str:
        return f"<File {self._attrs['name']} ({self._attrs.get('mimetype')}) {_human(self.size)}>"


class AsyncFiles(AsyncPages[AsyncFile]):
    """The files of a run: a lazy list. Made by `run.files()`.

    Args:
        client: the server.
        path: the run.
        names: only these; none is all.
        per_page: how many one question gives.
        pattern: only files whose name is LIKE this, as in SQL: "%.json".
        project_id: the number of the run's project, which deleting a file needs.
    """

    def __init__(
        self,
        client: Connection,
        path: RunPath,
        names: Sequence[str] | None = None,
        per_page: int = 50,
        pattern: str | None = None,
        project_id: int | None = None,
    ) -> None:
        if names and pattern:
            raise ArgumentError("files are asked for by names or by a pattern, not by both")
        if isinstance(names, str) or not all(isinstance(n, str) and n for n in names or ()):
            raise ArgumentError(f"names is a list of file names, not {names!r}")
        fixed = {"names": list(names or ()), "pattern": pattern, "perPage": per_page}

        super().__init__(
            pages(client, of_files, path, fixed),
            lambda entry: AsyncFile(client, entry, project_id),
            per_page,
        )
        self._path = path

    def __repr__(self) -> str:
        return f"<Files {self._path}>"


def _open(path: Path) -> io.TextIOWrapper:
    return path.open(encoding="utf-8")


def _human(size: float) -> str:
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f}{_UNITS[unit]}"
