"""Statistics of a cube that is embedded region by region: computed once and kept in the store."""

from dataclasses import replace
from functools import partial

import numpy as np

from xr_anysat.compute.normalize import moments_to_stats
from xr_anysat.errors import warn
from xr_anysat.findings import Advice, Finding, SetOption
from xr_anysat.graph.run import RetryPolicy
from xr_anysat.graph.statistics import block_moments, merged
from xr_anysat.job.job import EmbedJob

from .failures import compute_blocks
from .manifest import STATISTICS, Manifest

__all__ = ["with_statistics"]

GIVEN_STATISTICS = SetOption("normalize", python="normalize=stats", command="{} stats.nc")

UNREADABLE = partial(
    Finding,
    "statistics.failed",
    Advice("Repair the cube's source"),
    GIVEN_STATISTICS,
    SetOption("normalize", "treesatai"),
    SetOption("on_error", "skip"),
)
"""What is wrong where blocks of the cube cannot be read."""


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
    kept = manifest.read(STATISTICS)
    if kept is None:
        fixed = each.normalization.fixed
        blocks = each.stats if each.stats is not None else block_moments(each.cube)
        count = blocks.numblocks[0]
        policy = replace(policy, skip=policy.skip and not fixed)
        done, failed = compute_blocks(blocks, policy, "statistics", "block", UNREADABLE)
        if fixed:
            stats = done[0]
        else:
            nothing = np.zeros((3, blocks.shape[1]))
            stats = moments_to_stats(merged([done.get(n, nothing) for n in range(count)]))
        mean, std = stats.tolist()
        numbers = {"mean": mean, "std": std, "blocks": count, "left_out": failed}
        kept = manifest.keep(STATISTICS, numbers)
    if left_out := len(kept["left_out"]):
        repair = SetOption("overwrite", True), GIVEN_STATISTICS
        warn("statistics.left-out", *repair, left_out=left_out, blocks=kept["blocks"])
    return job.with_input(each.with_stats(kept["mean"], kept["std"]))
