"""Cubes as users load them: one set of numbers in many dresses, and faults that cubes have.

A `Scene` is plain numbers; `Scene.plain()` is the cube that says them in the simplest way, and
`dress` draws another way to say the same. `FAULTS` are changes that must be refused.
"""

import datetime
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import rioxarray  # noqa: F401  registers `.rio`
import shapely
import xarray as xr
from affine import Affine
from hypothesis import strategies as st

from .cubes import NORTH, TINY, WEST
from .helpers import BANDS, EARTH_SEARCH, PADDED

CRS = "EPSG:32631"
one_of = st.sampled_from
seldom = one_of([False, False, False, True])


@dataclass(frozen=True, repr=False)
class Scene:
    """Whole numbers (T, 10, y, x), north up, in AnySat's order; `valid` (T, y, x); dates."""

    values: np.ndarray
    valid: np.ndarray
    days: tuple[int, ...]
    gsd: int

    def __repr__(self):
        shape, gone = self.values.shape, int((~self.valid).sum())
        return f"Scene({shape}, {gone} missing, days={self.days}, gsd={self.gsd})"

    @property
    def dates(self):
        return np.datetime64("2020-02-01T00:00:00", "ns") + np.array(self.days, "m8[D]")

    def transform(self, down=1, right=1):
        """Give the transform of rows that run down (or up) and columns that run right (or left)."""
        height, width = (self.gsd * n for n in self.values.shape[2:])
        west, north = WEST + width * (right < 0), NORTH - height * (down < 0)
        return Affine(right * self.gsd, 0, west, 0, -down * self.gsd, north)

    def build(self, values, labels=BANDS, dims=("time", "band", "y", "x")):
        height, width = (self.gsd * (np.arange(n) + 0.5) for n in self.values.shape[2:])
        places = (self.dates, list(labels), NORTH - height, WEST + width)
        coords = dict(zip(("time", "band", "y", "x"), places, strict=True))
        return xr.DataArray(values, dims=dims, coords={name: coords[name] for name in dims})

    def plain(self):
        values = np.where(self.valid[:, None], self.values, np.nan).astype("float32")
        cube = self.build(values).rio.write_crs(CRS)
        return cube.rio.write_transform(self.transform())


@st.composite
def scenes(draw, largest=9):
    size = st.integers(1, largest)
    shape = draw(st.integers(1, 3)), 10, draw(size), draw(size)
    top = draw(one_of([100, 1000, 1000]))  # fits eight bits, or is exact in float16
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    valid = rng.random((shape[0], *shape[2:])) >= draw(one_of([0, 0, 0.3, 0.9, 1]))
    values = rng.integers(2, top, shape, endpoint=True)
    days = draw(st.lists(st.integers(0, 800), min_size=shape[0], max_size=shape[0]))
    return Scene(values, valid, tuple(days), draw(one_of([10, 10, 20, 60])))


# The same in other words --------------------------------------------------------------------------

UPPER = ("BLUE", "Green", "RED", "RedEdge1", "rededge_2", "Red-Edge-3", "NIR", "Nir08", "SWIR16",
         "swir2")  # fmt: skip
STYLES = (BANDS, PADDED, tuple(map(str.lower, PADDED)), EARTH_SEARCH, UPPER,
          tuple(f"{label}_20m" for label in PADDED))  # fmt: skip
OTHERS = ("SCL", "B01", "B9", "B10", "coastal", "wvp", "valid mask")
NAMES = {
    "time": ("time", "t", "date", "datetime"),
    "band": ("band", "bands", "variable", "channel"),
    "y": ("y", "y", "northing"),
    "x": ("x", "x", "easting"),
}
UNREADABLE = ("none", "", None, [], "nan", float("nan"), np.float32("nan"), {"a": 1})


@dataclass(frozen=True, repr=False)
class Dress:
    """A cube that says what the plain one does, with the arguments that go with it."""

    cube: xr.DataArray | xr.Dataset
    options: dict[str, Any]

    def __repr__(self):
        cube = self.cube
        variables = cube.data_vars if isinstance(cube, xr.Dataset) else {"cube": cube}
        about = [f"{name}: {v.attrs} {v.encoding}" for name, v in variables.items()]
        return "\n".join([str(cube), *about, str(self.options)])


@st.composite
def dress(draw, scene):
    options: dict[str, Any] = {}
    labels = list(draw(one_of(STYLES)))
    if draw(seldom):
        options["bands"] = {"B12": "mine"}
        labels[9] = "mine"
    labels += draw(st.lists(one_of(OTHERS), max_size=3, unique=True))
    values, way, fill = draw(_numbers(scene))
    values = np.concatenate([values, values[:, : len(labels) - 10] // 3], axis=1)
    times = draw(st.permutations(range(len(values))))
    bands = draw(st.permutations(range(len(labels))))
    down, right = draw(one_of([1, -1])), draw(one_of([1, -1]))
    turn = {"y": slice(None, None, down), "x": slice(None, None, right), "time": times}
    cube = scene.build(values, labels).isel(turn).isel(band=bands)
    valid = scene.build(scene.valid, dims=("time", "y", "x")).isel(turn)
    cube = cube.assign_coords({dim: draw(_jittered(cube[dim], scene.gsd)) for dim in "yx"})
    valid = valid.assign_coords(y=cube.y, x=cube.x)
    cube = draw(_referenced(cube, scene.transform(down, right)))
    cube, when = draw(_dated(cube))
    valid = valid.isel(time=0, drop=True) if "time" not in cube.dims else valid
    if when is not None:
        options["dates"] = when
    elif "time" in cube.dims:
        valid = valid.assign_coords(time=cube.time)
    if "time" not in cube.coords:
        valid = valid.drop_vars("time", errors="ignore")
    cube = cube.transpose(*draw(st.permutations(cube.dims)))
    valid = valid.transpose(*draw(st.permutations(valid.dims)))
    chunks = {dim: draw(st.integers(1, 8)) for dim in cube.dims}
    if draw(st.booleans()):
        cube = cube.chunk(chunks)
    if way == "mask":
        lazily = valid.chunk({dim: chunks[dim] for dim in valid.dims})
        options["mask"] = lazily if draw(seldom) else valid
    apart = draw(seldom)
    names = {dim: draw(one_of(NAMES[dim])) for dim in cube.dims if not (apart and dim == "band")}
    if "mask" in options:
        options["mask"] = options["mask"].rename({d: names[d] for d in valid.dims})
    cube = cube.rename(names)
    if apart:
        cube = xr.Dataset({str(n): cube.sel(band=n, drop=True) for n in cube.band.values})
    declare = draw(_declaration(way, fill, values.dtype, apart))
    for one in cube.data_vars.values() if apart else [cube]:
        declare(one)
    return Dress(cube, options)


@st.composite
def _numbers(draw, scene):
    """Another dtype, and one of the ways to say what is missing."""
    whole = ["uint16", "int16", "int32", "int64", "uint64", ">u2", ">i4"]
    whole += ["int8", "uint8"] if scene.values.max() <= 100 else []
    dtype = np.dtype(draw(one_of([*whole, "float32", "float64", ">f4", ">f8", "float16"])))
    ways = ["nodata", "mask"] + ["nan"] * (dtype.kind == "f")
    way = draw(one_of(ways + ["nothing"] * bool(scene.valid.all())))
    fills = [0, 1] + [-1] * (dtype.kind in "if")
    fills += [np.iinfo(dtype).max] if dtype.kind in "iu" else [-9999]
    fill = np.nan if way == "nan" else draw(one_of(fills))
    gone = np.broadcast_to(~scene.valid[:, None], scene.values.shape).copy()
    if draw(st.booleans()):  # one band suffices
        gone[:, np.arange(10) != draw(st.integers(0, 9))] = False
    values = scene.values.astype(dtype)
    values[gone] = np.array(fill).astype(dtype)
    return values, way, fill


@st.composite
def _declaration(draw, way, fill, dtype, apart):
    """Say where the missing value is declared, and what else stands there that says nothing."""
    noise = draw(one_of(UNREADABLE))
    places = ["nodata", "_FillValue", "missing_value", "encoding", "rio"]
    where = draw(one_of(places if apart else [*places, "rio.set"]))  # no Dataset keeps that
    forms = [fill, [fill], str(fill), np.array(fill).astype(dtype)[()], np.array([fill])]
    form = draw(one_of(forms))
    disturb = draw(seldom)

    def declare(variable):
        if disturb:
            variable.attrs["nodata" if where != "nodata" else "missing_value"] = noise
        if way != "nodata":
            return
        if where == "encoding":
            variable.encoding["_FillValue"] = form
        elif where.startswith("rio"):
            name = "set_nodata" if where == "rio.set" else "write_nodata"
            told = np.uint64(fill) if dtype == "uint64" else form  # rioxarray makes others floats
            getattr(variable.rio, name)(told if np.ndim(told) == 0 else fill, inplace=True)
        else:
            variable.attrs[where] = form

    return declare


@st.composite
def _jittered(draw, coord, gsd):
    """Centres that are a little off, or whole numbers.

    Two of them stay within the thousandth by which the sides of a pixel may differ.
    """
    if draw(seldom):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        return coord + 0.0002 * gsd * rng.uniform(-1, 1, coord.size)
    return coord.astype("int64" if draw(seldom) and (coord % 1 == 0).all() else "float64")


@st.composite
def _referenced(draw, cube, transform):
    """Write the CRS in one of the ways that are met."""
    ways = ["spatial_ref", "mapping", "wkt", "undeclared"]
    alone = 1 in (cube.sizes["y"], cube.sizes["x"])  # then something has to tell the pixel size
    way = draw(one_of(ways if alone else [*ways, "epsg", "crs"]))
    if way == "epsg":
        return cube.assign_coords(epsg=32631)
    if way == "crs":
        return cube.assign_attrs(crs=draw(one_of([CRS, "+init=epsg:32631", 32631])))
    name = "crs" if way == "mapping" else "spatial_ref"
    cube = cube.rio.write_crs(CRS, grid_mapping_name=name)
    if alone or draw(st.booleans()):
        cube = cube.rio.write_transform(transform, grid_mapping_name=name)
    if way == "undeclared":
        cube.encoding.pop("grid_mapping", None)
    return cube


@st.composite
def _dated(draw, cube):
    """Write dates in another type, as an argument, or as a scalar coordinate."""
    dates = cube.time.values
    stamps = [date.astype("M8[s]").item() for date in dates]
    two_hours = datetime.timedelta(hours=2)
    spellings = {
        "same": dates,
        "s": dates.astype("M8[s]"),
        "iso": [f"{stamp:%Y-%m-%d}" for stamp in stamps],
        "compact": [f"{stamp:%Y%m%dT%H%M%S}" for stamp in stamps],
        "utc": [f"{stamp:%Y-%m-%dT%H:%M:%S}Z" for stamp in stamps],
        "zone": [f"{stamp + two_hours:%Y-%m-%dT%H:%M:%S}+02:00" for stamp in stamps],
        "python": np.array(stamps, dtype=object),
        "cftime": [cftime.DatetimeGregorian(t.year, t.month, t.day) for t in stamps],
    }
    written = spellings[draw(one_of(sorted(spellings)))]
    if len(stamps) == 1 and draw(st.booleans()):
        cube = cube.isel(time=0, drop=True)
        if draw(st.booleans()):
            return cube, list(written)
        return cube.assign_coords(time=written[0]), None
    if draw(seldom):
        return (cube if draw(st.booleans()) else cube.drop_vars("time")), list(written)
    return cube.assign_coords(time=("time", written)), None


# What is asked for --------------------------------------------------------------------------------


@st.composite
def requests(draw, scene):
    """Arguments of `embed` that any such cube can be embedded with."""
    gsd, overlap = scene.gsd, draw(one_of([0, 0.5]))
    norms = ["zscore", "treesatai", "reflectance", "none"] + ["tile_zscore"] * (overlap == 0)
    found: dict[str, Any] = {
        "mode": draw(one_of(["grid", "patch", "tile", "pooled"])),
        "patch_size": draw(one_of([None, gsd, 2 * gsd, 3.0 * gsd])),
        "tile_size": draw(one_of([12, 24])),
        "overlap": overlap,
        "normalize": draw(one_of(norms)),
        "dtype": draw(one_of(["float32", "float32", "float16"])),
        "model": TINY,
    }
    if draw(seldom):
        found["frames"] = draw(one_of([1, 2, 4]))
    if draw(seldom):
        found |= {"input_prep": "resize", "image_size": draw(one_of([3, 6]))}
    if found["mode"] == "pooled":
        found["pooling"] = draw(one_of(["mean", "max"]))
        found["pool_from"] = draw(one_of(["patch", "tile"]))
        if draw(st.booleans()):
            inside = shapely.box(WEST - 5, NORTH - 3 * gsd, WEST + 2.5 * gsd, NORTH + 5)
            found["geometry"] = [inside, shapely.box(0, 0, 1, 1)]
    return found


JUNK = {
    "mode": ["grids", None, 3, ["grid"], ""],
    "patch_size": [0, -40, 15, float("nan"), float("inf"), "40", [40], True, 1e30, np.float32(20)],
    "tile_size": [0, -4, 6, 7.5, "64", None, True, np.int64(8), 10**12],
    "overlap": [1, -0.1, 2, "0.5", None, float("nan"), True, 0.999, np.float32(0.5)],
    "input_prep": ["none", None, "resize"],
    "image_size": [0, -1, 2.5, "a", None],
    "frames": [0, -1, 1.5, "3", True, 100, np.int8(2)],
    "period": [("2020-01-01", "2023-01-01"), ("2023-01-01", "2020-01-01"), "2020", (1, 2), 5, (),
               ("x", "y"), (None, None), ("2020",)],
    "normalize": ["z", None, 1, xr.Dataset(), ["zscore"], xr.Dataset({"mean": 1, "std": 2})],
    "mask": [True, np.ones((2, 2), bool), xr.DataArray(True), xr.DataArray(1),
             xr.DataArray([True], dims="k"), "scl"],
    "dates": ["2021-01-01", [], [1, 2], ["x"] * 3, 5, [None] * 3, [np.datetime64("NaT")] * 3,
              {"a": 1}, np.zeros((2, 2)), ["2021-13-45"] * 3],
    "bands": [{}, {"B2": "nope"}, {"B99": "B02"}, ["B02"], "B02", {"B2": ["B02"]}, {"B2": None},
              {"B3": "B02"}],
    "pooling": ["median", None],
    "pool_from": ["grid", 0],
    "geometry": [5, [], [None], "POLYGON", shapely.Point(), [shapely.Point(WEST + 5, NORTH - 5)]],
    "model": ["huge", None, 5, "tiny"],
    "dtype": ["float64", "f4", None, np.float32, "int8"],
}  # fmt: skip
"""Arguments, most of them wrong."""


# Faults -------------------------------------------------------------------------------------------


def _calendar(cube):
    return [cftime.Datetime360Day(2021, 1, 1 + n) for n in range(cube.sizes["time"])]


FAULTS: dict[str, Any] = {
    "object": lambda c: c.astype(object),
    "bool": lambda c: c > 3,
    "complex": lambda c: c.astype(complex),
    "text": lambda c: c.astype(str),
    "durations": lambda c: c.astype("m8[s]"),
    "band missing": lambda c: c.isel(band=slice(0, -1)),
    "band twice": lambda c: c.isel(band=[0, *range(c.sizes["band"])]),
    "two names": lambda c: xr.concat([c, c.isel(band=[1]).assign_coords(band=["green"])], "band"),
    "numbered bands": lambda c: c.assign_coords(band=range(c.sizes["band"])),
    "no labels": lambda c: c.drop_vars("band"),
    "strange labels": lambda c: c.assign_coords(band=list("abcdefghijk"[: c.sizes["band"]])),
    "one band": lambda c: c.isel(band=0),
    "NaT": lambda c: c.assign_coords(time=np.full(c.sizes["time"], "NaT", "M8[ns]")),
    "no dates": lambda c: c.drop_vars("time"),
    "numbers for dates": lambda c: c.assign_coords(time=range(c.sizes["time"])),
    "words for dates": lambda c: c.assign_coords(time=["spring"] * c.sizes["time"]),
    "days first": lambda c: c.assign_coords(time=["03/04/2021"] * c.sizes["time"]),
    "year of 360 days": lambda c: c.assign_coords(time=_calendar(c)),
    "another dim": lambda c: c.expand_dims(sensor=2),
    "no CRS": lambda c: c.drop_vars("spatial_ref"),
    "degrees": lambda c: c.drop_vars("spatial_ref").rio.write_crs(4326),
    "feet": lambda c: c.drop_vars("spatial_ref").rio.write_crs(2263),
    "bad CRS": lambda c: c.drop_vars("spatial_ref").assign_attrs(crs="nowhere"),
    "rotated": lambda c: c.rio.write_transform(Affine(10, 4, WEST, 4, -10, NORTH)),
    "15 m": lambda c: c.assign_coords(x=WEST + 15.0 * np.arange(c.sizes["x"]),
                                      y=NORTH - 15.0 * np.arange(c.sizes["y"])),
    "not square": lambda c: c.assign_coords(x=WEST + 20.0 * np.arange(c.sizes["x"])),
    "a gap": lambda c: c.assign_coords(x=WEST + 10.0 * np.arange(c.sizes["x"]) ** 2),
    "NaN for x": lambda c: c.assign_coords(x=np.full(c.sizes["x"], np.nan)),
    "words for y": lambda c: c.assign_coords(y=[str(n) for n in range(c.sizes["y"])]),
    "x all the same": lambda c: c.assign_coords(x=np.zeros(c.sizes["x"])),
    "no y": lambda c: c.isel(y=0),
    "rows and columns": lambda c: c.drop_vars(["x", "y"]).rename(x="column", y="row"),
    "empty time": lambda c: c.isel(time=[]),
    "empty band": lambda c: c.isel(band=[]),
    "empty y": lambda c: c.isel(y=[]),
    "empty x": lambda c: c.isel(x=[]),
    "no dims": lambda c: c.isel(time=0, band=0, y=0, x=0),
}  # fmt: skip
