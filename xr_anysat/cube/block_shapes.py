"""Blocks of a lazy cube, checked as they are read."""

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.layers import ArrayChunkShapeDep

from xr_anysat.errors import CubeError

__all__ = ["check_blocks"]


def check_blocks(cube: Any) -> Any:
    """Compare each block of a lazy cube, when it is read, with the shape that its chunks declare.

    A reader that returns a block of another shape would otherwise shift its neighbours, and
    nobody would notice. Other inputs are returned unchanged.
    """
    if isinstance(cube, xr.Dataset):
        lazy = {name: v for name, v in cube.data_vars.items() if isinstance(v.data, da.Array)}
        return cube.assign({name: check_blocks(v) for name, v in lazy.items()})
    if not isinstance(cube, xr.DataArray) or not isinstance(cube.data, da.Array):
        return cube
    data, axes = cube.data, tuple(range(cube.ndim))
    checked = cube.copy(
        data=da.blockwise(
            _check_shape, axes, data, axes, ArrayChunkShapeDep(data.chunks), axes,
            dtype=data.dtype, meta=data._meta, align_arrays=False,
            token=f"anysat-checked-{data.name}",
        )
    )  # fmt: skip
    checked.encoding = dict(cube.encoding)
    return checked


def _check_shape(block: Any, declared: tuple[int, ...]) -> Any:
    if np.shape(block) != tuple(declared):
        raise CubeError("cube.block-shape", shape=np.shape(block), declared=tuple(declared))
    return block
