"""Operations on the pixels of loaded images, block by block."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["by_block", "mask_classes"]


def by_block(function: Any, values: xr.DataArray, *others: Any, **options: Any) -> xr.DataArray:
    """Apply a function to blocks of arrays that are chunked alike; the result stays lazy."""
    if values.chunks is None:
        return values.copy(data=function(values.data, *others, **options))
    meta = np.empty((0, 0, 0), dtype=values.dtype)
    data = da.map_blocks(function, values.data, *others, dtype=values.dtype, meta=meta, **options)
    return values.copy(data=data)


def mask_classes(
    cube: xr.Dataset, bands: Sequence[str], layer: str, classes: Sequence[int]
) -> xr.Dataset:
    """Set bands to 0, which is missing, where a layer of the cube has some classes."""
    if not classes:
        return cube
    labels = cube[layer].data
    return cube.assign({b: by_block(_hide, cube[b], labels, classes=tuple(classes)) for b in bands})


def _hide(
    values: npt.NDArray[Any], labels: npt.NDArray[Any], *, classes: tuple[int, ...]
) -> npt.NDArray[Any]:
    return np.where(np.isin(labels, classes), np.zeros((), values.dtype), values)
