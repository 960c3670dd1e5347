"""Files of runs: listed, announced for upload, deleted. Their bytes go by signed addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ariadne import MutationType, ObjectType

from asyncwb.server.graphql.execution import ids, paging
from asyncwb.server.graphql.execution.context import Context, Info, refused
from asyncwb.server.graphql.execution.pace import in_steps
from asyncwb.server.graphql.inputs import (
    CreateRunFilesInput,
    DeleteFilesInput,
    MarkRunFilesUploadedInput,
    back,
)
from asyncwb.server.graphql.runs import named
from asyncwb.server.http.access import Action, require_run
from asyncwb.server.objects import files
from asyncwb.server.store.records import StoredRun
from asyncwb.server.store.runs.details import Details
from asyncwb.server.store.runs.files import StoredFile

LIST: Final = "files"
MAX_FILES: Final = 1000
"""files deleted by one request"""

mutation = MutationType()
run_type = ObjectType("Run")
file_type = ObjectType("File")
BINDABLES = [mutation, run_type, file_type]


@run_type.field("fileCount")
async def _file_count(run: StoredRun, info: Info) -> int:
    return await info.context.batch(_counts, run.id) or 0


async def _counts(context: Context, keys: list[int]) -> Mapping[int, int]:
    return await Details(context.state.database).file_counts(keys)


@run_type.field("files")
async def _files(
    run: StoredRun,
    info: Info,
    names: list[str | None] | None = None,
    pattern: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, object]:
    store = info.context.state.files
    size, cursor = paging.page_size(first), paging.decode(after, LIST)
    wanted = list(dict.fromkeys(name for name in names or () if name)) or None
    if wanted is not None and len(wanted) > files.MAX_NAMES:
        raise refused("too_many_files", f"Ask for at most {files.MAX_NAMES} files at once.")
    found = await store.page(
        run.id,
        names=wanted,
        pattern=pattern,
        first=size + 1,
        after=None if cursor is None else str(cursor[0]),
    )

    async def total(_: Info) -> int:
        count: int = await store.count(run.id, names=wanted, pattern=pattern)
        return count

    connection = paging.connection(found, size, lambda file: (file.name, file.id), LIST)
    return {**connection, "upload_headers": [], "total_count": total}


@file_type.field("id")
def _id(file: StoredFile, _: Info) -> str:
    return ids.encode("File", file.id)


@file_type.field("url")
def _url(file: StoredFile, info: Info, upload: bool | None = None) -> str:
    context: Context = info.context
    give = files.upload_url if upload else files.url
    return give(context.state, context.user, file, context.url)


@file_type.field("directUrl")
def _direct_url(file: StoredFile, info: Info) -> str:
    return files.url(info.context.state, info.context.user, file, info.context.url)


@file_type.field("sizeBytes")
def _size(file: StoredFile, _: Info) -> int:
    return file.size


@mutation.field("createRunFiles")
async def _create(_: object, info: Info, input: CreateRunFilesInput) -> dict[str, object]:
    context: Context = info.context
    path, run_id = await require_run(
        context.state, context.user, Action.WRITE, named(context, input)
    )
    made = await files.create(context.state, context.user, run_id, input["files"], context.url)
    return {
        **back(input),
        "run_id": ids.encode("Run", path.run, path.project, path.entity),
        "upload_headers": [],
        "files": in_steps([{"name": name, "upload_url": url} for name, url in made]),
    }


@mutation.field("markRunFilesUploaded")
async def _uploaded(_: object, info: Info, input: MarkRunFilesUploadedInput) -> dict[str, object]:
    """Say whether the files are there: an upload is noticed when its last byte came."""
    context: Context = info.context
    _, run_id = await require_run(context.state, context.user, Action.WRITE, named(context, input))
    names = list(dict.fromkeys(input["files"]))
    there = await context.state.files.uploaded(run_id, names)
    return {**back(input), "success": there == len(names)}


@mutation.field("deleteFiles")
async def _delete(_: object, info: Info, input: DeleteFilesInput) -> dict[str, object]:
    context: Context = info.context
    numbers = {ids.number(file, "File") for file in input["files"]}
    if len(numbers) > MAX_FILES:
        raise refused("too_many_files", f"Delete at most {MAX_FILES} files at once.")
    by_run: dict[int, list[int]] = {}
    for file in await context.state.files.by_ids(numbers):
        by_run.setdefault(file.run_id, []).append(file.id)
    places = await Details(context.state.database).places(by_run)
    project = input.get("project_id")
    for project_id, path in places.values():  # all of them, before the first is deleted
        await require_run(context.state, context.user, Action.WRITE, path)
        if project not in (None, project_id):
            raise refused("bad_project", "A file is of another project. Nothing was deleted.")
    for run_id in places:
        await files.delete(context.app, run_id, by_run[run_id])
    # Those that are gone already were deleted by a request whose answer was lost.
    return {**back(input), "success": True}
