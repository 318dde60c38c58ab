"""Vectors of geometries: weights by area, whatever the chunks."""

import dask.array as da
import geopandas
import numpy as np
import pytest
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.affinity import rotate, translate
from support.cubes import NORTH, TINY, WEST, WIDTH, assert_same, make_cube, punch
from support.findings import finds

from xr_anysat import OptionError
from xr_anysat.layout import chunks as chunking
from xr_anysat.layout.shares import find_shares
from xr_anysat.results.pooling import pool_geometries, pool_map

FINE = 80
"""Cells of the rasterisation per cell of the map, along each axis."""


def embed(cube, **options):
    return cube.anysat.embed(**{"mode": "pooled", "model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(30, 25))


@pytest.fixture(scope="module")
def maps(cube):
    return {
        mode: cube.anysat.embed(mode, model=TINY, tile_size=16) for mode in ("patch", "tile")
    }  # fmt: skip


def place(x, y):
    """Metres east of and south of the cube's corner."""
    return WEST + x, NORTH - y


def polygon(*points):
    return shapely.Polygon([place(*point) for point in points])


FIELDS = {
    "triangle": polygon((13, 22), (171, 55), (64, 203)),
    "rectangle on the cells": polygon((40, 40), (120, 40), (120, 160), (40, 160)),
    "smaller than a patch": polygon((87, 91), (96, 91), (96, 111), (87, 111)),
    "smaller, over a corner of four": polygon((112, 70), (130, 75), (125, 93)),
    "with a hole": shapely.box(*place(5, 205), *place(205, 5)).difference(
        shapely.box(*place(60, 150), *place(150, 60))
    ),
    "two parts": shapely.union_all(
        [shapely.Point(*place(30, 30)).buffer(22), shapely.Point(*place(170, 250)).buffer(31)]
    ),
    "past the edge": rotate(shapely.box(*place(150, 340), *place(320, 190)), 20),
    "all of the cube and more": shapely.box(*place(-500, 900), *place(900, -500)),
    "past the north-west": shapely.box(*place(-300, 31), *place(27, -200)),
}


def shares(shape, map_, cube_bounds):
    """Share of each cell inside a shape, by counting points of a grid eighty times as fine.

    What lies in the cube and in no cell counts for the nearest one.
    """
    step = map_.rio.resolution()[0]
    west, south, east, north = map_.rio.bounds()
    fine = step / FINE
    left, bottom, right, top = cube_bounds
    x = np.arange(west - fine * np.ceil(max(west - left, 0) / fine), max(east, right), fine)
    y = np.arange(north + fine * np.ceil(max(top - north, 0) / fine), min(south, bottom), -fine)
    inside = shapely.contains_xy(shape, *np.meshgrid(x + fine / 2, y - fine / 2))
    rows, columns = map_.sizes["y"], map_.sizes["x"]
    row = np.clip((north - y + fine / 2) // step, 0, rows - 1).astype(int)
    column = np.clip((x + fine / 2 - west) // step, 0, columns - 1).astype(int)
    share = np.zeros((rows, columns))
    np.add.at(share, (row[:, None], column), inside)
    return share / FINE**2


# Against a rasterisation -------------------------------------------------------------------------


@pytest.mark.parametrize("pool_from", ["patch", "tile"])
def test_weights_are_shares_of_area(cube, maps, pool_from):
    map_ = maps[pool_from]
    pooled = embed(cube, geometry=list(FIELDS.values()), pool_from=pool_from)
    assert pooled.dims == ("geometry", "feature")
    valid = map_.notnull().all("feature").values
    for number, (name, shape) in enumerate(FIELDS.items()):
        weight = shares(shape, map_, cube.rio.bounds()) * valid
        if not weight.any():
            assert np.isnan(pooled[number]).all(), name
            continue
        cells = map_.fillna(0).values
        expected = np.einsum("fyx,yx->f", cells, weight) / weight.sum()
        np.testing.assert_allclose(pooled[number], expected, atol=0.02, err_msg=name)


def test_exact_shares():
    """Numbers that a reader can check: 1/4 of one cell, 1/2 of the next, all of a third."""
    geobox = GeoBox((2, 2), GeoBox.from_bbox((0, 0, 80, 80), resolution=40).transform, "EPSG:32631")
    data = da.from_array(np.array([[[1.0, 10.0], [100.0, 1000.0]]]), chunks=1)
    shape = shapely.union_all(
        [shapely.box(20, 40, 40, 60), shapely.box(40, 40, 60, 80), shapely.box(0, 0, 40, 40)]
    )
    found = find_shares([shape], geobox, geobox)
    mean = pool_geometries(data, found, "mean").compute()
    assert mean == pytest.approx(np.array([[(1 / 4 + 10 / 2 + 100) / (1 / 4 + 1 / 2 + 1)]]))
    highest = pool_geometries(data, found, "max").compute()
    assert highest.tolist() == [[100]]


def test_a_parcel_within_a_patch_is_that_patch(cube, maps):
    shape = FIELDS["smaller than a patch"]
    for pooling in ("mean", "max"):
        pooled = embed(cube, geometry=shape, pooling=pooling)
        assert pooled.shape == (1, WIDTH)
        assert_same(pooled[0], maps["patch"][:, 2, 2], atol=1e-5)


def test_maximum_over_cells_touched(cube, maps):
    pooled = embed(cube, geometry=list(FIELDS.values()), pooling="max")
    for number, shape in enumerate(FIELDS.values()):
        inside = shares(shape, maps["patch"], cube.rio.bounds()) > 0
        expected = maps["patch"].where(xr.DataArray(inside, dims=("y", "x"))).max(("y", "x"))
        assert_same(pooled[number], expected, atol=1e-5)


def test_points_and_lines_count_the_cells_they_touch(cube, maps):
    point = shapely.Point(*place(50, 130))
    line = shapely.LineString([place(10, 10), place(110, 12)])
    pooled = embed(cube, geometry=[point, line])
    assert_same(pooled[0], maps["patch"][:, 3, 1], atol=1e-5)
    assert_same(pooled[1], maps["patch"][:, 0, :3].mean("x"), atol=1e-5)


def test_all_of_the_cube_is_the_mean_of_the_map(cube):
    everything = FIELDS["all of the cube and more"]
    for pooling in ("mean", "max"):
        assert_same(
            embed(cube, geometry=everything, pooling=pooling)[0],
            embed(cube, pooling=pooling),
            atol=1e-5,
        )


def test_a_geometry_over_nothing_valid_is_nan(cube):
    lost = cube.copy()
    lost[:, :, :8, :8] = np.nan
    inside, touching = shapely.box(*place(60, 60), *place(10, 10)), FIELDS["triangle"]
    pooled = embed(lost, geometry=[inside, touching])
    assert np.isnan(pooled[0]).all()
    assert np.isfinite(pooled[1]).all()
    assert np.isnan(embed(lost, geometry=inside, pooling="max")).all()


def test_flipped_cubes_have_the_same_vectors(cube):
    shapes = list(FIELDS.values())
    turned = cube.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    assert_same(embed(turned, geometry=shapes), embed(cube, geometry=shapes), atol=1e-5)


# Chunks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "chunks"),
    [("mean", {"x": 9, "y": 7}), ("mean", {"x": 25, "y": 4, "time": 1}), ("max", {"x": 1})],
)
def test_dask_gives_the_same(cube, pooling, chunks, monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    shapes = list(FIELDS.values())
    result = embed(cube.chunk(chunks), geometry=shapes, pooling=pooling)
    assert isinstance(result.data, da.Array)
    assert result.shape == result.compute().shape == (len(FIELDS), WIDTH)
    assert result.data._meta.dtype == result.dtype == "float32"
    assert_same(result, embed(cube, geometry=shapes, pooling=pooling))


def test_more_geometries_than_a_chunk_holds(cube, monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    rng = np.random.default_rng(0)
    shapes = [
        translate(shapely.Point(*place(0, 0)).buffer(rng.uniform(2, 30)), dx, -dy)
        for dx, dy in rng.uniform(10, 230, (600, 2))
    ]
    many = embed(cube.chunk(x=10, y=10), geometry=shapes)
    assert len(many.chunks[0]) > 1
    some = [0, 255, 256, 599]
    assert_same(many[some], embed(cube, geometry=[shapes[n] for n in some]))


def test_only_the_chunks_that_a_geometry_touches_are_computed(cube, monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    seen = []

    def look(block, block_info=None):
        seen.append(block_info[0]["chunk-location"])
        return block

    stats = cube.anysat.band_stats()
    data = cube.chunk(x=8, y=8).data.map_blocks(look, dtype=cube.dtype, meta=cube.data[:0])
    result = embed(cube.copy(data=data), geometry=FIELDS["smaller than a patch"],
                 normalize=stats, tile_size=8, overlap=0)  # fmt: skip
    assert seen == []
    result.compute(scheduler="sync")
    assert {location[2:] for location in seen} == {(1, 1)}


def test_the_same_call_has_the_same_keys(cube):
    chunked, shapes = cube.chunk(x=9), list(FIELDS.values())
    one, two = embed(chunked, geometry=shapes), embed(chunked, geometry=list(shapes))
    assert one.data.name == two.data.name
    assert one.data.name != embed(chunked, geometry=shapes[:-1]).data.name
    assert one.data.name != embed(chunked, geometry=shapes, pooling="max").data.name


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pool_map_leaves_missing_cells_out(pooling):
    values = np.random.default_rng(0).standard_normal((3, 5, 6)).astype("float32")
    values[:, 2:, 3] = np.nan
    expected = {"mean": np.nanmean, "max": np.nanmax}[pooling](values, axis=(1, 2))
    for chunks in (-1, 2):
        result = pool_map(da.from_array(values, chunks=chunks), pooling)
        assert result.dtype == "float32"
        np.testing.assert_allclose(result, expected, rtol=1e-6)
    nothing = pool_map(da.from_array(values * np.nan, chunks=2), pooling)
    assert np.isnan(nothing.compute()).all()


# What geometries come as -------------------------------------------------------------------------


def test_geopandas_brings_its_own_crs(cube):
    shapes = [FIELDS["triangle"], FIELDS["rectangle on the cells"], FIELDS["past the edge"]]
    expected = embed(cube, geometry=shapes)
    series = geopandas.GeoSeries(shapes, crs="EPSG:32631", index=["a", "b", "c"])
    elsewhere = series.to_crs("EPSG:4326")
    crops = {"crop": [1, 2, 3], "field": elsewhere}
    frame = geopandas.GeoDataFrame(crops, geometry="field")
    for given in (series, elsewhere, frame, series.set_crs(None, allow_override=True)):
        result = embed(cube, geometry=given)
        assert_same(result, expected, atol=1e-3)
        assert result["index"].values.tolist() == ["a", "b", "c"]
        assert all(
            ours.hausdorff_distance(theirs) < 1e-3
            for ours, theirs in zip(result["geometry"].values, shapes, strict=True)
        )
    by_label = result.assign_coords(geometry=result["index"].values)
    assert by_label.sel(geometry="b").shape == (WIDTH,)


@pytest.mark.parametrize("container", [list, tuple, np.array, iter])
def test_containers(cube, container):
    shapes = [FIELDS["triangle"], FIELDS["smaller than a patch"]]
    assert_same(embed(cube, geometry=container(shapes)), embed(cube, geometry=shapes), atol=0)


@pytest.mark.parametrize("kind", [shapely.MultiPolygon, shapely.GeometryCollection])
def test_a_geometry_of_parts_is_one(cube, kind):
    parts = [FIELDS["rectangle on the cells"], FIELDS["past the edge"]]
    result = embed(cube, geometry=kind(parts))
    assert_same(result, embed(cube, geometry=shapely.union_all(parts)), atol=1e-5)
    assert result.shape == (1, WIDTH)


def test_a_coordinate_holds_the_geometries(cube):
    result = embed(cube, geometry=FIELDS["triangle"])
    assert result["geometry"].values.tolist() == [FIELDS["triangle"]]
    assert result.rio.crs.to_epsg() == 32631
    assert set(result["part"].values) == {"patch"}


@pytest.mark.parametrize(
    ("geometry", "code", "named"),
    [
        ([], "geometry.type", "nothing"),
        ("POLYGON EMPTY", "geometry.text", "POLYGON EMPTY"),
        (["POLYGON EMPTY"], "geometry.type", "'str'"),
        ([shapely.Point(*place(5, 5)), None], "geometry.type", "'NoneType'"),
        (7, "geometry.type", "'int'"),
        (shapely.Point(*place(-30, 5)), "geometry.outside", "[0]"),
        ([FIELDS["triangle"], shapely.Point(4.3, 50.8)], "geometry.outside", "[1]"),
        (shapely.Polygon(), "geometry.outside", "empty"),
    ],
)
def test_geometries_that_do_not_fit(cube, geometry, code, named):
    for one in (cube, cube.chunk(x=4)):
        with finds(code, OptionError) as caught:
            embed(one, geometry=geometry)
        assert named in str(caught.value)


def test_self_crossing_polygons_say_so(cube):
    bow_tie = polygon((10, 10), (100, 100), (100, 10), (10, 100))
    with finds("geometry.invalid", OptionError) as caught:
        embed(cube, geometry=[FIELDS["triangle"], bow_tie])
    assert "[1]" in str(caught.value)
    assert "make_valid" in str(caught.value)


def test_tiles_reach_to_the_edge_of_the_cube():
    """Cells of overlapping tiles leave a margin, which belongs to the outermost of them."""
    cube = make_cube(40, 40, dates=1)
    west, south, east, north = cube.rio.bounds()
    tiles = cube.anysat.embed("tile", model=TINY, tile_size=16)
    assert tiles.rio.bounds()[0] > west
    corner = shapely.box(west, north - 20, west + 20, north)
    whole = shapely.box(west, south, east, north)
    pooled = cube.anysat.embed(
        "pooled", model=TINY, tile_size=16, pool_from="tile", geometry=[corner, whole]
    )
    np.testing.assert_allclose(pooled[0], tiles[:, 0, 0], atol=1e-5)
    assert np.isfinite(pooled).all()
