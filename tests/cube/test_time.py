"""Composites of periods, and embeddings of several periods put together."""

import datetime as dt
from collections import Counter

import cftime
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.cubes import TINY, assert_same, make_cube, punch
from support.findings import findings_of, finds, warns_of

from xr_anysat import OptionError, StoreError, open_embedding
from xr_anysat.compute import engine

YEAR = np.timedelta64(365, "D")


def embed(cube, mode="patch", **options):
    return cube.anysat.embed(mode, **{"model": TINY, "tile_size": 8, **options})


def dates_of(result):
    return [date[:10] for date in result.attrs["dates"].split()]


@pytest.fixture(scope="module")
def cube():
    """Nine dates, every 50 days from 5 January 2021 to 9 February 2022."""
    return make_cube(8, 8, dates=9, days=50)


@pytest.fixture(scope="module")
def stats(cube):
    return cube.anysat.band_stats()


# The date of a composite -------------------------------------------------------------------------

NEW_YEAR = ("2020-12-22", "2021-01-11", "2021-07-01", "2021-07-03", "2021-07-08")


def by_new_year():
    dates = np.array(NEW_YEAR, dtype="M8[ns]")
    return make_cube(4, 4, dates=5).assign_coords(time=dates)


def test_a_composite_is_dated_in_the_middle_of_its_period():
    period = ("2020-12-01", "2021-11-30")  # halves of 182.5 days
    result = embed(by_new_year(), frames=2, period=period)
    assert dates_of(result) == ["2021-03-02", "2021-08-31"]
    assert result.attrs["frame_date"] == "middle"


def test_a_composite_is_dated_by_the_mean_of_its_dates():
    """Over New Year, too, where the mean of the days of the year would be a day in summer."""
    cube = by_new_year()
    period = ("2020-12-01", "2021-11-30")
    result = embed(cube, frames=2, period=period, frame_date="mean")
    assert dates_of(result) == ["2021-01-01", "2021-07-04"]
    assert result.attrs["frame_date"] == "mean"
    # which the network is told
    halves = [cube[:2].median("time"), cube[2:].median("time")]
    dates = np.array(["2021-01-01", "2021-07-04"], dtype="M8[ns]")
    composites = xr.concat(halves, pd.Index(dates, name="time")).transpose(*cube.dims)
    own = cube.anysat.band_stats()
    assert_same(
        embed(cube, frames=2, period=period, frame_date="mean", normalize=own),
        embed(composites, normalize=own),
    )


def test_the_mean_of_dates_does_not_depend_on_chunks_or_clouds(cube):
    holed = punch(cube)
    eager = embed(holed, frames=3, frame_date="mean")
    assert eager.attrs["dates"] == embed(cube, frames=3, frame_date="mean").attrs["dates"]
    assert_same(embed(holed.chunk(x=3, time=2), frames=3, frame_date="mean"), eager)


def test_the_order_of_dates_does_not_matter(cube):
    for frame_date in ("middle", "mean"):
        options = {"frames": 3, "frame_date": frame_date}
        shuffled = cube.isel(time=[4, 0, 8, 2, 6, 1, 5, 7, 3])
        assert_same(embed(shuffled, **options), embed(cube, **options))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"frame_date": "mean"}, "frames.absent"),
        ({"frames": 2, "frame_date": "median"}, "option.choice"),
    ],
)
def test_dates_of_composites_that_do_not_fit(cube, options, code):
    with finds(code, OptionError) as caught:
        embed(cube, **options)
    assert "frame_date=" in str(caught.value)


# Empty periods -----------------------------------------------------------------------------------


def test_empty_periods_are_named_and_nothing_stands_in_for_them():
    cube = make_cube(8, 8, dates=2, days=100, start="2021-01-01")
    with warns_of("frames.empty") as caught:
        result = embed(cube, frames=4, normalize="none")
    (finding,) = findings_of(caught)
    assert (finding.data["empty"], finding.data["count"]) == (2, 4)
    assert finding.data["names"] == "2021-01-26 to 2021-02-20, 2021-02-20 to 2021-03-17"
    assert dates_of(result) == ["2021-01-13", "2021-03-29"]
    moved = cube.assign_coords(time=np.array(result.attrs["dates"].split(), dtype="M8[ns]"))
    assert_same(result, embed(moved, normalize="none"))


def test_only_a_few_of_many_empty_periods_are_named():
    cube = make_cube(8, 8, dates=2, days=100, start="2021-01-01")
    with warns_of("frames.empty") as caught:
        embed(cube, frames=100)
    (finding,) = findings_of(caught)
    assert (finding.data["empty"], finding.data["count"]) == (98, 100)
    assert finding.data["names"].count(" to ") == 5
    assert str(finding).endswith(", ...")


# What a period may be ----------------------------------------------------------------------------

FROM_MARCH_TO_JUNE = {
    "strings": ("2021-03-01", "2021-06-30"),
    "without dashes": ("20210301", "20210630"),
    "months": ("2021-03", "2021-06"),
    "datetime64": (np.datetime64("2021-03-01"), np.datetime64("2021-06-30")),
    "datetime64[M]": (np.datetime64("2021-03"), np.datetime64("2021-06")),
    "datetime64[ns]": (np.datetime64("2021-03-01", "ns"), np.datetime64("2021-06-30", "ns")),
    "dates": (dt.date(2021, 3, 1), dt.date(2021, 6, 30)),
    "datetimes": (dt.datetime(2021, 3, 1), dt.datetime(2021, 6, 30)),
    "timestamps": [pd.Timestamp("2021-03-01"), pd.Timestamp("2021-06-30")],
    "cftime": (cftime.DatetimeGregorian(2021, 3, 1), cftime.DatetimeGregorian(2021, 6, 30)),
    "an index": pd.DatetimeIndex(["2021-03-01", "2021-06-30"]),
    "to the second": ("2021-03-01T00:00:00", "2021-06-30T23:59:59"),
    "in a time zone": ("2021-03-01T02:00:00+02:00", "2021-07-01T01:59:59+02:00"),
    "mixed": (dt.date(2021, 3, 1), "2021-06"),
}


@pytest.mark.parametrize("kind", FROM_MARCH_TO_JUNE)
def test_kinds_of_periods(kind):
    dates = ["2021-02-28T23:59", "2021-03-01", "2021-05-05", "2021-06-30T23:59:30", "2021-07-01"]
    cube = make_cube(4, 4, dates=5).assign_coords(time=np.array(dates, dtype="M8[ns]"))
    result = embed(cube, frames=1, period=FROM_MARCH_TO_JUNE[kind], normalize="none")
    assert result.attrs["dates"] == "2021-04-30T23:59:59"
    middle = cube[1:4].median("time").expand_dims(time=[np.datetime64("2021-04-30", "ns")])
    assert_same(result, embed(middle, normalize="none"))


def test_a_period_of_the_cubes_own_dates(cube):
    period = (cube.time[1], cube.time[3])
    assert dates_of(embed(cube, frames=1, period=period)) == ["2021-04-15"]
    calendar = cube.convert_calendar("gregorian", use_cftime=True)
    period = (calendar.time[1], calendar.time[3])
    assert dates_of(embed(calendar, frames=1, period=period)) == ["2021-04-15"]


@pytest.mark.parametrize(
    ("end", "taken"),
    [("2021-06-30T00:00:00", 1), ("2021-06-30", 2), ("2021-06-30T12:00:00", 1), ("2021-07", 3)],
)
def test_a_time_of_the_day_is_taken_at_its_word(end, taken):
    dates = ["2021-06-29", "2021-06-30T13:00", "2021-07-31T13:00"]
    cube = make_cube(4, 4, dates=3).assign_coords(time=np.array(dates, dtype="M8[ns]"))
    result = embed(cube, frames=1, period=("2021-06-01", end), frame_date="mean")
    mean = np.array(dates, dtype="M8[s]")[:taken].astype("int64").mean().astype("M8[s]")
    assert result.attrs["dates"] == str(mean)


@pytest.mark.parametrize(
    ("period", "reason"),
    [
        (("2021-06-01", "2021-01-01"), "2021-01-01T23:59:59"),
        (("2021-06-01", None), "NaT"),
        ((np.datetime64("NaT"), "2021"), "NaT"),
        ("2021", "a string"),
        (("2021",), "not enough values"),
        ((1, 2), "int64"),
        (("2021", "yesterday"), "yesterday"),
        ((cftime.Datetime360Day(2021, 2, 30), "2021"), "'360_day'"),
    ],
)
def test_periods_that_are_none(cube, period, reason):
    with finds("period.unreadable", OptionError) as caught:
        embed(cube, frames=2, period=period)
    assert reason in caught.value.findings[0].data["error"]
    assert 'period=("2021-01-01", "2021-12-31")' in str(caught.value)


def test_a_period_without_dates_says_which_there_are(cube):
    with finds("period.no-dates", OptionError) as caught:
        embed(cube, frames=2, period=("2019", "2019"))
    assert caught.value.findings[0].data["first"].startswith("2021-01-05T00")


# Dates outside a period --------------------------------------------------------------------------


def counted(cube, reads):
    def read(block, block_info=None):
        reads[block_info[0]["chunk-location"][0]] += 1
        return block

    data = cube.chunk(time=1).data
    return cube.copy(data=data.map_blocks(read, dtype=data.dtype, meta=data._meta))


@pytest.mark.parametrize("masked", [False, True])
def test_dates_outside_the_period_are_not_read(cube, stats, masked):
    reads = Counter()
    period = (cube.time.values[2], cube.time.values[5])
    mask = punch(cube).notnull().all("band") if masked else None
    options = {"frames": 2, "period": period, "normalize": stats}
    result = embed(counted(cube, reads), mask=mask, **options)
    assert not reads
    assert_same(result.compute(), embed(cube, mask=mask, **options))
    assert reads == {2: 1, 3: 1, 4: 1, 5: 1}
    inside = cube.isel(time=slice(2, 6))
    seen = None if mask is None else mask.isel(time=slice(2, 6))
    assert_same(embed(inside, mask=seen, **options), embed(cube, mask=mask, **options), atol=0)


def test_statistics_are_of_the_whole_cube_whatever_the_period(cube, stats):
    reads = Counter()
    options = {"frames": 2, "period": (cube.time.values[2], cube.time.values[5])}
    result = embed(counted(cube, reads), **options)
    assert_same(result.compute(), embed(cube, normalize=stats, **options), atol=1e-6)
    assert reads == {date: 2 if date in (2, 3, 4, 5) else 1 for date in range(9)}


# Several embeddings ------------------------------------------------------------------------------

BACKED = {"numpy": None, "dask": {"x": 3}}


@pytest.mark.parametrize(
    ("mode", "chunks"), [("grid", {"x": 3}), ("tile", None), ("pooled", {"x": 3})]
)
def test_quarters(cube, stats, mode, chunks):
    own = cube if chunks is None else cube.chunk(chunks)
    quarters = own.resample(time="QS").map(lambda part: embed(part, mode, normalize=stats))
    assert isinstance(quarters.data, da.Array) == (chunks is not None)
    starts = ["2021-01-01", "2021-04-01", "2021-07-01", "2021-10-01", "2022-01-01"]
    assert quarters.time.values.astype("M8[D]").astype(str).tolist() == starts
    assert quarters.dtype == "float32"
    assert quarters.rio.crs.to_epsg() == 32631
    assert quarters.attrs["model"] == "AnySat tiny"
    place = set() if mode == "pooled" else {"y", "x"}
    assert set(quarters.dims) == {"time", "feature", *place}
    for start, end in zip(starts, [*starts[1:], "2022-04-01"], strict=True):
        inside = (cube.time >= np.datetime64(start)) & (cube.time < np.datetime64(end))
        part = embed(cube.isel(time=inside.values), mode, normalize=stats)
        found = quarters.sel(time=start)
        assert_same(found.transpose(*part.dims), part)
        assert found.first_date == cube.time[inside][0]
        assert found.last_date == cube.time[inside][-1]


@pytest.mark.parametrize("chunks", BACKED.values(), ids=BACKED)
def test_parts_of_a_dataset(cube, stats, chunks):
    """With a variable per band, as odc-stac gives it."""
    bands = cube.to_dataset("band")
    own = bands if chunks is None else bands.chunk(chunks)
    gap = own.isel(time=[0, 1, 7, 8])
    years = own.groupby("time.year").map(lambda part: embed(part, normalize=stats))
    quarters = gap.resample(time="QS").map(lambda part: embed(part, normalize=stats))
    for result, when in ((years, "year"), (quarters, "time")):
        assert isinstance(result, xr.DataArray)
        assert isinstance(result.data, da.Array) == (chunks is not None)
        assert result.dims == (when, "feature", "y", "x")
        assert result.rio.crs.to_epsg() == 32631
    assert_same(years[1], embed(cube[8:], normalize=stats))
    assert_same(quarters[0], embed(cube[:2], normalize=stats))
    assert np.isnat(quarters.first_date).values.tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("chunks", BACKED.values(), ids=BACKED)
def test_quarters_without_dates_are_nan(cube, stats, chunks):
    """The network is not run for them, and what was seen in them is not a date."""
    gap = cube.isel(time=[0, 1, 7, 8])
    own = gap if chunks is None else gap.chunk(chunks)
    calls = []

    def one(part):
        calls.append(part.sizes["time"])
        return embed(part, normalize=stats)

    quarters = own.resample(time="QS").map(one)
    assert calls == [2, 1, 1]
    empty = [False, True, True, False, False]
    assert np.isnat(quarters.first_date).values.tolist() == empty
    assert quarters.isnull().all(["feature", "y", "x"]).values.tolist() == empty
    kept = quarters.dropna("time", how="all")
    assert kept.sizes["time"] == 3
    assert_same(kept.isel(time=0).transpose("feature", "y", "x"), one(gap[:2]))


@pytest.mark.parametrize("chunks", BACKED.values(), ids=BACKED)
def test_years(cube, stats, chunks, tmp_path):
    own = cube if chunks is None else cube.chunk(chunks)
    years = own.groupby("time.year").map(lambda part: embed(part, normalize=stats))
    assert years.year.values.tolist() == [2021, 2022]
    second = years.sel(year=2022).transpose("feature", "y", "x")
    assert_same(second, embed(cube[8:], normalize=stats))
    last = np.array(["2021-12-21", "2022-02-09"], dtype="M8[ns]")
    np.testing.assert_array_equal(years.last_date, last)
    years.to_netcdf(tmp_path / "years.nc")
    with xr.open_dataarray(tmp_path / "years.nc", decode_coords="all") as again:
        xr.testing.assert_equal(again.drop_vars("part"), years.compute().drop_vars("part"))
        assert again.rio.crs == years.rio.crs


def test_the_default_normalises_each_part_by_itself(cube):
    """So that embeddings of parts do not compare: a whole year of half the values is the same."""
    dark = cube.astype("float32")
    dark[8] = 0.5 * dark[8]
    years = dark.groupby("time.year").map(embed)
    assert_same(years.sel(year=2022).transpose("feature", "y", "x"), embed(cube[8:]), atol=1e-4)
    stats = cube.anysat.band_stats()
    known = dark.groupby("time.year").map(lambda part: embed(part, normalize=stats))
    same = embed(cube[8:], normalize=stats)
    assert abs(known.sel(year=2022).transpose("feature", "y", "x") - same).mean() > 0.01


def test_a_moving_window(cube, stats):
    ends = pd.date_range("2021-09-30", "2022-03-31", freq="QE")
    starts = ends - pd.DateOffset(months=6) + pd.DateOffset(days=1)
    parts = [cube.chunk(x=4).sel(time=slice(*pair)) for pair in zip(starts, ends, strict=True)]
    moving = xr.concat(
        [embed(part, normalize=stats) for part in parts],
        pd.Index(ends, name="time"),
        combine_attrs="drop_conflicts",
    )
    assert isinstance(moving.data, da.Array)
    assert dict(moving.sizes) == {"time": 3, "feature": 256, "y": 2, "x": 2}
    assert moving.attrs["model"] == "AnySat tiny"
    assert moving.attrs["normalization_mean"] == stats["mean"].values.tolist()
    assert "dates" not in moving.attrs  # they differ
    assert moving.rio.crs.to_epsg() == 32631
    second = cube.sel(time=slice("2021-07-01", "2021-12-31"))
    assert_same(moving[1], embed(second, normalize=stats))
    assert moving.first_date.values[1] == second.time.values[0]


def test_periods_as_variables_of_a_dataset(cube, stats):
    parts = {
        name: embed(cube.sel(time=slice(*ends)), normalize=stats)
        for name, ends in (("old", ("2021-01", "2021-06")), ("new", ("2021-07", "2021-12")))
    }
    with pytest.raises(xr.MergeError, match="first_date"):
        xr.Dataset(parts)
    ends = ["first_date", "last_date"]
    both = xr.Dataset({name: part.drop_vars(ends) for name, part in parts.items()})
    for name, part in parts.items():
        assert_same(both[name], part)
        assert both[name].attrs["dates"] == part.attrs["dates"]
    assert both.rio.crs.to_epsg() == 32631
    joined = xr.concat(parts.values(), pd.Index(list(parts), name="year"), combine_attrs="override")
    expected = [part.first_date.values for part in parts.values()]
    np.testing.assert_array_equal(joined.first_date, expected)


def test_cftime_is_resampled_too(cube, stats):
    calendar = cube.convert_calendar("gregorian", use_cftime=True)
    ours, plain = (
        one.resample(time="QS").map(lambda part: embed(part, normalize=stats))
        for one in (calendar, cube)
    )
    assert isinstance(ours.time.values[0], cftime.datetime)
    np.testing.assert_array_equal(ours.values, plain.values)
    np.testing.assert_array_equal(ours.first_date, plain.first_date)


def test_weights_are_loaded_once_for_all_parts(cube, stats, monkeypatch):
    loads = []
    real = engine.load_tensors

    def load_tensors(*args):
        loads.append(args)
        return real(*args)

    monkeypatch.setattr(engine, "load_tensors", load_tensors)
    monkeypatch.setattr(engine, "_engines", type(engine._engines)())
    quarters = cube.chunk(x=4).resample(time="QS").map(lambda part: embed(part, normalize=stats))
    assert not loads
    with dask.config.set(scheduler="threads", num_workers=4):
        quarters.compute()
    assert len(loads) == 1


def test_parts_have_the_same_keys_again(cube, stats):
    own = cube.chunk(x=4)

    def keys():
        result = own.resample(time="QS").map(lambda part: embed(part, normalize=stats))
        return sorted(map(str, result.__dask_graph__()))

    assert keys() == keys()


def test_a_store_of_composites(cube, tmp_path):
    options = {"frames": 2, "model": TINY, "tile_size": 8}
    period = ("2021-01-01", "2021-03-31")
    own = cube.chunk(x=4)
    own.anysat.to_zarr(tmp_path / "map.zarr", "patch", period=period, **options)
    expected = embed(cube, frames=2, period=period)
    with open_embedding(tmp_path / "map.zarr") as found:
        assert_same(found, expected)
        assert found.first_date == expected.first_date
        assert found.attrs["frame_date"] == "middle"
    # of a year later: the same days of the year, and two dates again
    later = cube[:2].assign_coords(time=cube.time[:2].values + YEAR)
    both = xr.concat([cube[:2], later], "time").chunk(x=4)
    both.anysat.to_zarr(tmp_path / "both.zarr", "patch", period=period, **options)
    period = ("2022-01-01", "2022-03-31")
    with pytest.raises(StoreError) as caught:
        both.anysat.to_zarr(tmp_path / "both.zarr", "patch", period=period, **options)
    assert "options.frames" in str(caught.value)
