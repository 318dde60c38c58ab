"""Results of cubes in memory, which are computed at once, with a progress bar."""

from typing import cast

import dask.array as da
import numpy as np
import xarray as xr

from xr_anysat.cube.canonical import local_scheduler
from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption

from .progress import task_bar

__all__ = ["compute_now"]


def compute_now(result: xr.DataArray, progress: bool | None) -> xr.DataArray:
    """Compute a result now, into one array allocated beforehand."""
    lazy_data = cast(da.Array, result.data)
    try:
        out = np.empty(lazy_data.shape, dtype=lazy_data.dtype)
    except MemoryError:
        raise OptionError(
            "result.memory",
            Call("cube.chunk(x=512, y=512)"),
            SetOption("mode", "patch"),
            SetOption("dtype", "float16"),
            gibibytes=lazy_data.nbytes / 2**30,
        ) from None
    with task_bar(progress, "embedding"):
        da.store(lazy_data, out, lock=False, scheduler=local_scheduler())
    computed = result.copy(data=out)
    computed.encoding = dict(result.encoding)
    return computed
