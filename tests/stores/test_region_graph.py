"""Regions of a map: the values of the whole, from a graph that does not grow with it."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cubes import TINY, assert_same, make_cube
from support.stores import Fragile, Reader, embed, to_zarr

from xr_anysat.job.make import make_job, options_of
from xr_anysat.layout import chunks as chunking
from xr_anysat.layout.chunked_axis import ChunkedAxis
from xr_anysat.layout.patches import PatchAxis
from xr_anysat.stores import write_regions
from xr_anysat.stores.region_graph import embed_regions, tasks_per_region
from xr_anysat.stores.regions import RegionGrid


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)


def job_of(cube, mode, **options):
    return make_job(cube, options_of(mode, {"model": TINY, "tile_size": 16, **options}))


def grid_of(job):
    return RegionGrid.of(job.out_chunks)


def window_of(grid, regions):
    return tuple(
        slice(low * size, high * size)
        for (low, high), size in zip(grid.around(regions), grid.shards[1:], strict=True)
    )


SOUTH_UP, EAST_LEFT = ({dim: slice(None, None, -1)} for dim in "yx")


@pytest.mark.parametrize(
    ("mode", "overlap", "turned"),
    [
        ("grid", 0, {}),
        ("grid", 0.5, EAST_LEFT),
        ("patch", 0, SOUTH_UP),
        ("patch", 0.5, {}),
        ("patch", 0.75, EAST_LEFT),
        ("tile", 0.5, SOUTH_UP),
        ("tile", 0.75, {}),
    ],
)
def test_regions_have_the_values_of_the_whole(mode, overlap, turned):
    """Chunks of 8 px and tiles of 16: tiles reach over chunks, and past the cube's edge."""
    cube = make_cube(30, 36, dates=2).isel(turned).chunk(x=8, y=8)
    stats = make_cube().anysat.band_stats()
    job = job_of(cube, mode, overlap=overlap, normalize=stats)
    whole = embed(cube, mode, overlap=overlap, normalize=stats).values
    grid = grid_of(job)
    for regions in ([0], [len(grid) - 1], [1, len(grid) // 2]):
        part = embed_regions(job, grid, regions).compute()
        assert_same(part, whole[:, *window_of(grid, regions)], atol=1e-5)


def test_masks_are_cut_alike():
    cube = make_cube(24, 32)
    mask = cube.isel(band=0, drop=True) % 3 > 0
    lazily = cube.chunk(x=8, y=8)
    options = {"mask": mask.chunk(x=16), "normalize": cube.anysat.band_stats()}
    job = job_of(lazily, "patch", **options)
    grid = grid_of(job)
    whole = embed(lazily, "patch", **options).values
    part = embed_regions(job, grid, [6]).compute()
    assert_same(part, whole[:, *window_of(grid, [6])], atol=1e-5)


def test_files_of_another_size_than_chunks_are():
    """A store that was begun with other chunks keeps its regions."""
    cube = make_cube(24, 32)[:, :, ::-1].chunk(x=8, y=8)
    stats = make_cube().anysat.band_stats()
    job = job_of(cube, "grid", normalize=stats)
    grid = RegionGrid.of((*job.out_chunks[:1], (10, 10, 4), (12, 12, 8)))
    whole = embed(cube, normalize=stats).values
    part = embed_regions(job, grid, [4, 5])
    assert part.chunks[1:] == ((10,), (12, 8))
    assert_same(part.compute(), whole[:, *window_of(grid, [4, 5])], atol=1e-5)


def test_nothing_but_what_is_needed_is_read():
    """A tile of 16 px reaches one chunk of 8 px to either side, and overlaps bring one more."""
    reader = Reader(make_cube(40, 40), (3, 10, 8, 8))
    stats = reader.intact.anysat.band_stats().compute()
    job = job_of(reader.cube, "patch", normalize=stats)
    embed_regions(job, grid_of(job), [12]).compute()
    assert {block[2:] for block in reader.reads} == {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}


@pytest.mark.parametrize("mode", ["grid", "patch", "tile"])
@pytest.mark.parametrize("overlap", [0, 0.5])
def test_the_graph_does_not_grow_with_the_map(mode, overlap):
    sizes = []
    for pixels in (256, 1024):
        values = da.zeros((3, 10, pixels, pixels), dtype="uint16", chunks=(3, 10, 64, 64))
        small = make_cube(16, 16)
        at = 10 * np.arange(pixels)
        cube = xr.DataArray(
            values, dims=small.dims,
            coords={"time": small.time, "band": small.band, "y": 5e6 - at, "x": 5e5 + at},
        ).rio.write_crs(32631)  # fmt: skip
        job = job_of(cube, mode, overlap=overlap, normalize="treesatai")
        grid = grid_of(job)
        middle = len(grid) // 2 + grid.blocks[2] // 2
        data = embed_regions(job, grid, [middle])
        own = [layer for name, layer in data.dask.layers.items() if "zeros" not in name]
        sizes.append(sum(map(len, own)))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("mode", ["grid", "patch", "tile"])
def test_tasks_are_estimated_well_enough(mode):
    """Waves are laid by it: within a factor of two of what a graph has."""
    cube = make_cube(64, 56).chunk(x=8, y=8, time=1)
    job = job_of(cube, mode, normalize="treesatai")
    grid = grid_of(job)
    tasks = len(embed_regions(job, grid, list(range(len(grid)))).dask)
    assert 0.5 < tasks_per_region(job, grid) * len(grid) / tasks < 2


def test_a_share_of_a_map_builds_that_share(monkeypatch):
    """Of 25 regions the second fifth: two of its neighbours' rows are encoded, and no others."""
    built = []
    real = write_regions.embed_regions

    def keep(*args):
        built.append(real(*args))
        return built[-1]

    monkeypatch.setattr(write_regions, "embed_regions", keep)
    cube = make_cube(40, 40).chunk(x=8, y=8)
    to_zarr(cube, Fragile({}), "patch", regions="2/5", normalize="treesatai")
    (data,) = built
    assert data.shape[1:] == (2, 10)
    encoded = [key for key in data.dask if isinstance(key, tuple) and "encode" in key[0]]
    assert len(encoded) == 3 * 5


@st.composite
def chunked_axes(draw):
    tile = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=12))
    axis = PatchAxis(patches=sum(sizes), tile=tile, stride=draw(st.integers(1, tile)))
    return ChunkedAxis(axis=axis, chunks=tuple(sizes))


@settings(max_examples=50)
@given(axis=chunked_axes(), data=st.data())
def test_a_part_needs_what_its_tiles_see_and_no_more(axis, data):
    start = data.draw(st.integers(0, len(axis.chunks) - 1))
    stop = data.draw(st.integers(start + 1, len(axis.chunks)))
    part = axis.part(start, stop)
    patches = set(range(axis.edges[start], axis.edges[stop]))
    tiles = {n for n in range(axis.axis.tiles) if patches & set(range(*axis.axis.tile_range(n)))}
    chunks = {c for c in range(len(axis.chunks)) if tiles & set(axis.tiles_of(c))}
    assert part.tiles == (min(chunks), max(chunks) + 1)
    seen = {p for c in chunks for n in axis.tiles_of(c) for p in range(*axis.axis.tile_range(n))}
    touched = {
        c for c in range(len(axis.chunks)) if (seen | patches) & set(range(*axis.patch_range(c)))
    }
    assert part.encoded == (min(touched), max(touched) + 1)
    assert part.result == (start, stop)
