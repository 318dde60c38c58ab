"""What is valid, statistics and normalisation, against plain numpy in float64."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.findings import finds

from xr_anysat.compute.normalize import (
    band_moments,
    check_scale,
    composite,
    merge_moments,
    moments_to_stats,
    normalize,
)
from xr_anysat.cube.values import validity_mask
from xr_anysat.errors import AnySatError, ScaleError
from xr_anysat.findings import Call, SetOption, in_python
from xr_anysat.job.normalization import Normalization
from xr_anysat.sensors.sentinel2 import SENTINEL2

PUBLISHED = SENTINEL2.statistics["treesatai"]

NONE = Normalization(kind="none", name="none")
REFLECTANCE = Normalization(kind="reflectance", name="reflectance", fixed=True, scale=10_000)
BY_TILE = Normalization(kind="tile_zscore", name="tile_zscore")
ZSCORE = Normalization(kind="stats", name="zscore")
TREESATAI = Normalization(
    kind="stats",
    name="treesatai",
    mean=PUBLISHED.mean,
    std=PUBLISHED.std,
    fixed=True,
    scale=10_000,
)


def block(shape=(3, 10, 6, 8), dtype="uint16", seed=0, level=3000.0, spread=900.0):
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(level, spread, shape), level / 30, 3 * level)
    return values.astype(dtype)


def some(valid_share, shape=(3, 6, 8), seed=1):
    return np.random.default_rng(seed).random(shape) < valid_share


def everywhere(values):
    return np.ones((values.shape[0], *values.shape[2:]), dtype=bool)


# -- what is valid -----------------------------------------------------------------------------


def test_one_missing_band_makes_a_pixel_date_missing():
    values = block(dtype="float32")
    expected = everywhere(values)
    for n, bad in enumerate((np.nan, np.inf, -np.inf)):
        values[n, 3 * n, 1, n] = bad
        expected[n, 1, n] = False
    np.testing.assert_array_equal(validity_mask(values, None, ()), expected)


@pytest.mark.parametrize(
    ("dtype", "nodata", "written"),
    [
        ("uint16", 0.0, 0),
        ("uint16", 65535.0, 65535),
        ("int16", -9999.0, -9999),
        ("int32", -2147483648.0, -2147483648),
        ("uint8", 255.0, 255),
        ("float32", -9999.0, -9999),
        ("float32", -3.4e38, np.float32(-3.4e38)),
        ("float32", -3.40282346639e38, np.finfo("float32").min),  # as GDAL prints it
        ("float32", 0.1, np.float32(0.1)),
        ("float64", -1.7976931348623157e308, np.finfo("float64").min),
    ],
)
def test_nodata(dtype, nodata, written):
    values = block(dtype=dtype, level=100, spread=20)
    values[1, 4, 2, 3] = written
    values[2, 9, 0, 0] = written
    expected = everywhere(values)
    expected[1, 2, 3] = expected[2, 0, 0] = False
    np.testing.assert_array_equal(validity_mask(values, None, (nodata,)), expected)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint16", -9999.0), ("uint8", 65535.0), ("uint16", 0.5), ("uint16", 1e300),
     ("int16", -3.4028234663852886e38), ("float32", -1.7976931348623157e308)],
)  # fmt: skip
def test_nodata_that_the_dtype_cannot_hold_matches_nothing(dtype, nodata):
    values = block(dtype=dtype, level=100, spread=20)
    values[0] = 0
    values[1] = 1
    assert validity_mask(values, None, (nodata,)).all()


def test_several_values_of_nodata_and_a_mask():
    values = block()
    values[0, 0, 0, 0], values[1, 1, 1, 1] = 0, 65535
    mask = np.ones((1, 6, 8), dtype=bool)
    mask[0, 5] = False
    expected = everywhere(values)
    expected[0, 0, 0] = expected[1, 1, 1] = False
    expected[:, 5] = False
    np.testing.assert_array_equal(validity_mask(values, mask, (0.0, 65535.0)), expected)


def test_without_nodata_zero_is_a_value():
    assert validity_mask(np.zeros((2, 10, 3, 3), dtype="uint16"), None, ()).all()


# -- statistics --------------------------------------------------------------------------------


@st.composite
def blocks_and_holes(draw, dtypes=("uint16", "int16", "float32", "float64")):
    shape = draw(st.tuples(st.integers(1, 4), st.just(10), st.integers(1, 5), st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level, spread = draw(st.sampled_from([(3000, 800), (0.3, 0.1), (1e4, 1), (50, 0)]))
    values = rng.normal(level, spread, shape).astype(draw(st.sampled_from(dtypes)))
    valid = rng.random((shape[0], *shape[2:])) < draw(st.sampled_from([0, 0.3, 0.9, 1]))
    return values, valid


def plain_stats(values, valid):
    bands = [values[:, band][valid].astype(np.float64) for band in range(10)]
    if not valid.any():
        return np.full((2, 10), np.nan)
    return np.array([[b.mean() for b in bands], [b.std() for b in bands]])


@given(blocks_and_holes())
def test_stats_of_a_block(data):
    values, valid = data
    moments = band_moments(values, valid)
    assert (moments[0] == valid.sum()).all()
    np.testing.assert_allclose(
        moments_to_stats(moments), plain_stats(values, valid), rtol=1e-9, atol=1e-7
    )


@given(blocks_and_holes(), st.data())
def test_moments_of_parts_merge_to_those_of_the_whole(data, draws):
    """Whatever the cuts, their order, and the tree of merges."""
    values, valid = data
    cuts = [sorted(draws.draw(st.sets(st.integers(0, values.shape[axis])))) for axis in (0, 2, 3)]
    edges = [[0, *cut, values.shape[axis]] for cut, axis in zip(cuts, (0, 2, 3), strict=True)]
    parts = [
        band_moments(values[t0:t1, :, y0:y1, x0:x1], valid[t0:t1, y0:y1, x0:x1])
        for t0, t1 in zip(edges[0], edges[0][1:], strict=False)
        for y0, y1 in zip(edges[1], edges[1][1:], strict=False)
        for x0, x1 in zip(edges[2], edges[2][1:], strict=False)
    ]
    parts = draws.draw(st.permutations(parts))
    middle = draws.draw(st.integers(0, len(parts)))
    tree = [merge_moments(part) for part in (parts[:middle], parts[middle:]) if part]
    merged = merge_moments(tree)
    whole = band_moments(values, valid)
    np.testing.assert_array_equal(merged[0], whole[0])
    np.testing.assert_allclose(
        moments_to_stats(merged), plain_stats(values, valid), rtol=1e-9, atol=1e-6
    )


def test_stats_do_not_lose_a_small_spread_on_a_large_mean():
    values = np.full((1, 10, 100, 100), 30_000.0)
    values[..., ::2, :] += 0.01
    halves = [
        band_moments(values[..., n : n + 50, :], np.ones((1, 50, 100), bool)) for n in (0, 50)
    ]
    np.testing.assert_allclose(moments_to_stats(merge_moments(halves))[1], 0.005, rtol=1e-6)


def test_integers_do_not_overflow_in_sums():
    values = np.full((4, 10, 64, 64), 65_000, dtype="uint16")
    np.testing.assert_array_equal(
        moments_to_stats(band_moments(values, everywhere(values))), [[65_000] * 10, [0] * 10]
    )


def test_nothing_valid_has_no_stats():
    values = block()
    empty = band_moments(values, np.zeros((3, 6, 8), dtype=bool))
    assert (empty == 0).all()
    assert np.isnan(moments_to_stats(empty)).all()
    full = band_moments(values, everywhere(values))
    np.testing.assert_array_equal(merge_moments([empty, full, empty]), full)


# -- normalisation -----------------------------------------------------------------------------


def plain_zscore(values, valid, stats):
    mean, std = stats[:, :, None, None]
    out = (values.astype(np.float64) - mean) / np.where(std > 0, std, 1)
    return np.where(valid[:, None], out, 0)


@given(blocks_and_holes())
def test_zscore(data):
    values, valid = data
    stats = plain_stats(values, valid)
    out = normalize(values, valid, ZSCORE, stats)
    assert out.dtype == np.float32
    if valid.any():  # float32 knows 10 000 to 1e-3 only: so much of a small spread is lost
        lost = 2 * np.spacing(stats[0].astype(np.float32)) / np.where(stats[1] > 0, stats[1], 1)
        error = np.abs(out - plain_zscore(values, valid, stats))
        assert (error.max(axis=(0, 2, 3)) <= 1e-5 + lost).all()


def test_zscore_has_zero_mean_and_unit_spread():
    values, valid = block(), some(0.7)
    out = normalize(values, valid, ZSCORE, plain_stats(values, valid))
    np.testing.assert_allclose(plain_stats(out, valid), [[0] * 10, [1] * 10], atol=1e-5)


def test_stats_known_beforehand():
    values, valid = block(), some(0.8)
    stats = np.array([PUBLISHED.mean, PUBLISHED.std])
    out = normalize(values, valid, TREESATAI)
    np.testing.assert_allclose(out, plain_zscore(values, valid, stats), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_reflectance(dtype):
    values, valid = block(dtype=dtype, level=6000, spread=4000), some(0.8)
    expected = np.where(valid[:, None], np.clip(values / 10_000.0, 0, 1), 0)
    out = normalize(values, valid, REFLECTANCE)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    assert out.max() == 1  # something was clipped


def test_none_leaves_values_as_they_are():
    values, valid = block(), some(0.8)
    out = normalize(values, valid, NONE)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, np.where(valid[:, None], values, 0))


@pytest.mark.parametrize(("tile", "cuts"), [(4, (2, 2)), (6, (1, 2)), (3, (2, 3)), (100, (1, 1))])
def test_tile_zscore_is_zscore_of_each_tile(tile, cuts):
    values, valid = block(), some(0.7)
    valid[:, :3, :3] = False  # with tiles of three: one without any value
    out = normalize(values, valid, BY_TILE, tile_pixels=tile)
    for row in range(cuts[0]):
        for column in range(cuts[1]):
            rows = slice(row * tile, (row + 1) * tile)
            columns = slice(column * tile, (column + 1) * tile)
            part, seen = values[:, :, rows, columns], valid[:, rows, columns]
            expected = plain_zscore(part, seen, plain_stats(part, seen))
            np.testing.assert_allclose(out[:, :, rows, columns], expected, atol=1e-5)


@pytest.mark.parametrize("how", [ZSCORE, BY_TILE])
def test_a_constant_band_becomes_zero(how):
    values, valid = block(dtype="float32"), some(0.8)
    values[:, 4] = 1234.5
    out = normalize(values, valid, how, plain_stats(values, valid), tile_pixels=4)
    assert (out[:, 4] == 0).all()
    assert np.isfinite(out).all()
    assert out[:, 3].std() > 0.5


@pytest.mark.parametrize("how", [ZSCORE, BY_TILE, TREESATAI, REFLECTANCE, NONE])
def test_nothing_valid_gives_zeros(how):
    values, valid = block(), np.zeros((3, 6, 8), dtype=bool)
    out = normalize(values, valid, how, plain_stats(values, valid), tile_pixels=4)
    assert (out == 0).all()


GARBAGE = [
    ("float32", np.nan), ("float32", np.inf), ("float32", -3.4028235e38), ("float32", 3.4e38),
    ("float64", -1.7976931348623157e308), ("float64", 1e300), ("float16", -65504),
    ("float16", np.inf),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "garbage"), GARBAGE)
@pytest.mark.parametrize("how", [ZSCORE, BY_TILE, TREESATAI, REFLECTANCE, NONE])
def test_missing_values_leave_no_trace_and_no_warning(how, dtype, garbage):
    level = 3000.0 if how.fixed else 0.3  # a small spread, that a quotient overflows with
    values, valid = block(dtype=dtype, level=level, spread=level / 9), some(0.7)
    stats = plain_stats(values, valid)
    clean = normalize(values, valid, how, stats, tile_pixels=4)
    dirty = np.where(valid[:, None], values, np.asarray(garbage, dtype))
    assert dirty.dtype == dtype
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = normalize(dirty, valid, how, stats, tile_pixels=4)
    np.testing.assert_array_equal(out, clean)


@pytest.mark.parametrize("how", [ZSCORE, BY_TILE, TREESATAI, REFLECTANCE, NONE])
def test_the_input_is_left_alone(how):
    values, valid = block(dtype="float32"), some(0.7)
    before = values.copy()
    normalize(values, valid, how, plain_stats(values, valid), tile_pixels=4)
    np.testing.assert_array_equal(values, before)


# -- scale -------------------------------------------------------------------------------------


def scale_fault(values, how, stats=None):
    """What is said of values on another scale."""
    with finds("values.scale", ScaleError) as caught:
        check_scale(values, everywhere(values), how, stats)
    (finding,) = caught.value.findings
    return finding


def fixed(mean, name="band_stats"):
    numbers = {"mean": (mean,) * 10, "std": (mean / 3,) * 10}
    return Normalization(kind="stats", name=name, fixed=True, scale=10_000, **numbers)


@pytest.mark.parametrize("how", [TREESATAI, REFLECTANCE, fixed(2500.0)])
def test_reflectance_where_dn_are_meant(how):
    values = block(dtype="float32", level=0.3, spread=0.1)
    finding = scale_fault(values, how)
    assert finding.data["where"] == "far below"
    assert finding.data["option"] == SetOption("normalize", how.name)
    assert finding.data["guess"].startswith("reflectance")
    ways = list(map(in_python, finding.remedies))
    assert ways == ["cube * 10000", 'normalize="zscore"', "cube.anysat.band_stats()"]
    assert issubclass(ScaleError, AnySatError)


def test_dn_where_reflectance_is_meant():
    values = block()
    finding = scale_fault(values, fixed(0.25))
    assert finding.data["where"] == "far above"
    assert finding.data["guess"].startswith("DN")
    assert finding.remedies[0] == Call("cube / 10000")


def test_scale_of_statistics_that_come_with_the_block():
    values = block(dtype="float32", level=0.3, spread=0.1)
    stats = np.array([PUBLISHED.mean, PUBLISHED.std])
    how = Normalization(kind="stats", name="band_stats", fixed=True, scale=10_000)
    assert scale_fault(values, how, stats).data["where"] == "far below"
    own = Normalization(kind="stats", name="zscore")
    check_scale(values, everywhere(values), own, stats)  # of the cube itself: never another scale


@pytest.mark.parametrize("level", [60, 150, 1000, 9000, 15_000])
@pytest.mark.parametrize("how", [TREESATAI, REFLECTANCE])
def test_dark_and_bright_scenes_are_no_other_scale(how, level):
    values = block(level=level, spread=level / 5)
    check_scale(values, everywhere(values), how)


@pytest.mark.parametrize("level", [0.01, 0.1, 0.6, 1.5])
@pytest.mark.parametrize("how", [TREESATAI, REFLECTANCE, fixed(1100.0), fixed(4000.0)])
def test_dark_and_bright_reflectances_are_found(how, level):
    values = block(dtype="float32", level=level, spread=level / 8)
    assert scale_fault(values, how).data["where"] == "far below"


@pytest.mark.parametrize("level", [150, 1000, 15_000])
@pytest.mark.parametrize("mean", [0.11, 0.4])
def test_dark_and_bright_dn_are_found(mean, level):
    values = block(level=level, spread=level / 8)
    assert scale_fault(values, fixed(mean)).data["where"] == "far above"
    check_scale(values / 10_000, everywhere(values), fixed(mean))


@pytest.mark.parametrize("rows", [2, 6])
def test_zeros_do_not_speak_for_the_scale(rows):
    """Fill that nobody declared is neither dark DN nor reflectance."""
    shape = (3, 10, 240, 8)
    dn, reflectance = np.zeros(shape, "float32"), np.zeros(shape, "float32")
    check_scale(dn, everywhere(dn), TREESATAI)
    dn[:, :, :rows] = 3000
    reflectance[:, :, :rows] = 0.3
    check_scale(dn, everywhere(dn), TREESATAI)
    assert scale_fault(reflectance, TREESATAI).data["where"] == "far below"
    assert scale_fault(dn, fixed(0.2)).data["where"] == "far above"


def test_missing_values_do_not_speak_for_the_scale():
    values = block(dtype="float32", level=0.3, spread=0.1)
    valid = np.zeros((3, 6, 8), dtype=bool)
    valid[0, 0, :2] = True  # too few to judge by
    check_scale(values, valid, TREESATAI)
    dn = block(dtype="float32")
    valid = some(0.7)
    dn[~np.broadcast_to(valid[:, None], dn.shape)] = 1e-3
    check_scale(dn, valid, TREESATAI)
    assert scale_fault(dn, fixed(1e6)).data["where"] == "far below"


def test_a_large_block_is_judged_by_a_sample_of_all_of_it():
    values = np.full((1, 10, 1200, 1200), 3, dtype="uint16")
    check_scale(values[..., :600], everywhere(values)[..., :600] & False, TREESATAI)
    assert scale_fault(values, TREESATAI).data["where"] == "far below"
    values[..., ::2] = 3000  # stripes are no reason to miss one half of them
    values[..., ::2, :] = 3000
    check_scale(values, everywhere(values), TREESATAI)


# -- composites --------------------------------------------------------------------------------


@given(blocks_and_holes(dtypes=("uint16", "float32")), st.data())
def test_composites_are_medians_of_what_is_valid(data, draws):
    values, valid = data
    dates = list(range(len(values)))
    groups = draws.draw(
        st.lists(st.lists(st.sampled_from(dates), min_size=1, unique=True), min_size=1, max_size=3)
    )
    frames, seen = composite(values, valid, groups)
    assert frames.dtype == np.float32
    assert frames.shape == (len(groups), *values.shape[1:])
    holed = np.where(valid[:, None], values.astype(np.float64), np.nan)
    for index, group in enumerate(groups):
        np.testing.assert_array_equal(seen[index], valid[group].any(axis=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of empty slices
            expected = np.nanmedian(holed[group], axis=0)
        np.testing.assert_allclose(
            frames[index], np.where(seen[index], expected, 0), rtol=1e-6, atol=1e-6
        )


@given(hnp.arrays("bool", (5, 1, 1)))
def test_a_composite_of_the_middle_values(valid):
    values = np.array([70, 10, 50, 30, 90], dtype="uint16")[:, None, None, None]
    values = np.broadcast_to(values, (5, 10, 1, 1))
    frames, seen = composite(values, valid, [range(5)])
    chosen = values[:, 0, 0, 0][valid[:, 0, 0]]
    assert seen[0, 0, 0] == bool(len(chosen))
    assert (frames[0, :, 0, 0] == (np.median(chosen) if len(chosen) else 0)).all()


@pytest.mark.parametrize(("dtype", "garbage"), GARBAGE)
def test_missing_values_leave_no_trace_in_composites(dtype, garbage):
    values, valid = block(dtype=dtype), some(0.6)
    dirty = np.where(valid[:, None], values, np.asarray(garbage, dtype))
    groups = [(0, 2), (1,), (0, 1, 2)]
    clean = composite(values, valid, groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = composite(dirty, valid, groups)
    np.testing.assert_array_equal(out[0], clean[0])
    np.testing.assert_array_equal(out[1], clean[1])
