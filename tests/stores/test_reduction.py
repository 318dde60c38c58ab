"""Embeddings with fewer components: those of scikit-learn, and one space for many maps."""

import sys

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from support.cubes import WIDTH, make_cube, punch
from support.findings import finds, warns_of
from support.stores import PROCESSES, embed, to_zarr

import xr_anysat
from xr_anysat import MissingExtraError, OptionError, StoreError
from xr_anysat.stores.reduction import Reduction, reduced_map

pytestmark = pytest.mark.usefixtures("small_regions")


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(24, 20))


def vectors(result):
    """(cell, feature) of a map, where it is not missing."""
    return result.stack(cell=("y", "x")).dropna("cell").transpose("cell", ...).values


def linear_map(features=WIDTH, components=3, seed=0):
    return xr.DataArray(
        np.random.default_rng(seed).normal(size=(features, components)) / features**0.5,
        dims=("feature", "component"),
    )


def by_hand(result, matrix, mean=0):
    return xr.dot(result.drop_vars(["feature", "part"]) - mean, matrix, dim="feature").transpose(
        "component", "y", "x"
    )


# Principal components ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"), [("grid", "lazy"), ("patch", "in memory"), ("grid", "south up")]
)
def test_components_are_those_of_scikit_learn(cube, mode, kind, tmp_path):
    from sklearn.decomposition import PCA

    one = cube.isel(y=slice(None, None, -1)) if kind == "south up" else cube
    one = one if kind == "in memory" else one.chunk(x=9, y=10, time=1)
    store = tmp_path / "map.zarr"
    assert to_zarr(one, store, mode, reduce=4).complete
    result = embed(one, mode).compute()
    numbers = xr_anysat.open_reduction(store)
    assert dict(numbers.sizes) == {"component": 4, "feature": result.sizes["feature"]}
    np.testing.assert_array_equal(numbers["part"], result["part"])
    fit = PCA(n_components=4, svd_solver="full").fit(vectors(result).astype("float64"))
    np.testing.assert_allclose(numbers["mean"], fit.mean_, atol=1e-5)
    ratio = numbers["explained_variance_ratio"]
    np.testing.assert_allclose(ratio, fit.explained_variance_ratio_, rtol=1e-4)
    np.testing.assert_allclose(
        abs((numbers["components"] * fit.components_).sum("feature")), 1, atol=1e-4
    )
    opened = xr_anysat.open_embedding(store)
    assert opened.dims == ("component", "y", "x")
    assert opened.dtype == np.float32
    features = result.sizes["feature"]
    assert opened.attrs["reduction"] == f"principal components: 4 of {features} features"
    assert opened.attrs["sample_vectors"] == len(vectors(result))
    assert opened.attrs.items() >= result.attrs.items()
    assert opened.rio.transform() == result.rio.transform()
    assert opened.rio.crs == result.rio.crs
    scores = fit.transform(vectors(result)) * np.sign(
        (numbers["components"] * fit.components_).sum("feature").values
    )
    np.testing.assert_allclose(vectors(opened.compute()), scores, atol=5e-3)
    np.testing.assert_array_equal(opened.isnull().all("component"), result.isnull().all("feature"))
    array = zarr.open_array(store / "embedding", mode="r")
    assert array.shape[0] == array.shards[0] == 4


def test_tiles(cube, tmp_path):
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", reduce=2)
    numbers = xr_anysat.open_reduction(tmp_path / "map.zarr")
    result = by_hand(embed(cube, "tile"), numbers["components"], numbers["mean"])
    np.testing.assert_allclose(xr_anysat.open_embedding(tmp_path / "map.zarr"), result, atol=1e-4)


def test_another_cube_in_the_same_space(cube, tmp_path):
    other = make_cube(16, 20, seed=5, start="2022-03-01").chunk(x=8, y=8)
    to_zarr(cube.chunk(x=8, y=8), tmp_path / "a.zarr", reduce=3)
    numbers = xr_anysat.open_reduction(tmp_path / "a.zarr")
    to_zarr(other, tmp_path / "b.zarr", reduce=numbers)
    opened = xr_anysat.open_embedding(tmp_path / "b.zarr")
    assert opened.attrs["reduction"] == f"linear map to 3 of {2 * WIDTH} features, given"
    expected = by_hand(embed(other), numbers["components"], numbers["mean"])
    np.testing.assert_allclose(opened, expected, atol=2e-4)
    again = xr_anysat.open_reduction(tmp_path / "b.zarr")
    xr.testing.assert_equal(again, numbers)
    assert not list((tmp_path / "b.zarr").glob("embedding/progress/packing.json"))
    with finds("store.other-job", StoreError) as caught:
        to_zarr(other, tmp_path / "b.zarr", reduce=3)
    assert "options.reduce.numbers: 'blake2b:" in str(caught.value)


# Linear maps -------------------------------------------------------------------------------------


def given(matrix, mean):
    with_mean = matrix.assign_coords(mean=mean)
    yield matrix, 0
    yield with_mean, mean
    yield with_mean.T, mean
    yield with_mean.chunk(feature=5), mean
    shuffled = with_mean.assign_coords(feature=np.arange(WIDTH))
    yield shuffled.isel(feature=np.random.default_rng(1).permutation(WIDTH)), mean
    yield xr.Dataset({"components": matrix, "mean": mean}), mean


def test_linear_maps(cube, tmp_path):
    """In any order, with a mean or without, lazy or not."""
    lazily = cube.isel(x=slice(8)).chunk(x=8, y=8)
    result = embed(lazily, "patch").compute()
    mean = xr.DataArray(np.linspace(-1, 1, WIDTH), dims="feature")
    matrix = linear_map()
    for n, (one, taken) in enumerate(given(matrix, mean)):
        to_zarr(lazily, tmp_path / f"{n}.zarr", "patch", reduce=one)
        opened = xr_anysat.open_embedding(tmp_path / f"{n}.zarr")
        np.testing.assert_allclose(opened, by_hand(result, matrix, taken), atol=1e-4)
        assert "explained_variance_ratio" not in xr_anysat.open_reduction(tmp_path / f"{n}.zarr")


def test_no_scikit_learn_is_needed_for_a_linear_map(cube, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", reduce=linear_map())
    with finds("extra.missing", MissingExtraError) as caught:
        to_zarr(cube.chunk(x=8), tmp_path / "b.zarr", "tile", reduce=2)
    assert "xr-anysat[ml]" in str(caught.value)
    assert not (tmp_path / "b.zarr").exists()


def test_reduced_then_quantized(cube, tmp_path):
    lazily, store = cube.chunk(x=8, y=8), tmp_path / "map.zarr"
    report = to_zarr(lazily, store, reduce=3, quantize="int8")
    assert report.clipped == 0
    to_zarr(lazily, tmp_path / "float.zarr", reduce=3)
    numbers = xr_anysat.open_quantization(store)
    assert numbers["scale"].dims == ("component",)
    opened, expected = map(xr_anysat.open_embedding, (store, tmp_path / "float.zarr"))
    xr.testing.assert_equal(*map(xr_anysat.open_reduction, (store, tmp_path / "float.zarr")))
    gap = abs(opened - expected) / numbers["scale"]
    assert float(gap.max()) < 0.501
    np.testing.assert_array_equal(opened.isnull(), expected.isnull())
    assert zarr.open_array(store / "embedding", mode="r").dtype == np.int8


def test_a_given_map_with_a_fitted_range(cube, tmp_path):
    store = tmp_path / "map.zarr"
    to_zarr(cube.chunk(x=8, y=8), store, "patch", reduce=linear_map(), quantize="int8")
    scores = by_hand(embed(cube, "patch"), linear_map().astype("float32"))
    numbers = xr_anysat.open_quantization(store)
    width = 1.2 * (scores.max(("y", "x")) - scores.min(("y", "x")))
    np.testing.assert_allclose(254 * numbers["scale"], width, rtol=1e-3)


def test_float16(cube, tmp_path):
    lazily = cube.isel(x=slice(8)).chunk(x=8, y=8)
    to_zarr(lazily, tmp_path / "a.zarr", reduce=linear_map(2 * WIDTH), dtype="float16")
    to_zarr(lazily, tmp_path / "b.zarr", reduce=linear_map(2 * WIDTH))
    rounded, exact = (xr_anysat.open_embedding(tmp_path / f"{n}.zarr") for n in "ab")
    assert rounded.dtype == np.float16
    np.testing.assert_array_equal(rounded, exact.astype("float16"))  # rounded once, at the end
    with finds("region.failed", StoreError) as caught:
        to_zarr(
            lazily, tmp_path / "c.zarr", reduce=1e6 * linear_map(2 * WIDTH), dtype="float16",
            retries=0,
        )  # fmt: skip
    assert "values beyond 65504" in str(caught.value)


# The graph ---------------------------------------------------------------------------------------


def test_blocks_are_reduced_by_themselves():
    """No task holds the features of a place from two blocks, and names are stable."""
    import dask.array as da

    values = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("float32")
    values[:, 2, 3] = np.nan
    data = da.from_array(values, chunks=((2, 4), 3, 2), name="map")
    matrix = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    reduction = Reduction(components=matrix, mean=np.arange(6, dtype="float32"))
    lazy = reduced_map(data, reduction, "float32")
    assert lazy.chunks == ((3,), (3, 2), (2, 2))
    expected = np.einsum("cf,fyx->cyx", matrix, values - reduction.mean[:, None, None])
    np.testing.assert_allclose(lazy, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        reduction.apply(values.reshape(6, -1).T), expected.reshape(3, -1).T, rtol=1e-4, atol=1e-4
    )
    again = reduced_map(data, Reduction(components=matrix, mean=reduction.mean), "float32")
    assert again.name == lazy.name
    assert reduced_map(data, reduction, "float16").name != lazy.name
    for key in dict(lazy.dask):
        blocks = [k for k in lazy.dask.get_all_dependencies()[key] if k[0] == "map"]
        assert len(blocks) <= 1


# Schedulers --------------------------------------------------------------------------------------


def assert_packs(cube, store):
    """A map that is sampled, reduced and quantized is the one that threads make."""
    options = {"mode": "grid", "reduce": 3, "quantize": "int8"}
    to_zarr(cube, store, **options)
    with dask.config.set(scheduler="threads"):
        to_zarr(cube, store.with_suffix(".threads"), **options)
        stored, expected = map(xr_anysat.open_embedding, (store, store.with_suffix(".threads")))
        np.testing.assert_allclose(
            stored, expected, atol=4 * expected.attrs["quantization_max_error"]
        )
    numbers = map(xr_anysat.open_reduction, (store, store.with_suffix(".threads")))
    xr.testing.assert_allclose(*numbers, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_distributed(cube, tmp_path):
    import distributed

    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert_packs(cube.chunk(x=8, y=8), tmp_path / "map.zarr")


@pytest.mark.slow
def test_processes(cube, tmp_path):
    context = {"multiprocessing.context": PROCESSES}
    with dask.config.set(scheduler="processes", num_workers=2, **context):
        assert_packs(cube.chunk(x=8, y=8), tmp_path / "map.zarr")


# Errors ------------------------------------------------------------------------------------------


def refused():
    good = linear_map()
    mean = xr.DataArray(np.zeros(WIDTH), dims="feature")
    yield True, "reduce.linear-map", "is a bool"
    yield "pca", "reduce.linear-map", "is a str"
    yield good.to_dataset(name="a"), "reduce.linear-map", "without `components`"
    yield good.rename(component="b"), "reduce.linear-map", "dims ('feature', 'b')"
    yield good.astype("complex"), "reduce.linear-map", "complex128"
    yield linear_map(9), "reduce.linear-map", "9 features to 3 components"
    yield good * np.nan, "reduce.linear-map", "not finite"
    mean = mean.rename(feature="f")[:7]
    yield xr.Dataset({"components": good, "mean": mean}), "reduce.linear-map", "shape (7,)"


@pytest.mark.parametrize(("reduce", "code", "part"), list(refused()))
def test_what_cannot_be_asked_for(cube, reduce, code, part, tmp_path):
    with finds(code, OptionError) as caught:
        to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "patch", reduce=reduce)
    assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, WIDTH + 1])
def test_numbers_of_components_that_cannot_be(cube, count, tmp_path):
    with pytest.raises(OptionError, match=f"reduce={count}"):
        to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "patch", reduce=count)
    assert not list(tmp_path.iterdir())


def test_too_small_a_sample(cube, tmp_path):
    with finds("sample.too-small", StoreError) as caught:
        to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", reduce=9)
    assert caught.value.findings[0].data["vectors"] == 4


def test_a_map_of_another_embedding(cube, tmp_path):
    to_zarr(cube.chunk(x=8), tmp_path / "a.zarr", "tile", reduce=2)
    numbers = xr_anysat.open_reduction(tmp_path / "a.zarr")
    with warns_of("packing.other-embedding"):
        to_zarr(cube.chunk(x=8), tmp_path / "b.zarr", "patch", reduce=numbers)
    to_zarr(cube.chunk(x=8), tmp_path / "c.zarr", "tile")
    with finds("store.not-packed", StoreError):
        xr_anysat.open_reduction(tmp_path / "c.zarr")
