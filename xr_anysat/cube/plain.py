"""Arrays that are worked on as they are: numpy, and dask of numpy in blocks of known size."""

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.findings import Call, Finding

from .metadata_only import is_on_disk

__all__ = ["not_plain"]


def not_plain(array: xr.DataArray) -> list[Finding]:
    """Make the finding that a cube is backed by another kind of array, if it is. Reads nothing."""
    if is_on_disk(array):
        return []
    data = array.data
    if isinstance(data, np.ndarray):
        return []
    if not isinstance(data, da.Array):
        return [_other_array(type(data))]
    if not isinstance(data._meta, np.ndarray):
        return [_other_array(type(data._meta))]
    if any(np.isnan(size) for sizes in data.chunks for size in sizes):
        return [
            Finding("cube.unknown-chunks", Call("cube.copy(data=cube.data.compute_chunk_sizes())"))
        ]
    return []


def _other_array(kind: type) -> Finding:
    return Finding(
        "cube.array-type",
        Call("cube.pint.dequantify()"),
        Call("cube.copy(data=cube.data.todense())"),
        Call("cube.compute()"),
        kind=f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}",
    )
