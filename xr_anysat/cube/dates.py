"""Dates of a cube: whatever the time coordinate holds, to UTC and to days of the year."""

import datetime
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xr_anysat.formatting import count_text

__all__ = ["LAST_DAY", "TIME_NAMES", "Frames", "day_of_year", "find_periods", "parse_dates"]

LAST_DAY = 364
"""31 December, in leap years too: the last day that the network's dates know."""

TIME_NAMES = ("time", "t", "date", "dates", "datetime", "acquisition_time")
"""What dimensions and coordinates of dates are called, in lower case."""

_SHOWN = 5
"""Empty periods that are named."""

_STANDARD_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

_YEAR_FIRST = re.compile(r"\s*\d{4}(\D|\d{4}|$)")
_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:[-/.](\d\d?))?")
_TIME_OF_DAY = re.compile(r":|\dT\d")

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
        The cube; without `dates`, the coordinate of its time dimension counts, or where that holds
        no dates another along it: one with the name of a time, or the only one of datetime64.
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
    if dates is not None:
        found = {"dates=": dates}
    else:
        found = {f"the coordinate {name!r}": cube[name] for name in _dated(cube, time_dim)}
    if not found:
        what = f"the dimension {time_dim!r} has no dates" if time_dim else "the cube has no dates"
        faults.append(
            f"{what}; AnySat needs the date of every image. Give them: "
            f'cube.anysat.embed(dates=["2021-04-03", ...]) or '
            f"cube.assign_coords({time_dim or 'time'}=...)."
        )
        return np.zeros(0, dtype="M8[s]")
    errors = []
    for source, values in found.items():
        try:
            moments = _to_utc(values)
            break
        except (TypeError, ValueError, OverflowError) as error:
            errors.append(f"{source} cannot be read as dates: {error}")
    else:
        faults.append(
            f"{errors[0]}. AnySat needs datetime64, cftime of a standard calendar, datetime "
            'objects or ISO strings: dates=["2021-04-03", ...].'
        )
        return np.zeros(0, dtype="M8[s]")
    if len(moments) != size:
        faults.append(
            f"{source} has {count_text(len(moments), 'date')}, but the cube has {size}; give one "
            'for each, in the cube\'s order: dates=["2021-04-03", ...].'
        )
    missing = np.flatnonzero(np.isnat(moments)).tolist()
    if missing:
        name = source.removeprefix("the coordinate ")
        own = dates is None and time_dim is not None
        drop = f"drop them (cube.isel({time_dim}=cube[{name}].notnull())) or " if own else ""
        faults.append(
            f"{source} has no date (NaT) at positions {missing[:10]}; {drop}give every date: "
            'dates=["2021-04-03", ...].'
        )
    return moments


def _dated(cube: xr.DataArray, time_dim: Hashable | None) -> list[Hashable]:
    """Coordinates that may hold the dates, the likeliest first."""
    along = () if time_dim is None else (time_dim,)
    others = [name for name, coord in cube.coords.items() if coord.dims == along]
    named = [name for name in others if str(name).lower() in TIME_NAMES]
    named.sort(key=lambda name: TIME_NAMES.index(str(name).lower()))
    if time_dim is None:
        return named
    typed = [name for name in others if cube[name].dtype.kind == "M"]
    own = [name for name in others if name == time_dim]
    return list(dict.fromkeys(own + named + (typed if len(typed) == 1 else [])))


def _to_utc(values: Any) -> Moments:
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


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Equal periods that a cube's dates are divided among, those without any date left out.

    Parameters
    ----------
    groups
        Date indices of each period.
    dates
        (F,) datetime64[s]: one for each period.
    empty
        Number of periods that were left out.
    named
        First and last moment of the first few of them.
    """

    groups: tuple[tuple[int, ...], ...]
    dates: Moments
    empty: int
    named: tuple[tuple[np.datetime64, np.datetime64], ...]


def find_periods(
    moments: Moments, frames: int, period: tuple[Any, Any] | None, frame_date: str = "middle"
) -> Frames:
    """Divide dates among so many equal periods.

    Parameters
    ----------
    moments
        (T,) datetime64[s].
    frames
        Number of periods.
    period
        (start, end) that they divide, both included; dates outside belong to none. An end without
        a time of the day, a month or a year counts to its last second. Default the first to the
        last date.
    frame_date
        "middle" of each period, or "mean" of the dates in it.

    Raises
    ------
    TypeError, ValueError
        Where `period` is none.
    """
    if period is None:
        start, end = moments.min(), moments.max()
    else:
        start, end = _ends(period)
    length = (end - start).astype(np.int64)
    place = (moments - start).astype(np.int64) * frames // max(length, 1)
    place = np.where(moments == end, frames - 1, np.minimum(place, frames))
    inside = (moments >= start) & (moments <= end)

    def bound(part: Any, parts: int) -> np.datetime64:
        return start + (part * length // parts).astype("m8[s]")

    numbers = np.unique(place[inside])
    groups = [np.flatnonzero(inside & (place == number)) for number in numbers]
    if frame_date == "mean":  # of moments: of days of the year it would be wrong over New Year
        dates = [start + (moments[group] - start).sum() // len(group) for group in groups]
    else:
        dates = [bound(2 * number + 1, 2 * frames) for number in numbers]
    return Frames(
        groups=tuple(tuple(group.tolist()) for group in groups),
        dates=np.array(dates, dtype="M8[s]"),
        empty=frames - len(groups),
        named=tuple((bound(n, frames), bound(n + 1, frames)) for n in _absent(numbers, frames)),
    )


def _absent(numbers: npt.NDArray[np.int64], count: int) -> Iterator[np.int64]:
    """Give the first few of 0 .. count - 1 that are not among some."""
    shown, following = 0, 0
    for number in [*numbers.tolist(), count]:
        few = range(following, min(number, following + _SHOWN - shown))
        yield from (np.int64(absent) for absent in few)
        shown, following = shown + len(few), number + 1


def _ends(period: tuple[Any, Any]) -> tuple[np.datetime64, np.datetime64]:
    if isinstance(period, str):
        raise TypeError("a string")
    first, last = (v.values[()] if isinstance(v, xr.DataArray) else v for v in period)
    start, end = _to_utc([first])[0], _last_second(last)
    if np.isnat(start) or np.isnat(end):
        raise ValueError("one of them is no date (NaT)")
    if end < start:
        raise ValueError(f"it ends ({end}) before it starts ({start})")
    return start, end


def _last_second(value: Any) -> np.datetime64:
    """End of a year, month or day, where no time of the day is given."""
    if isinstance(value, str):
        if _TIME_OF_DAY.search(value):
            return _moment(value)
        if found := _YEAR_OR_MONTH.fullmatch(value.strip()):
            year, month = found.groups()
            value = np.datetime64(year if month is None else f"{year}-{month:0>2}")
    if not (isinstance(value, np.datetime64) and np.datetime_data(value)[0] in "YMWD"):
        value = _moment(value)
        if value != value.astype("M8[D]"):
            return value
        value = value.astype("M8[D]")  # midnight: of a date that was given without a time
    return (value + 1).astype("M8[s]") - np.timedelta64(1, "s")
