"""From the landscape and the passes to digital numbers, window by window.

Each date of a window is worked out on its own; nothing in here knows of xarray or dask.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .acquisitions import Pass, swath, weather, wetness
from .covers import (
    BANDS,
    BANDS_20M,
    YEAR,
    brown_spectrum,
    cover_means,
    flower_spectra,
    green_spectra,
    noise_deviation,
    seasons,
    substrate_spectra,
)
from .landscape import Land, survey
from .noise import F32, I64, hash64, key, normal

__all__ = ["NODATA", "Scene", "land_block", "scene_block"]

NODATA: Final = 0  # of Sentinel-2 L2A products
QUANTIFICATION: Final = 10_000  # digital numbers per reflectance
# How thin cloud brightens each band relative to the blue: whiter than molecules are, and less
# at the long end; an assumption.
HAZE: Final = (1.0, 0.92, 0.85, 0.8, 0.76, 0.73, 0.7, 0.68, 0.35, 0.25)
# Deviation between dates left by the atmosphere's correction and by the angles of sun and view:
# a few percent, most in the blue. Typical values after the uncertainty that the L2A Data Quality
# Reports of ESA's Optical Mission Performance Cluster state (0.05 rho + 0.005).
GAIN: Final = (0.05, 0.035, 0.03, 0.025, 0.02, 0.02, 0.02, 0.02, 0.02, 0.025)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a block of the cube is made from.

    Attributes
    ----------
    seed : int
        Of the world.
    row, col : int
        World indices of the upper left pixel; 10 m each, south and east.
    passes : tuple of Pass
        One for each time.
    clouds, orbit_edges : bool
        Whether clouds and the edges of swaths leave pixels missing.
    """

    seed: int
    row: int
    col: int
    passes: tuple[Pass, ...]
    clouds: bool
    orbit_edges: bool


def scene_block(
    scene: Scene, times: tuple[int, int], ys: tuple[int, int], xs: tuple[int, int]
) -> NDArray[np.uint16]:
    """Make a block of the cube.

    Parameters
    ----------
    scene
        The scene.
    times, ys, xs
        First index and the one after the last, counted from the scene's first.

    Returns
    -------
    ndarray of uint16
        Dims (time, band, y, x): reflectance times 10000, 0 where missing.
    """
    # Whole cells of 20 m, and one more on each side for the blur.
    top, left = (scene.row + ys[0]) // 2 - 1, (scene.col + xs[0]) // 2 - 1
    bottom, right = (scene.row + ys[1] - 1) // 2 + 2, (scene.col + xs[1] - 1) // 2 + 2
    rows, cols = np.arange(2 * top, 2 * bottom), np.arange(2 * left, 2 * right)
    land = survey(scene.seed, rows, cols)
    view = (
        slice(scene.row + ys[0] - 2 * top, scene.row + ys[1] - 2 * top),
        slice(scene.col + xs[0] - 2 * left, scene.col + xs[1] - 2 * left),
    )
    shape = (times[1] - times[0], len(BANDS), ys[1] - ys[0], xs[1] - xs[0])
    out = np.empty(shape, dtype=np.uint16)
    for n, one in enumerate(scene.passes[slice(*times)]):
        _one_date(scene, one, land, rows, cols, view, out[n])
    return out


def land_block(scene: Scene, ys: tuple[int, int], xs: tuple[int, int]) -> NDArray[np.int32]:
    """Make a block of the class map and of the parcels.

    Parameters
    ----------
    scene
        The scene.
    ys, xs
        First index and the one after the last, counted from the scene's first.

    Returns
    -------
    ndarray of int32
        Dims (2, y, x): class and parcel.
    """
    rows = np.arange(scene.row + ys[0], scene.row + ys[1])
    land = survey(scene.seed, rows, np.arange(scene.col + xs[0], scene.col + xs[1]))
    return np.stack([land.cover.astype(np.int32), land.parcel])


def _one_date(
    scene: Scene, one: Pass, land: Land, rows: I64, cols: I64, view: tuple[slice, slice], out: Any
) -> None:
    """Fill `out`, dims (band, y, x), with one date of a window."""
    cells = (rows[::2] // 2, cols[::2] // 2)
    missing = np.zeros((cells[0].size, cells[1].size), dtype=np.bool_)
    haze = None
    if scene.orbit_edges:
        missing |= ~swath(scene.seed, one, *cells)
    if scene.clouds and not missing.all():
        air = weather(scene.seed, one, *cells)
        missing |= air.missing
        haze = _repeat(air.haze)
    lost = _repeat(missing)[view]
    if lost.all():
        out[...] = NODATA
        return
    wet = wetness(scene.seed, one.day)
    parts = _parts(one, land)
    damp = np.clip(land.moisture + np.float32(wet), 0, 1)
    means = cover_means(one.day_of_year, wet)
    for band, name in enumerate(BANDS):
        value = _reflectance(land, parts, damp, means, band)
        if haze is not None:
            value += haze * np.float32(HAZE[band])
        value = _blur(value)
        dice = key(scene.seed, "sensor", one.day, one.orbit, band)
        gain = 1 + GAIN[band] * float(normal(hash64(dice, np.array([-1])))[0])
        spread = np.float32(noise_deviation()[band])
        if name in BANDS_20M:
            value = (value[::2, ::2] + value[::2, 1::2]) + (value[1::2, ::2] + value[1::2, 1::2])
            value *= np.float32(0.25 * gain)
            value = _repeat(value + spread * normal(hash64(dice, cells[0][:, None], cells[1])))
        else:
            value *= np.float32(gain)
            value += spread * normal(hash64(dice, rows[:, None], cols))
        number = np.rint(value[view] * np.float32(QUANTIFICATION))
        out[band] = np.where(lost, NODATA, np.clip(number, 1, 65535))


def _parts(one: Pass, land: Land) -> tuple[F32, F32, F32, F32]:
    """Shares of the pixels under green, brown and flowering plants, and without any."""
    day = np.mod(np.float32(one.day_of_year) - land.field_shift, np.float32(YEAR))
    before = np.minimum(day.astype(np.int64), YEAR - 1)
    late = (day - before.astype(np.float32))[:, None]
    table = seasons()
    here = table[land.field_cover, land.field_catch, before]
    there = table[land.field_cover, land.field_catch, before + 1]
    share = here + late * (there - here)
    share[:, 0] *= land.field_vigour
    green = np.clip(share[land.field, 0] * land.vigour, 0, 1)
    brown = np.minimum(share[land.field, 1], 1 - green)
    flower = np.minimum(share[land.field, 2], 1 - green - brown)
    return green, brown, flower, 1 - green - brown - flower


def _reflectance(
    land: Land, parts: tuple[F32, F32, F32, F32], damp: F32, means: F32, band: int
) -> F32:
    """Mix the spectra of a pixel's parts, and of what crosses it, in one band."""
    green, brown, flower, bare = parts
    dry, kept = substrate_spectra()
    ground = dry[:, band][land.substrate] * land.brightness
    ground *= 1 - damp * (1 - kept)[land.substrate]
    value = bare * ground
    value += green * green_spectra()[:, band][land.field_cover][land.field]
    value += brown * brown_spectrum()[band]
    value += flower * flower_spectra()[:, band][land.field_cover][land.field]
    value *= land.shade
    value += land.overlay_share * (means[:, band][land.overlay] - value)
    return value


def _blur(value: F32) -> F32:
    """Spread a tenth of each pixel over its neighbours; the window's rim stays as it is.

    A box of 10 m passes 0.64 of a contrast at the Nyquist frequency, and 0.38 after this; the
    instrument is required to pass 0.15 to 0.30, and does about that (Gascon et al. 2017,
    Copernicus Sentinel-2A calibration and products validation status, Remote Sensing 9).
    """
    side, middle = np.float32(0.1), np.float32(0.8)
    out = value.copy()
    out[1:-1] = middle * value[1:-1] + side * (value[:-2] + value[2:])
    value = out.copy()
    out[:, 1:-1] = middle * value[:, 1:-1] + side * (value[:, :-2] + value[:, 2:])
    return out


def _repeat(cells: NDArray[Any]) -> NDArray[Any]:
    """Cells of 20 m as pixels of 10 m."""
    return cells.repeat(2, axis=0).repeat(2, axis=1)
