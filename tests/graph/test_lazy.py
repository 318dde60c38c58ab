"""Laziness: the same numbers whatever the chunks, nothing before compute, little in the graph."""

import gc
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import contextmanager
from functools import cache

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cubes import LABELS, TINY, WIDTH, assert_same, largest_gap, make_cube, punch

import xr_anysat
from xr_anysat import ScaleError, WeightsError
from xr_anysat.compute import blend, engine
from xr_anysat.compute import encode as inference
from xr_anysat.graph import lazy
from xr_anysat.layout import chunks as chunking
from xr_anysat.layout.patches import PatchAxis

MODES = ("grid", "patch", "tile", "pooled")


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return make_cube(30, 26)


@pytest.fixture(scope="module")
def stats(cube):
    return cube.anysat.band_stats()


@pytest.fixture(scope="module")
def whole(cube):
    """The cube embedded in memory, each time with the same options once."""
    return cache(lambda mode="grid", **options: embed(cube, mode, **options))


@contextmanager
def chunks_of_at_most(pixels):
    """Small cubes are worked on in one chunk; here they are not."""
    before = chunking.LONGEST_CHUNK
    chunking.LONGEST_CHUNK = pixels
    try:
        yield
    finally:
        chunking.LONGEST_CHUNK = before


@pytest.fixture
def small_chunks():
    with chunks_of_at_most(8):
        yield


# The same numbers --------------------------------------------------------------------------------


def chunkings(size):
    """Ragged chunks of an axis, single pixels among them."""
    edges = st.sets(st.integers(1, max(1, size - 1)), max_size=4)
    return edges.map(lambda e: tuple(np.diff(sorted({0, size} | {x for x in e if x < size}))))


@st.composite
def chunked_cubes(draw):
    height, width = draw(st.integers(2, 22)), draw(st.integers(2, 22))
    cube = make_cube(height, width, dates=draw(st.integers(1, 3)), seed=draw(st.integers(0, 9)))
    if draw(st.booleans()):
        cube = punch(cube, share=draw(st.sampled_from([0.1, 0.5])), seed=draw(st.integers(0, 9)))
    for dim in draw(st.sets(st.sampled_from(["x", "y"]))):
        cube = cube.isel({dim: slice(None, None, -1)})
    chunks = {dim: draw(chunkings(size)) for dim, size in cube.sizes.items()}
    return cube, {dim: tuple(int(n) for n in sizes) for dim, sizes in chunks.items()}


@st.composite
def option_sets(draw):
    patch = draw(st.sampled_from([1, 2, 4, 6]))
    options = {
        "patch_size": 10 * patch,
        "tile_size": patch * draw(st.integers(1, 5)),
        "overlap": draw(st.sampled_from([0, 0.5, 0.3, 0.8])),
        "normalize": draw(st.sampled_from(["zscore", "treesatai", "tile_zscore"])),
    }
    if options["normalize"] == "tile_zscore":
        options["overlap"] = 0
    if draw(st.integers(0, 4)) == 0:
        options["frames"] = 1
    return options


@given(
    chunked=chunked_cubes(),
    mode=st.sampled_from(MODES),
    options=option_sets(),
    longest=st.sampled_from([4, 8, 12, 1024]),
)
@settings(max_examples=12)
def test_numbers_do_not_depend_on_chunks(chunked, mode, options, longest):
    cube, chunks = chunked
    eager = embed(cube, mode, **options)
    with chunks_of_at_most(longest):
        result = embed(cube.chunk(chunks), mode, **options)
    assert isinstance(result.data, da.Array)
    assert (result.shape, result.dtype) == (eager.shape, eager.dtype)
    with dask.config.set(scheduler="sync"):
        computed = result.compute()
    assert largest_gap(computed, eager) < 2e-5
    for name in eager.coords:
        np.testing.assert_array_equal(computed[name], eager[name])


@given(chunked=chunked_cubes(), longest=st.sampled_from([4, 8, 1024]), on=st.data())
@settings(max_examples=10)
def test_any_part_is_that_part_of_the_whole(chunked, longest, on):
    cube, chunks = chunked
    mode = on.draw(st.sampled_from(["grid", "patch", "tile"]))
    with chunks_of_at_most(longest):
        result = embed(cube.chunk(chunks), mode)
    with dask.config.set(scheduler="sync"):
        whole = result.compute()
        part = {
            dim: slice(*sorted(on.draw(st.tuples(st.integers(0, size), st.integers(0, size)))))
            for dim, size in whole.sizes.items()
        }
        xr.testing.assert_allclose(result.isel(part).compute(), whole.isel(part), rtol=0, atol=1e-5)


@given(chunked=chunked_cubes())
@settings(max_examples=15)
def test_statistics_do_not_depend_on_chunks(chunked):
    cube, chunks = chunked
    with dask.config.set(scheduler="sync"):
        ours = cube.chunk(chunks).anysat.band_stats().compute()
    xr.testing.assert_allclose(ours, cube.anysat.band_stats(), rtol=1e-9)


@given(chunked=chunked_cubes(), other=st.data(), longest=st.sampled_from([8, 1024]))
@settings(max_examples=10)
def test_masks_chunked_in_another_way(chunked, other, longest):
    cube, chunks = chunked
    there = punch(cube, share=0.4, seed=3).notnull().all("band")
    dims = other.draw(st.sampled_from([("time", "y", "x"), ("y", "x"), ("time",)]))
    there = there.isel({dim: 0 for dim in there.dims if dim not in dims}, drop=True)
    sizes = {dim: other.draw(chunkings(cube.sizes[dim])) for dim in dims}
    eager = embed(cube, "patch", mask=there)
    with chunks_of_at_most(longest), dask.config.set(scheduler="sync"):
        for mask in (there, there.chunk({d: tuple(map(int, s)) for d, s in sizes.items()})):
            assert largest_gap(embed(cube.chunk(chunks), "patch", mask=mask), eager) < 2e-5


@pytest.mark.parametrize("share", [1, 2 / 3, 1 / 3, 1 / 6, 1 / 12])
@pytest.mark.parametrize(
    "chunks", [{"time": 1, "band": 1}, {"time": 1, "band": 5, "x": 11, "y": 14}]
)
def test_blocks_too_large_to_be_put_together_at_once(cube, whole, chunks, share, monkeypatch):
    """Cut in space first, or over some of the dates at a time, on the way to the same numbers."""
    limit = int(cube.nbytes * share)
    monkeypatch.setattr(chunking, "GATHER_BYTES", limit)
    with chunks_of_at_most(8):
        result = embed(cube.chunk(chunks), "patch", normalize="treesatai")
    for name, layer in result.data.dask.layers.items():
        if name.startswith("rechunk-merge"):
            with dask.config.set(scheduler="sync"):
                keys = [key for key in layer if key[0] == name]
                blocks = dask.get(result.data.dask.to_dict(), keys)
            assert max(block.nbytes for block in blocks) <= limit
    assert_same(result, whole("patch", normalize="treesatai"))


def test_rechunking_does_not_shuffle(cube):
    """A p2p shuffle would read all of a cube before it gives any part of a result."""
    there = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    lazily = cube.chunk(x=9, time=1, band=2)
    for options in ({}, {"mask": there.chunk(x=5)}, {"mode": "pooled", "normalize": "none"}):
        name = embed(lazily, **options).data.name
        with dask.config.set({"array.rechunk.method": "p2p"}):
            result = embed(lazily, **options)
        assert not [layer for layer in result.__dask_graph__().layers if "p2p" in layer]
        assert result.data.name == name


@pytest.mark.parametrize(
    ("mode", "scheduler"), [*((mode, "threads") for mode in MODES), ("grid", "sync")]
)
def test_schedulers(cube, mode, scheduler, small_chunks):
    holed = punch(cube)
    result = embed(holed.chunk(x=9, y=10, time=1), mode)
    with dask.config.set(scheduler=scheduler):
        assert_same(result, embed(holed, mode))


def test_processes(cube, whole):
    context = {"multiprocessing.context": "spawn"}
    with chunks_of_at_most(16), dask.config.set(scheduler="processes", num_workers=2, **context):
        assert_same(embed(cube.chunk(x=13), "patch"), whole("patch"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_distributed(cube, whole):
    """Workers that are threads; test_clusters.py has processes."""
    import distributed

    where = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(processes=False, **where) as cluster,
        distributed.Client(cluster),
        chunks_of_at_most(8),
    ):
        lazily = cube.chunk(x=12, y=16)
        for mode in ("grid", "pooled"):
            assert_same(embed(lazily, mode).compute(), whole(mode))
        kept = lazily.persist()
        assert_same(embed(kept, "patch").compute(), whole("patch"))
        frame = lazily.map_blocks(_embedded, template=_template(lazily)).compute()
        assert np.isfinite(frame).all()


def test_cubes_that_are_in_memory_as_chunks(cube, whole, small_chunks):
    for kept in (cube.chunk(x=9, time=1).persist(), cube.chunk(x=9).copy(deep=True)):
        assert_same(embed(kept, "patch"), whole("patch"))


def test_zarr_and_netcdf_sources(cube, whole, small_chunks, tmp_path):
    cube.drop_encoding().chunk(x=10, y=10, time=1).to_zarr(
        tmp_path / "cube.zarr", zarr_format=2, consolidated=False
    )
    cube.to_netcdf(tmp_path / "cube.nc")
    with xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, decode_coords="all") as opened:
        result = embed(opened["s2"])
        assert isinstance(result.data, da.Array)
        assert_same(result, whole())
    with xr.open_dataarray(tmp_path / "cube.nc", chunks={"x": 7}, decode_coords="all") as opened:
        assert_same(embed(opened), whole())


# Inside other people's functions -----------------------------------------------------------------


def _embedded(block):
    return embed(block, "patch", overlap=0, normalize="treesatai").drop_vars("part")


def _template(cube):
    return embed(cube, "patch", overlap=0, normalize="treesatai").drop_vars("part").chunk(
        x=tuple(-(-n // 4) for n in cube.chunksizes["x"]),
        y=tuple(-(-n // 4) for n in cube.chunksizes["y"]),
        feature=-1,
    )  # fmt: skip


def test_xarray_map_blocks():
    cube = make_cube(32, 32)
    lazily = cube.chunk(x=16, y=16)
    result = xr.map_blocks(_embedded, lazily, template=_template(lazily))
    assert_same(result, _embedded(cube))


@pytest.mark.parametrize("chunks", [None, {"x": 7}])
@pytest.mark.parametrize("mode", ["grid", "pooled"])
def test_groupby_and_resample(chunks, mode, stats):
    cube = make_cube(12, 10, dates=5, days=80)
    own = cube if chunks is None else cube.chunk(chunks)

    def one(part):
        return embed(part, mode, normalize=stats)

    years = own.groupby("time.year").map(one)
    assert years.year.values.tolist() == [2021]
    quarters = own.resample(time="QS").map(one)
    assert quarters.sizes["time"] == 4
    for result in (years, quarters):
        assert (result.chunks is not None) == (chunks is not None)
        assert result.rio.crs.to_epsg() == 32631
    second = cube.sel(time=slice("2021-04-01", "2021-06-30"))
    for result, expected in (
        (years.isel(year=0), one(cube)),
        (quarters.sel(time="2021-04-01"), one(second)),
    ):
        assert_same(result.transpose(*expected.dims), expected)


def test_annotations_reach_all_layers(cube):
    with dask.annotate(resources={"GPU": 1}):
        result = embed(cube.chunk(x=9))
    own = [layer for name, layer in result.__dask_graph__().layers.items() if "anysat" in name]
    assert len(own) > 5
    assert all(layer.annotations == {"resources": {"GPU": 1}} for layer in own)


# Nothing before compute --------------------------------------------------------------------------


def _never(*args, **kwargs):
    raise AssertionError("computed")


@pytest.mark.parametrize(
    ("mode", "normalize"),
    [("grid", "zscore"), ("patch", "tile_zscore"), ("tile", "reflectance"), ("tile", "zscore"),
     ("pooled", "stats"), ("grid", "stats")],
)  # fmt: skip
def test_building_computes_nothing(cube, mode, normalize, monkeypatch):
    data = da.from_delayed(dask.delayed(_never)(), cube.shape, cube.dtype).rechunk((1, 5, 9, 9))
    untouched = cube.copy(data=data)
    there = xr.ones_like(untouched.isel(band=0, drop=True), dtype=bool)
    monkeypatch.setattr(engine, "_load", _never)
    with dask.config.set(scheduler=_never):
        how = untouched.anysat.band_stats(mask=there) if normalize == "stats" else normalize
        options = {"normalize": how, "overlap": 0, "mask": there}
        embed(untouched, mode, **options)
        turn = {"y": slice(None, None, -1)}
        embed(
            untouched.isel(turn).to_dataset("band"), mode, **{**options, "mask": there.isel(turn)}
        )
        embed(untouched, "patch", input_prep="resize")
        embed(untouched, mode, frames=2, overlap=0, normalize=how)
        result = embed(untouched, mode, **options)
        with pytest.raises(AssertionError, match="computed"):
            result.compute()


def test_weights_are_not_loaded_before_compute(cube, tmp_path):
    path = tmp_path / "stub.safetensors"
    path.write_bytes(b"no weights at all")
    result = embed(cube.chunk(x=9), model=xr_anysat.Model("tiny", weights=path))
    with pytest.raises(WeightsError):
        result.compute()


def run(code):
    """Run a program in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


SETUP = """
import os, sys, time
import cloudpickle, dask, dask.array as da, numpy as np, pandas as pd, xarray as xr
import rioxarray, xr_anysat

def cube(size, dates, dtype, chunk):
    data = da.zeros((dates, 10, size, size), dtype=dtype, chunks=(1, 1, chunk, chunk))
    labels = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    coords = {"time": pd.date_range("2021-01-05", periods=dates, freq="9D"), "band": labels,
              "y": 5e6 - 10 * np.arange(size), "x": 5e5 + 10 * np.arange(size)}
    cube = xr.DataArray(data, dims=("time", "band", "y", "x"), coords=coords)
    return cube.rio.write_crs(32631)
"""


def test_building_imports_no_torch():
    out = run(
        SETUP
        + """
model = xr_anysat.Model("base", weights="random:0")
for mode in ("grid", "patch", "tile", "pooled"):
    cube(100, 3, "int16", 50).anysat.embed(mode, model=model)
cube(100, 3, "int16", 50).anysat.band_stats()
cube(100, 3, "int16", 50).anysat.embed("patch", input_prep="resize", model=model)
print(*(name for name in ("torch", "matplotlib", "sklearn") if name in sys.modules))
"""
    )
    assert out == []


@pytest.mark.parametrize(
    ("pixels", "dtype"),
    [
        (5490, "uint16"),
        pytest.param(10_980, "uint16", marks=pytest.mark.slow),
        pytest.param(10_980, "float64", marks=pytest.mark.slow),
    ],
)
def test_graph_of_a_sentinel_tile_is_small(pixels, dtype):
    """A quarter of one, and a whole one: 40 dates, a block for each date and band, read twice."""
    out = run(
        SETUP
        + f"""
big = cube({pixels}, 40, "{dtype}", 512)
result = big.anysat.embed(model=xr_anysat.Model("base", weights="random:0"))
graph = result.__dask_graph__()
own = sum(len(layer) for name, layer in graph.layers.items() if not name.startswith("zeros"))
size = len(cloudpickle.dumps(result))
peak = 0  # of this program: getrusage also counts the one that started it
if os.path.exists("/proc/self/status"):
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(big.data.npartitions, len(graph), own, size, peak // 1024, "torch" in sys.modules)
"""
    )
    share = (pixels / 10_980) ** 2
    blocks, tasks, own, size, peak = map(float, out[:-1])
    assert blocks == 193_600 * share
    assert tasks < 2 * blocks + 200_000 * share
    assert own < 200_000 * share
    assert size < 50e6 * share
    assert peak < 400 + 1100 * share
    assert out[-1] == "False"


# Keys and tasks ----------------------------------------------------------------------------------


def test_same_call_same_keys(cube, stats):
    lazily = cube.chunk(x=9, y=9)
    there = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    calls = {
        "default": {},
        "mode": {"mode": "patch"},
        "tile": {"mode": "tile"},
        "pooled": {"mode": "pooled"},
        "max": {"mode": "pooled", "pooling": "max"},
        "from tiles": {"mode": "pooled", "pool_from": "tile"},
        "patch": {"patch_size": 20},
        "tile size": {"tile_size": 32},
        "overlap": {"overlap": 0},
        "resize": {"input_prep": "resize"},
        "image size": {"input_prep": "resize", "image_size": 16},
        "frames": {"frames": 1},
        "period": {"frames": 1, "period": ("2021-01-01", "2021-04-01")},
        "treesatai": {"normalize": "treesatai"},
        "reflectance": {"normalize": "reflectance"},
        "stats": {"normalize": stats},
        "other stats": {"normalize": stats + 1},
        "lazy stats": {"normalize": cube.chunk(time=1).anysat.band_stats()},
        "mask": {"mask": there},
        "other mask": {"mask": ~there},
        "dates": {"dates": ["2020-01-01", "2020-02-01", "2020-03-01"]},
        "seed": {"model": xr_anysat.Model("tiny", weights="random:2")},
        "flash": {"model": xr_anysat.Model("tiny", weights="random:1", flash_layout=True)},
        "half": {"dtype": "float16"},
    }
    results = {call: embed(lazily, **options).data for call, options in calls.items()}
    names = {call: result.name for call, result in results.items()}
    assert len(set(names.values())) == len(calls), names
    for call, options in calls.items():
        again = embed(cube.chunk(x=9, y=9), **options).data
        assert again.name == results[call].name, call
        assert set(again.__dask_graph__()) == set(results[call].__dask_graph__())
    assert embed((cube + 1).chunk(x=9, y=9)).data.name != names["default"]
    assert embed(cube.chunk(x=9, y=9).assign_attrs(nodata=-1)).data.name != names["default"]


def test_keys_are_the_same_in_another_process(cube):
    code = """
from support.cubes import make_cube, TINY
lazily = make_cube(30, 26).chunk(x=9)
print(lazily.anysat.embed(model=TINY, tile_size=16).data.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == embed(cube.chunk(x=9)).data.name


@pytest.mark.parametrize("mode", MODES)
def test_tasks_are_small_and_pickle(cube, mode, small_chunks):
    """No weights in the graph, no model object, and nothing that knows this process."""
    source = cube.copy(data=da.zeros(cube.shape, cube.dtype, chunks=(1, 10, 9, 9)))
    graph = embed(source, mode).__dask_graph__()
    for layer in graph.layers.values():
        for key, task in dict(layer).items():
            assert len(pickle.dumps(task)) < 10_000, key
    assert len(cloudpickle.dumps(graph)) < 300_000
    assert b"torch" not in cloudpickle.dumps(graph)


def test_a_mask_in_memory_is_not_repeated_for_every_date():
    dates = 50
    small = make_cube(200, 200, dates=1)
    data = da.zeros((dates, 10, 200, 200), dtype="int16", chunks=(1, 10, 100, 100))
    cube = xr.DataArray(
        data,
        dims=small.dims,
        coords={**small.coords, "time": np.arange(dates).astype("M8[D]").astype("M8[ns]")},
    )
    mask = xr.DataArray(np.random.default_rng(0).random((200, 200)) > 0.5, dims=("y", "x"))
    with_mask, without = (
        len(cloudpickle.dumps(embed(cube, **options))) for options in ({"mask": mask}, {})
    )
    assert with_mask - without < 5 * mask.nbytes


def test_a_result_pickles(cube, whole):
    result = embed(cube.chunk(x=9), "patch")
    again = pickle.loads(pickle.dumps(result))
    assert_same(again, whole("patch"))


@pytest.mark.parametrize(
    ("size", "dates", "chunk", "dtype"),
    [(5490, 3, 4000, "int16"), (1300, 150, 512, "float32"), (5490, 40, 5490, "int16")],
)
def test_chunks_of_a_result_are_bounded_whatever_the_source(size, dates, chunk, dtype):
    data = da.zeros((dates, 10, size, size), dtype=dtype, chunks=(1, 1, chunk, chunk))
    coords = {
        "time": np.datetime64("2021-01-05", "ns") + np.arange(dates) * np.timedelta64(1, "D"),
        "band": list(LABELS),
        "y": 5e6 - 10.0 * np.arange(size),
        "x": 5e5 + 10.0 * np.arange(size),
    }
    cube = xr.DataArray(data, dims=("time", "band", "y", "x"), coords=coords).rio.write_crs(32631)
    base = xr_anysat.Model("base", weights="random:0")
    result = cube.anysat.embed(model=base, normalize="treesatai").data
    pixels = max(result.chunks[1]) * max(result.chunks[2])
    assert pixels * 768 * 4 <= 128 * 2**20
    assert result.chunks[0] == (768, 768)
    assert pixels * dates * 10 * 4 <= 256 * 2**20
    encode = next(name for name in result.dask.layers if name.startswith("anysat-encode"))
    chunks = len(result.dask.layers[encode])
    assert chunks < (size / 70) ** 2
    assert len(result.dask) < 2.6 * data.npartitions + 26 * chunks


# Reading -----------------------------------------------------------------------------------------


class Source:
    """A dask cube that tells what is read of it: block by block, and how much lives at once."""

    def __init__(self, cube, chunks):
        self.values = cube.values
        self.lock = threading.Lock()
        self.reads = Counter()
        self.live = self.most = 0
        self.early = None  # a block of the second pass that came before the first had ended
        whole = da.zeros(cube.shape, dtype=cube.dtype, chunks=chunks)
        self.blocks = whole.npartitions
        data = whole.map_blocks(self._read, dtype=cube.dtype, meta=np.empty((0,) * 4, cube.dtype))
        self.cube = cube.copy(data=data)

    def _read(self, block, block_info=None):
        place = tuple(slice(*ends) for ends in block_info[0]["array-location"])
        found = self.values[place].copy()
        with self.lock:
            location = tuple(block_info[0]["chunk-location"])
            self.reads[location] += 1
            if self.reads[location] == 2 and len(self.reads) < self.blocks:
                self.early = location
            self.live += 1
            self.most = max(self.most, self.live)
        weakref.finalize(found, self._gone)
        return found

    def _gone(self):
        with self.lock:
            self.live -= 1


@pytest.mark.parametrize("mode", MODES)
def test_fixed_statistics_read_each_chunk_once(cube, whole, mode, small_chunks):
    source = Source(cube, (1, 5, 8, 8))
    result = embed(source.cube, mode, normalize="treesatai")
    assert not source.reads
    assert_same(result.compute(), whole(mode, normalize="treesatai"))
    assert set(source.reads.values()) == {1}
    assert len(source.reads) == source.blocks


@pytest.mark.parametrize(
    ("mode", "scheduler"),
    [("grid", "threads"), ("pooled", "threads"), ("patch", "sync")],
)
def test_zscore_reads_twice_and_keeps_nothing_between(mode, scheduler):
    cube = make_cube(48, 48, dates=4)
    source = Source(cube, (1, 10, 8, 8))
    with chunks_of_at_most(8):
        result = embed(source.cube, mode)
    assert not source.reads
    with dask.config.set(scheduler=scheduler, num_workers=4):
        computed = result.compute()
    assert_same(computed, embed(cube, mode))
    assert source.blocks == 144
    assert len(source.reads) == source.blocks
    assert set(source.reads.values()) == {2}
    assert source.early is None
    gc.collect()
    assert source.live == 0
    assert source.most <= 24  # 8 by four threads, 4 by one


def test_mask_and_cube_are_both_read_again_only_after_the_statistics(cube):
    there = punch(cube).notnull().all("band")
    order = []

    def read(block, what=None):
        order.append(what)
        return block

    def counted(array, what, chunks):
        return array.chunk(chunks).copy(
            data=array.chunk(chunks).data.map_blocks(
                read, what=what, dtype=array.dtype, meta=np.empty((0,) * array.ndim, array.dtype)
            )
        )

    noted, mask = counted(cube, "cube", {"time": 1}), counted(there, "mask", {"time": 1})
    result = embed(noted, "patch", mask=mask)
    with dask.config.set(scheduler="sync"):
        assert_same(result.compute(), embed(cube, "patch", mask=there))
    assert Counter(order) == {"cube": 6, "mask": 6}
    assert Counter(order[:6]) == {"cube": 3, "mask": 3}


@pytest.mark.parametrize("mode", ["grid", "patch", "tile"])
@pytest.mark.parametrize("overlap", [0, 0.5])
def test_a_corner_reads_its_neighbourhood(mode, overlap):
    cube = make_cube(96, 96, dates=2)
    stats = cube.anysat.band_stats()
    source = Source(cube, (1, 10, 16, 16))
    with chunks_of_at_most(16):
        result = embed(source.cube, mode, overlap=overlap, normalize=stats)
    corner = result.isel(x=slice(0, 1), y=slice(0, 1))
    first = cube.isel(x=slice(0, 16), y=slice(0, 16))  # the one tile that sees it
    expected = embed(first, mode, overlap=overlap, normalize=stats)
    assert_same(corner.compute(), expected[:, :1, :1])
    reach = {location[2:] for location in source.reads}
    assert reach == ({(0, 0)} if overlap == 0 else {(0, 0), (0, 1), (1, 0), (1, 1)})
    source.reads.clear()
    last = result.isel(x=slice(-1, None), y=slice(-1, None))
    last.compute()
    reach = {location[2:] for location in source.reads}
    before = {(i, j) for i in (4, 5) for j in (4, 5)}  # their tiles reach into the last chunk
    assert reach == (before if overlap and mode != "tile" else {(5, 5)})
    middle = {"grid": 40, "patch": 10, "tile": 2}[mode]
    source.reads.clear()
    result.isel(x=middle, y=middle).compute()
    reach = {location[2:] for location in source.reads}
    assert reach <= {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}
    assert (2, 2) in reach


def test_working_chunks_stay_within_those_of_the_source():
    """So that a part of the result reads no more of the source than it must."""
    for dates, sizes in ((5, (512,) * 8), (40, (512,) * 8), (3, (2048, 2048)), (60, (1000, 500))):
        rows, columns = chunking.working_chunks((sizes, sizes), 4, dates, 6144)
        assert rows == columns
        edges = set(np.cumsum(sizes).tolist())
        assert edges <= set(np.cumsum(rows).tolist())
        assert max(rows) ** 2 * 6144 <= 128 * 2**20
        assert max(rows) > 60


@pytest.fixture
def counted(monkeypatch):
    """Pixels and calls of `encode_chunk`, and how many forward passes ran side by side."""
    seen = {"calls": 0, "pixels": 0, "together": 0, "most": 0}
    lock = threading.Lock()
    real = inference.encode_chunk

    def encode_chunk(values, *rest):
        with lock:
            seen["calls"] += 1
            seen["pixels"] += values.shape[2] * values.shape[3]
        return real(values, *rest)

    monkeypatch.setattr(lazy, "encode_chunk", encode_chunk)
    return seen


@pytest.mark.parametrize(
    ("mode", "overlap"),
    [("grid", 0), ("grid", 0.75), ("patch", 0.5), ("tile", 0.75), ("pooled", 0.5)],
)
def test_each_pixel_is_encoded_once(cube, mode, overlap, counted, small_chunks):
    embed(cube.chunk(x=9), mode, overlap=overlap).compute()
    assert counted["pixels"] == 30 * 26
    assert counted["calls"] > 1  # so that chunks have edges


def test_each_tile_is_encoded_once(cube, monkeypatch, small_chunks):
    tiles = Counter()
    real = blend.encode_window

    def encode_window(tokens, spec):
        tiles["tiles"] += len(spec.rows) * len(spec.columns)
        return real(tokens, spec)

    monkeypatch.setattr(blend, "encode_window", encode_window)
    embed(cube.chunk(x=9)).compute()
    rows, columns = (PatchAxis(patches=n, tile=4, stride=2).tiles for n in (8, 7))
    assert tiles["tiles"] == rows * columns


# One network, one pass at a time -----------------------------------------------------------------


def test_weights_are_loaded_once_for_all_threads(cube, monkeypatch, small_chunks):
    loads = []
    real = engine.load_tensors

    def load_tensors(*args):
        loads.append(threading.get_ident())
        time.sleep(0.05)  # that others may come meanwhile
        return real(*args)

    monkeypatch.setattr(engine, "load_tensors", load_tensors)
    monkeypatch.setattr(engine, "_engines", type(engine._engines)())
    with dask.config.set(scheduler="threads", num_workers=8):
        embed(cube.chunk(x=9)).compute()
        embed(cube.chunk(x=9), "tile").compute()
    embed(cube)
    assert len(loads) == 1
    other = xr_anysat.Model("tiny", weights="random:9")
    embed(cube, model=other)
    embed(cube)
    assert len(loads) == 2


def test_forward_passes_run_in_lanes(cube, monkeypatch, small_chunks):
    from xr_anysat.model.network import AnySat

    running, most, passes, lock = [], [], [], threading.Lock()

    def watched(real):
        def call(self, *args, **kwargs):
            with lock:
                running.append(1)
                most.append(len(running))
                passes.append((threading.get_ident(), torch.get_num_threads()))
            time.sleep(0.002)
            try:
                return real(self, *args, **kwargs)
            finally:
                with lock:
                    running.pop()

        return call

    for name in ("encode_pixels", "encode_patches", "encode_tiles"):
        monkeypatch.setattr(AnySat, name, watched(getattr(AnySat, name)))
    monkeypatch.setattr(engine, "_threads", lambda: 3)
    with dask.config.set(scheduler="threads", num_workers=8):
        embed(cube.chunk(x=9)).compute()
    assert max(most) == 3
    assert len(passes) > 30
    assert len({thread for thread, _ in passes}) == 3
    assert {threads for _, threads in passes} == {1}


def test_more_models_in_one_graph_than_a_process_keeps():
    cube = make_cube(20, 18, dates=2)
    seeds = range(engine.ENGINES + 1)
    models = [xr_anysat.Model("tiny", weights=f"random:{seed}") for seed in seeds]
    with chunks_of_at_most(16):
        results = [embed(cube.chunk(x=16), "patch", model=model) for model in models]
    computed = dask.compute(*results, scheduler="threads")
    for model, one in zip(models, computed, strict=True):
        assert_same(one, embed(cube, "patch", model=model))


def test_errors_come_from_compute_as_they_are(cube):
    dark = (cube / 10_000).chunk(x=9)
    result = embed(dark, normalize="treesatai")
    with pytest.raises(ScaleError), dask.config.set(scheduler="threads"):
        result.compute()


def test_meta_is_an_empty_array(cube):
    for mode in MODES:
        result = embed(cube.chunk(x=9), mode)
        assert type(result.data._meta) is np.ndarray
        assert result.data._meta.shape == (0,) * result.ndim
        assert result.shape[result.get_axis_num("feature")] == WIDTH * (1 + (mode == "grid"))
        assert result.data.chunksize


def test_annotations_of_the_cube_reach_both_passes(cube):
    with dask.annotate(retries=7):
        values = da.from_array(cube.values, chunks=(-1, -1, 9, 9), name="annotated") + 0
    lazily = cube.copy(data=values)
    result = embed(lazily, "patch")
    annotated = [n for n, layer in result.data.dask.layers.items() if layer.annotations]
    assert len(annotated) == 4  # the source and the sum, each twice
