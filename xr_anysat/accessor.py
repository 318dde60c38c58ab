"""`.anysat` on DataArray and Dataset: parse, delegate, nothing else."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyproj
import xarray as xr

from .cube.canonical import understand, understand_grid
from .cube.metadata_only import metadata_only
from .embed import embed
from .pictures.components import pca_fit, pca_rgb
from .pictures.explore import Explorer, explore
from .pictures.kmeans import cluster, cluster_fit
from .pictures.plot import plot
from .pictures.quicklook import quicklook
from .pictures.similarity import similarity
from .report.check import check
from .report.check_report import Check
from .report.plan import Plan, plan
from .results.export import decode_geometry, encode_geometry, to_geodataframe
from .results.footprints import tiles
from .results.raster import to_raster
from .results.statistics import band_stats, valid_dates
from .sensors.sentinel2 import BANDS
from .stores.report import StoreReport
from .stores.store import to_zarr

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
        sample: float | None = None,
        mask: xr.DataArray | None = None,
        bands: Mapping[str, Hashable] | None = None,
    ) -> xr.Dataset:
        """Mean and deviation of each band: see :func:`xr_anysat.band_stats`.

        Lazy where the cube is.
        """
        return band_stats(self._cube, sample=sample, mask=mask, bands=bands)

    def valid_dates(
        self,
        *,
        mask: xr.DataArray | None = None,
        bands: Mapping[str, Hashable] | None = None,
    ) -> xr.DataArray:
        """Count the valid dates of each pixel, (y, x): see :func:`xr_anysat.valid_dates`.

        Lazy where the cube is; no network is needed.
        """
        return valid_dates(self._cube, mask=mask, bands=bands)

    def plan(self, mode: Any = "grid", **options: Any) -> Plan:
        """Say what `embed` will take with the same arguments: see :func:`xr_anysat.plan`.

        Reads no pixels, and computes nothing but with ``calibrate=True``.
        """
        return plan(self._cube, mode, **options)

    def check(self, mode: Any = "grid", *, sample: bool = False, **options: Any) -> Check:
        """Say what is understood, wrong and doubtful: see :func:`xr_anysat.check`.

        Reads no pixels but with ``sample=True``; raises nothing for the faults of the cube.
        """
        return check(self._cube, mode, sample=sample, **options)

    def tiles(self, **options: Any) -> Any:
        """Footprints of the tiles that `embed` lays: see :func:`xr_anysat.tiles`.

        A GeoDataFrame where geopandas is installed, else a list of polygons; `as_frame` decides.
        """
        return tiles(self._cube, **options)

    def to_zarr(self, store: Any, mode: Any = "grid", **options: Any) -> StoreReport:
        """Embed the cube into a Zarr store, region by region: see :func:`xr_anysat.to_zarr`.

        The same call again goes on where an earlier one ended; nothing is deleted unasked.
        """
        return to_zarr(self._cube, store, mode, **options)

    def quicklook(self, **options: Any) -> xr.DataArray:
        """Show a cube in true colour, small: see :func:`xr_anysat.quicklook`.

        Lazy where the cube is.
        """
        return quicklook(self._cube, **options)

    def pca_fit(self, components: int = 3) -> xr.Dataset:
        """Fit principal components to an embedding: see :func:`xr_anysat.pca_fit`.

        Lazy where the embedding is.
        """
        return pca_fit(cast(xr.DataArray, self._cube), components)

    def pca_rgb(
        self,
        components: int = 3,
        fit: xr.Dataset | None = None,
        clip: tuple[float, float] = (2, 98),
    ) -> xr.DataArray:
        """Show an embedding by its first components: see :func:`xr_anysat.pca_rgb`.

        Lazy where the embedding is.
        """
        return pca_rgb(cast(xr.DataArray, self._cube), components, fit, clip)

    def similarity(self, target: Any, *, crs: Any = None) -> xr.DataArray:
        """Compare an embedding with one vector: see :func:`xr_anysat.similarity`.

        Lazy where the embedding is.
        """
        return similarity(cast(xr.DataArray, self._cube), target, crs=crs)

    def cluster_fit(self, n: int, *, seed: int = 0) -> xr.Dataset:
        """Find clusters of an embedding: see :func:`xr_anysat.cluster_fit`.

        Lazy where the embedding is.
        """
        return cluster_fit(cast(xr.DataArray, self._cube), n, seed=seed)

    def cluster(
        self, n: int | None = None, *, fit: xr.Dataset | None = None, seed: int = 0
    ) -> xr.DataArray:
        """Map clusters of an embedding: see :func:`xr_anysat.cluster`.

        Lazy where the embedding is.
        """
        return cluster(cast(xr.DataArray, self._cube), n, fit=fit, seed=seed)

    def plot(
        self, cube: xr.DataArray | xr.Dataset | None = None, **options: Any
    ) -> npt.NDArray[Any]:
        """Draw an embedding or what was made of it: see :func:`xr_anysat.plot`.

        Computes what is lazy.
        """
        return plot(cast(xr.DataArray, self._cube), cube, **options)

    def explore(self, cube: xr.DataArray | xr.Dataset | None = None, **options: Any) -> Explorer:
        """Make an interactive view of an embedding: see :func:`xr_anysat.explore`.

        Computes what is lazy.
        """
        return explore(cast(xr.DataArray, self._cube), cube, **options)

    def to_raster(self, path: Any, **options: Any) -> None:
        """Write a map as a COG with described bands: see :func:`xr_anysat.to_raster`.

        Computes a lazy map; does not reproject.
        """
        to_raster(cast(xr.DataArray, self._cube), path, **options)

    def to_geodataframe(self, *, column: str = "embedding") -> Any:
        """Give the vectors of geometries as a table: see :func:`xr_anysat.to_geodataframe`.

        Computes lazy vectors.
        """
        return to_geodataframe(cast(xr.DataArray, self._cube), column=column)

    def encode_geometry(self) -> xr.DataArray:
        """Give geometries as text, for Zarr and NetCDF: see :func:`xr_anysat.encode_geometry`."""
        return encode_geometry(cast(xr.DataArray, self._cube))

    def decode_geometry(self) -> xr.DataArray:
        """Give text as geometries again: see :func:`xr_anysat.decode_geometry`."""
        return decode_geometry(cast(xr.DataArray, self._cube))

    @property
    def gsd(self) -> float:
        """Ground sample distance in metres: the pixel size as AnySat is told it."""
        return float(understand_grid(metadata_only(self._cube)).gsd)

    @property
    def crs(self) -> pyproj.CRS:
        """Coordinate reference system as it was understood."""
        return pyproj.CRS.from_user_input(
            str(understand_grid(metadata_only(self._cube)).geobox.crs)
        )

    @property
    def s2_dates(self) -> npt.NDArray[np.int64]:
        """Day of the year of each date, (T,), 0 on 1 January to 364 on 31 December."""
        return np.array(understand(metadata_only(self._cube)).spec.day_of_year)

    @property
    def bands(self) -> dict[str, Hashable]:
        """The cube's label of each of AnySat's ten bands."""
        spec = understand(metadata_only(self._cube), dated=False).spec
        return dict(zip(BANDS, spec.band_labels, strict=True))


def _method_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Give the signature of a function whose first parameter is the accessor's cube."""
    signature = inspect.signature(function)
    _, *rest = signature.parameters.values()
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[first, *rest])


# What editors and help() show, instead of `**options`.
setattr(AnySatAccessor.embed, "__signature__", _method_signature(embed))  # noqa: B010
setattr(AnySatAccessor.explore, "__signature__", _method_signature(explore))  # noqa: B010
setattr(AnySatAccessor.plot, "__signature__", _method_signature(plot))  # noqa: B010
setattr(AnySatAccessor.quicklook, "__signature__", _method_signature(quicklook))  # noqa: B010
setattr(AnySatAccessor.tiles, "__signature__", _method_signature(tiles))  # noqa: B010
setattr(AnySatAccessor.to_raster, "__signature__", _method_signature(to_raster))  # noqa: B010
setattr(AnySatAccessor.to_zarr, "__signature__", _method_signature(to_zarr))  # noqa: B010
