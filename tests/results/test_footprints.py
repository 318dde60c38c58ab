"""Footprints of tiles against the embeddings of the tiles."""

import sys

import numpy as np
import pytest
import shapely
from support.cubes import TINY, make_cube
from support.findings import finds, warns_of
from support.helpers import make_dataset

import xr_anysat
from xr_anysat import CubeError, MissingExtraError, OptionError


@pytest.fixture(scope="module")
def cube():
    return make_cube(50, 43, dates=1)


OPTIONS = [
    {"tile_size": 16, "overlap": 0.5},
    {"tile_size": 16, "overlap": 0},
    {"tile_size": 16, "overlap": 0.3, "patch_size": 20},
    {"tile_size": 64},
    {"input_prep": "resize", "image_size": 12},
]


@pytest.mark.parametrize("turn", [(1, 1), (-1, 1), (1, -1)], ids=["north up", "south up", "west"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_they_are_the_tiles_of_the_embedding(cube, options, turn):
    cube = cube.isel(y=slice(None, None, turn[0]), x=slice(None, None, turn[1]))
    embedded = cube.chunk().anysat.embed("tile", model=TINY, **options)  # its places alone
    tiles = cube.anysat.tiles(**options)
    assert len(tiles) == embedded.sizes["y"] * embedded.sizes["x"]
    side = 10 * options.get("tile_size", 64)
    for row, column, complete, box in tiles[["row", "column", "complete", "geometry"]].values:
        left, bottom, right, top = box.bounds
        x, y = float(embedded.x[column]), float(embedded.y[row])
        if "input_prep" in options:  # one tile, of the cube's own extent
            assert box.equals(shapely.box(*cube.rio.bounds()))
        elif complete:
            assert ((left + right) / 2, (bottom + top) / 2) == (x, y)
            assert (right - left, top - bottom) == (side, side)
        else:  # it begins where a whole one would
            assert (left, top) == (x - side / 2, y + side / 2)
            assert right - left < side or top - bottom < side


def test_together_they_cover_the_cube_and_no_more(cube):
    whole = shapely.box(*cube.rio.bounds())
    for options in OPTIONS:
        boxes = cube.anysat.tiles(as_frame=False, **options)
        assert shapely.union_all(boxes).equals(whole)
    apart = cube.anysat.tiles(tile_size=16, overlap=0, as_frame=False)
    assert sum(box.area for box in apart) == whole.area


def test_a_stride_lies_between_neighbours(cube):
    boxes = cube.anysat.tiles(tile_size=16, overlap=0.25, as_frame=False)
    assert boxes[1].bounds[0] - boxes[0].bounds[0] == 120
    assert boxes[0].intersection(boxes[1]).area == 40 * 160


def test_the_frame_has_places_and_crs(cube):
    tiles = xr_anysat.tiles(cube, tile_size=32, overlap=0)
    assert tiles.crs.to_epsg() == 32631
    assert tiles.columns.tolist() == ["row", "column", "complete", "geometry"]
    assert tiles.row.tolist() == [0, 0, 1, 1]
    assert tiles.column.tolist() == [0, 1, 0, 1]
    assert tiles.complete.tolist() == [True, False, False, False]
    assert tiles.geometry.tolist() == cube.anysat.tiles(tile_size=32, overlap=0, as_frame=False)


def test_vectors_can_be_pooled_over_them(cube):
    tiles = cube.anysat.tiles(tile_size=32, overlap=0)
    pooled = cube.anysat.embed("pooled", geometry=tiles, tile_size=32, overlap=0, model=TINY)
    assert pooled.shape == (4, TINY.config.width)
    assert np.isfinite(pooled).all()


def test_without_geopandas_they_are_polygons(cube, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    found = cube.anysat.tiles(tile_size=32, overlap=0)
    assert isinstance(found, list)
    assert {type(box) for box in found} == {shapely.Polygon}
    with finds("extra.missing", MissingExtraError) as caught:
        cube.anysat.tiles(as_frame=True)
    assert "xr-anysat[vector]" in str(caught.value)


def test_dates_are_not_needed_and_nothing_is_read(cube):
    def never(block):
        raise AssertionError("read")

    lazily = cube.chunk(x=20).drop_vars("time")
    lazily = lazily.copy(data=lazily.data.map_blocks(never, dtype="int16", meta=np.empty((0,) * 4)))
    assert len(lazily.anysat.tiles(tile_size=32, overlap=0, as_frame=False)) == 4
    assert len(make_dataset().drop_vars("time").anysat.tiles(as_frame=False)) == 1


def test_faults_are_those_of_embed(cube):
    with finds("patch.pixels", OptionError):
        cube.anysat.tiles(patch_size=13)
    with finds("option.choice", OptionError):
        cube.anysat.tiles(input_prep="crop")
    with finds("grid.not-metres", CubeError):
        cube.rio.write_crs(4326).anysat.tiles()
    with warns_of("tile.many-patches"):
        make_cube(40, 40, dates=1).anysat.tiles(patch_size=10)
    with pytest.raises(TypeError, match="mode"):
        cube.anysat.tiles(mode="tile")
