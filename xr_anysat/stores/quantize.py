"""Embeddings in a byte per value, with a step and a midpoint for each feature.

CF's ``scale_factor`` and ``add_offset`` are one number each for a variable: xarray refuses more.
One step for all features would be as coarse as the widest feature needs, so the numbers lie beside
the codes as variables ``scale`` and ``offset``, and only the code for missing is CF's.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import SetOption

from .numbers import Array, Numbers

__all__ = ["GIVEN_QUANTIZATION", "MISSING", "Quantization", "as_quantization", "fit_quantization"]

LEVELS = 127
"""Codes reach from -127 to 127."""

MISSING = -128
"""Code of NaN."""

MARGIN = 0.1
"""Share of the sample's range that is added at either end: the map has a wider range."""

GIVEN_QUANTIZATION = SetOption("quantize", python="quantize=xr_anysat.open_quantization(store)")
"""The remedy of giving another map's numbers."""


class Coded(NamedTuple):
    """Codes of a block, and how many values it has, and how many were out of range."""

    codes: Array
    values: int
    clipped: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization(Numbers):
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
        """Encode a (feature, ...) block, plane by plane; `first` is its first feature."""
        codes = np.empty(block.shape, dtype=np.int8)
        values = clipped = 0
        for n, plane in enumerate(block):
            steps = np.rint((plane - self.offset[first + n]) / self.scale[first + n])
            valid = ~np.isnan(steps)
            values += int(np.count_nonzero(valid))
            clipped += int(np.count_nonzero(np.abs(steps) > LEVELS))
            codes[n] = np.where(valid, np.clip(steps, -LEVELS, LEVELS), MISSING)
        return Coded(codes, values, clipped)

    def decode(self, codes: Array) -> Array:
        """Decode (feature, ...) codes to float32, NaN where they are missing."""
        wide = (..., *(None,) * (codes.ndim - 1))
        values = codes * self.scale[wide] + self.offset[wide]
        return np.where(codes == MISSING, np.float32(np.nan), values)

    def error(self, sample: Array) -> float:
        """Root mean square error of a sample (vector, feature), in deviations of its features.

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
        """Numbers as variables that lie beside the codes."""
        return xr.Dataset(
            {
                "scale": (dim, self.scale, {"long_name": "step between two codes"}),
                "offset": (dim, self.offset, {"long_name": "value of code 0"}),
            }
        )

    def attrs(self) -> dict[str, Any]:
        """Attributes of the map."""
        return {
            "quantization": f"int8 by feature: value = code * scale + offset, {MISSING} is missing",
            "quantization_max_error": float(self.scale.max()) / 2,
        }


def fit_quantization(sample: Array) -> Quantization:
    """Spread the codes of each feature over the range of a sample (vector, feature), and a margin.

    The range is from the least to the largest value, not between quantiles, so that rare kinds of
    cells are not cut off. A feature that does not vary has a step of 1.
    """
    low, high = sample.min(axis=0).astype(np.float64), sample.max(axis=0).astype(np.float64)
    width = (1 + 2 * MARGIN) * (high - low)
    scale = np.where(high > low, width / (2 * LEVELS), 1).astype(np.float32)
    return Quantization(
        scale=np.maximum(scale, np.finfo(np.float32).tiny),
        offset=((low + high) / 2).astype(np.float32),
    )


def as_quantization(value: xr.Dataset, features: int) -> Quantization:
    """Read the numbers of another store.

    Raises
    ------
    OptionError
        Where they are not what `open_quantization` returns, or of another number of features.
    """
    names = ("scale", "offset")
    shapes = {name: value[name].shape for name in names if name in value}
    if [*shapes.values()] != [(features,)] * 2:
        reason = (
            f"needs `scale` and `offset` for {features} features; found "
            f"{shapes or sorted(map(str, value))}"
        )
    else:
        scale, offset = (np.asarray(value[name], dtype=np.float32) for name in names)
        if np.isfinite([scale, offset]).all() and (scale > 0).all():
            return Quantization(scale=scale, offset=offset)
        reason = "has a scale that is not positive, or numbers that are not finite"
    raise OptionError("quantize.numbers", GIVEN_QUANTIZATION, reason=reason)
