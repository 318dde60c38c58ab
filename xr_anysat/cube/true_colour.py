"""Pictures in true colour: the dates of a cube as one image, and its bands as 0..1."""

from typing import Any

import numpy as np
import numpy.typing as npt

from xr_anysat.sensors.record import Sensor

__all__ = ["COLOURS", "colour_positions", "lower_quartile", "stretched"]

Array = npt.NDArray[Any]

COLOURS = ("red", "green", "blue")

QUANTILE = 0.25
"""Of the dates: half of them are cloudy in many a place, and lower ones show shadows."""


def colour_positions(sensor: Sensor) -> list[int]:
    """Positions of red, green and blue among the bands of a sensor."""
    return [sensor.band_names.index(name) for name in sensor.true_colour]


def lower_quartile(values: Array, valid: Array) -> npt.NDArray[np.float32]:
    """(T, k, y, x) to the lower quartile of the valid dates, (k, y, x), NaN where there is none.

    Clouds are bright, and are left out where they are there on less than three quarters of the
    dates. `valid` is (T, y, x).
    """
    count = valid.sum(axis=0)
    out = np.empty(values.shape[1:], dtype=np.float32)
    place = np.maximum(count - 1, 0) * QUANTILE
    below = place.astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    for band, plane in enumerate(values.swapaxes(0, 1)):
        ranked = np.where(valid, plane, np.inf).astype(np.float32)
        ranked.sort(axis=0)
        low, high = (
            np.where(count > 0, np.take_along_axis(ranked, n[None], axis=0)[0], np.nan)
            for n in (below, above)
        )
        out[band] = low + (place - below) * (high - low)
    return out


def stretched(image: Array, low: float, high: float) -> npt.NDArray[np.float32]:
    """(k, y, x) to 0..1, each band between two of its own percentiles; NaN stays."""
    out = np.full(image.shape, np.nan, dtype=np.float32)
    for band, plane in enumerate(image):
        if np.isfinite(plane).any():
            bottom, top = np.nanpercentile(plane, (low, high))
            out[band] = np.clip((plane - bottom) / max(top - bottom, 1e-6), 0, 1)
    return out
