"""Position tables: they depend on shapes only, and are made once per shape and device.

Tables are computed in float64 with numpy and rounded once, so that every device holds the same
numbers.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .config import DATE_HEADS

__all__ = ["date_encoding", "grid_encoding", "relative_buckets"]

CLASS_BUCKET = 7
"""Bucket of every pair with a class token in it."""

# Bucket function of Wu et al. 2021 (iRPE, section 3.2, "piecewise function"), with the published
# constants: exact up to alpha steps, logarithmic up to gamma, beta its cap, all before rounding.
_ALPHA, _BETA, _GAMMA = 1.9, 3.8, 15.2
_FIRST_BUCKET = 3


@lru_cache(maxsize=16)
def grid_encoding(rows: int, columns: int, step: float, width: int, device: str) -> Tensor:
    """2-D sine-cosine encoding of the cells of a grid, row by row.

    Parameters
    ----------
    rows, columns
        Cells of the grid.
    step
        Size of a cell, in the unit the encoding counts in.
    width
        Channels (D): the first half encodes the column, the second the row.
    device
        Where the table lies.

    Returns
    -------
    Tensor
        (rows * columns, D) float32.
    """
    omega = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    row_index, column_index = np.divmod(np.arange(rows * columns), columns)
    halves = []
    for index in (column_index, row_index):
        angle = np.outer(index * step, omega)
        halves += [np.sin(angle), np.cos(angle)]
    return _table(np.concatenate(halves, axis=1).astype(np.float32), device)


def date_encoding(day_of_year: Tensor, width: int, period: float) -> Tensor:
    """Sine-cosine encoding of dates, one head's worth of it.

    Parameters
    ----------
    day_of_year
        (T,), 0 on 1 January.
    width
        Channels of a token (D).
    period
        Base of the wavelengths, in days.

    Returns
    -------
    Tensor
        (T, D / 16) float32; every head adds the same values.
    """
    channels = width // DATE_HEADS
    k = torch.arange(channels, dtype=torch.float64, device=day_of_year.device)
    wavelength = period ** (2 * torch.div(k, 2, rounding_mode="floor") / channels)
    angle = day_of_year.to(torch.float64)[:, None] / wavelength
    odd = torch.arange(channels, device=angle.device) % 2 == 1
    return torch.where(odd, angle.cos(), angle.sin()).to(torch.float32)


@lru_cache(maxsize=16)
def relative_buckets(rows: int, columns: int, device: str) -> Tensor:
    """Relative-position bucket of every pair of tokens: the class token, then a grid row by row.

    Returns
    -------
    Tensor
        (L, L) int64 with L = 1 + rows * columns.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    squared = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    distance = np.rint(np.sqrt(squared))
    far = np.rint(
        _ALPHA
        + np.log(np.maximum(distance, 1.0) / _ALPHA) / math.log(_GAMMA / _ALPHA) * (_BETA - _ALPHA)
    )
    bucket = np.where(distance <= _ALPHA, distance, np.minimum(far, _BETA)).astype(np.int64)
    table = np.full((1 + rows * columns,) * 2, CLASS_BUCKET, dtype=np.int64)
    table[1:, 1:] = _FIRST_BUCKET + bucket
    return _table(table, device)


def _table(values: npt.NDArray[Any], device: str) -> Tensor:
    with torch.inference_mode(False):  # a table made while embedding serves training too
        return torch.from_numpy(values).to(device)
