"""Values of a block of a cube made ready for the network: numpy in, numpy out.

Blocks are (T, C, h, w), bands in AnySat's order, north up. Statistics are moments: count, mean
and sum of squared deviations per band, in float64, which merge exactly for all chunks.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from xr_anysat.errors import ScaleError
from xr_anysat.findings import Call, SetOption
from xr_anysat.job.normalization import Normalization

__all__ = [
    "band_moments",
    "check_scale",
    "composite",
    "merge_moments",
    "moments_to_stats",
    "normalize",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SCALE_RATIO = 200
"""Values that are smaller or larger than the statistics' mean by this factor are on another scale:
DN and reflectance differ by 10 000. Of six Sentinel-2 cubes, clouds, snow and shadows among
them, 98 % of the values in 16 x 16 pixels of one date are below 508 to 18 075 DN, and the means of
a cube are around 1100 to 4000: a factor of 17 at the most."""

_BRIGHT_REFLECTANCE = 0.2
"""Taken as typical where DN are divided: its limit, 10, lies as far above the brightest clouds in
reflectance (1.8) as below the darkest water in DN (some 50)."""

_SCALE_SAMPLE = 64
"""Minimum number of valid pixel-dates to judge a scale by."""

_SCALE_SAMPLE_SIZE = 2**18
"""Pixel-dates, valid or not, to which a larger block is thinned out first."""


def band_moments(values: Array, valid: Bools) -> npt.NDArray[np.float64]:
    """Count, mean and sum of squared deviations of each band over the valid pixel-dates.

    Returns
    -------
    ndarray
        (3, C) float64.
    """
    moments = np.zeros((3, values.shape[1]))
    for band in range(values.shape[1]):
        seen = values[:, band][valid].astype(np.float64)
        if seen.size:
            mean = seen.mean()
            moments[:, band] = seen.size, mean, np.square(seen - mean).sum()
    return moments


def merge_moments(parts: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Moments of a union from those of its parts (Chan, Golub & LeVeque 1983)."""
    stacked = np.stack(list(parts))
    count, mean, squares = stacked[:, 0], stacked[:, 1], stacked[:, 2]
    total = count.sum(axis=0)
    centre = (count * mean).sum(axis=0) / np.maximum(total, 1)
    return np.stack([total, centre, (squares + count * np.square(mean - centre)).sum(axis=0)])


def moments_to_stats(moments: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean and (population) standard deviation, (2, C) float64; NaN where nothing is valid."""
    count, mean, squares = moments
    known = count > 0
    std = np.sqrt(squares / np.maximum(count, 1))
    return np.stack([np.where(known, mean, np.nan), np.where(known, std, np.nan)])


def composite(values: Array, valid: Bools, groups: Sequence[Sequence[int]]) -> tuple[Floats, Bools]:
    """Median composites of groups of dates, over the valid ones of each pixel.

    Parameters
    ----------
    values
        (T, C, h, w).
    valid
        (T, h, w) bool.
    groups
        Date indices of each composite.

    Returns
    -------
    tuple of ndarray
        (F, C, h, w) float32, and where they are valid (F, h, w).
    """
    frames = np.zeros((len(groups), *values.shape[1:]), dtype=np.float32)
    seen = np.zeros((len(groups), *valid.shape[1:]), dtype=bool)
    for index, group in enumerate(groups):
        dates = list(group)
        known = valid[dates]
        count = known.sum(axis=0)  # (h, w)
        seen[index] = count > 0
        for band in range(values.shape[1]):
            with np.errstate(over="ignore"):
                ranked = values[dates, band].astype(np.float32)
            np.copyto(ranked, np.inf, where=~known)
            ranked.sort(axis=0)
            middle = [np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(dates) - 1)]
            low, high = (np.take_along_axis(ranked, m[None], axis=0)[0] for m in middle)
            frames[index, band] = np.where(count > 0, (low + high) / 2, 0)
    return frames, seen


def normalize(
    values: Array,
    valid: Bools,
    how: Normalization,
    stats: npt.NDArray[np.float64] | None = None,
    tile_pixels: int | None = None,
) -> Floats:
    """Normalise a block.

    Parameters
    ----------
    values
        (T, C, h, w), any real dtype.
    valid
        (T, h, w) bool.
    how
        The normalisation.
    stats
        (2, C) mean and standard deviation, where `how` has none.
    tile_pixels
        Along a side of a tile, for "tile_zscore"; the block begins with a tile.

    Returns
    -------
    ndarray
        (T, C, h, w) float32, zero where not valid.
    """
    if how.kind == "tile_zscore":
        assert tile_pixels is not None
        return _by_tile(values, valid, tile_pixels)
    out = _without_missing(values, valid)
    match how.kind:
        case "none":
            pass
        case "reflectance":
            assert how.scale is not None
            np.clip(np.divide(out, how.scale, out=out), 0, 1, out=out)
        case "stats":
            _standardize(out, _numbers(how, stats))
            np.copyto(out, 0, where=~valid[:, None])
        case _:
            assert_never(how.kind)
    return out


def check_scale(
    values: Array,
    valid: Bools,
    how: Normalization,
    stats: npt.NDArray[np.float64] | None = None,
) -> None:
    """Refuse values that cannot be on the scale of fixed statistics, judged by a sample of them.

    Parameters
    ----------
    values, valid, how, stats
        As in `normalize`.

    Raises
    ------
    ScaleError
        Where the values are on another scale, or the statistics are no numbers.
    """
    if not how.fixed:
        return
    if how.kind == "stats":
        numbers = _numbers(how, stats)
        _check_known(numbers, how)
        typical = float(np.median(numbers[0]))
    else:
        assert how.scale is not None
        typical = how.scale * _BRIGHT_REFLECTANCE
    step = max(1, math.isqrt(valid.size // _SCALE_SAMPLE_SIZE))
    _check_sample(values[..., ::step, ::step], valid[..., ::step, ::step], how, typical)


def _numbers(how: Normalization, stats: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """(2, C) statistics, of the normalisation or of the block."""
    numbers = stats if how.mean is None else np.asarray([how.mean, how.std])
    assert numbers is not None
    return numbers


def _without_missing(values: Array, valid: Bools) -> Floats:
    """Copy to float32, zero where not valid: what stands for missing may overflow later."""
    with np.errstate(over="ignore"):
        out = values.astype(np.float32)
    np.copyto(out, 0, where=~valid[:, None])
    return out


def _standardize(values: Floats, stats: npt.NDArray[np.float64]) -> None:
    """(v - mean) / std in place; a band without any spread becomes zero."""
    mean, std = stats[:, :, None, None].astype(np.float32)
    values -= mean
    values /= np.where(std > 0, std, 1)


def _by_tile(values: Array, valid: Bools, tile: int) -> Floats:
    out = np.zeros(values.shape, dtype=np.float32)
    for row in range(0, values.shape[2], tile):
        for column in range(0, values.shape[3], tile):
            window = (slice(row, row + tile), slice(column, column + tile))
            part, seen = values[:, :, *window], valid[:, *window]
            local = _without_missing(part, seen)
            _standardize(local, moments_to_stats(band_moments(part, seen)))
            out[:, :, *window] = np.where(seen[:, None], local, 0)
    return out


def _check_known(stats: npt.NDArray[np.float64], how: Normalization) -> None:
    if not (np.isfinite(stats).all() and (stats[1] >= 0).all()):
        raise ScaleError(
            "normalize.not-finite",
            Call("cube.anysat.band_stats()"),
            option=SetOption("normalize", how.name),
        )


def _check_sample(values: Array, valid: Bools, how: Normalization, typical: float) -> None:
    if typical <= 0 or valid.sum() < _SCALE_SAMPLE:
        return
    known = values.swapaxes(0, 1)[:, valid]
    known = known[known != 0]  # zero is the same on every scale, or fill that nobody declared
    if known.size < _SCALE_SAMPLE:
        return
    bright = float(np.quantile(known, 0.98))
    if 0 < bright < typical / SCALE_RATIO:
        where, guess, call = "far below", "reflectance (0..1) where DN are meant", "cube * {}"
    elif bright > typical * SCALE_RATIO:
        where, guess, call = "far above", "DN where reflectance (0..1) is meant", "cube / {}"
    else:
        return
    raise ScaleError(
        "values.scale",
        Call(call.format(how.scale or "factor")),
        SetOption("normalize", "zscore"),
        Call("cube.anysat.band_stats()"),
        option=SetOption("normalize", how.name),
        typical=typical,
        where=where,
        bright=bright,
        guess=guess,
    )
