"""Graphs of many results computed so that one that fails does not take the others with it.

On a cluster each result is a future, and the scheduler tries tasks again. On this machine tasks
are guarded (see `guard`), whichever of dask's schedulers runs them.
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

from .retries import Failed, guarded

__all__ = ["RetryPolicy", "Stop", "find_scheduler", "run"]

Done = Callable[[Key, Any], None]
"""Told the key and the value of each result as it comes, a `Failed` among them."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How results are computed, and what becomes of those that cannot be.

    Parameters
    ----------
    scheduler
        What `find_scheduler` found.
    retries
        How often a task that fails is tried again.
    skip
        Whether what fails nevertheless is left out, and does not end everything.
    progress
        Whether to show a progress bar; None: where someone may be looking.
    """

    scheduler: Any
    retries: int
    skip: bool
    progress: bool | None

    def ends(self, failed: Failed) -> bool:
        """Whether a failure ends everything: errors of the cube or the network always do."""
        return not self.skip or isinstance(failed.error, ScaleError | WeightsError)


class Stop(Exception):
    """Something failed, and nothing more is to be tried.

    Parameters
    ----------
    failed
        What.
    keys
        Results that cannot be computed without it.
    """

    def __init__(self, failed: Failed, keys: Iterable[Any]) -> None:
        self.failed = failed
        self.keys = tuple(keys)
        super().__init__(str(failed.error))


def find_scheduler(collection: da.Array, lazily: bool) -> Any:
    """Find the function that computes graphs: the user's choice, or threads for cubes in memory."""
    if not lazily:
        return get_scheduler(scheduler=local_scheduler())
    return get_scheduler(collections=[collection])


def run(
    results: da.Array,
    effort: RetryPolicy,
    done: Done,
    *,
    fatal: Callable[[Failed], bool] | None = None,
) -> None:
    """Compute every block of an array, and hand each to `done`.

    Parameters
    ----------
    results
        Blocks of anything.
    effort
        How.
    done
        Called in this thread, with each result once.
    fatal
        Says which failures end everything. Default: as the effort has it.

    Raises
    ------
    Stop
        For what is fatal.
    """
    fatal = effort.ends if fatal is None else fatal
    client = getattr(effort.scheduler, "__self__", None)
    distributed = sys.modules.get("distributed")
    if distributed is not None and isinstance(client, distributed.Client):
        _run_on_cluster(results, client, effort.retries, fatal, done)
    else:
        _run_here(results, effort.scheduler, effort.retries, fatal, done)


def _run_here(
    results: da.Array, scheduler: Any, retries: int, fatal: Callable[[Failed], bool], done: Done
) -> None:
    wanted = list(flatten(results.__dask_keys__()))
    graph = guarded(
        dict(results.__dask_optimize__(results.__dask_graph__(), wanted)),
        retries,
    )
    waited = set(wanted)

    def seen(key: Key, value: Any, _: Any, state: Mapping[str, Any], __: Any) -> None:
        if key not in graph:
            return  # somebody else's, computed in another thread
        if isinstance(value, Failed) and fatal(value):
            raise Stop(value, _reached(key, state["dependents"], set(wanted)))
        if key in waited:
            waited.remove(key)
            done(key, value)

    with Callback(posttask=seen):
        values = scheduler(graph, wanted)
    for key, value in zip(wanted, values, strict=True):  # of schedulers that do not call back
        if key in waited:
            if isinstance(value, Failed) and fatal(value):
                raise Stop(value, [key])
            done(key, value)


def _reached(key: Key, dependents: Mapping[Key, Iterable[Key]], wanted: set[Key]) -> list[Key]:
    """Find the results that need a task."""
    found, work, seen = [], [key], {key}
    while work:
        one = work.pop()
        if one in wanted:
            found.append(one)
        new = set(dependents.get(one, ())) - seen
        seen |= new
        work.extend(new)
    return found


def _run_on_cluster(
    results: da.Array, client: Any, retries: int, fatal: Callable[[Failed], bool], done: Done
) -> None:
    import distributed

    futures: Any = distributed.futures_of(client.persist(results, retries=retries))
    try:
        for future, value in distributed.as_completed(
            futures, with_results=True, raise_errors=False
        ):
            if future.status != "finished":
                value = _failed(future, value)
                if fatal(value):
                    raise Stop(value, [future.key])
            done(future.key, value)
    finally:
        client.cancel(futures)


def _failed(future: Any, value: Any) -> Failed:
    """Make a `Failed` of a future's (type, error, traceback), or of what became of it."""
    error = value[1] if isinstance(value, tuple) and len(value) == 3 else value
    if not isinstance(error, BaseException):
        error = RuntimeError(f"the cluster says that the task was {future.status}")
    return Failed(error)
