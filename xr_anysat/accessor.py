"""`.anysat` on DataArray and Dataset: parse, delegate, nothing else."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import xarray as xr

from .embed import band_stats, embed
from .plan import Plan, plan
from .prepare import understand_cube, understand_grid
from .sentinel2 import BANDS
from .store import StoreReport, to_zarr

__all__ = ["AnySatAccessor"]


@xr.register_dataarray_accessor("anysat")
@xr.register_dataset_accessor("anysat")
class AnySatAccessor:
    """AnySat embeddings of a Sentinel-2 cube.

    Reached as ``cube.anysat`` on a DataArray, or on a Dataset with one variable per band.
    """

    def __init__(self, cube: xr.DataArray | xr.Dataset) -> None:
        self._cube = cube

    def embed(self, mode: Any = "grid", **options: Any) -> xr.DataArray:
        """Embed the cube: see :func:`xr_anysat.embed`.

        Does not resample, reproject, harmonise or mask clouds; a dask cube is not computed.
        """
        return embed(self._cube, mode, **options)

    def band_stats(
        self,
        *,
        mask: xr.DataArray | None = None,
        bands: Mapping[str, Hashable] | None = None,
    ) -> xr.Dataset:
        """Mean and deviation of each band: see :func:`xr_anysat.band_stats`.

        Lazy where the cube is.
        """
        return band_stats(self._cube, mask=mask, bands=bands)

    def plan(self, mode: Any = "grid", **options: Any) -> Plan:
        """Say what `embed` will take with the same arguments: see :func:`xr_anysat.plan`.

        Reads no pixels, and computes nothing but with ``calibrate=True``.
        """
        return plan(self._cube, mode, **options)

    def to_zarr(self, store: Any, mode: Any = "grid", **options: Any) -> StoreReport:
        """Embed the cube into a Zarr store, region by region: see :func:`xr_anysat.to_zarr`.

        The same call again goes on where an earlier one ended; nothing is deleted unasked.
        """
        return to_zarr(self._cube, store, mode, **options)

    @property
    def gsd(self) -> float:
        """Ground sample distance in metres: the pixel size as AnySat is told it."""
        return float(understand_grid(self._cube).gsd)

    @property
    def crs(self) -> pyproj.CRS:
        """Coordinate reference system as it was understood."""
        return pyproj.CRS.from_user_input(str(understand_grid(self._cube).geobox.crs))

    @property
    def s2_dates(self) -> npt.NDArray[np.int64]:
        """Day of the year of each date, (T,), 0 on 1 January to 364 on 31 December."""
        return np.array(understand_cube(self._cube)[1].day_of_year)

    @property
    def bands(self) -> dict[str, Hashable]:
        """The cube's label of each of AnySat's ten bands."""
        spec = understand_cube(self._cube, dated=False)[1]
        return dict(zip(BANDS, spec.band_labels, strict=True))


def _method_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Give the signature of a function whose first parameter is the accessor's cube."""
    signature = inspect.signature(function)
    _, *rest = signature.parameters.values()
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[first, *rest])


# What editors and help() show, instead of `**options`.
setattr(AnySatAccessor.embed, "__signature__", _method_signature(embed))  # noqa: B010
setattr(AnySatAccessor.to_zarr, "__signature__", _method_signature(to_zarr))  # noqa: B010
