"""The options of a call of `embed`, as given, and checks of single options."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from xr_anysat.errors import OptionError
from xr_anysat.findings import given

from .model import Model

__all__ = ["Mode", "Options", "check_choice", "check_whole", "is_number"]

Mode = Literal["grid", "patch", "tile", "pooled"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """Options of `embed`, which explains each."""

    mode: str = "grid"
    patch_size: float | None = None
    tile_size: int = 64
    overlap: float = 0.5
    input_prep: str = "tile"
    image_size: int = 24
    frames: int | None = None
    period: tuple[Any, Any] | None = None
    frame_date: str = "middle"
    normalize: str | xr.Dataset = "zscore"
    mask: xr.DataArray | None = None
    dates: Any = None
    bands: Mapping[str, Hashable] | None = None
    pooling: str = "mean"
    pool_from: str = "patch"
    geometry: Any = None
    geometry_crs: Any = None
    outside: str = "raise"
    model: str | Model = "base"
    dtype: str = "float32"

    def check(self) -> None:
        """Raise an OptionError unless each option that names a way names one that there is."""
        choices: dict[str, tuple[str, ...]] = {
            "mode": get_args(Mode),
            "input_prep": ("tile", "resize"),
            "frame_date": ("middle", "mean"),
            "pooling": ("mean", "max"),
            "pool_from": ("patch", "tile"),
            "outside": ("raise", "nan"),
            "dtype": ("float32", "float16"),
        }
        for name, known in choices.items():
            check_choice(name, getattr(self, name), known)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise an OptionError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError("option.choice", option=given(name, value), choices=list(choices))


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return a whole number within bounds, both included, or raise an OptionError."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        raise OptionError(
            "option.whole",
            option=given(name, value),
            bounds=f"of at least {least}" if most is None else f"from {least} to {most}",
        )
    return int(value)


def is_number(value: Any) -> bool:
    """Whether a value is a real number and not a bool."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
