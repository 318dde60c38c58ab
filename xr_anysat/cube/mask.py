"""Masks as users give them, brought to the dimensions and the order of their cube."""

from typing import Any

import xarray as xr

from xr_anysat.errors import CubeError, OptionError
from xr_anysat.findings import Call, SetOption

from .spec import CubeSpec

__all__ = ["check_mask"]

_MASK = SetOption("mask")
_EXAMPLE = SetOption("mask", python="cube.anysat.embed(mask=scl.isin([4, 5, 6, 7]))")


def check_mask(mask: Any, array: xr.DataArray, spec: CubeSpec) -> xr.DataArray | None:
    """Bring a mask to (time, y, x) of the cube, in the cube's order.

    Raises
    ------
    OptionError
        For what is no mask of bool along the cube's dimensions.
    CubeError
        For a mask on other coordinates.
    """
    if mask is None:
        return None
    if not isinstance(mask, xr.DataArray) or mask.dtype.kind != "b":
        dtype = f" of {mask.dtype}" if isinstance(mask, xr.DataArray) else ""
        kind = f"{type(mask).__name__}{dtype}"
        raise OptionError("mask.type", _EXAMPLE, option=_MASK, kind=kind)
    dims = [dim for dim in (spec.time_dim, spec.y_dim, spec.x_dim) if dim is not None]
    unknown = [str(dim) for dim in mask.dims if dim not in dims]
    if unknown:
        known = [str(dim) for dim in dims]
        raise OptionError("mask.dims", _EXAMPLE, option=_MASK, unknown=unknown, dims=known)
    template = array.isel({spec.band_dim: 0}, drop=True)
    mask = mask.reset_coords(drop=True)  # a scalar `time`, of one scene's mask, is no dimension
    try:
        _, mask = xr.align(template, mask, join="exact", copy=False)
    except ValueError as error:
        repair = Call('mask.reindex_like(cube, method="nearest", tolerance=1)')
        raise CubeError("mask.grid", repair, option=_MASK, error=error) from None
    if array.chunks is not None and mask.chunks is None:  # grows to the cube's size by blocks
        mask = mask.chunk({dim: array.chunksizes[dim] for dim in mask.dims})
    sizes = {dim: array.sizes[dim] for dim in dims if dim not in mask.dims}
    return mask.expand_dims(sizes).transpose(*dims)
