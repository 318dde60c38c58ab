"""How many dates of a pixel are valid."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cubes import TINY, make_cube, punch
from support.findings import finds
from support.helpers import make_dataset
from support.stores import Reader

import xr_anysat
from xr_anysat import CubeError, OptionError


@pytest.fixture(scope="module")
def cube():
    """A cube with holes, some of single bands, and a pixel without any date."""
    cube = punch(make_cube(11, 9, dates=4))
    cube[0, 3, 0, 0] = np.nan
    cube[1:3, 7, 10, 8] = np.nan
    return cube


def plain(cube):
    """Counted with numpy."""
    return np.isfinite(cube.transpose("time", "band", "y", "x").values).all(axis=1).sum(axis=0)


def test_it_counts_dates_with_all_bands(cube):
    count = cube.anysat.valid_dates()
    np.testing.assert_array_equal(count, plain(cube))
    assert count[1, 2] == 0
    assert len(np.unique(count)) > 3
    assert (count.name, count.dims, count.dtype) == ("valid_dates", ("y", "x"), "int32")
    assert count.attrs["long_name"] == "valid dates of a pixel"
    assert count.attrs["date_count"] == 4
    xr.testing.assert_identical(count, xr_anysat.valid_dates(cube))


def test_it_is_zero_where_an_embedding_is_nan(cube):
    count = cube.anysat.valid_dates()
    grid = cube.anysat.embed(model=TINY, tile_size=8)
    np.testing.assert_array_equal(np.isnan(grid).all("feature"), count == 0)
    assert 0 < int((count == 0).sum()) < count.size


def test_it_lies_on_the_cubes_grid(cube):
    count = cube.anysat.valid_dates()
    assert count.rio.crs == cube.rio.crs
    assert count.rio.transform() == cube.rio.transform()
    aligned = xr.align(cube, count, join="exact")[1]
    assert aligned.sizes == count.sizes


@pytest.mark.parametrize("axes", [("y",), ("x",), ("y", "x")])
@pytest.mark.parametrize("chunks", [None, {"x": 4, "y": 5, "time": 3, "band": 7}])
def test_it_keeps_the_cubes_order(cube, axes, chunks):
    turned = cube.isel({axis: slice(None, None, -1) for axis in axes}).transpose(..., "time")
    turned = turned if chunks is None else turned.chunk(chunks)
    count = turned.anysat.valid_dates()
    np.testing.assert_array_equal(count, plain(turned))
    np.testing.assert_array_equal(count.y, turned.y)
    np.testing.assert_array_equal(count.x, turned.x)


@settings(max_examples=12)
@given(st.data())
def test_it_does_not_depend_on_chunks(data):
    cube = punch(make_cube(9, 7, dates=3), seed=data.draw(st.integers(0, 99)))
    chunks = {dim: data.draw(st.integers(1, size)) for dim, size in cube.sizes.items()}
    count = cube.chunk(chunks).anysat.valid_dates()
    assert isinstance(count.data, da.Array)
    np.testing.assert_array_equal(count, plain(cube))
    assert dict(count.chunksizes) == {dim: cube.chunk(chunks).chunksizes[dim] for dim in ("y", "x")}


def test_a_mask_and_nodata_count_alike(cube):
    whole = make_cube(11, 9, dates=4)
    there = cube.notnull().all("band")
    expected = there.sum("time").values
    marked = whole.where(there, -9999).astype("int16").assign_attrs(_FillValue=-9999)
    lazily = whole.chunk(x=4, time=1)
    for count in (
        whole.anysat.valid_dates(mask=there),
        whole.anysat.valid_dates(mask=there.chunk(y=3)),
        lazily.anysat.valid_dates(mask=there),
        lazily.anysat.valid_dates(mask=there.chunk(y=3, time=3)),
        marked.anysat.valid_dates(),
    ):
        np.testing.assert_array_equal(count, expected)
    of_one = whole.anysat.valid_dates(mask=there.isel(time=0, drop=True))
    np.testing.assert_array_equal(of_one, 4 * there[0].values)


def test_a_mask_in_blocks_makes_it_lazy(cube):
    there = cube.notnull().all("band").chunk(x=4)
    assert isinstance(make_cube(11, 9, dates=4).anysat.valid_dates(mask=there).data, da.Array)


def test_without_time_there_is_one_date(cube):
    for one in (cube.isel(time=0), cube.isel(time=0, drop=True), cube.isel(time=[0])):
        np.testing.assert_array_equal(one.anysat.valid_dates(), plain(cube[:1]))


def test_dates_are_not_needed(cube):
    np.testing.assert_array_equal(cube.drop_vars("time").anysat.valid_dates(), plain(cube))
    numbered = cube.assign_coords(time=range(4))
    np.testing.assert_array_equal(numbered.anysat.valid_dates(), plain(cube))


def test_bands_that_are_not_embedded_do_not_count(cube):
    cloudy = xr.full_like(cube[:, :1], np.nan).assign_coords(band=["B10"])
    more = xr.concat([cloudy, cube], "band").transpose(*cube.dims)
    np.testing.assert_array_equal(more.anysat.valid_dates(), plain(cube))


def test_a_dataset():
    dataset = make_dataset(shape=(5, 4))
    dataset["B8A"][1, 2, 3] = 0
    count = dataset.anysat.valid_dates()
    expected = np.full((5, 4), 3)
    expected[2, 3] = 2
    np.testing.assert_array_equal(count, expected)
    other = dataset.rename(B8A="mine")
    np.testing.assert_array_equal(other.anysat.valid_dates(bands={"B8A": "mine"}), expected)


def test_nothing_is_read_before_compute_and_only_what_is_asked_for(cube):
    reader = Reader(cube, (2, 10, 4, 3))
    count = reader.cube.anysat.valid_dates()
    assert not reader.reads
    np.testing.assert_array_equal(count[:4, :3], plain(cube)[:4, :3])
    assert reader.reads == {(0, 0, 0, 0): 1, (1, 0, 0, 0): 1}


def test_same_call_same_keys(cube):
    keys = [
        sorted(map(str, cube.chunk(x=4).anysat.valid_dates().__dask_graph__())) for _ in range(2)
    ]
    assert keys[0] == keys[1]


def test_it_is_written_to_files(cube, tmp_path):
    count = cube.anysat.valid_dates()
    count.rio.to_raster(tmp_path / "count.tif")
    with xr.open_dataarray(tmp_path / "count.tif", engine="rasterio") as raster:
        np.testing.assert_array_equal(raster[0], count)
        assert raster.rio.crs == cube.rio.crs
    count.to_netcdf(tmp_path / "count.nc")
    with xr.open_dataarray(tmp_path / "count.nc", decode_coords="all") as again:
        xr.testing.assert_identical(again.load(), count)


def test_what_does_not_fit(cube):
    with finds("bands.missing", CubeError):
        cube.isel(band=slice(0, 9)).anysat.valid_dates()
    with finds("mask.type", OptionError):
        cube.anysat.valid_dates(mask=cube[:, 0])
