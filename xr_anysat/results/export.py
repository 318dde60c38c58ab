"""Vectors of geometries for other programs: as tables, and in files that hold no geometries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401  registers `.rio`
import shapely
import xarray as xr
from pyproj import CRS

from xr_anysat.errors import OptionError
from xr_anysat.settings import require

from .raster import check_array, plain_value

if TYPE_CHECKING:
    import geopandas

__all__ = ["decode_geometry", "encode_geometry", "to_geodataframe"]


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
    frame.attrs = {str(name): plain_value(value) for name, value in embedding.attrs.items()}
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
    check_array(embedding)
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
