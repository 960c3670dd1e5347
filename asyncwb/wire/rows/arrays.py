"""Arrays and tensors as plain Python values, recognised by what they can do.

No framework is imported to recognise its types, numpy included: whoever logs an array has imported
it already. Small arrays become lists, large ones histograms, since a summary and a chart can show
32 numbers but not a million.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from asyncwb.typing import JsonObject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIST_LIMIT: Final = 32
"""Numeric arrays with more elements than this are logged as histograms."""
BINS: Final = 32

UNKNOWN: Final[object] = object()
"""What `to_plain` answers where a value is no array."""

_FLOAT_MAX: Final = sys.float_info.max


def to_plain(value: object) -> object:
    """Turn an array, a numpy scalar or a tensor into Python scalars, lists or a histogram.

    Blocks for a tensor on a device until it is copied to the host. Elements of object arrays come
    back as they are, for the caller to convert. Returns UNKNOWN for what is no array; what a
    framework's own copying raises passes through.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _from_array(value)
    if numpy is not None and isinstance(value, numpy.generic):
        return _from_scalar(value)
    return _to_host(value)


def _to_host(value: Any) -> Any:
    """Copy a tensor of torch, TensorFlow, JAX or a kind of theirs."""
    to_numpy = getattr(value, "numpy", None)
    if hasattr(value, "columns"):  # a data frame is more than its numbers
        return UNKNOWN
    if callable(to_numpy):
        detach = getattr(value, "detach", None)
        return _torch_to_host(detach()) if callable(detach) else to_numpy()
    return value.__array__() if hasattr(type(value), "__array__") else UNKNOWN


def _torch_to_host(tensor: Any) -> Any:
    tensor = tensor.cpu()
    if tensor.numel() == 1:
        return tensor.item()
    try:
        return tensor.numpy()
    except TypeError:  # bfloat16 and float8: numpy has no such type
        return tensor.float().numpy()


def _from_scalar(value: np.generic) -> object:
    if value.dtype.kind in "Mm":
        return _microseconds(value).item()
    plain = value.item()
    if type(plain) is not type(value):
        return plain
    # item() of a long double is a long double again.
    return complex(value) if value.dtype.kind == "c" else float(value)


def _from_array(array: NDArray[Any]) -> Any:
    if array.dtype.kind in "Mm":
        array = _microseconds(array)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype("float64")
    if array.size == 1:
        return array.reshape(-1)[0]
    if array.size > LIST_LIMIT and array.dtype.kind in "buif":
        return histogram(array)
    return array.tolist()


def _microseconds(value: Any) -> Any:
    """Of dates in microseconds numpy makes Python dates; of nanoseconds bare ints."""
    return value.astype(f"{value.dtype.kind}8[us]")


def histogram(array: NDArray[Any]) -> JsonObject:
    """Count an array's finite values in 32 bins of one width: `{"_type", "bins", "values"}`.

    `bins` are the 33 edges, `values` the 32 counts. Arrays whose values are all equal get a range
    around that value; arrays without a finite value a range of 0 to 1 and zero counts.
    """
    np: Any = sys.modules["numpy"]
    flat = array.reshape(-1).astype("float64")
    flat = flat[np.isfinite(flat)]
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 1.0)
    # The width of a range beyond 1e308 would overflow: count such values at a quarter of them.
    scale = 4.0 if max(abs(low), abs(high)) > 1e300 else 1.0
    low, high = low / scale, high / scale
    # Too narrow for 32 edges that differ.
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-290):
        margin = max(0.5, 1e-6 * abs(low))
        low, high = low - margin, high + margin
    counts, edges = np.histogram(flat / scale, bins=BINS, range=(low, high))
    bins = np.clip(edges, -_FLOAT_MAX / scale, _FLOAT_MAX / scale) * scale
    return {"_type": "histogram", "bins": bins.tolist(), "values": counts.tolist()}
