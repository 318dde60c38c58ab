"""A store filled with regions: in waves, those that fail set aside, and a record of it all."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from xr_anysat.embed import build_empty
from xr_anysat.errors import ScaleError, StoreError, WeightsError, warn
from xr_anysat.formatting import count_text
from xr_anysat.graph.progress import progress_bar
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy, Stop, find_scheduler, run
from xr_anysat.job.job import EmbedJob
from xr_anysat.results.labels import weights_attrs

from .block_writer import Writer, write_regions
from .layout import chunk_name, finish, is_laid_out, lay_out
from .location import ZarrLocation
from .manifest import Manifest
from .packing import Packed, Packing, with_numbers
from .region_graph import section, tasks_per_region
from .regions import RegionGrid, waves
from .report import FailedRegion, StoreReport
from .statistics import WAVE_TASKS, with_statistics

__all__ = ["fill"]

MUCH_CLIPPED = 0.001
"""Share of values out of range that is worth a warning."""


def fill(
    job: EmbedJob,
    packing: Packing,
    place: ZarrLocation,
    record: dict[str, Any],
    retries: int,
    skip: bool,
    regions: Any,
    progress: bool | None,
) -> StoreReport:
    """Compute and write the regions of a store that are missing, and say what was done.

    Parameters
    ----------
    job, packing
        What to embed, and what becomes of it.
    place, record
        A store, and the record of the job it was begun with.
    retries, skip, regions, progress
        As in `to_zarr`.
    """
    grid = RegionGrid.from_json(record["map"])
    manifest = Manifest(place=place)
    asked = grid.select(regions)
    before = manifest.done(grid)
    missing = [region for region in asked if region not in before]
    failed: dict[int, Failed] = {}
    if missing or (asked and not is_laid_out(place)):
        effort = RetryPolicy(
            scheduler=find_scheduler(job.cube.values, job.lazy),
            retries=retries,
            skip=skip,
            progress=progress,
        )
        work = _begin(job, packing, manifest, grid, effort)
        done = len(asked) - len(missing)
        with progress_bar(progress, "embedding", "region", len(asked), done) as bar:
            failed = work.do(missing, bar)
            if failed and retries:
                failed = work.do(sorted(failed), bar)
    after = manifest.done(grid)
    listed = tuple(_failed_region(failed[n], n, record, grid) for n in sorted(failed))
    _note(listed, manifest, grid, after)
    clipped = _end(job, packing, manifest, grid) if len(after) == len(grid) else None
    if listed:
        warn(
            f"{len(listed)} of {len(asked)} regions could not be computed or written and are NaN "
            f"in {place}; first {listed[0]!r}. The report has them all, and the same call again "
            "tries them once more."
        )
    return StoreReport(
        store=str(place),
        regions=len(grid),
        done=len(after),
        written=len(after.intersection(missing)),
        asked=len(asked),
        failed=listed,
        clipped=clipped,
    )


def _begin(
    job: EmbedJob, packing: Packing, manifest: Manifest, grid: RegionGrid, effort: RetryPolicy
) -> "_Work":
    """Find the numbers that all regions need, and lay the store out unless it is."""
    place = manifest.place
    job = with_statistics(job, manifest, effort)
    packed = with_numbers(packing, job, manifest, effort)
    job = packing.computing(job)
    if not is_laid_out(place):
        empty = build_empty(job)
        lay_out(place, packed.labelled(empty), grid, packed.beside(empty))
    return _Work(
        job=job,
        packed=packed,
        writer=Writer(place=place, grid=grid, quantization=packed.quantization),
        effort=effort,
    )


def _end(job: EmbedJob, packing: Packing, manifest: Manifest, grid: RegionGrid) -> float | None:
    """Say in a store that it is complete; give the share that was clipped of one that is coded."""
    said: dict[str, Any] = weights_attrs(job.model.source)
    if packing.quantize is None:
        finish(manifest.place, said)
        return None
    clipped = _clipped(manifest, grid)
    finish(manifest.place, {**said, "quantization_clipped": clipped})
    return clipped


def _clipped(manifest: Manifest, grid: RegionGrid) -> float:
    """Share of a complete map that was out of the range of its codes."""
    values, clipped = manifest.coded(grid)
    share = clipped / max(values, 1)
    if share > MUCH_CLIPPED:
        warn(
            f"{share:.2%} of the values of {manifest.place} were beyond the range of quantize= and "
            "are at its end: the map goes farther than what the range was taken from. Where that "
            'matters, begin anew with quantize="int8", or with the range of another store.'
        )
    return share


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What all waves have in common."""

    job: EmbedJob
    packed: Packed
    writer: Writer
    effort: RetryPolicy

    def do(self, regions: list[int], bar: Any) -> dict[int, Failed]:
        """Write regions in waves, and return those that failed."""
        grid = self.writer.grid
        limit = max(1, WAVE_TASKS // tasks_per_region(self.job, grid))
        failed: dict[int, Failed] = {}
        seen = False
        for wave in waves(grid, regions, limit):
            seen = self._wave(wave, failed, seen, bar)
        return failed

    def _wave(self, wave: list[int], failed: dict[int, Failed], seen: bool, bar: Any) -> bool:
        manifest = Manifest(place=self.writer.place)
        data = self.packed.reduced(section(self.job, self.writer.grid, wave))

        def done(key: Any, value: Any) -> None:
            nonlocal seen
            _, number, part = key
            if part:
                return
            region = wave[number]
            if isinstance(value, Failed):
                failed[region] = value
                bar.set_postfix_str(f"{len(failed)} failed")
                return
            if not seen and not manifest.is_done(self.writer.grid, region):
                raise StoreError(
                    f"a worker has written to {self.writer.place}, but not to the one that this "
                    "process sees: give a path or a URL that all workers share, and no memory of "
                    "one process."
                )
            seen = True
            bar.update(1)

        try:
            run(write_regions(data, self.writer, wave), self.effort, done)
        except Stop as stop:
            numbers = sorted({wave[n] for _, n, _ in stop.keys})
            raise self._error(stop.failed, numbers) from stop.failed.error
        return seen

    def _error(self, failed: Failed, regions: list[int]) -> BaseException:
        error, grid = failed.error, self.writer.grid
        if isinstance(error, ScaleError | WeightsError):
            error.add_note(f"in {grid.says(regions[0])}")
            return error
        others = f" and {len(regions) - 1} beside it" if len(regions) > 1 else ""
        tries = count_text(self.effort.retries, "more try", "more tries")
        raised = StoreError(
            f"{grid.says(regions[0])}{others} failed, after {tries}, with "
            f"{type(error).__name__}: {error}. What is complete is kept: the same call again goes "
            'on from there, and with on_error="skip" leaves out what fails.'
        )
        raised.add_note(failed.text)
        return raised


def _failed_region(
    failed: Failed, region: int, record: dict[str, Any], grid: RegionGrid
) -> FailedRegion:
    rows, columns = grid.window(region)
    left, bottom, right, top = record["map"]["bounds"]
    ys = np.linspace(top, bottom, grid.shape[1] + 1)
    xs = np.linspace(left, right, grid.shape[2] + 1)
    ys = ys[::-1] if record["cube"]["south_up"] else ys
    xs = xs[::-1] if record["cube"]["east_left"] else xs
    (x0, x1), (y0, y1) = ((axis[s.start], axis[s.stop]) for axis, s in ((xs, columns), (ys, rows)))
    return FailedRegion(
        region=region,
        rows=(rows.start, rows.stop),
        columns=(columns.start, columns.stop),
        bounds=(float(min(x0, x1)), float(min(y0, y1)), float(max(x0, x1)), float(max(y0, y1))),
        error=f"{type(failed.error).__name__}: {failed.error}",
        traceback=failed.text,
    )


def _note(
    failed: tuple[FailedRegion, ...], manifest: Manifest, grid: RegionGrid, done: set[int]
) -> None:
    """Bring the list of failed regions up to date, and make what they left half-written NaN.

    A store that takes nothing any more does not hide what is reported.
    """
    for one in failed:
        if one.region in done or _has_been_done(manifest, grid, one.region):
            continue
        for index in grid.files(one.region):
            with suppress(OSError):
                manifest.place.delete(chunk_name(index))
        with suppress(OSError):
            manifest.set_failed(grid, one)
    with suppress(OSError):
        manifest.clear_failed(grid, done)


def _has_been_done(manifest: Manifest, grid: RegionGrid, region: int) -> bool:
    """Whether another job has completed a region since they were listed."""
    try:
        return manifest.is_done(grid, region)
    except OSError:
        return False
