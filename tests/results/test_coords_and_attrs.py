"""Where results lie on the map, and what files keep of them."""

from itertools import product

import numpy as np
import odc.geo.xr  # noqa: F401  registers `.odc`
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from support.cubes import NORTH, TINY, WEST, WIDTH, assert_same, make_cube

from xr_anysat.results.coords_and_attrs import weights_attrs
from xr_anysat.weights.files import PUBLISHED, find_weights

MAPS = ("grid", "patch", "tile")
MODES = (*MAPS, "pooled")
TURNS = {"north up": {}, "y": {"y": -1}, "x": {"x": -1}, "both": {"y": -1, "x": -1}}


def embed(cube, mode="grid", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return make_cube(26, 21, dates=2)


@pytest.fixture(scope="module")
def results(cube):
    return {mode: embed(cube, mode) for mode in MODES}


# Where cells are ---------------------------------------------------------------------------------


def test_grid_has_the_very_coordinates_of_the_cube(cube, results):
    for axis in ("x", "y"):
        assert results["grid"][axis].dtype == cube[axis].dtype
        assert np.array_equal(results["grid"][axis], cube[axis])
    xr.align(cube, results["grid"], join="exact")
    difference = cube.isel(band=0, time=0) - results["grid"]
    assert difference.sizes == results["grid"].isel(feature=slice(None)).sizes
    assert difference.rio.crs == cube.rio.crs


def test_grid_keeps_coordinates_that_are_slightly_off(cube):
    shaken = cube.assign_coords(x=(cube.x + 1e-3 * np.arange(21) % 3).astype("float32"))
    result = embed(shaken)
    assert result.x.dtype == "float32"
    assert np.array_equal(result.x, shaken.x)


def test_patch_of_one_pixel_is_on_the_pixels(cube):
    patch = embed(cube.chunk(), "patch", patch_size=10, tile_size=4)
    xr.align(cube, patch, join="exact")


@pytest.mark.parametrize("mode", MAPS)
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_rioxarray_and_odc_geo_agree(cube, mode, turn):
    result = embed(cube.isel({dim: slice(None, None, -1) for dim in turn}).chunk(), mode)
    step = {"grid": 10, "patch": 40, "tile": 80}[mode]
    sign = {dim: turn.get(dim, 1) for dim in ("x", "y")}
    geobox = result.odc.geobox
    assert geobox is not None
    assert result.rio.crs.to_epsg() == geobox.crs.to_epsg() == 32631
    assert geobox.shape == result.shape[1:]
    written, told = result.rio.transform(), result.rio.transform(recalc=True)
    assert written.almost_equals(told)
    assert written.almost_equals(geobox.transform)
    assert (written.a, written.e) == (sign["x"] * step, -sign["y"] * step)
    assert result.rio.bounds() == pytest.approx(tuple(geobox.extent.boundingbox.bbox))
    assert (result.rio.x_dim, result.rio.y_dim) == ("x", "y")


@pytest.mark.parametrize("gsd", [10, 20])
def test_cell_centres(gsd):
    cube = make_cube(26, 21, dates=1, gsd=gsd)
    patch = embed(cube.chunk(), "patch")
    assert patch.shape == (WIDTH, 7, 6)  # the last row and column incomplete
    np.testing.assert_allclose(patch.x, WEST + 4 * gsd * (np.arange(6) + 0.5))
    np.testing.assert_allclose(patch.y, NORTH - 4 * gsd * (np.arange(7) + 0.5))
    for row, column in ((0, 0), (3, 5)):  # a centre is the mean of its pixels, complete or not
        pixels = cube.isel(y=slice(4 * row, 4 * row + 4), x=slice(4 * column, 4 * column + 4))
        assert float(patch.y[row]) == float(pixels.y.mean())
        assert abs(float(patch.x[column] - pixels.x.mean())) < 2 * gsd


@pytest.mark.parametrize(("overlap", "stride"), [(0, 16), (0.5, 8), (0.75, 4), (0.25, 12)])
def test_tile_centres(cube, overlap, stride):
    tile = embed(cube.chunk(), "tile", overlap=overlap)
    starts_x = range(0, 21 - 16 + stride, stride) if overlap else range(0, 21, 16)
    np.testing.assert_allclose(tile.x, WEST + 10 * (np.array(starts_x) + 8))
    assert tile.rio.resolution() == (10 * stride, -10 * stride)
    assert float(tile.y[0]) == NORTH - 80
    assert tile.sizes["y"] == {16: 2, 8: 3, 4: 4, 12: 2}[stride]


def test_a_single_tile_has_a_cell_size():
    tile = embed(make_cube(16, 16, dates=1).chunk(), "tile")
    assert tile.shape == (WIDTH, 1, 1)
    assert tile.rio.transform() == Affine(80, 0, WEST + 40, 0, -80, NORTH - 40)
    assert tile.odc.geobox.transform == tile.rio.transform()
    assert (float(tile.x[0]), float(tile.y[0])) == (WEST + 80, NORTH - 80)


@pytest.mark.parametrize("mode", MAPS)
def test_a_flipped_cube_keeps_its_own_order(cube, results, mode):
    turn = {"y": slice(None, None, -1), "x": slice(None, None, -1)}
    flipped = embed(cube.isel(turn), mode)
    assert flipped.y[0] < flipped.y[-1]
    assert flipped.x[0] > flipped.x[-1]
    xr.testing.assert_allclose(flipped.sortby("y", ascending=False).sortby("x"), results[mode])


def test_incomplete_patches_and_tiles_of_a_flipped_cube_are_in_the_south_and_east(cube):
    southern = embed(cube.isel(y=slice(None, None, -1)).chunk(), "patch")
    assert float(southern.y[-1]) == NORTH - 20
    assert float(southern.y[0]) == NORTH - 260


def test_resized_cells_cover_the_cube(cube):
    patch = embed(cube.chunk(), "patch", input_prep="resize", image_size=16)
    scale = 26 / 16
    assert (patch.sizes["y"], patch.sizes["x"]) == (4, 4)
    left, bottom, _, top = patch.rio.bounds()
    assert (left, top) == pytest.approx((WEST, NORTH))
    assert bottom == pytest.approx(NORTH - 260)
    assert patch.rio.resolution()[1] == pytest.approx(-40 * scale)


def test_pooled_has_a_crs_and_no_place(results):
    pooled = results["pooled"]
    assert pooled.dims == ("feature",)
    assert pooled.rio.crs.to_epsg() == 32631
    assert set(pooled.coords) == {"feature", "part", "spatial_ref", "first_date", "last_date"}


def test_names_of_dims_are_y_and_x(cube):
    renamed = embed(cube.rename(x="longitude", y="latitude").rio.write_crs(32631))
    assert renamed.dims == ("feature", "y", "x")
    assert renamed.x.values.tolist() == cube.x.values.tolist()


# CRS ---------------------------------------------------------------------------------------------


def test_feet():
    """New York Long Island, US survey feet: coordinates in feet, patches in metres."""
    foot = 1200 / 3937
    cube = make_cube(10, 9, dates=1, crs="EPSG:2263")
    cube = cube.assign_coords(
        x=1_000_000 + (np.arange(9) + 0.5) * 10 / foot,
        y=200_000 - (np.arange(10) + 0.5) * 10 / foot,
    )
    assert cube.anysat.gsd == 10
    for mode, metres in (("grid", 10), ("patch", 40), ("tile", 80)):
        result = embed(cube, mode)
        assert result.rio.crs.to_epsg() == result.odc.geobox.crs.to_epsg() == 2263
        assert result.rio.transform().a == pytest.approx(metres / foot)
        assert result.rio.transform().c == pytest.approx(1_000_000 + (40 / foot) * (mode == "tile"))
        assert result.attrs["gsd_m"] == 10
        assert result.attrs["patch_size_m"] == 40
    assert_same(embed(cube), embed(make_cube(10, 9, dates=1)), atol=1e-6)


def test_crs_of_odc_geo_and_of_stackstac(cube, results):
    bare = cube.drop_vars("spatial_ref").drop_encoding()
    for known in (
        bare.odc.assign_crs("EPSG:32631"),
        bare.odc.assign_crs("EPSG:32631", "my_crs"),
        bare.assign_coords(epsg=32631),
    ):
        result = embed(known.chunk(), "patch")
        assert result.rio.crs.to_epsg() == 32631
        assert result.odc.geobox == results["patch"].odc.geobox


def test_crs_without_an_authority():
    text = "+proj=laea +lat_0=47 +lon_0=3 +datum=WGS84 +units=m"
    cube = make_cube(8, 8, dates=1, crs=text)
    result = embed(cube.assign_coords(x=cube.x - WEST, y=cube.y - NORTH), "patch")
    assert result.rio.crs == rasterio.CRS.from_string(text)
    assert result.odc.geobox.crs.proj.is_projected


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "turned"), [*((mode, False) for mode in MAPS), ("grid", True)])
def test_geotiff_lies_in_place(cube, results, mode, turned, tmp_path):
    result = embed(cube.isel(y=slice(None, None, -1)), mode) if turned else results[mode]
    result.rio.to_raster(tmp_path / "embedding.tif")
    with rasterio.open(tmp_path / "embedding.tif") as file:
        assert file.crs.to_epsg() == 32631
        assert file.transform.almost_equals(result.rio.transform())
        assert file.count == result.sizes["feature"]
        assert np.isnan(file.nodata)
        tags = file.tags()
        values = file.read()
        here = next(file.sample([(float(result.x[1]), float(result.y[1]))]))
    assert_same(values, result, atol=0)
    assert_same(here, result[:, 1, 1], atol=0)
    assert tags["weights"] == "random:1 (not pretrained)"
    assert tags["patch_size_m"] == "40.0"
    with rioxarray.open_rasterio(tmp_path / "embedding.tif") as again:
        np.testing.assert_allclose(again.x, result.x)
        np.testing.assert_allclose(again.y, result.y)


@pytest.mark.parametrize("count", [1, 3])
def test_dates_are_the_same_in_every_format(count, tmp_path):
    result = embed(make_cube(16, 16, dates=count), "tile")
    dates = result.attrs["dates"]
    assert len(np.array(dates.split(), dtype="M8[s]")) == count
    result.to_netcdf(tmp_path / "e.nc")
    result.to_zarr(tmp_path / "e.zarr", consolidated=False)
    result.rio.to_raster(tmp_path / "e.tif")
    with xr.open_dataset(tmp_path / "e.nc") as again:
        assert again["embedding"].attrs["dates"] == dates
    with xr.open_zarr(tmp_path / "e.zarr", consolidated=False) as again:
        assert again["embedding"].attrs["dates"] == dates
    with rasterio.open(tmp_path / "e.tif") as file:
        assert file.tags()["dates"] == dates


def _check_again(again, result):
    assert_same(again, result, atol=0)
    assert again.name == "embedding"
    assert again["part"].values.tolist() == result["part"].values.tolist()
    assert again.rio.crs == result.rio.crs
    if "x" in result.dims:
        assert again.rio.transform().almost_equals(result.rio.transform())
        assert again.odc.geobox.transform.almost_equals(result.rio.transform())
        assert again.x.values.tolist() == result.x.values.tolist()
    for key, value in result.attrs.items():
        np.testing.assert_array_equal(again.attrs[key], value, err_msg=key)


@pytest.mark.parametrize("mode", MODES)
def test_netcdf_keeps_everything(results, mode, tmp_path):
    path = tmp_path / "embedding.nc"
    results[mode].to_netcdf(path)
    with xr.open_dataset(path, decode_coords="all") as again:
        _check_again(again["embedding"], results[mode])
    with xr.open_dataset(path) as again:  # as most people open it
        _check_again(again["embedding"], results[mode])


@pytest.mark.parametrize(
    ("mode", "zarr_format", "chunks"),
    [*product(MODES, [2, 3], [None]), ("grid", 3, {"y": 8}), ("pooled", 2, {"y": 8})],
)
def test_zarr_keeps_everything(cube, results, mode, zarr_format, chunks, tmp_path):
    result = results[mode] if chunks is None else embed(cube.chunk(chunks), mode)
    assert result.attrs["mode"] == mode
    result.to_zarr(tmp_path / "e.zarr", zarr_format=zarr_format, consolidated=False)
    with xr.open_zarr(tmp_path / "e.zarr", consolidated=False) as again:
        _check_again(again["embedding"], result.compute())


def test_half_precision_in_files(cube, tmp_path):
    result = embed(cube, "patch", dtype="float16")
    result.to_zarr(tmp_path / "e.zarr", zarr_format=2, consolidated=False)
    with xr.open_zarr(tmp_path / "e.zarr", consolidated=False) as again:
        assert again["embedding"].dtype == "float16"
        assert_same(again["embedding"], result, atol=0)


def test_a_dataset_with_the_cube_survives_a_file(cube, results, tmp_path):
    both = xr.Dataset({"s2": cube, "embedding": results["grid"]})
    both.to_netcdf(tmp_path / "both.nc")
    with xr.open_dataset(tmp_path / "both.nc", decode_coords="all") as again:
        assert again.rio.crs.to_epsg() == 32631
        assert_same(again["embedding"], results["grid"], atol=0)


def test_clipping_and_reprojecting_a_result(results):
    """What people do next works on what we give."""
    geographic = results["patch"].isel(feature=slice(0, 2)).rio.reproject("EPSG:4326")
    assert np.isfinite(geographic).any()
    clipped = results["grid"].rio.clip_box(WEST, NORTH - 100, WEST + 100, NORTH)
    assert clipped.shape[1:] == (10, 10)


@pytest.mark.parametrize(
    ("mode", "chunk"), [("grid", 17), ("patch", 24), ("tile", 40), ("tile", 17)]
)
def test_a_lazy_result_is_written_to_zarr_as_it_is(tmp_path, monkeypatch, mode, chunk):
    """Zarr wants chunks of one size along an axis, but for the last."""
    monkeypatch.setattr("xr_anysat.layout.chunks.LONGEST_CHUNK", 24)
    lazy = embed(make_cube(75, 43, dates=1).chunk(x=chunk, y=chunk), mode)
    assert len(lazy.chunks[1]) > 1
    lazy.to_zarr(tmp_path / "store", consolidated=False)
    stored = xr.open_zarr(tmp_path / "store", consolidated=False)["embedding"]
    np.testing.assert_array_equal(stored.values, lazy.values)


def test_published_weights_are_named_by_their_digest_once_it_is_known(monkeypatch):
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)
    monkeypatch.setattr("xr_anysat.weights.files.published_digest", lambda: None)
    source = find_weights(None, "base")
    before = weights_attrs(source)
    assert before["weights"] == "g-astruc/AnySat models/AnySat.pth"
    assert before["weights_digest"] == f"sha256:{PUBLISHED.sha256} (expected, not yet seen)"
    monkeypatch.setattr("xr_anysat.weights.files.published_digest", lambda: "ab" * 32)
    assert weights_attrs(source)["weights_digest"] == "sha256:" + "ab" * 32
    assert "weights_digest" not in weights_attrs(find_weights("random", "base"))
