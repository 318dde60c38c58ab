"""Maps as rasters for other programs, their bands described."""

import json
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # of GDAL's errors there is no public name
from rasterio.enums import Compression, Resampling
from rasterio.errors import (
    DriverRegistrationError,
    NotGeoreferencedWarning,
    RasterioError,
    RasterioIOError,
)
from rioxarray.exceptions import RioXarrayError

from xr_anysat.atomic import atomic_replace, check_target
from xr_anysat.errors import OptionError, StoreError
from xr_anysat.job.options import check_whole

__all__ = ["check_array", "plain_value", "to_raster"]

BLOCK_BYTES = 32 * 2**20
"""Largest block of a GeoTIFF that holds all bands of its pixels: readers hold some at once."""

GEOTIFFS = ("COG", "GTIFF")

BLOCKS, SIDES = ("blocksize", "blockxsize", "blockysize"), (16, 8192)
"""Options for the pixels of a tile, which are checked here: GDAL's COG driver ends the process for
less than 1 and for what is no number, and discourages fewer than 128, however many bands."""

OVERVIEWS = {"overviews", "overview_count", "overview_resampling"}
"""Options of the COG driver with which overviews are left to it."""

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
    compress: str | None = None,
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
    compress : str, optional
        As the driver calls it: "zstd", "lzw", "none" and others. Default: "deflate" in a COG or
        GTiff, the driver's own elsewhere.
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
    given = {name.lower(): value for name, value in options.items()}  # GDAL knows no case
    given |= {} if compress is None else {"compress": compress}
    wanted = _creation(described, driver, given)
    judged = {name.upper() for name in given if name not in BLOCKS}
    target = check_target(Path(path))
    if driver.upper() in GEOTIFFS and target.suffix.lower() not in (".tif", ".tiff"):
        raise OptionError(
            f"{target.name} is to be a GeoTIFF: end its name in .tif, or choose another driver="
        )
    with atomic_replace(target) as final:
        _rehearse(described, final.parent, driver, wanted, judged)
        plain = final.with_name("plain.tif")
        try:
            described.rio.to_raster(
                plain, driver="GTiff", lock=True, bigtiff="if_safer", **_by_band(described)
            )
            _add_overviews(plain, wanted, given)
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


def _creation(map_: xr.DataArray, driver: str, given: dict[str, Any]) -> dict[str, Any]:
    """Creation options that suit many bands, and those given."""
    for name, value in {"driver": driver, **given}.items():
        if name in ("driver", "compress") and not isinstance(value, str):
            raise OptionError(f"{name}={value!r} is no name that GDAL knows; give a text.")
        if name in BLOCKS:
            check_whole(name, value, *SIDES)
    options: dict[str, Any] = {}
    if driver.upper() in GEOTIFFS:
        options |= {"compress": "deflate", "bigtiff": "if_safer"}
    predicted = {**options, **given}.get("compress", "").lower() in PREDICTED
    if driver.upper() == "COG":
        size, pixel = 512, map_.shape[0] * map_.dtype.itemsize  # bands of a pixel lie together
        while size > 64 and size * size * pixel > BLOCK_BYTES:
            size //= 2
        kind = "mode" if "flag_values" in map_.attrs else "average"
        options |= {"blocksize": size, "overview_resampling": kind}
        if predicted:
            options["predictor"] = "yes"
    elif driver.upper() == "GTIFF":
        options |= _by_band(map_)
        if predicted:
            options["predictor"] = 3 if map_.dtype.kind == "f" else 2
    return {**options, **given}


def _by_band(map_: xr.DataArray) -> dict[str, Any]:
    """Lay out a GeoTIFF band by band: each band of a small map would fill a tile of 256 pixels."""
    return {"tiled": max(map_.shape[1:]) > 256, "interleave": "band"}


def _add_overviews(plain: Path, options: dict[str, Any], given: dict[str, Any]) -> None:
    """Make the overviews that GDAL's COG driver would, while each band still lies by itself.

    The driver has the bands of a pixel together by then, and for every band of a map of 1536
    unpacks and packs all of them: several times as long, and twice the memory.
    """
    if "overview_resampling" not in options or {*given} & OVERVIEWS:
        return
    with rasterio.open(plain, "r+") as file:
        longer = max(file.shape)
        factors: list[int] = []
        while longer > options["blocksize"]:
            factors.append(2 ** (len(factors) + 1))
            longer //= 2
        if factors:
            file.build_overviews(factors, Resampling[options["overview_resampling"]])


def _rehearse(
    map_: xr.DataArray, folder: Path, driver: str, options: dict[str, Any], given: set[str]
) -> None:
    """Find out whether GDAL takes the driver and its options, before anything is computed.

    GDAL only warns of options that it does not know, and leaves them out: those in `given` are
    refused.
    """
    bands = min(len(map_), TRIED)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        plain, tried = Path(folder, "tried.tif"), Path(made, "tried")
        try:
            with rasterio.open(
                plain, "w", driver="GTiff", width=TRIED, height=TRIED, count=bands,
                dtype=map_.dtype, crs=map_.rio.crs, transform=map_.rio.transform(),
            ):  # fmt: skip
                pass
            with _warnings_of_gdal() as told:
                rasterio.shutil.copy(plain, tried, driver=driver, **options)
            _check_words(told, given, plain, tried, driver, options)
            plain.unlink()
            _read(tried, bands)
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


def _check_words(
    told: list[str], given: set[str], plain: Path, tried: Path, driver: str, options: dict[str, Any]
) -> None:
    """Refuse options that were given where GDAL has warned of them."""
    refused = [text for text in told if given & {*re.findall(r"\w+", text.upper())}]
    if refused:
        known = "see the page of the driver on gdal.org"
        if "COMPRESS" in refused[0]:
            known = f"for this map it takes compress={_compressions(plain, tried, driver)}"
        raise OptionError(
            f"GDAL {rasterio.__gdal_version__} does not take all of {options} with "
            f"driver={driver!r}: {refused[0].rstrip('.')}; {known}."
        )


def _read(tried: Path, bands: int) -> None:
    """Open what was made: of a VRT, nothing is left; of other formats, not all bands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tried) as file:
            if file.count != bands:
                raise RasterioIOError(f"of {bands} bands, {file.count} are in the file")
            file.read(1)


def _compressions(plain: Path, tried: Path, driver: str) -> str:
    """Try which compressions a driver takes, and list them."""
    found = []
    for each in Compression:
        with suppress(*Errors), _warnings_of_gdal() as told:
            rasterio.shutil.copy(plain, tried, driver=driver, compress=each.value)
            found += [] if told else [repr(each.value.lower())]
    return ", ".join(found)


@contextmanager
def _warnings_of_gdal() -> Iterator[list[str]]:
    """Collect what GDAL warns of in this thread; rasterio logs it, and has no other way."""
    logger, here, told = logging.getLogger("rasterio._env"), threading.get_ident(), []

    def take(record: logging.LogRecord) -> bool:
        if record.thread != here:
            return True
        told.append(record.getMessage().partition(" in ")[2])
        return False

    level = logger.level
    logger.addFilter(take)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield told
    finally:
        logger.setLevel(level)
        logger.removeFilter(take)


def _tag(value: Any) -> Any:
    """Give an attribute as a tag holds it: lists as JSON."""
    plain = plain_value(value)
    return json.dumps(plain) if isinstance(plain, list) else plain


def plain_value(value: Any) -> Any:
    """Numbers and lists as JSON knows them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
