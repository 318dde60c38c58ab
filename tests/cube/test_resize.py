"""A cube squeezed into one small tile."""

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  registers `.odc`
import pytest
import rasterio
import shapely
import torch
import xarray as xr
from support.cubes import LABELS, NORTH, TINY, WEST, WIDTH, assert_same, by_hand, make_cube, punch
from support.findings import warns_of

from xr_anysat.cube.canonical import understand
from xr_anysat.cube.resize import resized


def shrink(cube, size, mask=None):
    small = resized(understand(cube, mask=mask), size)
    assert small.valid is None
    values = small.values if small.lazy else small.values.compute()
    return xr.DataArray(
        values, dims=("time", "band", "y", "x"), coords={"band": list(LABELS)}
    ), small.spec


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "input_prep": "resize", **options})


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((48, 48), 24, (24, 24)), ((60, 40), 24, (24, 16)), ((31, 90), 24, (8, 24)),
     ((10, 7), 24, (24, 17)), ((24, 24), 24, (24, 24)), ((200, 1), 10, (10, 1))],
)  # fmt: skip
def test_the_longer_side_is_as_asked(shape, size, expected):
    cube = make_cube(*shape, dates=1)
    cube = cube.rio.write_transform(make_cube(4, 4).rio.transform(recalc=True))
    small, spec = shrink(cube, size)
    assert small.shape == (1, 10, *expected)
    assert spec.shape == expected
    extent = spec.geobox.extent.boundingbox
    assert extent.left == pytest.approx(WEST)
    assert extent.top == pytest.approx(NORTH)
    assert extent.right == pytest.approx(WEST + 10 * shape[1])
    assert extent.bottom == pytest.approx(NORTH - 10 * shape[0])
    assert spec.gsd == 10  # as in published practice


def test_constant_and_unchanged():
    cube = make_cube(45, 33)
    cube[:] = 1000
    small, _ = shrink(cube, 24)
    np.testing.assert_allclose(small, 1000, rtol=1e-6)
    cube = make_cube(20, 16)
    same, _ = shrink(cube, 20)
    np.testing.assert_allclose(same, cube, rtol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((48, 36), 24), ((50, 41), 24), ((10, 7), 24)])
def test_it_is_the_antialiased_resampling_of_torch(shape, size):
    cube = make_cube(*shape).astype("float32")
    small, spec = shrink(cube, size)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(cube.values), spec.shape, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(small, expected, rtol=1e-4)


def test_missing_values_are_left_out():
    cube = punch(make_cube(40, 40))
    small, _ = shrink(cube, 20)
    assert np.isfinite(small).mean() > 0.8
    inside = np.isfinite(small.values)
    assert (small.values[inside] <= np.nanmax(cube)).all()
    assert (small.values[inside] >= np.nanmin(cube)).all()
    # a filled value never leaks, whatever says that it is missing
    there = cube.notnull().all("band")
    filled = cube.where(there, -9999).astype("int16")
    for variant, mask in ((filled.assign_attrs(nodata=-9999), None), (filled, there)):
        np.testing.assert_allclose(shrink(variant, 20, mask)[0], small, rtol=1e-5)
    # where nothing is valid nearby, neither is the coarse pixel
    lost = make_cube(40, 40).astype("float32")
    lost[:, :, 8:16, 8:16] = np.nan
    holes = np.isnan(shrink(lost, 20)[0]).all(("time", "band"))
    assert int(holes.sum()) == 4  # of 4 x 4: the filter reaches a pixel further
    assert holes[5:7, 5:7].all()


@pytest.mark.parametrize("chunks", [{"x": 7, "y": 11}, {"time": 1, "band": 3, "x": 50}])
@pytest.mark.parametrize("holes", [False, True])
def test_dask_gives_the_same(chunks, holes):
    cube = make_cube(50, 41)
    cube = punch(cube) if holes else cube
    lazy, _ = shrink(cube.chunk(chunks), 24)
    assert isinstance(lazy.data, da.Array)
    assert lazy.dtype == "float32"
    np.testing.assert_allclose(lazy, shrink(cube, 24)[0], rtol=1e-5)


def test_it_embeds_the_resized_cube_as_one_tile():
    cube = punch(make_cube(50, 40))
    small, _ = shrink(cube, 24)
    stand_in = small.assign_coords(
        time=cube.time.values, y=NORTH - np.arange(24) * 10, x=WEST + np.arange(19) * 10
    ).rio.write_crs(32631)
    expected = by_hand(stand_in, tile=24)
    for mode in ("grid", "patch", "tile"):
        result = embed(cube, mode)
        assert_same(result, expected[mode])
    assert result.attrs["input_prep"] == "resize"
    assert embed(cube, "pooled").shape == (WIDTH,)
    with warns_of("frames.empty"):
        embed(make_cube(50, 40, dates=2), frames=3)


@pytest.mark.parametrize("mode", ["patch", "pooled"])
def test_lazy_and_eager_embeddings_agree(mode):
    cube = punch(make_cube(37, 50))
    lazy = embed(cube.chunk(x=16, y=9, time=1), mode, image_size=18)
    assert isinstance(lazy.data, da.Array)
    assert_same(lazy, embed(cube, mode, image_size=18))


@pytest.mark.parametrize(("shape", "gsd"), [((50, 41), 20), ((10, 7), 10), ((33, 120), 10)])
def test_the_result_is_labelled_with_its_true_geotransform(shape, gsd, tmp_path):
    cube = make_cube(*shape, dates=1, gsd=gsd)
    height, width = shrink(cube, 24)[1].shape
    step = (gsd * shape[1] / width, -gsd * shape[0] / height)
    for mode, size in (("grid", 1), ("patch", 4)):
        result = embed(cube, mode)
        true = (step[0] * size, 0, WEST, 0, step[1] * size, NORTH)
        assert tuple(result.rio.transform())[:6] == pytest.approx(true)
        assert tuple(result.rio.transform(recalc=True))[:6] == pytest.approx(true)
        assert tuple(result.odc.geobox.transform)[:6] == pytest.approx(true)
        assert result.attrs["gsd_m"] == gsd
        result.anysat.to_raster(tmp_path / "small.tif")
        with rasterio.open(tmp_path / "small.tif") as file:
            assert tuple(file.transform)[:6] == pytest.approx(true)
        result.to_netcdf(tmp_path / f"{mode}.nc")
        with xr.open_dataset(tmp_path / f"{mode}.nc", decode_coords="all") as again:
            assert tuple(again.rio.transform())[:6] == pytest.approx(true)
    assert embed(cube, "grid").rio.bounds() == pytest.approx(cube.rio.bounds())


def test_geometries_on_a_resized_cube():
    cube = make_cube(64, 48)
    small = embed(cube, "patch", image_size=32)  # 8 x 6 patches, of 80 m as they lie
    x, y = float(small.x[1]), float(small.y[2])
    options = {"image_size": 32, "geometry": shapely.box(x, y - 40, x + 80, y + 40)}
    pooled = embed(cube, "pooled", **options)
    assert_same(pooled[0], small[:, 2, 1:3].mean("x"), atol=1e-5)
    assert_same(embed(cube.chunk(x=16), "pooled", **options), pooled)


def test_a_size_that_patches_do_not_divide():
    cube = make_cube(40, 40)
    result = embed(cube, image_size=10)
    assert result.shape == (WIDTH, 3, 3)
    assert np.isfinite(result).all()


def test_flipped_cubes():
    cube = make_cube(30, 44)
    turn = {"y": slice(None, None, -1), "x": slice(None, None, -1)}
    turned = embed(cube.isel(turn))
    assert turned.y[0] < turned.y[-1]
    xr.testing.assert_allclose(turned.isel(turn), embed(cube), atol=1e-5)


def test_datasets_masks_and_single_dates():
    cube = make_cube(30, 44)
    there = punch(cube).notnull().all("band")
    expected = embed(punch(cube))
    assert_same(embed(cube.to_dataset("band"), mask=there), expected, atol=1e-5)
    assert_same(embed(cube.chunk(x=9), mask=there), expected)
    flat = cube.isel(time=0)
    assert_same(embed(flat, mask=there[0]), embed(punch(cube).isel(time=[0])), atol=1e-5)
