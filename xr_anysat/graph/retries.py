"""Tasks that are tried again when they fail, and do not end the graph if they keep failing.

Dask's local schedulers give up a whole graph when one of its tasks raises. Here, a task that keeps
failing returns a `Failed`, tasks that need it return the same `Failed`, and all others go on.
"""

import pickle
import time
import traceback
from collections.abc import Mapping
from typing import Any

from dask.core import get, get_dependencies
from dask.task_spec import Task, TaskRef
from dask.typing import Key

from xr_anysat.errors import ScaleError

__all__ = ["Failed", "with_retries"]

PAUSE = 0.2
"""Seconds before the second try of a task; doubled before each further one."""


class Failed:
    """Result of a task that failed, or that needed one that did.

    Parameters
    ----------
    error
        What was raised.
    text
        Its traceback.
    """

    def __init__(self, error: BaseException, text: str | None = None) -> None:
        self.text = "".join(traceback.format_exception(error)) if text is None else text
        self.error = _without_traceback(error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Replace an error that cannot be pickled by its message."""
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # noqa: BLE001  an error of any class
            message = RuntimeError(f"{type(self.error).__name__}: {self.error}")
            return type(self), (message, self.text)
        return type(self), (self.error, self.text)


def _without_traceback(error: BaseException) -> BaseException:
    """Remove the tracebacks of an error and its causes: their frames keep blocks in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def with_retries(graph: Mapping[Key, Any], retries: int) -> dict[Key, Task]:
    """Wrap the tasks of a low-level graph.

    Parameters
    ----------
    graph
        Tasks by key, already optimized.
    retries
        How often a task that fails is tried again.
    """
    wrapped: dict[Key, Task] = {}
    for key, task in graph.items():
        needs = list(get_dependencies(graph, key))
        wrapped[key] = Task(key, _Retried(task, needs, retries), *map(TaskRef, needs))
    return wrapped


class _Retried:
    """A task that returns a `Failed` instead of raising; called with the values that it needs."""

    __slots__ = ("needs", "retries", "task")

    def __init__(self, task: Any, needs: list[Key], retries: int) -> None:
        self.task = task
        self.needs = needs
        self.retries = retries

    def __call__(self, *values: Any) -> Any:
        for value in values:
            if isinstance(value, Failed):
                return value
        attempt = 0
        while True:
            try:
                return self._run(dict(zip(self.needs, values, strict=True)))
            except Exception as error:  # noqa: BLE001  any error of a reader
                if attempt >= self.retries or isinstance(error, ScaleError):
                    return Failed(error)
            time.sleep(PAUSE * 2**attempt)
            attempt += 1

    def _run(self, values: dict[Key, Any]) -> Any:
        if callable(self.task):
            return self.task(values)
        return get({"task": self.task}, "task", values)  # a tuple, of a graph that dask left as is
