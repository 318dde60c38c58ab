"""What `embed` gives for cubes in memory, through the accessor."""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file
from support.cubes import (
    LABELS,
    TINY,
    WIDTH,
    assert_same,
    by_hand,
    forward,
    largest_gap,
    make_cube,
    punch,
    stats_of,
)
from support.findings import codes, finds, warns_of

import xr_anysat
from xr_anysat import CubeError, OptionError, ScaleError, WeightsError
from xr_anysat.findings import in_python
from xr_anysat.model.config import tensor_shapes
from xr_anysat.model.network import AnySat
from xr_anysat.sensors.sentinel2 import SENTINEL2
from xr_anysat.weights.files import load_tensors

MODES = ("grid", "patch", "tile", "pooled")
MAPS = ("grid", "patch", "tile")


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return make_cube()


@pytest.fixture(scope="module")
def stats(cube):
    return cube.anysat.band_stats()


@pytest.fixture(scope="module")
def plain(cube):
    """The cube embedded as it is, in every mode."""
    return {mode: embed(cube, mode) for mode in MODES}


# The numbers: against the network's own forward pass, tile by tile -------------------------------


@pytest.mark.parametrize(
    ("height", "width", "gsd", "patch", "tile"),
    [
        pytest.param(16, 16, 10, 4, 16, id="one-complete-tile"),
        pytest.param(32, 16, 10, 4, 16, id="two-tiles"),
        pytest.param(16, 24, 20, 4, 16, id="gsd-20-rectangular"),
        pytest.param(12, 18, 10, 6, 12, id="patch-of-60-m"),
        pytest.param(21, 19, 10, 4, 16, id="incomplete-edges"),
        pytest.param(13, 11, 30, 2, 8, id="gsd-30-incomplete-edges"),
        pytest.param(10, 7, 10, 1, 4, id="patch-of-a-pixel"),
    ],
)
def test_without_overlap_it_is_the_network_on_each_tile(height, width, gsd, patch, tile):
    cube = make_cube(height, width, gsd=gsd)
    expected = by_hand(cube, patch=patch, tile=tile, gsd=gsd)
    for mode in MAPS:
        result = embed(cube, mode, patch_size=patch * gsd, tile_size=tile, overlap=0)
        assert_same(result, expected[mode])


@pytest.mark.parametrize(
    ("overlap", "stride", "holes"),
    [
        (0.25, 12, False),
        (0.75, 4, False),
        (0.5, 8, True),
        (0.4, 8, True),
        (0.9, 4, True),
        (0.1, 16, True),
    ],
)
def test_overlapping_tiles_are_averaged_with_weights(overlap, stride, holes):
    cube = make_cube(26, 21)
    cube = punch(cube) if holes else cube
    expected = by_hand(cube, tile=16, stride=stride)
    for mode in MAPS:
        assert_same(embed(cube, mode, overlap=overlap), expected[mode])


def test_the_defaults():
    cube = make_cube(70, 40, dates=2)
    expected = by_hand(cube, patch=4, tile=64, stride=32)
    assert_same(cube.anysat.embed(model=TINY), expected["grid"])


@pytest.mark.slow
def test_small_model():
    model = xr_anysat.Model("small", weights="random:3")
    cube = make_cube(9, 8, dates=2)
    expected = by_hand(cube, tile=8, stride=4, model=model)
    for mode in MAPS:
        assert_same(embed(cube, mode, tile_size=8, model=model), expected[mode])


def test_a_tile_without_any_valid_pixel_is_nan():
    cube = make_cube(24, 24, dates=2).astype("float32")
    cube[:, :, 8:16, 8:16] = np.nan
    expected = by_hand(cube, tile=8)
    assert np.isnan(expected["tile"][:, 1, 1]).all()
    for mode in MAPS:
        assert_same(embed(cube, mode, tile_size=8, overlap=0), expected[mode])


# What must not matter ----------------------------------------------------------------------------


def _band_order(cube):
    return cube.isel(band=[3, 9, 0, 1, 8, 2, 7, 6, 5, 4])


def _extra_bands(cube):
    extra = (cube.isel(band=[0, 1]) * 3).assign_coords(band=["B01", "SCL"])
    return xr.concat([extra, cube], "band").transpose(*cube.dims).astype(cube.dtype)


def _dataset(cube):
    return cube.to_dataset("band")


def _shifted(cube):
    return cube.assign_coords(x=cube.x + 51_230, y=cube.y - 3_210)


def _absent_date(cube):
    absent = cube.isel(time=[1]).astype("float32") * np.nan
    absent["time"] = absent.time + np.timedelta64(5, "D")
    return xr.concat([cube.astype("float32"), absent], "time").sortby("time")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_band_order, id="band order"),
        pytest.param(_extra_bands, id="extra bands"),
        pytest.param(lambda cube: cube.transpose("x", "band", "y", "time"), id="dim order"),
        pytest.param(lambda cube: cube.isel(time=[2, 0, 1]), id="date order"),
        pytest.param(_absent_date, id="a date missing everywhere"),
        pytest.param(_dataset, id="Dataset"),
        pytest.param(lambda cube: _dataset(_extra_bands(cube)), id="Dataset with extra bands"),
        pytest.param(_shifted, id="place on the map"),
        pytest.param(lambda cube: cube.astype("uint16"), id="uint16"),
        pytest.param(lambda cube: cube.astype(">i4"), id="big-endian int32"),
        pytest.param(lambda cube: cube.astype("float32"), id="float32"),
        pytest.param(lambda cube: cube.astype("float64"), id="float64"),
        pytest.param(lambda cube: cube.astype("float64") / 10_000, id="reflectance"),
        pytest.param(
            lambda cube: cube.assign_coords(time=cube.time + np.timedelta64(7, "h")), id="time"
        ),
        pytest.param(lambda cube: cube.rename(x="easting", y="northing"), id="names of dims"),
    ],
)
def test_what_does_not_change_the_numbers(cube, plain, change):
    assert_same(embed(change(cube)), plain["grid"], atol=1e-5)


def test_flipped_cube_is_embedded_north_up():
    cube = punch(make_cube(22, 19))
    straight = {mode: embed(cube, mode) for mode in MODES}
    for axes, modes in (("y", ["grid"]), ("x", ["grid"]), ("yx", MAPS)):
        turn = {axis: slice(None, None, -1) for axis in axes}
        for mode in modes:
            flipped = embed(cube.isel(turn), mode).isel(turn)
            assert_same(flipped, straight[mode], atol=1e-5)
            for axis in ("y", "x"):
                np.testing.assert_allclose(flipped[axis], straight[mode][axis])
    assert_same(embed(cube.isel(turn), "pooled"), straight["pooled"], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 100_000])
def test_batch_size_does_not_change_the_numbers(cube, plain, batch_size):
    model = replace(TINY, batch_size=batch_size)
    for mode in ("grid", "tile"):
        assert_same(embed(cube, mode, model=model), plain[mode], atol=1e-5)


def test_batch_size_bounds_what_is_computed_at_once(cube, monkeypatch):
    batches = []

    def watched(real, vectors):
        def call(self, values, *args, **kwargs):
            batches.append(len(values) * vectors(values))
            return real(self, values, *args, **kwargs)

        return call

    patches, tiles = AnySat.encode_patches, AnySat.encode_tiles
    monkeypatch.setattr(AnySat, "encode_patches", watched(patches, lambda v: v.shape[1]))
    monkeypatch.setattr(AnySat, "encode_tiles", watched(tiles, lambda v: v.shape[1] * v.shape[2]))
    for size, largest in ((1, 16), (40, 40), (100_000, 30 * 16)):  # never less than one
        batches.clear()
        embed(cube, model=replace(TINY, batch_size=size))
        assert largest / 2 < max(batches) <= largest


def test_dates_matter_and_can_be_given(cube, plain):
    bare = cube.drop_vars("time")
    dates = [str(date)[:10] for date in cube.time.values]
    assert_same(embed(bare, dates=dates), plain["grid"], atol=1e-6)
    assert largest_gap(embed(cube, dates=["2021-01-01"] * 3), plain["grid"]) > 0.01


def test_bands_can_be_named(cube, plain):
    names = [f"layer {n}" for n in range(10)]
    bands = dict(zip(SENTINEL2.band_names, names, strict=True))
    renamed = cube.assign_coords(band=names)
    assert_same(embed(renamed, bands=bands), plain["grid"], atol=0)
    swapped = {**bands, "B2": names[9], "B12": names[0]}
    assert largest_gap(embed(renamed, bands=swapped), plain["grid"]) > 0.01


def test_pieces_cut_along_tiles_are_the_whole(stats):
    cube = make_cube(28, 24)
    options = {"overlap": 0, "tile_size": 8, "normalize": stats}
    for mode, size in (("grid", 1), ("patch", 4), ("tile", 8)):
        whole = embed(cube, mode, **options)
        for top, left in ((0, 0), (8, 16), (16, 8)):
            piece = embed(
                cube.isel(y=slice(top, top + 16), x=slice(left, left + 8)), mode, **options
            )
            aligned = whole.sel(x=piece.x, y=piece.y)
            assert aligned.sizes["y"] == min(16, 28 - top + (-28 % size)) // size
            assert_same(piece, aligned, atol=1e-5)


# Missing values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "shape", "border"),
    [(0, (21, 18), (9, 7)), (0, (24, 16), (16, 40)), (0.5, (21, 18), (3, 6))],
)
def test_a_border_of_nothing_changes_nothing(overlap, shape, border):
    """With overlap, as long as no further tile begins in the border."""
    cube = make_cube(*shape).astype("float32")
    wide = make_cube(shape[0] + border[0], shape[1] + border[1]).astype("float32") * np.nan
    wide[:, :, : shape[0], : shape[1]] = cube.values
    inner = {"y": slice(0, shape[0]), "x": slice(0, shape[1])}
    narrow_grid, wide_grid = (embed(c, overlap=overlap) for c in (cube, wide))
    assert_same(wide_grid.isel(inner), narrow_grid, atol=1e-5)
    assert np.isnan(wide_grid.isel(y=slice(shape[0], None))).all()
    assert np.isnan(wide_grid.isel(x=slice(shape[1], None))).all()
    for mode in ("patch", "tile"):
        narrow, far = embed(cube, mode, overlap=overlap), embed(wide, mode, overlap=overlap)
        rows, columns = narrow.shape[1:]
        assert_same(far[:, :rows, :columns], narrow, atol=1e-5)
        assert np.isnan(far[:, rows:]).all()
        assert np.isnan(far[:, :, columns:]).all()
    assert_same(
        embed(wide, "pooled", overlap=overlap), embed(cube, "pooled", overlap=overlap), atol=1e-5
    )


def test_missing_by_nan_by_nodata_and_by_mask_are_one(cube):
    with_nan = punch(cube)
    there = with_nan.notnull().all("band")
    filled = cube.where(there, -9999).astype("int16")
    variants = {
        "attrs": filled.assign_attrs(nodata=-9999),
        "_FillValue": filled.assign_attrs(_FillValue=-9999),
        "rio": filled.rio.write_nodata(-9999),
        "encoding": filled.copy(),
        "a single band": cube.where(there | (cube.band != "B06"), -9999).assign_attrs(nodata=-9999),
        "infinite": cube.astype("float32").where(there, np.inf),
    }
    variants["encoding"].encoding["_FillValue"] = -9999
    for mode in ("grid", "tile"):
        expected = embed(with_nan, mode)
        for name, variant in variants.items():
            assert largest_gap(embed(variant, mode), expected) < 1e-6, name
        assert largest_gap(embed(filled, mode, mask=there), expected) < 1e-6
        assert largest_gap(embed(with_nan, mode, mask=there), expected) < 1e-6
        assert largest_gap(embed(filled, mode), expected) > 0.01


def test_a_pixel_without_valid_date_is_nan_and_only_it(cube):
    there = xr.DataArray(np.ones((3, 24, 20), bool), dims=("time", "y", "x"))
    there[:, 2, 3] = False
    there[:, 8:12, 12:16] = False
    grid = embed(cube, mask=there)
    lost = ~there.any("time").values
    assert np.array_equal(np.isnan(grid).all("feature"), lost)
    assert np.array_equal(np.isnan(grid).any("feature"), lost)
    patch = embed(cube, "patch", mask=there)
    missing = np.zeros((6, 5), bool)
    missing[2, 3] = True
    assert np.array_equal(np.isnan(patch).any("feature"), missing)
    assert np.isfinite(embed(cube, "tile", mask=there)).all()
    # whatever lies under the mask
    other = cube.where(there, 30_000).astype("int16")
    for mode in MODES:
        assert_same(embed(other, mode, mask=there), embed(cube, mode, mask=there), atol=0)


def test_only_patches_that_share_a_tile_see_a_hole(stats):
    cube = make_cube(24, 24)
    there = xr.DataArray(np.ones((3, 24, 24), bool), dims=("time", "y", "x"))
    there[:, 0:4, 0:4] = False
    options = {"tile_size": 8, "overlap": 0, "normalize": stats}
    whole, holed = embed(cube, **options), embed(cube, mask=there, **options)
    outside = ~((cube.x < cube.x[8]) & (cube.y > cube.y[8]))
    assert_same(holed.where(outside, 0), whole.where(outside, 0), atol=1e-5)
    # and of a neighbour in the tile only the context, not its own pixels
    inside = holed.isel(y=slice(4, 8), x=slice(4, 8)) - whole.isel(y=slice(4, 8), x=slice(4, 8))
    assert np.abs(inside.where(inside.part == "subpatch", drop=True)).max() < 1e-5
    assert np.abs(inside.where(inside.part == "patch", drop=True)).max() > 0.01


def test_no_valid_pixel_at_all(cube):
    nothing = xr.zeros_like(cube.isel(band=0, drop=True), dtype=bool)
    for mode in MODES:
        assert np.isnan(embed(cube, mode, mask=nothing)).all()


def test_mask_is_broadcast(cube, plain):
    space = xr.DataArray(np.random.default_rng(1).random((24, 20)) > 0.3, dims=("y", "x"))
    time = xr.DataArray([True, False, True], dims="time")
    full = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    assert_same(embed(cube, mask=space), embed(cube, mask=full & space), atol=0)
    assert_same(embed(cube, mask=time), embed(cube.isel(time=[0, 2])), atol=1e-5)
    assert_same(embed(cube, mask=full.transpose("x", "time", "y")), plain["grid"], atol=1e-6)


def test_mask_of_one_date_counts_for_all(cube):
    """What `scl.isel(time=0)` leaves behind is a scalar coordinate."""
    scene = (cube.isel(band=0) > 1000).drop_vars("band")
    one = scene.isel(time=0)
    assert "time" in one.coords
    assert_same(embed(cube, mask=one), embed(cube, mask=one.drop_vars("time")), atol=0)


def test_mask_of_a_flipped_cube(cube):
    there = punch(cube).notnull().all("band")
    turn = {"y": slice(None, None, -1)}
    flipped = embed(cube.isel(turn), mask=there.isel(turn))
    assert_same(flipped.isel(turn), embed(cube, mask=there), atol=1e-5)


def test_dask_mask_makes_a_cube_in_memory_lazy(cube):
    there = punch(cube).notnull().all("band")
    result = embed(cube, mask=there.chunk(x=7, time=1))
    assert isinstance(result.data, da.Array)
    assert_same(result, embed(cube, mask=there))


@pytest.mark.parametrize("dims", [("y", "x"), ("time",), ("time", "y", "x")])
def test_numpy_mask_with_a_dask_cube(cube, dims):
    there = punch(cube).notnull().all("band")
    there = there.isel({dim: 0 for dim in ("time", "y", "x") if dim not in dims}, drop=True)
    lazy = embed(cube.chunk(x=8, y=9), mask=there)
    assert isinstance(lazy.data, da.Array)
    assert_same(lazy, embed(cube, mask=there))


@pytest.mark.parametrize(
    ("change", "error", "code", "named"),
    [
        (lambda mask: mask.assign_coords(x=mask.x + 5), CubeError, "mask.grid", "reindex_like"),
        (lambda mask: mask.isel(x=slice(0, 10)), CubeError, "mask.grid", "reindex_like"),
        (lambda mask: mask.astype("uint8"), OptionError, "mask.type", "DataArray of uint8"),
        (lambda mask: mask.expand_dims("band"), OptionError, "mask.dims", "['band']"),
        (lambda mask: mask.values, OptionError, "mask.type", "ndarray"),
    ],
)
def test_mask_that_does_not_fit(cube, change, error, code, named):
    mask = xr.ones_like(cube.isel(band=0, drop=True), dtype=bool)
    with finds(code, error) as caught:
        embed(cube, mask=change(mask))
    assert named in str(caught.value)


# Sizes and dates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 2), (1, 5), (3, 1), (4, 4), (5, 3), (16, 1), (17, 33)])
def test_any_size(shape):
    cube = make_cube(*shape, dates=2).rio.write_transform(
        make_cube(4, 4).rio.transform(recalc=True)
    )
    expected = by_hand(cube, tile=16, stride=8)
    for mode in MAPS:
        result = embed(cube, mode)
        assert_same(result, expected[mode])
        assert result.rio.crs == cube.rio.crs


def test_one_pixel():
    cube = make_cube(4, 4).isel(x=slice(2, 3), y=slice(1, 2)).copy()
    cube = cube.rio.write_transform(make_cube(4, 4).rio.transform(recalc=True))
    stats = make_cube().anysat.band_stats()
    mean, std = stats["mean"].values, stats["std"].values
    expected = by_hand(cube, tile=16, mean=mean, std=std)
    for mode in MAPS:
        assert_same(embed(cube, mode, normalize=stats), expected[mode])
    assert embed(cube).shape == (2 * WIDTH, 1, 1)
    with finds("grid.one-pixel", CubeError):
        embed(cube.drop_vars("spatial_ref").rio.write_crs(32631))


def test_single_date(cube):
    one = cube.isel(time=[1])
    expected = by_hand(one, tile=16, stride=8)
    for mode in MAPS:
        assert_same(embed(one, mode), expected[mode])


def test_without_time_dimension(cube, stats):
    flat = cube.isel(time=1)
    assert "time" not in flat.dims
    expected = embed(cube.isel(time=[1]))
    assert_same(embed(flat), expected, atol=1e-6)
    assert_same(embed(flat.drop_vars("time"), dates="2021-03-16"), expected, atol=1e-6)
    assert embed(flat).attrs["dates"] == str(cube.time.values[1])[:19]
    there = xr.DataArray(np.ones((24, 20), bool), dims=("y", "x"))
    assert_same(embed(flat, mask=there), expected, atol=1e-6)
    with finds("dates.none", CubeError):
        embed(flat.drop_vars("time"))


def test_leap_year_ends_on_the_last_day_that_the_network_knows():
    cube = make_cube(8, 8, dates=2, start="2020-12-30", days=1)
    assert cube.anysat.s2_dates.tolist() == [364, 364]
    assert_same(embed(cube), embed(cube, dates=["2021-12-31", "2021-12-31"]), atol=0)


# Normalisation -----------------------------------------------------------------------------------


def test_zscore_is_over_the_valid_values_of_the_cube(cube):
    for one in (cube, punch(cube)):
        ours, numpy = one.anysat.band_stats(), stats_of(one).reset_coords(drop=True)
        xr.testing.assert_allclose(ours[["mean", "std"]], numpy, rtol=1e-12)
        by_default = embed(one)
        assert_same(by_default, embed(one, normalize=ours), atol=1e-6)
        assert_same(by_default, embed(one, normalize=numpy), atol=1e-6)


def test_band_stats_say_what_they_are(cube):
    holed = punch(cube)
    stats = holed.anysat.band_stats()
    assert stats["count"].values.tolist() == [int(holed.notnull().all("band").sum())] * 10
    assert stats["band"].values.tolist() == list(SENTINEL2.band_names)
    assert stats.attrs["gsd_m"] == 10
    assert stats.attrs["xr_anysat_version"] == xr_anysat.__version__
    there = holed.notnull().all("band")
    xr.testing.assert_allclose(cube.anysat.band_stats(mask=there), stats)
    xr.testing.assert_allclose(_dataset(_band_order(cube)).anysat.band_stats(mask=there), stats)
    assert (xr_anysat.band_stats(cube)["count"] == cube[:, 0].size).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda cube: cube.drop_vars("time"),
        lambda cube: cube.isel(time=0, drop=True),
        lambda cube: cube.isel(time=0, drop=True).rename(band="variable"),
        lambda cube: cube.isel(time=0, drop=True).rename(band="wavelengths_nm"),
        lambda cube: cube.drop_vars("time").rename(time="when", band="my_bands", x="easting"),
        lambda cube: cube.drop_vars("time").to_dataset("band"),
        lambda cube: cube.isel(time=0, drop=True).to_dataset("band"),
    ],
)
def test_band_stats_need_no_dates(cube, change):
    there = cube.isel(time=slice(0, 1)) if "time" not in change(cube).dims else cube
    there = cube if "when" in change(cube).dims else there
    xr.testing.assert_allclose(change(cube).anysat.band_stats(), there.anysat.band_stats())


def test_statistics_survive_a_file(cube, stats, tmp_path):
    stats.to_netcdf(tmp_path / "stats.nc")
    with xr.open_dataset(tmp_path / "stats.nc") as saved:
        again = saved.load()
    other = make_cube(seed=5)
    assert_same(embed(other, normalize=again), embed(other, normalize=stats), atol=0)
    shuffled = again.isel(band=slice(None, None, -1))
    assert_same(embed(other, normalize=shuffled), embed(other, normalize=stats), atol=0)
    assert largest_gap(embed(other, normalize=again), embed(other)) > 0.01


def test_lazy_statistics_of_a_cube(cube, stats):
    lazy = cube.chunk(x=6, time=1).anysat.band_stats()
    assert all(isinstance(lazy[name].data, da.Array) for name in lazy.data_vars)
    xr.testing.assert_allclose(lazy.compute(), stats)
    result = embed(cube, normalize=lazy)
    assert isinstance(result.data, da.Array) or result.chunks is None
    assert_same(result, embed(cube, normalize=stats))
    assert_same(embed(cube.chunk(y=9), normalize=lazy), embed(cube, normalize=stats))


def test_published_statistics(cube):
    published = SENTINEL2.statistics["treesatai"]
    for mode in MODES:
        by_name = embed(cube, mode, normalize="treesatai", overlap=0)
        if mode != "pooled":
            expected = by_hand(cube, tile=16, mean=published.mean, std=published.std)
            assert_same(by_name, expected[mode])
    assert by_name.attrs["normalization_mean"] == list(published.mean)


def test_reflectance_and_none(cube):
    bright = cube.copy()
    bright[0, :, :3, :3] = 15_000  # clipped
    bright[1, :, 4, 4] = -200
    reflectance = (bright / 10_000).clip(0, 1)
    nothing = {"mean": np.zeros(10), "std": np.ones(10)}
    expected = by_hand(reflectance, tile=16, **nothing)["grid"]
    assert_same(embed(bright, normalize="reflectance", overlap=0), expected)
    assert_same(embed(reflectance, normalize="none", overlap=0), expected)


@pytest.mark.parametrize("holes", [False, True])
def test_statistics_of_each_tile(holes):
    cube = make_cube(20, 27)
    cube = punch(cube) if holes else cube
    result = {
        mode: embed(cube, mode, tile_size=8, overlap=0, normalize="tile_zscore") for mode in MAPS
    }
    for i, j in np.ndindex(3, 4):
        window = {"y": slice(8 * i, 8 * i + 8), "x": slice(8 * j, 8 * j + 8)}
        part = cube.isel(window)
        if not part.notnull().any():
            continue
        expected = by_hand(part, tile=8)
        assert_same(result["grid"].isel(window), expected["grid"], atol=5e-5)
        assert_same(result["tile"][:, i, j], expected["tile"][:, 0, 0], atol=5e-5)
        rows, columns = (slice(2 * n, 2 * n + 2) for n in (i, j))
        assert_same(result["patch"][:, rows, columns], expected["patch"], atol=5e-5)
    assert "normalization_mean" not in result["grid"].attrs


def test_constant_bands_do_not_divide_by_nothing():
    cube = make_cube(8, 8)
    cube[:, 3] = 1234
    assert np.isfinite(embed(cube)).all()


@pytest.mark.parametrize(
    ("normalize", "factor", "where", "repair"),
    [
        ("treesatai", 1e-4, "far below", "cube * 10000"),
        ("reflectance", 1e-4, "far below", "cube * 10000"),
        ("stats", 1e-4, "far below", "cube * 10000"),
        ("stats", 1e4, "far above", "cube / 10000"),
    ],
)
@pytest.mark.parametrize("chunks", [None, {"x": 9}])
def test_values_on_another_scale(cube, stats, normalize, factor, where, repair, chunks):
    other, name = cube.astype("float64") * factor, normalize
    normalize = stats if name == "stats" else name
    with finds("values.scale", ScaleError) as caught:
        if chunks is None:
            embed(other, normalize=normalize)
        else:
            embed(other.chunk(chunks), normalize=normalize).compute()
    (finding,) = caught.value.findings
    assert finding.data["where"] == where
    assert finding.remedies[0].code == repair
    assert finding.data["option"].value == ("band_stats" if name == "stats" else name)


# Frames ------------------------------------------------------------------------------------------


def test_frames_are_medians_of_equal_periods(stats):
    cube = punch(make_cube(12, 12, dates=7, days=10))
    first, last = cube.time.values[[0, -1]]
    # three periods of 20 days: dates 0 1 | 2 3 | 4 5 6
    groups = [slice(0, 2), slice(2, 4), slice(4, 7)]
    valid = cube.where(cube.notnull().all("band"))
    frames = xr.concat([valid.isel(time=g).median("time") for g in groups], "time")
    middles = first + (last - first) * (2 * np.arange(3) + 1) // 6
    composites = frames.assign_coords(time=middles).transpose(*cube.dims)
    for mode in MODES:
        result = embed(cube, mode, frames=3, normalize=stats)
        assert_same(result, embed(composites, mode, normalize=stats), atol=1e-5)
    assert result.attrs["frames"] == 3
    assert result.attrs["dates"].split() == np.datetime_as_string(middles, unit="s").tolist()
    # zscore keeps to the values themselves
    own = cube.anysat.band_stats()
    assert_same(embed(cube, frames=3), embed(cube, frames=3, normalize=own), atol=1e-6)


def test_period_leaves_dates_out(stats):
    cube = make_cube(8, 8, dates=6, days=10)
    dates = cube.time.values
    period = (dates[1], dates[3])
    one = embed(cube, frames=1, period=period, normalize=stats)
    middle = cube.isel(time=slice(1, 4)).median("time").expand_dims(time=[dates[2]])
    assert_same(one, embed(middle, normalize=stats), atol=1e-5)
    as_text = tuple(str(date)[:10] for date in period)
    assert len(embed(cube, frames=1, period=as_text).attrs["dates"].split()) == 1


def test_empty_periods_are_left_out_with_a_warning():
    cube = make_cube(8, 8, dates=2, days=100)
    with warns_of("frames.empty") as caught:
        result = embed(cube, frames=4)
    assert caught[0].filename == __file__
    (finding,) = caught[0].message.findings
    assert (finding.data["empty"], finding.data["count"]) == (2, 4)
    assert len(result.attrs["dates"].split()) == 2


# Pooling, precision, layout ----------------------------------------------------------------------


def test_pooled_is_the_mean_or_the_maximum_of_a_map(cube):
    holed = punch(cube)
    for pool_from in ("patch", "tile"):
        values = embed(holed, pool_from)
        mean = embed(holed, "pooled", pool_from=pool_from)
        assert mean.dims == ("feature",)
        assert_same(mean, values.mean(("y", "x")), atol=1e-6)
        highest = embed(holed, "pooled", pool_from=pool_from, pooling="max")
        assert_same(highest, values.max(("y", "x")), atol=0)
        assert highest.attrs["pooling"] == "max"
        assert highest.attrs["pool_from"] == pool_from


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_of_the_result(cube, plain, mode):
    half = embed(cube, mode, dtype="float16")
    assert half.dtype == "float16"
    assert_same(half, plain[mode].astype("float16"), atol=0)
    lazy = embed(cube.chunk(x=8), mode, dtype="float16")
    assert lazy.dtype == lazy.data._meta.dtype == lazy.compute().dtype == np.float16


def test_flash_layout(cube, plain):
    model = replace(TINY, flash_layout=True)
    expected = by_hand(cube, tile=16, stride=8, model=model)
    for mode in MAPS:
        flash = embed(cube, mode, model=model)
        assert_same(flash, expected[mode])
        assert flash.attrs["attention"] == "flash layout"
        assert largest_gap(flash, plain[mode]) > 0.01


def test_bfloat16_is_near(cube, plain):
    result = embed(cube, model=replace(TINY, precision="bfloat16"))
    assert result.dtype == "float32"
    assert 1e-6 < largest_gap(result, plain["grid"]) < 0.2


def test_other_weights_other_numbers(cube, plain):
    other = xr_anysat.Model("tiny", weights="random:2")
    assert largest_gap(embed(cube, model=other), plain["grid"]) > 0.1


# Results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_numpy_gives_numpy_and_dask_gives_dask(cube, plain, mode):
    ours = plain[mode]
    assert type(ours.data) is np.ndarray
    lazy = embed(cube.chunk(), mode)
    assert isinstance(lazy.data, da.Array)
    assert lazy.dtype == np.float32
    assert ours.name == lazy.name == "embedding"
    assert (ours.dims, ours.shape, set(ours.coords)) == (lazy.dims, lazy.shape, set(lazy.coords))


def test_the_cube_is_left_as_it_was(cube):
    before = cube.copy(deep=True)
    for mode in MODES:
        embed(cube, mode)
    xr.testing.assert_identical(cube, before)


def test_features_and_parts(cube, plain):
    grid = plain["grid"]
    assert grid.sizes["feature"] == 2 * WIDTH
    assert grid["feature"].values.tolist() == list(range(2 * WIDTH))
    assert grid["part"].values.tolist() == ["patch"] * WIDTH + ["subpatch"] * WIDTH
    patch = plain["patch"]
    assert patch["part"].values.tolist() == ["patch"] * WIDTH
    context = grid.where(grid.part == "patch", drop=True)
    assert_same(context[:, 1::4, 2::4], patch, atol=1e-5)
    assert set(plain["tile"]["part"].values) == {"tile"}
    assert set(plain["pooled"]["part"].values) == {"patch"}
    assert set(embed(cube, "pooled", pool_from="tile")["part"].values) == {"tile"}


def test_what_made_it(cube):
    attrs = embed(cube, overlap=0.4).attrs
    stats = cube.anysat.band_stats()
    assert attrs == {
        "long_name": "AnySat embedding",
        "mode": "grid",
        "xr_anysat_version": xr_anysat.__version__,
        "model": "AnySat tiny",
        "weights": "random:1 (not pretrained)",
        "precision": "float32",
        "attention": "standard",
        "patch_size_m": 40.0,
        "tile_size_pixels": 16,
        "overlap": 0.5,  # as rounded to whole patches
        "input_prep": "tile",
        "gsd_m": 10.0,
        "normalization": "zscore",
        "normalization_mean": pytest.approx(stats["mean"].values.tolist(), rel=1e-12),
        "normalization_std": pytest.approx(stats["std"].values.tolist(), rel=1e-12),
        "bands": list(LABELS),
        "dates": "2021-01-05T00:00:00 2021-03-16T00:00:00 2021-05-25T00:00:00",
    }


def test_weights_of_a_file_are_named_by_digest_not_by_folder(cube, plain, tmp_path):
    path = tmp_path / "private" / "mine.safetensors"
    path.parent.mkdir()
    shapes = tensor_shapes(TINY.config)
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    save_file({**tensors, **load_tensors(TINY.source, TINY.config)}, path)
    result = embed(cube, model=xr_anysat.Model("tiny", weights=path))
    assert result.attrs["weights"] == "file mine.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.attrs["weights_digest"] == f"sha256:{digest}"
    assert "private" not in str(result.attrs)
    assert_same(result, plain["grid"], atol=0)


def test_the_free_function_is_the_accessor(cube, plain):
    xr.testing.assert_identical(
        xr_anysat.embed(cube, "patch", model=TINY, tile_size=16), plain["patch"]
    )


# Options that do not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "remedy"),
    [
        ({"mode": "pixel"}, "option.choice", None),
        ({"input_prep": "crop"}, "option.choice", None),
        ({"pooling": "median"}, "option.choice", None),
        ({"pool_from": "grid"}, "option.choice", None),
        ({"dtype": "float64"}, "option.choice", None),
        ({"mode": np.array(["grid", "patch"])}, "option.choice", None),
        ({"patch_size": 45}, "patch.pixels", "patch_size=40"),
        ({"patch_size": 3}, "patch.pixels", "patch_size=10"),
        ({"patch_size": 0}, "patch.length", None),
        ({"patch_size": -40}, "patch.length", None),
        ({"patch_size": "40"}, "patch.length", None),
        ({"patch_size": float("nan")}, "patch.length", None),
        ({"patch_size": float("inf")}, "patch.length", None),
        ({"tile_size": 18}, "tile.patches", "tile_size=16"),
        ({"tile_size": 0}, "option.whole", None),
        ({"tile_size": 16.0}, "option.whole", None),
        ({"tile_size": True}, "option.whole", None),
        ({"overlap": 1}, "tile.overlap", None),
        ({"overlap": -0.1}, "tile.overlap", None),
        ({"overlap": "half"}, "tile.overlap", None),
        ({"overlap": float("nan")}, "tile.overlap", None),
        ({"frames": 0}, "option.whole", None),
        ({"period": ("2021-01-01", "2021-12-31")}, "frames.absent", "frames="),
        ({"frame_date": "mean"}, "frames.absent", "frames="),
        ({"frames": 2, "period": ("2019-01-01", "2019-12-31")}, "period.no-dates", None),
        ({"frames": 2, "period": ("soon", "later")}, "period.unreadable", None),
        ({"frames": 2, "period": "2021"}, "period.unreadable", None),
        ({"frames": 2, "period": ("2021-01-01",)}, "period.unreadable", None),
        ({"frames": 2, "period": 7}, "period.unreadable", None),
        ({"frames": 2, "period": ("2021-06-01", "2021-01-01")}, "period.unreadable", None),
        ({"normalize": "minmax"}, "normalize.unknown", "cube.anysat.band_stats()"),
        ({"normalize": None}, "normalize.unknown", "cube.anysat.band_stats()"),
        ({"normalize": np.ones(3)}, "normalize.unknown", "cube.anysat.band_stats()"),
        ({"normalize": xr.DataArray([1.0])}, "normalize.unknown", "cube.anysat.band_stats()"),
        ({"normalize": "tile_zscore"}, "normalize.tile-overlap", "overlap=0"),
        ({"normalize": xr.Dataset()}, "normalize.dataset", "cube.anysat.band_stats()"),
        ({"geometry": [1], "mode": "grid"}, "geometry.mode", 'mode="pooled"'),
        ({"geometry_crs": 4326}, "geometry.absent", "geometry="),
        ({"input_prep": "resize", "image_size": 0}, "option.whole", None),
    ],
    ids=repr,
)
def test_options_that_do_not_fit(cube, options, code, remedy):
    """The error names the option as it was given, and the remedy where there is one."""
    with finds(code, OptionError) as caught:
        embed(cube, **options)
    assert isinstance(caught.value, ValueError)
    name = list(options)[-1] if "frames" not in options else ("period", "frames")
    assert any(f"{each}=" in str(caught.value) for each in ([name] if type(name) is str else name))
    if remedy is not None:
        assert in_python(caught.value.findings[0].remedies[0]) == remedy


@pytest.mark.parametrize(("model", "code"), [(5, "model.kind"), ("huge", "model.size")])
def test_models_that_there_are_not(cube, model, code):
    with finds(code, OptionError) as caught:
        embed(cube, model=model)
    assert str(model) in str(caught.value)


def test_statistics_that_do_not_fit(cube, stats):
    for wrong in (
        stats.isel(band=slice(0, 9)),
        stats.drop_vars("std"),
        stats.expand_dims(site=2),
        stats.isel(band=0),
        stats.astype(str),
    ):
        with finds("normalize.dataset", OptionError):
            embed(cube, normalize=wrong)
    with finds("normalize.not-finite", OptionError):
        embed(cube, normalize=stats.where(stats.band != "B4"))


def test_options_are_all_there_is(cube):
    with pytest.raises(TypeError, match="patchsize"):
        embed(cube, patchsize=40)


def test_weights_that_are_not_there(cube, plain, tmp_path, monkeypatch):
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)
    with finds("weights.unpublished", WeightsError):
        embed(cube, model="tiny")
    with finds("weights.none", WeightsError):
        embed(cube, model=xr_anysat.Model("tiny", weights=tmp_path / "none.pth"))
    monkeypatch.setenv("XR_ANYSAT_WEIGHTS", "random:1")
    assert_same(embed(cube, model="tiny"), plain["grid"], atol=0)


def test_all_faults_of_a_cube_at_once(cube):
    bad = cube.isel(band=slice(0, 8)).drop_vars(["time", "spatial_ref"])
    with pytest.raises(CubeError) as caught:
        embed(bad)
    assert sorted(codes(caught.value)) == ["bands.missing", "dates.none", "grid.no-crs"]


def test_very_many_patches_in_a_tile_warn():
    cube = make_cube(34, 32, dates=1)
    with warns_of("tile.many-patches") as caught:
        embed(cube.chunk(), patch_size=10, tile_size=32)
    assert caught[0].filename == __file__
    assert caught[0].message.findings[0].data["seen"] == 1024


# Progress ----------------------------------------------------------------------------------------


def test_progress_bar_goes_to_stderr_when_asked_for(cube, capsys):
    embed(cube, progress=True)
    out = capsys.readouterr()
    assert "100%" in out.err
    assert out.out == ""
    embed(cube, progress=False)
    embed(cube)  # nobody watches a captured stderr
    assert capsys.readouterr().err == ""


def test_progress_option(cube, capsys, monkeypatch):
    with xr_anysat.set_options(progress=True):
        embed(cube)
        assert "100%" in capsys.readouterr().err
        embed(cube, progress=False)
        assert capsys.readouterr().err == ""
    embed(cube)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    embed(cube)
    assert "100%" in capsys.readouterr().err
    with xr_anysat.set_options(progress=False):
        embed(cube)
    assert capsys.readouterr().err == ""


def test_no_progress_bar_from_other_threads(cube, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(embed, cube).result(), embed(cube, progress=False), atol=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [({"colour": 1}, "settings.unknown"), ({"progress": "yes"}, "settings.progress")],
)
def test_package_options_that_do_not_fit(options, code):
    with finds(code, OptionError):
        xr_anysat.set_options(**options)


def test_the_reference_sees_holes():
    """The reference itself: a pixel's invalid dates leave no trace in it."""
    values = np.random.default_rng(0).standard_normal((3, 10, 4, 4)).astype("float32")
    valid = np.ones((3, 4, 4), bool)
    valid[1] = False
    whole = forward(values[[0, 2]], valid[[0, 2]], [10, 200], 4, 10)
    holed = forward(values, valid, [10, 100, 200], 4, 10)
    for a, b in zip(whole, holed, strict=True):
        assert_same(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("bands", "code"),
    [(["B02", "B03"], "bands.no-mapping"), ({"B2": ["B02"]}, "bands.not-labels")],
)
def test_bands_that_map_nothing(bands, code):
    with finds(code):
        embed(make_cube(8, 8, dates=1), bands=bands)


def test_lazy_statistics_of_nothing_are_named():
    cube = make_cube(8, 8, dates=2)
    nothing = cube.where(False).assign_coords(cube.coords).chunk(x=4).anysat.band_stats()
    with finds("normalize.not-finite", ScaleError):
        embed(cube.chunk(x=4), "patch", normalize=nothing).compute()


def test_what_is_no_cube_is_said():
    with finds("cube.type", CubeError) as caught:
        xr_anysat.embed(np.zeros((2, 10, 8, 8)))
    assert "ndarray" in str(caught.value)


def test_a_result_larger_than_the_memory_is_said(monkeypatch):
    def full(*_, **__):
        raise MemoryError

    numpy = SimpleNamespace(**{**vars(np), "empty": full})
    monkeypatch.setattr(sys.modules["xr_anysat.graph.eager"], "np", numpy)
    with finds("result.memory", OptionError) as caught:
        embed(make_cube(8, 8, dates=1), normalize="none")
    assert "cube.chunk" in str(caught.value)


def test_a_large_patch_warns():
    with warns_of("patch.many-pixels") as caught:
        make_cube(8, 8, dates=1).chunk(x=8).anysat.embed(patch_size=320, model=TINY)
    assert caught[0].message.findings[0].data["count"] == 1024


def test_properties_ask_for_no_more_than_they_tell():
    cube = make_cube(8, 8, dates=2)
    assert cube.drop_vars("time").anysat.gsd == 10
    assert cube.isel(band=[0]).anysat.crs == cube.anysat.crs
    assert cube.drop_vars("time").anysat.bands == cube.anysat.bands
