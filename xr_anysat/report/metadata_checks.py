"""What is doubtful about a cube by its metadata: dates, missing values, scale, offset.

Each doubt says what was found, why it matters, and what repairs it.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.sensors.registry import DEFAULT
from xr_anysat.sensors.sentinel2_baselines import (
    BASELINE_PROPERTIES,
    OFFSET_APPLIED,
    OFFSET_BASELINE,
    OFFSET_BEGAN,
    OFFSET_DN,
)

__all__ = ["date_doubts", "offset_doubts", "value_doubts"]

Moments = npt.NDArray[np.datetime64]

FIRST_IMAGE = np.datetime64(DEFAULT.first_image or "NaT")
"""Launch of the first satellite."""

DN_PER_REFLECTANCE = DEFAULT.dn_per_reflectance or 1

LONG_GAP = np.timedelta64(90, "D")
"""A season."""

_BASELINES = (*BASELINE_PROPERTIES, "processing_baseline")  # the last is load_s2's
_BASELINE = re.compile(r"\d\d?\.\d\d")


def repeated_days(moments: Moments, longitude: float | None) -> dict[str, int]:
    """Solar days with several images, and how many these are."""
    shift = np.timedelta64(round(3600 * (longitude or 0.0) / 15), "s")
    days = Counter(str(day) for day in (moments + shift).astype("M8[D]"))
    return {day: count for day, count in sorted(days.items()) if count > 1}


def date_doubts(
    moments: Moments, longitude: float | None, now: np.datetime64 | None = None
) -> Iterator[Finding]:
    """Doubts about dates.

    Parameters
    ----------
    moments
        (T,) datetime64[s] in the cube's order.
    longitude
        Of the cube's middle, in degrees, where it is known: by it a day is counted.
    now
        The present, by which dates are in the future.
    """
    if not len(moments) or np.isnat(moments).any():
        return  # a fault
    repeated = repeated_days(moments, longitude)
    if repeated:
        group = Call('odc.stac.load(..., groupby="solar_day")')
        yield Finding("dates.repeated", group, days=_some_days(repeated))
    now = np.datetime64("now") if now is None else now
    early = moments < FIRST_IMAGE
    late = moments > now + np.timedelta64(1, "D")
    for implausible, when in (
        (early, f"before {FIRST_IMAGE}, when the first Sentinel-2 was launched"),
        (late, "in the future"),
    ):
        if implausible.any():
            give = SetOption("dates", ["2021-04-03", ...])
            count, example = int(implausible.sum()), moments[implausible][0].astype("M8[D]")
            data = {"count": count, "dates": len(moments), "when": when, "example": example}
            yield Finding("dates.implausible", give, **data)
    firsts = (moments == moments.astype("M8[M]")).all()
    if firsts and len(moments) > 2:
        code = 'dates=cube.indexes["time"] + pd.Timedelta(days=14)'
        give = SetOption("dates", python=code, command="{}, once for each image")
        yield Finding("dates.month-starts", give)
    ordered = np.sort(moments)
    gaps = np.diff(ordered)
    if len(gaps) > 2 and gaps.max() > LONG_GAP and gaps.max() > 5 * np.median(gaps):
        place = int(gaps.argmax())
        first, last = ordered[place : place + 2].astype("M8[D]")
        yield Finding("dates.gap", days=(last - first).astype(int), first=first, last=last)
    if len(moments) == 1:
        yield Finding("dates.single")


def value_doubts(
    array: xr.DataArray,
    sources: Sequence[xr.DataArray],
    nodata: Sequence[float],
    *,
    masked: bool,
    normalize: str,
) -> Iterator[Finding]:
    """Doubts about what the values mean.

    Parameters
    ----------
    array
        The cube.
    sources
        The cube itself, or the variables that it was stacked from: their attributes count.
    nodata
        Values that the cube declares as missing.
    masked
        Whether a mask is given.
    normalize
        Name of the normalisation.
    """
    whole = array.dtype.kind in "iu"
    if whole and not nodata and not masked:
        code = "cube.where(cube != 0)" if len(sources) > 1 else "cube.rio.write_nodata(0)"
        declare = SetOption("nodata", 0, python=code)
        yield Finding("missing.undeclared", declare, dtype=array.dtype)
    limits = np.iinfo(array.dtype) if whole else None
    beyond = [f"{n:g}" for n in nodata if limits and not limits.min <= n <= limits.max]
    if beyond and len(beyond) == len(nodata):
        declare = SetOption("nodata", 0, python="cube.rio.write_nodata(0)")
        yield Finding("missing.out-of-range", declare, values=", ".join(beyond), dtype=array.dtype)
    if array.dtype == np.uint8:
        yield Finding("scale.picture")
    applied = {_scaling(s.encoding) for s in sources} - {(1.0, 0.0)}
    scaled = [factor for factor, _ in applied if factor <= 10 / DN_PER_REFLECTANCE]
    if array.dtype.kind == "f" and scaled and normalize in ("treesatai", "reflectance"):
        repairs = Call("mask_and_scale=False"), Call(f"cube * {DN_PER_REFLECTANCE}")
        option = SetOption("normalize", normalize)
        yield Finding("scale.rescaled", *repairs, factor=scaled[0], option=option)


def offset_doubts(
    array: xr.DataArray,
    sources: Sequence[xr.DataArray],
    moments: Moments,
    normalize: str,
    darkest: Sequence[float] | None = None,
    scale: str = "",
) -> Iterator[Finding]:
    """Doubts whether 1000 DN too many are in the values.

    Where all dates have them and each band is normalised by its own statistics, they fall out.

    Parameters
    ----------
    array, sources, normalize
        As in `value_doubts`.
    moments
        (T,) datetime64[s] in the cube's order.
    darkest
        By date, the 2 % quantile of the darkest band, NaN where nothing was seen; None where no
        values were.
    scale
        "reflectance" where the values are.
    """
    if not len(moments) or np.isnat(moments).any() or "added_offset" in array.coords:
        return  # a fault; or load_s2 has removed it
    own, option = normalize in ("zscore", "tile_zscore"), SetOption("normalize", normalize)
    seen = np.full(len(moments), np.nan) if darkest is None else np.asarray(darkest)
    floor = OFFSET_DN / (DN_PER_REFLECTANCE if scale == "reflectance" else 1)
    high = seen > 0.95 * floor
    scalings = [_scaling(source.attrs) for source in sources]
    stated = [offset / factor for factor, offset in scalings if offset and factor]
    if stated and not own:
        add = Call(f"cube + ({stated[0]:g})")
        yield Finding("offset.stated", add, offset=stated[0], option=option)
        return
    raised = _raised_by_baseline(array, len(moments))
    known = raised is not None
    if raised is None:
        raised = moments >= np.datetime64(OFFSET_BEGAN)
    if raised.any() and not (own and raised.all()):
        looked = raised & ~np.isnan(seen)
        if looked.any() and not high[looked].all():
            return  # values below 1000: it was removed
        yield _raised(raised, known=known, seen=bool(looked.any()))
        return
    looked = ~np.isnan(seen)
    if not own and not known and looked.any() and high[looked].all():
        repairs = Call("xr_anysat.load_s2"), Call('cube.astype("float32") - 1000')
        yield Finding("offset.high-values", *repairs, option=option)


def _raised(raised: Any, *, known: bool, seen: bool) -> Finding:
    effect = "the values are taken as they are"
    if not raised.all():
        effect = "where they were not, the same ground has different values before and after"
    if seen:
        effect += ". In the sample 98 % of the values of these dates are above 1000 in every band"
    data: dict[str, Any] = {"count": int(raised.sum()), "dates": len(raised), "effect": effect}
    load, look = Call("xr_anysat.load_s2"), SetOption("sample", True, python="check(sample=True)")
    if known:
        return Finding("offset.not-removed", load, **data)
    if seen:
        return Finding("offset.unknown/seen", load, day=OFFSET_BEGAN, **data)
    return Finding("offset.unknown", load, look, day=OFFSET_BEGAN, **data)


def _raised_by_baseline(array: xr.DataArray, count: int) -> npt.NDArray[np.bool_] | None:
    """Which dates have 1000 DN too many by what the catalogue says; None where it says nothing."""
    name = next((n for n in _BASELINES if _by_date(array, n, count) is not None), None)
    applied = _by_date(array, OFFSET_APPLIED, count)
    done = np.array([str(value).lower() == "true" for value in applied or [""] * count])
    if name is None:
        return np.zeros(count, dtype=bool) if applied and done.all() else None
    texts = [str(value) for value in _by_date(array, name, count) or ()]
    baselines = [[float(number) for number in _BASELINE.findall(text)] for text in texts]
    if not all(baselines):
        return None
    return np.array([max(numbers) >= OFFSET_BASELINE for numbers in baselines]) & ~done


def _by_date(array: xr.DataArray, name: Hashable, count: int) -> list[Any] | None:
    """Values of a coordinate along time, or of a scalar one for every date."""
    coord = array.coords.get(name)
    if coord is None or coord.size not in (1, count) or coord.ndim > 1:
        return None
    values = np.ravel(coord.values).tolist()
    return values if len(values) == count else values * count


def _scaling(stated: Any) -> tuple[float, float]:
    """Factor and offset that attributes or an encoding state."""
    try:
        return float(stated.get("scale_factor", 1.0)), float(stated.get("add_offset", 0.0))
    except (TypeError, ValueError):
        return 1.0, 0.0


def _some_days(repeated: dict[str, int]) -> str:
    shown = [f"{day} ({count})" for day, count in list(repeated.items())[:3]]
    if len(repeated) > 3:
        return f"{len(repeated)} days ({', '.join(shown)}, ...)"
    return ", ".join(shown)
