"""Lanes: order, number, threads, short memory, precision."""

import os
import shutil
import subprocess
import sys
import threading

import distributed
import numpy as np
import pytest
import torch
from support.helpers import chunk_spec

from xr_anysat import Model
from xr_anysat.compute import engine
from xr_anysat.compute.encode import encode_chunk
from xr_anysat.compute.engine import engine_of
from xr_anysat.compute.tiles import TileSpec, encode_window

MODEL = Model("tiny", weights="random:1").pinned()


@pytest.fixture
def three_lanes(monkeypatch):
    monkeypatch.setattr(engine, "_threads", lambda: 3)
    return engine_of(MODEL)


def chunk(values, **changes):
    return encode_chunk(values, None, None, chunk_spec(**changes))


def pixels(height=16, width=16):
    values = np.random.default_rng(0).normal(size=(3, 10, height, width)).astype("float32")
    values[:, :, 2:5, 7:12] = np.nan
    return values


def test_results_come_in_order_and_few_are_waiting(three_lanes):
    begun, pulled = [], []

    def items():
        for number in range(20):
            pulled.append(number)
            yield number

    def job(number):
        begun.append(number)
        threading.Event().wait(0.01 * (number % 3 == 0))
        return number

    for count, number in enumerate(three_lanes.map(job, items())):
        assert number == count
        assert len(pulled) <= count + 2 + three_lanes.lanes
    assert sorted(begun) == list(range(20))


def test_an_error_ends_the_rest(three_lanes):
    begun = []

    def job(number):
        begun.append(number)
        if number == 2:
            raise KeyError("two")
        return number

    with pytest.raises(KeyError, match="two"):
        list(three_lanes.map(job, range(100)))
    assert len(begun) < 10
    assert list(three_lanes.map(abs, range(-3, 0))) == [3, 2, 1]


def test_a_lane_is_one_thread_and_the_process_keeps_its_own(three_lanes):
    before = torch.get_num_threads()
    seen = set(three_lanes.map(lambda _: torch.get_num_threads(), range(9)))
    assert seen == {1}
    assert torch.get_num_threads() == before
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [before]


def test_jobs_of_several_callers_share_the_lanes(three_lanes):
    threads = set()

    def caller():
        for name in three_lanes.map(lambda _: threading.current_thread().name, range(30)):
            threads.add(name)

    callers = [threading.Thread(target=caller) for _ in range(5)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert len(threads) <= 3


def test_lanes_do_not_change_numbers(monkeypatch):
    expected = chunk(pixels())
    for count in (1, 2, 5):
        monkeypatch.setattr(engine, "_threads", lambda count=count: count)
        got = chunk(pixels())
        np.testing.assert_array_equal(got.tokens, expected.tokens)
        np.testing.assert_array_equal(got.sub, expected.sub)


@pytest.mark.slow
def test_threads_of_a_process():
    """What a fresh process counts: what its environment says, until torch is told otherwise."""
    code = """
import torch
from xr_anysat.compute.engine import _threads
print(_threads())
torch.set_num_threads(5)
print(_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "5"]


def test_one_of_many_processes_takes_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(engine, "parent_process", lambda: object())
    assert engine._threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert engine._threads() == 4


@pytest.mark.parametrize(("omp", "expected"), [(None, 3), ("1", 3), ("6", 6)])
def test_threads_of_a_dask_worker(omp, expected, monkeypatch):
    if omp is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=3, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(engine._threads).result() == expected


def short_of_memory(monkeypatch, name, most, size):
    """Let a stage fail where it is given more than `most` items."""
    from xr_anysat.model.network import AnySat

    real, failures = getattr(AnySat, name), []

    def stage(self, values, *args, **kwargs):
        if size(values) > most:
            failures.append(size(values))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return real(self, values, *args, **kwargs)

    monkeypatch.setattr(AnySat, name, stage)
    return failures


def test_batches_are_halved_where_memory_is_short(monkeypatch):
    expected = chunk(pixels())
    failures = short_of_memory(monkeypatch, "encode_patches", 9, len)
    got = chunk(pixels())
    assert max(failures) > 18
    np.testing.assert_allclose(got.tokens, expected.tokens, atol=1e-5)
    np.testing.assert_allclose(got.sub, expected.sub, atol=1e-5)


def test_tiles_are_halved_where_memory_is_short(monkeypatch):
    tokens = np.random.default_rng(2).normal(size=(9, 9, 256)).astype("float32")
    spec = TileSpec(
        model=MODEL,
        patch_size=20,
        rows=((0, 3), (3, 6), (6, 9)),
        columns=((0, 3), (3, 6), (6, 9)),
        tile_patches=3,
        blended=False,
    )
    expected = encode_window(tokens, spec)
    failures = short_of_memory(monkeypatch, "encode_tiles", 2, len)
    got = encode_window(tokens, spec)
    assert max(failures) == 9
    np.testing.assert_allclose(got.total, expected.total, atol=1e-5)


def test_too_little_memory_for_one_is_an_error(monkeypatch):
    short_of_memory(monkeypatch, "encode_patches", 0, len)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        chunk(pixels())


class Device:
    """A device of another kind, for what depends on it alone."""

    def __init__(self, kind):
        self.type = kind


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_f": True}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({}, "float32"),
    ],
)
def test_auto_is_bfloat16_where_a_cpu_multiplies_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    model = Model("tiny", weights="random:1", precision="auto")
    assert engine.resolved_precision(model, torch.device("cpu")) == expected


def test_auto_is_bfloat16_where_a_gpu_multiplies_it(monkeypatch):
    model = Model("tiny", weights="random:1", precision="auto")
    for fast in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, fast=fast: fast
        )
        found = engine.resolved_precision(model, Device("cuda"))
        assert found == ("bfloat16" if fast else "float32")
    assert engine.resolved_precision(model, Device("mps")) == "float32"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_for_products_alone(precision):
    model = Model("tiny", weights="random:1", precision=precision).pinned()
    network = engine_of(model).network
    kinds = {n: p.dtype for n, p in network.named_parameters()}
    linear = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, kind in kinds.items():
        low = name.rpartition(".")[0] in linear
        assert kind == (getattr(torch, precision) if low else torch.float32), name
    assert all(p.dtype == torch.float32 for p in engine_of(MODEL).network.parameters())
    exact, rough = chunk(pixels()), chunk(pixels(), model=model)
    for one, other in ((exact.tokens, rough.tokens), (exact.sub.T, rough.sub.T)):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        cosine = (one * other).sum(-1) / (
            np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        )
        assert np.nanmin(cosine) > 0.999
        assert not np.array_equal(one, other, equal_nan=True)


def test_batches_on_a_gpu_follow_its_free_memory(monkeypatch):
    network = engine_of(MODEL).network
    gpu = engine.Engine(network, "float32")
    gpu.device = Device("cuda")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * 2**30)
    sizes = []
    for free in (0, 2, 6, 200):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, f=free: (f * 2**30, 0))
        sizes.append(gpu.tokens)
    each = engine.TOKEN_COPIES * 4 * 256 * engine.CUDA_LANES / engine.CUDA_SHARE
    assert sizes[:2] == [int(2 * 2**30 / each), int(4 * 2**30 / each)]
    assert sizes[3] == engine.CUDA_TOKENS
    assert gpu.lanes == engine.CUDA_LANES
    assert engine.Engine(network, "float32", 7).tokens == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_lanes_of_its_own():
    code = """
import multiprocessing, warnings
import numpy as np
from test_engine import chunk, pixels
expected = chunk(pixels())
warnings.simplefilter("ignore")  # Python's own, that a process with threads forks
with multiprocessing.get_context("fork").Pool(1) as pool:
    got = pool.apply_async(chunk, [pixels()]).get(timeout=60)
assert np.array_equal(got.sub, expected.sub, equal_nan=True)
print("alike")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), capture_output=True, text=True
    )
    assert done.stdout.strip() == "alike", done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of what torch itself calls
def test_a_compiled_network_gives_the_same():
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    model = Model("tiny", weights="random:1", compile=True).pinned()
    got, expected = chunk(pixels(), model=model), chunk(pixels())
    np.testing.assert_allclose(got.tokens, expected.tokens, atol=1e-5)
    np.testing.assert_allclose(got.sub, expected.sub, atol=1e-5)
    assert engine_of(model).network is not engine_of(MODEL).network
