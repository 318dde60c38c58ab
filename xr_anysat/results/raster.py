"""Maps as rasters for other programs, with described bands.

GDAL writes them: odc-geo's writers of COGs hold the whole map in memory or need tifffile, describe
no bands, and know one driver.
"""

import json
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rioxarray.exceptions import RioXarrayError

from xr_anysat.atomic import atomic_replace, check_target
from xr_anysat.errors import OptionError, StoreError
from xr_anysat.findings import Call, SetOption
from xr_anysat.job.options import check_whole

__all__ = ["check_array", "plain_value", "to_raster"]

BLOCK_BYTES = 32 * 2**20
"""Largest block of a GeoTIFF that holds all bands of its pixels: readers hold several at once."""

GEOTIFFS = ("COG", "GTIFF")

BLOCKS, SIDES = ("blocksize", "blockxsize", "blockysize"), (16, 8192)
"""Options for the pixels of a tile, and their range. It is checked here because GDAL's COG driver
ends the process for sizes below 1 and for text. It also warns of sizes below 128, which maps of
many bands need."""

OVERVIEWS = {"overviews", "overview_count", "overview_resampling"}
"""Options of the COG driver with which overviews are left to it."""

TRIAL_SIZE = 16
"""Rows, columns and bands, at most, of the file that is written on trial."""

Errors = (RasterioError, RioXarrayError, SystemError)
"""SystemError is rasterio's where GDAL gives no reason."""


def to_raster(
    embedding: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    driver: str = "COG",
    compress: str | None = None,
    **options: Any,
) -> None:
    """Write a map to a raster file, with described bands and the map's attributes as tags.

    A lazy map is computed chunk by chunk, with dask's current scheduler, into an uncompressed
    file beside `path`, which GDAL then copies; so the disk has to hold the map twice. The file
    appears when it is complete, and replaces an earlier one. Rows run from north to south, however
    the map runs. Overviews of a COG are averages, or for classes (``flag_values``) the most
    frequent one.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x) in any order, or (y, x) as `cluster` and `similarity` return; float32 or
        another type that GDAL knows. It may be a part of a map. Without coordinates x and y, the
        transform of its ``spatial_ref`` counts. A declared nodata value is kept.
    path : str or path-like
        The file, on a local disk.
    driver : str
        GDAL's name of a format that is one file and can be copied to: "COG", "GTiff".
    compress : str, optional
        As the driver calls it: "zstd", "lzw", "none" and others. Default: "deflate" in a COG or
        GTiff, the driver's own elsewhere.
    **options
        Other creation options of the driver, such as ``blocksize=256``.

    Raises
    ------
    OptionError
        If it is not a map or has no location, for float16 if GDAL does not know it, and for a
        driver or options that GDAL does not accept; all before anything is computed.
    StoreError
        If the folder does not exist, `path` is a folder, or GDAL fails to write.
    """
    map_ = _banded(embedding)
    if not rasterio.dtypes.check_dtype(map_.dtype):
        raise OptionError(
            "raster.dtype",
            Call('embedding.astype("float32")'),
            Call("embedding.to_zarr()"),
            version=rasterio.__gdal_version__,
            dtype=map_.dtype,
        )
    bands = [str(embedding.name or "map")] if embedding.ndim == 2 else _descriptions(map_)
    tags = {name: _tag(value) for name, value in map_.attrs.items()}
    described = _north_up(map_).assign_attrs(tags, long_name=tuple(bands))
    if described.dtype.kind == "f":
        described = described.rio.write_nodata(np.nan, encoded=True)
    given = {name.lower(): value for name, value in options.items()}  # GDAL ignores case
    given |= {} if compress is None else {"compress": compress}
    _check_options(driver, given)
    target = check_target(Path(path))
    if driver.upper() in GEOTIFFS and target.suffix.lower() not in (".tif", ".tiff"):
        raise OptionError("raster.suffix", name=target.name)
    with atomic_replace(target) as file:
        _try_options(described, file, driver, given)
        try:
            _write(described, file, driver, given)
        except Errors as error:
            raise StoreError("raster.failed", path=target, reason=str(error)) from error


def check_array(embedding: Any) -> None:
    """Refuse anything but a DataArray.

    Raises
    ------
    OptionError
        For anything else.
    """
    if not isinstance(embedding, xr.DataArray):
        raise OptionError(
            "embedding.needed/dataset", Call("dataset['embedding']"), type=type(embedding).__name__
        )


def _banded(embedding: xr.DataArray) -> xr.DataArray:
    """Bring a map to (band, y, x)."""
    check_array(embedding)
    others = [dim for dim in embedding.dims if dim not in ("y", "x")]
    if len(others) > 1 or embedding.ndim != len(others) + 2:
        raise OptionError(
            "raster.dims",
            Call("embedding.isel(time=0)"),
            Call("to_geodataframe()"),
            dims=embedding.dims,
        )
    map_ = embedding if others else embedding.expand_dims("band")
    return map_.transpose(..., "y", "x")


def _north_up(map_: xr.DataArray) -> xr.DataArray:
    """Flip a map so that rows run south and columns east, by its coordinates or its transform."""
    bare = [dim for dim in ("y", "x") if dim not in map_.coords]
    transform = map_.rio.transform(recalc=not bare)
    if len(bare) == 1 or (bare and transform.is_identity):
        raise OptionError(
            "raster.no-location",
            Call("embedding.assign_coords(y=..., x=...)"),
            Call("embedding.rio.write_transform(...)"),
            missing=bare,
        )
    box = GeoBox((map_.sizes["y"], map_.sizes["x"]), transform, None)
    if transform.e > 0:
        map_, box = map_.isel(y=slice(None, None, -1)), box.flipy()
    if transform.a < 0:
        map_, box = map_.isel(x=slice(None, None, -1)), box.flipx()
    return map_.rio.write_transform(box.affine)


def _descriptions(map_: xr.DataArray) -> list[str]:
    """Name of each band: the part of the embedding, and the number of the feature."""
    band = map_.dims[0]
    labels = map_[band].values.tolist()
    if all(isinstance(label, int) for label in labels):
        width = max(4, len(str(max(labels, default=0))))
        labels = [f"{label:0{width}d}" for label in labels]
    parts = [str(band)] * len(labels)
    if "part" in map_.coords:
        parts = np.broadcast_to(map_["part"].values, len(labels)).tolist()
    return [f"{part} {label}" for part, label in zip(parts, labels, strict=True)]


def _check_options(driver: str, given: dict[str, Any]) -> None:
    """Refuse values that rasterio or GDAL cannot survive."""
    for name, value in {"driver": driver, **given}.items():
        if name in ("driver", "compress") and not isinstance(value, str):
            raise OptionError("raster.name", given=SetOption(name, value))
        if name in BLOCKS:
            check_whole(name, value, *SIDES)


def _try_options(map_: xr.DataArray, file: Path, driver: str, given: dict[str, Any]) -> None:
    """Write a small part, all zeros, so that GDAL refuses options before anything is computed."""
    part = map_[:TRIAL_SIZE, :TRIAL_SIZE, :TRIAL_SIZE]
    part = part.copy(data=np.zeros(part.shape, part.dtype))
    part.attrs["long_name"] = part.attrs["long_name"][: len(part)]
    option = SetOption("driver", driver)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        trial = Path(folder, file.name)
        try:
            with _gdal_warnings() as logged:
                _write(part, trial, driver, given)
            _check_readable(trial, len(part))
        except Errors as error:
            raise OptionError(
                "raster.driver",
                SetOption("driver", "GTiff"),
                version=rasterio.__gdal_version__,
                dtype=part.dtype,
                option=option,
                options=given,
                reason=str(error),
            ) from error
        further = sorted(path.name for path in Path(folder).iterdir() if path != trial)
    judged = {name.upper() for name in given if name not in BLOCKS}
    for text in logged:  # of unknown options GDAL only warns
        if judged & {*re.findall(r"\w+", text.upper())}:
            raise OptionError(
                "raster.option",
                version=rasterio.__gdal_version__,
                options=given,
                option=option,
                reason=text.rstrip("."),
                page=driver.lower(),
            )
    if further:
        raise OptionError(
            "raster.several-files",
            Call("rasterio.shutil.copy(...)"),
            option=option,
            further=further,
        )


def _write(map_: xr.DataArray, file: Path, driver: str, given: dict[str, Any]) -> None:
    """Write a map by way of a plain GeoTIFF beside it."""
    plain, options = file.with_name("plain.tif"), _creation_options(map_, driver, given)
    map_.rio.to_raster(plain, driver="GTiff", lock=True, bigtiff="if_safer", **_by_band(map_))
    try:
        if driver.upper() == "COG" and not {*given} & OVERVIEWS:
            _add_overviews(plain, options)
        rasterio.shutil.copy(plain, file, driver=driver, **options)
    except Exception as error:  # GDAL's errors have no public class
        raise RasterioIOError(str(error)) from error
    plain.unlink()


def _creation_options(map_: xr.DataArray, driver: str, given: dict[str, Any]) -> dict[str, Any]:
    """Creation options that suit many bands, and those given."""
    options: dict[str, Any] = {}
    if driver.upper() in GEOTIFFS:  # the predictor counts with compressions that have one
        options |= {"compress": "deflate", "bigtiff": "if_safer", "predictor": "yes"}
    if driver.upper() == "COG":
        size, pixel = 512, map_.shape[0] * map_.dtype.itemsize  # bands of a pixel lie together
        while size > 64 and size * size * pixel > BLOCK_BYTES:
            size //= 2
        kind = "mode" if "flag_values" in map_.attrs else "average"
        options |= {"blocksize": size, "overview_resampling": kind}
    elif driver.upper() == "GTIFF":
        options |= {"predictor": 3 if map_.dtype.kind == "f" else 2, **_by_band(map_)}
    return {**options, **given}


def _by_band(map_: xr.DataArray) -> dict[str, Any]:
    """Lay out a GeoTIFF band by band: each band of a small map would fill a tile of 256 pixels."""
    return {"tiled": max(map_.shape[1:]) > 256, "interleave": "band"}


def _add_overviews(plain: Path, options: dict[str, Any]) -> None:
    """Make the overviews that GDAL's COG driver would, while bands are stored one by one.

    The driver stores all bands of a pixel together, and unpacks and packs all of them for each
    band: for 1536 bands, that takes several times as long and twice the memory.
    """
    with rasterio.open(plain, "r+") as file:
        side = max(file.shape)
        factors = [2**n for n in range(1, 32) if side >> (n - 1) > options["blocksize"]]
        if factors:
            file.build_overviews(factors, Resampling[options["overview_resampling"]])


def _check_readable(file: Path, bands: int) -> None:
    """Read a band: some formats lose bands, and others, such as VRT, need the plain file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(file) as opened:
            if opened.count != bands:
                raise RasterioIOError(f"the file has {opened.count} of {bands} bands")
            opened.read(1)


@contextmanager
def _gdal_warnings() -> Iterator[list[str]]:
    """Collect GDAL's warnings in this thread, which rasterio does nothing but log."""
    logger, thread, texts = logging.getLogger("rasterio._env"), threading.get_ident(), []

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        texts.append(record.getMessage().partition(" in ")[2])
        return False

    level = logger.level
    logger.addFilter(collect)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield texts
    finally:
        logger.setLevel(level)
        logger.removeFilter(collect)


def _tag(value: Any) -> Any:
    """Convert an attribute to what a tag can hold: lists become JSON."""
    plain = plain_value(value)
    return json.dumps(plain) if isinstance(plain, list) else plain


def plain_value(value: Any) -> Any:
    """Convert arrays, numpy's numbers and tuples to what JSON can hold."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
