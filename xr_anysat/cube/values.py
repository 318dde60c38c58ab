"""Which values of a block of a cube are valid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["validity_mask"]

Array = npt.NDArray[Any]


def validity_mask(
    values: Array, mask: Array | None, nodata: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Where a pixel-date has all of its bands.

    Parameters
    ----------
    values
        (T, C, h, w), any real dtype.
    mask
        Broadcastable to (T, h, w), True = valid, or None.
    nodata
        Values that stand for missing; NaN and infinities always do.

    Returns
    -------
    ndarray
        (T, h, w) bool.
    """
    t, _, h, w = values.shape
    valid = np.ones((t, h, w), dtype=bool)
    for band in range(values.shape[1]):  # band by band: no temporary of the size of the cube
        plane = values[:, band]
        if plane.dtype.kind == "f":
            valid &= np.isfinite(plane)
        for number in nodata:
            # a float is compared in the array's own precision: -3.4e38 as float32 wrote it
            with np.errstate(over="ignore"):  # beyond it: infinite, and missing anyway
                missing = plane.dtype.type(number) if plane.dtype.kind == "f" else number
            valid &= plane != missing
    if mask is not None:
        valid &= mask
    return valid
