"""Stores that earlier releases wrote: they still open, and the same call still resumes them.

`data/stores-0.1.tar.xz` was written by the code of 2de6def (0.1.0.dev44) with the calls below,
regions of 8 pixels and tiles of 8; those called "half" with ``regions=`` and "whole" without.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.cubes import make_cube
from support.findings import finds, warns_of
from support.stores import embed, to_zarr

import xr_anysat
from xr_anysat import StoreError

DATA = Path(__file__).parent / "data"
LAEA = "+proj=laea +lat_0=45 +lon_0=3 +x_0=500000 +y_0=5000000 +datum=WGS84 +units=m"
MASK = xr.DataArray(np.arange(16) != 3, dims="x", coords={"x": make_cube(16, 16).x})
TOLERANCE = 2e-5

pytestmark = pytest.mark.usefixtures("small_regions")


def lazy_cube():
    return make_cube(16, 16, dates=2).chunk(x=8, y=8)


def turned_cube():
    return make_cube(16, 16, dates=4, crs=LAEA).isel(y=slice(None, None, -1))


CALLS = {
    "plain": (lazy_cube, {"mode": "tile", "overlap": 0}),
    "int8": (lazy_cube, {"mode": "patch", "quantize": "int8"}),
    "reduced-int8": (
        lazy_cube,
        {"mode": "patch", "reduce": 2, "quantize": "int8", "normalize": "treesatai"},
    ),
    "in-memory": (
        turned_cube,
        {
            "mode": "tile", "mask": MASK, "frames": 2, "overlap": 0, "normalize": "none",
            "dtype": "float16",
        },
    ),
}  # fmt: skip
HALF = {"plain": 1, "int8": 1, "reduced-int8": 2}
"""Regions of four that are done."""


@pytest.fixture
def earlier(tmp_path):
    with tarfile.open(DATA / "stores-0.1.tar.xz") as stores:
        stores.extractall(tmp_path, filter="data")
    for job in tmp_path.glob("*/embedding/progress/job.json"):
        record = json.loads(job.read_text())
        assert record["xr_anysat"] == "0.1"
        # Another minor release refuses by its number alone, which has a test of its own.
        record["xr_anysat"] = ".".join(xr_anysat.__version__.split(".")[:2])
        job.write_text(json.dumps(record, indent=1))
    return tmp_path


def contents(store):
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def assert_holds(store, cube, mode, quantize=None, reduce=None, **options):
    """A store has what this release computes, whoever wrote which part of it."""
    opened, result = xr_anysat.open_embedding(store), embed(cube, mode, **options).compute()
    assert opened.attrs["complete"] == 1
    assert opened.rio.crs == result.rio.crs
    assert opened.rio.transform() == result.rio.transform()
    atol = TOLERANCE
    if reduce is not None:
        numbers = xr_anysat.open_reduction(store)
        centred = result.drop_vars(["feature", "part"]) - numbers["mean"]
        result = xr.dot(centred, numbers["components"], dim="feature").transpose("component", ...)
        atol = 1e-4
    if quantize is not None:
        atol += opened.attrs["quantization_max_error"]
    if opened.dtype == np.float16:
        atol = 4e-3 * float(abs(result).max())
    np.testing.assert_allclose(opened, result, rtol=0, atol=atol)


@pytest.mark.parametrize("name", HALF)
def test_half_a_store_is_resumed(name, earlier):
    make, options = CALLS[name]
    store, cube = earlier / f"{name}-half", make()
    begun = {
        path: value
        for path, value in contents(store).items()
        if "progress" in path.parts or "c" in path.parts
    }
    with warns_of("store.incomplete"):
        partial = xr_anysat.open_embedding(store).compute()
    assert partial.attrs["complete"] == 0
    report = to_zarr(cube, store, tile_size=8, **options)
    assert (report.done, report.written) == (4, 4 - HALF[name])
    assert contents(store).items() >= begun.items()
    assert_holds(store, cube, tile_size=8, **options)
    whole = xr_anysat.open_embedding(store)
    xr.testing.assert_equal(partial, whole.where(partial.notnull()))


@pytest.mark.parametrize("name", ["reduced-int8", "in-memory"])
def test_a_whole_store_is_left_as_it_is(name, earlier):
    make, options = CALLS[name]
    store, cube = earlier / f"{name}-whole", make()
    before = contents(store)
    report = to_zarr(cube, store, tile_size=8, **options)
    assert (report.done, report.written) == (4, 0)
    assert contents(store) == before
    assert_holds(store, cube, tile_size=8, **options)


def test_another_cube_or_option_is_still_told_apart(earlier):
    make, options = CALLS["in-memory"]
    for cube, changes in (
        (make() + 1, {}),
        (make(), {"mask": ~MASK}),
        (make(), {"frames": 1}),
        (make(), {"dtype": "float32"}),
    ):
        with finds("store.other-job", StoreError):
            to_zarr(cube, earlier / "in-memory-whole", tile_size=8, **{**options, **changes})
