"""Errors and warnings: each carries what was found as data.

Every error of this package derives from :class:`AnySatError`, and from the built-in exception a
caller would expect besides: ``ValueError`` for cubes and options, ``OSError`` for weights and
stores.
"""

import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .findings import Finding, Remedy

__all__ = [
    "AnySatError",
    "AnySatWarning",
    "CubeError",
    "KeywordError",
    "MissingExtraError",
    "OptionError",
    "ScaleError",
    "StoreError",
    "WeightsError",
    "as_findings",
    "message_of",
    "warn",
]

_HERE = str(Path(__file__).parent)

Words = Callable[[Remedy], str]


class _WithFindings(Exception):
    """What errors and warnings have in common."""

    def __init__(
        self, what: str | Finding | Iterable[Finding], /, *remedies: Remedy, **data: Any
    ) -> None:
        self.findings = as_findings(what, *remedies, **data)
        super().__init__(message_of(self.findings))

    @property
    def faults(self) -> tuple[str, ...]:
        """Each finding in words."""
        return tuple(map(str, self.findings))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.findings,)


class AnySatError(_WithFindings):
    """Base class of every error that xr_anysat raises.

    Parameters
    ----------
    what
        What is wrong: findings, or the name of one message.
    *remedies, **data
        With a name, the rest of that `Finding`.

    Attributes
    ----------
    findings : tuple of Finding
        What is wrong, for programs.
    faults : tuple of str
        Each finding in words: what was found, what is needed, and the call that repairs it.
    """


class OptionError(AnySatError, ValueError):
    """An argument is not one that the call accepts."""


class KeywordError(AnySatError, TypeError):
    """A keyword argument is not one that the function has."""


class CubeError(AnySatError, ValueError):
    """The cube is not one that AnySat can embed."""


class MissingExtraError(AnySatError, ImportError):
    """A package is not installed that only this call needs."""


class ScaleError(AnySatError, ValueError):
    """The cube's values are not on the scale that the normalisation was made for."""


class WeightsError(AnySatError, OSError):
    """The network's weights cannot be found or read, or do not fit."""


class StoreError(AnySatError, OSError, ValueError):
    """A store is not one to write to or to read from, or a region of it could not be written."""


class AnySatWarning(_WithFindings, UserWarning):
    """Something about the cube or the weights that is no error, but should be known.

    Attributes
    ----------
    findings : tuple of Finding
        What it is, for programs.
    """


def as_findings(
    what: str | Finding | Iterable[Finding], /, *remedies: Remedy, **data: Any
) -> tuple[Finding, ...]:
    """Make a tuple of findings: of several, of one, or of one by its name."""
    if isinstance(what, str):
        what = Finding(what, *remedies, **data)
    return (what,) if isinstance(what, Finding) else tuple(what)


def message_of(
    findings: tuple[Finding, ...], words: Words | None = None, *, with_codes: bool = False
) -> str:
    """Word all findings: one by itself, several as a list.

    Parameters
    ----------
    findings
        At least one.
    words
        Says remedies and mentions of options. Default: in Python.
    with_codes
        Put its code behind each.
    """
    texts = [finding.render(words, with_code=with_codes) for finding in findings]
    if len(texts) == 1:
        return texts[0]
    lines = "\n".join(f"  {n}. {text}" for n, text in enumerate(texts, 1))
    return f"{len(findings)} faults were found:\n{lines}"


def warn(what: str | Finding | Iterable[Finding], /, *remedies: Remedy, **data: Any) -> None:
    """Warn of each finding with `AnySatWarning`, from the first frame outside this package.

    Parameters
    ----------
    what, *remedies, **data
        As errors take them.
    """
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        level += 1
        if frame.f_back is None:
            break
        frame = frame.f_back
    for finding in as_findings(what, *remedies, **data):
        warnings.warn(AnySatWarning(finding), stacklevel=level)
