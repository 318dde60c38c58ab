"""Randomness that depends on nothing but a key and coordinates.

Every number of the simulated landscape is a hash of a seed and of world coordinates, so that a
window of the world holds the same numbers whoever computes it, in whatever pieces. For the same
reason arrays of pixels only go through operations that IEEE 754 rounds exactly (``+ - * /``,
``sqrt`` and comparisons): the last bit of ``exp`` or ``sin`` may depend on an array's length.
"""

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance", "fractal_noise", "hash64", "key", "normal", "smooth_noise", "unit"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


def hash64(start: int | U64, *coordinates: int | NDArray[Any]) -> U64:
    """Hash integer coordinates, broadcast against each other, to 64 uniform bits.

    SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
    2014; the constants are those of Vigna's public-domain splitmix64.c.

    Parameters
    ----------
    start
        A key, or an array of hashes to go on from.
    *coordinates
        Integers, or integer arrays of any shape that broadcast.

    Returns
    -------
    ndarray of uint64
        At least one dim: numpy warns of overflow in scalars only.
    """
    state: Any = np.atleast_1d(np.asarray(start, dtype=np.uint64))
    for coordinate in coordinates:
        state = (state ^ np.asarray(coordinate).astype(np.uint64)) + 0x9E3779B97F4A7C15
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB
        state ^= state >> 31
    return state


def key(seed: int, *parts: int | str) -> int:
    """Fold a seed and any names and integers into one 64 bit key."""
    return int.from_bytes(blake2b(repr((seed, *parts)).encode(), digest_size=8).digest())


def chance(seed: int, *parts: int | str) -> float:
    """Draw one number uniform in [0, 1)."""
    return key(seed, *parts) * 2.0**-64


def unit(hashes: U64, turn: int = 0) -> F64:
    """Map hashes to numbers uniform in [0, 1).

    Parameters
    ----------
    hashes
        uint64, any shape.
    turn
        Further independent numbers of the same hash: 0, 1, 2, ...
    """
    return ((hash64(hashes, turn) if turn else hashes) >> np.uint64(11)) * np.float64(2.0**-53)


def normal(hashes: U64) -> F32:
    """Map hashes to numbers that are about standard normal.

    The sum of four uniform 16 bit numbers (Irwin-Hall): mean 0, deviation 1, never beyond 3.5.
    """
    total = (hashes & 0xFFFF) + (hashes >> 48)
    total += ((hashes >> 16) & 0xFFFF) + ((hashes >> 32) & 0xFFFF)
    # Variance of a discrete uniform on 0 .. 2**16 - 1 is (2**32 - 1) / 12; times four.
    return (total.astype(np.float32) - np.float32(131070.0)) * np.float32(1 / 37837.23)


def smooth_noise(start: int, y: F64, x: F64, wavelength: float) -> F32:
    """Value noise: random numbers on a lattice, smoothed by quadratic B-splines.

    Parameters
    ----------
    start
        A key.
    y, x
        World coordinates, metres south and east: of dims (rows, 1) and (1, cols) for a window, or
        both (points, 1).
    wavelength
        Lattice spacing, metres.

    Returns
    -------
    ndarray of float32
        Dims (rows, cols) or (points, 1); mean 0, deviation about 1.
    """
    (row, row_weights), (col, col_weights) = _spline(y / wavelength), _spline(x / wavelength)
    top, left = row.min() - 1, col.min() - 1
    nodes = hash64(start, np.arange(top, row.max() + 2)[:, None], np.arange(left, col.max() + 2))
    # 3.15 = 1 / deviation: a uniform in (-1, 1) has variance 1/3, and the squared weights of two
    # quadratic B-splines sum to 0.55**2 on average.
    lattice = ((unit(nodes) * 2 - 1) * 3.15).astype(np.float32)
    row, col = row[:, 0] - top, col - left
    # Written out, not a matrix product: BLAS adds in an order that depends on the size.
    tall: Any = sum(lattice[row - 1 + n] * row_weights[n] for n in range(3))
    each = np.arange(row.size)[:, None]
    wide: Any = sum(tall[each, col - 1 + n] * col_weights[n] for n in range(3))
    return wide


def fractal_noise(start: int, y: F64, x: F64, wavelength: float) -> F32:
    """Sum five octaves of :func:`smooth_noise`, each half as long and 0.55 times as strong."""
    octaves = (smooth_noise(key(start, n), y, x, wavelength * 0.5**n) for n in range(5))
    total: Any = sum(octave * np.float32(0.837 * 0.55**n) for n, octave in enumerate(octaves))
    return total


def _spline(position: F64) -> tuple[I64, tuple[F32, F32, F32]]:
    """Lattice cell and the weights of its three nodes: the one before, its own, the next."""
    cell = np.floor(position)
    t = (position - cell).astype(np.float32)
    weights = (0.5 * (1 - t) * (1 - t), 0.5 + t * (1 - t), 0.5 * t * t)
    return cell.astype(np.int64), weights
