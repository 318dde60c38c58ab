"""Embeddings in bytes: as close as they say, missing values kept, and the same for every job."""

import json
import re

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from support.cubes import TINY, WIDTH, make_cube, punch
from support.findings import finds, warns_of
from support.stores import ALWAYS, Fragile, Reader, embed, small_regions, to_zarr

import xr_anysat
from xr_anysat import AnySatWarning, OptionError, StoreError
from xr_anysat.graph.run import RetryPolicy, find_scheduler
from xr_anysat.job.make import make_job, options_of
from xr_anysat.layout import chunks as chunking
from xr_anysat.stores import packing, sample
from xr_anysat.stores.quantize import Quantization, fit_quantization

pytestmark = pytest.mark.usefixtures("small_regions")


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(24, 20))


@pytest.fixture(scope="module")
def coded(cube, tmp_path_factory):
    """A store of codes by patch; only read."""
    store = tmp_path_factory.mktemp("coded") / "map.zarr"
    with small_regions():
        to_zarr(cube.chunk(x=8, y=8), store, "patch", quantize="int8")
    return store


@pytest.fixture(scope="module")
def result(cube):
    """What `embed` gives by patch."""
    with small_regions():
        return embed(cube.chunk(x=8, y=8), "patch").compute()


def assert_within(opened, result, store):
    """Missing values are those of `embed`, and others half a step away from it at the most."""
    numbers = xr_anysat.open_quantization(store)
    result = result.compute()
    np.testing.assert_array_equal(np.isnan(opened), np.isnan(result))
    gap = abs(opened - result) / numbers["scale"]
    assert float(gap.max()) < 0.501
    assert opened.attrs["quantization_max_error"] == float(numbers["scale"].max()) / 2


# Numbers -----------------------------------------------------------------------------------------


def test_half_a_step_at_the_most():
    rng = np.random.default_rng(1)
    level, spread = rng.normal(size=(2, 5)) * [[10], [3]]
    vectors = (rng.normal(size=(400, 5)) * spread + level).astype("float32")
    fit = fit_quantization(vectors)
    block = vectors.T.reshape(5, 20, 20).copy()
    block[:, 3, 4] = np.nan
    codes, values, clipped = fit.encode(block)
    assert codes.dtype == np.int8
    assert (values, clipped) == (5 * 399, 0)
    assert (codes[:, 3, 4] == -128).all()
    assert codes.min(initial=0, where=codes != -128) >= -127
    decoded = fit.decode(codes)
    assert decoded.dtype == np.float32
    gap = abs(decoded - block)
    assert (np.isnan(gap) == np.isnan(block)).all()
    assert (np.nanmax(gap, axis=(1, 2)) <= fit.scale / 2 * (1 + 1e-4)).all()
    # the range of the sample, and a tenth at either end
    np.testing.assert_allclose(254 * fit.scale, 1.2 * np.ptp(vectors, axis=0), rtol=1e-5)


def test_error_of_a_sample_is_that_of_equal_steps():
    """Rounding to steps has a deviation of a step over the root of 12."""
    vectors = np.random.default_rng(0).uniform(-1, 1, (20_000, 2)).astype("float32")
    fit = fit_quantization(vectors)
    expected = np.mean(fit.scale / np.sqrt(12) / vectors.std(axis=0))
    assert fit.error(vectors) == pytest.approx(expected, rel=0.02)


def test_what_is_out_of_range_is_at_its_end():
    fit = Quantization(scale=np.float32([0.5, 0.5]), offset=np.float32([0, 100]))
    block = np.float32([[-64, -63.5, 63.5, 64, np.inf, np.nan]] * 2)[:, None]
    codes, values, clipped = fit.encode(block[:1])
    assert codes.tolist() == [[[-127, -127, 127, 127, 127, -128]]]
    assert (values, clipped) == (5, 3)
    assert fit.encode(block[1:] + 100, first=1).codes.tolist() == codes.tolist()


def test_a_feature_that_does_not_vary():
    fit = fit_quantization(np.full((10, 1), 3.25, "float32"))
    assert fit.decode(fit.encode(np.full((1, 2), 3.25)).codes).tolist() == [[3.25, 3.25]]
    assert fit.error(np.full((10, 1), 3.25)) == 0


# Stores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("grid", "south up"),
        ("patch", "in memory"),
        ("patch", "lazy"),
        ("tile", "lazy"),
    ],
)
def test_what_is_stored_is_near_what_embed_gives(cube, mode, kind, tmp_path):
    one = cube.isel(y=slice(None, None, -1)) if kind == "south up" else cube
    one = one if kind == "in memory" else one.chunk(x=9, y=10, time=1)
    store = tmp_path / "map.zarr"
    report = to_zarr(one, store, mode, quantize="int8")
    assert report.complete
    assert report.clipped == 0  # the sample is all of this map
    assert "0 of its values were out of range" in repr(report)
    assert zarr.open_array(store / "embedding", mode="r").dtype == np.int8
    opened, result = xr_anysat.open_embedding(store), embed(one, mode)
    assert opened.dtype == np.float32
    assert opened.attrs.items() >= result.attrs.items()
    assert opened.rio.transform() == result.rio.transform()
    assert opened.rio.crs == result.rio.crs
    assert_within(opened.compute(), result, store)
    assert opened.attrs["quantization_sample_error"] < 0.05
    assert opened.attrs["quantization_clipped"] == 0


def test_by_other_means(coded, tmp_path):
    """Xarray alone gives codes, NaN where missing, and the numbers beside them."""
    ours = xr_anysat.open_embedding(coded)
    codes = xr_anysat.open_embedding(coded, decode=False)
    assert codes.dtype == np.int8
    for consolidated in (None, False):
        with xr.open_zarr(coded, consolidated=consolidated) as plain:
            assert plain["embedding"].attrs["long_name"].endswith("codes of one byte")
            decoded = plain["embedding"] * plain["scale"] + plain["offset"]
            xr.testing.assert_allclose(decoded.drop_vars("part"), ours.drop_vars("part"), rtol=1e-6)
            np.testing.assert_array_equal(plain["embedding"].fillna(-128), codes)
    again = codes.astype("float32").where(codes != -128) * codes["scale"] + codes["offset"]
    np.testing.assert_allclose(again, ours, rtol=1e-6)
    codes.to_dataset().to_zarr(tmp_path / "codes.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "codes.zarr", consolidated=False) as copy:
        np.testing.assert_array_equal(copy["embedding"].isnull(), ours.isnull())
        assert copy["embedding"].encoding["dtype"] == np.int8
    ours.to_netcdf(tmp_path / "map.nc")
    with xr.open_dataarray(tmp_path / "map.nc") as copy:
        np.testing.assert_array_equal(copy, ours)


def copied(store, to):
    """Copy a store as xarray alone does."""
    with xr.open_zarr(store) as dataset:
        whole = dataset.load().drop_encoding() if to.name == "plain.zarr" else dataset.load()
    whole.to_zarr(to, mode="w", consolidated=False)
    return to


@pytest.mark.parametrize("name", ["coded.zarr", "plain.zarr"])
def test_a_copy_is_decoded_too(coded, name, tmp_path):
    copy = copied(coded, tmp_path / name)
    for decode in (True, False):
        ours = xr_anysat.open_embedding(coded, decode=decode)
        opened = xr_anysat.open_embedding(copy, decode=decode)
        codes = not decode and name == "plain.zarr"  # which are numbers with NaN there
        expected = ours.where(ours != -128).astype("float32") if codes else ours
        xr.testing.assert_equal(opened, expected)
        assert opened.dtype == expected.dtype
        assert set(opened.coords) == set(ours.coords)


def test_codes_with_numbers_as_coordinates_are_decoded(coded, tmp_path):
    codes = xr_anysat.open_embedding(coded, decode=False)
    codes.to_dataset().to_zarr(tmp_path / "codes.zarr", consolidated=False)
    opened = xr_anysat.open_embedding(tmp_path / "codes.zarr")
    xr.testing.assert_equal(opened, xr_anysat.open_embedding(coded))
    again = xr_anysat.open_embedding(tmp_path / "codes.zarr", decode=False)
    xr.testing.assert_identical(again["scale"], codes["scale"])


def test_names_of_blocks_follow_the_contents_of_a_copy(cube, coded, tmp_path):
    def names():
        return [xr_anysat.open_embedding(copy, decode=decode).data.name for decode in (True, False)]

    copy = copied(coded, tmp_path / "copy.zarr")
    before = names()
    assert names() == before
    assert len({*before}) == 2
    to_zarr((cube * 1.5).chunk(x=8, y=8), tmp_path / "other.zarr", "patch", quantize="int8")
    copied(tmp_path / "other.zarr", copy)
    assert not {*names()} & {*before}


def test_few_features_read_few(cube, monkeypatch):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 1024)
    store = Fragile({})
    to_zarr(cube.chunk(), store, quantize="int8")
    opened = xr_anysat.open_embedding(store)
    assert opened.chunksizes["feature"] == (32,) * (2 * WIDTH // 32)
    assert opened.data.name == xr_anysat.open_embedding(store).data.name
    assert opened.data.name != xr_anysat.open_embedding(store, decode=False).data.name


def test_missing_regions_are_missing(cube, tmp_path):
    store = tmp_path / "map.zarr"
    report = to_zarr(cube.chunk(x=8, y=8), store, "patch", quantize="int8", regions=[4])
    assert report.clipped is None
    with warns_of("store.incomplete"):
        opened = xr_anysat.open_embedding(store).compute()
    assert opened.isel(x=slice(2, 4), y=slice(2, 4)).notnull().all()
    assert int(opened.notnull().all("feature").sum()) == 4


def test_float16_is_the_nearest(cube, result, tmp_path):
    """Half precision keeps eleven binary digits: an error of a 2048th of a value at most."""
    to_zarr(cube.chunk(x=8, y=8), tmp_path / "map.zarr", "patch", dtype="float16")
    opened = xr_anysat.open_embedding(tmp_path / "map.zarr")
    np.testing.assert_array_equal(opened, result.astype("float16"))
    gap = abs(opened.astype("float64") - result)
    assert float((gap / abs(result)).where(abs(result) > 1e-3).max()) <= 2**-11


# Numbers that are shared -------------------------------------------------------------------------


def test_the_range_of_another_map(cube, coded, result, tmp_path):
    lazily = cube.chunk(x=8, y=8)
    numbers = xr_anysat.open_quantization(coded)
    assert set(numbers) == {"scale", "offset"}
    numbers["scale"] = numbers["scale"] / 2  # too narrow
    steps = np.rint((result - numbers["offset"]) / numbers["scale"])
    share = float((abs(steps) > 127).sum() / result.count())
    assert share > 0.001
    with warns_of("quantize.clipped"):
        report = to_zarr(lazily, tmp_path / "b.zarr", "patch", quantize=numbers)
    assert report.clipped == pytest.approx(share, rel=1e-3)
    xr.testing.assert_equal(
        xr_anysat.open_quantization(tmp_path / "b.zarr").drop_vars("part"),
        numbers.drop_vars("part"),
    )
    opened = xr_anysat.open_embedding(tmp_path / "b.zarr")
    assert opened.attrs["quantization_clipped"] == report.clipped
    ends = numbers["offset"] + 127 * numbers["scale"] * xr.DataArray([-1, 1], dims="end")
    inside = result.clip(ends.isel(end=0), ends.isel(end=1))
    np.testing.assert_array_equal(np.isnan(opened), np.isnan(result))
    assert float((abs(opened - inside) / numbers["scale"]).max()) < 0.501


def test_jobs_share_one_sample(cube, monkeypatch):
    drawn = []
    real = packing.draw_sample

    def draw_sample(*args, **options):
        drawn.append(1)
        return real(*args, **options)

    monkeypatch.setattr(packing, "draw_sample", draw_sample)
    lazily = cube.isel(y=slice(8)).chunk(x=8, y=8)
    options = {"mode": "patch", "quantize": "int8", "reduce": 4}
    whole = {}
    to_zarr(lazily, Fragile(whole), **options)
    for order in (["1/2", "2/2"], ["2/2", "1/2"]):
        objects = {}
        drawn.clear()
        for regions in order:
            to_zarr(lazily, Fragile(objects), **options, regions=regions)
        assert len(drawn) == 1
        assert contents(objects) == contents(whole)
    assert to_zarr(lazily, Fragile(objects), **options).written == 0
    assert len(drawn) == 1


def contents(objects):
    return {key: value.to_bytes() for key, value in objects.items()}


@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_every_write(torn):
    """Whichever write is the last, the same call ends with the bytes of an undisturbed one."""
    cube = make_cube(12, 16, dates=2).chunk(x=8, y=8)
    options = {"mode": "patch", "tile_size": 8, "reduce": 3, "quantize": "int8"}
    undisturbed = Fragile({})
    to_zarr(cube, undisturbed, **options)
    for last in range(1 + torn, undisturbed.writes + 1, 13):
        objects = {}
        with pytest.raises(StoreError):
            to_zarr(cube, Fragile(objects, last=last, torn=torn), retries=0, **options)
        to_zarr(cube, Fragile(objects), **options)
        if not torn:
            assert contents(objects) == contents(undisturbed.objects)
        opened = (xr_anysat.open_embedding(Fragile(one)) for one in (objects, undisturbed.objects))
        xr.testing.assert_identical(*opened)


def differing(cube, numbers):
    yield {}, r"options.quantize: \{.*\} in the store, None now"
    yield {"quantize": numbers}, r"options.quantize.numbers: 'sample' in the store, 'blake2b:"
    yield {"quantize": "int8", "reduce": 5}, r"options.reduce: None in the store, \{'components': 5"


def test_another_packing_is_refused(cube, tmp_path):
    lazily, store = cube.chunk(x=8, y=8), tmp_path / "map.zarr"
    to_zarr(lazily, store, "patch", quantize="int8", regions=[0])
    for options, message in differing(lazily, xr_anysat.open_quantization(store)):
        with finds("store.other-job", StoreError) as caught:
            to_zarr(lazily, store, "patch", **options)
        assert re.search(message, caught.value.findings[0].data["differences"])


# The sample --------------------------------------------------------------------------------------


LIMITS = {
    "whole": {"FEW_WINDOWS": 64},
    "windows": {"FEW_WINDOWS": 1, "MAP_SHARE": 9, "WINDOWS": 9, "VECTORS": 300},
}
SEEN = [
    ("grid", 0.5, "windows"),
    ("patch", 0.5, "whole"),
    ("patch", 0, "windows"),
    ("patch", 0.75, "windows"),
    ("tile", 0.5, "windows"),
]


@pytest.mark.parametrize(("mode", "overlap", "limits"), SEEN)
def test_the_sample_is_of_the_map(mode, overlap, limits, monkeypatch):
    """Every vector that is drawn is one of the map's, but for rounding."""
    for name, limit in LIMITS[limits].items():
        monkeypatch.setattr(sample, name, limit)
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 24)
    one = punch(make_cube(70, 44, dates=2))
    options = {"model": TINY, "tile_size": 16, "overlap": overlap, "normalize": "treesatai"}
    job = make_job(one.chunk(x=24, y=24), options_of(mode, options))
    scheduler = find_scheduler(job.cube.values, True)
    policy = RetryPolicy(scheduler=scheduler, retries=0, skip=False, progress=False)
    drawn = sample.draw_sample(job, policy)
    cells = one.anysat.embed(mode, **options).stack(cell=("y", "x")).dropna("cell").values.T
    if limits == "whole":
        assert drawn.windows == 1
        assert len(drawn.vectors) == len(cells)
    else:
        assert 2 <= drawn.windows <= 9
        assert len(drawn.vectors) <= 300 + drawn.windows
    marks = np.random.default_rng(0).normal(size=cells.shape[1])
    of_map, of_sample = np.sort(cells @ marks), drawn.vectors @ marks
    after = np.clip(np.searchsorted(of_map, of_sample), 1, len(of_map) - 1)
    nearest = np.minimum(abs(of_map[after] - of_sample), abs(of_map[after - 1] - of_sample))
    assert nearest.max() < 2e-4 * np.sqrt(cells.shape[1])


@pytest.mark.parametrize(
    ("length", "share"), [(40, 1), (250, 1), (300, 0.8), (700, 0.25), (10_980, 0.009)]
)
def test_what_the_sample_costs(length, share, monkeypatch):
    """Pixels of the windows over those of the map, with the default tiles and overlap."""
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 1024)
    small, along = make_cube(1, 1), 10 * np.arange(length)
    wide = xr.DataArray(
        da.zeros((*small.shape[:2], length, length), dtype=small.dtype, chunks=(3, 10, 512, 512)),
        dims=small.dims,
        coords={**small.coords, "x": 500_005 + along, "y": 4_999_995 - along},
    )
    job = make_job(wide, options_of("grid", {"model": TINY}))
    windows = sample.find_windows(job)
    assert 1 <= len(windows) <= 64
    patches = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
    assert patches * 16 / length**2 <= share * 1.02


def test_the_sample_does_not_depend_on_chunks(cube, coded, tmp_path):
    to_zarr(cube.chunk(time=1, x=20), tmp_path / "b", "patch", quantize="int8")
    a, b = (xr_anysat.open_quantization(store) for store in (coded, tmp_path / "b"))
    xr.testing.assert_allclose(a.drop_vars("part"), b.drop_vars("part"), rtol=1e-4, atol=1e-5)


def test_nothing_valid(cube, coded, tmp_path):
    nothing = (cube * np.nan).chunk(x=8)
    with finds("sample.empty", StoreError):
        to_zarr(nothing, tmp_path / "map.zarr", "patch", quantize="int8")
    numbers = xr_anysat.open_quantization(coded)
    report = to_zarr(nothing, tmp_path / "b.zarr", "patch", quantize=numbers)
    assert report.clipped == 0
    assert xr_anysat.open_embedding(tmp_path / "b.zarr").isnull().all()


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_windows_that_cannot_be_read(scheduler, monkeypatch, tmp_path):
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 16)
    cube = make_cube(64, 64, dates=2)
    reader = Reader(cube, (2, 10, 16, 16))
    reader.faults[0, 0, 0, 0] = ALWAYS
    options = {"normalize": "treesatai", "overlap": 0, "quantize": "int8", "retries": 0}
    with dask.config.set(scheduler=scheduler):
        with finds("sample.failed", StoreError) as caught:
            to_zarr(reader.cube, tmp_path / "a", "patch", **options)
        assert "1 of its 4 windows" in str(caught.value)
        with warns_of("sample.left-out"):
            to_zarr(reader.cube, tmp_path / "b", "patch", on_error="skip", **options)
    kept = json.loads((tmp_path / "b/embedding/progress/packing.json").read_text())
    assert (kept["left_out"], kept["windows"]) == ([0], 4)
    for corner in ((0, 3), (3, 0)):
        reader.faults[0, 0, *corner] = ALWAYS
    with finds("sample.failed", StoreError) as caught:
        to_zarr(reader.cube, tmp_path / "c", "patch", on_error="skip", **options)
    assert "3 of its 4 windows failed with OSError: block" in str(caught.value)


def test_errors_of_the_sample_keep_their_kind(cube, tmp_path):
    dark = (cube / 10_000).chunk(x=8)
    for on_error in ("raise", "skip"):
        with pytest.raises(xr_anysat.ScaleError) as caught:
            to_zarr(
                dark, tmp_path / on_error, "patch", normalize="treesatai", quantize="int8",
                on_error=on_error,
            )  # fmt: skip
        assert caught.value.__notes__ == ["in the sample"]


def test_progress_of_the_sample(cube, tmp_path, capsys):
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile", quantize="int8", progress=True)
    assert "sample: 100%" in capsys.readouterr().err


# Errors ------------------------------------------------------------------------------------------


def refused():
    ones = np.ones(WIDTH, "float32")
    good = xr.Dataset({"scale": ("feature", ones), "offset": ("feature", ones)})
    yield {"quantize": "int4"}, "quantize.kind", '"int4"'
    yield {"quantize": 8}, "quantize.kind", "a int"
    yield {"quantize": "int8", "dtype": "float16"}, "quantize.dtype", "float16"
    yield {"quantize": good[["scale"]]}, "quantize.numbers", "for 256 features; found"
    yield {"quantize": good.isel(feature=slice(9))}, "quantize.numbers", "{'scale': (9,)"
    yield {"quantize": -good}, "quantize.numbers", "not positive"
    yield {"quantize": good * np.nan}, "quantize.numbers", "not finite"
    yield {"quantize": good, "reduce": 3}, "quantize.numbers", "for 3 features"


@pytest.mark.parametrize(("options", "code", "part"), list(refused()))
def test_what_cannot_be_asked_for(cube, options, code, part, tmp_path):
    with finds(code, OptionError) as caught:
        to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "patch", **options)
    assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_numbers_of_another_embedding(cube, coded, tmp_path):
    numbers = xr_anysat.open_quantization(coded)
    with warns_of("packing.other-embedding") as caught:
        to_zarr(cube.chunk(x=8), tmp_path / "b", "tile", quantize=numbers)
    warning = next(w.message for w in caught if isinstance(w.message, AnySatWarning))
    data = warning.findings[0].data
    assert (data["theirs"], data["this"]) == ("patch", "tile")


def test_stores_without_numbers(cube, tmp_path):
    to_zarr(cube.chunk(x=8), tmp_path / "map.zarr", "tile")
    with finds("store.not-packed", StoreError):
        xr_anysat.open_quantization(tmp_path / "map.zarr")
    with finds("store.no-embedding", StoreError):
        xr_anysat.open_quantization(tmp_path / "none.zarr")
    opened = (xr_anysat.open_embedding(tmp_path / "map.zarr", decode=each) for each in (0, 1))
    np.testing.assert_array_equal(*opened)
