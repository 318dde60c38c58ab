"""Dates of a cube: whatever the time coordinate holds, to UTC and to days of the year."""

import datetime
import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

__all__ = ["LAST_DAY", "day_of_year", "parse_dates"]

LAST_DAY = 364
"""31 December, in leap years too: the last day that the network's dates know."""

_STANDARD_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

_YEAR_FIRST = re.compile(r"\s*\d{4}(\D|\d{4}|$)")
_WHOLE_DAYS = re.compile(r"\d{4}(-\d\d){0,2}")

Moments = npt.NDArray[np.datetime64]


def day_of_year(moments: Moments) -> npt.NDArray[np.int64]:
    """Day of the year of each date, 0 on 1 January to 364 on 31 December.

    A leap year's 30 and 31 December are both 364.
    """
    day = (moments.astype("M8[D]") - moments.astype("M8[Y]")).astype(np.int64)
    return np.minimum(day, LAST_DAY)


def parse_dates(
    cube: xr.DataArray, time_dim: Hashable | None, dates: Any, faults: list[str]
) -> Moments:
    """Dates of a cube in its order, (T,) datetime64[s] in UTC.

    Parameters
    ----------
    cube
        The cube; without `dates`, the coordinate of its time dimension counts, or a scalar one.
    time_dim
        Its time dimension, if it has one.
    dates
        Dates in place of the coordinate: a sequence of T, or one for a cube without a time
        dimension.
    faults
        Faults found are added here.
    """
    size = cube.sizes[time_dim] if time_dim is not None else 1
    nothing = np.zeros(0, dtype="M8[s]")
    if dates is not None:
        source, values = "dates=", dates
    elif time_dim is not None and time_dim in cube.coords:
        source, values = f"the coordinate {time_dim!r}", cube[time_dim]
    elif time_dim is None and (scalar := _scalar_time(cube)) is not None:
        source, values = f"the coordinate {scalar!r}", cube[scalar]
    else:
        what = f"the dimension {time_dim!r} has no dates" if time_dim else "the cube has no dates"
        faults.append(
            f"{what}; AnySat needs the date of every image. Give them: "
            f'cube.anysat.embed(dates=["2021-04-03", ...]) or '
            f"cube.assign_coords({time_dim or 'time'}=...)."
        )
        return nothing
    try:
        moments = _to_utc(values)
    except (TypeError, ValueError, OverflowError) as error:
        faults.append(
            f"{source} cannot be read as dates: {error}. AnySat needs datetime64, cftime of a "
            'standard calendar, datetime objects or ISO strings: dates=["2021-04-03", ...].'
        )
        return nothing
    if len(moments) != size:
        faults.append(
            f"{source} has {len(moments)} dates, but the cube has {size}; give one for each, in "
            'the cube\'s order: dates=["2021-04-03", ...].'
        )
    missing = np.flatnonzero(np.isnat(moments)).tolist()
    if missing:
        own = dates is None and time_dim is not None
        drop = f"drop them (cube.isel({time_dim}=cube.{time_dim}.notnull())) or " if own else ""
        faults.append(
            f"{source} has no date (NaT) at positions {missing[:10]}; {drop}give every date: "
            'dates=["2021-04-03", ...].'
        )
    return moments


def _scalar_time(cube: xr.DataArray) -> Hashable | None:
    for name in ("time", "t", "date", "datetime"):
        if name in cube.coords and cube[name].ndim == 0:
            return name
    return None


def _to_utc(values: Any) -> Moments:
    if isinstance(values, str | datetime.date):
        values = [values]
    if isinstance(values, xr.DataArray) and values.ndim == 1:
        values = values.to_index()  # which keeps time zones
    array = np.atleast_1d(np.asarray(values))
    if array.ndim > 1:
        raise ValueError(f"they have {array.ndim} dimensions")
    if array.dtype.kind == "M":
        return array.astype("M8[s]")
    if array.dtype.kind not in "OUST":
        raise TypeError(f"their dtype is {array.dtype}")
    moments = [_moment(value) for value in array.tolist()]
    return np.array(moments, dtype="M8[s]")


def _moment(value: Any) -> np.datetime64:
    """One date of any kind; where it carries a time zone, in UTC."""
    calendar = getattr(value, "calendar", None)
    if calendar is not None:  # cftime
        if calendar not in _STANDARD_CALENDARS:
            raise ValueError(
                f"calendar {calendar!r} has other days than the sky; convert it "
                '(cube.convert_calendar("standard", align_on="date"))'
            )
        value = value.isoformat()
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, int | float | np.number) and not np.isnan(value):
        raise TypeError(f"{value!r} is a bare number")
    stamp = pd.Timestamp(value)  # NaT has no time zone, and becomes NaT
    if isinstance(value, str) and not pd.isna(stamp) and not _YEAR_FIRST.match(value):
        raise ValueError(f"{value!r} does not begin with its year, which leaves it open to guess")
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.to_datetime64().astype("M8[s]")


def frame_groups(
    moments: Moments, frames: int, period: tuple[Any, Any] | None
) -> tuple[tuple[tuple[int, ...], ...], Moments]:
    """Dates of each of so many equal periods, empty ones left out.

    Parameters
    ----------
    moments
        (T,) datetime64[s].
    frames
        Number of periods.
    period
        (start, end) that they divide, both included, a month or a year as a string to its last
        day; default the first to the last date.

    Returns
    -------
    tuple
        Date indices of each period that has any, and the middle of each such period.
    """
    if period is None:
        start, end = moments.min(), moments.max()
    else:
        first, last = period
        start, end = _to_utc([first])[0], _last_second(last)
    length = (end - start).astype(np.int64)
    place = (moments - start).astype(np.int64) * frames // max(length, 1)
    place = np.where(moments == end, frames - 1, np.minimum(place, frames))
    inside = (moments >= start) & (moments <= end)
    groups, middles = [], []
    for frame in np.unique(place[inside]):
        groups.append(tuple(np.flatnonzero(inside & (place == frame)).tolist()))
        middle = (2 * frame + 1) * length // (2 * frames)
        middles.append(start + middle.astype("m8[s]"))
    return tuple(groups), np.array(middles, dtype="M8[s]")


def _last_second(value: Any) -> np.datetime64:
    """End of a year, month or day, where no time of the day is given."""
    if isinstance(value, str) and _WHOLE_DAYS.fullmatch(value):
        unit = np.datetime64(value)
    else:
        unit = _moment(value)
        if unit != unit.astype("M8[D]"):
            return unit
        unit = unit.astype("M8[D]")
    return (unit + 1).astype("M8[s]") - np.timedelta64(1, "s")
