"""Geometries as users have them: their CRS, what they bring along, and where they may lie."""

import datetime as dt
import warnings
from decimal import Decimal
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr
import xvec  # noqa: F401  registers `.xvec`
from support.cubes import NORTH, TINY, WEST, WIDTH, assert_same, make_cube
from support.findings import codes, finds, warns_of

from xr_anysat import AnySatWarning, OptionError
from xr_anysat.layout.geometries import as_geometries

UTM = "EPSG:32631"


def embed(cube, geometry, **options):
    return cube.anysat.embed(
        "pooled", **{"model": TINY, "tile_size": 16, "geometry": geometry, **options}
    )


@pytest.fixture(scope="module")
def cube():
    return make_cube(24, 20, dates=1)


GEOBOX = make_cube(24, 20, dates=1).odc.geobox


def box(left, top, right, bottom):
    """Metres east of and south of the cube's corner."""
    return shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)


FIELDS = [box(10, 15, 65, 90), box(100, 100, 133, 122), box(150, 210, 300, 500)]
AWAY = box(-500, 0, -100, 50)


def frame(**columns):
    return geopandas.GeoDataFrame(columns, geometry=FIELDS, crs=UTM)


@pytest.fixture(scope="module")
def vectors(cube):
    return embed(cube, FIELDS)


# CRS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crs", ["EPSG:4326", 4326, pyproj.CRS(4326), "OGC:CRS84", "EPSG:3857"])
def test_geometries_in_another_crs(crs):
    elsewhere = geopandas.GeoSeries(FIELDS, crs=UTM).to_crs(crs)
    given = {
        "shapely": (list(elsewhere), crs),
        "without a CRS": (geopandas.GeoSeries(list(elsewhere)), crs),
        "with its own": (elsewhere, None),
        "that agrees": (elsewhere, crs),
        "an array": (elsewhere.values, None),
    }
    for name, (geometry, geometry_crs) in given.items():
        for ours, theirs in zip(
            as_geometries(geometry, GEOBOX, geometry_crs).shapes, FIELDS, strict=True
        ):
            assert ours.hausdorff_distance(theirs) < 1e-3, name


def test_vectors_of_geometries_in_another_crs(cube, vectors):
    elsewhere = geopandas.GeoSeries(FIELDS, crs=UTM).to_crs(4326)
    result = embed(cube, list(elsewhere), geometry_crs=4326)
    np.testing.assert_allclose(result, vectors, atol=1e-3)
    assert result.rio.crs.to_epsg() == 32631
    assert result["geometry"].item(0).hausdorff_distance(FIELDS[0]) < 1e-3


def test_edges_are_straight_in_the_crs_that_they_come_in(cube):
    """A parallel of 8 degrees bends by kilometres from the straight line between its ends."""
    to_lonlat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    longitude, latitude = to_lonlat.transform(WEST + 100, NORTH - 120)
    southern = shapely.box(longitude - 4, latitude - 1, longitude + 4, latitude)
    result = embed(cube, southern, geometry_crs="EPSG:4326")
    shape = result["geometry"].item()
    inside, outside = shapely.points(WEST + 100, NORTH - np.array([120.5, 119.5]))
    assert shape.contains(inside)
    assert not shape.contains(outside)
    rows = cube.anysat.embed("patch", model=TINY, tile_size=16)[:, 3:]
    assert_same(result[0], rows.mean(("y", "x")), atol=1e-3)


def test_metres_of_another_zone():
    """Edges of 400 km, of a CRS in feet besides."""
    local = "+proj=tmerc +lon_0=9 +k=1 +x_0=0 +ellps=WGS84 +units=us-ft"
    to_local = pyproj.Transformer.from_crs(UTM, local, always_xy=True)
    x, y = to_local.transform(WEST + 100, NORTH - 120)
    wide = shapely.box(x - 7e5, y - 7e5, x + 7e5, y)
    (shape,) = as_geometries(wide, GEOBOX, local).shapes
    back = pyproj.Transformer.from_crs(local, UTM, always_xy=True)
    for east in (-6.5e5, 0, 1234, 3e5):  # along its northern edge
        assert shape.exterior.distance(shapely.Point(*back.transform(x + east, y))) < 0.1


def test_heights_are_ignored(cube, vectors):
    high = shapely.force_3d(np.array(FIELDS), 120.0)
    assert_same(embed(cube, high), vectors, atol=0)
    elsewhere = geopandas.GeoSeries(high, crs=UTM).to_crs(4326)
    for ours, theirs in zip(as_geometries(elsewhere, GEOBOX).shapes, FIELDS, strict=True):
        assert ours.hausdorff_distance(theirs) < 1e-3


def test_the_coordinate_of_a_result_is_geometries(cube, vectors):
    assert_same(embed(cube, vectors["geometry"]), vectors, atol=0)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"geometry_crs": "EPSG:nothing"}, "geometry.crs", 'geometry_crs="EPSG:nothing"'),
        ({"geometry_crs": [1, 2]}, "geometry.crs", "geometry_crs=[1, 2]"),
        ({"geometry_crs": 4326}, "geometry.crs-range", "[0, 1, 2]"),
        ({"geometry": None, "geometry_crs": 4326}, "geometry.absent", "geometry_crs"),
        ({"outside": "drop"}, "option.choice", "'nan'"),
        ({"geometry": geopandas.GeoSeries(FIELDS, crs=UTM), "geometry_crs": 4326},
         "geometry.crs-conflict", "EPSG:32631"),
    ],
)  # fmt: skip
def test_a_crs_that_does_not_fit(cube, options, code, words):
    with finds(code, OptionError) as raised:
        embed(cube, **{"geometry": FIELDS, **options})
    assert words in str(raised.value)


# Outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"x": 8}])
def test_outside_is_nan_where_asked_for(cube, vectors, chunks):
    cube = cube if chunks is None else cube.chunk(chunks)
    shapes = [AWAY, FIELDS[0], shapely.Polygon(), FIELDS[1]]
    with finds("geometry.outside", OptionError) as raised:
        embed(cube, shapes)
    assert "[0, 2]" in str(raised.value)
    assert 'outside="nan"' in str(raised.value)
    result = embed(cube, shapes, outside="nan")
    assert result.shape == (4, WIDTH)
    assert np.isnan(result[[0, 2]]).all()
    assert_same(result[[1, 3]], vectors[:2], atol=1e-5)
    assert result["geometry"].values.tolist() == shapes


def test_all_outside_is_a_warning(cube):
    with warns_of("geometry.all-outside"):
        result = embed(cube, [AWAY, AWAY], outside="nan", pooling="max")
    assert result.shape == (2, WIDTH)
    assert np.isnan(result).all()


def test_of_one_partly_outside_the_part_inside_counts(cube):
    partly, inside = box(150, 150, 900, 900), box(150, 150, 200, 240)
    first, second = embed(cube, [partly, inside])
    assert_same(first, second, atol=1e-5)


# Index and columns -------------------------------------------------------------------------------


def test_index_and_columns_are_coordinates(cube, vectors):
    columns = {
        "crop": ["wheat", "maize", "wheat"],
        "area": [1.5, 2.5, 3.5],
        "parcel": np.array([4, 5, 6], dtype="int16"),
        "organic": [True, False, True],
        "sown": pd.to_datetime(["2021-03-01", "2021-04-01", "2021-03-07"]),
    }
    given = frame(**columns).set_index(pd.Index(["a", "b", "c"], name="field"))
    result = embed(cube.chunk(x=8), given)
    assert result["field"].values.tolist() == ["a", "b", "c"]
    for name, values in columns.items():
        assert result[name].dims == ("geometry",)
        assert np.array_equal(result[name].values, np.asarray(values)), name
    assert result["parcel"].dtype == "int16"
    assert result["organic"].dtype == bool
    assert result["sown"].dtype.kind == "M"
    wheat = result.sel(geometry=result["crop"] == "wheat")
    assert wheat["field"].values.tolist() == ["a", "c"]
    assert result.groupby("crop").mean().sizes == {"crop": 2, "feature": WIDTH}
    assert_same(result, vectors, atol=2e-5)
    assert column("index", frame()).tolist() == [0, 1, 2]
    assert set(vectors.coords) - {"geometry"} == set(cube.anysat.embed("pooled", model=TINY).coords)


def column(name, geometry):
    """Values of a column or index, as the coordinate of a result."""
    dim, values = as_geometries(geometry, GEOBOX).coords[name]
    assert dim == "geometry"
    return values


def objects(*values):
    return pd.Series(values, dtype=object)


MISSING = {
    "objects, yes or no": (objects(True, None, False), [1.0, np.nan, 0.0]),
    "objects, all yes or no": (objects(True, True, False), [True, True, False]),
    "objects, whole": (objects(1, None, 3), [1.0, np.nan, 3.0]),
    "objects, all whole": (objects(1, 2, 3), [1, 2, 3]),
    "objects, fractions": (objects(1, 2.5, None), [1.0, 2.5, np.nan]),
    "objects, decimal": (objects(Decimal("1.5"), None, Decimal(2)), [1.5, np.nan, 2.0]),
    "objects, nothing": (objects(None, None, np.nan), [np.nan] * 3),
    "objects, text": (objects("x", None, "y"), ["x", np.nan, "y"]),
    "time, of dates": (
        objects(dt.date(2021, 3, 1), None, dt.date(2021, 3, 2)),
        ["2021-03-01", "NaT", "2021-03-02"],
    ),
    "category": (pd.Categorical(["b", None, "a"]), ["b", np.nan, "a"]),
    "category of numbers": (pd.Categorical([2, 1, 2]), [2, 1, 2]),
    "string": (pd.array(["x", None, "y"], dtype="string"), ["x", np.nan, "y"]),
    "whole": (pd.array([1, None, 3], dtype="Int64"), [1.0, np.nan, 3.0]),
    "whole and complete": (pd.array([1, 2, 3], dtype="Int32"), [1, 2, 3]),
    "yes or no": (pd.array([True, None, False], dtype="boolean"), [1.0, np.nan, 0.0]),
    "time": (
        pd.to_datetime(["2021-03-01 01:00", None, "2021-03-02 00:00"]).tz_localize("Europe/Paris"),
        ["2021-03-01T00:00", "NaT", "2021-03-01T23:00"],
    ),
    "month": (pd.period_range("2021-01", periods=3, freq="M"), ["2021-01", "2021-02", "2021-03"]),
}


@pytest.mark.parametrize("kind", MISSING)
def test_types_that_xarray_does_not_know(kind):
    given, expected = MISSING[kind]
    values = column("value", frame(value=given))
    assert type(values) is np.ndarray
    assert type(xr.Variable("geometry", values)._data) is np.ndarray
    if kind.startswith("time"):
        assert np.array_equal(values, np.array(expected, "M8[ns]"), equal_nan=True)
    elif isinstance(expected[0], str):
        assert pd.Series(values).equals(pd.Series(expected))
    else:
        assert values.dtype.kind in "ifb"
        assert (values.dtype.kind == "b") == isinstance(expected[0], bool)
        np.testing.assert_array_equal(values, expected)


def test_a_column_of_several_types_is_text_with_a_warning():
    with warns_of("geometry.mixed-column") as caught:
        values = column("note", frame(note=objects(1, "wheat", None)))
    assert "'note'" in str(caught[0].message)
    assert pd.Series(values).equals(pd.Series(["1", "wheat", np.nan]))


def test_levels_of_a_multiindex_are_coordinates():
    levels = pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["farm", None])
    given = frame().set_index(levels)
    assert column("farm", given).tolist() == ["x", "x", "y"]
    assert column("index_1", given).tolist() == [1, 2, 1]


def test_names_that_a_result_has_already(cube):
    given = frame(part=[1, 2, 3], feature=[4, 5, 6]).rename_axis("geometry")
    with pytest.warns(AnySatWarning) as caught:
        result = embed(cube, given)
    warned = [each.message for each in caught if each.category is AnySatWarning]
    assert {code for warning in warned for code in codes(warning)} == {"geometry.renamed-column"}
    assert sorted(tuple(warning.findings[0].data.values()) for warning in warned) == [
        ("column", "feature", "feature_column"),
        ("column", "part", "part_column"),
        ("index", "geometry", "geometry_index"),
    ]
    assert result["part_column"].values.tolist() == [1, 2, 3]
    assert result["feature_column"].values.tolist() == [4, 5, 6]
    assert set(result["part"].values) == {"patch"}
    numbered = frame().assign(**{"0": [7, 8, 9]}).rename(columns={"0": 0})
    assert column("0", numbered).tolist() == [7, 8, 9]


def test_further_columns_of_geometries_are_left_out():
    centres = geopandas.GeoSeries(FIELDS).centroid
    with warns_of("geometry.other-column") as caught:
        result = as_geometries(frame(centre=centres), GEOBOX)
    assert "'centre'" in str(caught[0].message)
    assert "centre" not in result.coords
    active = frame(centre=centres).set_geometry("centre", crs=UTM).iloc[:2]
    with warns_of("geometry.other-column") as caught:
        assert as_geometries(active, GEOBOX).shapes[0].geom_type == "Point"
    assert "'geometry'" in str(caught[0].message)


def test_missing_geometries_are_an_error():
    missing = geopandas.GeoSeries([FIELDS[0], None], crs=UTM)
    with finds("geometry.type", OptionError) as raised:
        as_geometries(missing, GEOBOX, outside="nan")
    assert "NoneType" in str(raised.value)


def test_invalid_geometries_are_an_error():
    crossed = shapely.Polygon([(WEST + x, NORTH - y) for x, y in ((0, 0), (9, 9), (9, 0), (0, 9))])
    with finds("geometry.invalid", OptionError) as raised:
        as_geometries([FIELDS[0], crossed], GEOBOX)
    assert "[1]" in str(raised.value)
    assert "Self-intersection" in str(raised.value)


# xvec --------------------------------------------------------------------------------------------


def test_xvec_takes_the_result(cube):
    result = embed(cube, frame(crop=["wheat", "maize", "wheat"]))
    indexed = result.xvec.set_geom_indexes("geometry", crs=result.rio.crs)
    assert indexed.xvec.is_geom_variable("geometry")
    assert indexed.xindexes["geometry"].crs.to_epsg() == 32631
    found = indexed.xvec.query("geometry", FIELDS[1])
    assert found["crop"].values.tolist() == ["maize"]
    with warnings.catch_warnings():  # of pandas, about xvec
        warnings.simplefilter("ignore")
        table = indexed.xvec.to_geopandas()
    assert table.crs.to_epsg() == 32631
    assert table.geometry.geom_equals(geopandas.GeoSeries(FIELDS, crs=UTM)).all()
    assert_same(table[list(result["feature"].values)], result, atol=0)
    moved = indexed.xvec.to_crs(geometry=4326)
    assert abs(float(moved["geometry"].item(0).centroid.x) - 3) < 0.01
    assert isinstance(moved, xr.DataArray)


@pytest.mark.parametrize("given", ["parcels.gpkg", Path("parcels.gpkg")])
def test_a_path_is_to_be_read_first(given):
    with finds("geometry.text", OptionError) as raised:
        make_cube(12, 12).anysat.embed("pooled", geometry=given, model=TINY)
    assert 'geometry="parcels.gpkg"' in str(raised.value)
