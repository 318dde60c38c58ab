"""Periods for composites: a cube's dates divided among equal frames."""

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr

from .dates import Moments, as_moment, to_utc

__all__ = ["Frames", "find_periods"]

_SHOWN = 5
"""Empty periods that are named."""

_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:[-/.](\d\d?))?")
_TIME_OF_DAY = re.compile(r":|\dT\d")


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Equal periods into which a cube's dates are divided; periods without dates are left out.

    Parameters
    ----------
    groups
        Date indices of each period.
    dates
        (F,) datetime64[s]: one for each period.
    empty
        Number of periods that were left out.
    named
        First and last moment of the first few of these.
    """

    groups: tuple[tuple[int, ...], ...]
    dates: Moments
    empty: int
    named: tuple[tuple[np.datetime64, np.datetime64], ...]


def find_periods(
    moments: Moments, frames: int, period: tuple[Any, Any] | None, frame_date: str = "middle"
) -> Frames:
    """Divide dates among equal periods.

    Parameters
    ----------
    moments
        (T,) datetime64[s].
    frames
        Number of periods.
    period
        (start, end) of what is divided, both included; dates outside are left out. An end that is
        a year, a month or a day counts to its last second. Default: from the first to the last
        date.
    frame_date
        "middle" of each period, or "mean" of the dates in it.

    Raises
    ------
    TypeError, ValueError
        Where `period` is not two dates.
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
    occupied = set(numbers.tolist())
    absent = (number for number in range(frames) if number not in occupied)
    groups = [np.flatnonzero(inside & (place == number)) for number in numbers]
    if frame_date == "mean":  # of moments: of days of the year it would be wrong over New Year
        dates = [start + (moments[group] - start).sum() // len(group) for group in groups]
    else:
        dates = [bound(2 * number + 1, 2 * frames) for number in numbers]
    return Frames(
        groups=tuple(tuple(group.tolist()) for group in groups),
        dates=np.array(dates, dtype="M8[s]"),
        empty=frames - len(groups),
        named=tuple((bound(n, frames), bound(n + 1, frames)) for n in islice(absent, _SHOWN)),
    )


def _ends(period: tuple[Any, Any]) -> tuple[np.datetime64, np.datetime64]:
    if isinstance(period, str):
        raise TypeError("a string")
    first, last = (v.values[()] if isinstance(v, xr.DataArray) else v for v in period)
    start, end = to_utc([first])[0], _last_second(last)
    if np.isnat(start) or np.isnat(end):
        raise ValueError("one of them is not a date (NaT)")
    if end < start:
        raise ValueError(f"it ends ({end}) before it starts ({start})")
    return start, end


def _last_second(value: Any) -> np.datetime64:
    """Last second of a year, month or day, unless a time of the day is given."""
    if isinstance(value, str):
        if _TIME_OF_DAY.search(value):
            return as_moment(value)
        if match := _YEAR_OR_MONTH.fullmatch(value.strip()):
            year, month = match.groups()
            value = np.datetime64(year if month is None else f"{year}-{month:0>2}")
    if not (isinstance(value, np.datetime64) and np.datetime_data(value)[0] in "YMWD"):
        value = as_moment(value)
        if value != value.astype("M8[D]"):
            return value
        value = value.astype("M8[D]")  # midnight: the date was given without a time
    return (value + 1).astype("M8[s]") - np.timedelta64(1, "s")
