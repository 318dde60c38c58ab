"""The simulated landscape as a cube."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any, Final

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from affine import Affine
from dask.base import tokenize
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

from .covers import Cover
from .sentinel2 import ANCHOR, BANDS, NODATA, PIXEL, Scene, calendar, thin_out

__all__ = ["simulated_landscape"]

TILE: Final = 512  # pixels worked out at once where the cube is numpy
DIMS: Final = ("time", "band", "y", "x")


def simulated_landscape(
    shape: tuple[int, int] = (256, 256),
    *,
    seed: int = 0,
    start: Any = "2021-01-01",
    end: Any = "2021-12-31",
    dates: int | None = 24,
    chunks: int | str | tuple[Any, Any] | Mapping[str, Any] | None = None,
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
    for the landscape, 0.2 seconds more for each date, and 450 MB besides the result. Each chunk
    of time makes its landscape anew, so few chunks of time are faster.

    Examples
    --------
    >>> from xr_anysat.datasets import simulated_landscape
    >>> cube = simulated_landscape((64, 64), dates=4, chunks=32)
    >>> dict(cube.sizes), cube.dtype
    ({'time': 4, 'band': 10, 'y': 64, 'x': 64}, dtype('uint16'))
    """
    with _needs("shape", shape, "two integers of 1 or more, rows and columns of pixels, are"):
        rows, cols = (_whole(side, 1) for side in shape)
    with _needs("seed", seed, "an integer from 0 to 2**63 - 1 is"):
        seed = _whole(seed, 0)
    with _needs("origin", origin, "left and top edge, two multiples of 10 metres, are"):
        left, top = (PIXEL * _whole(edge / PIXEL) for edge in origin)
    with _needs("crs", crs, 'a projected CRS in metres, such as "EPSG:32631", is'):
        geobox = GeoBox((rows, cols), Affine(PIXEL, 0, left, 0, -PIXEL, top), CRS(crs))
        _refuse(not CRS(crs).projected or set(CRS(crs).units) != {"metre"})
    with _needs("start", start, "a date is"):
        first = _day(start)
    with _needs("end", end, "a date some days after the start, so that satellites pass, is"):
        passes = calendar(seed, first, _day(end))
        _refuse(not passes)
    with _needs("dates", dates, "an integer of 1 or more, or None for all passes, is"):
        passes = passes if dates is None else thin_out(passes, _whole(dates, 1))
    scene = Scene(seed, -top // PIXEL, left // PIXEL, passes, bool(clouds), bool(orbit_edges))
    sizes = (len(scene.passes), len(BANDS), rows, cols)
    if chunks is None:
        return _label(scene, *_eager(scene, sizes), geobox)
    with _needs("chunks", chunks, "one such as 512 or {'time': 8, 'y': 512, 'x': 512} is"):
        blocks = _blocks(chunks, sizes)
    return _label(scene, *_lazy(scene, blocks), geobox)


def _eager(scene: Scene, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Cube and land as numpy, tile by tile so that memory stays near the result's."""
    cube, land = np.empty(sizes, dtype=np.uint16), np.empty((2, *sizes[2:]), dtype=np.int32)
    for top, left in product(range(0, sizes[2], TILE), range(0, sizes[3], TILE)):
        ys, xs = (top, min(top + TILE, sizes[2])), (left, min(left + TILE, sizes[3]))
        view = np.s_[..., slice(*ys), slice(*xs)]
        cube[view], land[view] = scene.block((0, sizes[0]), ys, xs)
    return cube, land


def _lazy(scene: Scene, blocks: tuple[tuple[int, ...], ...]) -> tuple[Any, Any]:
    """Cube and land as dask arrays, under names that only the arguments decide."""

    def lay(part: int, dtype: Any, chunks: tuple[tuple[int, ...], ...]) -> da.Array:
        name = f"simulated-{('landscape', 'land')[part]}-{tokenize(scene, blocks)}"
        kept = {"scene": scene, "part": part, "chunks": chunks, "dtype": dtype, "name": name}
        return da.map_blocks(_part, meta=np.empty((0,) * len(chunks), dtype=dtype), **kept)

    return lay(0, np.uint16, blocks), lay(1, np.int32, ((2,), *blocks[2:]))


def _part(*, scene: Scene, part: int, block_info: Any = None) -> Any:
    times, *_, ys, xs = block_info[None]["array-location"]
    return scene.block(times if part == 0 else (0, 0), ys, xs)[part]


def _label(scene: Scene, cube: Any, land: Any, geobox: GeoBox) -> xr.DataArray:
    """Put coordinates, CRS and attributes on the arrays."""
    cover = np.array([100 * one.cover for one in scene.passes], dtype=np.float32)
    clouds = {"long_name": "expected cloud cover of the simulated pass", "units": "percent"}
    fields = {"long_name": "id of the field or wood of the simulated landscape, 0 for none"}
    flags = {
        "long_name": "true land cover of the simulated landscape",
        "flag_values": np.array(list(Cover), dtype=np.uint8),
        "flag_meanings": " ".join(cover.name.lower() for cover in Cover),
    }
    out = xr.DataArray(cube, dims=DIMS, coords=xr_coords(geobox, always_yx=True), name="s2")
    out = out.assign_coords(
        time=("time", np.array([one.time for one in scene.passes])),
        # text of any length, which Zarr 3 has a specification for
        band=("band", np.array(BANDS, dtype=object)),
        cloud_cover=("time", cover, clouds),
        relative_orbit=("time", np.array([one.orbit for one in scene.passes], dtype=np.int16)),
        land_cover=(("y", "x"), land[0].astype(np.uint8), flags),
        parcel=(("y", "x"), land[1], fields),
    )
    out.attrs = {
        "title": "Simulated Sentinel-2 L2A landscape (not an observation)",
        "long_name": "simulated surface reflectance x 10000",
        "source": f"simulated by xr_anysat.datasets.simulated_landscape, seed {scene.seed}",
        "nodata": NODATA,
        "units": "1e-4",
    }
    for labelled in (out, out.land_cover, out.parcel):
        labelled.encoding["grid_mapping"] = "spatial_ref"
    return out


@contextmanager
def _needs(name: str, value: Any, need: str) -> Iterator[None]:
    """Say what an argument has to be, where reading it fails."""
    try:
        yield
    except Exception as error:  # pandas, pyproj and dask raise many kinds for nonsense
        given = SetOption(name, value)
        raise OptionError("landscape.option", given=given, need=need) from error


def _refuse(wrong: bool) -> None:
    if wrong:
        raise ValueError


def _whole(value: Any, least: float = -math.inf) -> int:
    _refuse(isinstance(value, bool) or value != int(value) or not least <= value < 2**63)
    return int(value)


def _day(value: Any) -> int:
    """Days since 1970-01-01."""
    return int((pd.Timestamp(value).tz_localize(None).normalize() - pd.Timestamp(0)).days)


def _blocks(chunks: Any, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Sizes of the chunks of each dim."""
    if not isinstance(chunks, Mapping):
        chunks = dict(zip("yx", chunks if isinstance(chunks, tuple) else [chunks] * 2, strict=True))
    wanted = {"time": -1, "y": -1, "x": -1, **chunks, "band": -1}
    _refuse(set(wanted) != set(DIMS))
    ordered = tuple(wanted[dim] for dim in DIMS)
    return da.core.normalize_chunks(ordered, shape=sizes, dtype=np.dtype(np.uint16))
