"""Only the tiles that geometries need: which, what they need, and that nothing else is done."""

from collections import Counter

import dask.array as da
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cubes import NORTH, TINY, WEST, assert_same, make_cube, punch

from xr_anysat.layout.chunked_axis import ChunkedAxis
from xr_anysat.layout.patches import PatchAxis
from xr_anysat.layout.selection import ALL, select
from xr_anysat.model.network import AnySat

# Which, against the definition -------------------------------------------------------------------


@st.composite
def axes(draw):
    tile = draw(st.integers(1, 6))
    axis = PatchAxis(patches=draw(st.integers(1, 40)), tile=tile, stride=draw(st.integers(1, tile)))
    size = draw(st.integers(1, 9))
    whole, rest = divmod(axis.patches, size)
    return ChunkedAxis(axis=axis, chunks=(size,) * whole + ((rest,) if rest else ()))


def chunk_of(axis, patch):
    return next(n for n, edge in enumerate(axis.edges[1:]) if patch < edge)


def sees(axis, tile, patch):
    start, stop = axis.axis.tile_range(tile)
    return start <= patch < stop


@settings(max_examples=60)
@given(rows=axes(), columns=axes(), whole_tiles=st.booleans(), data=st.data())
def test_a_selection_is_what_cells_need_and_no_more(rows, columns, whole_tiles, data):
    sizes = [axis.axis.tiles if whole_tiles else axis.axis.patches for axis in (rows, columns)]
    place = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    wanted = sorted(data.draw(st.sets(place, min_size=1, max_size=8)))
    found = select(np.array(wanted), rows, columns, whole_tiles=whole_tiles)
    every = [(r, c) for r in range(rows.axis.tiles) for c in range(columns.axis.tiles)]
    tiles = {
        (r, c)
        for r, c in every
        for y, x in wanted
        if ((r, c) == (y, x) if whole_tiles else sees(rows, r, y) and sees(columns, c, x))
    }
    assert sorted(map(tuple, found.tiles.tolist())) == sorted(tiles)
    again = [
        (rows.tiles_of(i)[r], columns.tiles_of(j)[c])
        for (i, j), some in found.tiles_by_chunk.items()
        for r, c in some
    ]
    assert sorted(again) == sorted(tiles)
    seen = {
        (y, x)
        for r, c in tiles
        for y in range(*rows.axis.tile_range(r))
        for x in range(*columns.axis.tile_range(c))
    }
    patches = {
        (rows.edges[i] + y, columns.edges[j] + x)
        for (i, j), mask in found.patches_by_chunk.items()
        for y, x in np.argwhere(mask).tolist()
    }
    assert patches == seen
    assert all(mask.any() for mask in found.patches_by_chunk.values())
    if whole_tiles:
        assert found.results == set(found.tiles_by_chunk)
    else:
        assert found.results == {(chunk_of(rows, y), chunk_of(columns, x)) for y, x in wanted}


def test_no_cells_need_nothing():
    axis = ChunkedAxis(axis=PatchAxis(patches=10, tile=4, stride=2), chunks=(4, 4, 2))
    nothing = select(np.zeros((0, 2), dtype=int), axis, axis, whole_tiles=False)
    assert len(nothing.tiles) == 0
    assert not nothing.results
    assert not nothing.has_tiles((0, 0))
    assert not nothing.has_patches((0, 0))
    assert ALL.has_tiles((7, 7))
    assert ALL.has_patches((7, 7))
    assert ALL.has_results((7, 7))
    assert ALL.tiles_of((0, 0)) is None


# What is done ------------------------------------------------------------------------------------

SIDE, PATCH, TILE = 96, 4, 16


def box(left, top, right, bottom):
    """Metres east of and south of the cube's corner."""
    return shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)


PARCELS = [
    box(90, 95, 118, 130),
    box(100, 101, 110, 111),  # over the first one
    box(702, 641, 768, 679),
    box(930, 2, 990, 30),  # past the edge
]


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(SIDE, SIDE, dates=2))


@pytest.fixture(scope="module")
def stats(cube):
    return cube.anysat.band_stats()


@pytest.fixture(scope="module")
def maps(cube, stats):
    return {
        (mode, overlap): cube.anysat.embed(
            mode, model=TINY, tile_size=TILE, overlap=overlap, normalize=stats
        )
        for mode in ("patch", "tile")
        for overlap in (0, 0.5, 0.75)
    }


def touched(map_, parcels=PARCELS):
    """Row and column of the cells that some parcel shares some area with.

    The outermost cells reach to the cube's edge.
    """
    step, far = map_.rio.resolution()[0] / 2, 1000
    rows, columns = map_.sizes["y"] - 1, map_.sizes["x"] - 1
    found = set()
    for row, y in enumerate(map_.y.values):
        for column, x in enumerate(map_.x.values):
            left, right = x - (step if column else far), x + (step if column < columns else far)
            top, bottom = y + (step if row else far), y - (step if row < rows else far)
            cell = shapely.box(left, bottom, right, top).intersection(box(0, 0, 960, 960))
            if any(parcel.intersection(cell).area > 0 for parcel in parcels):
                found.add((row, column))
    return found


def tiles_that_see(patches, overlap):
    stride = round(TILE * (1 - overlap)) // PATCH
    axis = PatchAxis(patches=SIDE // PATCH, tile=TILE // PATCH, stride=stride)

    def those(patch):
        return [n for n in range(axis.tiles) if patch in range(*axis.tile_range(n))]

    return {(r, c) for y, x in patches for r in those(y) for c in those(x)}, axis


@pytest.fixture
def done(monkeypatch):
    """Count pixels, patches and tiles that the network sees."""
    count = Counter()

    def watched(name):
        real = getattr(AnySat, name)

        def call(self, values, *args, **kwargs):
            count[name] += len(values)
            return real(self, values, *args, **kwargs)

        return call

    for name in ("encode_pixels", "encode_patches", "encode_tiles"):
        monkeypatch.setattr(AnySat, name, watched(name))
    return count


def watched_blocks(cube, size):
    read = Counter()

    def look(block, block_info=None):
        read[block_info[0]["chunk-location"][2:]] += 1
        return block

    chunked = cube.chunk(x=size, y=size)
    data = chunked.data.map_blocks(look, dtype=cube.dtype, meta=cube.data[:0])
    return cube.copy(data=data), read


@pytest.mark.parametrize(
    ("pool_from", "overlap", "size"),
    [("patch", 0, 16), ("patch", 0.5, 48), ("patch", 0.5, 96), ("patch", 0.75, 16),
     ("tile", 0, 48), ("tile", 0.5, 16), ("tile", 0.75, 48)],
)  # fmt: skip
def test_only_what_parcels_need_and_each_once(
    cube, stats, maps, done, overlap, pool_from, size, monkeypatch
):
    lazy, read = watched_blocks(cube, size)
    result = lazy.anysat.embed(
        "pooled",
        model=TINY,
        tile_size=TILE,
        overlap=overlap,
        normalize=stats,
        geometry=PARCELS,
        pool_from=pool_from,
    )
    assert not read
    result = result.compute(scheduler="threads")
    map_ = maps[pool_from, overlap]
    cells = touched(map_)
    tiles, axis = tiles_that_see(cells if pool_from == "patch" else set(), overlap)
    if pool_from == "tile":
        tiles = cells
    patches = {
        (y, x)
        for r, c in tiles
        for y in range(*axis.tile_range(r))
        for x in range(*axis.tile_range(c))
    }
    there = cube.notnull().all("band").any("time").values
    pixels = sum(
        there[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH].any() for y, x in patches
    )
    assert done["encode_tiles"] == len(tiles)
    assert done["encode_patches"] == pixels
    assert done["encode_pixels"] == pixels * PATCH**2
    needed = {(y * PATCH // size, x * PATCH // size) for y, x in patches}
    assert read == Counter(dict.fromkeys(needed, 1))
    assert (size == 96) or len(needed) < (-(-SIDE // size)) ** 2
    for number, parcel in enumerate(PARCELS):
        some = touched(map_, [parcel])
        values = np.stack([map_.values[:, y, x] for y, x in some])
        assert (result[number] >= values.min(axis=0) - 1e-5).all()
        assert (result[number] <= values.max(axis=0) + 1e-5).all()


@pytest.mark.parametrize(
    ("pool_from", "pooling", "overlap"),
    [("patch", "mean", 0), ("patch", "mean", 0.75), ("patch", "max", 0.5), ("tile", "mean", 0.5),
     ("tile", "max", 0.75)],
)  # fmt: skip
def test_the_numbers_are_those_of_all_of_the_map(cube, stats, maps, overlap, pool_from, pooling):
    """One parcel over all of the cube makes all of the map, whatever the others need."""
    options = {
        "model": TINY,
        "tile_size": TILE,
        "overlap": overlap,
        "normalize": stats,
        "pool_from": pool_from,
        "pooling": pooling,
    }
    lazy = cube.chunk(x=20, y=36)
    some = lazy.anysat.embed("pooled", geometry=PARCELS, **options)
    every = lazy.anysat.embed("pooled", geometry=[*PARCELS, box(0, 0, 960, 960)], **options)
    assert_same(some, every[:-1], atol=1e-5)
    assert_same(some, cube.anysat.embed("pooled", geometry=PARCELS, **options), atol=1e-5)
    highest = maps[pool_from, overlap].max(("y", "x"))
    if pooling == "max":
        assert_same(every[-1], highest, atol=1e-5)


def test_tiles_normalised_on_their_own(cube):
    options = {"model": TINY, "tile_size": TILE, "overlap": 0, "normalize": "tile_zscore"}
    map_ = cube.anysat.embed("patch", **options)
    some = cube.chunk(x=32).anysat.embed("pooled", geometry=box(723, 643, 757, 677), **options)
    assert_same(some[0], map_[:, 16, 18], atol=1e-5)


def test_the_graph_is_of_what_is_needed(cube, stats):
    lazy = cube.chunk(x=16, y=16)
    options = {"model": TINY, "tile_size": TILE, "normalize": stats}
    few = lazy.anysat.embed("pooled", geometry=PARCELS[0], **options)
    every = lazy.anysat.embed("pooled", geometry=box(0, 0, 960, 960), **options)

    def encoded(result):
        layers = result.data.dask.layers
        return len(next(layer for name, layer in layers.items() if "anysat-encode" in name))

    assert encoded(every) == 36
    assert encoded(few) == 4
    assert few.data.name == lazy.anysat.embed("pooled", geometry=PARCELS[0], **options).data.name
    assert few.data.name != lazy.anysat.embed("pooled", geometry=PARCELS[2], **options).data.name
    assert isinstance(few.data, da.Array)
