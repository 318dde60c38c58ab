"""Embeddings in a byte each, with a step and a middle of its own for every feature.

CF's ``scale_factor`` and ``add_offset`` are one number each for a variable: xarray refuses more.
One step for all features would be as coarse as the widest needs it, so the numbers lie beside the
codes as variables ``scale`` and ``offset``, and only the code for missing is CF's.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.errors import OptionError

__all__ = ["MISSING", "Quantization", "as_quantization", "fit_quantization"]

Array = npt.NDArray[Any]

LEVELS = 127
"""Codes reach from -127 to 127."""

MISSING = -128
"""Code of NaN."""

MARGIN = 0.1
"""Share of the sample's range that is added at either end of it: the map has more values."""


class Coded(NamedTuple):
    """Codes of a block, and how many of its values there are, and were out of range."""

    codes: Array
    values: int
    clipped: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization:
    """Numbers that take an embedding to codes and back: ``value = code * scale + offset``.

    Parameters
    ----------
    scale
        (feature,) float32, positive: a step.
    offset
        (feature,) float32: the middle of the range.
    """

    scale: Array
    offset: Array

    def encode(self, block: Array, first: int = 0) -> Coded:
        """Code a (feature, ...) block whose first feature has this number, plane by plane."""
        codes = np.empty(block.shape, dtype=np.int8)
        values = clipped = 0
        for n, plane in enumerate(block):
            steps = np.rint((plane - self.offset[first + n]) / self.scale[first + n])
            there = ~np.isnan(steps)
            values += int(np.count_nonzero(there))
            clipped += int(np.count_nonzero(np.abs(steps) > LEVELS))
            codes[n] = np.where(there, np.clip(steps, -LEVELS, LEVELS), MISSING)
        return Coded(codes, values, clipped)

    def decode(self, codes: Array) -> Array:
        """Give the float32 values of (feature, ...) codes, NaN where they are missing."""
        wide = (..., *(None,) * (codes.ndim - 1))
        found = codes * self.scale[wide] + self.offset[wide]
        return np.where(codes == MISSING, np.float32(np.nan), found)

    def error(self, sample: Array) -> float:
        """Root mean square error over a sample (vector, feature), in deviations of its features.

        Features that do not vary are left out.
        """
        shares = []
        for n, column in enumerate(sample.T):
            deviation = float(column.std(dtype=np.float64))
            coded = self.encode(column[None].astype(np.float32), n).codes[0]
            gap = coded * self.scale[n] + self.offset[n] - column
            if deviation > 0:
                shares.append(float(np.sqrt(np.mean(gap.astype(np.float64) ** 2))) / deviation)
        return float(np.mean(shares)) if shares else 0.0

    def dataset(self, dim: str) -> xr.Dataset:
        """Numbers as variables beside the codes."""
        return xr.Dataset(
            {
                "scale": (dim, self.scale, {"long_name": "step between two codes"}),
                "offset": (dim, self.offset, {"long_name": "value of code 0"}),
            }
        )

    def attrs(self) -> dict[str, Any]:
        """Say it in attributes of the map."""
        return {
            "quantization": f"int8 by feature: value = code * scale + offset, {MISSING} is missing",
            "quantization_max_error": float(self.scale.max()) / 2,
        }


def fit_quantization(sample: Array) -> Quantization:
    """Spread the codes of each feature over the range of a sample (vector, feature), and a tenth.

    The range is that of all values of the sample and no quantile's: a rare kind of cell is not
    cut off. Where a feature does not vary, its step is 1.
    """
    low, high = sample.min(axis=0).astype(np.float64), sample.max(axis=0).astype(np.float64)
    width = (1 + 2 * MARGIN) * (high - low)
    scale = np.where(high > low, width / (2 * LEVELS), 1).astype(np.float32)
    return Quantization(
        scale=np.maximum(scale, np.finfo(np.float32).tiny),
        offset=((low + high) / 2).astype(np.float32),
    )


def as_quantization(value: xr.Dataset, features: int) -> Quantization:
    """Take the numbers of another store.

    Raises
    ------
    OptionError
        Where they are not what `open_quantization` gives, or of another number of features.
    """
    wrong = [name for name in ("scale", "offset") if name not in value or value[name].ndim != 1]
    found = {name: value[name].shape for name in ("scale", "offset") if name in value}
    repair = "xr_anysat.open_quantization(store) gives that of a store."
    if wrong or any(shape != (features,) for shape in found.values()):
        raise OptionError(
            f"quantize= is a Dataset, but needs `scale` and `offset` for {features} features; "
            f"found {found or sorted(map(str, value))}. {repair}"
        )
    scale, offset = (np.asarray(value[name], dtype=np.float32) for name in ("scale", "offset"))
    if not (np.isfinite(scale).all() and np.isfinite(offset).all() and (scale > 0).all()):
        raise OptionError(
            f"quantize= has a scale that is not positive, or numbers that are not finite. {repair}"
        )
    return Quantization(scale=scale, offset=offset)
