"""A process that writes a map is killed, again and again; the map is as if it had not been."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from support.cubes import make_cube
from support.stores import embed

import xr_anysat
from xr_anysat.layout import chunks as chunking
from xr_anysat.stores.location import open_location
from xr_anysat.stores.manifest import Manifest
from xr_anysat.stores.regions import RegionGrid

JOB = """
import sys
from support.cubes import make_cube
from support.stores import to_zarr
from xr_anysat.graph import chunking
chunking.LONGEST_CHUNK = 8
cube = make_cube(48, 40, dates=4).chunk(x=8, y=8, time=2)
print("ready", flush=True)
sys.stdin.readline()
to_zarr(cube, sys.argv[1])
print("done", flush=True)
"""


class Job:
    """A process that has imported everything, and waits for its start."""

    def __init__(self, store):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(store)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def start(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return time.perf_counter()

    def finish(self):
        out, err = self.process.communicate(timeout=600)
        assert out == "done\n", err

    def kill(self, how):
        self.process.send_signal(how)
        self.process.communicate(timeout=60)


def contents(store):
    """Every file but those that say when what was done."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }


def check(store, whole):
    """Where the store says that a region is there, it is; return how many there are."""
    manifest = Manifest(place=open_location(store, read_only=True))
    if not store.exists() or manifest.job() is None or not (store / "zarr.json").exists():
        return 0
    grid = RegionGrid.from_json(manifest.job()["map"])
    done = manifest.done(grid)
    with xr.open_zarr(store, consolidated=False) as dataset:
        stored = dataset["embedding"].values
        assert dataset["embedding"].attrs["complete"] <= (len(done) == len(grid))
    for region in done:
        window = (slice(None), *grid.window(region))
        np.testing.assert_array_equal(stored[window], whole.values[window])
    return len(done)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Files of a map that nobody disturbed, how long it takes, and what is in it."""
    store = tmp_path_factory.mktemp("kill") / "undisturbed.zarr"
    job = Job(store)
    start = job.start()
    job.finish()
    seconds = time.perf_counter() - start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "LONGEST_CHUNK", 8)
        whole = embed(make_cube(48, 40, dates=4).chunk(x=8, y=8, time=2)).compute()
    xr.testing.assert_equal(xr_anysat.open_embedding(store).compute(), whole)
    return contents(store), seconds, whole


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX has them")
@pytest.mark.parametrize(
    ("rounds", "how"),
    [
        (2, signal.SIGKILL),
        pytest.param(24, signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(6, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment(rounds, how, undisturbed, tmp_path, record_property):
    expected, seconds, whole = undisturbed
    moments = random.Random(f"{rounds} {how}")
    found, maps = [], 0
    store = tmp_path / "0.zarr"
    for _ in range(rounds):
        job = Job(store)
        job.start()
        time.sleep(moments.uniform(0, 0.7 * seconds))
        job.kill(how)
        found.append(check(store, whole) if store.exists() else 0)
        if found[-1] == 30 or maps < len(found) // 3:  # not always the same store
            finish(store, expected, whole)
            maps += 1
            store = tmp_path / f"{maps}.zarr"
    finish(store, expected, whole)
    record_property("regions there after each kill", found)


def finish(store, expected, whole):
    job = Job(store)
    job.start()
    job.finish()
    assert check(store, whole) == 30
    assert contents(store) == expected
