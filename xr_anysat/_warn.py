"""Warnings that point at the user's line."""

import sys
import warnings
from pathlib import Path

from .errors import AnySatWarning

__all__ = ["warn"]

_HERE = str(Path(__file__).parent)


def warn(message: str) -> None:
    """Warn with `AnySatWarning`, from the first frame outside this package."""
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        level += 1
        if frame.f_back is None:
            break
        frame = frame.f_back
    warnings.warn(message, AnySatWarning, stacklevel=level)
