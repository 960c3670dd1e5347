"""Makes what imports read: protobuf messages, W&B logs and TensorBoard files, byte by byte."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import google_crc32c

from asyncwb.engine.uplink.embedded import Address
from asyncwb.engine.uplink.http import Http
from asyncwb.importers.importing import ImportResult, import_runs
from asyncwb.importers.items import Source
from asyncwb.importers.target import Target
from tests.fix_server import ServerHandle

BLOCK = 32 * 1024
START = 1_700_000_000.5


def message(*fields: tuple[int, Any]) -> bytes:
    """Encode a message: ints as varints, floats as doubles, the rest by its length."""
    out = b""
    for number, value in fields:
        if isinstance(value, bool | int):
            out += _varint(number << 3) + _varint(int(value) % 2**64)
        elif isinstance(value, float):
            out += _varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


# W&B's log.


def timestamp(at: float) -> bytes:
    """Encode a Timestamp."""
    return message((1, int(at)), (2, round(at % 1 * 1e9)))


def _items(values: dict[str, Any], *, nested: bool) -> list[tuple[int, bytes]]:
    def name(key: str) -> list[tuple[int, Any]]:
        return [(2, part) for part in key.split("|")] if nested else [(1, key)]

    return [(1, message(*name(k), (16, json.dumps(v)))) for k, v in values.items()]


def run_record(run: str, **said: Any) -> bytes:
    """Encode the record that begins a run."""
    fields: list[tuple[int, Any]] = [(1, run), (3, said.get("project", "mnist"))]
    fields += [(4, message(*_items(said.get("config", {}), nested=False)))]
    fields += [(number, said[name]) for number, name in _RUN_TEXTS.items() if name in said]
    fields += [(10, tag) for tag in said.get("tags", ())]
    fields += [(17, timestamp(said.get("at", START)))]
    return message((17, message(*fields)))


_RUN_TEXTS = {6: "group", 7: "job_type", 8: "name", 9: "notes", 13: "host"}


def history_record(step: int, values: dict[str, Any]) -> bytes:
    """Encode a row; "|" in a name separates nested keys."""
    row = {"_step": step, "_timestamp": START + step, "_runtime": step, **values}
    return message((2, message(*_items(row, nested=True), (2, message((1, step))))))


def summary_record(values: dict[str, Any]) -> bytes:
    """Encode a change of the summary."""
    return message((3, message(*_items(values, nested=True))))


def config_record(values: dict[str, Any]) -> bytes:
    """Encode a change of the config."""
    return message((5, message(*_items(values, nested=False))))


def metric_record(name: str, op: int) -> bytes:
    """Encode a definition whose summary is the op of that number (1 min, 2 max)."""
    return message((12, message((1, name), (7, message((op, 1))))))


def output_record(text: str, *, error: bool = False) -> bytes:
    """Encode what was printed."""
    fields = (1, 0 if error else 1), (2, timestamp(START)), (3, text)
    return message((13, message(*fields)))


def stats_record(values: dict[str, Any]) -> bytes:
    """Encode system metrics."""
    entries = [(3, message((1, k), (16, json.dumps(v)))) for k, v in values.items()]
    return message((7, message((2, timestamp(START + 1)), *entries)))


def exit_record(code: int, runtime: int = 100) -> bytes:
    """Encode the end."""
    return message((18, message((1, code), (2, runtime))))


def log_bytes(records: Iterable[bytes]) -> bytes:
    """Put records into blocks, as the client does."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for record in records:
        rest, first = record, True
        while first or rest:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            data, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            crc = zlib.crc32(bytes([kind]) + data)
            out += struct.pack("<IHB", crc, len(data), kind) + data
            first = False
    return bytes(out)


def write_log(folder: Path, records: Sequence[bytes]) -> Path:
    """Write a run folder; returns the path of its log."""
    (folder / "files").mkdir(parents=True, exist_ok=True)
    path = folder / "run-abc.wandb"
    path.write_bytes(log_bytes(records))
    return path


# TensorBoard's files.


def event(step: int, *values: bytes, at: float = START) -> bytes:
    """Encode an event with values of a summary."""
    summary = message(*[(1, value) for value in values])
    return message((1, at), (2, step), (5, summary))


def tensor(kind: int, shape: Sequence[int], content: bytes) -> bytes:
    """Encode a tensor of numbers."""
    dims = message(*[(2, message((1, size))) for size in shape])
    return message((1, kind), (2, dims), (4, content))


def tagged(tag: str, tensor: bytes, plugin: str = "") -> bytes:
    """Encode a value that is a tensor; `plugin` says of which kind."""
    metadata = [(9, message((1, message((1, plugin)))))] if plugin else []
    return message((1, tag), (8, tensor), *metadata)


def record_bytes(data: bytes) -> bytes:
    """Frame one record of an event file."""

    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    size = struct.pack("<Q", len(data))
    return size + masked(size) + data + masked(data)


# A server to import into.


@asynccontextmanager
async def target_of(server: ServerHandle) -> AsyncIterator[Target]:
    """Connect to a server."""
    http = Http(20.0)
    try:
        yield Target(http, Address(server.url, server.api_key), patience=5.0)
    finally:
        await http.close()


async def bring(target: Target, *sources: Source, **options: Any) -> list[ImportResult]:
    """Import runs one after the other."""
    return await import_runs(sources, target, jobs=1, report=lambda _: None, **options)


async def history_of(target: Target, path: object) -> list[dict[str, Any]]:
    """Read the rows of a run, merged by step, without the columns of time."""
    url = f"{target.address.url}/api/v1/runs/{path}/history"
    http = Http(20.0)
    try:
        reply = await http.request("GET", url, key=target.address.key, params=[("format", "jsonl")])
    finally:
        await http.close()
    rows = [json.loads(line) for line in reply.body.splitlines()]
    dropped = ("_timestamp", "_runtime")
    return [{k: v for k, v in row.items() if k not in dropped} for row in rows]
