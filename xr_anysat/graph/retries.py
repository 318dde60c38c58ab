"""Tasks that may fail without the others: tried again, then handed on as a value.

Dask's local schedulers give up a whole graph when one of its tasks raises. Here a task that keeps
failing returns a `Failed`, whoever needs it returns the same, and the rest goes on.
"""

import pickle
import time
import traceback
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.core import get as get_here
from dask.core import get_dependencies
from dask.layers import ArrayChunkShapeDep
from dask.typing import Key

from xr_anysat.errors import CubeError, ScaleError

__all__ = ["Failed", "check_blocks", "guarded", "stripped"]

PAUSE = 0.2
"""Seconds before a task is tried for the second time; doubled with each time more."""


class Failed:
    """What a task returns that failed, or that needed one that did.

    Parameters
    ----------
    error
        What was raised.
    text
        Its traceback.
    """

    def __init__(self, error: BaseException, text: str | None = None) -> None:
        self.text = "".join(traceback.format_exception(error)) if text is None else text
        self.error = stripped(error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors that do not pickle are replaced by what they said."""
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # noqa: BLE001  an error of anybody's class
            said = RuntimeError(f"{type(self.error).__name__}: {self.error}")
            return type(self), (said, self.text)
        return type(self), (self.error, self.text)


def stripped(error: BaseException) -> BaseException:
    """Take off the traceback, and those of its causes: their frames hold blocks in memory."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def guarded(graph: Mapping[Key, Any], retries: int) -> dict[Key, Any]:
    """Wrap the tasks of a low-level graph.

    Parameters
    ----------
    graph
        Tasks by key, optimized already.
    retries
        How often a task is tried again.
    """
    found: dict[Key, Any] = {}
    for key, task in graph.items():
        needs = list(get_dependencies(graph, key))
        found[key] = (_Guarded(task, needs, retries), needs)
    return found


class _Guarded:
    """A task that returns `Failed` instead of raising; called with the values that it needs."""

    __slots__ = ("needs", "retries", "task")

    def __init__(self, task: Any, needs: list[Key], retries: int) -> None:
        self.task = task
        self.needs = needs
        self.retries = retries

    def __call__(self, values: list[Any]) -> Any:
        for value in values:
            if isinstance(value, Failed):
                return value
        attempt = 0
        while True:
            try:
                return self._run(dict(zip(self.needs, values, strict=True)))
            except Exception as error:  # noqa: BLE001  whatever a reader raises
                if attempt >= self.retries or isinstance(error, ScaleError):
                    return Failed(error)
            time.sleep(PAUSE * 2**attempt)
            attempt += 1

    def _run(self, values: dict[Key, Any]) -> Any:
        if callable(self.task):  # dask's own kind of task
            return self.task(values)
        return get_here({"task": self.task}, "task", values)


def check_blocks(cube: Any) -> Any:
    """Have each block of a lazy cube compared with what its chunks promise, when it is read.

    A reader that gives a block of another shape would otherwise shift what lies beside it, and
    nobody would notice. Whatever is no lazy cube is returned as it is.
    """
    if isinstance(cube, xr.Dataset):
        lazy = {name: v for name, v in cube.data_vars.items() if isinstance(v.data, da.Array)}
        return cube.assign({name: check_blocks(v) for name, v in lazy.items()})
    if not isinstance(cube, xr.DataArray) or not isinstance(cube.data, da.Array):
        return cube
    checked = cube.copy(data=_checked(cube.data))
    checked.encoding = dict(cube.encoding)
    return checked


def _checked(array: da.Array) -> da.Array:
    axes = tuple(range(array.ndim))
    return da.blockwise(
        _of_shape, axes, array, axes, ArrayChunkShapeDep(array.chunks), axes,
        dtype=array.dtype, meta=array._meta, align_arrays=False,
        token=f"anysat-checked-{array.name}",
    )  # fmt: skip


def _of_shape(block: Any, shape: tuple[int, ...]) -> Any:
    if np.shape(block) != tuple(shape):
        raise CubeError(
            [
                f"a block of the cube was read with shape {np.shape(block)}, but its chunks say "
                f"{tuple(shape)}: the file has changed or is cut short, or the function that reads "
                "it is wrong. Open the cube again, or repair the file."
            ]
        )
    return block
