"""Embeddings for other programs: rasters with described bands, tables of vectors."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  registers `.rio`
import shapely
import xarray as xr
from pyproj import CRS

from .errors import OptionError, StoreError
from .extras import require

if TYPE_CHECKING:
    import geopandas

__all__ = ["decode_geometry", "encode_geometry", "to_geodataframe", "to_raster"]

BLOCK_BYTES = 32 * 2**20
"""Largest block of a GeoTIFF that holds all bands of its pixels: readers hold some at once."""

PREDICTED = ("deflate", "lzma", "lzw", "zstd")
"""Compressions that a predictor helps."""


def to_raster(
    embedding: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    driver: str = "COG",
    compress: str = "deflate",
    **options: Any,
) -> None:
    """Write a map to a raster file, its bands described and what made it in its tags.

    A lazy map is computed chunk by chunk, with dask's scheduler in force, into an uncompressed
    file beside `path`, which GDAL then copies; so the disk has to hold the map twice. The file
    appears when it is complete, in place of an earlier one. Rows run from north to south whatever
    way the map runs. Overviews of a COG are averages.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) in any order, float32 or another type that GDAL knows; as `embed` gives
        it, or a part of it.
    path : str or path-like
        Of the file, on a local disk.
    driver : str
        GDAL's name of a format that can be copied to: "COG", "GTiff".
    compress : str
        As the driver calls it.
    **options
        Other creation options of the driver, such as ``blocksize=256``.

    Raises
    ------
    OptionError
        For what is not a map, and for float16 where GDAL does not know it.
    StoreError
        Where the folder is not there.
    """
    band = _band_dim(embedding)
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise StoreError(f"{target.parent} is no folder; make it first: mkdir(parents=True).")
    if not rasterio.dtypes.check_dtype(embedding.dtype):
        raise OptionError(
            f"GDAL {rasterio.__gdal_version__} writes no {embedding.dtype}; write "
            'embedding.astype("float32"), or a Zarr store: embedding.to_zarr().'
        )
    described = _north_up(embedding.transpose(band, "y", "x")).assign_attrs(
        {name: _tag(value) for name, value in embedding.attrs.items()},
        long_name=tuple(_descriptions(embedding, band)),
    )
    if described.dtype.kind == "f":
        described = described.rio.write_nodata(np.nan, encoded=True)
    wanted = {**_creation(described, driver, compress), **options}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        plain, final = Path(folder, "plain.tif"), Path(folder, target.name)
        described.rio.to_raster(
            plain, driver="GTiff", tiled=True, interleave="band", bigtiff="if_safer", lock=True
        )
        rasterio.shutil.copy(plain, final, driver=driver, **wanted)
        final.replace(target)


def _check_array(embedding: Any) -> None:
    if not isinstance(embedding, xr.DataArray):
        raise OptionError(
            f"this is a {type(embedding).__name__}; take the map: dataset['embedding']."
        )


def _band_dim(embedding: xr.DataArray) -> Any:
    _check_array(embedding)
    others = [dim for dim in embedding.dims if dim not in ("y", "x")]
    if len(others) != 1 or embedding.ndim != 3:
        raise OptionError(
            f"a raster holds a map, (feature, y, x), not {embedding.dims}; choose one of the rest, "
            "as in embedding.isel(time=0), and write vectors with to_geodataframe()."
        )
    return others[0]


def _north_up(map_: xr.DataArray) -> xr.DataArray:
    turn = {
        dim: slice(None, None, -1)
        for dim, sign in (("y", 1), ("x", -1))
        if map_.sizes[dim] > 1 and sign * float(map_[dim][1] - map_[dim][0]) > 0
    }
    if not turn:
        return map_
    map_ = map_.isel(turn)
    return map_.rio.write_transform(map_.rio.transform(recalc=True))


def _descriptions(embedding: xr.DataArray, band: Any) -> list[str]:
    """Name of each band: what it describes, and its feature."""
    labels = embedding[band].values.tolist()
    if all(isinstance(label, int) for label in labels):
        width = max(4, len(str(max(labels, default=0))))
        labels = [f"{label:0{width}d}" for label in labels]
    parts = [str(band)] * len(labels)
    if "part" in embedding.coords:
        parts = np.broadcast_to(embedding["part"].values, len(labels)).tolist()
    return [f"{part} {label}" for part, label in zip(parts, labels, strict=True)]


def _creation(map_: xr.DataArray, driver: str, compress: str) -> dict[str, Any]:
    """Creation options that suit many bands."""
    options: dict[str, Any] = {"compress": compress, "bigtiff": "if_safer"}
    predicted = compress.lower() in PREDICTED
    if driver.upper() == "COG":
        size, pixel = 512, map_.shape[0] * map_.dtype.itemsize  # bands of a pixel lie together
        while size > 64 and size * size * pixel > BLOCK_BYTES:
            size //= 2
        options |= {"blocksize": size, "overview_resampling": "average"}
        if predicted:
            options["predictor"] = "yes"
    elif driver.upper() == "GTIFF":
        options |= {"tiled": True, "interleave": "band"}
        if predicted:
            options["predictor"] = 3 if map_.dtype.kind == "f" else 2
    return options


def _tag(value: Any) -> Any:
    """Give an attribute as a tag holds it: lists as JSON."""
    plain = _plain(value)
    return json.dumps(plain) if isinstance(plain, list) else plain


def _plain(value: Any) -> Any:
    """Numbers and lists as JSON knows them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def to_geodataframe(
    embedding: xr.DataArray, *, column: str = "embedding"
) -> "geopandas.GeoDataFrame":
    """Give the vectors of geometries as a table: a row for each, its vector in one column.

    Lazy vectors are computed, with dask's scheduler in force. ``frame.to_parquet(path)`` makes
    GeoParquet of it (with pyarrow), in which vectors are lists of floats, and
    ``numpy.stack(frame["embedding"])`` an array (geometry, feature).

    Parameters
    ----------
    embedding : xarray.DataArray
        (geometry, feature), of ``embed(mode="pooled", geometry=...)``, or as read from a file.
    column : str
        Name of the column of vectors, each an ndarray (feature,) of the embedding's type.

    Returns
    -------
    geopandas.GeoDataFrame
        With the cube's CRS, a column for each coordinate along the geometries (the index and the
        columns that they came with), and the embedding's attributes in ``attrs``.

    Raises
    ------
    OptionError
        For vectors of anything but geometries.
    MissingExtraError
        Without geopandas.
    """
    geopandas = require("geopandas", "vector", "to_geodataframe()")
    embedding = decode_geometry(embedding)
    others = [dim for dim in embedding.dims if dim != "geometry"]
    if len(others) != 1:
        raise OptionError(
            f"a table holds vectors of geometries, (geometry, feature), not {embedding.dims}; "
            "choose one of the rest, as in embedding.isel(time=0)."
        )
    values = embedding.transpose("geometry", ...).values
    columns = {
        str(name): coord.values
        for name, coord in embedding.coords.items()
        if coord.dims == ("geometry",) and name != "geometry"
    }
    if column in columns:
        raise OptionError(f"there is a column {column!r} already; give another: column=...")
    vectors = np.empty(len(values), dtype=object)
    for row, vector in enumerate(values):
        vectors[row] = vector
    frame = geopandas.GeoDataFrame(
        {**columns, column: vectors},
        geometry=embedding["geometry"].values,
        crs=_crs(embedding),
    )
    frame.attrs = {str(name): _plain(value) for name, value in embedding.attrs.items()}
    return frame


def _crs(embedding: xr.DataArray) -> CRS | None:
    """CRS by its code where it has one."""
    if embedding.rio.crs is None:
        return None
    found = CRS.from_user_input(embedding.rio.crs)
    code = found.to_authority(min_confidence=100)
    return CRS.from_authority(*code) if code else found


def encode_geometry(embedding: xr.DataArray) -> xr.DataArray:
    """Give the geometries of vectors as text (WKT), which every file format can hold.

    ``encode_geometry(vectors).to_zarr(path)``, or ``.to_netcdf(path)``; `decode_geometry` is the
    way back, and loses nothing. Computes nothing.

    Parameters
    ----------
    embedding : xarray.DataArray
        With a coordinate ``geometry`` of shapely objects.

    Raises
    ------
    OptionError
        Where there is none.
    """
    shapes = _geometries(embedding)
    if not shapely.is_geometry(shapes).all():
        return embedding
    text = np.asarray(shapely.to_wkt(shapes, rounding_precision=-1), dtype=object)
    return _with_geometry(embedding, text, {"geometry_encoding": "WKT"})


def decode_geometry(embedding: xr.DataArray) -> xr.DataArray:
    """Give the geometries of vectors as shapely objects again: see `encode_geometry`.

    Raises
    ------
    OptionError
        Where there are none, or text that is not WKT.
    """
    shapes = _geometries(embedding)
    if shapely.is_geometry(shapes).all():
        return embedding
    try:
        found = shapely.from_wkt(shapes)
    except (TypeError, shapely.errors.GEOSException) as error:
        raise OptionError(
            f"the coordinate `geometry` holds neither shapely objects nor WKT: {error}"
        ) from None
    return _with_geometry(embedding, found, {})


def _geometries(embedding: xr.DataArray) -> npt.NDArray[Any]:
    _check_array(embedding)
    if "geometry" not in embedding.coords or embedding["geometry"].dims != ("geometry",):
        raise OptionError(
            f"there is no coordinate `geometry` among {sorted(map(str, embedding.coords))}; "
            'vectors of geometries come from embed(mode="pooled", geometry=...).'
        )
    return embedding["geometry"].values.astype(object)


def _with_geometry(
    embedding: xr.DataArray, values: npt.NDArray[Any], attrs: Mapping[str, str]
) -> xr.DataArray:
    result = embedding.drop_vars("geometry").assign_coords(geometry=("geometry", values, attrs))
    result.encoding = dict(embedding.encoding)
    extra = [str(name) for name, coord in result.coords.items() if name not in coord.dims]
    if "coordinates" in result.encoding:
        result.encoding["coordinates"] = " ".join(extra)
    return result
