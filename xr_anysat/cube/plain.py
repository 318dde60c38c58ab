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
    block = array.data._meta if isinstance(array.data, da.Array) else array.data
    if not isinstance(block, np.ndarray):
        dense = "cube.copy(data=cube.data.todense())"
        repairs = map(Call, ("cube.pint.dequantify()", dense, "cube.compute()"))
        kind = f"{type(block).__module__.partition('.')[0]}.{type(block).__qualname__}"
        return [Finding("cube.array-type", *repairs, kind=kind)]
    if any(np.isnan(size) for sizes in array.chunks or () for size in sizes):
        repair = Call("cube.copy(data=cube.data.compute_chunk_sizes())")
        return [Finding("cube.unknown-chunks", repair)]
    return []
