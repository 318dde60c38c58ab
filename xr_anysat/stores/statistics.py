"""Statistics of a cube that is embedded region by region: computed once and kept in the store."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np

from xr_anysat.compute.normalize import moments_to_stats
from xr_anysat.errors import warn
from xr_anysat.findings import Advice, Finding, SetOption
from xr_anysat.graph.progress import progress_bar
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy, Stop, run
from xr_anysat.graph.statistics import block_moments, merged
from xr_anysat.job.job import EmbedJob

from .failures import error_of
from .manifest import Manifest

__all__ = ["WAVE_TASKS", "with_statistics"]

WAVE_TASKS = 200_000
"""About how many tasks a scheduler is given at once: it takes a second for a few thousand of them,
and a few hundred megabytes for all."""

LEFT_OUT = 0.5
"""Maximum share of a cube's blocks that its statistics may leave out."""

GIVEN_STATISTICS = SetOption("normalize", python="normalize=stats", command="{} stats.nc")


def with_statistics(job: EmbedJob, manifest: Manifest, policy: RetryPolicy) -> EmbedJob:
    """Give a job the numbers that it normalises with: those in the store, or new ones.

    Raises
    ------
    StoreError
        Where a block of the cube cannot be read; where blocks may be skipped, if most cannot.
    """
    each = job.reference
    if not each.pending:
        return job
    kept = manifest.statistics()
    if kept is None:
        fixed = each.normalization.fixed
        blocks = each.stats if each.stats is not None else block_moments(each.cube)
        done, failed = _blocks(blocks, replace(policy, skip=policy.skip and not fixed))
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
            Finding(
                "statistics.left-out",
                "{left_out} of {blocks} blocks of the cube could not be read for its statistics, "
                "so that these and the embedding are of the others. Where they can be read again, "
                "begin anew with {0}; or give statistics: {1}.",
                SetOption("overwrite", True),
                GIVEN_STATISTICS,
                severity="warning",
                left_out=len(kept["left_out"]),
                blocks=kept["blocks"],
            )
        )
    return job.with_input(each.with_stats(kept["mean"], kept["std"]))


def _merged(done: dict[int, Any], failed: dict[int, Failed], blocks: da.Array) -> Any:
    """Merge in the order of the blocks; blocks that failed count for nothing."""
    nothing = np.zeros((3, blocks.shape[1]))
    if len(failed) > LEFT_OUT * blocks.numblocks[0]:
        raise _error(next(iter(failed.values())), len(failed), blocks.numblocks[0])
    return merged([done.get(n, nothing) for n in range(blocks.numblocks[0])])


def _blocks(blocks: da.Array, policy: RetryPolicy) -> tuple[dict[int, Any], dict[int, Failed]]:
    """Compute the blocks of an array in waves."""
    done: dict[int, Any] = {}
    failed: dict[int, Failed] = {}
    total = blocks.numblocks[0]
    size = max(1, WAVE_TASKS * total // max(1, len(blocks.dask)))

    def taker(start: int, bar: Any) -> Callable[[Any, Any], None]:
        def take(key: Any, value: Any) -> None:
            (failed if isinstance(value, Failed) else done)[start + key[1]] = value
            bar.update(1)

        return take

    with progress_bar(policy.progress, "statistics", "block", total, 0) as bar:
        for start in range(0, total, size):
            part = blocks.blocks[start : start + size]
            try:
                run(part, policy, taker(start, bar), fatal=lambda _: not policy.skip)
            except Stop as stop:
                raise _error(stop.failed, 1, total) from stop.failed.error
    return done, failed


def _error(failed: Failed, number: int, total: int) -> BaseException:
    return error_of(
        failed,
        "the statistics of the cube",
        Finding(
            "statistics.failed",
            "the statistics of the cube could not be computed: {failed} of its {total} blocks "
            "failed with {kind}: {error}. {0}; or give statistics ({1}, {2}), and regions that "
            "cannot be read can be left out with {3}.",
            Advice("Repair the cube's source"),
            GIVEN_STATISTICS,
            SetOption("normalize", "treesatai"),
            SetOption("on_error", "skip"),
            failed=number,
            total=total,
            kind=type(failed.error).__name__,
            error=failed.error,
        ),
    )
