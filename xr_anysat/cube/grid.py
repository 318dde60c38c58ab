"""Grid of a cube: spatial dimensions, CRS, pixel size and orientation, as an odc-geo GeoBox."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj
import rioxarray  # noqa: F401  registers `.rio`
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rioxarray.exceptions import RioXarrayError

from xr_anysat.findings import Call, Finding
from xr_anysat.layout.orientation import Orientation
from xr_anysat.sensors.record import PixelRule

from .corners import CORNERS, at_corners

__all__ = ["Grid", "degrees", "find_crs", "find_grid", "ground_scale", "spatial_dims"]

GSD_TOLERANCE = 1e-3
"""Share by which a pixel may differ from its nominal size, and its height from its width."""

STRETCH_TOLERANCE = 0.02
"""Share by which a projection may stretch ground distances without a warning."""

_IRREGULAR = 0.01
"""Share of a pixel by which a coordinate may be off its place, besides its own rounding."""

_WRITE_CRS = Call('cube.rio.write_crs("EPSG:32631")')

_X_NAMES = ("x", "easting", "eastings", "projection_x_coordinate", "lon", "longitude")
_Y_NAMES = ("y", "northing", "northings", "projection_y_coordinate", "lat", "latitude")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Grid of a cube.

    Parameters
    ----------
    geobox
        North up, whichever way the cube runs.
    gsd
        Nominal size of a pixel in metres.
    orientation
        Which way the cube runs.
    y_dim, x_dim
        Its dimensions.
    corners
        Whether the cube's coordinates are the upper left corners of pixels.
    """

    geobox: GeoBox
    gsd: float
    orientation: Orientation
    y_dim: Hashable
    x_dim: Hashable
    corners: bool


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Cell centres along one axis: first, step (signed) and number."""

    first: float
    step: float
    size: int

    @property
    def low(self) -> float:
        """Smallest edge."""
        last = self.first + self.step * (self.size - 1)
        return min(self.first, last) - abs(self.step) / 2

    @property
    def high(self) -> float:
        """Largest edge."""
        return self.low + abs(self.step) * self.size


def find_grid(
    cube: xr.DataArray, rule: PixelRule, faults: list[Finding], notes: list[Finding]
) -> Grid | None:
    """Understand the grid of a cube, or add what is wrong with it to the faults.

    Parameters
    ----------
    cube
        With its coordinates.
    rule
        Pixel sizes that fit the sensor.
    faults, notes
        What is wrong and what is doubtful is added here.
    """
    dims = spatial_dims(cube)
    if dims is None:
        rename = Call('cube.rename(my_rows="y", my_columns="x")')
        faults.append(Finding("grid.no-dimensions", rename, dims=list(cube.dims)))
        return None
    y_dim, x_dim = dims
    crs = find_crs(cube, faults)
    transform, declared_y, declared_x = _declared_transform(cube), None, None
    if transform is not None:
        if _is_rotated(transform, cube.sizes[y_dim], cube.sizes[x_dim]):
            faults.append(_rotated(cube.sizes[y_dim], cube.sizes[x_dim], crs, transform, rule))
            return None
        declared_y, declared_x = (transform.f, transform.e), (transform.c, transform.a)
    y, x = _line(cube, y_dim, declared_y), _line(cube, x_dim, declared_x)
    faults += [line for line in (y, x) if isinstance(line, Finding)]
    if crs is None or not isinstance(y, _Line) or not isinstance(x, _Line):
        return None
    gsd = _find_gsd(crs, y, x, rule)
    if isinstance(gsd, Finding):
        faults.append(gsd)
        return None
    corners = at_corners(cube, (y.first, y.step), (x.first, x.step))
    if corners:
        notes.append(CORNERS)
        y = replace(y, first=y.first - abs(y.step) / 2)
        x = replace(x, first=x.first + abs(x.step) / 2)
    notes += _check_stretch(crs, y, x, gsd)
    transform = Affine(abs(x.step), 0, x.low, 0, -abs(y.step), y.high)
    return Grid(
        geobox=GeoBox((y.size, x.size), transform, crs.to_wkt()),
        gsd=gsd,
        orientation=Orientation(south_up=y.step > 0, east_left=x.step < 0),
        y_dim=y_dim,
        x_dim=x_dim,
        corners=corners,
    )


def _is_rotated(transform: Affine, rows: int, columns: int) -> bool:
    """Whether the far corner lies off its place in a grid whose rows run east-west."""
    drift = max(abs(transform.b) * rows, abs(transform.d) * columns)
    return drift > _IRREGULAR * abs(transform.a)


def spatial_dims(cube: xr.DataArray) -> tuple[Hashable, Hashable] | None:
    """Names of the y and x dimensions, or None."""
    by_name = {str(dim).lower(): dim for dim in cube.dims}
    x = next((by_name[name] for name in _X_NAMES if name in by_name), None)
    y = next((by_name[name] for name in _Y_NAMES if name in by_name), None)
    if x is not None and y is not None:
        return y, x
    try:
        return cube.rio.y_dim, cube.rio.x_dim
    except RioXarrayError:
        return None


def find_crs(cube: xr.DataArray, faults: list[Finding]) -> pyproj.CRS | None:
    """Find the CRS, or add to the faults that there is none."""
    try:
        declared: Any = cube.rio.crs
        if declared is None and "epsg" in cube.coords and cube["epsg"].ndim == 0:  # stackstac
            declared = int(cube["epsg"].values)
        elif declared is None:
            declared = _undeclared_crs(cube) or cube.attrs.get("epsg")  # cubo
        else:
            declared = declared.to_wkt()
        crs = None if declared is None else pyproj.CRS.from_user_input(declared)
    except (RioXarrayError, ProjError, TypeError, ValueError) as error:
        faults.append(Finding("grid.bad-crs", _WRITE_CRS, error=error))
        return None
    if crs is None:
        faults.append(_no_crs(cube))
    return crs


def _no_crs(cube: xr.DataArray) -> Finding:
    dims = spatial_dims(cube)
    within = dims is not None and all(
        dim in cube.indexes and bool((abs(cube[dim].astype("float64")) <= most).all())
        for dim, most in zip(dims, (90, 360), strict=True)
    )
    if within:
        return Finding("grid.no-crs/degrees", Call('cube.rio.write_crs("EPSG:4326")'))
    return Finding("grid.no-crs", _WRITE_CRS)


def _undeclared_crs(cube: xr.DataArray) -> Any:
    """CRS of a grid mapping that nothing refers to, or in the attributes of the coordinates."""
    mappings = [coord for coord in cube.coords.values() if coord.ndim == 0]
    named = [c.attrs[key] for c in mappings for key in ("crs_wkt", "spatial_ref") if key in c.attrs]
    named += [cube[dim].attrs.get("crs") for dim in cube.dims if dim in cube.coords]
    distinct = {pyproj.CRS.from_user_input(crs) for crs in named if crs is not None}
    if len(distinct) > 1:
        raise ValueError(f"its coordinates name {len(distinct)} of them")
    return distinct.pop() if distinct else None


def _line(
    cube: xr.DataArray, dim: Hashable, declared: tuple[float, float] | None
) -> _Line | Finding | None:
    """Find where pixels are along a dimension, or what is wrong with its coordinate.

    `declared` is the first edge and the step that the transform of the cube states.
    """
    size, write = cube.sizes[dim], Call("cube.rio.write_transform(...)")
    if size == 0:
        return None  # another fault says so
    if dim not in cube.coords:
        if declared is None:
            assign = Call(f"cube.assign_coords({dim}=...)")
            return Finding("grid.no-coordinate", assign, write, dim=dim)
        edge, step = declared
        return _Line(first=edge + step / 2, step=step, size=size)
    values = cube[dim].values
    if values.dtype.kind not in "iuf" or not np.isfinite(values.astype(np.float64)).all():
        return Finding("grid.not-numbers", Call(f"cube.assign_coords({dim}=...)"), dim=dim)
    rounding = 0.0 if values.dtype.kind != "f" else float(np.spacing(np.abs(values).max()))
    values = values.astype(np.float64)
    if size == 1:
        if declared is None:
            return Finding("grid.one-pixel", write, dim=dim)
        return _Line(first=float(values[0]), step=declared[1], size=1)
    step = (values[-1] - values[0]) / (size - 1)
    worst = float(np.abs(values - (values[0] + step * np.arange(size))).max())
    if step == 0 or worst > _IRREGULAR * abs(step) + rounding:
        calls = f"cube.sortby({dim!r})", "cube.reindex(...)", "cube.odc.reproject(geobox)"
        repairs, steps = map(Call, calls), np.diff(values)
        shortest, longest = steps.min(), steps.max()
        return Finding("grid.irregular", *repairs, dim=dim, shortest=shortest, longest=longest)
    return _Line(first=float(values[0]), step=float(step), size=size)


def _declared_transform(cube: xr.DataArray) -> Affine | None:
    """Read the grid mapping's `GeoTransform`, or the attribute `transform` (stackstac)."""
    try:
        mapping = cube.coords.get(cube.rio.grid_mapping)
    except RioXarrayError:
        mapping = None
    text = "" if mapping is None else str(mapping.attrs.get("GeoTransform", ""))
    try:
        if len(text.split()) == 6:
            return Affine.from_gdal(*map(float, text.split()))
        return Affine(*map(float, tuple(cube.attrs["transform"])[:6]))
    except (KeyError, TypeError, ValueError):
        return None


def _rotated(
    rows: int, columns: int, crs: pyproj.CRS | None, transform: Affine, rule: PixelRule
) -> Finding:
    call = Call("cube.odc.reproject(crs, resolution=10)")
    if crs is not None:
        row, column = rows / 2, columns / 2
        x = transform.c + transform.a * column + transform.b * row
        y = transform.f + transform.d * column + transform.e * row
        call = _repair(crs, (x, y), rule)
    numbers = ", ".join(f"{number:g}" for number in transform[:6])
    return Finding("grid.rotated", call, transform=numbers)


def _find_gsd(crs: pyproj.CRS, y: _Line, x: _Line, rule: PixelRule) -> float | Finding:
    """Nominal pixel size in metres, or what is wrong with it."""
    metres = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 1
    width, height = abs(x.step) * metres, abs(y.step) * metres
    mean = (width + height) / 2
    step = mean if rule.metres is None else rule.metres
    gsd = step * (round(mean / step) if rule.multiples else 1)
    repair = _repair(crs, _middle(y, x), rule)
    pixel = {"width": width, "height": height}
    if not crs.is_projected:
        units = "degrees" if crs.is_geographic else "no projected units"
        return Finding("grid.not-metres", repair, crs=crs.name, units=units, **pixel)
    if abs(width - height) > GSD_TOLERANCE * max(width, height):
        return Finding("grid.not-square", repair, **pixel)
    if gsd == 0 or max(abs(width - gsd), abs(height - gsd)) > GSD_TOLERANCE * gsd:
        needed = f"a multiple of {step:g}" if rule.multiples else f"{step:g}"
        return Finding("grid.pixel-size", repair, width=width, needed=needed)
    return gsd


def _middle(y: _Line, x: _Line) -> tuple[float, float]:
    return (x.low + x.high) / 2, (y.low + y.high) / 2


def degrees(crs: pyproj.CRS, point: tuple[float, float]) -> tuple[float, float]:
    """Longitude and latitude of a point (x, y)."""
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*point)
    return float(lon), float(lat)


def _repair(crs: pyproj.CRS, point: tuple[float, float], rule: PixelRule) -> Call:
    """Write the call that resamples a cube: in its own CRS if that is in metres, else in UTM."""
    target = None
    if crs.is_projected and crs.axis_info[0].unit_conversion_factor == 1:
        target = crs.to_authority()
    if target is None:
        try:
            lon, lat = degrees(crs, point)
        except ProjError:
            lon, lat = math.nan, math.nan
        zone = 1 + int((lon + 180) // 6) % 60 if math.isfinite(lon) else 31
        target = ("EPSG", str((32700 if lat < 0 else 32600) + zone))
    return Call(f'cube.odc.reproject("{":".join(target)}", resolution={rule.metres or 250})')


def ground_scale(crs: pyproj.CRS, point: tuple[float, float]) -> tuple[float, float] | None:
    """Metres of the map to a metre on the ground at a point (x, y), shortest and longest.

    The axes of Tissot's ellipse: equal in a conformal projection, far apart in others. None where
    PROJ does not know them.
    """
    try:
        factors = pyproj.Proj(crs).get_factors(*degrees(crs, point))
    except ProjError:
        return None
    low, high = sorted((float(factors.tissot_semimajor), float(factors.tissot_semiminor)))
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low > 0 else None


def _check_stretch(crs: pyproj.CRS, y: _Line, x: _Line, gsd: float) -> list[Finding]:
    scales = ground_scale(crs, _middle(y, x))
    if scales is None or max(abs(scale - 1) for scale in scales) <= STRETCH_TOLERANCE:
        return []
    axes = list(scales)
    if axes[1] / axes[0] - 1 <= STRETCH_TOLERANCE:
        axes = [math.sqrt(axes[0] * axes[1])]
    shown = " and ".join(f"{scale:.3g}" for scale in axes)
    ground = " x ".join(f"{gsd / scale:.3g} m" for scale in axes)
    return [Finding("grid.stretched", crs=crs.name, scales=shown, ground=ground, gsd=gsd)]
