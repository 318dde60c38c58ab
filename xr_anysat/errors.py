"""Errors and warnings.

Every error of this package derives from :class:`AnySatError`, and from the built-in exception a
caller would expect besides: ``ValueError`` for cubes and options, ``OSError`` for weights and
stores.
"""

from collections.abc import Iterable

__all__ = [
    "AnySatError",
    "AnySatWarning",
    "CubeError",
    "MissingExtraError",
    "OptionError",
    "ScaleError",
    "StoreError",
    "WeightsError",
]


class AnySatError(Exception):
    """Base class of every error that xr_anysat raises."""


class OptionError(AnySatError, ValueError):
    """An argument is not one that the call accepts."""


class CubeError(AnySatError, ValueError):
    """The cube is not one that AnySat can embed.

    Parameters
    ----------
    faults
        Every fault found, one sentence or more each: what was found, what is needed, and the
        call that repairs it.

    Attributes
    ----------
    faults : tuple of str
        The same, for programs.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            message = self.faults[0]
        else:
            lines = "\n".join(f"  {n}. {fault}" for n, fault in enumerate(self.faults, 1))
            message = f"the cube has {len(self.faults)} faults:\n{lines}"
        super().__init__(message)

    def __reduce__(self) -> tuple[type["CubeError"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


class MissingExtraError(AnySatError, ImportError):
    """A package is not installed that only this call needs."""


class ScaleError(AnySatError, ValueError):
    """The cube's values are not on the scale that the normalisation was made for."""


class WeightsError(AnySatError, OSError):
    """The network's weights cannot be found or read, or do not fit."""


class StoreError(AnySatError, OSError, ValueError):
    """A store is not one to write to or to read from, or a region of it could not be written."""


class AnySatWarning(UserWarning):
    """Something about the cube or the weights that is no error, but should be known."""
