"""Statistics of a sample, and statistics that were saved."""

from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cubes import TINY, assert_same, make_cube, punch, stats_of
from support.findings import finds
from support.stores import Reader

from xr_anysat import OptionError
from xr_anysat.graph import statistics as lazy_stats
from xr_anysat.graph.statistics import sample_windows
from xr_anysat.sensors.sentinel2 import SENTINEL2


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(46, 60, dates=3))


# Windows -----------------------------------------------------------------------------------------


@given(st.integers(1, 20_000), st.floats(1e-6, 1))
@example(length=10_980, share=0.1)
@example(length=1, share=1.0)
def test_windows_hold_a_share_of_an_axis_and_lie_apart(length, share):
    windows = sample_windows(length, share)
    sizes = [stop - start for start, stop in windows]
    assert min(sizes) > 0
    assert windows[0][0] >= 0
    assert windows[-1][1] <= length
    assert all(before[1] <= after[0] for before, after in pairwise(windows))
    assert sum(sizes) >= share * length
    assert sum(sizes) < share * length + 1 + len(sizes)
    assert min(4, sum(sizes)) <= len(sizes) <= 16
    assert max(sizes) <= 256 or len(sizes) == 16


def test_windows_of_a_sentinel_tile():
    """A hundredth of 10 980 x 10 980 pixels: 25 windows of 220 pixels."""
    windows = sample_windows(10_980, 0.1)
    assert windows == [(988, 1208), (3184, 3404), (5380, 5600), (7576, 7796), (9772, 9992)]


# Statistics of a sample --------------------------------------------------------------------------


def by_hand(cube, rows, columns):
    """The windows of a sample cut out with numpy."""
    chosen = [np.concatenate([np.arange(*window) for window in w]) for w in (rows, columns)]
    return cube.isel(y=chosen[0], x=chosen[1])


def test_a_sample_is_of_its_windows(cube):
    stats = cube.anysat.band_stats(sample=0.09)  # 0.3 of each axis
    rows = [(3, 7), (15, 19), (26, 30), (38, 42)]  # 13.8 of 46
    columns = [(5, 10), (20, 25), (35, 40), (50, 55)]  # 18 of 60
    cut = by_hand(cube, rows, columns)
    xr.testing.assert_allclose(stats[["mean", "std"]], stats_of(cut).reset_coords(drop=True))
    assert (stats["count"] == int(cut.notnull().all("band").sum())).all()
    assert stats.attrs["sample"] == 0.09
    assert stats.attrs["sample_pixels"] == 16 * 20
    assert "sample" not in cube.anysat.band_stats().attrs


@pytest.mark.parametrize("share", [1, 1.0, np.float32(1), 0.9999])
def test_a_sample_of_all_is_all(cube, share):
    whole, sample = cube.anysat.band_stats(), cube.anysat.band_stats(sample=share)
    xr.testing.assert_allclose(sample, whole)
    assert sample.attrs["sample_pixels"] == 46 * 60


@settings(max_examples=8)
@given(st.data())
def test_a_sample_does_not_depend_on_chunks(data):
    cube = punch(make_cube(19, 13, dates=2))
    share = data.draw(st.sampled_from([0.01, 0.2, 0.7]))
    chunks = {dim: data.draw(st.integers(-(-size // 3), size)) for dim, size in cube.sizes.items()}
    there = cube.notnull().all("band")
    eager = cube.anysat.band_stats(sample=share)
    lazy = cube.chunk(chunks).anysat.band_stats(sample=share)
    assert isinstance(lazy["mean"].data, da.Array)
    assert (lazy["count"] > 0).all()
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-12)
    masked = make_cube(19, 13, dates=2).chunk(chunks).anysat.band_stats(sample=share, mask=there)
    xr.testing.assert_allclose(masked.compute(), eager, rtol=1e-12)


def test_a_sample_is_laid_north_up(cube):
    expected = cube.anysat.band_stats(sample=0.1)
    turned = cube.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    xr.testing.assert_allclose(turned.anysat.band_stats(sample=0.1), expected, rtol=1e-12)


def test_a_sample_reads_only_chunks_that_it_touches():
    cube = make_cube(64, 64, dates=2)
    reader = Reader(cube, (1, 10, 4, 4))
    reads = reader.reads
    stats = reader.cube.anysat.band_stats(sample=0.01)  # 0.1 of an axis: 4 windows of 2 pixels
    assert not reads
    xr.testing.assert_allclose(stats.compute(), cube.anysat.band_stats(sample=0.01))
    assert set(reads.values()) == {1}
    assert len(reads) == 2 * 8 * 8  # of 2 x 16 x 16
    for axis in (2, 3):  # pixels 7 and 8, 23 and 24, ...
        assert {location[axis] for location in reads} == {1, 2, 5, 6, 9, 10, 13, 14}


@pytest.mark.parametrize("sample", [0, -0.1, 1.5, 20, float("nan"), True, "half", [0.1]])
def test_samples_that_are_none(cube, sample):
    with finds("statistics.sample", OptionError):
        cube.anysat.band_stats(sample=sample)


def test_a_sample_normalises_like_other_statistics(cube):
    stats = cube.anysat.band_stats(sample=0.3)
    result = cube.chunk().anysat.embed("patch", normalize=stats, model=TINY)
    assert result.attrs["normalization_mean"] == stats["mean"].values.tolist()


def test_same_call_same_keys(cube):
    own = cube.chunk(x=9)
    keys = [sorted(map(str, own.anysat.band_stats(sample=0.2).__dask_graph__())) for _ in range(2)]
    assert keys[0] == keys[1]


def test_long_windows_are_cut(monkeypatch):
    monkeypatch.setattr(lazy_stats, "SAMPLE_LENGTH", 3)
    assert len(sample_windows(200, 0.9)) == 16
    assert sample_windows(60, 0.3) == [(3, 6), (13, 16), (23, 26), (33, 36), (43, 46), (53, 56)]


# Statistics that were saved ----------------------------------------------------------------------


def _netcdf(stats, folder):
    stats.to_netcdf(folder / "stats.nc")
    return xr.load_dataset(folder / "stats.nc")


def _zarr(stats, folder):
    stats.to_zarr(folder / "stats.zarr", consolidated=False)
    return xr.open_zarr(folder / "stats.zarr", consolidated=False).load()


def _lazily(stats, folder):
    stats.to_zarr(folder / "stats.zarr", zarr_format=2, consolidated=False)
    return xr.open_zarr(folder / "stats.zarr", consolidated=False)


def _json(stats, folder):
    return xr.Dataset.from_dict(stats.to_dict())


def _table(stats, folder):
    return xr.Dataset.from_dataframe(stats.to_dataframe()).isel(band=slice(None, None, -1))


@pytest.mark.parametrize("sample", [None, 0.2])
@pytest.mark.parametrize("save", [_netcdf, _zarr, _lazily, _json, _table])
def test_saved_statistics_give_the_same_embedding(cube, save, sample, tmp_path):
    """Bit for bit, of other cubes, too."""
    stats = cube.anysat.band_stats(sample=sample)
    again = save(stats, tmp_path)
    other = make_cube(9, 8, dates=2, seed=4)
    expected = other.anysat.embed(normalize=stats, model=TINY)
    for one in (other, other.chunk(x=5)):
        result = one.anysat.embed(normalize=again, model=TINY)
        np.testing.assert_array_equal(result, expected)
    if save is not _table:
        xr.testing.assert_identical(again.compute(), stats)


def test_bands_of_statistics_go_by_name(cube):
    stats = cube.anysat.band_stats()
    cube = cube.isel(x=slice(0, 16), y=slice(0, 16))
    expected = cube.anysat.embed("patch", normalize=stats, model=TINY)
    extra = xr.concat([stats, stats.isel(band=[0]).assign_coords(band=["B1"]) * 9], "band")
    for same in (stats.isel(band=[9, 3, 1, 0, 2, 8, 4, 5, 7, 6]), extra):
        assert_same(cube.anysat.embed("patch", normalize=same, model=TINY), expected, atol=0)
    swapped = stats.assign_coords(band=[*SENTINEL2.band_names[:8], "B12", "B11"])
    result = cube.anysat.embed("patch", normalize=swapped, model=TINY)
    assert abs(result - expected).max() > 0.01


@pytest.mark.parametrize(
    "change",
    [
        lambda stats: stats.rename(band="bands"),
        lambda stats: stats.drop_vars("band"),
        lambda stats: stats.assign_coords(band=["B02", *SENTINEL2.band_names[1:]]),
        lambda stats: stats.assign_coords(band=["B3", *SENTINEL2.band_names[1:]]),
        lambda stats: stats.rename(mean="average"),
    ],
)
def test_statistics_without_names_or_bands(cube, change):
    stats = change(cube.anysat.band_stats())
    with finds("normalize.dataset", OptionError) as caught:
        cube.anysat.embed(normalize=stats, model=TINY)
    assert "cube.anysat.band_stats()" in str(caught.value)
