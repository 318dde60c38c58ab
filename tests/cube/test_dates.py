"""Dates: any kind of them, in UTC, as days of the year."""

import datetime as dt
import re

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from support.helpers import make_cube, make_dataset

from xr_anysat.cube.canonical import understand
from xr_anysat.cube.dates import day_of_year
from xr_anysat.errors import CubeError
from xr_anysat.findings import SetOption

ISO = ("2020-02-29", "2021-03-01", "2020-12-31")
DAYS = [59, 59, 364]


def days(cube, **options):
    return list(understand(cube, **options).spec.day_of_year)


def moments(cube, **options):
    return list(understand(cube, **options).spec.dates)


def fault(cube, code, **options):
    """The one fault of a cube, which is of a code."""
    with pytest.raises(CubeError) as caught:
        understand(cube, **options)
    (finding,) = caught.value.findings
    assert finding.code == code
    return finding


def source(finding):
    """The argument or coordinate that a finding is about."""
    where = finding.data["source"]
    return where.name if isinstance(where, SetOption) else where


def undated(count=3):
    return make_cube(dates=ISO[:1] * count).drop_vars("time")


# -- days of the year --------------------------------------------------------------------------


@given(st.dates(dt.date(1900, 1, 1), dt.date(2200, 12, 31)))
def test_day_of_year(date):
    expected = min(date.timetuple().tm_yday - 1, 364)
    assert day_of_year(np.array([date], dtype="M8[s]")).tolist() == [expected]


def test_the_last_days_of_leap_years():
    dates = ["2019-12-31", "2020-12-30", "2020-12-31", "2020-02-29", "2020-03-01", "2021-03-01"]
    dates += ["2021-01-01", "2021-12-31T23:59:59"]
    found = day_of_year(np.array(dates, dtype="M8[s]"))
    assert found.tolist() == [364, 364, 364, 59, 60, 59, 0, 364]


# -- kinds of dates ----------------------------------------------------------------------------

KINDS = {
    "datetime64[D]": np.array(ISO, dtype="M8[D]"),
    "datetime64[s]": np.array(ISO, dtype="M8[s]"),
    "datetime64[ms]": np.array(ISO, dtype="M8[ms]"),
    "datetime64[us]": np.array(ISO, dtype="M8[us]"),
    "datetime64[ns]": np.array(ISO, dtype="M8[ns]"),
    "cftime standard": [cftime.DatetimeGregorian(*map(int, d.split("-"))) for d in ISO],
    "cftime proleptic": [cftime.DatetimeProlepticGregorian(*map(int, d.split("-"))) for d in ISO],
    "strings": list(ISO),
    "strings with a time": [f"{d}T10:56:21.024Z" for d in ISO],
    "strings without dashes": [d.replace("-", "") for d in ISO],
    "array of strings": np.array(ISO),
    "object strings": np.array(ISO, dtype=object),
    "bytes": np.array(ISO, dtype="S"),
    "datetime": [dt.datetime.fromisoformat(d) for d in ISO],
    "date": [dt.date.fromisoformat(d) for d in ISO],
    "timestamps": [pd.Timestamp(d) for d in ISO],
    "tuple": tuple(ISO),
}


@pytest.mark.parametrize("kind", KINDS)
def test_dates_given(kind):
    assert days(undated(), dates=KINDS[kind]) == DAYS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("date", "tuple")])
def test_dates_of_the_time_coordinate(kind):
    cube = undated().assign_coords(time=("time", KINDS[kind]))
    assert days(cube) == DAYS
    assert cube.anysat.s2_dates.tolist() == DAYS


@pytest.mark.parametrize("kind", [pd.DatetimeIndex, pd.Series, pd.Index, xr.DataArray])
def test_dates_of_pandas_and_xarray(kind):
    assert days(undated(), dates=kind(np.array(ISO, dtype="M8[ns]"))) == DAYS


def test_s2_dates_is_an_array_of_integers():
    found = make_cube(dates=ISO).anysat.s2_dates
    assert found.shape == (3,)
    assert found.dtype == np.int64


def test_dates_stay_in_the_cubes_order():
    cube = make_cube(dates=ISO)
    assert moments(cube) == [f"{d}T00:00:00" for d in ISO]
    assert days(cube.isel(time=[2, 0, 1])) == [364, 59, 59]


def test_dates_given_stand_in_for_the_coordinate():
    assert days(make_cube(), dates=ISO) == DAYS


# -- time zones --------------------------------------------------------------------------------

ZONED = ["2021-01-01T00:30:00+02:00", "2021-01-01T00:30:00Z", "2020-12-31T23:30:00-05:00"]
IN_UTC = ["2020-12-31T22:30:00", "2021-01-01T00:30:00", "2021-01-01T04:30:00"]


def test_zoned_strings():
    assert moments(undated(), dates=ZONED) == IN_UTC
    assert days(undated().assign_coords(time=ZONED)) == [364, 0, 0]


def test_zoned_datetimes():
    assert moments(undated(), dates=[dt.datetime.fromisoformat(d) for d in ZONED]) == IN_UTC


@pytest.mark.parametrize("kind", [pd.DatetimeIndex, pd.Series, list])
def test_a_zoned_index(kind):
    local = pd.DatetimeIndex(["2021-01-01T00:30", "2021-07-01T01:30", "2021-07-01T03:00"])
    local = local.tz_localize("Europe/Paris")
    expected = ["2020-12-31T23:30:00", "2021-06-30T23:30:00", "2021-07-01T01:00:00"]
    assert moments(undated(), dates=kind(local)) == expected


@pytest.mark.filterwarnings("ignore:.*drops timezone information")  # xarray's, not ours
def test_a_zoned_time_coordinate():
    local = pd.DatetimeIndex(["2021-01-01T00:30", "2021-07-01T01:30", "2021-07-01T03:00"])
    cube = undated().assign_coords(time=local.tz_localize("Europe/Paris"))
    expected = ["2020-12-31T23:30:00", "2021-06-30T23:30:00", "2021-07-01T01:00:00"]
    assert moments(cube) == expected


# -- one date ----------------------------------------------------------------------------------

ONE = {
    "string": "2020-12-31",
    "list": ["2020-12-31"],
    "datetime64": np.datetime64("2020-12-31"),
    "date": dt.date(2020, 12, 31),
    "datetime": dt.datetime(2020, 12, 31, 10),
    "timestamp": pd.Timestamp("2021-01-01T00:30+01:00"),
    "cftime": cftime.DatetimeGregorian(2020, 12, 31),
}


@pytest.mark.parametrize("kind", ONE)
def test_a_cube_without_time_counts_as_one_date(kind):
    cube = make_cube().isel(time=0, drop=True)
    assert days(cube, dates=ONE[kind]) == [364]
    assert understand(cube, dates=ONE[kind]).spec.time_dim is None


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_a_scalar_time_coordinate(make):
    assert days(make().isel(time=1)) == [192]


@pytest.mark.parametrize("name", ["t", "date", "datetime"])
def test_a_scalar_time_coordinate_of_another_name(name):
    assert days(make_cube().isel(time=1).rename(time=name)) == [192]


@pytest.mark.parametrize("name", ["t", "date", "Time", "acquisition_time", "scene"])
def test_names_of_the_time_dimension(name):
    found = understand(make_cube(dates=ISO).rename(time=name))
    assert found.spec.time_dim == name
    assert found.values.shape[0] == 3


def test_a_dimension_without_coordinate_or_name_is_time_if_none_else_is():
    cube = undated().rename(time="scene")
    assert understand(cube, dates=ISO).spec.time_dim == "scene"


# -- dates that are not where they should be ---------------------------------------------------


def scenes(count=3, **coords):
    """A cube whose dimension of time has another name and no dates."""
    return undated(count).rename(time="t").assign_coords(coords)


WHEN = np.array(ISO, dtype="M8[ns]")


@pytest.mark.parametrize(
    "coords",
    [
        {"time": ("t", WHEN)},
        {"time": ("t", WHEN), "t": [0, 1, 2]},
        {"time": ("t", list(ISO)), "t": ["S2A_1", "S2B_1", "S2A_2"]},
        {"Date": ("t", KINDS["cftime standard"]), "created": ("t", WHEN - 1)},
        {"when": ("t", WHEN)},
        {"when": ("t", WHEN), "t": [0, 1, 2], "orbit": ("t", [1, 2, 1])},
        {"datetime": ("t", WHEN), "time": ("t", [7, 8, 9]), "t": [0, 1, 2]},
        {"t": WHEN, "time": ("t", WHEN - 10**17)},  # the dimension's own come first
    ],
)
def test_dates_of_another_coordinate_along_time(coords):
    assert days(scenes(**coords)) == DAYS
    assert scenes(**coords).anysat.s2_dates.tolist() == DAYS


def test_dates_of_a_level_of_an_index():
    levels = {"when": ("time", WHEN), "orbit": ("time", [22, 22, 65])}
    cube = undated().rename(time="acquisition").rename(acquisition="time")
    assert days(cube.assign_coords(levels).set_index(time=["when", "orbit"])) == DAYS


def test_an_index_of_several_levels_without_dates():
    levels = {"year": ("time", [2020, 2021, 2020]), "day": ("time", [59, 59, 364])}
    cube = undated().assign_coords(levels).set_index(time=["year", "day"])
    assert "['year', 'day']" in str(fault(cube, "dates.unreadable"))


def test_which_of_two_coordinates_is_not_guessed():
    cube = scenes(created=("t", WHEN), updated=("t", WHEN))
    assert "'t'" in str(fault(cube, "dates.none"))
    finding = fault(cube.assign_coords(t=["S2A_1", "S2B_1", "S2A_2"]), "dates.unreadable")
    assert source(finding) == "the coordinate 't'"


def without_missing(cube, positions):
    """A cube without its missing dates, dropped by the call that the finding names."""
    finding = fault(cube, "dates.missing")
    assert source(finding) == "the coordinate 'time'"
    assert finding.data["places"] == positions
    return eval(finding.remedies[1].code, {"cube": cube})


def test_missing_dates_of_another_coordinate_are_dropped_as_the_message_says():
    cube = scenes(time=("t", np.array(["2021-01-01", "NaT", "2021-01-03"], dtype="M8[ns]")))
    assert days(without_missing(cube, [1])) == [0, 2]


def test_dates_may_be_unsorted_twice_the_same_and_before_sentinel_2():
    dates = ("2021-07-01", "1999-01-01", "2021-07-01T10:00", "2021-07-01")
    assert days(make_cube(dates=dates)) == [181, 0, 181, 181]


# -- faults ------------------------------------------------------------------------------------


CALENDARS = {
    "360_day": cftime.Datetime360Day,
    "noleap": cftime.DatetimeNoLeap,
    "all_leap": cftime.DatetimeAllLeap,
    "julian": cftime.DatetimeJulian,
}


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("where", ["dates", "coordinate"])
def test_other_calendars_are_refused(calendar, where):
    kind = CALENDARS[calendar]
    dates = [kind(2020, 2, day) for day in (1, 2, 3)]
    if where == "dates":
        finding = fault(undated(), "dates.unreadable", dates=dates)
        assert source(finding) == "dates"
    else:
        finding = fault(undated().assign_coords(time=xr.CFTimeIndex(dates)), "dates.unreadable")
        assert source(finding) == "the coordinate 'time'"
    assert f"calendar {dates[0].calendar!r}" in str(finding)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_a_calendar_is_repaired_as_the_message_says(calendar):
    dates = [CALENDARS[calendar](2020, 2, day) for day in (1, 2, 28)]
    cube = undated().assign_coords(time=xr.CFTimeIndex(dates))
    text = str(fault(cube, "dates.unreadable"))
    call = re.search(r"cube\.convert_calendar\(.*?\)", text)[0]
    assert days(eval(call, {"cube": cube})) == [31, 32, 58]


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        ([1, 2, 3], "their dtype is int64"),
        ([1.0, 2.0, 3.0], "their dtype is float64"),
        ([True, False, True], "their dtype is bool"),
        (["2021-01-01", 5, None], "5 is a bare number"),
        (["yesterday"] * 3, "yesterday"),
        (["2021-02-30"] * 3, "2021-02-30"),
        (["03/04/2021"] * 3, "'03/04/2021'"),
        (["today"] * 3, "'today'"),
        ([["2021-01-01"] * 3], "they have 2 dimensions"),
        ([], "their dtype is float64"),
    ],
)
def test_what_are_no_dates(dates, found):
    if 5 in dates:
        dates = np.array(dates, dtype=object)
    finding = fault(undated(), "dates.unreadable", dates=dates)
    assert found in finding.data["error"]
    assert finding.remedies[0] == SetOption("dates", ["2021-04-03", ...])


def test_a_time_coordinate_of_numbers():
    finding = fault(undated().assign_coords(time=[0, 1, 2]), "dates.unreadable")
    assert source(finding) == "the coordinate 'time'"
    assert "int64" in str(finding)


@pytest.mark.parametrize(("count", "words"), [(1, "1 date"), (2, "2 dates"), (4, "4 dates")])
def test_a_wrong_number_of_dates(count, words):
    finding = fault(undated(), "dates.count", dates=["2021-04-03"] * count)
    assert (source(finding), finding.data["count"], finding.data["size"]) == ("dates", words, 3)


def test_two_dates_for_a_cube_without_time():
    finding = fault(undated(1).isel(time=0), "dates.count", dates=["2021-04-03"] * 2)
    assert (finding.data["count"], finding.data["size"]) == ("2 dates", 1)


def test_no_dates():
    finding = fault(undated(), "dates.none")
    assert "'time'" in str(finding)
    assert 'cube.anysat.embed(dates=["2021-04-03", ...])' in str(finding)
    assert "cube.assign_coords(time=...)" in str(finding)


@pytest.mark.parametrize("make", [make_cube, make_dataset])
def test_no_dates_and_no_time(make):
    fault(make().isel(time=0, drop=True), "dates.none")


@pytest.mark.parametrize("missing", ["NaT", None, np.nan, pd.NaT])
def test_dates_that_are_missing(missing):
    dates = np.array(["2021-01-01", missing, "2021-01-03"], dtype=object)
    finding = fault(undated(), "dates.missing", dates=dates)
    assert (source(finding), finding.data["places"]) == ("dates", [1])
    assert finding.remedies == (SetOption("dates", ["2021-04-03", ...]),)


def test_missing_dates_are_dropped_as_the_message_says():
    dates = np.array(["2021-01-01", "NaT", "2021-01-03", "NaT"], dtype="M8[ns]")
    assert days(without_missing(undated(4).assign_coords(time=dates), [1, 3])) == [0, 2]


def test_one_date_that_is_missing():
    cube = make_cube().isel(time=0, drop=True).assign_coords(time=np.datetime64("NaT", "ns"))
    finding = fault(cube, "dates.missing")
    assert (source(finding), finding.data["places"]) == ("the coordinate 'time'", [0])
    assert len(finding.remedies) == 1
