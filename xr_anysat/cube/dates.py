"""Dates of a cube, of any kind: to UTC, and to days of the year."""

import datetime
import re
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xr_anysat.findings import Call, Finding, SetOption, in_python
from xr_anysat.formatting import count_text

__all__ = ["LAST_DAY", "TIME_NAMES", "Moments", "as_moment", "day_of_year", "parse_dates", "to_utc"]

LAST_DAY = 364
"""31 December, in leap years too: the last day that the network's dates know."""

TIME_NAMES = ("time", "t", "date", "dates", "datetime", "acquisition_time")
"""What dimensions and coordinates of dates are called, in lower case."""

_STANDARD_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

_YEAR_FIRST = re.compile(r"\s*\d{4}(\D|\d{4}|$)")
_GIVE_DATES = SetOption("dates", ["2021-04-03", ...])

Moments = npt.NDArray[np.datetime64]


def day_of_year(moments: Moments) -> npt.NDArray[np.int64]:
    """Day of the year of each date, 0 on 1 January to 364 on 31 December.

    A leap year's 30 and 31 December are both 364.
    """
    day = (moments.astype("M8[D]") - moments.astype("M8[Y]")).astype(np.int64)
    return np.minimum(day, LAST_DAY)


def parse_dates(
    cube: xr.DataArray, time_dim: Hashable | None, dates: Any, faults: list[Finding]
) -> Moments:
    """Dates of a cube in its order, (T,) datetime64[s] in UTC.

    Parameters
    ----------
    cube
        The cube. Without `dates`, the coordinate of its time dimension counts; where that holds
        no dates, another along it: one with the name of a time, or the only one of datetime64.
        A cube without a time dimension has a scalar coordinate.
    time_dim
        Its time dimension, if it has one.
    dates
        Dates in place of the coordinate: a sequence of T, or one for a cube without a time
        dimension.
    faults
        Faults found are added here.
    """
    size = cube.sizes[time_dim] if time_dim is not None else 1
    failed = None
    for name in [None] if dates is not None else _dated(cube, time_dim):
        source = SetOption("dates") if name is None else f"the coordinate {name!r}"
        try:
            moments = to_utc(dates if name is None else cube[name])
            break
        except (TypeError, ValueError, OverflowError) as error:
            failed = failed or Finding("dates.unreadable", _GIVE_DATES, source=source, error=error)
    else:
        faults.append(failed or _no_dates(time_dim))
        return np.zeros(0, dtype="M8[s]")
    if len(moments) != size:
        count = count_text(len(moments), "date")
        faults.append(Finding("dates.count", _GIVE_DATES, source=source, count=count, size=size))
    missing = np.flatnonzero(np.isnat(moments)).tolist()
    if missing:
        data: dict[str, Any] = {"source": source, "places": missing[:10]}
        if name is None or time_dim is None:
            faults.append(Finding("dates.missing", _GIVE_DATES, **data))
        else:
            drop = Call(f"cube.isel({time_dim}=cube[{name!r}].notnull())")
            faults.append(Finding("dates.missing/droppable", _GIVE_DATES, drop, **data))
    return moments


def _no_dates(time_dim: Hashable | None) -> Finding:
    code = f"{in_python(_GIVE_DATES)}) or cube.assign_coords({time_dim or 'time'}=...)"
    give = replace(_GIVE_DATES, python=f"cube.anysat.embed({code}")
    return Finding(
        "dates.none", give, what=f"the dimension {time_dim!r}" if time_dim else "the cube"
    )


def _dated(cube: xr.DataArray, time_dim: Hashable | None) -> list[Hashable]:
    """Coordinates that may hold the dates, the most likely first."""
    along = () if time_dim is None else (time_dim,)
    others = [name for name, coord in cube.coords.items() if coord.dims == along]
    named = [name for name in others if str(name).lower() in TIME_NAMES]
    named.sort(key=lambda name: TIME_NAMES.index(str(name).lower()))
    if time_dim is None:
        return named
    typed = [name for name in others if cube[name].dtype.kind == "M"]
    own = [name for name in others if name == time_dim]
    return list(dict.fromkeys(own + named + (typed if len(typed) == 1 else [])))


def to_utc(values: Any) -> Moments:
    """Read dates of any kind, (T,) datetime64[s] in UTC.

    Raises
    ------
    TypeError, ValueError, OverflowError
        Where they are not dates.
    """
    if isinstance(values, str | datetime.date):
        values = [values]
    if isinstance(values, xr.DataArray) and values.ndim == 1:
        values = values.to_index()  # which keeps time zones
    if isinstance(values, pd.MultiIndex):
        raise TypeError(f"they are a MultiIndex of {list(values.names)}")
    array = np.atleast_1d(np.asarray(values))
    if array.ndim > 1:
        raise ValueError(f"they have {array.ndim} dimensions")
    if array.dtype.kind == "M":
        return array.astype("M8[s]")
    if array.dtype.kind not in "OUST":
        raise TypeError(f"their dtype is {array.dtype}")
    moments = [as_moment(value) for value in array.tolist()]
    return np.array(moments, dtype="M8[s]")


def as_moment(value: Any) -> np.datetime64:
    """Read one date of any kind; where it has a time zone, convert it to UTC."""
    calendar = getattr(value, "calendar", None)
    if calendar is not None:  # cftime
        if calendar not in _STANDARD_CALENDARS:
            raise ValueError(
                f"calendar {calendar!r} does not have the days of real years; convert it "
                '(cube.convert_calendar("standard", align_on="date"))'
            )
        value = value.isoformat()
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, int | float | np.number) and not np.isnan(value):
        raise TypeError(f"{value!r} is a bare number")
    stamp = pd.Timestamp(value)  # NaT has no time zone, and becomes NaT
    if isinstance(value, str) and not pd.isna(stamp) and not _YEAR_FIRST.match(value):
        raise ValueError(f"{value!r} does not begin with its year, and so is ambiguous")
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.to_datetime64().astype("M8[s]")
