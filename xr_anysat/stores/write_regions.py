"""Writing the missing regions of a store, in waves; those that fail are set aside and listed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xr_anysat.embed import build_empty
from xr_anysat.errors import StoreError, warn
from xr_anysat.findings import Finding, SetOption
from xr_anysat.formatting import count_text
from xr_anysat.graph.progress import progress_bar
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy, Stop, find_scheduler, run
from xr_anysat.job.job import EmbedJob
from xr_anysat.results.coords_and_attrs import weights_attrs

from .block_writer import Writer, write_blocks
from .failures import WAVE_TASKS, error_of, reason
from .location import ZarrLocation
from .manifest import Manifest
from .packing import Packing, PackingNumbers, find_numbers
from .region_graph import embed_regions, tasks_per_region
from .regions import RegionGrid, waves
from .report import FailedRegion, StoreReport
from .skeleton import chunk_name, is_laid_out, lay_out, mark_complete
from .statistics import with_statistics

__all__ = ["write_regions"]

MUCH_CLIPPED = 0.001
"""Share of values out of range that is worth a warning."""


def write_regions(
    job: EmbedJob,
    packing: Packing,
    location: ZarrLocation,
    record: dict[str, Any],
    retries: int,
    skip: bool,
    regions: Any,
    progress: bool | None,
) -> StoreReport:
    """Compute and write the missing regions of a store.

    Parameters
    ----------
    job, packing
        What to embed, and how to pack it.
    location, record
        A store, and the record of the job that it was begun with.
    retries, skip, regions, progress
        As in `to_zarr`.
    """
    grid = RegionGrid.from_json(record["map"])
    manifest = Manifest(location=location)
    chosen = grid.select(regions)
    before = manifest.done(grid)
    missing = [region for region in chosen if region not in before]
    failed: dict[int, Failed] = {}
    if missing or (chosen and not is_laid_out(location)):
        policy = RetryPolicy(
            scheduler=find_scheduler(job.cube.values, job.lazy),
            retries=retries,
            skip=skip,
            progress=progress,
        )
        work = _begin(job, packing, manifest, grid, policy)
        count = len(chosen)
        with progress_bar(progress, "embedding", "region", count, count - len(missing)) as bar:
            failed = work.do(missing, bar)
            if failed and retries:
                failed = work.do(sorted(failed), bar)
    done = manifest.done(grid)
    listed = tuple(_failed_region(failed[n], n, job, grid) for n in sorted(failed))
    _list_failed(listed, manifest, grid, done)
    clipped = _end(job, packing, manifest, grid) if len(done) == len(grid) else None
    if listed:
        first = repr(listed[0])
        warn("regions.failed", failed=len(listed), asked=len(chosen), store=location, first=first)
    return StoreReport(
        store=str(location),
        regions=len(grid),
        done=len(done),
        written=len(done.intersection(missing)),
        asked=len(chosen),
        failed=listed,
        clipped=clipped,
    )


def _begin(
    job: EmbedJob, packing: Packing, manifest: Manifest, grid: RegionGrid, policy: RetryPolicy
) -> "_Work":
    """Find the numbers that all regions need, and lay the store out unless it is."""
    location = manifest.location
    job = with_statistics(job, manifest, policy)
    numbers = find_numbers(packing, job, manifest, policy)
    job = packing.computing(job)
    if not is_laid_out(location):
        empty = build_empty(job)
        lay_out(location, numbers.labelled(empty), grid, numbers.beside(empty))
    return _Work(
        job=job,
        numbers=numbers,
        writer=Writer(location=location, grid=grid, quantization=numbers.quantization),
        policy=policy,
    )


def _end(job: EmbedJob, packing: Packing, manifest: Manifest, grid: RegionGrid) -> float | None:
    """Mark a store as complete; return the clipped share of one that is quantized."""
    attrs: dict[str, Any] = weights_attrs(job.model.source)
    share = None
    if packing.quantize is not None:
        values, clipped = manifest.coded(grid)
        attrs["quantization_clipped"] = share = clipped / max(values, 1)
        if share > MUCH_CLIPPED:
            again = SetOption("quantize", "int8")
            warn("quantize.clipped", again, share=share, store=manifest.location)
    mark_complete(manifest.location, attrs)
    return share


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What all waves have in common."""

    job: EmbedJob
    numbers: PackingNumbers
    writer: Writer
    policy: RetryPolicy

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
        manifest = Manifest(location=self.writer.location)
        data = self.numbers.reduced(embed_regions(self.job, self.writer.grid, wave))

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
                raise StoreError("store.not-shared", store=self.writer.location)
            seen = True
            bar.update(1)

        try:
            run(write_blocks(data, self.writer, wave), self.policy, done)
        except Stop as stop:
            numbers = sorted({wave[n] for _, n, _ in stop.keys})
            raise self._error(stop.failed, numbers) from stop.failed.error
        return seen

    def _error(self, failed: Failed, regions: list[int]) -> BaseException:
        where = self.writer.grid.describe(regions[0])
        return error_of(
            failed,
            where,
            Finding(
                "region.failed",
                SetOption("on_error", "skip"),
                region=where,
                others=f" and {len(regions) - 1} beside it" if len(regions) > 1 else "",
                tries=count_text(self.policy.retries, "more try", "more tries"),
                error=reason(failed),
            ),
        )


def _failed_region(failed: Failed, region: int, job: EmbedJob, grid: RegionGrid) -> FailedRegion:
    rows, columns = grid.window(region)
    geobox = job.cube.spec.orientation.geobox(job.geobox)
    left, bottom, right, top = geobox[rows, columns].boundingbox.bbox
    return FailedRegion(
        region=region,
        rows=(rows.start, rows.stop),
        columns=(columns.start, columns.stop),
        bounds=(left, bottom, right, top),
        error=reason(failed),
        traceback=failed.text,
    )


def _list_failed(
    failed: tuple[FailedRegion, ...], manifest: Manifest, grid: RegionGrid, done: set[int]
) -> None:
    """Update the store's list of failed regions, and make NaN what they left half-written.

    Errors of a store that cannot be written any more are ignored: the report has the regions.
    """
    for region in failed:
        if region.region in done or _has_been_done(manifest, grid, region.region):
            continue
        for index in grid.files(region.region):
            with suppress(OSError):
                manifest.location.delete(chunk_name(index))
        with suppress(OSError):
            manifest.set_failed(grid, region)
    with suppress(OSError):
        manifest.clear_failed(grid, done)


def _has_been_done(manifest: Manifest, grid: RegionGrid, region: int) -> bool:
    """Whether another job has completed a region since they were listed."""
    try:
        return manifest.is_done(grid, region)
    except OSError:
        return False
