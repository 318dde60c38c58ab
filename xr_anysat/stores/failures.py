"""Blocks that `to_zarr` computes and that may fail, and the errors it raises for them."""

from collections.abc import Callable
from typing import Any

import dask.array as da

from xr_anysat.errors import ScaleError, StoreError, WeightsError
from xr_anysat.findings import Finding
from xr_anysat.graph.progress import progress_bar
from xr_anysat.graph.retries import Failed
from xr_anysat.graph.run import RetryPolicy, Stop, run

__all__ = ["WAVE_TASKS", "compute_blocks", "error_of", "reason"]

WAVE_TASKS = 200_000
"""Approximate number of tasks that a scheduler is given at once. It needs a second for a few
thousand of them, and a few hundred megabytes for all."""

LEFT_OUT = 0.5
"""Maximum share of blocks that may be left out: numbers of fewer blocks do not fit the map."""


def compute_blocks(
    blocks: da.Array, policy: RetryPolicy, label: str, unit: str, finding: Callable[..., Finding]
) -> tuple[dict[int, Any], list[int]]:
    """Compute the blocks of an array in waves, and leave out those that fail.

    Parameters
    ----------
    blocks
        A block for each number along the first axis.
    policy
        As in `run`.
    label, unit
        What to call them and their blocks in the progress bar.
    finding
        What a `StoreError` says where one failure ends everything or more than half of the blocks
        fail, from the numbers `failed` and `total` and the `error` of a block.

    Returns
    -------
    tuple
        Blocks by number, and the numbers of those that failed.
    """
    done: dict[int, Any] = {}
    failed: dict[int, Failed] = {}
    total = blocks.numblocks[0]
    size = max(1, WAVE_TASKS * total // max(1, len(blocks.dask)))

    def error(one: Failed, count: int) -> BaseException:
        what = finding(failed=count, total=total, error=reason(one))
        return error_of(one, f"the {label}", what)

    with progress_bar(policy.progress, label, unit, total, 0) as bar:
        for start in range(0, total, size):

            def take(key: Any, value: Any, start: int = start) -> None:
                (failed if isinstance(value, Failed) else done)[start + key[1]] = value
                bar.update(1)

            try:
                run(blocks.blocks[start : start + size], policy, take)
            except Stop as stop:
                raise error(stop.failed, 1) from stop.failed.error
    if len(failed) > LEFT_OUT * total:
        raise error(next(iter(failed.values())), len(failed))
    return done, sorted(failed)


def error_of(failed: Failed, where: str, finding: Finding) -> BaseException:
    """Error to raise for a failed task.

    Parameters
    ----------
    failed
        The task.
    where
        What it was part of. Errors of the cube's scale and of the weights concern the whole map:
        they are raised as they are, with a note that says this.
    finding
        What a `StoreError` says of any other error, whose traceback becomes its note.
    """
    error = failed.error
    if isinstance(error, ScaleError | WeightsError):
        error.add_note(f"in {where}")
        return error
    raised = StoreError(finding)
    raised.add_note(failed.text)
    return raised


def reason(failed: Failed) -> str:
    """Kind and message of an error."""
    return f"{type(failed.error).__name__}: {failed.error}"
