"""What TensorBoard logs at a tag, as values that a run holds.

| kind | becomes |
| --- | --- |
| scalar, as a simple value or a tensor | float |
| histogram, old or as a tensor | `{"_type": "histogram", "bins": edges, "values": counts}` |
| text | text, or a list of texts |
| image, old or as a tensor | `{"_type": "image-file", ...}` and a file; several: one entry |
| audio, old or as a tensor | `{"_type": "audio-file", ...}` and a file |
| hyperparameters | the run's config |
| any other tensor (curves, meshes) of up to 4,096 numbers | `{"_type": "tensor", ...}` |

A histogram of more than 512 buckets has neighbours joined; one row of JSON numbers a bucket would
outweigh all else. Whatever has no such form is counted under its name, and never dropped unseen.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asyncwb.importers.items import Attachment, Found, free
from asyncwb.importers.protobuf import Message
from asyncwb.wire.rows import keys

_MAX_NUMBERS: Final = 4096
_MAX_BUCKETS: Final = 512
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")

# Summary.Value
_TAG, _SIMPLE, _IMAGE, _HISTOGRAM, _AUDIO, _TENSOR, _METADATA = 1, 2, 4, 5, 6, 8, 9
_STRING: Final = 7
"""the tensor type of byte strings"""
_TYPES: Final[dict[int, Any]] = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_FLOAT, _DOUBLE = 1, 2
_INTS_IN: Final = {9: 10, 10: 11, 22: 16, 23: 17}
"""tensor type -> the field of its numbers, where that is not `int_val`."""


@dataclass(slots=True)
class Taken:
    """What one event holds: values by path, the files that they speak of, hyperparameters."""

    values: dict[str, Any] = field(default_factory=dict)
    files: tuple[Attachment, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)


class Values:
    """Turns the values of one event file. Mutable state: the plugin of each tag, said once.

    Args:
        namespace: what stands before each tag.
        found: where to count what has no form here.
        media: whether files can be kept.
    """

    def __init__(self, namespace: str, found: Found, *, media: bool) -> None:
        self._prefix = f"{namespace}/" if namespace else ""
        self._found = found
        self._media = media
        self._plugins: dict[str, str] = {}
        self._renamed: set[str] = set()

    def take(self, summary: Message, step: int) -> Taken:
        """Turn the summary of one event."""
        taken = Taken()
        for value in summary.messages(1):
            tag = value.text(_TAG) or value.text(7)
            try:
                self._value(value, tag, step, taken)
            except (ValueError, TypeError, OverflowError) as error:
                self._found.left[f"unreadable value ({error})"] += 1
        return taken

    def _value(self, value: Message, tag: str, step: int, taken: Taken) -> None:
        if _METADATA in value:
            plugin = value.message(_METADATA).message(1)
            self._plugins[tag] = plugin.text(1)
            if plugin.text(1) == "hparams":
                taken.config |= _hyperparameters(plugin.raw(2))
                return
        path = free(keys.escape(self._prefix + tag))
        if path == f"{tag}_" and tag not in self._renamed:
            self._renamed.add(tag)
            self._found.notes.append(f"tag {tag!r} is kept as {path!r}: rows have one of their own")
        if _SIMPLE in value:
            taken.values[path] = value.double(_SIMPLE)
        elif _HISTOGRAM in value:
            taken.values[path] = _old_histogram(value.message(_HISTOGRAM))
        elif _IMAGE in value:
            self._images(path, tag, step, [value.message(_IMAGE).raw(4)], taken)
        elif _AUDIO in value:
            self._audio(path, tag, step, [value.message(_AUDIO).raw(4)], taken)
        elif _TENSOR in value:
            self._tensor(path, tag, step, value.message(_TENSOR), taken)
        else:
            self._found.left[f"{self._plugins.get(tag) or 'empty'} value without data"] += 1

    def _tensor(self, path: str, tag: str, step: int, tensor: Message, taken: Taken) -> None:
        plugin = self._plugins.get(tag, "")
        if tensor.integer(1) == _STRING:
            texts = tensor.raws(8)
            if plugin == "images":
                self._images(path, tag, step, texts[2:], taken)
            elif plugin == "audio":
                self._audio(path, tag, step, _clips(texts, tensor), taken)
            else:
                plain = [text.decode("utf-8", "replace") for text in texts]
                taken.values[path] = plain[0] if len(plain) == 1 else plain
            return
        array = _array(tensor)
        if array.size == 1:
            taken.values[path] = _number(array.reshape(-1)[0].item())
        elif plugin == "histograms" and array.ndim == 2 and array.shape[1] == 3:
            taken.values[path] = _histogram(array)
        elif 0 < array.size <= _MAX_NUMBERS:
            taken.values[path] = {
                "_type": "tensor",
                "plugin": plugin,
                "shape": list(array.shape),
                "values": array.tolist(),
            }
        else:
            what = "empty" if not array.size else f"more than {_MAX_NUMBERS:,} numbers"
            self._found.left[f"{plugin or 'tensor'} ({what})"] += 1

    def _images(
        self, path: str, tag: str, step: int, images: Sequence[bytes], taken: Taken
    ) -> None:
        named = [(data, _image_format(data), _image_size(data)) for data in images if data]
        if not self._kept("image", len(named)):
            return
        entries = []
        for data, form, (width, height) in named:
            file = self._attach("images", tag, step, data, form, taken)
            entries.append({**file, "format": form, "width": width, "height": height})
        if len(entries) == 1:
            taken.values[path] = {"_type": "image-file", **entries[0]}
        else:
            first = entries[0]
            taken.values[path] = {
                "_type": "images/separated",
                "count": len(entries),
                "format": first["format"],
                "width": first["width"],
                "height": first["height"],
                "filenames": [entry["path"] for entry in entries],
            }

    def _audio(self, path: str, tag: str, step: int, clips: Sequence[bytes], taken: Taken) -> None:
        clips = [clip for clip in clips if clip]
        if not self._kept("audio", len(clips)):
            return
        entries = [self._attach("audio", tag, step, data, "wav", taken) for data in clips]
        if len(entries) == 1:
            taken.values[path] = {"_type": "audio-file", **entries[0]}
        else:
            files = [{"_type": "audio-file", **entry} for entry in entries]
            taken.values[path] = {"_type": "audio", "count": len(files), "audio": files}

    def _kept(self, what: str, count: int) -> bool:
        if not count:
            self._found.left[f"{what} without data"] += 1
        elif not self._media:
            self._found.left[f"{what} (this server keeps no files)"] += count
        return bool(count and self._media)

    def _attach(
        self, kind: str, tag: str, step: int, data: bytes, form: str, taken: Taken
    ) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        stem = _NOT_IN_NAMES.sub("_", self._prefix + tag).strip("._") or "value"
        name = f"media/{kind}/{stem[:128]}_{step}_{digest[:20]}.{form}"
        taken.files = (*taken.files, Attachment(name, data))
        return {"path": name, "sha256": digest, "size": len(data)}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _array(tensor: Message) -> NDArray[Any]:
    kind = tensor.integer(1)
    if kind not in _TYPES:
        raise ValueError(f"tensor of type {kind}")
    shape = [size.integer(1) for size in tensor.message(2).messages(2)]
    values: Any
    if tensor.raw(4):
        values = np.frombuffer(tensor.raw(4), _TYPES[kind])
    elif kind == _FLOAT:
        values = tensor.floats(5)
    elif kind == _DOUBLE:
        values = tensor.doubles(6)
    elif kind == 19:
        values = np.array(tensor.integers(13), "<u2").view("<f2")
    else:
        values = np.array(tensor.integers(_INTS_IN.get(kind, 7)), _TYPES[kind])
    count = math.prod(shape)
    if len(values) == 1 and 1 < count <= _MAX_NUMBERS:  # one value stands for all of them
        values = np.repeat(values, count)
    array: NDArray[Any] = values.reshape(shape) if shape else values
    return array


def _old_histogram(histogram: Message) -> dict[str, Any]:
    rights, counts = histogram.doubles(6), histogram.doubles(7)
    low, high = histogram.double(1), histogram.double(2)
    n = min(len(rights), len(counts))
    if not n:
        raise ValueError("histogram without buckets")
    # The outermost buckets end at the largest floats: what was seen is what they show.
    edges = np.clip(np.concatenate(([low], rights[:n])), min(low, rights[0]), max(high, low))
    edges = np.maximum.accumulate(edges)
    return _as_histogram(edges, counts[:n])


def _histogram(table: NDArray[Any]) -> dict[str, Any]:
    edges = np.concatenate((table[:1, 0], table[:, 1])).astype(np.float64)
    return _as_histogram(edges, table[:, 2].astype(np.float64))


def _as_histogram(edges: NDArray[Any], counts: NDArray[Any]) -> dict[str, Any]:
    """Leave out empty buckets at both ends; join neighbours where there are too many."""
    full = np.flatnonzero(counts)
    if len(full):
        edges, counts = edges[full[0] : full[-1] + 2], counts[full[0] : full[-1] + 1]
    width = -(-len(counts) // _MAX_BUCKETS)
    if width > 1:
        starts = np.arange(0, len(counts), width)
        edges, counts = np.append(edges[starts], edges[-1]), np.add.reduceat(counts, starts)
    return {"_type": "histogram", "bins": edges.tolist(), "values": counts.tolist()}


def _hyperparameters(content: bytes) -> dict[str, Any]:
    """Read the hyperparameters that a session starts with: a map of names to JSON-like values."""
    found: dict[str, Any] = {}
    for entry in Message(content).message(3).messages(1):
        value = entry.message(2)
        name = f"{keys.INTERNAL}_" if entry.text(1) == keys.INTERNAL else entry.text(1)
        if 2 in value:
            number = value.double(2)
            found[name] = int(number) if number.is_integer() and abs(number) < 2**53 else number
        elif 3 in value:
            found[name] = value.text(3)
        elif 4 in value:
            found[name] = value.flag(4)
        else:
            found[name] = None
    return found


def _clips(texts: list[bytes], tensor: Message) -> list[bytes]:
    """Pick the clips of an audio tensor, whose rows are (clip, label) or clips alone."""
    shape = [size.integer(1) for size in tensor.message(2).messages(2)]
    return texts[::2] if len(shape) == 2 and shape[1] == 2 else texts


def _image_format(data: bytes) -> str:
    for start, form in ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"GIF8", "gif")):
        if data.startswith(start):
            return form
    return "bin"


def _image_size(data: bytes) -> tuple[int | None, int | None]:
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(b"GIF8") and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    return None, None
