"""Maps as rasters for other programs, their bands described."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # of GDAL's errors there is no public name
from rasterio.errors import DriverRegistrationError, RasterioError
from rioxarray.exceptions import RioXarrayError

from xr_anysat.errors import OptionError, StoreError
from xr_anysat.targets import check_target, file_beside

__all__ = ["check_array", "plain_value", "to_raster"]

BLOCK_BYTES = 32 * 2**20
"""Largest block of a GeoTIFF that holds all bands of its pixels: readers hold some at once."""

PREDICTED = ("deflate", "lzma", "lzw", "zstd")
"""Compressions that a predictor helps."""

TRIED = 16
"""Rows, columns and, at the most, bands of the file that tells whether GDAL takes the options."""

Errors = (RasterioError, RioXarrayError, CPLE_BaseError, DriverRegistrationError, SystemError)
"""SystemError is rasterio's where GDAL gives no reason."""


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
    way the map runs. Overviews of a COG are averages, or of classes (``flag_values``) the most
    frequent.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) in any order, or (y, x) as `cluster` and `similarity` give it; float32 or
        another type that GDAL knows; or a part of it. Without coordinates x and y, the transform
        of its ``spatial_ref`` counts. A declared nodata value is kept.
    path : str or path-like
        Of the file, on a local disk.
    driver : str
        GDAL's name of a format of one file that can be copied to: "COG", "GTiff".
    compress : str
        As the driver calls it.
    **options
        Other creation options of the driver, such as ``blocksize=256``.

    Raises
    ------
    OptionError
        For what is not a map or has no place, for float16 where GDAL does not know it, and for a
        driver or options that GDAL does not take, all before anything is computed.
    StoreError
        Where the folder is not there, `path` is one, or GDAL fails to write.
    """
    map_ = _banded(embedding)
    if not rasterio.dtypes.check_dtype(map_.dtype):
        raise OptionError(
            f"GDAL {rasterio.__gdal_version__} writes no {map_.dtype}; write "
            'embedding.astype("float32"), or a Zarr store: embedding.to_zarr().'
        )
    bands = [str(embedding.name or "map")] if embedding.ndim == 2 else _descriptions(map_)
    tags = {name: _tag(value) for name, value in map_.attrs.items()}
    described = _north_up(map_).assign_attrs(tags, long_name=tuple(bands))
    if described.dtype.kind == "f":
        described = described.rio.write_nodata(np.nan, encoded=True)
    wanted = {**_creation(described, driver, compress), **options}
    target = check_target(Path(path))
    with file_beside(target) as final:
        _rehearse(described, final.parent, driver, wanted)
        plain = final.with_name("plain.tif")
        try:
            described.rio.to_raster(
                plain, driver="GTiff", tiled=True, interleave="band", bigtiff="if_safer", lock=True
            )
            rasterio.shutil.copy(plain, final, driver=driver, **wanted)
        except Errors as error:
            raise StoreError(f"{target} could not be written: {error}") from error


def check_array(embedding: Any) -> None:
    """Refuse what is no DataArray.

    Raises
    ------
    OptionError
        For anything else.
    """
    if not isinstance(embedding, xr.DataArray):
        raise OptionError(
            f"this is a {type(embedding).__name__}; take the map: dataset['embedding']."
        )


def _banded(embedding: xr.DataArray) -> xr.DataArray:
    """Bring a map to (band, y, x)."""
    check_array(embedding)
    others = [dim for dim in embedding.dims if dim not in ("y", "x")]
    if len(others) > 1 or embedding.ndim != len(others) + 2:
        raise OptionError(
            f"a raster holds a map, (feature, y, x) or (y, x), not {embedding.dims}; choose one of "
            "the rest, as in embedding.isel(time=0), and write vectors with to_geodataframe()."
        )
    map_ = embedding if others else embedding.expand_dims("band")
    return map_.transpose(..., "y", "x")


def _north_up(map_: xr.DataArray) -> xr.DataArray:
    bare = [dim for dim in ("y", "x") if dim not in map_.coords]
    if bare:
        return _north_up_by_transform(map_, bare)
    turn = {
        dim: slice(None, None, -1)
        for dim, sign in (("y", 1), ("x", -1))
        if map_.sizes[dim] > 1 and sign * float(map_[dim][1] - map_[dim][0]) > 0
    }
    if not turn:
        return map_
    map_ = map_.isel(turn)
    return map_.rio.write_transform(map_.rio.transform(recalc=True))


def _north_up_by_transform(map_: xr.DataArray, bare: list[str]) -> xr.DataArray:
    transform = map_.rio.transform()
    if len(bare) == 1 or transform.is_identity:
        raise OptionError(
            f"the map has no coordinates {bare}, and nothing else that tells its place; give it "
            "both, embedding.assign_coords(y=..., x=...), or embedding.rio.write_transform(...)."
        )
    box = GeoBox((map_.sizes["y"], map_.sizes["x"]), transform, None)
    if transform.e > 0:
        map_, box = map_.isel(y=slice(None, None, -1)), box.flipy()
    if transform.a < 0:
        map_, box = map_.isel(x=slice(None, None, -1)), box.flipx()
    return map_.rio.write_transform(box.affine)


def _descriptions(map_: xr.DataArray) -> list[str]:
    """Name of each band: what it describes, and its feature."""
    band = map_.dims[0]
    labels = map_[band].values.tolist()
    if all(isinstance(label, int) for label in labels):
        width = max(4, len(str(max(labels, default=0))))
        labels = [f"{label:0{width}d}" for label in labels]
    parts = [str(band)] * len(labels)
    if "part" in map_.coords:
        parts = np.broadcast_to(map_["part"].values, len(labels)).tolist()
    return [f"{part} {label}" for part, label in zip(parts, labels, strict=True)]


def _creation(map_: xr.DataArray, driver: str, compress: str) -> dict[str, Any]:
    """Creation options that suit many bands."""
    for name, value in (("driver", driver), ("compress", compress)):
        if not isinstance(value, str):
            raise OptionError(f"{name}={value!r} is no name that GDAL knows; give a text.")
    options: dict[str, Any] = {"compress": compress, "bigtiff": "if_safer"}
    predicted = compress.lower() in PREDICTED
    if driver.upper() == "COG":
        size, pixel = 512, map_.shape[0] * map_.dtype.itemsize  # bands of a pixel lie together
        while size > 64 and size * size * pixel > BLOCK_BYTES:
            size //= 2
        kind = "mode" if "flag_values" in map_.attrs else "average"
        options |= {"blocksize": size, "overview_resampling": kind}
        if predicted:
            options["predictor"] = "yes"
    elif driver.upper() == "GTIFF":
        options |= {"tiled": True, "interleave": "band"}
        if predicted:
            options["predictor"] = 3 if map_.dtype.kind == "f" else 2
    return options


def _rehearse(map_: xr.DataArray, folder: Path, driver: str, options: dict[str, Any]) -> None:
    """Find out whether GDAL takes the driver and its options, before anything is computed."""
    bands = min(len(map_), TRIED)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        plain, tried = Path(folder, "tried.tif"), Path(made, "tried")
        try:
            with rasterio.open(
                plain, "w", driver="GTiff", width=TRIED, height=TRIED, count=bands,
                dtype=map_.dtype, crs=map_.rio.crs, transform=map_.rio.transform(),
            ):  # fmt: skip
                pass
            rasterio.shutil.copy(plain, tried, driver=driver, **options)
            plain.unlink()
            with rasterio.open(tried) as file:  # of a VRT, nothing is left
                file.read(1)
        except Errors as error:
            raise OptionError(
                f"GDAL {rasterio.__gdal_version__} makes no file of {map_.dtype} with "
                f'driver={driver!r} and {options}: {error}. driver="GTiff" takes every map.'
            ) from error
        several = sorted(each.name for each in Path(made).iterdir() if each != tried)
        if several:
            raise OptionError(
                f"driver={driver!r} makes several files, {several} besides; write a GeoTIFF, and "
                "copy that: rasterio.shutil.copy(...)."
            )


def _tag(value: Any) -> Any:
    """Give an attribute as a tag holds it: lists as JSON."""
    plain = plain_value(value)
    return json.dumps(plain) if isinstance(plain, list) else plain


def plain_value(value: Any) -> Any:
    """Numbers and lists as JSON knows them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
