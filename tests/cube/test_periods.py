"""Periods: dates divided among equal frames."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xr_anysat.cube.periods import find_periods


def grouped(dates, frames, period=None):
    found = find_periods(np.array(dates, dtype="M8[s]"), frames, period)
    return [list(group) for group in found.groups], [str(date)[:10] for date in found.dates]


def test_a_year_in_quarters():
    dates = ["2021-11-05", "2021-01-01", "2021-02-10", "2021-05-20", "2021-12-31T23:00"]
    groups, middles = grouped(dates, 4, ("2021-01-01", "2021-12-31"))
    assert groups == [[1, 2], [3], [0, 4]]  # nothing in the third
    assert middles == ["2021-02-15", "2021-05-17", "2021-11-16"]


def test_dates_outside_the_period_are_left_out():
    dates = ["2020-12-31", "2021-01-01", "2021-12-31T10:00", "2022-01-01"]
    assert grouped(dates, 1, ("2021-01-01", "2021-12-31"))[0] == [[1, 2]]
    assert grouped(dates, 1, ("2021-01-01", "2021-12-31T09:00"))[0] == [[1]]
    assert grouped(dates, 3, ("2023-01-01", "2023-12-31")) == ([], [])


@pytest.mark.parametrize(
    "end",
    ["2021-12-31", "2021-12", "2021", "2021/12/31", "2021-12-31 ", " 2021", "2021/12", "2021.12.31",
     "20211231", "2021 Dec 31", dt.date(2021, 12, 31), np.datetime64("2021-12-31"),
     pd.Timestamp("2021-12-31"), dt.datetime(2021, 12, 31)],
)  # fmt: skip
def test_the_last_day_of_a_period_is_in_it(end):
    dates = ["2021-01-01", "2021-12-31T23:59:59", "2022-01-01"]
    assert grouped(dates, 1, ("2021", end))[0] == [[0, 1]]


@pytest.mark.parametrize(("end", "last"), [
    ("2021-3-16", 1), ("2021-3", 2), ("2021/3/16", 1), ("2021-3-16 00:00", 0),
    ("2021-03-16T00", 0), ("2021-03-16 13", 1), ("2021-03-16 12", 0),
])  # fmt: skip
def test_a_day_is_whole_however_it_is_written(end, last):
    dates = ["2021-03-15", "2021-03-16T13:00", "2021-03-31T23:00", "2021-04-01"]
    assert grouped(dates, 1, ("2021", end))[0] == [list(range(last + 1))]


@pytest.mark.parametrize("period", [("2021",), ("2021", "2021-02-30"), ("2021", "x"), (1, 2)])
def test_periods_that_are_none(period):
    with pytest.raises((TypeError, ValueError)):
        find_periods(np.array(["2021-01-01"], dtype="M8[s]"), 2, period)


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=30),
    st.integers(1, 12),
)
def test_frames_are_equal_periods_from_the_first_to_the_last_date(hours, frames):
    dates = np.datetime64("2021-01-01", "s") + np.array(hours) * np.timedelta64(3600, "s")
    found = find_periods(dates, frames, None)
    groups, middles = found.groups, found.dates
    assert len(groups) + found.empty == frames
    assert sorted(date for group in groups for date in group) == list(range(len(hours)))
    assert len(groups) == len(middles) <= frames
    assert (np.diff(middles.astype("int64")) > 0).all()
    half = (dates.max() - dates.min()).astype("int64") / frames / 2
    for group, middle in zip(groups, middles, strict=True):
        away = np.abs((dates[list(group)] - middle).astype("int64"))
        assert (away <= half + 1).all()


def test_many_more_frames_than_dates_cost_nothing():
    moments = np.array(["2021-01-01", "2021-06-01", "2021-12-31"], dtype="M8[s]")
    found = find_periods(moments, 10**8, None)
    assert found.groups == ((0,), (1,), (2,))
    assert abs(found.dates - moments).max() <= np.timedelta64(1, "s")
    assert found.empty == 10**8 - 3
    assert len(found.named) == 5
