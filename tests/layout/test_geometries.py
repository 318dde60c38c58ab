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

from xr_anysat import AnySatWarning, OptionError

UTM = "EPSG:32631"


def embed(cube, geometry, **options):
    return cube.anysat.embed(
        "pooled", **{"model": TINY, "tile_size": 16, "geometry": geometry, **options}
    )


@pytest.fixture(scope="module")
def cube():
    return make_cube(24, 20, dates=1)


def box(left, top, right, bottom):
    """Metres east of and south of the cube's corner."""
    return shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)


FIELDS = [box(10, 15, 65, 90), box(100, 100, 133, 122), box(150, 210, 300, 500)]
AWAY = box(-500, 0, -100, 50)


def frame(**columns):
    return geopandas.GeoDataFrame(columns, geometry=FIELDS, crs=UTM)


# CRS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crs", ["EPSG:4326", 4326, pyproj.CRS(4326), "OGC:CRS84", "EPSG:3857"])
def test_geometries_in_another_crs(cube, crs):
    expected = embed(cube, FIELDS)
    elsewhere = geopandas.GeoSeries(FIELDS, crs=UTM).to_crs(crs)
    given = {
        "shapely": (list(elsewhere), crs),
        "without a CRS": (geopandas.GeoSeries(list(elsewhere)), crs),
        "with its own": (elsewhere, None),
        "that agrees": (elsewhere, crs),
        "an array": (elsewhere.values, None),
    }
    for name, (geometry, told) in given.items():
        result = embed(cube, geometry, geometry_crs=told)
        np.testing.assert_allclose(result, expected, atol=1e-3, err_msg=name)
        assert result.rio.crs.to_epsg() == 32631
        for ours, theirs in zip(result["geometry"].values, FIELDS, strict=True):
            assert ours.hausdorff_distance(theirs) < 1e-3


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


def test_metres_of_another_zone(cube):
    """Edges of 400 km, of a CRS in feet besides."""
    local = "+proj=tmerc +lon_0=9 +k=1 +x_0=0 +ellps=WGS84 +units=us-ft"
    there = pyproj.Transformer.from_crs(UTM, local, always_xy=True)
    x, y = there.transform(WEST + 100, NORTH - 120)
    wide = shapely.box(x - 7e5, y - 7e5, x + 7e5, y)
    shape = embed(cube, wide, geometry_crs=local)["geometry"].item()
    back = pyproj.Transformer.from_crs(local, UTM, always_xy=True)
    for east in (-6.5e5, 0, 1234, 3e5):  # along its northern edge
        assert shape.exterior.distance(shapely.Point(*back.transform(x + east, y))) < 0.1


def test_heights_are_of_no_matter(cube):
    high = shapely.force_3d(np.array(FIELDS), 120.0)
    assert_same(embed(cube, high), embed(cube, FIELDS), atol=0)
    elsewhere = geopandas.GeoSeries(high, crs=UTM).to_crs(4326)
    assert_same(embed(cube, elsewhere), embed(cube, FIELDS), atol=1e-3)


def test_the_coordinate_of_a_result_is_geometries(cube):
    first = embed(cube, FIELDS)
    assert_same(embed(cube, first["geometry"]), first, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"geometry_crs": "EPSG:nothing"}, r"geometry_crs='EPSG:nothing' is not a CRS.*pyproj"),
        ({"geometry_crs": [1, 2]}, r"geometry_crs=\[1, 2\] is not a CRS"),
        ({"geometry_crs": 4326}, r"\[0, 1, 2\] in EPSG:4326 have points that EPSG:32631 cannot"),
        ({"geometry": None, "geometry_crs": 4326}, "geometry_crs= is the CRS of geometry="),
        ({"outside": "drop"}, r"outside='drop' is not one of \['raise', 'nan'\]"),
        ({"geometry": geopandas.GeoSeries(FIELDS, crs=UTM), "geometry_crs": 4326},
         r"geometry_crs=EPSG:4326, but .* in EPSG:32631; leave out geometry_crs="),
    ],
)  # fmt: skip
def test_a_crs_that_does_not_fit(cube, options, message):
    with pytest.raises(OptionError, match=message):
        embed(cube, **{"geometry": FIELDS, **options})


# Outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"x": 8}])
def test_outside_is_nan_where_asked_for(cube, chunks):
    cube = cube if chunks is None else cube.chunk(chunks)
    shapes = [AWAY, FIELDS[0], shapely.Polygon(), FIELDS[1]]
    with pytest.raises(OptionError, match=r"positions \[0, 2\] do not touch.*outside=\"nan\""):
        embed(cube, shapes)
    result = embed(cube, shapes, outside="nan")
    assert result.shape == (4, WIDTH)
    assert np.isnan(result[[0, 2]]).all()
    assert_same(result[[1, 3]], embed(cube, [FIELDS[0], FIELDS[1]]), atol=1e-5)
    assert result["geometry"].values.tolist() == shapes


def test_all_outside_is_a_warning(cube):
    with pytest.warns(AnySatWarning, match=r"none of the geometries touches .*EPSG:32631"):
        result = embed(cube, [AWAY, AWAY], outside="nan", pooling="max")
    assert result.shape == (2, WIDTH)
    assert np.isnan(result).all()


def test_of_one_partly_outside_the_part_inside_counts(cube):
    partly, inside = box(150, 150, 900, 900), box(150, 150, 200, 240)
    assert_same(embed(cube, partly), embed(cube, inside), atol=1e-5)


# Index and columns -------------------------------------------------------------------------------


def test_index_and_columns_are_coordinates(cube):
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
    assert_same(result, embed(cube, FIELDS), atol=2e-5)
    assert embed(cube, frame())["index"].values.tolist() == [0, 1, 2]
    assert set(embed(cube, FIELDS).coords) - {"geometry"} == set(
        cube.anysat.embed("pooled", model=TINY).coords
    )


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
def test_types_that_xarray_does_not_know(cube, kind):
    values, expected = MISSING[kind]
    found = embed(cube, frame(value=values))["value"]
    assert type(found.variable._data) is np.ndarray
    if kind.startswith("time"):
        assert np.array_equal(found, np.array(expected, "M8[ns]"), equal_nan=True)
    elif isinstance(expected[0], str):
        assert pd.Series(found.values).equals(pd.Series(expected))
    else:
        assert found.dtype.kind in "ifb"
        assert (found.dtype.kind == "b") == isinstance(expected[0], bool)
        np.testing.assert_array_equal(found, expected)


def test_a_column_of_several_types_is_text_and_says_so(cube):
    with pytest.warns(AnySatWarning, match="column 'note' holds values of several types"):
        found = embed(cube, frame(note=objects(1, "wheat", None)))["note"]
    assert pd.Series(found.values).equals(pd.Series(["1", "wheat", np.nan]))


def test_levels_of_a_multiindex_are_coordinates(cube):
    levels = pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["farm", None])
    result = embed(cube, frame().set_index(levels))
    assert result["farm"].values.tolist() == ["x", "x", "y"]
    assert result["index_1"].values.tolist() == [1, 2, 1]


def test_names_that_a_result_has_already(cube):
    given = frame(part=[1, 2, 3], feature=[4, 5, 6]).rename_axis("geometry")
    with pytest.warns(AnySatWarning) as caught:
        result = embed(cube, given)
    messages = sorted(str(each.message) for each in caught if each.category is AnySatWarning)
    assert [message.split(":")[0] for message in messages] == [
        "column 'feature' is called 'feature_column'",
        "column 'part' is called 'part_column'",
        "index 'geometry' is called 'geometry_index'",
    ]
    assert result["part_column"].values.tolist() == [1, 2, 3]
    assert result["feature_column"].values.tolist() == [4, 5, 6]
    assert set(result["part"].values) == {"patch"}
    numbered = frame().assign(**{"0": [7, 8, 9]}).rename(columns={"0": 0})
    assert embed(cube, numbered)["0"].values.tolist() == [7, 8, 9]


def test_further_columns_of_geometries_are_left_out(cube):
    centres = geopandas.GeoSeries(FIELDS).centroid
    with pytest.warns(AnySatWarning, match="column 'centre' holds geometries besides"):
        result = embed(cube, frame(centre=centres))
    assert "centre" not in result.coords
    active = frame(centre=centres).set_geometry("centre", crs=UTM).iloc[:2]
    with pytest.warns(AnySatWarning, match="column 'geometry' holds geometries besides"):
        assert embed(cube, active)["geometry"].item(0).geom_type == "Point"


def test_missing_geometries_are_an_error(cube):
    missing = geopandas.GeoSeries([FIELDS[0], None], crs=UTM)
    with pytest.raises(OptionError, match=r"\['NoneType'\].*notna\(\)"):
        embed(cube, missing, outside="nan")


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
    with pytest.raises(OptionError, match=r"geometry='parcels.gpkg' is a text; .*read_file"):
        make_cube(12, 12).anysat.embed("pooled", geometry=given, model=TINY)
