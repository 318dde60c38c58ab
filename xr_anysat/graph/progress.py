"""Progress bars with rate and time left: in terminals and notebooks; in logs, a line a minute."""

import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

from xr_anysat.settings import get_option

__all__ = ["progress_bar", "task_bar"]

LOG_SECONDS = 60.0
"""Between two lines of a log."""


def progress_bar(progress: bool | None, what: str, unit: str, total: int, done: int) -> Any:
    """Bar for a ``with`` statement, hidden unless one is wanted: ``bar.update(1)`` moves it."""
    from tqdm.auto import tqdm

    hidden = not _shown(progress)
    return tqdm(desc=what, unit=unit, total=total, initial=done, disable=hidden, **_where())


def task_bar(progress: bool | None, what: str) -> AbstractContextManager[Any]:
    """Show a bar, if one is wanted, of the tasks that dask computes on this machine inside it."""
    if not _shown(progress):
        return nullcontext()
    from tqdm.dask import TqdmCallback

    bar: AbstractContextManager[Any] = TqdmCallback(desc=what, unit="task", **_where())
    return bar


def _shown(progress: bool | None) -> bool:
    """Whether to show a bar: as the user chose, or else where somebody may be looking."""
    show = get_option("progress") if progress is None else progress
    if show is None:
        return threading.current_thread() is threading.main_thread() and _watched()
    return bool(show)


def _watched() -> bool:
    """Whether a bar would be seen: in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _where() -> dict[str, Any]:
    return {} if _watched() else {"file": _Lines(sys.stderr), "mininterval": LOG_SECONDS}


class _Lines:
    """A log, in which each redrawn bar is a new line instead of a carriage return."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        text = text.replace("\r", "").strip("\n")
        if text.strip():
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        self._stream.flush()
