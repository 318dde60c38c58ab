"""`.anysat` on DataArray and Dataset: signatures written out, delegates.

An accessor has methods for cubes and methods for embeddings. A DataArray may be either, and says
so where a method does not fit; a Dataset, with one variable per band, can only be a cube.
"""

import os
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyproj
import xarray as xr

from .cube.canonical import Cube, understand, understand_grid
from .cube.metadata_only import metadata_only
from .embed import embed
from .errors import CubeError, OptionError
from .findings import Call
from .job.model import Model
from .job.options import Mode
from .keywords import suggests_keywords
from .pictures.cells import as_embedding, is_embedding, not_an_embedding
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
from .stores.packing import Quantize, Reduce
from .stores.regions import Regions
from .stores.report import StoreReport
from .stores.store import to_zarr

__all__ = ["AnySatAccessor", "AnySatDatasetAccessor", "CubeMethods", "EmbeddingMethods"]


def _public(methods: type) -> list[str]:
    return [name for name, each in vars(methods).items() if callable(each) and name[0] != "_"]


class _Methods:
    """What all accessors have in common."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __init_subclass__(cls) -> None:
        for name in _public(cls):
            setattr(cls, name, suggests_keywords()(vars(cls)[name]))


class CubeMethods(_Methods):
    """Methods for a Sentinel-2 cube."""

    def embed(
        self, mode: Mode = "grid", *,
        patch_size: float | None = None, tile_size: int = 64, overlap: float = 0.5,
        input_prep: Literal["tile", "resize"] = "tile", image_size: int = 24,
        frames: int | None = None, period: tuple[Any, Any] | None = None,
        frame_date: Literal["middle", "mean"] = "middle",
        normalize: str | xr.Dataset = "zscore", mask: xr.DataArray | None = None,
        dates: Any = None, bands: Mapping[str, Hashable] | None = None,
        pooling: Literal["mean", "max"] = "mean", pool_from: Literal["patch", "tile"] = "patch",
        geometry: Any = None, geometry_crs: Any = None, outside: Literal["raise", "nan"] = "raise",
        model: str | Model = "base", dtype: Literal["float32", "float16"] = "float32",
        progress: bool | None = None,
    ) -> xr.DataArray:  # fmt: skip
        """Embed the cube: see :func:`xr_anysat.embed`.

        Does not resample, reproject, harmonise or mask clouds; a dask cube is not computed.
        """
        return embed(self._cube(), **_arguments(locals()))

    def to_zarr(
        self, store: Any, mode: Mode = "grid", *,
        quantize: Quantize | None = None, reduce: Reduce | None = None,
        resume: bool = True, overwrite: bool = False, retries: int = 2,
        on_error: Literal["raise", "skip"] = "raise", regions: Regions | None = None,
        progress: bool | None = None, storage_options: dict[str, Any] | None = None,
        patch_size: float | None = None, tile_size: int = 64, overlap: float = 0.5,
        input_prep: Literal["tile", "resize"] = "tile", image_size: int = 24,
        frames: int | None = None, period: tuple[Any, Any] | None = None,
        frame_date: Literal["middle", "mean"] = "middle",
        normalize: str | xr.Dataset = "zscore", mask: xr.DataArray | None = None,
        dates: Any = None, bands: Mapping[str, Hashable] | None = None,
        pooling: Literal["mean", "max"] = "mean", pool_from: Literal["patch", "tile"] = "patch",
        geometry: Any = None, geometry_crs: Any = None, outside: Literal["raise", "nan"] = "raise",
        model: str | Model = "base", dtype: Literal["float32", "float16"] = "float32",
    ) -> StoreReport:  # fmt: skip
        """Embed the cube into a Zarr store, region by region: see :func:`xr_anysat.to_zarr`.

        The same call again goes on where an earlier one ended; nothing is deleted unasked.
        """
        return to_zarr(self._cube(), **_arguments(locals()))

    def plan(
        self, mode: str = "grid", *,
        quantize: Quantize | None = None, reduce: Reduce | None = None,
        threads: int | None = None, calibrate: bool = False,
        patch_size: float | None = None, tile_size: int = 64, overlap: float = 0.5,
        input_prep: Literal["tile", "resize"] = "tile", image_size: int = 24,
        frames: int | None = None, period: tuple[Any, Any] | None = None,
        frame_date: Literal["middle", "mean"] = "middle",
        normalize: str | xr.Dataset = "zscore", mask: xr.DataArray | None = None,
        dates: Any = None, bands: Mapping[str, Hashable] | None = None,
        pooling: Literal["mean", "max"] = "mean", pool_from: Literal["patch", "tile"] = "patch",
        geometry: Any = None, geometry_crs: Any = None, outside: Literal["raise", "nan"] = "raise",
        model: str | Model = "base", dtype: Literal["float32", "float16"] = "float32",
        progress: bool | None = None,
    ) -> Plan:  # fmt: skip
        """Say what `embed` will take with the same arguments: see :func:`xr_anysat.plan`.

        Reads no pixels, and computes nothing but with ``calibrate=True``.
        """
        return plan(self._cube(), **_arguments(locals()))

    def check(
        self, mode: str = "grid", *, sample: bool = False,
        patch_size: float | None = None, tile_size: int = 64, overlap: float = 0.5,
        input_prep: Literal["tile", "resize"] = "tile", image_size: int = 24,
        frames: int | None = None, period: tuple[Any, Any] | None = None,
        frame_date: Literal["middle", "mean"] = "middle",
        normalize: str | xr.Dataset = "zscore", mask: xr.DataArray | None = None,
        dates: Any = None, bands: Mapping[str, Hashable] | None = None,
        pooling: Literal["mean", "max"] = "mean", pool_from: Literal["patch", "tile"] = "patch",
        geometry: Any = None, geometry_crs: Any = None, outside: Literal["raise", "nan"] = "raise",
        model: str | Model = "base", dtype: Literal["float32", "float16"] = "float32",
        progress: bool | None = None,
    ) -> Check:  # fmt: skip
        """Say what is understood, wrong and doubtful: see :func:`xr_anysat.check`.

        Reads no pixels but with ``sample=True``; raises nothing for the faults of the cube.
        """
        return check(self._obj, **_arguments(locals()))

    def tiles(
        self, *,
        patch_size: float | None = None, tile_size: int = 64, overlap: float = 0.5,
        input_prep: Literal["tile", "resize"] = "tile", image_size: int = 24,
        bands: Mapping[str, Hashable] | None = None, as_frame: bool | None = None,
    ) -> Any:  # fmt: skip
        """Footprints of the tiles that `embed` lays: see :func:`xr_anysat.tiles`.

        A GeoDataFrame where geopandas is installed, else a list of polygons; `as_frame` decides.
        """
        return tiles(self._cube(), **_arguments(locals()))

    def band_stats(
        self, *, sample: float | None = None, mask: xr.DataArray | None = None,
        bands: Mapping[str, Hashable] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        """Mean and deviation of each band: see :func:`xr_anysat.band_stats`.

        Lazy where the cube is.
        """
        return band_stats(self._cube(), sample=sample, mask=mask, bands=bands)

    def valid_dates(
        self, *, mask: xr.DataArray | None = None, bands: Mapping[str, Hashable] | None = None
    ) -> xr.DataArray:
        """Count the valid dates of each pixel, (y, x): see :func:`xr_anysat.valid_dates`.

        Lazy where the cube is; no network is needed.
        """
        return valid_dates(self._cube(), mask=mask, bands=bands)

    def quicklook(
        self, *, size: int = 512, most_dates: int = 48, mask: xr.DataArray | None = None,
        bands: Mapping[str, Hashable] | None = None, clip: tuple[float, float] = (2, 98),
    ) -> xr.DataArray:  # fmt: skip
        """Show a cube in true colour, small: see :func:`xr_anysat.quicklook`.

        Lazy where the cube is.
        """
        return quicklook(self._cube(), **_arguments(locals()))

    @property
    def gsd(self) -> float:
        """Ground sample distance in metres: the pixel size as AnySat is told it."""
        return float(understand_grid(metadata_only(self._obj)).gsd)

    @property
    def crs(self) -> pyproj.CRS:
        """Coordinate reference system as it was understood."""
        return pyproj.CRS.from_user_input(str(understand_grid(metadata_only(self._obj)).geobox.crs))

    @property
    def s2_dates(self) -> npt.NDArray[np.int64]:
        """Day of the year of each date, (T,), 0 on 1 January to 364 on 31 December."""
        return np.array(understand(metadata_only(self._cube())).spec.day_of_year)

    @property
    def bands(self) -> dict[str, Hashable]:
        """The cube's label of each of AnySat's ten bands."""
        spec = understand(metadata_only(self._cube()), dated=False).spec
        return dict(zip(spec.sensor.band_names, spec.band_labels, strict=True))

    def _cube(self) -> Cube:
        """Give the cube, or say what the object is instead."""
        if not is_embedding(self._obj):
            cube: Cube = self._obj
            return cube
        call, dims = Call("embedding.to_zarr(store)"), list(self._obj.dims)
        methods = _public(EmbeddingMethods)
        raise CubeError("cube.embedding/methods", call, dims=dims, methods=methods)


class EmbeddingMethods(_Methods):
    """Methods for an embedding, and for what was made of one."""

    def pca_fit(self, components: int = 3) -> xr.Dataset:
        """Fit principal components to an embedding: see :func:`xr_anysat.pca_fit`.

        Lazy where the embedding is.
        """
        return pca_fit(self._embedding("pca_fit()"), components)

    def pca_rgb(
        self, components: int = 3, fit: xr.Dataset | None = None,
        clip: tuple[float, float] = (2, 98),
    ) -> xr.DataArray:  # fmt: skip
        """Show an embedding by its first components: see :func:`xr_anysat.pca_rgb`.

        Lazy where the embedding is.
        """
        return pca_rgb(self._embedding("pca_rgb()"), components, fit, clip)

    def similarity(self, target: Any, *, crs: Any = None) -> xr.DataArray:
        """Compare an embedding with one vector: see :func:`xr_anysat.similarity`.

        Lazy where the embedding is.
        """
        return similarity(self._embedding("similarity(point)"), target, crs=crs)

    def cluster_fit(self, n: int, *, seed: int = 0) -> xr.Dataset:
        """Find clusters of an embedding: see :func:`xr_anysat.cluster_fit`.

        Lazy where the embedding is.
        """
        return cluster_fit(self._embedding("cluster_fit(n)"), n, seed=seed)

    def cluster(
        self, n: int | None = None, *, fit: xr.Dataset | None = None, seed: int = 0
    ) -> xr.DataArray:
        """Map clusters of an embedding: see :func:`xr_anysat.cluster`.

        Lazy where the embedding is.
        """
        return cluster(self._embedding("cluster(n)"), n, fit=fit, seed=seed)

    def plot(
        self, cube: Cube | None = None, *,
        fit: xr.Dataset | None = None, clip: tuple[float, float] = (2, 98),
        title: str | None = None, caption: str = "", figure: Any = None,
    ) -> npt.NDArray[Any]:  # fmt: skip
        """Draw an embedding or what was made of it: see :func:`xr_anysat.plot`.

        Computes what is lazy.
        """
        return plot(self._obj, **_arguments(locals()))

    def explore(
        self, cube: Cube | None = None, *,
        size: int = 128, fit: xr.Dataset | None = None, clip: tuple[float, float] = (2, 98),
    ) -> Explorer:  # fmt: skip
        """Make an interactive view of an embedding: see :func:`xr_anysat.explore`.

        Computes what is lazy.
        """
        return explore(self._embedding("explore()"), cube, size=size, fit=fit, clip=clip)

    def to_raster(
        self, path: str | os.PathLike[str], *,
        driver: str = "COG", compress: str | None = None, **options: Any,
    ) -> None:  # fmt: skip
        """Write a map as a COG with described bands: see :func:`xr_anysat.to_raster`.

        Computes a lazy map; does not reproject.
        """
        to_raster(self._obj, path, driver=driver, compress=compress, **options)

    def to_geodataframe(self, *, column: str = "embedding") -> Any:
        """Give the vectors of geometries as a table: see :func:`xr_anysat.to_geodataframe`.

        Computes lazy vectors.
        """
        return to_geodataframe(self._obj, column=column)

    def encode_geometry(self) -> xr.DataArray:
        """Give geometries as text, for Zarr and NetCDF: see :func:`xr_anysat.encode_geometry`."""
        return encode_geometry(self._obj)

    def decode_geometry(self) -> xr.DataArray:
        """Give text as geometries again: see :func:`xr_anysat.decode_geometry`."""
        return decode_geometry(self._obj)

    def _embedding(self, call: str) -> xr.DataArray:
        """Give the embedding, or say what the object is instead."""
        return as_embedding(self._obj, call, _public(CubeMethods))


@xr.register_dataarray_accessor("anysat")
class AnySatAccessor(CubeMethods, EmbeddingMethods):
    """AnySat embeddings of a Sentinel-2 cube, or what is made of them.

    Reached as ``cube.anysat`` or ``embedding.anysat`` on a DataArray.
    """


@xr.register_dataset_accessor("anysat")
class AnySatDatasetAccessor(CubeMethods):
    """AnySat embeddings of a Sentinel-2 cube.

    Reached as ``cube.anysat`` on a Dataset with one variable per band.
    """

    def __getattr__(self, name: str) -> Any:
        if name in _public(EmbeddingMethods):
            methods = _public(CubeMethods)
            raise _NoMethodError(not_an_embedding(self._obj, f"{name}()", methods))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class _NoMethodError(OptionError, AttributeError):
    """A Dataset does not have a method; `hasattr` says so too."""


def _arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a method, which are all of its local variables at first."""
    return {name: value for name, value in values.items() if name != "self"}
