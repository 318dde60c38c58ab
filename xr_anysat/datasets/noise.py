"""Randomness that depends on nothing but a key and coordinates.

Every number of the simulated landscape is a hash of a seed and of integer world coordinates, so
that a window of the world holds the same numbers whoever computes it, in whatever pieces. For the
same reason only operations that IEEE 754 rounds exactly (``+ - * /`` and comparisons) are used
on arrays of pixels: the last bit of ``exp`` or ``sin`` may depend on an array's length.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fractal_noise", "hash64", "key", "normal", "scattered_noise", "smooth_noise", "unit"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

# SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
# the constants are those of Vigna's public-domain splitmix64.c.
GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
MASK = 0xFFFFFFFFFFFFFFFF


def key(seed: int, *parts: int | str) -> int:
    """Fold a seed and any names and integers into one 64 bit key.

    Parameters
    ----------
    seed
        Any integer; the lowest 64 bits count.
    *parts
        Integers, or names of which the first 8 bytes count.

    Returns
    -------
    int
        A number from 0 to 2**64 - 1.
    """
    state = _mix_int(seed & MASK)
    for part in parts:
        number = int.from_bytes(part.encode()[:8], "little") if isinstance(part, str) else part
        state = _mix_int(state ^ (number & MASK))
    return state


def hash64(start: int | U64, *coordinates: NDArray[Any]) -> U64:
    """Hash arrays of integer coordinates, broadcast against each other.

    Parameters
    ----------
    start
        A key, or an array of hashes to go on from.
    *coordinates
        Integer arrays of any shape that broadcast.

    Returns
    -------
    ndarray of uint64
        Uniform over all 64 bits.
    """
    state = np.asarray(start, dtype=np.uint64)
    for coordinate in coordinates:
        state = _mix(state ^ np.asarray(coordinate).astype(np.uint64))
    return state


def unit(hashes: U64, turn: int = 0) -> F64:
    """Map hashes to numbers uniform in [0, 1).

    Parameters
    ----------
    hashes
        uint64, any shape.
    turn
        Further independent numbers of the same hash: 0, 1, 2, ...

    Returns
    -------
    ndarray of float64
        Same shape, in [0, 1).
    """
    if turn:
        hashes = _mix(hashes ^ np.uint64(turn))
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(hashes: U64) -> F32:
    """Map hashes to numbers that are about standard normal.

    The sum of four uniform 16 bit numbers (Irwin-Hall): mean 0, deviation 1, never beyond 3.5.

    Parameters
    ----------
    hashes
        uint64, any shape.

    Returns
    -------
    ndarray of float32
        Same shape.
    """
    total = (hashes & np.uint64(0xFFFF)) + (hashes >> np.uint64(48))
    for shift in (16, 32):
        total += (hashes >> np.uint64(shift)) & np.uint64(0xFFFF)
    # Variance of a discrete uniform on 0 .. 2**16 - 1 is (2**32 - 1) / 12; times four.
    return (total.astype(np.float32) - np.float32(131070.0)) * np.float32(1 / 37837.23)


def smooth_noise(start: int, rows: I64, cols: I64, wavelength: float, spacing: int = 10) -> F32:
    """Value noise on a window of the world grid.

    Random numbers on a lattice, smoothed by quadratic B-splines.

    Parameters
    ----------
    start
        A key.
    rows, cols
        Consecutive world indices of the window, int64; cells are `spacing` metres wide.
    wavelength
        Lattice spacing, metres.
    spacing
        Cell size, metres.

    Returns
    -------
    ndarray of float32
        Dims (rows, cols); mean 0, deviation about 1.
    """
    row, row_weights = _spline((rows.astype(np.float64) + 0.5) * (spacing / wavelength))
    col, col_weights = _spline((cols.astype(np.float64) + 0.5) * (spacing / wavelength))
    lattice_rows = np.arange(row[0] - 1, row[-1] + 2)
    lattice_cols = np.arange(col[0] - 1, col[-1] + 2)
    lattice = _lattice(start, lattice_rows[:, None], lattice_cols[None, :])
    row, col = row - row[0], col - col[0]
    # Written out, not a matrix product: BLAS adds in an order that depends on the size.
    tall: F32 = lattice[row] * row_weights[0][:, None]
    tall += lattice[row + 1] * row_weights[1][:, None]
    tall += lattice[row + 2] * row_weights[2][:, None]
    wide: F32 = tall[:, col] * col_weights[0]
    wide += tall[:, col + 1] * col_weights[1]
    wide += tall[:, col + 2] * col_weights[2]
    return wide


def fractal_noise(
    start: int, rows: I64, cols: I64, wavelength: float, octaves: int, spacing: int = 10
) -> F32:
    """Sum octaves of :func:`smooth_noise`, each half as long and 0.55 times as strong.

    Parameters
    ----------
    start
        A key.
    rows, cols
        Consecutive world indices of the window, int64.
    wavelength
        Of the first octave, metres.
    octaves
        How many.
    spacing
        Cell size, metres.

    Returns
    -------
    ndarray of float32
        Dims (rows, cols); mean 0, deviation about 1.
    """
    gain = 0.55
    total: F32 = smooth_noise(start, rows, cols, wavelength, spacing)
    for octave in range(1, octaves):
        layer = smooth_noise(key(start, octave), rows, cols, wavelength * 0.5**octave, spacing)
        total += layer * np.float32(gain**octave)
    power = sum(gain ** (2 * octave) for octave in range(octaves))
    total *= np.float32(power**-0.5)
    return total


def scattered_noise(start: int, x: F64, y: F64, wavelength: float) -> F64:
    """Evaluate the field of :func:`smooth_noise` at scattered points.

    Parameters
    ----------
    start
        A key.
    x, y
        World coordinates, metres east and metres south.
    wavelength
        Lattice spacing, metres.

    Returns
    -------
    ndarray of float64
        One value a point; mean 0, deviation about 1.
    """
    row, row_weights = _spline(y / wavelength)
    col, col_weights = _spline(x / wavelength)
    total = np.zeros(x.shape)
    for i in range(3):
        for j in range(3):
            value = _lattice(start, row + (i - 1), col + (j - 1))
            total += value * row_weights[i] * col_weights[j]
    return total


def _mix_int(number: int) -> int:
    number = (number + GOLDEN) & MASK
    number = ((number ^ (number >> 30)) * MIX_1) & MASK
    number = ((number ^ (number >> 27)) * MIX_2) & MASK
    return number ^ (number >> 31)


def _mix(numbers: U64) -> U64:
    out = np.atleast_1d(numbers) + np.uint64(GOLDEN)  # numpy warns of overflow in scalars only
    out ^= out >> np.uint64(30)
    out *= np.uint64(MIX_1)
    out ^= out >> np.uint64(27)
    out *= np.uint64(MIX_2)
    out ^= out >> np.uint64(31)
    return out.reshape(numbers.shape)


def _lattice(start: int, rows: I64, cols: I64) -> F32:
    # 3.15 = 1 / deviation: a uniform in (-1, 1) has variance 1/3, and the squared weights of two
    # quadratic B-splines sum to 0.55**2 on average.
    values = unit(hash64(start, rows, cols)) * 2 - 1
    return (values * 3.15).astype(np.float32)


def _spline(position: F64) -> tuple[I64, tuple[F32, F32, F32]]:
    """Lattice cell and the weights of its three nodes: the one before, its own, the next."""
    cell = np.floor(position)
    t = (position - cell).astype(np.float32)
    half = np.float32(0.5)
    one = np.float32(1)
    weights = (half * (one - t) * (one - t), half + t * (one - t), half * t * t)
    return cell.astype(np.int64), weights
