"""What `check` gives: numbers and findings for programs, text and HTML for people."""

import base64
import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xr_anysat.errors import Words
from xr_anysat.findings import Finding, Severity
from xr_anysat.formatting import (
    bytes_text,
    count_text,
    html_findings,
    html_table,
    text_findings,
    text_table,
)
from xr_anysat.sensors.record import band_of
from xr_anysat.sensors.registry import DEFAULT

from .plan import Plan
from .value_checks import ValueSummary

__all__ = ["Check"]

_FROM_PLAN = ("chunks of the cube", "chunks at work", "reads of the cube", "result", "memory")
_FAULTS: tuple[Severity, ...] = ("error",)
_DOUBTS: tuple[Severity, ...] = ("warning", "doubt")

_MOST_UNUSED = 8
"""Maximum number of unused bands listed."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was understood of a cube, and what is wrong or doubtful about it.

    Where something is wrong, what depends on it is None or empty.

    Parameters
    ----------
    findings
        What is wrong or doubtful, and what would make embedding cheaper: in words in `faults`,
        `doubts` and `advice`.
    sizes, dtype, nbytes
        Of the cube; the bytes do not count bands that are not used.
    blocks
        Number of blocks that a dask cube comes in; None otherwise.
    in_memory
        Whether the cube is in memory. Otherwise it is a dask cube, or in a file not read yet.
    bands
        The cube's label of each of AnySat's ten bands that was found.
    unused
        Labels of its other bands.
    crs, crs_name
        Code or definition of the coordinate reference system, and its name.
    gsd
        Pixel size that AnySat is told, in metres: a multiple of 10.
    ground_gsd
        Metres on the ground from pixel to pixel in the middle of the cube: the square root of
        height times width.
    bounds
        West, south, east and north edge, in the CRS.
    centre
        Longitude and latitude of the cube's middle, degrees.
    northward, westward
        Whether rows run from south to north, columns from east to west.
    dates
        ISO 8601, UTC, in the cube's order.
    nodata
        Values that the cube declares as missing, besides NaN.
    plan
        What embedding will take.
    recutting
        Of a dask cube that is not resized: most chunks at work that a block of it goes into, and
        most blocks that such a chunk is made of.
    sample
        What some of the values show, where asked for.
    """

    findings: tuple[Finding, ...]
    sizes: dict[str, int]
    dtype: str = ""
    nbytes: int = 0
    blocks: int | None = None
    in_memory: bool = True
    bands: dict[str, Hashable]
    unused: tuple[Hashable, ...] = ()
    crs: str | None = None
    crs_name: str | None = None
    gsd: int | None = None
    ground_gsd: float | None = None
    bounds: tuple[float, float, float, float] | None = None
    centre: tuple[float, float] | None = None
    northward: bool = False
    westward: bool = False
    dates: tuple[str, ...] = ()
    nodata: tuple[float, ...] = ()
    plan: Plan | None = None
    recutting: tuple[int, int] | None = None
    sample: ValueSummary | None = None

    @property
    def ok(self) -> bool:
        """Whether `embed` would take the cube; there may be doubts."""
        return not self._of(*_FAULTS)

    @property
    def faults(self) -> tuple[str, ...]:
        """What `embed` would raise, each with what repairs it."""
        return tuple(map(str, self._of(*_FAULTS)))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What `embed` accepts, but a careful user would want to know."""
        return tuple(map(str, self._of(*_DOUBTS)))

    @property
    def advice(self) -> tuple[str, ...]:
        """What would make embedding cheaper."""
        return tuple(map(str, self._of("advice")))

    def _of(self, *severities: Severity) -> list[Finding]:
        return [f for severity in severities for f in self.findings if f.severity == severity]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, as they are printed."""
        rows = [("bands", _bands_text(self))]
        if self.sizes:
            rows.insert(0, ("cube", _cube_text(self)))
        if self.crs is not None:
            rows.append(("CRS", f"{self.crs_name} ({self.crs})"))
        if self.gsd is not None:
            rows.append(("GSD", _gsd_text(self)))
        if self.bounds is not None:
            rows += list(_place_rows(self.bounds, self.centre))
        if self.dates:
            rows.append(("dates", _dates_text(self.dates)))
        if self.dtype:
            rows.append(("missing, as declared", _missing_text(self)))
        if self.plan is not None:
            known = dict(self.plan.rows())
            rows += [(name, known[name]) for name in _FROM_PLAN if name in known]
        if self.recutting is not None:
            uses, parts = self.recutting
            text = (
                f"a block goes into up to {count_text(uses, 'chunk')} at work, made of up to "
                f"{count_text(parts, 'block')}"
            )
            rows.append(("re-cutting", text))
        if self.sample is not None:
            rows += list(_summary_rows(self.sample, len(self.dates)))
        return rows

    def render(self, words: Words | None = None) -> str:
        """Give the report as text.

        Parameters
        ----------
        words
            As in `Finding.render`.
        """
        lines = [
            f"<xr_anysat.Check: {self._verdict()}>",
            *text_findings(self._of(*_FAULTS, *_DOUBTS), words),
            *text_table(self.rows()),
            *text_findings(self._of("advice"), words),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        findings = html_findings(self._of(*_FAULTS, *_DOUBTS))
        table = html_table(f"xr_anysat check: {self._verdict()}", self.rows())
        advice = html_findings(self._of("advice"))
        pictures = "".join(map(_picture_html, self.sample.pictures if self.sample else ()))
        return f"{findings}{table}{advice}{pictures}"

    def _verdict(self) -> str:
        faults, doubts = len(self._of(*_FAULTS)), len(self._of(*_DOUBTS))
        verdict = count_text(faults, "fault") if faults else "ready to embed"
        return f"{verdict}, {count_text(doubts, 'doubt')}" if doubts else verdict


def _cube_text(check: Check) -> str:
    shape = ", ".join(f"{name}: {size}" for name, size in check.sizes.items())
    size = f"({shape}) {check.dtype}, {bytes_text(check.nbytes)}"
    if check.blocks is None:
        return f"{size} {'in memory' if check.in_memory else 'in a file, not read yet'}"
    if check.blocks == 1:
        return f"{size} in 1 block"
    each = bytes_text(check.nbytes / max(check.blocks, 1))
    return f"{size} in {check.blocks:,} blocks of {each} on average"


def _bands_text(check: Check) -> str:
    plain = all(
        band_of(DEFAULT, label) == band for band, label in check.bands.items() if _numbered(label)
    )
    same = plain and all(_numbered(label) for label in check.bands.values())
    names = [
        str(label) if same else f"{band} = {label}" for band, label in check.bands.items()
    ]  # by number, or by number and name
    count = len(DEFAULT.bands)
    share = f"all {count}" if len(names) == count else f"{len(names)} of {count}"
    text = f"{share}: {', '.join(names)}" if names else share
    if check.unused:
        more = ", ..." if len(check.unused) > _MOST_UNUSED else ""
        text += f"; not used: {', '.join(map(str, check.unused[:_MOST_UNUSED]))}{more}"
    return text


def _numbered(label: Hashable) -> bool:
    """Whether a label is the number of a band, as B02."""
    return str(label)[:1] in "Bb" and str(label)[1:2].isdigit()


def _gsd_text(check: Check) -> str:
    ground = "" if check.ground_gsd is None else f", {check.ground_gsd:.4g} m on the ground"
    told = [f"{check.gsd} m as AnySat is told{ground}"]
    told += ["rows run from south to north"] * check.northward
    told += ["columns run from east to west"] * check.westward
    return "; ".join(told)


def _place_rows(
    bounds: tuple[float, float, float, float], centre: tuple[float, float] | None
) -> Iterator[tuple[str, str]]:
    west, south, east, north = (f"{round(edge, 3):.12g}" for edge in bounds)
    yield "extent", f"x {west} to {east}, y {south} to {north}"
    if centre is not None:
        lon, lat = centre
        sides = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
        yield "middle", f"{abs(lat):.4f}° {sides[0]}, {abs(lon):.4f}° {sides[1]}"


def _dates_text(dates: Sequence[str]) -> str:
    moments = np.array(dates, dtype="M8[s]")
    ordered = np.sort(moments)
    if len(ordered) == 1:
        return str(ordered[0].astype("M8[D]"))
    first, last = ordered[[0, -1]].astype("M8[D]")
    days = np.diff(ordered) / np.timedelta64(1, "D")
    middle, most = (f"{round(float(number), 1):g}" for number in (np.median(days), days.max()))
    apart = f"{middle} day{'s' * (middle != '1')} apart (median), {most} at the most"
    turned = "" if (ordered == moments).all() else "; not in order, which does not matter"
    return f"{len(dates)} from {first} to {last}, {apart}{turned}"


def _missing_text(check: Check) -> str:
    named = [f"{number:g}" for number in check.nodata]
    if check.dtype.startswith("float"):
        named.insert(0, "NaN")
    return " and ".join(named) if named else "none"


def _summary_rows(summary: ValueSummary, dates: int) -> Iterator[tuple[str, str]]:
    read = "in memory"
    if summary.blocks:
        read = f"{count_text(summary.blocks, 'block')} ({bytes_text(summary.nbytes)}) read"
    sizes = {(bottom - top, right - left) for top, bottom, left, right in summary.windows}
    height, width = max(sizes)
    where = f"{len(summary.windows)} windows of {'up to ' * (len(sizes) > 1)}{height} x {width} px"
    if len(summary.windows) == 1:
        where = f"{height} x {width} px"
    yield "sample", f"{where}, {len(summary.dates)} of {count_text(dates, 'date')}, {read}"
    yield "", "".join(f"{band:>7}" for band in summary.quantiles)
    for place, name in enumerate(("2 % are below", "50 % are below", "98 % are below")):
        column = (numbers[place] for numbers in summary.quantiles.values())
        yield name, "".join(f"{_number(number):>7}" for number in column)
    if summary.scale:
        how = {"DN": "DN (reflectance x 10000)", "reflectance": "reflectance (0..1)"}
        yield "scale, by the values", how[summary.scale]
    missing = np.array(summary.missing)
    spread = f"{missing.min():.0%} to {missing.max():.0%} by date"
    gone = int((missing == 1).sum())
    whole = f", {count_text(gone, 'date')} wholly" if gone else ""
    yield "missing, as seen", f"{missing.mean():.1%} of the pixel-dates, {spread}{whole}"
    yield "never seen", f"{summary.never:.1%} of the pixels have no valid value among these dates"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _picture_html(picture: npt.NDArray[np.uint8]) -> str:
    """Give the picture within the page; nothing without matplotlib."""
    try:
        from matplotlib.image import imsave
    except ImportError:
        return ""
    png = io.BytesIO()
    imsave(png, picture, format="png")
    data = base64.b64encode(png.getvalue()).decode()
    style = "height:192px;image-rendering:pixelated;margin:2px"
    text = "the sampled dates in true colour"
    return f"<img style='{style}' alt='{text}' title='{text}' src='data:image/png;base64,{data}'/>"
