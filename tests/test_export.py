"""Embeddings in files of other programs, and back."""

import json
import shutil
import subprocess

import dask
import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import shapely
import xarray as xr
from cubes import NORTH, TINY, WEST, WIDTH, assert_same, make_cube, punch

import xr_anysat
from xr_anysat import MissingExtraError, OptionError, StoreError, extras

UTM = "EPSG:32631"


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(58, 50, dates=2))


@pytest.fixture(scope="module")
def maps(cube):
    return {mode: embed(cube, mode) for mode in ("grid", "patch", "tile")}


def field(x, y, size):
    return shapely.Point(WEST + x, NORTH - y).buffer(size)


FIELDS = {
    "crop": ["wheat", "maïs", "wheat"],
    "area": [1.5, 2.5, np.nan],
    "sown": pd.to_datetime(["2021-03-01", "2021-04-01", None]),
}
SHAPES = [
    field(100, 130, 33),
    shapely.MultiPolygon([field(310, 90, 12), field(380, 410, 41)]),
    field(250, 250, 90).difference(field(250, 250, 30)),
]


@pytest.fixture(scope="module")
def frame():
    index = pd.Index(["a", "b", "c"], name="field")
    return geopandas.GeoDataFrame(FIELDS, geometry=SHAPES, crs=UTM, index=index)


@pytest.fixture(scope="module")
def vectors(cube, frame):
    return embed(cube, "pooled", geometry=frame)


def gdalinfo(path):
    """What GDAL's own program says of a file."""
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("gdalinfo is not installed")
    done = subprocess.run([program, "-json", path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# Rasters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"x": 24, "y": 16}])
@pytest.mark.parametrize("mode", ["grid", "patch", "tile"])
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


def test_gdalinfo_agrees(maps, tmp_path):
    path = tmp_path / "embedding.tif"
    maps["grid"].anysat.to_raster(path)
    found = gdalinfo(path)
    assert found["driverShortName"] == "GTiff"
    assert found["size"] == [50, 58]
    assert found["geoTransform"] == [WEST, 10, 0, NORTH, 0, -10]
    assert '"EPSG",32631' in found["coordinateSystem"]["wkt"].replace(", ", ",")
    assert found["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert found["metadata"][""]["weights"] == "random:1 (not pretrained)"
    bands = found["bands"]
    assert len(bands) == 2 * WIDTH
    assert {band["type"] for band in bands} == {"Float32"}
    assert {band["noDataValue"] for band in bands} == {"NaN"}
    assert bands[WIDTH]["description"] == f"subpatch {WIDTH:04d}"


def test_gdalinfo_agrees_with_plain_rioxarray(maps, tmp_path):
    path = tmp_path / "embedding.tif"
    maps["patch"].rio.to_raster(path, driver="COG")
    found = gdalinfo(path)
    assert found["size"] == [13, 15]
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
    cube = make_cube(150, 140, dates=1)
    values = embed(cube, "grid")[:1]
    values.anysat.to_raster(tmp_path / "large.tif", blocksize=128)
    with rasterio.open(tmp_path / "large.tif") as file:
        assert file.overviews(1) == [2]
    with rasterio.open(tmp_path / "large.tif", overview_level=0) as file:
        small = file.read(1)
    expected = values[0].coarsen(y=2, x=2).mean()
    np.testing.assert_allclose(small, expected, atol=1e-5)


@pytest.mark.parametrize("scheduler", ["threads", "sync", "processes"])
def test_any_scheduler_writes(cube, maps, scheduler, tmp_path):
    lazy = embed(cube.chunk(x=24), "tile")
    with dask.config.set(scheduler=scheduler, num_workers=2):
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
    ("change", "error", "message"),
    [
        (lambda m: m.isel(x=0), OptionError, r"holds a map, \(feature, y, x\), not \('feature',"),
        (lambda m: m.expand_dims("time"), OptionError, r"isel\(time=0\)"),
        (lambda m: m.astype("float16"), OptionError, r'no float16; write .*astype\("float32"\)'),
        (lambda m: m.to_dataset(), OptionError, r"a Dataset; take the map: dataset\[.embedding.\]"),
    ],
)
def test_what_is_no_raster(maps, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        change(maps["patch"]).anysat.to_raster(tmp_path / "no.tif")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(maps, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere is no folder; make it first"):
        maps["patch"].anysat.to_raster(tmp_path / "nowhere" / "map.tif")


# Tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"x": 24}])
def test_a_table_of_vectors(cube, frame, vectors, chunks):
    result = vectors if chunks is None else embed(cube.chunk(chunks), "pooled", geometry=frame)
    table = result.anysat.to_geodataframe()
    assert table.crs.to_epsg() == 32631
    assert table.geometry.geom_equals(frame.reset_index().geometry).all()
    assert list(table.columns) == ["field", *FIELDS, "embedding", "geometry"]
    assert_same(np.stack(table["embedding"]), vectors)
    assert {vector.dtype for vector in table["embedding"]} == {np.dtype("float32")}
    assert table["crop"].tolist() == FIELDS["crop"]
    assert table.attrs["model"] == "AnySat tiny"
    assert table.attrs == result.attrs
    joined = frame.join(table.set_index("field")[["embedding"]])
    assert joined["embedding"].notna().all()


def test_geoparquet_keeps_everything(vectors, tmp_path):
    pytest.importorskip("pyarrow")
    table = vectors.anysat.to_geodataframe()
    table.to_parquet(tmp_path / "fields.parquet")
    again = geopandas.read_parquet(tmp_path / "fields.parquet")
    assert again.crs == table.crs
    assert again.geometry.geom_equals_exact(table.geometry, 0).all()
    stacked = np.stack(again["embedding"])
    assert stacked.dtype == "float32"
    assert np.array_equal(stacked, vectors)
    for name in ("field", *FIELDS):
        pd.testing.assert_series_equal(again[name], table[name], check_dtype=False)
    assert again.attrs == table.attrs
    some = pd.read_parquet(tmp_path / "fields.parquet", columns=["embedding"])
    assert some["embedding"][1].dtype == "float32"


def test_vectors_over_nothing_are_rows_of_nan(cube, tmp_path):
    away = field(-500, -500, 10)
    result = embed(cube, "pooled", geometry=[SHAPES[0], away], outside="nan")
    table = result.anysat.to_geodataframe(column="vector")
    assert np.isnan(table["vector"][1]).all()
    assert np.isfinite(table["vector"][0]).all()


def test_what_is_no_table(cube, maps, vectors, monkeypatch):
    with pytest.raises(OptionError, match=r"no coordinate `geometry` among \['feature'"):
        maps["patch"].anysat.to_geodataframe()
    with pytest.raises(OptionError, match=r"not \('time', 'geometry', 'feature'\); choose one"):
        vectors.expand_dims("time").anysat.to_geodataframe()
    with pytest.raises(OptionError, match=r"a column 'crop' already"):
        vectors.anysat.to_geodataframe(column="crop")
    with pytest.raises(OptionError, match="a Dataset"):
        vectors.to_dataset().anysat.to_geodataframe()

    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r'pip install "xr-anysat\[vector\]"'):
        vectors.anysat.to_geodataframe()


# Vectors in Zarr and NetCDF ----------------------------------------------------------------------


def check_again(again, vectors):
    assert_same(again, vectors, atol=0)
    assert again["geometry"].values.tolist() == vectors["geometry"].values.tolist()
    assert again.rio.crs == vectors.rio.crs
    assert set(again.coords) == set(vectors.coords)
    for name in ("field", "crop", "part"):
        assert again[name].values.tolist() == vectors[name].values.tolist()
    for name in ("area", "sown"):
        assert np.array_equal(again[name], vectors[name], equal_nan=True)
    for name, value in vectors.attrs.items():
        np.testing.assert_array_equal(again.attrs[name], value, err_msg=name)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_vectors_in_zarr(vectors, zarr_format, tmp_path):
    path = tmp_path / "vectors.zarr"
    vectors.anysat.encode_geometry().to_zarr(path, zarr_format=zarr_format, consolidated=False)
    with xr.open_zarr(path, consolidated=False) as again:
        check_again(again["embedding"].anysat.decode_geometry(), vectors)


def test_vectors_in_netcdf(vectors, tmp_path):
    path = tmp_path / "vectors.nc"
    vectors.anysat.encode_geometry().to_netcdf(path)
    with xr.open_dataset(path) as again:
        check_again(again["embedding"].anysat.decode_geometry(), vectors)
        assert again["geometry"].attrs["geometry_encoding"] == "WKT"
        table = again["embedding"].anysat.to_geodataframe()  # which decodes by itself
    assert table.geometry.tolist() == vectors["geometry"].values.tolist()


def test_encoding_is_lazy_and_undone(cube, frame):
    lazy = embed(cube.chunk(x=24), "pooled", geometry=frame)
    encoded = lazy.anysat.encode_geometry()
    assert encoded.data is lazy.data
    assert encoded.anysat.encode_geometry() is encoded
    again = encoded.anysat.decode_geometry()
    assert again.identical(lazy)
    assert again.anysat.decode_geometry() is again


def test_text_that_is_no_geometry(vectors):
    with pytest.raises(OptionError, match="neither shapely objects nor WKT"):
        vectors.assign_coords(geometry=["a", "b", "c"]).anysat.decode_geometry()
    with pytest.raises(OptionError, match="neither shapely objects nor WKT"):
        vectors.assign_coords(geometry=[1, 2, 3]).anysat.decode_geometry()
    with pytest.raises(OptionError, match="no coordinate `geometry`"):
        vectors.drop_vars("geometry").anysat.encode_geometry()
