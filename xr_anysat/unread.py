"""Stand-ins for cubes that lie in files: planning ahead is not to read them.

xarray reads an array of a file that was opened without ``chunks=`` at the first look at its
values, and the variables of a Dataset where they are stacked.
"""

from typing import TypeVar

import numpy as np
import xarray as xr

__all__ = ["is_unread", "unread"]

Cube = TypeVar("Cube", bound=xr.DataArray | xr.Dataset)


def is_unread(cube: xr.DataArray | xr.Dataset) -> bool:
    """Whether some of a cube is in a file, neither in memory nor a dask array."""
    if isinstance(cube, xr.Dataset):
        return any(is_unread(variable) for variable in cube.data_vars.values())
    return cube.chunks is None and not getattr(cube.variable, "_in_memory", True)


def unread(cube: Cube) -> Cube:
    """Give a cube of the same shape and attributes that holds nothing, if it is in a file."""
    if not isinstance(cube, xr.DataArray | xr.Dataset) or not is_unread(cube):
        return cube
    if isinstance(cube, xr.Dataset):
        return cube.assign({name: unread(v) for name, v in cube.data_vars.items()})
    nothing = cube.copy(data=np.broadcast_to(np.zeros((), cube.dtype), cube.shape))
    nothing.encoding = dict(cube.encoding)
    return nothing
