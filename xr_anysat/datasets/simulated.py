"""The simulated landscape as a cube."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Final

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from affine import Affine
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from xr_anysat.errors import OptionError

from .acquisitions import ANCHOR, EPOCH, Pass, calendar, thin_out
from .covers import BANDS, flag_attrs
from .geometry import PIXEL
from .render import NODATA, Scene, land_block, scene_block

__all__ = ["simulated_landscape"]

TILE: Final = 512  # pixels worked out at once where the cube is numpy
DIMS: Final = ("time", "band", "y", "x")

Chunks = int | str | tuple[Any, Any] | Mapping[str, Any]


def simulated_landscape(
    shape: tuple[int, int] = (256, 256),
    *,
    seed: int = 0,
    start: Any = "2021-01-01",
    end: Any = "2021-12-31",
    dates: int | None = 24,
    chunks: Chunks | None = None,
    clouds: bool = True,
    orbit_edges: bool = True,
    crs: Any = "EPSG:32631",
    origin: tuple[int, int] = ANCHOR,
) -> xr.DataArray:
    """Make a simulated Sentinel-2 L2A time cube of farmland, with its true class map.

    Fields of winter and summer crops, meadows, woods, vineyards, water, villages and roads, seen
    through a year in the ten bands of 10 m and 20 m, with clouds, their shadows, the edges of
    orbits and the noise of the sensor. Nothing in it was observed. Values are typical of western
    Europe (sources stand beside the tables in the code), not fit for conclusions about any place.

    Parameters
    ----------
    shape
        Rows and columns of pixels of 10 m, each 1 or more; (10980, 10980) is a Sentinel-2 tile.
    seed
        Which world, 0 to 2**63 - 1. Of one world every pixel and date is the same in whichever
        cube it occurs: shape, origin, period, dates and chunks select, and change no number.
    start, end
        First and last day, both included; anything that :class:`pandas.Timestamp` reads. Fields
        bear the same crop every year.
    dates
        Keep one pass in each of this many equal periods, so at most so many dates: the one
        nearest to the period's middle of those with a `cloud_cover` of at most 40 percent, or if
        there is none, the clearest. None keeps all passes: every 2 to 3 days, less a few lost
        ones, most of them cloudy.
    chunks
        None for numpy. Otherwise a dask cube: chunk size in y and x, or a pair for y and x, or a
        mapping of dims (time, y, x) to what dask accepts; the band dim is one chunk.
    clouds
        False leaves out clouds, shadows and haze.
    orbit_edges
        False lets every pass see the whole scene. With `clouds` also False no pixel is missing.
    crs
        A projected CRS in metres. It is only the label of the grid: the same world lies in each.
    origin
        Left and top edge of the cube in the CRS, metres, multiples of 10. 20 m cells begin at
        multiples of 20.

    Returns
    -------
    xarray.DataArray
        Named "s2"; dims (time, band, y, x); uint16, surface reflectance times 10000 without
        offset; 0 (``attrs["nodata"]``) where missing, in all bands at once. B05, B06, B07, B8A,
        B11 and B12 are sampled at 20 m and repeated. Coordinates besides the dims', `time` being
        UTC with the time of day:

        - `land_cover` (y, x): uint8, the true classes as CF flags;
        - `parcel` (y, x): int32, an id for each field or wood, 0 elsewhere; two of a million
          fields may share one by chance;
        - `cloud_cover` (time): float32, percent expected over the whole world, which may be far
          from that over a small cube;
        - `relative_orbit` (time): int16;
        - `spatial_ref`: the CRS and transform, as rioxarray and odc-geo write it.

    Raises
    ------
    OptionError
        An argument is out of range, or no pass lies between the days.

    Notes
    -----
    With `chunks`, nothing is computed here, each block is made alone from the seed and its place,
    and the same call gives the same dask keys. A million pixels of a block take 2 to 3 seconds
    for the landscape, 0.2 seconds more for each date, and 270 MB besides the result. Each chunk
    of time makes its landscape anew, so few chunks of time are faster.

    Examples
    --------
    >>> from xr_anysat.datasets import simulated_landscape
    >>> cube = simulated_landscape((64, 64), dates=4, chunks=32)
    >>> dict(cube.sizes), cube.dtype
    ({'time': 4, 'band': 10, 'y': 64, 'x': 64}, dtype('uint16'))
    """
    rows, cols = _checked_shape(shape)
    number = _checked_integer("seed", seed, 0, 2**63 - 1)
    passes = _checked_passes(number, start, end, dates)
    left, top = _checked_origin(origin)
    geobox = GeoBox((rows, cols), Affine(PIXEL, 0, left, 0, -PIXEL, top), _checked_crs(crs))
    scene = Scene(
        seed=number,
        row=-top // PIXEL,
        col=left // PIXEL,
        passes=passes,
        clouds=bool(clouds),
        orbit_edges=bool(orbit_edges),
    )
    sizes = (len(passes), len(BANDS), rows, cols)
    if chunks is None:
        cube, land = _eager(scene, sizes)
    else:
        cube, land = _lazy(scene, sizes, chunks)
    return _label(scene, cube, land, geobox)


def _eager(scene: Scene, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Cube and land as numpy, tile by tile so that memory stays near the result's."""
    cube = np.empty(sizes, dtype=np.uint16)
    land = np.empty((2, *sizes[2:]), dtype=np.int32)
    for top in range(0, sizes[2], TILE):
        for left in range(0, sizes[3], TILE):
            ys = (top, min(top + TILE, sizes[2]))
            xs = (left, min(left + TILE, sizes[3]))
            cube[..., slice(*ys), slice(*xs)] = scene_block(scene, (0, sizes[0]), ys, xs)
            land[..., slice(*ys), slice(*xs)] = land_block(scene, ys, xs)
    return cube, land


def _lazy(scene: Scene, sizes: tuple[int, ...], chunks: Chunks) -> tuple[Any, Any]:
    """Cube and land as dask arrays, under names that only the arguments decide."""
    blocks = _checked_chunks(chunks, sizes)
    token = tokenize(scene, blocks)
    cube = da.map_blocks(
        _cube_of_block,
        scene=scene,
        chunks=blocks,
        dtype=np.uint16,
        meta=np.empty((0, 0, 0, 0), dtype=np.uint16),
        name=f"simulated-landscape-{token}",
    )
    land = da.map_blocks(
        _land_of_block,
        scene=scene,
        chunks=((2,), *blocks[2:]),
        dtype=np.int32,
        meta=np.empty((0, 0, 0), dtype=np.int32),
        name=f"simulated-land-{token}",
    )
    return cube, land


def _cube_of_block(*, scene: Scene, block_info: Any = None) -> NDArray[np.uint16]:
    times, _, ys, xs = block_info[None]["array-location"]
    return scene_block(scene, times, ys, xs)


def _land_of_block(*, scene: Scene, block_info: Any = None) -> NDArray[np.int32]:
    _, ys, xs = block_info[None]["array-location"]
    return land_block(scene, ys, xs)


def _label(scene: Scene, cube: Any, land: Any, geobox: GeoBox) -> xr.DataArray:
    """Put coordinates, CRS and attributes on the arrays."""
    spatial = xr_coords(geobox, always_yx=True)
    times = np.array([one.time for one in scene.passes], dtype="datetime64[ns]")
    covers = np.array([100 * one.cover for one in scene.passes], dtype=np.float32)
    orbits = np.array([one.orbit for one in scene.passes], dtype=np.int16)
    parcel_attrs = {"long_name": "id of the field or wood of the simulated landscape, 0 for none"}
    cloud_attrs = {"long_name": "expected cloud cover of the simulated pass", "units": "percent"}
    out = xr.DataArray(
        cube,
        dims=DIMS,
        coords={
            "time": ("time", times, {"long_name": "time of the simulated pass, UTC"}),
            # text of any length, which Zarr 3 has a specification for
            "band": ("band", np.array(BANDS, dtype=object)),
            **spatial,
            "cloud_cover": ("time", covers, cloud_attrs),
            "relative_orbit": ("time", orbits),
            "land_cover": (("y", "x"), land[0].astype(np.uint8), flag_attrs()),
            "parcel": (("y", "x"), land[1], parcel_attrs),
        },
        name="s2",
        attrs={
            "title": "Simulated Sentinel-2 L2A landscape (not an observation)",
            "long_name": "simulated surface reflectance x 10000",
            "source": f"simulated by xr_anysat.datasets.simulated_landscape, seed {scene.seed}",
            "nodata": NODATA,
            "units": "1e-4",
        },
    )
    out.encoding["grid_mapping"] = "spatial_ref"
    for name in ("land_cover", "parcel"):
        out.coords[name].encoding["grid_mapping"] = "spatial_ref"
    return out


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _checked_integer(name: str, value: Any, low: int, high: int) -> int:
    if not _is_integer(value) or not low <= value <= high:
        raise OptionError(f"{name}={value!r}: an integer from {low} to {high} is needed")
    return int(value)


def _checked_shape(shape: Any) -> tuple[int, int]:
    try:
        rows, cols = shape
    except (TypeError, ValueError):
        rows, cols = None, None
    if not (_is_integer(rows) and _is_integer(cols)) or rows < 1 or cols < 1:
        raise OptionError(
            f"shape={shape!r}: two integers of 1 or more are needed, rows and columns of pixels, "
            "e.g. shape=(256, 256)"
        )
    return int(rows), int(cols)


def _checked_origin(origin: Any) -> tuple[int, int]:
    try:
        left, top = origin
        whole = left % PIXEL == 0 and top % PIXEL == 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise OptionError(
            f"origin={origin!r}: left and top edge are needed, two multiples of {PIXEL} metres, "
            f"e.g. origin={ANCHOR}"
        )
    return int(left), int(top)


def _checked_crs(crs: Any) -> CRS:
    try:
        found = CRS(crs)
    except Exception as error:
        # pyproj and odc-geo raise many kinds for nonsense
        raise OptionError(f"crs={crs!r} is not a CRS: {error}") from error
    if not found.projected or set(found.units) != {"metre"}:
        raise OptionError(
            f"crs={crs!r}: a projected CRS in metres is needed, e.g. crs='EPSG:32631'"
        )
    return found


def _checked_day(name: str, value: Any) -> int:
    try:
        moment = pd.Timestamp(value)
        if pd.isna(moment):
            raise ValueError("not a time")
        day = int((moment.to_datetime64().astype("datetime64[D]") - EPOCH).astype(int))
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name}={value!r} is not a date: {error}") from error
    return day


def _checked_passes(seed: int, start: Any, end: Any, dates: Any) -> tuple[Pass, ...]:
    first, last = _checked_day("start", start), _checked_day("end", end)
    if last < first:
        raise OptionError(f"end={end!r} lies before start={start!r}")
    if dates is not None and (not _is_integer(dates) or dates < 1):
        raise OptionError(
            f"dates={dates!r}: an integer of 1 or more is needed, or None for all passes"
        )
    passes = calendar(seed, first, last)
    if not passes:
        raise OptionError(
            f"no pass from start={start!r} to end={end!r}: the simulated satellites pass every 2 "
            "to 3 days and some passes are lost; take a week or more"
        )
    return passes if dates is None else thin_out(passes, int(dates))


def _checked_chunks(chunks: Any, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    if isinstance(chunks, Mapping):
        wanted = {"time": -1, "y": -1, "x": -1, **chunks}
    elif isinstance(chunks, tuple) and len(chunks) == 2:
        wanted = {"time": -1, "y": chunks[0], "x": chunks[1]}
    else:
        wanted = {"time": -1, "y": chunks, "x": chunks}
    wanted["band"] = -1
    try:
        if set(wanted) != set(DIMS):
            raise ValueError(f"no dim named {sorted(set(wanted) - set(DIMS))}")
        asked = tuple(wanted[dim] for dim in DIMS)
        blocks = da.core.normalize_chunks(asked, shape=sizes, dtype=np.dtype(np.uint16))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"chunks={chunks!r} does not fit sizes {dict(zip(DIMS, sizes, strict=True))}: {error}; "
            "e.g. chunks=512 or chunks={'time': 8, 'y': 512, 'x': 512}"
        ) from error
    return tuple(tuple(int(size) for size in dim) for dim in blocks)
