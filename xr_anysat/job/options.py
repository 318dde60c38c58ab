"""Arguments of `embed`, checked against one another and against the cube."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.compute.normalize import Normalization
from xr_anysat.cube.frames import find_periods
from xr_anysat.cube.spec import CubeSpec
from xr_anysat.errors import CubeError, OptionError, warn
from xr_anysat.layout.tiles import Axis
from xr_anysat.sensors.sentinel2 import BANDS, TREESATAI_MEAN, TREESATAI_STD

from .model import Model

__all__ = [
    "Arguments",
    "Settings",
    "check_choice",
    "check_choices",
    "check_mask",
    "check_stats",
    "check_whole",
    "find_frames",
    "find_settings",
    "fixed_normalization",
    "stats_normalization",
    "without_unused",
]

PATCH_PIXELS = 4
"""Default patch: 40 m at 10 m, of the sizes that pretraining saw the most usual."""

ADVISED_PATCHES = 1024
"""Patches of a tile that the network's authors advise to stay below."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arguments:
    """What was asked of `embed`, as it was given; `embed` explains each."""

    mode: str
    patch_size: float | None
    tile_size: int
    overlap: float
    input_prep: str
    image_size: int
    frames: int | None
    period: tuple[Any, Any] | None
    frame_date: str
    normalize: str | xr.Dataset
    mask: xr.DataArray | None
    dates: Any
    bands: Mapping[str, Hashable] | None
    pooling: str
    pool_from: str
    geometry: Any
    geometry_crs: Any
    outside: str
    model: str | Model
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to compute, and on which patches and tiles; `overlap` is as rounded to whole patches."""

    mode: str
    pooling: str
    pool_from: str
    rows: Axis
    columns: Axis
    patch_size: float
    tile_size: int
    overlap: float
    dtype: str

    @property
    def map_mode(self) -> str:
        """Mode of the map that is computed."""
        return self.pool_from if self.mode == "pooled" else self.mode


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise an OptionError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{name}={value!r} is not one of {list(choices)}")


def check_choices(asked: Arguments, modes: tuple[str, ...]) -> None:
    """Raise an OptionError unless each argument that names a way names one that there is."""
    choices = {
        "mode": modes,
        "input_prep": ("tile", "resize"),
        "pooling": ("mean", "max"),
        "pool_from": ("patch", "tile"),
        "outside": ("raise", "nan"),
        "dtype": ("float32", "float16"),
    }
    for name, known in choices.items():
        check_choice(name, getattr(asked, name), known)


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return a whole number within bounds, both included, or raise an OptionError."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise OptionError(f"{name}={value!r} is not a whole number {bounds}")
    return int(value)


def find_settings(
    spec: CubeSpec,
    mode: str,
    pooling: str,
    pool_from: str,
    patch_size: float | None,
    tile_size: int,
    overlap: float,
    input_prep: str,
    dtype: str,
) -> Settings:
    """Lay patches and tiles on a cube, or say why they do not fit."""
    size, patch = _find_patch(patch_size, spec.gsd)
    pixels = check_whole("tile_size", tile_size)
    if input_prep == "resize":  # one tile, filled up to whole patches
        pixels, overlap = -(-pixels // patch) * patch, 0.0
    _check_tiles(pixels, overlap, patch, size)
    tile = pixels // patch
    stride = max(1, round(tile * (1 - float(overlap))))
    rows, columns = (
        Axis(pixels=length, patch=patch, tile=tile, stride=stride) for length in spec.shape
    )
    seen = min(tile, rows.patches) * min(tile, columns.patches)
    _warn_of_many(
        seen, pixels, patch, size, "image_size" if input_prep == "resize" else "tile_size"
    )
    return Settings(
        mode=mode,
        pooling=pooling,
        pool_from=pool_from,
        rows=rows,
        columns=columns,
        patch_size=size,
        tile_size=pixels,
        overlap=1 - stride / tile,
        dtype=dtype,
    )


def _find_patch(patch_size: Any, gsd: float) -> tuple[float, int]:
    """Length of a patch in metres and in pixels."""
    size = PATCH_PIXELS * gsd if patch_size is None else patch_size
    if not _is_number(size) or not 0 < size < math.inf:
        raise OptionError(f"patch_size={patch_size!r} is not a length in metres")
    patch = round(float(size) / gsd)
    if patch < 1 or abs(patch * gsd - size) > 1e-6 * size:
        near = max(1, patch) * gsd
        raise OptionError(
            f"patch_size={size:g} m is not a multiple of the cube's GSD of {gsd:g} m; the "
            f"nearest is patch_size={near:g}."
        )
    return float(size), patch


def _check_tiles(pixels: int, overlap: Any, patch: int, size: float) -> None:
    """Make sure that a tile is whole patches, and that tiles do not wholly overlap."""
    if pixels % patch:
        near = max(1, round(pixels / patch)) * patch
        raise OptionError(
            f"tile_size={pixels} pixels is not a multiple of the patch of {patch} pixels "
            f"({size:g} m); the nearest is tile_size={near}."
        )
    if not _is_number(overlap) or not 0 <= overlap < 1:
        raise OptionError(f"overlap={overlap!r} is not a share from 0 to below 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _warn_of_many(seen: int, pixels: int, patch: int, size: float, argument: str) -> None:
    """Warn where a tile has more patches, or a patch more pixels, than attention is meant for."""
    if seen >= ADVISED_PATCHES:
        warn(
            f"a tile of {pixels} pixels has {seen} patches of {size:g} m; AnySat's authors advise "
            f"fewer than {ADVISED_PATCHES}, and time and memory grow with their square. Use a "
            f"smaller {argument} (24 pixels suit patches of 10 m) or a larger patch_size."
        )
    if patch**2 >= ADVISED_PATCHES:
        warn(
            f"a patch of {size:g} m has {patch**2} pixels, which all see one another: time and "
            "memory grow with their square, and pretraining saw 256 at most. Use a smaller "
            "patch_size."
        )


def check_mask(
    mask: xr.DataArray | None, array: xr.DataArray, spec: CubeSpec
) -> xr.DataArray | None:
    """Bring a mask to (time, y, x) of the cube, in its order."""
    if mask is None:
        return None
    repair = "give a DataArray of bool, True where the cube is valid, on the cube's own grid: "
    example = "cube.anysat.embed(mask=scl.isin([4, 5, 6, 7])), for example."
    if not isinstance(mask, xr.DataArray):
        raise OptionError(f"mask= is a {type(mask).__name__}; {repair}{example}")
    if mask.dtype.kind != "b":
        raise OptionError(f"mask= has dtype {mask.dtype}; {repair}{example}")
    dims = [dim for dim in (spec.time_dim, spec.y_dim, spec.x_dim) if dim is not None]
    strange = [str(dim) for dim in mask.dims if dim not in dims]
    if strange:
        raise OptionError(f"mask= has dimensions {strange} that are not among {dims}; {example}")
    template = array.isel({spec.band_dim: 0}, drop=True)
    mask = mask.reset_coords(drop=True)  # a scalar `time`, of one scene's mask, is no dimension
    try:
        _, mask = xr.align(template, mask, join="exact", copy=False)
    except ValueError as error:
        raise CubeError(
            [
                f"mask= lies on other coordinates than the cube ({error}); bring it there: "
                'mask.reindex_like(cube, method="nearest", tolerance=1).'
            ]
        ) from None
    if spec.chunked and mask.chunks is None:  # so that it grows to the cube's size block by block
        mask = mask.chunk({dim: array.chunksizes[dim] for dim in mask.dims})
    sizes = {dim: array.sizes[dim] for dim in dims if dim not in mask.dims}
    return mask.expand_dims(sizes).transpose(*dims)


def find_frames(
    spec: CubeSpec, frames: int | None, period: tuple[Any, Any] | None, frame_date: str
) -> tuple[tuple[tuple[int, ...], ...] | None, npt.NDArray[np.datetime64]]:
    """Dates of each composite (None without), and the date of each image that is embedded."""
    check_choice("frame_date", frame_date, ("middle", "mean"))
    moments = np.array(spec.dates, dtype="M8[s]")
    if frames is None:
        if period is not None:
            raise OptionError("period= goes with frames=: say into how many parts to divide it")
        if frame_date != "middle":
            raise OptionError(
                f"frame_date={frame_date!r} goes with frames=, whose composites it dates"
            )
        return None, moments
    count = check_whole("frames", frames)
    try:
        found = find_periods(moments, count, period, frame_date)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"period={period!r} is not (start, end): {error}. Give two dates, the end included: "
            'period=("2021-01-01", "2021-12-31").'
        ) from None
    if not found.groups:
        raise OptionError(
            f"period={period!r} holds none of the cube's dates, which run from {moments.min()} to "
            f"{moments.max()}"
        )
    if found.empty:
        days = ((first.astype("M8[D]"), last.astype("M8[D]")) for first, last in found.named)
        names = ", ".join(f"{first} to {last}" for first, last in days)
        end = ", ..." if found.empty > len(found.named) else "."
        warn(
            f"{found.empty} of the {count} periods of frames= have no date, and are left out: "
            f"{names}{end}"
        )
    return found.groups, found.dates


def without_unused(
    groups: tuple[tuple[int, ...], ...] | None, count: int
) -> tuple[tuple[tuple[int, ...], ...] | None, tuple[int, ...] | None]:
    """Count the dates of groups among those that are in any, and give these (None for all)."""
    used = tuple(sorted(chain.from_iterable(groups or ())))
    if groups is None or len(used) == count:
        return groups, None
    places = {date: place for place, date in enumerate(used)}
    return tuple(tuple(places[date] for date in group) for group in groups), used


def fixed_normalization(name: object) -> Normalization:
    """Normalisation of a name, all but "zscore", which has to see the cube first."""
    shown = repr(name) if isinstance(name, str | None) else f"a {type(name).__name__}"
    if not isinstance(name, str):
        name = ""
    if name == "treesatai":
        return stats_normalization(name, TREESATAI_MEAN, TREESATAI_STD, fixed=True)
    if name in ("tile_zscore", "reflectance", "none"):
        return Normalization(kind=name, name=name, fixed=name == "reflectance")
    raise OptionError(
        f"normalize={shown} is not one of ['zscore', 'tile_zscore', 'treesatai', "
        "'reflectance', 'none'], nor the Dataset that cube.anysat.band_stats() gives"
    )


def check_stats(stats: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and deviation by band, in AnySat's order, lazy where they were given so."""
    absent = [name for name in ("mean", "std") if name not in stats]
    labels = [str(b) for b in np.atleast_1d(stats["band"].values)] if "band" in stats.coords else []
    wrong = [
        name
        for name in stats
        if stats[name].dims != ("band",) or stats[name].dtype.kind not in "iuf"
    ]
    if absent or {"mean", "std"} & set(wrong) or any(labels.count(band) != 1 for band in BANDS):
        raise OptionError(
            "normalize= is a Dataset, but not one of band statistics: it needs `mean` and `std` by "
            f"`band` for {list(BANDS)}; found variables {sorted(map(str, stats.data_vars))} and "
            f"bands {labels}. cube.anysat.band_stats() makes one."
        )
    mean, std = (stats[name].sel(band=list(BANDS)).transpose("band") for name in ("mean", "std"))
    known = mean.chunks is None and std.chunks is None
    if known and not (np.isfinite(mean.values).all() and (std.values >= 0).all()):
        raise OptionError("normalize= has statistics that are NaN or negative: no valid values?")
    return mean, std


def stats_normalization(name: str, mean: Any, std: Any, *, fixed: bool) -> Normalization:
    """Normalisation with ten known numbers each."""
    return Normalization(
        kind="stats",
        name=name,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        fixed=fixed,
    )
