"""Statistics of a cube that is embedded region by region: computed once, and kept in the store."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np

from xr_anysat.compute.normalize import moments_to_stats
from xr_anysat.errors import StoreError, warn
from xr_anysat.graph.progress import progress_bar
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy, Stop, run
from xr_anysat.graph.statistics import block_moments, merged
from xr_anysat.job.job import EmbedJob

from .manifest import Manifest

__all__ = ["WAVE_TASKS", "with_statistics"]

WAVE_TASKS = 200_000
"""Tasks of a graph that is handed to a scheduler at once, about: it takes a second for some
thousands of them, and some hundred megabytes for all."""

LEFT_OUT = 0.5
"""Share of a cube's blocks without which its statistics would be no statistics of it."""


def with_statistics(job: EmbedJob, manifest: Manifest, effort: RetryPolicy) -> EmbedJob:
    """Give a job the numbers that it normalises with: those in the store, or new ones.

    Raises
    ------
    StoreError
        Where a block of the cube cannot be read; where those may be skipped, if most cannot.
    """
    each = job.reference
    if not each.pending:
        return job
    kept = manifest.statistics()
    if kept is None:
        fixed = each.normalization.fixed
        blocks = each.stats if each.stats is not None else block_moments(each.cube)
        done, failed = _blocks(blocks, replace(effort, skip=effort.skip and not fixed))
        stats = done[0] if fixed else moments_to_stats(_merged(done, failed, blocks))
        kept = manifest.keep_statistics(
            {
                "mean": stats[0].tolist(),
                "std": stats[1].tolist(),
                "blocks": blocks.numblocks[0],
                "left_out": sorted(failed),
            }
        )
    if kept["left_out"]:
        warn(
            f"{len(kept['left_out'])} of {kept['blocks']} blocks of the cube could not be read for "
            "its statistics, so that these and the embedding are of the others. Where they can be "
            "read again, begin anew with overwrite=True; or give statistics: normalize=stats."
        )
    return job.with_input(each.with_stats(kept["mean"], kept["std"]))


def _merged(done: dict[int, Any], failed: dict[int, Failed], blocks: da.Array) -> Any:
    """Merge in the order of the whole, what failed counting for nothing."""
    nothing = np.zeros((3, blocks.shape[1]))
    if len(failed) > LEFT_OUT * blocks.numblocks[0]:
        raise _error(next(iter(failed.values())), len(failed), blocks.numblocks[0])
    return merged([done.get(n, nothing) for n in range(blocks.numblocks[0])])


def _blocks(blocks: da.Array, effort: RetryPolicy) -> tuple[dict[int, Any], dict[int, Failed]]:
    """Compute the blocks of an array in waves."""
    done: dict[int, Any] = {}
    failed: dict[int, Failed] = {}
    total = blocks.numblocks[0]
    size = max(1, WAVE_TASKS * total // max(1, len(blocks.dask)))

    def taker(start: int, bar: Any) -> Callable[[Any, Any], None]:
        def take(key: Any, value: Any) -> None:
            found = failed if isinstance(value, Failed) else done
            found[start + key[1]] = value
            bar.update(1)

        return take

    with progress_bar(effort.progress, "statistics", "block", total, 0) as bar:
        for start in range(0, total, size):
            part = blocks.blocks[start : start + size]
            try:
                run(part, effort, taker(start, bar), fatal=lambda _: not effort.skip)
            except Stop as stop:
                raise _error(stop.failed, 1, total) from stop.failed.error
    return done, failed


def _error(failed: Failed, number: int, total: int) -> StoreError:
    error = StoreError(
        f"the statistics of the cube could not be computed: {number} of its {total} blocks failed "
        f"with {type(failed.error).__name__}: {failed.error}. Repair the cube's source; or give "
        'statistics (normalize=stats, normalize="treesatai"), and regions that cannot be read can '
        'be left out with on_error="skip".'
    )
    error.add_note(failed.text)
    return error
