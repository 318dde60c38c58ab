"""`plan()` against what `embed()` then does."""

import sys
import threading
from collections import Counter

import dask
import numpy as np
import pytest
import shapely
import xarray as xr
import zarr
from support.cubes import TINY, WIDTH, make_cube, punch
from support.findings import codes
from support.stores import to_zarr

import xr_anysat
from xr_anysat import CubeError, OptionError
from xr_anysat.job.make import make_job, options_of
from xr_anysat.layout import chunks as chunking
from xr_anysat.model.network import AnySat
from xr_anysat.report import memory_and_time as estimates
from xr_anysat.report import multiply_adds as cost
from xr_anysat.report.memory_and_time import find_amounts, find_products

plan_module = sys.modules["xr_anysat.report.plan"]

MODES = ["grid", "patch", "tile", "pooled"]


@pytest.fixture(scope="module")
def cube():
    return make_cube(50, 43).chunk(x=20, y=24)


@pytest.fixture(scope="module")
def small():
    """A cube to embed: three tiles by two or more, the last ones incomplete."""
    return make_cube(23, 18).chunk(x=10, y=12)


def made(cube, mode="grid", **options):
    options = {"patch_size": 20, "tile_size": 16} | options
    return cube.anysat.plan(mode, model=TINY, **options)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turn", [1, -1])
def test_shape_and_chunks_are_those_of_the_result(cube, mode, dtype, turn):
    cube = cube.isel(y=slice(None, None, turn))
    options = {"patch_size": 20, "tile_size": 16, "dtype": dtype, "model": TINY}
    result = cube.anysat.embed(mode, **options)
    planned = cube.anysat.plan(mode, **options)
    assert planned.dims == dict(result.sizes)
    assert planned.nbytes == result.nbytes
    assert planned.dtype == result.dtype == dtype
    assert planned.chunks_in == (cube.chunksizes["y"][::turn], cube.chunksizes["x"])
    if mode != "pooled":
        assert planned.chunks_out == result.chunks


def some_map(features):
    """Give three components of random directions."""
    directions = np.random.default_rng(0).normal(size=(features, 3))
    return xr.DataArray(directions, dims=("feature", "component"))


PACKINGS = {
    "quantize": {"quantize": "int8"},
    "reduce": {"reduce": 5},
    "map": {"reduce": some_map(2 * WIDTH)},
    "both": {"reduce": some_map(2 * WIDTH), "quantize": "int8"},
    "float16": {"reduce": 5, "dtype": "float16"},
}


@pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)
def test_what_is_packed_is_what_is_stored(small, packing, monkeypatch):
    cube = small.isel(y=slice(None, None, -1))
    planned = made(cube, **packing)
    seen, store = counted(monkeypatch), zarr.storage.MemoryStore()
    to_zarr(cube, store, patch_size=20, **packing)
    stored = zarr.open_group(store, mode="r")["embedding"]
    names = stored.metadata.dimension_names
    assert planned.dims == dict(zip(names, stored.shape, strict=True))
    assert planned.nbytes == stored.nbytes
    assert planned.dtype == stored.dtype
    assert tuple(max(sizes) for sizes in planned.chunks_out) == stored.shards
    assert tuple(map(sum, planned.chunks_out)) == stored.shape
    assert seen["patches"] == planned.patches + planned.sampled
    assert ("sample" in repr(planned)) == (planned.sampled > 0) == (packing is not PACKINGS["map"])


@pytest.mark.parametrize("mode", ["patch", "tile"])
def test_other_modes_are_packed_too(cube, mode):
    planned = made(cube, mode, quantize="int8")
    plain = made(cube, mode)
    assert planned.dims == plain.dims
    assert planned.nbytes * 4 == plain.nbytes
    assert planned.multiply_adds == plain.multiply_adds


def test_blocks_are_whole_before_they_are_reduced(cube):
    assert made(cube, reduce=3, dtype="float16").memory == made(cube).memory
    assert made(cube, dtype="float16").memory < made(cube).memory


REFUSED = [
    ("grid", {"quantize": "int4"}, "int4"),
    ("grid", {"quantize": "int8", "dtype": "float16"}, "float16"),
    ("grid", {"reduce": 0}, "512"),
    ("patch", {"reduce": some_map(7)}, "7"),
    ("pooled", {"reduce": 3}, "pooled"),
]


@pytest.mark.parametrize(("mode", "packing", "culprit"), REFUSED)
def test_packings_are_checked_as_to_zarr_does(cube, mode, packing, culprit):
    with pytest.raises(OptionError) as planned:
        made(cube, mode, **packing)
    assert culprit in str(planned.value)
    with pytest.raises(OptionError) as written:
        to_zarr(cube, zarr.storage.MemoryStore(), mode, **packing)
    assert written.value.findings == planned.value.findings


def test_advice_on_samples(cube):
    assert "cost.packing-sample" in advice(cube, quantize="int8")
    assert "cost.packing-sample" not in advice(cube, reduce=some_map(2 * WIDTH))


def test_geometries(cube):
    west, south, east, north = cube.rio.bounds()
    shapes = [shapely.box(west, south, west + 100, north), shapely.box(west, south, east, north)]
    assert made(cube, "pooled", geometry=shapes).dims == {"geometry": 2, "feature": 256}


@pytest.mark.parametrize("overlap", [0, 0.5])
@pytest.mark.parametrize("pool_from", ["patch", "tile"])
def test_counts_are_of_what_geometries_need(small, pool_from, overlap, monkeypatch):
    cube = small
    west, south, east, north = cube.rio.bounds()
    shapes = [
        shapely.box(west + 30, north - 80, west + 75, north - 60),
        shapely.box(east - 31, south, east + 100, south + 33),  # where patches are incomplete
    ]
    options = {"geometry": shapes, "pool_from": pool_from, "overlap": overlap}
    planned = made(cube, "pooled", **options)
    seen = counted(monkeypatch)
    options |= {"patch_size": 20, "tile_size": 16, "model": TINY}
    with dask.config.set(scheduler="synchronous"):
        cube.anysat.embed("pooled", **options).compute()
    assert planned.tiles == seen["tiles"] > 0
    assert planned.patches == seen["patches"]
    whole = made(cube, "pooled", pool_from=pool_from, overlap=overlap)
    assert planned.tiles < whole.tiles
    job = make_job(cube, options_of("pooled", options))
    products = find_products(job, find_amounts(job))["temporal"]
    assert products[0].rows == seen["pixel_dates"]


def counted(monkeypatch):
    """Patches, tiles, pixel-dates and tokens that really go through the network."""
    seen, lock = Counter(), threading.Lock()
    real = {n: getattr(AnySat, n) for n in ("encode_pixels", "encode_patches", "encode_tiles")}

    def encode_pixels(self, values, valid, *args, **kwargs):
        with lock:
            seen["pixel_dates"] += int(valid.sum())
        return real["encode_pixels"](self, values, valid, *args, **kwargs)

    def encode_patches(self, pixels, *args, **kwargs):
        with lock:
            seen["patches"] += len(pixels)
        return real["encode_patches"](self, pixels, *args, **kwargs)

    def encode_tiles(self, tokens, *args, **kwargs):
        with lock:
            seen["tiles"] += len(tokens)
            seen["tokens"] += tokens[..., 0].numel() + len(tokens)
        return real["encode_tiles"](self, tokens, *args, **kwargs)

    for function in (encode_pixels, encode_patches, encode_tiles):
        monkeypatch.setattr(AnySat, function.__name__, function)
    return seen


@pytest.mark.parametrize("overlap", [0, 0.5])
@pytest.mark.parametrize("mode", MODES)
def test_counts_are_those_of_the_work(small, mode, overlap, monkeypatch):
    cube = small
    planned = made(cube, mode, overlap=overlap)
    seen = counted(monkeypatch)
    options = {"patch_size": 20, "tile_size": 16, "overlap": overlap, "model": TINY}
    with dask.config.set(scheduler="synchronous"):
        cube.anysat.embed(mode, **options).compute()
    assert planned.tiles == seen["tiles"]
    assert planned.patches == seen["patches"]
    assert planned.dates * 23 * 18 == seen["pixel_dates"]
    linear = (12 * TINY.config.depth + (11 if mode != "tile" else 2)) * TINY.config.width**2
    assert planned.multiply_adds["tile"] > linear * seen["tokens"]
    assert planned.flops == 2 * sum(planned.multiply_adds.values())


def test_multiply_adds_of_a_map_of_whole_tiles():
    cube = make_cube(32, 32).chunk(x=16)
    planned = made(cube, overlap=0, patch_size=40)
    config, dates = TINY.config, cube.sizes["time"]
    assert planned.multiply_adds == {
        "temporal": cost.total(cost.temporal_products(config, 10, dates * 1024, 1024)),
        "spatial": cost.total(cost.spatial_products(config, 64, 16, last_block=True)),
        "tile": cost.total(cost.tile_products(config, 4, 16, all_patches=True)),
    }
    assert planned.tile_shape == (4, 4)


def test_frames_are_what_is_embedded(cube):
    assert made(cube, frames=2).dates == 2
    assert made(cube).dates == cube.sizes["time"]


def test_nothing_is_read_and_no_weights_are_looked_for(cube, monkeypatch):
    def never(*args):
        raise AssertionError("computed")

    lazily = cube.copy(data=cube.data.map_blocks(never, dtype=cube.dtype, meta=np.empty((0,) * 4)))
    monkeypatch.setattr(estimates, "engine_of", never)
    for each in (lazily, cube.compute()):
        with dask.config.set(scheduler=never):
            assert made(each).seconds is None


def test_reads(cube):
    assert made(cube).reads == 2
    assert made(cube, normalize="treesatai").reads == 1
    stats = cube.anysat.band_stats().compute()
    assert made(cube, normalize=stats).reads == 1
    assert made(punch(make_cube(20, 20))).reads == 1  # in memory


def advice(*args, **kwargs):
    """Advice by code, in words."""
    planned = made(*args, **kwargs)
    return dict(zip(codes(planned.findings), planned.advice, strict=True))


def test_advice_on_statistics(cube):
    assert "normalize=cube.anysat.band_stats().compute()" in advice(cube)["cost.statistics"]
    assert "cost.statistics" not in advice(cube, normalize="none")


def test_advice_on_chunks(cube, monkeypatch):
    assert "cost.chunk-edges" not in advice(cube.chunk(x=7))  # they are worked on as one
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 16)
    assert "a multiple of 2 pixels" in advice(cube.chunk(x=7))["cost.chunk-edges"]
    assert "cost.chunk-edges" not in advice(cube.chunk(x=16, y=16))
    assert "cost.chunk-edges" not in advice(make_cube(20, 20))  # in memory


def test_advice_on_many_blocks(cube, monkeypatch):
    monkeypatch.setattr(plan_module, "_MANY_BLOCKS", 100)
    assert "cost.blocks" in advice(cube.chunk(time=1, band=1, x=5))
    assert "cost.blocks" not in advice(cube.chunk(-1))


def test_advice_on_overlap_and_size(cube, monkeypatch):
    assert "cost.tiles" in advice(cube, overlap=0.875)
    assert "cost.tiles" not in advice(cube, overlap=0)
    assert "cost.result-size" not in advice(cube)
    monkeypatch.setattr(plan_module, "_LARGE_BYTES", 1000)
    assert 'dtype="float16" halves it' in advice(cube)["cost.result-size"]
    assert "cost.result-size" not in advice(cube, dtype="float16")


def test_advice_on_memory(cube, monkeypatch):
    assert "cost.memory" not in advice(cube, threads=1)
    monkeypatch.setattr(plan_module, "_physical_memory", lambda: 2**28)
    assert "268 MB" in advice(cube, threads=1)["cost.memory"]
    monkeypatch.setattr(plan_module, "_physical_memory", lambda: None)
    assert "cost.memory" not in advice(cube, threads=1000)


def test_memory_grows_with_threads_and_chunks_and_not_with_the_cube():
    def memory(side, chunk, threads=2, **options):
        cube = make_cube(16, 16).chunk(x=16)
        wide = cube.pad(x=(0, side - 16), y=(0, side - 16), mode="edge").chunk(x=chunk, y=chunk)
        at = 10.0 * np.arange(side)
        wide = wide.assign_coords(x=500_000 + at, y=5_000_000 - at)
        return made(wide, threads=threads, **options).memory

    small, large = (memory(side, 256, patch_size=40, tile_size=64) for side in (1024, 4096))
    assert small < large < 1.15 * small  # a row of chunks waits for the one below
    one, two, four = (memory(1024, 256, threads=n) for n in (1, 2, 4))
    assert one < two < four
    assert four - two == pytest.approx(2 * (two - one), rel=1e-6)


def test_calibration(cube):
    planned = made(cube, calibrate=True)
    assert 0 < planned.seconds < 600
    assert "arithmetic" in repr(planned)
    assert "arithmetic" not in repr(made(cube))


def test_texts(cube):
    planned = made(cube, threads=3)
    text = repr(planned)
    assert text.startswith("<xr_anysat.Plan, mode 'grid'>")
    assert "(feature: 512, y: 50, x: 43) float32, 4.4 MB" in text
    assert "(2·24 + 2) x (2·20 + 3) px" in text
    assert "in a worker of 3 threads" in text
    html = planned._repr_html_()
    assert "<table>" in html
    assert "reads of the cube" in html
    assert planned.advice[0] in html
    assert planned.findings[0].code in html
    assert planned.findings[0].code in text


def test_faults_are_those_of_embed(cube):
    for refused, options in ((cube, {"patch_size": 13}), (cube.rio.write_crs(4326), {})):
        with pytest.raises((OptionError, CubeError)) as planned:
            refused.anysat.plan(model=TINY, **options)
        with pytest.raises(type(planned.value)) as embedded:
            refused.anysat.embed(model=TINY, **options)
        assert planned.value.findings == embedded.value.findings
    with pytest.raises(OptionError, match="threads=0"):
        cube.anysat.plan(threads=0)
    with pytest.raises(TypeError, match="patchsize"):
        cube.anysat.plan(patchsize=3)


def test_it_is_the_free_function(cube):
    assert xr_anysat.plan(cube, "tile", model=TINY) == cube.anysat.plan("tile", model=TINY)
