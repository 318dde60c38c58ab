"""The dates that are embedded: all dates of a cube, or one for each median composite."""

from itertools import chain

import numpy as np
import numpy.typing as npt

from xr_anysat.cube.periods import find_periods
from xr_anysat.errors import OptionError
from xr_anysat.findings import Finding, SetOption, given

from .options import Options, check_whole

__all__ = ["Groups", "find_frames", "without_unused"]

Groups = tuple[tuple[int, ...], ...]
"""Positions of the dates of each composite."""


def find_frames(
    dates: tuple[str, ...], options: Options
) -> tuple[Groups | None, npt.NDArray[np.datetime64], list[Finding]]:
    """Divide a cube's dates into composites.

    Parameters
    ----------
    dates
        ISO 8601, in the cube's order.
    options
        `frames`, `period` and `frame_date` matter here.

    Returns
    -------
    tuple
        Groups of dates (None without composites), the date of each image that is embedded, and
        what is to be warned of.

    Raises
    ------
    OptionError
        For periods that are none, or that hold no date.
    """
    moments = np.array(dates, dtype="M8[s]")
    period = given("period", options.period)
    if options.frames is None:
        for is_set, option in (
            (options.period is not None, SetOption("period")),
            (options.frame_date != "middle", SetOption("frame_date", options.frame_date)),
        ):
            if is_set:
                raise OptionError("frames.absent", SetOption("frames"), option=option)
        return None, moments, []
    count = check_whole("frames", options.frames)
    try:
        frames = find_periods(moments, count, options.period, options.frame_date)
    except (TypeError, ValueError) as error:
        raise OptionError(
            "period.unreadable",
            SetOption("period", python='period=("2021-01-01", "2021-12-31")'),
            period=period,
            error=error,
        ) from None
    if not frames.groups:
        raise OptionError("period.no-dates", period=period, first=moments.min(), last=moments.max())
    findings = []
    if frames.empty:
        days = ((first.astype("M8[D]"), last.astype("M8[D]")) for first, last in frames.named)
        names = ", ".join(f"{first} to {last}" for first, last in days)
        end = ", ..." if frames.empty > len(frames.named) else "."
        empty = frames.empty
        findings.append(Finding("frames.empty", empty=empty, count=count, names=names, end=end))
    return frames.groups, frames.dates, findings


def without_unused(
    groups: Groups | None, count: int
) -> tuple[Groups | None, tuple[int, ...] | None]:
    """Renumber the dates of groups without unused ones; also the used ones, None for all."""
    used = tuple(sorted(chain.from_iterable(groups or ())))
    if groups is None or len(used) == count:
        return groups, None
    places = {date: place for place, date in enumerate(used)}
    return tuple(tuple(places[date] for date in group) for group in groups), used
