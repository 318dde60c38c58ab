"""Embedding under dask.distributed: several processes, several threads, workers that die."""

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from support.cubes import TINY, make_cube, punch

import xr_anysat

OPTIONS = {"patch_size": 20, "tile_size": 16}


@contextmanager
def cluster(**options):
    """A cluster on this machine, with a client."""
    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0"} | options
    with (
        distributed.LocalCluster(memory_limit=0, **options) as made,
        distributed.Client(made) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def processes():
    with cluster(processes=True) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(26, 23, dates=2)).chunk(x=12, y=12)


@pytest.fixture(scope="module", autouse=True)
def _small_chunks():
    from xr_anysat.layout import chunks

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(chunks, "LONGEST_CHUNK", 12)
        yield


@pytest.fixture(scope="module")
def expected(cube):
    return cube.anysat.embed(model=TINY, **OPTIONS).compute(scheduler="threads")


def compute_everywhere(client, lazily):
    """Compute on each worker by itself: another result each time, or the first would be kept."""
    for number, worker in enumerate(client.scheduler_info()["workers"]):
        client.compute(lazily + number, workers=[worker]).result()


def same(one, other):
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    assert one.attrs == other.attrs


def test_processes_give_what_threads_give(processes, cube, expected):
    same(cube.anysat.embed(model=TINY, **OPTIONS).compute(), expected)


def test_workers_that_are_threads_give_it_too(cube, expected):
    with cluster(processes=False):
        same(cube.anysat.embed(model=TINY, **OPTIONS).compute(), expected)


def test_persist_and_client_compute(processes, cube, expected):
    lazily = cube.anysat.embed(model=TINY, **OPTIONS)
    same(processes.compute(lazily).result(), expected)
    kept = lazily.persist()
    same(kept.isel(x=slice(3, 9)).compute(), expected.isel(x=slice(3, 9)))


def test_statistics_are_those_of_threads(processes, cube):
    lazily = cube.anysat.band_stats()
    with dask.config.set(scheduler="threads"):
        local = lazily.compute()
    np.testing.assert_allclose(lazily.compute()["std"], local["std"], rtol=1e-12)


def count_loads():
    """Count, in a worker, how many times weights are loaded from now on."""
    from xr_anysat.compute import engine

    engine._engines.clear()
    real, loads = engine.load_tensors, []

    def load_tensors(*args):
        loads.append(args)
        return real(*args)

    engine.load_tensors, engine.loads = load_tensors, loads


def loads():
    from xr_anysat.compute import engine

    return len(engine.loads)


def test_weights_are_loaded_once_in_each_worker(processes, cube):
    processes.run(count_loads)
    for mode in ("grid", "tile"):
        compute_everywhere(processes, cube.anysat.embed(mode, model=TINY, **OPTIONS))
    assert set(processes.run(loads).values()) == {1}


def test_tasks_are_small_and_the_graph_is_no_burden(processes):
    values = da.zeros((2, 10, 480, 480), dtype="uint16", chunks=(-1, -1, 120, 120))
    cube = make_cube(12, 12, dates=2)
    at = 10.0 * np.arange(480)
    cube = cube.pad(x=(0, 468), y=(0, 468), mode="edge").copy(data=values)
    cube = cube.assign_coords(x=500_000 + at, y=5_000_000 - at)
    lazily = cube.anysat.embed(model=TINY, **OPTIONS)
    graph = dict(lazily.__dask_graph__())
    assert len(graph) > 10_000
    assert max(len(cloudpickle.dumps(task)) for task in graph.values()) < 100_000
    usual, megabytes = 100**2, 10  # of a graph of so many chunks, distributed warns beyond these
    limit = {"distributed.admin.large-graph-warning-threshold": megabytes * 1e6 * 40**2 / usual}
    with warnings.catch_warnings(), dask.config.set(limit):
        warnings.simplefilter("error")
        future = processes.compute(lazily)
    future.cancel()


def test_tasks_go_where_the_resource_is(cube, expected):
    def resource(dask_worker):
        return dask_worker.state.total_resources

    with cluster(
        processes=False, n_workers=1, threads_per_worker=1, resources={"GPU": 1}
    ) as client:
        assert list(client.run(resource).values()) == [{"GPU": 1}]
        with dask.annotate(resources={"GPU": 1}):
            lazily = cube.anysat.embed(model=TINY, **OPTIONS)
        layers = lazily.data.dask.layers.items()
        assert all(layer.annotations for name, layer in layers if name.startswith("anysat"))
        with dask.config.set({"optimization.fuse.active": False}):
            same(lazily.compute(), expected)


def test_a_lazy_result_in_a_fresh_process(cube, expected, tmp_path):
    path = tmp_path / "lazy.pickle"
    path.write_bytes(cloudpickle.dumps(cube.anysat.embed(model=TINY, **OPTIONS)))
    assert path.stat().st_size < 2_000_000
    code = f"""
import cloudpickle, numpy as np
lazily = cloudpickle.loads(open({str(path)!r}, "rb").read())
np.save({str(tmp_path / "got.npy")!r}, lazily.compute(scheduler="threads").values)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "got.npy"), expected.values, atol=1e-5)
    assert pickle.loads(pickle.dumps(TINY)) == TINY


def mapped(path):
    """Resident and proportional bytes of a file's memory maps in this process."""
    sizes, inside = {"Rss": 0, "Pss": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(path)
        elif inside and name in sizes:
            sizes[name] += 1024 * int(rest.split()[0])
    return sizes


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc")
def test_processes_share_the_weights(processes, cube, tmp_path):
    from safetensors.numpy import save_file

    from xr_anysat.model.config import model_config, tensor_shapes

    rng = np.random.default_rng(0)
    shapes = tensor_shapes(model_config("tiny")).items()
    path = tmp_path / "weights.safetensors"
    save_file({n: rng.normal(0, 0.02, shape).astype("float32") for n, shape in shapes}, path)
    model = xr_anysat.Model("tiny", weights=str(path))
    compute_everywhere(processes, cube.anysat.embed(model=model, **OPTIONS))
    sizes = processes.run(mapped, str(path))
    assert len(sizes) == 2
    for size in sizes.values():
        assert size["Rss"] > 5_000_000  # what Sentinel-2 needs of it was read
        assert size["Pss"] < 0.6 * size["Rss"]  # half of it is the other's


# Last, because they end workers that the tests before have warmed -------------------------------


def test_a_killed_worker_costs_a_retry_and_changes_nothing(processes, cube, expected, tmp_path):
    killed = tmp_path / "killed"

    def hold(block):
        while not killed.exists():
            time.sleep(0.05)
        return block

    held = cube.copy(data=cube.data.map_blocks(hold, dtype=cube.dtype, meta=cube.data._meta))
    pids = processes.run(os.getpid)
    future = processes.compute(held.anysat.embed(model=TINY, **OPTIONS))
    while not all(processes.processing().values()):
        time.sleep(0.05)
    assert not future.done()
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    killed.touch()
    np.testing.assert_allclose(future.result(timeout=120).values, expected.values, atol=1e-5)
    assert set(processes.run(os.getpid).values()) != set(pids.values())


@pytest.mark.slow
def test_after_a_restart(processes, cube, expected):
    lazily = cube.anysat.embed(model=TINY, **OPTIONS)
    processes.restart()
    same(lazily.compute(), expected)
