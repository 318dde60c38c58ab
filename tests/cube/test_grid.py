"""Grids: CRS wherever it is written, pixels of multiples of 10 m, any orientation."""

import numpy as np
import odc.geo.xr  # registers `.odc`
import pyproj
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from support.findings import codes, warns_of
from support.helpers import BANDS, make_cube, make_dataset

import xr_anysat
from xr_anysat.cube.canonical import understand
from xr_anysat.cube.grid import find_grid
from xr_anysat.errors import AnySatWarning, CubeError
from xr_anysat.layout.orientation import Orientation
from xr_anysat.sensors.record import PixelRule

PLACE = Affine(10, 0, 440_000, 0, -10, 5_400_000)
"""Of `make_cube`: four rows of six pixels."""


def spec_of(cube):
    return understand(cube).spec


def fault(cube, code):
    """The one fault of a cube, which is of a code."""
    with pytest.raises(CubeError) as caught:
        understand(cube)
    (finding,) = caught.value.findings
    assert finding.code == code
    return finding


def repaired(finding, cube):
    """The cube after the call that a finding names first."""
    return eval(finding.remedies[0].code, {"cube": cube})


def resampling(code):
    """The call that resamples to 10 m."""
    return f'cube.odc.reproject("EPSG:{code}", resolution=10)'


odc_warns = pytest.mark.filterwarnings(
    "ignore:The 'shapely.ops.transform:DeprecationWarning",
    "ignore:Use `@` matmul:PendingDeprecationWarning",
)
"""odc-geo's own use of shapely and affine."""


# -- CRS ---------------------------------------------------------------------------------------


def bare(dataset=False):
    """A cube that says nothing of its CRS."""
    return make_dataset(crs=None) if dataset else make_cube(crs=None)


def with_mapping(cube, name, *, where):
    """A grid mapping of another name than `spatial_ref`, referred to from somewhere or nowhere."""
    mapping = xr.DataArray(0, attrs=pyproj.CRS(32631).to_cf())
    cube = cube.assign_coords({name: mapping})
    for variable in cube.data_vars.values() if isinstance(cube, xr.Dataset) else [cube]:
        if where == "attrs":
            variable.attrs["grid_mapping"] = name
        elif where == "encoding":
            variable.encoding["grid_mapping"] = name
    return cube


def on_coordinates(cube):
    return cube.assign_coords({d: cube[d].assign_attrs(crs="EPSG:32631") for d in "yx"})


WAYS = {
    "rioxarray": lambda cube: cube.rio.write_crs(32631),
    "odc-geo": lambda cube: cube.odc.assign_crs(32631),
    "grid_mapping in attrs": lambda cube: with_mapping(cube, "utm", where="attrs"),
    "grid_mapping in encoding": lambda cube: with_mapping(cube, "utm", where="encoding"),
    "grid mapping without reference": lambda cube: with_mapping(cube, "crs", where=None),
    "epsg coordinate": lambda cube: cube.assign_coords(epsg=32631),
    "crs attribute": lambda cube: cube.assign_attrs(crs="epsg:32631"),
    "crs attributes of coordinates": on_coordinates,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dataset", [False, True], ids=["DataArray", "Dataset"])
def test_crs(way, dataset):
    cube = WAYS[way](bare(dataset))
    assert cube.anysat.crs == pyproj.CRS(32631)
    assert spec_of(cube).geobox == GeoBox((4, 6), PLACE, "EPSG:32631")


def test_a_grid_mapping_that_the_file_left_among_the_variables():
    """As `xr.open_dataset` does unless it is told decode_coords="all"."""
    cube = with_mapping(bare(dataset=True), "crs", where="attrs").reset_coords("crs")
    assert "crs" in cube.data_vars
    assert cube.anysat.crs == pyproj.CRS(32631)


def test_a_grid_mapping_survives_the_stacking_of_a_dataset():
    stacked = make_dataset().to_dataarray("band")
    assert stacked.anysat.crs == pyproj.CRS(32631)


@pytest.mark.parametrize("dataset", [False, True], ids=["DataArray", "Dataset"])
def test_no_crs(dataset):
    finding = fault(bare(dataset), "grid.no-crs")
    assert finding.remedies[0].code == 'cube.rio.write_crs("EPSG:32631")'


def test_degrees_without_crs_are_told_from_metres():
    cube = bare()
    rows, columns = (np.arange(cube.sizes[dim]) for dim in ("y", "x"))
    cube = cube.assign_coords(x=15.4 + 1e-4 * columns, y=46 - 1e-4 * rows)
    finding = fault(cube, "grid.no-crs")
    assert finding.remedies[0].code == 'cube.rio.write_crs("EPSG:4326")'
    assert "degrees" in str(finding)


@pytest.mark.parametrize(
    "cube",
    [
        bare().assign_attrs(crs="nonsense"),
        bare().assign_attrs(crs=[1]),
        bare().assign_coords(epsg=1),
        bare().assign_coords(epsg=np.nan),
        with_mapping(bare(), "a", where=None).assign_coords(
            b=xr.DataArray(0, attrs=pyproj.CRS(32632).to_cf())
        ),
    ],
    ids=["text", "list", "epsg", "nan", "two grid mappings"],
)
def test_a_crs_that_cannot_be_read(cube):
    finding = fault(cube, "grid.bad-crs")
    assert finding.remedies[0].code == 'cube.rio.write_crs("EPSG:32631")'


def test_the_declared_grid_mapping_counts_where_there_are_two():
    other = xr.DataArray(0, attrs=pyproj.CRS(32632).to_cf())
    cube = with_mapping(bare(), "utm", where="attrs").assign_coords(other=other)
    assert cube.anysat.crs == pyproj.CRS(32631)


@pytest.mark.parametrize(
    "crs", ["EPSG:32631+5773", "+proj=utm +zone=31 +ellps=intl +towgs84=-87,-98,-121,0,0,0,0"]
)
def test_compound_and_bound_crs(crs):
    assert make_cube(crs=crs).anysat.gsd == 10


# -- spatial dimensions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "x"), [("y", "x"), ("Y", "X"), ("northing", "easting"), ("latitude", "longitude")]
)
def test_names_of_spatial_dimensions(y, x):
    cube = make_cube(shape=(4, 6)).rename(y=y, x=x) if y != "y" else make_cube()
    spec = spec_of(cube)
    assert (spec.y_dim, spec.x_dim) == (y, x)
    assert spec.shape == (4, 6)


def test_dimensions_of_unknown_names():
    finding = fault(make_cube().rename(y="rows", x="cols"), "grid.no-dimensions")
    assert "['time', 'band', 'rows', 'cols']" in str(finding)
    assert 'cube.rename(my_rows="y", my_columns="x")' in str(finding)


def test_a_fault_of_the_grid_makes_its_dimensions_no_strangers():
    cube = make_cube(crs="EPSG:4326", step=(-1e-4, 1e-4), corner=(48.8, 2.3))
    fault(cube.rename(y="lat", x="lon"), "grid.not-metres")


# -- orientation -------------------------------------------------------------------------------


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("dataset", [False, True], ids=["DataArray", "Dataset"])
def test_either_way_round(flip_y, flip_x, dataset):
    cube = make_dataset() if dataset else make_cube()
    ways = {"y": -1 if flip_y else 1, "x": -1 if flip_x else 1}
    turned = cube.isel({dim: slice(None, None, way) for dim, way in ways.items()})
    found = understand(turned)
    spec = found.spec
    assert spec.orientation == Orientation(south_up=flip_y, east_left=flip_x)
    assert spec.geobox == GeoBox((4, 6), PLACE, "EPSG:32631")
    north_up = np.asarray(understand(cube).values)
    np.testing.assert_array_equal(found.values, north_up)
    first = turned["B02"] if dataset else turned.sel(band="B2")
    placed = first.sortby("y", ascending=False).sortby("x")
    np.testing.assert_array_equal(north_up[:, 0], placed.values)


# -- pixel size --------------------------------------------------------------------------------


@pytest.mark.parametrize("gsd", [10, 20, 30, 60, 250, 10.009, 9.991, 20.019])
def test_pixels_of_multiples_of_10_m(gsd):
    cube = make_cube(step=(-gsd, gsd))
    assert cube.anysat.gsd == 10 * round(gsd / 10)
    assert isinstance(cube.anysat.gsd, float)


@odc_warns
@pytest.mark.parametrize(
    ("make", "size"),
    [(make_cube, 1), (make_cube, 10.011), (make_cube, 15), (make_dataset, 9.98)],
)
def test_other_pixels(make, size):
    cube = make(step=(-size, size), shape=(30, 30))
    finding = fault(cube, "grid.pixel-size")
    assert f"{size:g} m" in str(finding)
    assert finding.remedies[0].code == resampling(32631)
    assert repaired(finding, cube).anysat.gsd == 10


@odc_warns
@pytest.mark.parametrize("step", [(-10, 20), (-20, 10), (-10, 10.02)])
def test_pixels_that_are_not_square(step):
    cube = make_cube(step=step)
    finding = fault(cube, "grid.not-square")
    assert f"{step[1]:g} m x {-step[0]:g} m" in str(finding)
    assert repaired(finding, cube).anysat.gsd == 10


@pytest.mark.parametrize(
    ("rule", "sound", "unsound"),
    [
        (PixelRule(metres=10, multiples=True), [10, 30], [15, 0.2]),
        (PixelRule(metres=30), [30, 30.02], [10, 60]),
        (PixelRule(metres=1.25), [1.25], [1, 2.5]),
        (PixelRule(metres=0.2), [0.2, 0.2001], [0.4, 0.21]),
        (PixelRule(metres=None), [231.7, 0.2], []),
    ],
)
def test_each_sensor_has_its_own_pixel_sizes(rule, sound, unsound):
    for size in sound:
        faults = []
        grid = find_grid(make_cube(step=(-size, size)), rule, faults, [])
        assert not faults
        assert grid.gsd == pytest.approx(size, rel=1e-3)
    for size in unsound:
        faults = []
        assert find_grid(make_cube(step=(-size, size)), rule, faults, []) is None
        assert codes(faults) == ["grid.pixel-size"]
        assert faults[0].remedies[0].code.endswith(f"resolution={rule.metres})")


def test_pixels_that_are_square_within_tolerance():
    assert make_cube(step=(-10.004, 9.996)).anysat.gsd == 10


US_FOOT = 1200 / 3937
FEET = {"crs": "EPSG:2263", "corner": (200_000, 990_000)}  # New York, in US survey feet


@pytest.mark.parametrize("gsd", [10, 30])
def test_metres_whatever_the_unit_of_the_crs(gsd):
    cube = make_cube(step=(-gsd / US_FOOT, gsd / US_FOOT), **FEET)
    assert cube.anysat.gsd == gsd
    assert spec_of(cube).geobox.resolution.x == pytest.approx(gsd / US_FOOT)


def test_kilometres():
    assert (
        make_cube(
            crs="+proj=utm +zone=31 +units=km", step=(-0.01, 0.01), corner=(5400, 440)
        ).anysat.gsd
        == 10
    )


@odc_warns
@pytest.mark.parametrize("feet", [10, 50])
def test_pixels_of_round_feet_are_repaired_in_metres(feet):
    cube = make_cube(step=(-feet, feet), shape=(30, 30), **FEET)
    finding = fault(cube, "grid.pixel-size")
    assert f"{feet * US_FOOT:g} m" in str(finding)
    assert finding.remedies[0].code == resampling(32618)
    assert repaired(finding, cube).anysat.gsd == 10


def test_a_crs_without_a_code_is_repaired_in_utm():
    laea = "+proj=laea +lat_0=-10 +lon_0=20 +datum=WGS84 +units=m"
    finding = fault(make_cube(crs=laea, step=(-15, 15), corner=(0, 0)), "grid.pixel-size")
    assert finding.remedies[0].code == resampling(32734)


# -- degrees -----------------------------------------------------------------------------------


@odc_warns
@pytest.mark.parametrize(
    ("lat", "lon", "code"),
    [
        (48.85, 2.35, 32631),
        (-33.9, 151.2, 32756),
        (-0.2, -78.5, 32717),
        (0.3, 32.6, 32636),
        (51.5, -0.1, 32630),
        (65.0, 179.9, 32660),
        (65.0, -179.9, 32601),
        (-54.8, -68.3, 32719),
    ],
)
def test_degrees_are_repaired_in_the_right_zone(lat, lon, code):
    cube = make_cube(crs="EPSG:4326", step=(-1e-4, 1e-4), corner=(lat, lon), shape=(12, 12))
    finding = fault(cube, "grid.not-metres")
    assert "degrees" in str(finding)
    assert finding.remedies[0].code == resampling(code)
    assert repaired(finding, cube).anysat.gsd == 10


@odc_warns
def test_a_dataset_in_degrees_is_repaired():
    degrees = {"crs": "EPSG:4326", "step": (-1e-4, 1e-4), "corner": (48.85, 2.35)}
    dataset = make_dataset(shape=(12, 12), **degrees)
    assert repaired(fault(dataset, "grid.not-metres"), dataset).anysat.gsd == 10


def test_a_cube_of_one_date_in_degrees():
    cube = make_cube(crs="EPSG:4326", step=(-1e-4, 1e-4), corner=(48.8, 2.3)).isel(time=0)
    fault(cube, "grid.not-metres")


def test_a_crs_that_is_no_map():
    finding = fault(make_cube(crs='LOCAL_CS["arbitrary",UNIT["metre",1]]'), "grid.not-metres")
    assert "'arbitrary'" in str(finding)
    assert "degrees" not in str(finding)


# -- projections that stretch ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "corner"),
    [
        ("EPSG:32631", (5_400_000, 440_000)),
        ("EPSG:32756", (6_250_000, 335_000)),
        ("EPSG:3035", (2_890_000, 3_760_000)),
        ("EPSG:2154", (6_860_000, 650_000)),
        ("EPSG:3857", (0, 0)),
        ("EPSG:3413", (-2_000_000, 500_000)),
        ("EPSG:32631+5773", (5_400_000, 440_000)),
    ],
)
def test_projections_that_do_not_stretch(crs, corner):
    assert spec_of(make_cube(crs=crs, corner=corner)).notes == ()


def test_web_mercator_away_from_the_equator():
    (note,) = spec_of(make_cube(crs="EPSG:3857", corner=(6_250_000, 260_000))).notes
    assert (note.code, note.severity) == ("grid.stretched", "warning")
    assert (note.data["scales"], note.data["ground"]) == ("1.52", "6.58 m")
    assert "WGS 84 / Pseudo-Mercator" in str(note)


def test_an_equal_area_projection_that_stretches_one_way():
    """EASE-Grid at 57 N: true areas, and shapes that are far from true."""
    (note,) = spec_of(make_cube(crs="EPSG:6933", corner=(6_200_000, 260_000))).notes
    assert note.code == "grid.stretched"
    assert note.data["scales"] == "0.618 and 1.62"
    assert note.data["ground"] == "16.2 m x 6.18 m"


def test_embed_warns_of_a_projection_that_stretches():
    cube = make_cube(crs="EPSG:3857", corner=(6_250_000, 260_000), shape=(4, 4))
    model = xr_anysat.Model("tiny", weights="random")
    with warns_of("grid.stretched") as caught:
        cube.anysat.embed(mode="tile", tile_size=4, overlap=0, model=model)
    (ours,) = (warning for warning in caught if warning.category is AnySatWarning)
    assert ours.filename == __file__


# -- coordinates -------------------------------------------------------------------------------


def test_float32_coordinates():
    cube = make_cube()
    cube = cube.assign_coords({d: cube[d].astype("float32") for d in "yx"})
    assert spec_of(cube).geobox == GeoBox((4, 6), PLACE, "EPSG:32631")


def test_float32_coordinates_that_are_rounded():
    """In feet seven digits are not enough for a hundredth of a pixel."""
    step = 10 / US_FOOT
    feet = "+proj=utm +zone=18 +units=us-ft"
    cube = make_cube(crs=feet, corner=(14.8e6, 1.9e6), step=(-step, step), shape=(400, 9))
    cube = cube.assign_coords({d: cube[d].astype("float32") for d in "yx"})
    off = np.abs(np.diff(cube.y.values.astype("float64")) + step).max()
    assert off > 0.02 * step
    assert cube.anysat.gsd == 10


@pytest.mark.parametrize("dim", ["y", "x"])
def test_irregular_coordinates(dim):
    cube = make_cube(shape=(6, 6))
    finding = fault(cube.drop_isel({dim: 2}), "grid.irregular")
    assert finding.data["dim"] == dim
    assert {abs(finding.data["shortest"]), abs(finding.data["longest"])} == {10, 20}
    shuffled = cube.isel({dim: [3, 0, 2, 5, 1, 4]})
    ordered = repaired(fault(shuffled, "grid.irregular"), shuffled)
    np.testing.assert_array_equal(understand(ordered).values, understand(cube).values)


def test_a_coordinate_that_jitters():
    cube = make_cube(shape=(6, 6))
    jitter = np.array([0, 1, -1, 1, 0, 0.0])
    assert cube.assign_coords(x=cube.x + 0.05 * jitter).anysat.gsd == 10
    finding = fault(cube.assign_coords(x=cube.x + 0.5 * jitter), "grid.irregular")
    assert finding.data["dim"] == "x"


def test_a_coordinate_that_stands_still():
    finding = fault(make_cube().assign_coords(y=[5.0] * 4), "grid.irregular")
    assert finding.data["dim"] == "y"


@pytest.mark.parametrize("values", [list("abcdef"), [np.nan] * 6, [0, 10, np.inf, 30, 40, 50]])
def test_coordinates_that_are_no_numbers(values):
    assert fault(make_cube().assign_coords(x=values), "grid.not-numbers").data["dim"] == "x"


# -- one pixel, and no coordinates -------------------------------------------------------------


@pytest.mark.parametrize("dims", ["x", "y", "yx"])
@pytest.mark.parametrize("dataset", [False, True], ids=["DataArray", "Dataset"])
def test_one_pixel_with_a_declared_transform(dims, dataset):
    cube = make_dataset() if dataset else make_cube()
    cube = cube.rio.write_transform(PLACE).isel({d: [2] for d in dims})
    row, column = (2 if "y" in dims else 0), (2 if "x" in dims else 0)
    shape = (1 if "y" in dims else 4, 1 if "x" in dims else 6)
    place = Affine(10, 0, 440_000 + 10 * column, 0, -10, 5_400_000 - 10 * row)
    spec = spec_of(cube)
    assert spec.geobox == GeoBox(shape, place, "EPSG:32631")
    assert spec.orientation == Orientation()


def test_one_pixel_of_odc_geo():
    cube = odc.geo.xr.xr_zeros(GeoBox((1, 1), PLACE, "EPSG:32631"), dtype="uint16")
    cube = cube.expand_dims(time=make_cube().time, band=list(BANDS))
    assert spec_of(cube).geobox == GeoBox((1, 1), PLACE, "EPSG:32631")


@pytest.mark.parametrize("transform", [PLACE, tuple(PLACE), tuple(PLACE)[:6], list(PLACE)])
def test_one_pixel_of_stackstac(transform):
    cube = make_cube(crs=None).assign_attrs(crs="epsg:32631", transform=transform)
    assert spec_of(cube.isel(x=[0])).shape == (4, 1)


@pytest.mark.parametrize("dim", ["x", "y"])
def test_one_pixel_without_a_declared_size(dim):
    finding = fault(make_cube().isel({dim: [0]}), "grid.one-pixel")
    assert finding.data["dim"] == dim
    assert finding.remedies[0].code == "cube.rio.write_transform(...)"


def test_a_transform_in_place_of_coordinates():
    cube = make_cube().drop_vars(["x", "y"]).rio.write_transform(PLACE)
    assert spec_of(cube).geobox == GeoBox((4, 6), PLACE, "EPSG:32631")


def test_neither_coordinates_nor_transform():
    with pytest.raises(CubeError) as caught:
        understand(make_cube().drop_vars(["x", "y"]))
    assert codes(caught.value) == ["grid.no-coordinate"] * 2
    assert [finding.data["dim"] for finding in caught.value.findings] == ["y", "x"]
    ways = [remedy.code for remedy in caught.value.findings[1].remedies]
    assert ways == ["cube.assign_coords(x=...)", "cube.rio.write_transform(...)"]


@pytest.mark.parametrize("text", ["", "440000 10 0", "a b c d e f"])
def test_a_transform_that_cannot_be_read_is_none(text):
    cube = make_cube()
    cube.spatial_ref.attrs["GeoTransform"] = text
    assert spec_of(cube).geobox == GeoBox((4, 6), PLACE, "EPSG:32631")
    fault(cube.isel(x=[0]), "grid.one-pixel")


# -- rotation ----------------------------------------------------------------------------------

ROTATED = Affine(9.4, 3.42, 440_000, 3.42, -9.4, 5_400_000)


@odc_warns
@pytest.mark.parametrize("kind", ["odc-geo", "rioxarray"])
def test_rotated_grids(kind):
    values = odc.geo.xr.xr_zeros(GeoBox((40, 60), ROTATED, "EPSG:32631"), dtype="uint16")
    cube = values.expand_dims(time=make_cube().time, band=list(BANDS))
    if kind == "rioxarray":
        cube = cube.drop_vars(["x", "y"]).rio.write_transform(ROTATED)
    finding = fault(cube, "grid.rotated")
    assert finding.data["transform"] == "9.4, 3.42, 440000, 3.42, -9.4, 5.4e+06"
    assert finding.remedies[0].code == resampling(32631)
    if kind == "odc-geo":
        assert repaired(finding, cube).anysat.gsd == 10


def test_a_rotated_grid_without_a_crs():
    cube = make_cube().rio.write_transform(ROTATED).assign_coords(spatial_ref=0)
    cube.spatial_ref.attrs["GeoTransform"] = " ".join(map(str, ROTATED.to_gdal()))
    with pytest.raises(CubeError) as caught:
        understand(cube)
    assert codes(caught.value) == ["grid.no-crs", "grid.rotated"]
