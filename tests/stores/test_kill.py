"""A process that writes a map is killed, again and again; the map is as if it had not been."""

import os
import random
import signal
import time

import numpy as np
import pytest
import xarray as xr
from support.cubes import make_cube
from support.stores import Job, embed, small_regions

import xr_anysat
from xr_anysat.stores.location import open_location
from xr_anysat.stores.manifest import Manifest
from xr_anysat.stores.regions import RegionGrid

SIZE = {"height": 48, "width": 40, "dates": 4}
REGIONS = 30


def contents(store):
    """Every file of a store."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }


def check(store, whole):
    """Regions that the store records as done have their values; return how many there are."""
    manifest = Manifest(location=open_location(store, read_only=True))
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
    job = Job(store, SIZE)
    job.start()
    start = time.perf_counter()
    job.finish()
    seconds = time.perf_counter() - start
    with small_regions():
        whole = embed(make_cube(**SIZE).chunk(x=8, y=8, time=2)).compute()
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
    counts, maps = [], 0
    store = tmp_path / "0.zarr"
    for _ in range(rounds):
        job = Job(store, SIZE)
        job.start()
        time.sleep(moments.uniform(0, 0.7 * seconds))
        os.kill(job.process.pid, how)
        job.process.join(60)
        counts.append(check(store, whole) if store.exists() else 0)
        if counts[-1] == REGIONS or maps < len(counts) // 3:  # not always the same store
            finish(store, expected, whole)
            maps += 1
            store = tmp_path / f"{maps}.zarr"
    finish(store, expected, whole)
    record_property("regions done after each kill", counts)


def finish(store, expected, whole):
    job = Job(store, SIZE)
    job.start()
    job.finish()
    assert check(store, whole) == REGIONS
    assert contents(store) == expected
