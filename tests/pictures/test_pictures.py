"""Components, clusters and likeness of embeddings, and cubes in true colour: what they compute."""

import os
import threading
import tracemalloc
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from sklearn.metrics import pairwise_distances_argmin
from support.cubes import LABELS, NORTH, TINY, WEST, make_cube, punch
from support.findings import finds

from xr_anysat import MissingExtraError, OptionError, cluster, pca_rgb, quicklook, similarity
from xr_anysat.datasets import simulated_landscape
from xr_anysat.pictures import cells

WHOLE = "option.whole"

CALLS = {
    "pca_fit": lambda emb: emb.anysat.pca_fit(4),
    "pca_rgb": lambda emb: emb.anysat.pca_rgb(),
    "cluster_fit": lambda emb: emb.anysat.cluster_fit(4),
    "cluster": lambda emb: emb.anysat.cluster(4),
    "similarity": lambda emb: emb.anysat.similarity((WEST + 95, NORTH - 45)),
}


def labelled(values):
    """Make (feature, y, x) numbers an embedding on cells of 10 m."""
    _, height, width = values.shape
    y, x = NORTH - 10 * (np.arange(height) + 0.5), WEST + 10 * (np.arange(width) + 0.5)
    coords = {"y": y, "x": x, "feature": np.arange(len(values))}
    emb = xr.DataArray(values, dims=("feature", "y", "x"), coords=coords, name="embedding")
    return emb.rio.write_crs("EPSG:32631")


def mixture(height=12, width=9, features=20, seed=0):
    """Two factors and an embedding that is a rotation of them, with little noise, and one NaN."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(2, height, width)) * np.array([5, 2])[:, None, None]
    mixing = np.linalg.qr(rng.normal(size=(features, 2)))[0]
    values = np.einsum("fk,kyx->fyx", mixing, factors) + 7
    values += 1e-3 * rng.normal(size=values.shape)
    values[:, 3, 4] = np.nan
    return factors, labelled(values.astype("float32"))


@pytest.fixture(scope="module")
def embedding():
    """A real one, its size no multiple of anything, with holes."""
    return punch(make_cube(30, 25)).anysat.embed(
        "grid", model=TINY, tile_size=16, overlap=0, progress=False
    )


def test_components_are_the_factors_behind_an_embedding():
    factors, emb = mixture()
    rgb = emb.anysat.pca_rgb(components=2)
    assert rgb.sizes == {"component": 2, "y": 12, "x": 9}
    assert rgb.dtype == np.float32
    inside = np.isfinite(rgb[0].values) & (rgb.values > 0).all(0) & (rgb.values < 1).all(0)
    for found, true in zip(rgb.values, factors, strict=True):
        assert abs(np.corrcoef(found[inside], true[inside])[0, 1]) > 0.98
    np.testing.assert_array_equal(np.isnan(rgb[0].values), np.isnan(emb[0].values))
    assert (float(rgb.min()), float(rgb.max())) == (0, 1)
    share = rgb["explained_variance_ratio"].values
    assert share[0] > share[1] > 0.01
    assert share.sum() == pytest.approx(1, abs=1e-3)
    assert rgb.rio.crs.to_epsg() == 32631


def test_a_fit_is_the_decomposition_of_the_covariance():
    _, emb = mixture()
    fit = emb.anysat.pca_fit(3)
    rows = emb.stack(cell=("y", "x")).dropna("cell").transpose("cell", "feature").values
    values, vectors = np.linalg.eigh(np.cov(rows.astype("float64").T))
    for k in range(2):
        along = float(abs(fit["components"][k].values @ vectors[:, -1 - k]))
        assert along == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(fit["mean"], rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        fit["explained_variance_ratio"][:2], values[:-3:-1] / values.sum(), rtol=1e-4
    )
    scores = (rows - rows.mean(axis=0)) @ fit["components"].values.T
    np.testing.assert_allclose(
        fit["percentiles"].sel(percentile=[0, 50, 100]),
        np.percentile(scores, [0, 50, 100], axis=0).T, atol=1e-4,
    )  # fmt: skip
    loadings = fit["components"].values
    assert (loadings[np.arange(3), np.abs(loadings).argmax(axis=1)] > 0).all()


def test_clip_gives_the_percentiles_that_become_black_and_full():
    _, emb = mixture()
    full = emb.anysat.pca_rgb(2, clip=(0, 100)).values
    np.testing.assert_allclose(np.nanmin(full, axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(np.nanmax(full, axis=(1, 2)), 1, atol=1e-4)
    assert ((full > 1e-4) & (full < 1 - 1e-4)).sum() == 2 * (12 * 9 - 1 - 2)
    cut = emb.anysat.pca_rgb(2, clip=(12.5, 75)).values
    cells = np.isfinite(cut[0]).sum()
    assert ((cut == 0).sum(axis=(1, 2)) / cells) == pytest.approx(0.125, abs=0.01)
    assert ((cut == 1).sum(axis=(1, 2)) / cells) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("call", CALLS)
def test_lazy_is_eager_whatever_the_chunks(call, embedding):
    def fail(*_, **__):
        raise AssertionError("computed while the graph is built")

    some = embedding[::8, :, :20]
    expected = CALLS[call](some)
    for chunks in ({"y": 16, "x": 20, "feature": -1}, {"y": 30, "x": 11, "feature": 40}):
        with dask.config.set(scheduler=fail):
            lazy, again = (CALLS[call](some.chunk(chunks)) for _ in range(2))
        assert lazy.chunks
        assert lazy.__dask_keys__() == again.__dask_keys__()
        computed = lazy.compute()
        xr.testing.assert_allclose(computed, expected, rtol=0, atol=1e-5)
        assert computed.attrs.keys() == expected.attrs.keys()


class Counted:
    """A lazy map of many blocks that notes which are computed."""

    def __init__(self, side=600, block=20):
        self.seen, self.lock = [], threading.Lock()
        chunks = ((5,), (block,) * (side // block), (block,) * (side // block))
        values = da.map_blocks(self.make, chunks=chunks, dtype="float32", meta=np.empty((0, 0, 0)))
        self.map = labelled(values)

    def make(self, block_info=None):
        place = block_info[None]
        with self.lock:
            self.seen.append(tuple(place["chunk-location"]))
        rng = np.random.default_rng(place["chunk-location"])
        return rng.normal(size=place["chunk-shape"]).astype("float32")


@pytest.mark.parametrize("call", ["pca_fit", "cluster_fit"])
def test_a_fit_computes_few_blocks_of_a_large_map(call):
    counted = Counted()
    CALLS[call](counted.map).compute()
    assert 16 <= len(counted.seen) <= 16 * 9  # of 900: windows of 25 touch three blocks of 20
    rows = {place[1] for place in counted.seen}
    assert min(rows) < 6
    assert max(rows) > 23


@pytest.mark.parametrize("call", ["pca_rgb", "cluster"])
def test_a_picture_computes_each_block_once(call):
    counted = Counted(side=160)
    CALLS[call](counted.map).compute()
    assert len(counted.seen) == len(set(counted.seen)) == 64


def test_the_sample_is_computed_before_the_rest(monkeypatch):
    """So no more than its blocks wait for the fit."""
    monkeypatch.setattr(cells, "SAMPLE", 200)
    sample, whole = Counted(side=400), Counted(side=400)
    with dask.config.set(scheduler="synchronous"):
        sample.map.anysat.pca_fit().compute()
        whole.map.anysat.pca_rgb().compute()
    assert len(sample.seen) < len(whole.seen) / 10
    assert set(whole.seen[: len(sample.seen)]) == set(sample.seen)


def test_maps_that_share_a_fit_share_colours_and_clusters(tmp_path):
    _, emb = mixture()
    left, right = emb.isel(x=slice(0, 5)), emb.isel(x=slice(3, 9))
    for name, picture in (("pca_fit", "pca_rgb"), ("cluster_fit", "cluster")):
        fit = getattr(left.anysat, name)(3)
        pictures = [getattr(part.anysat, picture)(fit=fit) for part in (left, right)]
        xr.testing.assert_equal(pictures[0].isel(x=slice(3, 5)), pictures[1].isel(x=slice(0, 2)))
        fit.to_netcdf(tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as saved:
            for fit_again in (saved, saved.chunk({next(iter(fit.dims)): 1, "feature": 7})):
                again = getattr(right.anysat, picture)(fit=fit_again)
                xr.testing.assert_allclose(again, pictures[1], atol=1e-6)
    assert not left.anysat.pca_rgb().equals(emb.anysat.pca_rgb().isel(x=slice(0, 5)))


def test_a_fit_of_one_date_serves_all():
    _, emb = mixture()
    times = xr.concat([emb, emb * 0.9], dim="time")
    fit = times.isel(time=0).anysat.pca_fit()
    rgb = times.anysat.pca_rgb(fit=fit)
    assert set(rgb.dims) == {"component", "time", "y", "x"}
    xr.testing.assert_allclose(rgb.isel(time=0), emb.anysat.pca_rgb(), atol=1e-6)
    with finds("fit.dimensions", OptionError) as raised:
        times.anysat.pca_rgb()
    assert "embedding.isel(time=0)" in str(raised.value)
    with finds("fit.dimensions", OptionError) as raised:
        emb.isel(y=0, x=0).anysat.pca_fit()
    assert raised.value.findings[0].remedies == ()


def test_parts_geometries_and_reduced_maps_are_embeddings_too(embedding):
    half = embedding.sel(feature=embedding.part == "patch")
    assert half.anysat.pca_rgb().shape == (3, 30, 25)
    boxes = [shapely.box(WEST + 40 * n, NORTH - 200, WEST + 40 * n + 30, NORTH) for n in range(5)]
    vectors = make_cube(30, 25).anysat.embed("pooled", geometry=boxes, model=TINY, progress=False)
    assert vectors.anysat.pca_rgb().dims == ("component", "geometry")
    clusters = vectors.anysat.cluster(2)
    assert clusters.dims == ("geometry",)
    assert list(clusters["geometry"].values) == boxes
    reduced = half.isel(feature=slice(0, 6)).rename(feature="component")
    xr.testing.assert_equal(reduced.anysat.pca_rgb().variable, half[:6].anysat.pca_rgb().variable)


def test_maps_without_values_or_differences_are_no_trouble():
    empty = labelled(np.full((4, 5, 6), np.nan, dtype="float32"))
    assert np.isnan(empty.anysat.pca_rgb()).all()
    assert (empty.anysat.cluster(2) == -1).all()
    same = labelled(np.ones((4, 5, 6), dtype="float32"))
    assert np.isfinite(same.anysat.pca_rgb()).all()
    assert (same.anysat.cluster(2) == 0).all()
    np.testing.assert_allclose(same.anysat.similarity((WEST + 1, NORTH - 1)), 1, atol=1e-6)


def blobs(height=20, width=18):
    """Three kinds of vectors, 4 : 3 : 1, far from zero, and one NaN."""
    rng = np.random.default_rng(5)
    kind = np.repeat([2, 0, 1], [180, 135, 45])
    rng.shuffle(kind)
    centres = 1000 + np.array([[0, 0, 9], [0, 9, 0], [9, 0, 0]])
    values = centres[kind].T + rng.normal(size=(3, kind.size))
    values[:, 0] = np.nan
    kind[0] = -1
    return kind.reshape(height, width), labelled(values.reshape(3, height, width).astype("f4"))


def test_clusters_are_the_kinds_from_the_most_to_the_fewest_cells():
    kind, emb = blobs()
    found = emb.anysat.cluster(3)
    renamed = np.array([1, 2, 0, -1])[kind]  # kinds 2, 0, 1 by their numbers
    np.testing.assert_array_equal(found.values, renamed)
    assert found.dtype == np.int16
    assert found.attrs["flag_values"].tolist() == [0, 1, 2]
    assert found.attrs["flag_meanings"] == "cluster_0 cluster_1 cluster_2"
    xr.testing.assert_identical(found, emb.anysat.cluster(3))
    assert emb.anysat.cluster_fit(3)["count"].sum() == kind.size - 1


def test_a_cell_goes_to_the_nearest_centre():
    _, emb = mixture(30, 31)
    emb = emb + 500  # far from zero, where float32 is coarse
    fit = emb.anysat.cluster_fit(7)
    rows = emb.stack(cell=("y", "x")).transpose("cell", "feature").values.astype("float64")
    there = np.isfinite(rows).all(axis=1)
    nearest = pairwise_distances_argmin(rows[there], fit["centers"].values)
    found = emb.anysat.cluster(fit=fit).values.ravel()[there]
    assert (found == nearest).mean() > 0.995


def test_clusters_survive_files(tmp_path):
    kind, emb = blobs()
    found = emb.anysat.cluster(3)
    assert found.rio.nodata == -1
    found.rio.to_raster(tmp_path / "clusters.tif")
    with rasterio.open(tmp_path / "clusters.tif") as file:
        assert (file.nodata, file.dtypes, file.crs.to_epsg()) == (-1, ("int16",), 32631)
        np.testing.assert_array_equal(file.read(1), found.values)
    found.to_netcdf(tmp_path / "clusters.nc")
    with xr.open_dataset(tmp_path / "clusters.nc", decode_coords="all") as file:
        np.testing.assert_array_equal(np.isnan(file["cluster"]), kind == -1)
        assert file["cluster"].attrs["flag_values"].tolist() == [0, 1, 2]
        assert file.rio.crs.to_epsg() == 32631


def test_no_more_clusters_than_different_vectors():
    emb = labelled(np.array([[[1, 1, 5], [1, 5, np.nan]]], dtype="float32"))
    fit = emb.anysat.cluster_fit(4)
    np.testing.assert_array_equal(fit["centers"][:, 0], [1, 5, np.nan, np.nan])
    np.testing.assert_array_equal(fit["count"], [3, 2, np.nan, np.nan])
    np.testing.assert_array_equal(emb.anysat.cluster(fit=fit), [[0, 0, 1], [0, 1, -1]])


def cosines(emb, vector):
    rows = np.moveaxis(emb.values.astype("float64"), 0, -1)
    return rows @ vector / np.linalg.norm(rows, axis=-1) / np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("target", "crs"),
    [
        ((WEST + 95, NORTH - 45), None),
        (shapely.Point(WEST + 91, NORTH - 49), None),
        ([WEST + 95, NORTH - 45], "EPSG:32631"),
    ],
)
def test_similarity_to_a_place_is_the_cosine_to_its_vector(embedding, target, crs):
    found = embedding.anysat.similarity(target, crs=crs)
    vector = embedding.values[:, 4, 9].astype("float64")
    np.testing.assert_allclose(found, cosines(embedding, vector), atol=1e-5)
    assert found.dtype == np.float32
    assert float(found[4, 9]) == pytest.approx(1, abs=1e-6)
    assert float(found.max()) <= 1
    assert found.rio.crs.to_epsg() == 32631
    assert found.attrs["point"][0] == pytest.approx(WEST + 93, abs=3)


def test_a_place_may_be_in_another_crs(embedding):
    x, y = WEST + 95, NORTH - 45
    to_degrees = rasterio.warp.transform("EPSG:32631", "EPSG:4326", [x], [y])
    place = shapely.Point(to_degrees[0][0], to_degrees[1][0])
    found = embedding.anysat.similarity(place, crs="EPSG:4326")
    xr.testing.assert_equal(found, embedding.anysat.similarity((x, y)))


def test_similarity_to_a_vector_does_not_depend_on_lengths(embedding):
    vector = embedding[:, 9, 9]
    expected = embedding.anysat.similarity(vector)
    np.testing.assert_allclose(expected, cosines(embedding, vector.values), atol=1e-5)
    for same in (vector.values * 3, vector.chunk(), (vector * 2).astype("float16")):
        np.testing.assert_allclose(embedding.anysat.similarity(same), expected, atol=2e-4)
    np.testing.assert_allclose((embedding * 7).anysat.similarity(vector), expected, atol=1e-5)
    np.testing.assert_allclose(embedding.anysat.similarity(-vector), -expected, atol=1e-6)
    rows = embedding.isel(y=0).anysat.similarity(vector)
    np.testing.assert_allclose(rows, expected.isel(y=0), atol=1e-6)


def test_a_vector_of_zeros_is_like_nothing():
    emb = labelled(np.array([[[0, 1]], [[0, 2]]], dtype="float32"))
    found = emb.anysat.similarity(np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, [[np.nan, 1]], atol=1e-6)


def test_a_place_without_values_is_an_error_once_they_are_seen(embedding):
    hole = (WEST + 55, NORTH - 55)  # one patch that no date has
    with finds("target.no-direction", OptionError) as raised:
        embedding.anysat.similarity(hole)
    assert "x=500055, y=4999945 is NaN" in str(raised.value)
    lazy = embedding.chunk(y=10).anysat.similarity(hole)
    with finds("target.no-direction", OptionError):
        lazy.compute()
    with finds("target.no-direction", OptionError) as raised:
        embedding.anysat.similarity(np.zeros(embedding.sizes["feature"]))


def test_a_fit_of_few_different_vectors_needs_little_memory():
    vectors = np.random.default_rng(0).normal(size=(500, 64)).astype("float32")
    turns = np.arange(70 * 70) % 500
    emb = labelled(vectors[turns].T.reshape(64, 70, 70))
    tracemalloc.start()
    try:
        fit = emb.anysat.cluster_fit(600)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * emb.nbytes
    assert fit["count"].values[:500].tolist() == sorted(np.bincount(turns), reverse=True)
    assert np.isnan(fit["count"][500:]).all()
    again = emb.anysat.cluster(fit=fit)
    assert (vectors[turns] == fit["centers"].values[again.values.ravel()]).all()


ONE = labelled(np.arange(24, dtype="float32").reshape(2, 3, 4))
OTHER = ONE.assign_attrs(model="AnySat tiny")
BASE = ONE.assign_attrs(model="AnySat base")


@pytest.mark.parametrize(
    ("call", "code", "mentions"),
    [
        (lambda: pca_rgb(make_cube()), "embedding.needed", ["pca_rgb()", "('time', 'band', 'y'"]),
        (
            lambda: cluster(ONE.to_dataset(), 2),
            "embedding.needed",
            ["a Dataset", "ds['embedding'].anysat.cluster(n)"],
        ),
        (
            lambda: similarity(xr.Dataset(), (0, 0)),
            "embedding.needed",
            ["a Dataset", 'cube.anysat.embed("patch").anysat.similarity(point)'],
        ),
        (lambda: ONE.anysat.pca_rgb(0), WHOLE, ["components=0", "at least 1"]),
        (lambda: ONE.anysat.pca_rgb(True), WHOLE, ["components=True"]),
        (lambda: ONE.anysat.pca_rgb(3), "components.too-many", ["components=3", "components=2"]),
        (lambda: ONE.anysat.pca_rgb(2, clip=(98, 2)), "clip.percentiles", ["clip=(98, 2)"]),
        (lambda: ONE.anysat.pca_rgb(2, clip=5), "clip.percentiles", ["clip=5"]),
        (lambda: ONE.anysat.pca_rgb(2, ONE), "fit.foreign", ["DataArray", "pca_fit()"]),
        (lambda: ONE.anysat.pca_rgb(2, xr.Dataset()), "fit.foreign", ["Dataset of []"]),
        (
            lambda: ONE.anysat.pca_rgb(2, ONE.anysat.pca_fit(1)),
            "components.too-many",
            ["components=2", "components=1"],
        ),
        (
            lambda: ONE[:1].anysat.pca_rgb(1, ONE.anysat.pca_fit(1)),
            "fit.mismatch",
            ["features: 2 and 1", 'part == "patch"'],
        ),
        (
            lambda: ONE[:1].anysat.cluster(fit=ONE[1:].anysat.cluster_fit(2)),
            "fit.mismatch",
            ["'feature': [1] and [0]"],
        ),
        (
            lambda: OTHER.anysat.cluster(fit=BASE.anysat.cluster_fit(2)),
            "fit.mismatch",
            ["model: AnySat base and AnySat tiny", "cluster_fit(n)"],
        ),
        (lambda: ONE.anysat.cluster(), "clusters.number-or-fit", []),
        (
            lambda: ONE.anysat.cluster(2, fit=ONE.anysat.cluster_fit(2)),
            "clusters.number-or-fit",
            [],
        ),
        (lambda: ONE.anysat.cluster(0), WHOLE, ["n=0", "at least 1"]),
        (lambda: ONE.anysat.cluster(13), "clusters.too-many", ["n=13", "12"]),
        (lambda: ONE.anysat.cluster(2, seed=-1), WHOLE, ["seed=-1", "4294967295"]),
        (lambda: ONE.anysat.similarity("here"), "target.place", ["'here'"]),
        (lambda: ONE.anysat.similarity((1, 2, 3)), "target.place", ["(1, 2, 3)"]),
        (lambda: ONE.anysat.similarity(shapely.Point()), "target.place", ["POINT EMPTY"]),
        (lambda: ONE.anysat.similarity(np.ones(3)), "target.vector", ["(3,)", "2 features"]),
        (lambda: ONE.anysat.similarity(np.ones(2), crs=4326), "target.crs-of-vector", ["crs="]),
        (lambda: ONE.anysat.similarity((0, 0), crs="nowhere"), "target.crs", ['crs="nowhere"']),
        (
            lambda: ONE.drop_vars("spatial_ref").anysat.similarity((0, 0), crs=4326),
            "target.no-crs",
            ["embedding.rio.write_crs"],
        ),
        (
            lambda: ONE.anysat.similarity((2.0, 45.0)),
            "target.outside",
            ["x=2, y=45", "500000 to 500040 in x", 'crs="EPSG:4326"'],
        ),
        (
            lambda: ONE.isel(y=0).anysat.similarity((0, 0)),
            "target.needs-map",
            ["('feature', 'x')"],
        ),
        (lambda: quicklook(ONE), "cube.embedding", ["['feature', 'y', 'x']"]),
        (lambda: make_cube().anysat.quicklook(size=0), WHOLE, ["size=0", "at least 1"]),
        (lambda: make_cube().anysat.quicklook(most_dates=2.5), WHOLE, ["most_dates=2.5"]),
        (lambda: make_cube().anysat.quicklook(clip="ab"), "clip.percentiles", ['clip="ab"']),
    ],
)
def test_errors_say_what_is_needed(call, code, mentions):
    with finds(code) as raised:
        call()
    assert isinstance(raised.value, ValueError)
    for data in mentions:
        assert data in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    for module in ("sklearn.decomposition", "sklearn.cluster"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    for call in (ONE.anysat.pca_fit, ONE.anysat.cluster):
        with finds("extra.missing", MissingExtraError) as raised:
            call(2)
        assert 'pip install "xr-anysat[plot]"' in str(raised.value)


def test_true_colour_is_the_lower_quartile_in_the_cubes_order():
    cube = punch(make_cube(13, 17, dates=5), share=0.2)
    there = cube.notnull().all("band").any("time").values
    picture = cube.anysat.quicklook(clip=(0, 100))
    assert picture.sizes == {"rgb": 3, "y": 13, "x": 17}
    assert picture["rgb"].values.tolist() == ["red", "green", "blue"]
    for name, band in zip(picture["rgb"].values, ("B04", "B03", "B02"), strict=True):
        dark = np.full((13, 17), np.nan)
        dark[there] = np.nanquantile(cube.sel(band=band).values[:, there], 0.25, axis=0)
        expected = dark - np.nanmin(dark)
        expected /= np.nanmax(expected)
        np.testing.assert_allclose(picture.sel(rgb=name), expected, atol=1e-5)
    for turned in (cube[:, :, ::-1], cube[..., ::-1], cube.transpose("x", "band", "y", "time")):
        other = turned.anysat.quicklook(clip=(0, 100))
        xr.testing.assert_allclose(other.sortby(["x", "y"]), picture.sortby(["x", "y"]))
        assert (other["y"].values == turned["y"].values).all()


def test_a_large_cube_is_thinned_in_the_middle_of_squares():
    cube = make_cube(40, 65, dates=7)
    small = cube.anysat.quicklook(size=20, most_dates=4, clip=(0, 100))
    assert small.shape == (3, 10, 16)
    assert small.rio.resolution() == (40, -40)
    west, _, _, north = small.rio.bounds()
    assert max(abs(west - WEST), abs(north - NORTH)) <= 10
    assert (small.attrs["every_nth_pixel"], small.attrs["dates_used"]) == (4, 4)
    thin = cube.isel(time=[0, 2, 4, 6], y=slice(1, None, 4), x=slice(1, None, 4))
    same = thin.anysat.quicklook(clip=(0, 100))
    np.testing.assert_array_equal(small.values, same.values)
    for name in ("x", "y"):
        np.testing.assert_array_equal(small[name], thin[name])
    flipped = cube[:, :, ::-1].anysat.quicklook(size=20, most_dates=4, clip=(0, 100))
    np.testing.assert_array_equal(flipped.values[:, ::-1], small.values)
    np.testing.assert_array_equal(flipped["y"][::-1], small["y"])


def test_a_lazy_cube_gives_the_same_lazily_and_reads_the_dates_it_uses():
    cube = make_cube(24, 20, dates=9)
    read = set()

    def note(block, block_info=None):
        read.add(block_info[0]["chunk-location"][0])
        return block

    source = cube.chunk(time=1, y=10, x=12)
    counted = source.copy(data=source.data.map_blocks(note, dtype=cube.dtype, meta=np.empty(0)))
    lazy, again = (counted.anysat.quicklook(size=12, most_dates=3) for _ in range(2))
    assert lazy.chunks
    assert not read
    assert lazy.__dask_keys__() == again.__dask_keys__()
    xr.testing.assert_allclose(lazy.compute(), cube.anysat.quicklook(size=12, most_dates=3))
    assert read == {0, 4, 8}


@pytest.mark.parametrize("lazily", [False, True])
def test_masked_dates_are_left_out_of_a_quicklook(lazily):
    cube = make_cube(8, 9, dates=4)
    spoilt = cube.copy()
    spoilt[1] = 1
    mask = xr.DataArray(np.arange(4) != 1, dims="time", coords={"time": cube["time"]})
    mask = mask.expand_dims(y=cube["y"], x=cube["x"]).transpose("time", "y", "x")
    given = spoilt.chunk(y=4) if lazily else spoilt
    expected = cube.isel(time=[0, 2, 3]).anysat.quicklook()
    xr.testing.assert_allclose(given.anysat.quicklook(mask=mask).variable, expected.variable)
    nothing = given.anysat.quicklook(mask=xr.zeros_like(mask))
    assert np.isnan(nothing).all()


def test_clouds_on_half_of_the_dates_do_not_show():
    clear, cloudy = (
        simulated_landscape((32, 32), dates=12, clouds=clouds, orbit_edges=False)
        for clouds in (False, True)
    )
    seen = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(
        clear.anysat.quicklook().values, cloudy.anysat.quicklook().values, strict=True
    )])  # fmt: skip
    assert (seen > 0.9).all()


@pytest.mark.skipif("XR_ANYSAT_TEST_DATA" not in os.environ, reason="no folder of real cubes")
def test_a_real_cube_that_is_mostly_cloudy_is_seen_from_its_clear_dates():
    name = "s2_cube_flanders_9b424a_l2a_2017-2018.nc"
    path = Path(os.environ["XR_ANYSAT_TEST_DATA"]) / name
    with xr.open_dataarray(path, decode_coords="all") as cube:
        cube.load()
    clear = cube.isel(time=np.flatnonzero(cube["cloud_fraction"] < 0.1))
    assert 2 * clear.sizes["time"] < cube.sizes["time"]
    expected = clear.sel(band=["B04", "B03", "B02"]).median("time")
    for shown, true in zip(cube.anysat.quicklook().values, expected.values, strict=True):
        assert np.corrcoef(shown.ravel(), true.ravel())[0, 1] > 0.85


def test_a_dataset_is_shown_too():
    cube = make_cube(6, 7)
    dataset = xr.Dataset({name: cube.sel(band=name, drop=True) for name in LABELS})
    xr.testing.assert_allclose(dataset.anysat.quicklook(), cube.anysat.quicklook())
