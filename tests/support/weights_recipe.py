"""The weights that the golden files were computed with: they follow from a tensor's name alone.

`np.random.RandomState` is frozen (NEP 19), so the numbers are the same with every numpy.
"""

import math
import zlib

import numpy as np


def fill(name: str, shape: tuple[int, ...], salt: str = "golden") -> np.ndarray:
    """Values of the tensor `name` (of `shape`) under `salt`, float32."""
    rng = np.random.RandomState(zlib.crc32(f"{salt}/{name}".encode()))
    x = rng.standard_normal(size=tuple(shape))
    if len(shape) == 0:  # projector_*.pad_parameter
        x = 0.1 * x
    elif len(shape) == 1:  # norm weights near one, every bias near zero
        x = 1.0 + 0.1 * x if name.endswith("weight") else 0.1 * x
    elif len(shape) == 3:  # class tokens, the learned query, relative-position tables
        x = 0.5 * x
    else:  # linear and convolution weights: unit variance in, unit variance out
        x = x / math.sqrt(math.prod(shape[1:]))
    return np.asarray(x, dtype=np.float32)
