"""Graphs of many results, computed so that one failure does not end the others.

On a cluster each result is a future, and the scheduler tries tasks again. On this machine tasks
are wrapped (see `retries`), so that any of dask's schedulers can run them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.core import flatten
from dask.typing import Key

from xr_anysat.cube.canonical import local_scheduler
from xr_anysat.errors import ScaleError, WeightsError

from .retries import Failed, with_retries

__all__ = ["RetryPolicy", "Stop", "find_scheduler", "run"]

Done = Callable[[Key, Any], None]
"""Called with the key and the value of each result as it is computed, or with a `Failed`."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How results are computed, and what happens when that fails.

    Parameters
    ----------
    scheduler
        The function that computes graphs: see `find_scheduler`.
    retries
        How often a task that fails is tried again.
    skip
        Whether to leave out results that still fail, instead of ending the run.
    progress
        Whether to show a progress bar. None: where somebody may be looking.
    """

    scheduler: Any
    retries: int
    skip: bool
    progress: bool | None

    def is_fatal(self, value: Any) -> bool:
        """Whether a value is a `Failed` that ends the run.

        A cube of another scale and unfit weights always do.
        """
        if not isinstance(value, Failed):
            return False
        return not self.skip or isinstance(value.error, ScaleError | WeightsError)


class Stop(Exception):
    """A task failed, and the run has ended.

    Parameters
    ----------
    failed
        The result of that task.
    keys
        Results that cannot be computed without it.
    """

    def __init__(self, failed: Failed, keys: Iterable[Any]) -> None:
        self.failed = failed
        self.keys = tuple(keys)
        super().__init__(str(failed.error))


def find_scheduler(collection: da.Array, lazily: bool) -> Any:
    """Choose the function that computes graphs: the user's, or threads for cubes in memory."""
    if not lazily:
        return get_scheduler(scheduler=local_scheduler())
    return get_scheduler(collections=[collection])


def run(results: da.Array, policy: RetryPolicy, done: Done) -> None:
    """Compute every block of an array, and pass each to `done`.

    Parameters
    ----------
    results
        An array whose blocks may be of any type.
    policy
        How to compute them.
    done
        Called in this thread, once with each result.

    Raises
    ------
    Stop
        After a failure that ends the run, by `policy.is_fatal`.
    """
    client = getattr(policy.scheduler, "__self__", None)
    distributed = sys.modules.get("distributed")
    if distributed is not None and isinstance(client, distributed.Client):
        _run_on_cluster(results, client, policy, done)
    else:
        _run_here(results, policy, done)


def _run_here(results: da.Array, policy: RetryPolicy, done: Done) -> None:
    keys = list(flatten(results.__dask_keys__()))
    optimized = results.__dask_optimize__(results.__dask_graph__(), keys)
    graph = with_retries(dict(optimized), policy.retries)
    pending = set(keys)

    def after_task(key: Key, value: Any, _: Any, state: Mapping[str, Any], __: Any) -> None:
        if key not in graph:
            return  # of another graph, computed in another thread
        if policy.is_fatal(value):
            raise Stop(value, _results_of(key, state["dependents"], set(keys)))
        if key in pending:
            pending.remove(key)
            done(key, value)

    with Callback(posttask=after_task):
        values = policy.scheduler(graph, keys)
    for key, value in zip(keys, values, strict=True):  # of a scheduler without callbacks
        if key in pending:
            if policy.is_fatal(value):
                raise Stop(value, [key])
            done(key, value)


def _results_of(task: Key, dependents: Mapping[Key, Iterable[Key]], results: set[Key]) -> list[Key]:
    """List the results that need a task."""
    needing, work, seen = [], [task], {task}
    while work:
        key = work.pop()
        if key in results:
            needing.append(key)
        new = set(dependents.get(key, ())) - seen
        seen |= new
        work.extend(new)
    return needing


def _run_on_cluster(results: da.Array, client: Any, policy: RetryPolicy, done: Done) -> None:
    import distributed

    futures: Any = distributed.futures_of(client.persist(results, retries=policy.retries))
    finished = distributed.as_completed(futures, with_results=True, raise_errors=False)
    try:
        for future, value in finished:
            if future.status != "finished":
                value = _failed(future, value)
                if policy.is_fatal(value):
                    raise Stop(value, [future.key])
            done(future.key, value)
    finally:
        client.cancel(futures)


def _failed(future: Any, value: Any) -> Failed:
    """Make a `Failed` of a future's (type, error, traceback), or of its status."""
    error = value[1] if isinstance(value, tuple) and len(value) == 3 else value
    if not isinstance(error, BaseException):
        error = RuntimeError(f"the cluster reports the task as {future.status}")
    return Failed(error)
