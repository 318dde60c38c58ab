"""Progress bars: with rate and time left, in terminals, notebooks and, rarely enough, in logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .eager import shown, watched

__all__ = ["progress_bar"]

LOG_SECONDS = 60.0
"""Between two lines of a log."""


@contextmanager
def progress_bar(
    progress: bool | None, what: str, unit: str, total: int, done: int
) -> Iterator[Any]:
    """Show a bar, if one is wanted, and yield what is told of progress: ``bar.update(1)``."""
    if not shown(progress):
        yield _Nothing()
        return
    from tqdm.auto import tqdm

    log = {} if watched() else {"file": _Lines(sys.stderr), "mininterval": LOG_SECONDS}
    with tqdm(desc=what, unit=unit, total=total, initial=done, **log) as bar:
        yield bar


class _Nothing:
    def update(self, _: int) -> None: ...

    def set_postfix_str(self, _: str) -> None: ...


class _Lines:
    """A log: what goes back to the start of a line in a terminal begins a new one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        text = text.replace("\r", "").strip("\n")
        if text.strip():
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        self._stream.flush()
