"""What is understood of a cube, and every fault and doubt, before anything is computed."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from pyproj.exceptions import ProjError

from xr_anysat.cube.bands import band_labels
from xr_anysat.cube.canonical import Cube, understand
from xr_anysat.cube.grid import Grid, degrees, find_crs, ground_scale
from xr_anysat.cube.metadata_only import is_on_disk, metadata_only
from xr_anysat.cube.spec import Examination, declared_missing, examine
from xr_anysat.embed import embed
from xr_anysat.errors import AnySatError, CubeError
from xr_anysat.findings import Call, Finding, SetOption
from xr_anysat.formatting import bytes_text
from xr_anysat.job.job import EmbedJob
from xr_anysat.job.make import make_job, options_of
from xr_anysat.job.options import Options
from xr_anysat.keywords import suggests_keywords
from xr_anysat.sensors.registry import DEFAULT

from .check_report import Check
from .metadata_checks import date_doubts, offset_doubts, value_doubts
from .plan import Plan, plan_of
from .sampling import SIDE
from .value_checks import ValueSummary, summarize_values

__all__ = ["check"]

_MANY_BLOCKS = 2000
_SMALL_BLOCK = 2**18
"""Bytes: less than what a read from object storage brings in the time it takes to begin."""

_NOT_SAMPLED = Finding("check.not-sampled", option=SetOption("sample", True))

_CHUNKS = 'chunks={"x": 1024, "y": 1024}'

_MANY_USES = 64
"""Chunks at work that a block of the cube goes into."""


@suggests_keywords(embed)
def check(cube: Cube, mode: str = "grid", *, sample: bool = False, **options: Any) -> Check:
    """Say what is understood of a cube, and everything that is wrong or doubtful about it.

    A cube that `embed` would refuse raises nothing here: the report lists everything that `embed`
    would raise, and what could be understood. Reads no pixels without `sample`, loads no weights,
    and does not change the cube.

    Parameters
    ----------
    cube, mode
        As in `embed`.
    sample : bool
        Read a few windows, always the same ones, of at most 400 blocks and 128 MiB where the
        cube's blocks leave a choice: for quantiles by band, missing pixels by date, a picture, and
        doubts that only values can raise or dispel. Uses dask's scheduler, as ``.compute()`` does.
    **options
        As in `embed`. They are checked too, and the plan follows them.

    Returns
    -------
    Check
        Text when printed, HTML in a notebook; ``ok``, ``findings``, ``bands``, ``crs``, ``gsd``,
        ``dates`` and others for programs.

    Raises
    ------
    TypeError
        For an argument that `embed` does not have.

    Examples
    --------
    >>> import xr_anysat.datasets
    >>> cube = xr_anysat.datasets.simulated_landscape((96, 96), dates=6, chunks=96)
    >>> report = cube.anysat.check()
    >>> report.ok, report.gsd, len(report.dates)
    (True, 10, 6)
    >>> report = cube.isel(time=[0, 0, 1, 2]).anysat.check()
    >>> [(finding.code, finding.severity) for finding in report.findings]
    [('dates.repeated', 'doubt'), ('cost.statistics', 'advice')]
    """
    resolved = options_of(mode, options)
    source, cube = cube, metadata_only(cube)
    try:
        known = examine(cube, DEFAULT, bands=resolved.bands, dates=resolved.dates)
    except CubeError as error:
        return Check(findings=error.findings, sizes={}, bands={})
    array, bands, faults = known.array, known.bands, list(known.faults)
    doubts = list(known.notes)
    sources = [known.variables[label] for label in bands.values() if known.variables]
    labels = list(known.variables)
    if not labels and known.band_dim is not None:
        labels = band_labels(array, known.band_dim)
    job, made, summary = None, None, None
    if not faults:
        with _collecting(faults):
            job = make_job(cube, resolved)
    if job is not None:
        doubts += job.findings
        made = plan_of(job)
        with _collecting(faults):
            summary = _summarize(source, job, known, resolved) if sample else None
    grid, shape = _grid(known), _shape(known, len(sources))
    sources = sources or [array]
    nodata = declared_missing(array)
    doubts += date_doubts(known.moments, (grid.get("centre") or [None])[0])
    how = resolved.normalize if isinstance(resolved.normalize, str) else "stats"
    masked = resolved.mask is not None or summary is not None  # a sample shows fill values
    doubts += value_doubts(array, sources, nodata, masked=masked, normalize=how)
    darkest = None if summary is None else _by_date(summary, len(known.moments))
    scale = "" if summary is None else summary.scale
    doubts += offset_doubts(array, sources, known.moments, how, darkest, scale)
    doubts += [] if summary is None else summary.findings
    unseen = sample and summary is None
    advice = (_NOT_SAMPLED,) if unseen else _advice(array, made, shape["nbytes"])
    return Check(
        findings=tuple(dict.fromkeys([*faults, *doubts, *advice])),
        **shape,
        in_memory=array.chunks is None and not is_on_disk(source),
        bands=dict(bands),
        unused=tuple(label for label in labels if label not in bands.values()),
        **grid,
        dates=tuple(np.datetime_as_string(known.moments, unit="s").tolist()),
        nodata=nodata,
        plan=made,
        recutting=_recutting(array, made) if resolved.input_prep == "tile" else None,
        sample=summary,
    )


@contextmanager
def _collecting(faults: list[Finding]) -> Iterator[None]:
    """Add what `embed` would raise to the faults."""
    try:
        yield
    except AnySatError as error:
        faults += error.findings


def _summarize(cube: Cube, job: EmbedJob, examined: Examination, options: Options) -> ValueSummary:
    """Look at some values; those of a file are read window by window."""
    grid = examined.grid
    if is_on_disk(cube) and grid is not None:
        pieces = {grid.y_dim: 2 * SIDE, grid.x_dim: 2 * SIDE, examined.time_dim: 1}
        cube = cube.chunk({dim: size for dim, size in pieces.items() if dim is not None})
    known = understand(cube, bands=options.bands, dates=options.dates, mask=options.mask)
    return summarize_values(known, job.reference.normalization)


def _by_date(summary: ValueSummary, count: int) -> list[float]:
    """Darkest values of all dates, NaN for those that were not looked at."""
    known = dict(zip(summary.dates, summary.darkest, strict=True))
    return [known.get(date, math.nan) for date in range(count)]


def _shape(known: Examination, variables: int) -> dict[str, Any]:
    """Sizes, and what is read of them."""
    array = known.array
    sizes = {str(dim): size for dim, size in array.sizes.items()}
    if variables:  # one of them may stand for all
        sizes[str(known.band_dim)] = variables
    return {
        "sizes": sizes,
        "dtype": str(array.dtype),
        "nbytes": math.prod(sizes.values()) * array.dtype.itemsize,
        "blocks": None if array.chunks is None else math.prod(map(len, array.chunks)),
    }


def _place(grid: Grid) -> tuple[tuple[float, float] | None, float | None]:
    """Longitude and latitude of the middle, and metres on the ground from pixel to pixel."""
    box = grid.geobox.extent.boundingbox
    crs = pyproj.CRS.from_user_input(str(grid.geobox.crs))
    middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    try:
        centre = degrees(crs, middle)
    except ProjError:
        return None, None
    if not all(map(math.isfinite, centre)):
        return None, None
    scale = ground_scale(crs, middle)
    metres = float(grid.geobox.resolution.x) * crs.axis_info[0].unit_conversion_factor
    return centre, None if scale is None else metres / math.sqrt(scale[0] * scale[1])


def _grid(known: Examination) -> dict[str, Any]:
    """Where the pixels are, as far as that is known."""
    grid, crs = known.grid, find_crs(known.array, [])
    if crs is None:
        return {}
    names = {"crs": ":".join(crs.to_authority() or ["no code"]), "crs_name": crs.name}
    if grid is None:
        return names
    centre, ground = _place(grid)
    return names | {
        "gsd": grid.gsd,
        "ground_gsd": ground,
        "bounds": tuple(map(float, grid.geobox.extent.boundingbox.bbox)),
        "centre": centre,
        "northward": grid.orientation.south_up,
        "westward": grid.orientation.east_left,
    }


def _advice(array: xr.DataArray, made: Plan | None, nbytes: int) -> Iterator[Finding]:
    """Say what would make it cheaper: what the plan knows, and what the chunks cost."""
    if made is None:
        return
    yield from made.findings
    if array.chunks is None:
        return
    blocks = math.prod(map(len, array.chunks))
    if blocks > _MANY_BLOCKS and nbytes / blocks < _SMALL_BLOCK:
        enlarge = SetOption("chunk", 1024, python=_CHUNKS)
        yield Finding("cost.small-blocks", enlarge, blocks=blocks, size=bytes_text(nbytes / blocks))
    uses = math.prod(map(_most_parts, made.chunks_in, made.chunks))
    if uses > _MANY_USES:
        largest = " x ".join(str(max(sizes)) for sizes in made.chunks_in)
        yield Finding("cost.large-blocks", Call(_CHUNKS), size=largest, uses=uses)


def _recutting(array: xr.DataArray, made: Plan | None) -> tuple[int, int] | None:
    """Most chunks at work that a block goes into, and most blocks that such a chunk is made of."""
    if made is None or array.chunks is None:
        return None
    uses = math.prod(map(_most_parts, made.chunks_in, made.chunks))
    leading = math.prod(map(len, array.chunks))
    leading //= math.prod(map(len, made.chunks_in))
    return uses, leading * math.prod(map(_most_parts, made.chunks, made.chunks_in))


def _most_parts(ones: Sequence[int], others: Sequence[int]) -> int:
    """Most chunks of another cut that a chunk of one overlaps, along one axis."""
    edges, ends = np.cumsum(others), np.cumsum(ones)
    first = np.searchsorted(edges, ends - np.asarray(ones), side="right")
    last = np.searchsorted(edges, ends - 1, side="right")
    return int((last - first).max()) + 1
