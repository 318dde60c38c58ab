"""Maps as rasters: what GDAL finds in them, and what is refused before anything is computed."""

import json
import logging
import shutil
import subprocess

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from support.cubes import NORTH, TINY, WEST, WIDTH, assert_same, make_cube, punch
from support.findings import finds

import xr_anysat
from xr_anysat import OptionError, StoreError


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(22, 26, dates=2))


@pytest.fixture(scope="module")
def maps(cube):
    return {mode: embed(cube, mode) for mode in ("grid", "patch", "tile")}


GDALINFO = shutil.which("gdalinfo")


def gdalinfo(path):
    """What GDAL's own program says of a file."""
    done = subprocess.run([GDALINFO, "-json", path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("mode", "chunks"),
    [("grid", {"x": 12, "y": 16}), ("patch", None), ("tile", {"x": 12, "y": 16})],
)
def test_a_cog_holds_the_map(cube, maps, mode, chunks, tmp_path):
    path = tmp_path / "embedding.tif"
    result = maps[mode] if chunks is None else embed(cube.chunk(chunks), mode)
    result.anysat.to_raster(path)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert_same(file.read(), maps[mode])
        assert file.crs.to_epsg() == 32631
        assert file.transform.almost_equals(maps[mode].rio.transform())
        assert np.isnan(file.nodata)
        assert file.descriptions[0] == ("tile 0000" if mode == "tile" else "patch 0000")
        assert file.descriptions[-1] == f"{maps[mode]['part'].values[-1]} {file.count - 1:04d}"
        assert len(set(file.descriptions)) == file.count == maps[mode].sizes["feature"]
        tags = file.tags()
    for name, value in result.attrs.items():
        if name != "long_name":  # the descriptions
            value = json.dumps(value) if isinstance(value, list) else str(value)
            assert tags[name] == value
    assert sorted(tmp_path.iterdir()) == [path]
    with rioxarray.open_rasterio(path, masked=True) as again:
        np.testing.assert_allclose(again.y, maps[mode].y)
        np.testing.assert_allclose(again.x, maps[mode].x)


@pytest.mark.skipif(GDALINFO is None, reason="gdalinfo is not installed")
def test_gdalinfo_agrees(maps, tmp_path):
    path = tmp_path / "embedding.tif"
    maps["grid"].anysat.to_raster(path)
    found = gdalinfo(path)
    assert found["driverShortName"] == "GTiff"
    assert found["size"] == [26, 22]
    assert found["geoTransform"] == [WEST, 10, 0, NORTH, 0, -10]
    assert '"EPSG",32631' in found["coordinateSystem"]["wkt"].replace(", ", ",")
    assert found["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert found["metadata"][""]["weights"] == "random:1 (not pretrained)"
    bands = found["bands"]
    assert len(bands) == 2 * WIDTH
    assert {band["type"] for band in bands} == {"Float32"}
    assert {band["noDataValue"] for band in bands} == {"NaN"}
    assert bands[WIDTH]["description"] == f"subpatch {WIDTH:04d}"


@pytest.mark.skipif(GDALINFO is None, reason="gdalinfo is not installed")
def test_gdalinfo_agrees_with_plain_rioxarray(maps, tmp_path):
    path = tmp_path / "embedding.tif"
    maps["patch"].rio.to_raster(path, driver="COG", blocksize=128)
    found = gdalinfo(path)
    assert found["size"] == [7, 6]
    assert found["geoTransform"] == [WEST, 40, 0, NORTH, 0, -40]
    assert found["metadata"][""]["gsd_m"] == "10.0"


@pytest.mark.parametrize("turn", [{"y": -1}, {"x": -1}, {"x": -1, "y": -1}])
def test_rows_run_south_and_columns_east(cube, maps, turn, tmp_path):
    turned = embed(cube.isel({dim: slice(None, None, step) for dim, step in turn.items()}))
    turned.anysat.to_raster(tmp_path / "turned.tif", driver="GTiff")
    with rasterio.open(tmp_path / "turned.tif") as file:
        assert_same(file.read(), maps["patch"])
        assert file.transform.almost_equals(maps["patch"].rio.transform())
        assert file.profile["interleave"] == "band"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


def test_parts_of_a_map(maps, tmp_path):
    path = tmp_path / "some.tif"
    some = maps["grid"].sel(x=slice(WEST + 100, WEST + 200)).isel(feature=[WIDTH, 3])
    some.transpose("y", "x", "feature").anysat.to_raster(path, blocksize=128, compress="lzw")
    with rasterio.open(path) as file:
        assert file.descriptions == (f"subpatch {WIDTH:04d}", "patch 0003")
        assert file.bounds.left == WEST + 100
        assert file.compression.value == "LZW"
        assert_same(file.read(), some, atol=0)
    components = some.rename(feature="component").drop_vars("part").fillna(0).astype("int16")
    xr_anysat.to_raster(components.assign_coords(component=[0, 1]), path)
    with rasterio.open(path) as file:
        assert file.descriptions == ("component 0000", "component 0001")
        assert file.dtypes == ("int16", "int16")


def test_blocks_of_many_bands_are_small(maps, tmp_path):
    maps["grid"].anysat.to_raster(tmp_path / "many.tif")
    maps["grid"][:1].anysat.to_raster(tmp_path / "one.tif")
    sizes = [rasterio.open(tmp_path / name).block_shapes[0] for name in ("many.tif", "one.tif")]
    assert sizes == [(128, 128), (512, 512)]


def test_overviews_are_averages(tmp_path):
    values = all_features(150, 140)[:1]
    noise = np.random.default_rng(0).normal(size=values.shape)
    values = (values + noise).astype("float32").compute()
    values.anysat.to_raster(tmp_path / "large.tif", blocksize=128)
    with rasterio.open(tmp_path / "large.tif") as file:
        assert file.overviews(1) == [2]
    with rasterio.open(tmp_path / "large.tif", overview_level=0) as file:
        small = file.read(1)
    expected = values[0].coarsen(y=2, x=2).mean()
    np.testing.assert_allclose(small, expected, atol=1e-5)


@pytest.mark.parametrize("scheduler", ["threads", "sync", "processes"])
def test_any_scheduler_writes(maps, scheduler, tmp_path):
    lazy = maps["tile"].chunk(x=1)
    with dask.config.set(scheduler=scheduler, num_workers=1 if scheduler == "processes" else 2):
        lazy.anysat.to_raster(tmp_path / "lazy.tif")
    with rasterio.open(tmp_path / "lazy.tif") as file:
        assert_same(file.read(), maps["tile"])


def test_what_fails_leaves_the_earlier_file(cube, maps, tmp_path):
    path = tmp_path / "embedding.tif"
    path.write_text("earlier")
    lost = embed((cube / 10_000).chunk(x=8), normalize="treesatai")
    with pytest.raises(xr_anysat.ScaleError):
        lost.anysat.to_raster(path)
    assert path.read_text() == "earlier"
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda m: m.isel(x=0), "raster.dims", "('feature', 'y')"),
        (lambda m: m.expand_dims("time"), "raster.dims", "isel(time=0)"),
        (lambda m: m.astype("float16"), "raster.dtype", 'astype("float32")'),
        (lambda m: m.to_dataset(), "embedding.needed", "Dataset"),
    ],
)
def test_what_is_no_raster(maps, tmp_path, change, code, words):
    with finds(code, OptionError) as raised:
        xr_anysat.to_raster(change(maps["patch"]), tmp_path / "no.tif")
    assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


def metadata_only(map_):
    """A lazy map that must not be computed."""

    def fail(block):
        raise AssertionError("computed before it was checked")

    return map_.copy(data=map_.chunk().data.map_blocks(fail, dtype=map_.dtype, meta=map_.data[:0]))


def test_a_target_that_is_no_file(maps, tmp_path):
    lazy = metadata_only(maps["patch"])
    with finds("target.no-folder", StoreError) as raised:
        lazy.anysat.to_raster(tmp_path / "nowhere" / "map.tif")
    assert str(tmp_path / "nowhere") in str(raised.value)
    with finds("target.is-folder", StoreError):
        lazy.anysat.to_raster(tmp_path)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"driver": "FOO"}, "raster.driver", 'driver="FOO"'),
        ({"driver": "PNG"}, "raster.driver", 'driver="PNG"'),
        ({"driver": "MEM"}, "raster.driver", 'driver="MEM"'),
        ({"driver": "ENVI"}, "raster.several-files", "no.hdr"),
        ({"driver": "VRT"}, "raster.driver", 'driver="VRT"'),
        ({"driver": None}, "raster.name", "driver=None"),
        ({"compress": 9}, "raster.name", "compress=9"),
        ({"blocksize": 100}, "raster.driver", "{'blocksize': 100}"),
        ({"driver": "GTiff", "compress": "jpeg"}, "raster.driver", "'compress': 'jpeg'"),
        ({"driver": "netCDF"}, "raster.driver", "0 of 16 bands"),
        ({"compress": "nonsense"}, "raster.option", "raster/cog.html"),
        ({"driver": "GTiff", "compress": "nonsense"}, "raster.option", "raster/gtiff.html"),
        ({"colour": "red"}, "raster.option", "COLOUR"),
        ({"LEVEL": "high"}, "raster.option", "LEVEL"),
        ({"driver": "GTiff", "zlevel": 99}, "raster.option", "ZLEVEL=99"),
        ({"blocksize": "wide"}, "option.whole", "from 16 to 8192"),
        ({"BLOCKSIZE": 0}, "option.whole", "blocksize=0"),
    ],
)
def test_what_gdal_refuses_is_refused_first(maps, tmp_path, options, code, words):
    with finds(code, OptionError) as raised:
        metadata_only(maps["patch"]).anysat.to_raster(tmp_path / "no.tif", **options)
    assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compress", ["zstd", "LZW", "none"])
@pytest.mark.parametrize("driver", ["COG", "GTiff"])
def test_compressions_go_by_any_case(maps, tmp_path, driver, compress):
    some = maps["patch"][:3]
    some.anysat.to_raster(tmp_path / "map.tif", driver=driver, compress=compress)
    with rasterio.open(tmp_path / "map.tif") as file:
        compression = file.compression.name if file.compression else "none"
        assert compression == compress.lower()
        assert_same(file.read(), some)


def test_what_gdal_says_of_options_is_taken_from_a_silent_logger(maps, tmp_path):
    logger = logging.getLogger("rasterio._env")
    logger.setLevel(logging.CRITICAL)
    try:
        with finds("raster.option", OptionError):
            maps["patch"].anysat.to_raster(tmp_path / "no.tif", compress="nonsense")
        assert logger.level == logging.CRITICAL
        assert logger.filters == []
    finally:
        logger.setLevel(logging.NOTSET)


def all_features(height, width):
    """A lazy map of as many bands as mode "grid" gives in the base size, each of one value."""
    numbers = np.arange(1536)
    column = da.from_array(numbers[:, None, None].astype("float32"), chunks=768)
    bands = da.broadcast_to(column, (1536, height, width))
    coords = {
        "feature": numbers,
        "part": ("feature", np.repeat(["patch", "subpatch"], 768)),
        "y": NORTH - 10 * (np.arange(height) + 0.5),
        "x": WEST + 10 * (np.arange(width) + 0.5),
    }
    made = xr.DataArray(bands, dims=("feature", "y", "x"), coords=coords)
    return made.rename("embedding").rio.write_crs("EPSG:32631")


def test_as_many_bands_as_there_are(tmp_path):
    embedding = all_features(66, 10)
    embedding.anysat.to_raster(tmp_path / "all.tif")
    with rasterio.open(tmp_path / "all.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == file.overviews(1536) == [2]
        np.testing.assert_array_equal(file.read(1536, out_shape=(33, 5)), 1535)  # of the overview
    opened = rioxarray.open_rasterio(tmp_path / "all.tif")
    assert opened.attrs["long_name"][767:769] == ("patch 0767", "subpatch 0768")
    assert_same(opened, embedding)


@pytest.mark.parametrize("options", [{"overviews": "none"}, {"overview_count": 1}])
def test_overviews_as_asked_for(tmp_path, options):
    some = all_features(40, 40)[:3]
    some.anysat.to_raster(tmp_path / "map.tif", blocksize=16, **options)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert len(file.overviews(1)) == options.get("overview_count", 0)


def test_a_format_of_several_files_is_refused(maps, tmp_path):
    plain = maps["patch"][0].fillna(0).astype("uint8")
    with finds("raster.several-files", OptionError) as raised:
        metadata_only(plain).anysat.to_raster(tmp_path / "no.jpg", driver="JPEG")
    assert "no.jpg.aux.xml" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_gdal_fails_at_leaves_nothing(maps, tmp_path):
    def full(block):
        raise rasterio.errors.RasterioIOError("disk full")

    map_ = maps["patch"].chunk()
    map_ = map_.copy(data=map_.data.map_blocks(full, dtype=map_.dtype, meta=map_.data._meta))
    with finds("raster.failed", StoreError) as raised:
        map_.anysat.to_raster(tmp_path / "no.tif")
    assert str(tmp_path / "no.tif") in str(raised.value)
    assert "disk full" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_errors_of_the_cube_come_as_they_are(maps, tmp_path):
    def lost(block):
        raise KeyError("a file of the cube")

    map_ = maps["patch"].chunk()
    map_ = map_.copy(data=map_.data.map_blocks(lost, dtype=map_.dtype, meta=map_.data._meta))
    with pytest.raises(KeyError, match="a file of the cube"):
        map_.anysat.to_raster(tmp_path / "no.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("turn", [{}, {"y": -1}, {"x": -1}, {"x": -1, "y": -1}])
def test_without_coordinates_the_transform_counts(maps, turn, tmp_path):
    some = maps["patch"][:3]
    turned = some.isel({dim: slice(None, None, step) for dim, step in turn.items()})
    turned = turned.rio.write_transform(turned.rio.transform(recalc=True))
    turned.drop_vars(["x", "y"]).anysat.to_raster(tmp_path / "bare.tif")
    with rasterio.open(tmp_path / "bare.tif") as file:
        assert_same(file.read(), some)
        assert file.transform.almost_equals(some.rio.transform())


def test_a_map_without_a_place(maps, tmp_path):
    bare = metadata_only(maps["patch"]).drop_vars(["x", "y"])
    for placeless in (bare.drop_vars("spatial_ref"), bare.assign_coords(x=maps["patch"].x)):
        with finds("raster.no-location", OptionError):
            placeless.anysat.to_raster(tmp_path / "no.tif")


def test_clusters_keep_their_type_and_their_nodata(maps, tmp_path):
    kinds = maps["grid"].anysat.cluster(3)
    assert (kinds == -1).any()
    kinds.isel(y=slice(None, None, -1)).anysat.to_raster(tmp_path / "kinds.tif")
    with rasterio.open(tmp_path / "kinds.tif") as file:
        assert (file.dtypes, file.nodata, file.descriptions) == (("int16",), -1, ("cluster",))
        np.testing.assert_array_equal(file.read(1), kinds)
        assert json.loads(file.tags()["flag_values"]) == [0, 1, 2]


def test_overviews_of_clusters_are_clusters(tmp_path):
    values = np.zeros((600, 600), dtype="int16")
    values[:, ::2] = values[:2, :] = 2  # halves of 0 and 2, whose average is no class of theirs
    y, x = NORTH - 10 * (np.arange(600) + 0.5), WEST + 10 * (np.arange(600) + 0.5)
    kinds = xr.DataArray(values, dims=("y", "x"), coords={"y": y, "x": x}, name="cluster")
    kinds = kinds.assign_attrs(flag_values=[0, 1, 2]).rio.write_crs("EPSG:32631")
    xr_anysat.to_raster(kinds, tmp_path / "kinds.tif")
    with rasterio.open(tmp_path / "kinds.tif", overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {0, 2}


def test_a_map_of_likeness_is_one_band(maps, tmp_path):
    like = maps["patch"].anysat.similarity((WEST + 95, NORTH - 45))
    xr_anysat.to_raster(like.transpose("x", "y"), tmp_path / "like.tif", driver="GTiff")
    with rasterio.open(tmp_path / "like.tif") as file:
        assert_same(file.read(1), like, atol=0)
        assert file.descriptions == ("similarity",)
        assert np.isnan(file.nodata)


@pytest.mark.parametrize("driver", ["COG", "gtiff"])
def test_a_name_of_another_format_is_refused(maps, tmp_path, driver):
    with finds("raster.suffix", OptionError):
        metadata_only(maps["patch"]).anysat.to_raster(tmp_path / "map.png", driver=driver)
    assert not list(tmp_path.iterdir())
