"""Statistics of a cube that is embedded region by region: computed once and kept in the store."""

from dataclasses import replace

import numpy as np

from xr_anysat.compute.normalize import moments_to_stats
from xr_anysat.errors import warn
from xr_anysat.findings import Advice, Finding, SetOption
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy
from xr_anysat.graph.statistics import block_moments, merged
from xr_anysat.job.job import EmbedJob

from .failures import compute_blocks, error_of, reason
from .manifest import Manifest

__all__ = ["with_statistics"]

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
        count = blocks.numblocks[0]
        policy = replace(policy, skip=policy.skip and not fixed)
        done, failed = compute_blocks(
            blocks, policy, "statistics", "block",
            lambda failed, number: _error(failed, number, count),
            fatal=lambda _: not policy.skip,
        )  # fmt: skip
        if fixed:
            stats = done[0]
        else:
            nothing = np.zeros((3, blocks.shape[1]))
            stats = moments_to_stats(merged([done.get(n, nothing) for n in range(count)]))
        kept = manifest.keep_statistics(
            {
                "mean": stats[0].tolist(),
                "std": stats[1].tolist(),
                "blocks": count,
                "left_out": failed,
            }
        )
    if kept["left_out"]:
        warn(
            Finding(
                "statistics.left-out",
                SetOption("overwrite", True),
                GIVEN_STATISTICS,
                left_out=len(kept["left_out"]),
                blocks=kept["blocks"],
            )
        )
    return job.with_input(each.with_stats(kept["mean"], kept["std"]))


def _error(failed: Failed, number: int, total: int) -> BaseException:
    return error_of(
        failed,
        "the statistics of the cube",
        Finding(
            "statistics.failed",
            Advice("Repair the cube's source"),
            GIVEN_STATISTICS,
            SetOption("normalize", "treesatai"),
            SetOption("on_error", "skip"),
            failed=number,
            total=total,
            error=reason(failed),
        ),
    )
