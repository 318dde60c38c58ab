"""Vectors of geometries in tables and files, and back."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
import xvec  # noqa: F401  registers `.xvec`
from support.cubes import NORTH, TINY, WEST, assert_same, make_cube, punch
from support.findings import finds

import xr_anysat
from xr_anysat import MissingExtraError, OptionError, settings

UTM = "EPSG:32631"


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 16, **options})


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(58, 50, dates=2))


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


# Tables ------------------------------------------------------------------------------------------


def test_xvec_makes_tables_of_them_too(frame, vectors):
    indexed = vectors.xvec.set_geom_indexes("geometry", crs=vectors.rio.crs)
    ours = vectors.anysat.to_geodataframe()
    long = indexed.xvec.to_geodataframe()  # a row for each geometry and feature
    assert long.crs == ours.crs == UTM
    assert_same(long["embedding"].to_numpy().reshape(vectors.shape), vectors)
    assert long["crop"].to_numpy().reshape(vectors.shape)[:, 0].tolist() == frame.crop.tolist()
    wide = indexed.xvec.to_geodataframe(geometry="geometry", long=False)
    assert_same(wide["embedding"].to_numpy(), vectors)
    assert wide.geometry.geom_equals(ours.geometry).all()


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


def test_what_is_no_table(vectors, monkeypatch):
    with finds("geometry.no-coordinate", OptionError):
        vectors.drop_vars("geometry").anysat.to_geodataframe()
    with finds("table.dims", OptionError) as raised:
        vectors.expand_dims("time").anysat.to_geodataframe()
    assert "('time', 'geometry', 'feature')" in str(raised.value)
    with finds("table.column", OptionError) as raised:
        vectors.anysat.to_geodataframe(column="crop")
    assert "'crop'" in str(raised.value)
    with finds("embedding.needed", OptionError):
        xr_anysat.to_geodataframe(vectors.to_dataset())

    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(settings, "import_module", gone)
    with finds("extra.missing", MissingExtraError) as raised:
        vectors.anysat.to_geodataframe()
    assert 'pip install "xr-anysat[vector]"' in str(raised.value)


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
    for wrong in (["a", "b", "c"], [1, 2, 3]):
        with finds("geometry.no-wkt", OptionError):
            vectors.assign_coords(geometry=wrong).anysat.decode_geometry()
    with finds("geometry.no-coordinate", OptionError):
        vectors.drop_vars("geometry").anysat.encode_geometry()
