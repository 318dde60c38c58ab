"""Stand-ins for cubes that lie in files, so that planning ahead does not read them.

xarray reads an array of a file that was opened without ``chunks=`` at the first look at its
values, and the variables of a Dataset where they are stacked.
"""

from typing import TypeVar

import numpy as np
import xarray as xr

__all__ = ["is_on_disk", "metadata_only"]

Cube = TypeVar("Cube", bound=xr.DataArray | xr.Dataset)


def is_on_disk(cube: xr.DataArray | xr.Dataset) -> bool:
    """Whether some of a cube is in a file, neither in memory nor a dask array."""
    if isinstance(cube, xr.Dataset):
        return any(is_on_disk(variable) for variable in cube.data_vars.values())
    data = cube.variable._data
    return not isinstance(data, np.ndarray) and not hasattr(data, "__array_function__")


def metadata_only(cube: Cube) -> Cube:
    """Replace the values of a cube in a file by nothing; its shape and attributes stay."""
    if not isinstance(cube, xr.DataArray | xr.Dataset) or not is_on_disk(cube):
        return cube
    if isinstance(cube, xr.Dataset):
        return cube.assign({name: metadata_only(v) for name, v in cube.data_vars.items()})
    nothing = cube.copy(data=np.broadcast_to(np.zeros((), cube.dtype), cube.shape))
    nothing.encoding = dict(cube.encoding)
    return nothing
