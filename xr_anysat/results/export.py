"""Vectors of geometries for other programs: as tables, and in files that cannot hold geometries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401  registers `.rio`
import shapely
import xarray as xr
from pyproj import CRS

from xr_anysat.errors import OptionError
from xr_anysat.findings import Call, SetOption
from xr_anysat.keywords import suggests_keywords
from xr_anysat.settings import require

from .raster import check_array, plain_value

if TYPE_CHECKING:
    import geopandas

__all__ = ["decode_geometry", "encode_geometry", "to_geodataframe"]


@suggests_keywords()
def to_geodataframe(
    embedding: xr.DataArray, *, column: str = "embedding"
) -> "geopandas.GeoDataFrame":
    """Convert the vectors of geometries to a table: a row for each, with its vector in one column.

    Lazy vectors are computed, with dask's current scheduler. ``frame.to_parquet(path)`` writes
    GeoParquet (with pyarrow), in which vectors are lists of floats, and
    ``numpy.stack(frame["embedding"])`` gives an array (geometry, feature).

    Parameters
    ----------
    embedding : xarray.DataArray
        (geometry, feature), of ``embed(mode="pooled", geometry=...)``, or as read from a file.
    column : str
        Name of the column of vectors. Each is an ndarray (feature,) of the embedding's dtype.

    Returns
    -------
    geopandas.GeoDataFrame
        With the cube's CRS, a column for each coordinate along the geometries (their own index
        and columns), and the embedding's attributes in ``attrs``.

    Raises
    ------
    OptionError
        If these are not vectors of geometries.
    MissingExtraError
        Without geopandas.
    """
    geopandas = require("geopandas", "vector", "to_geodataframe()")
    embedding = decode_geometry(embedding)
    others = [dim for dim in embedding.dims if dim != "geometry"]
    if len(others) != 1:
        raise OptionError("table.dims", Call("embedding.isel(time=0)"), dims=embedding.dims)
    values = embedding.transpose("geometry", ...).values
    columns = {
        str(name): coord.values
        for name, coord in embedding.coords.items()
        if coord.dims == ("geometry",) and name != "geometry"
    }
    if column in columns:
        raise OptionError("table.column", SetOption("column"), column=column)
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
    """CRS by its code, if it has one."""
    if embedding.rio.crs is None:
        return None
    crs = CRS.from_user_input(embedding.rio.crs)
    code = crs.to_authority(min_confidence=100)
    return CRS.from_authority(*code) if code else crs


def encode_geometry(embedding: xr.DataArray) -> xr.DataArray:
    """Convert the geometries of vectors to text (WKT), which every file format can hold.

    ``encode_geometry(vectors).to_zarr(path)``, or ``.to_netcdf(path)``; `decode_geometry` converts
    them back without loss. Nothing is computed.

    Parameters
    ----------
    embedding : xarray.DataArray
        With a coordinate ``geometry`` of shapely objects.

    Raises
    ------
    OptionError
        If there is no such coordinate.
    """
    shapes = _geometries(embedding)
    if not shapely.is_geometry(shapes).all():
        return embedding
    text = np.asarray(shapely.to_wkt(shapes, rounding_precision=-1), dtype=object)
    return _with_geometry(embedding, text, {"geometry_encoding": "WKT"})


def decode_geometry(embedding: xr.DataArray) -> xr.DataArray:
    """Convert the geometries of vectors back to shapely objects: see `encode_geometry`.

    Raises
    ------
    OptionError
        If there are none, or they are text that is not WKT.
    """
    shapes = _geometries(embedding)
    if shapely.is_geometry(shapes).all():
        return embedding
    try:
        decoded = shapely.from_wkt(shapes)
    except (TypeError, shapely.errors.GEOSException) as error:
        raise OptionError("geometry.no-wkt", reason=str(error)) from None
    return _with_geometry(embedding, decoded, {})


def _geometries(embedding: xr.DataArray) -> npt.NDArray[Any]:
    check_array(embedding)
    if "geometry" not in embedding.coords or embedding["geometry"].dims != ("geometry",):
        raise OptionError(
            "geometry.no-coordinate",
            Call('embed(mode="pooled", geometry=...)'),
            coordinates=sorted(map(str, embedding.coords)),
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
