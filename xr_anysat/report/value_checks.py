"""What some of a cube's values show: numpy in, numbers, findings and pictures out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from xr_anysat.compute.normalize import check_scale
from xr_anysat.cube.canonical import CanonicalCube
from xr_anysat.cube.true_colour import colour_positions, lower_quartile, stretched
from xr_anysat.errors import ScaleError
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.job.normalization import Normalization
from xr_anysat.sensors.record import Sensor

from .sampling import Windows, read_windows

__all__ = ["ValueSummary", "summarize_values"]

QUANTILES = (0.02, 0.5, 0.98)
"""Of each band: dark, middle and bright, the few strangest pixels aside."""

STRETCH = (2, 98)
"""Percentiles that become black and full colour."""

NOTABLE = 0.001
"""Share of the pixel-dates beyond which something strange is not taken for an accident."""

ENOUGH = 64
"""Fewest valid pixel-dates by which bands are called constant or identical."""

_COMPARED = 4096
"""Pixels by which bands are compared."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ValueSummary:
    """What some windows of a cube show.

    Parameters
    ----------
    windows
        (first row, last + 1, first column, last + 1) of each, from the north-west corner.
    dates
        Positions of the dates that were looked at.
    blocks, nbytes
        Of the cube that were read for it; 0 of a cube in memory.
    quantiles
        By band, of the valid values: 2, 50 and 98 %; NaN where nothing is valid.
    missing
        Share of missing pixels, by date.
    never
        Share of pixels that are valid at none of these dates.
    darkest
        2 % quantile of the darkest band, by date; NaN where nothing is valid.
    scale
        "DN", "reflectance", or "" where that cannot be told.
    findings
        Errors that `embed` would raise once it sees these values, and doubts: what no Sentinel-2
        image shows.
    pictures
        (rows, columns, 3) uint8 of each window: true colour as by `quicklook`, north up,
        each stretched on its own; black where nothing is valid.
    """

    windows: tuple[tuple[int, int, int, int], ...]
    dates: tuple[int, ...]
    blocks: int
    nbytes: int
    quantiles: dict[str, tuple[float, ...]]
    missing: tuple[float, ...]
    never: float
    darkest: tuple[float, ...]
    scale: str
    findings: tuple[Finding, ...]
    pictures: tuple[npt.NDArray[np.uint8], ...] = field(repr=False, compare=False)

    @property
    def pixels(self) -> int:
        """Pixels of all windows."""
        return sum((b - a) * (d - c) for a, b, c, d in self.windows)


def summarize_values(cube: CanonicalCube, how: Normalization | None) -> ValueSummary:
    """Read a few windows of a cube, and say what they show.

    Parameters
    ----------
    cube
        The cube.
    how
        The normalisation that the values are meant for, if known.

    Raises
    ------
    CubeError
        Where they cannot be read.
    """
    read = read_windows(cube)
    values = np.concatenate([v.reshape(*v.shape[:2], -1) for v in read.values], axis=2)
    valid = np.concatenate([v.reshape(len(v), -1) for v in read.valid], axis=1)
    sensor, count = cube.spec.sensor, values.shape[1]
    quantiles = np.array([_quantiles(values[:, band][valid]) for band in range(count)])
    return ValueSummary(
        windows=read.places,
        dates=read.dates,
        blocks=read.blocks,
        nbytes=read.nbytes,
        quantiles=dict(zip(sensor.band_names, map(tuple, quantiles.tolist()), strict=True)),
        missing=tuple((1 - valid.mean(axis=1)).tolist()),
        never=float(1 - valid.any(axis=0).mean()),
        darkest=tuple(_darkest(values, valid)),
        scale=_scale(quantiles[:, -1], values.dtype),
        findings=(*_scale_errors(read, how), *_doubts(sensor, values, valid, quantiles)),
        pictures=tuple(map(partial(_picture, sensor), read.values, read.valid)),
    )


def _quantiles(values: Array) -> Array:
    if not values.size:
        return np.full(len(QUANTILES), np.nan)
    return np.quantile(values, QUANTILES)


def _darkest(values: Array, valid: Array) -> Iterator[float]:
    """2 % quantile of each date in its darkest band."""
    for date, known in zip(values, valid, strict=True):
        seen = date[:, known]
        yield float(np.quantile(seen, QUANTILES[0], axis=1).min()) if seen.size else math.nan


def _scale(bright: Array, dtype: np.dtype[Any]) -> str:
    """Tell DN from reflectance by the bright pixels; clouds and snow reach 2, or 20 000."""
    if np.isnan(bright).any():
        return ""
    if bright.max() > 50:
        return "DN"
    return "reflectance" if dtype.kind == "f" and 0 < bright.max() <= 2 else ""


def _scale_errors(read: Windows, how: Normalization | None) -> tuple[Finding, ...]:
    """Give what `embed` will raise, for the first window of which it will."""
    if how is None or (how.kind == "stats" and how.mean is None):  # statistics to be computed
        return ()
    for values, valid in zip(read.values, read.valid, strict=True):
        try:
            check_scale(values, valid, how)
        except ScaleError as error:
            return error.findings
    return ()


def _picture(sensor: Sensor, values: Array, valid: Array) -> npt.NDArray[np.uint8]:
    """Lower quartile of the valid dates, in true colour."""
    image = stretched(lower_quartile(values[:, colour_positions(sensor)], valid), *STRETCH)
    return np.rint(255 * np.nan_to_num(np.moveaxis(image, 0, -1))).astype(np.uint8)


def _doubts(sensor: Sensor, values: Array, valid: Array, quantiles: Array) -> Iterator[Finding]:
    if not valid.any():
        yield Finding("missing.all", option=SetOption("mask"))
        return
    same = (values == values[:, :1]).all(axis=1) & valid
    yield from _fill_values(values, same)
    yield from _cut_off(values, valid & ~same, quantiles)
    if valid.sum() >= ENOUGH:
        yield from _dull_bands(sensor.band_names, values, valid, quantiles)


def _dull_bands(
    names: Sequence[str], values: Array, valid: Array, quantiles: Array
) -> Iterator[Finding]:
    """Find bands without any spread, and bands that are one and the same."""
    flat = [band for band, numbers in zip(names, quantiles, strict=True) if np.ptp(numbers) == 0]
    if flat:
        yield Finding("bands.constant", Call("cube.max()"), bands=flat)
    step = max(1, values.shape[2] // _COMPARED)
    few, known = values[:, :, ::step].swapaxes(0, 1), valid[:, ::step]
    varied = [n for n, band in enumerate(names) if band not in flat and known.any()]
    for one, other in combinations(varied, 2):
        if np.array_equal(few[one][known], few[other][known]):
            name = SetOption("bands", {names[other]: ...})
            yield Finding("bands.identical", name, one=names[one], other=names[other])


def _fill_values(values: Array, same: Array) -> Iterator[Finding]:
    """Find values that stand in all ten bands at once, and are not declared missing."""
    numbers, counts = np.unique(values[:, 0][same], return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if count > NOTABLE * same.size:
            declare = SetOption("nodata", number, python=f"cube.where(cube != {number:g})")
            share = count / same.size
            yield Finding("missing.fill-value", declare, share=share, number=number)


def _cut_off(values: Array, valid: Array, quantiles: Array) -> Iterator[Finding]:
    """Find whole numbers that a conversion has cut off."""
    if values.dtype.kind not in "iu":
        return
    largest, bright = np.iinfo(values.dtype).max, float(quantiles[:, -1].max())
    share = float((values == largest).any(axis=1)[valid].mean()) if valid.any() else 0.0
    if share > NOTABLE:
        yield Finding("scale.clipped", share=share, largest=largest, dtype=values.dtype)
    if bright <= 2:
        yield Finding("scale.rounded", Call('(cube * 10000).astype("uint16")'), bright=bright)
