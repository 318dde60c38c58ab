"""Settings of a process."""

from typing import Any

from .errors import OptionError

__all__ = ["get_option", "set_options"]

_OPTIONS: dict[str, Any] = {"progress": None}


class set_options:
    """Set options, for good or within a ``with`` block.

    Parameters
    ----------
    progress : bool or None
        Show a progress bar while a cube in memory is embedded. None (the default): where someone
        may be looking, that is in the main thread of a notebook or a terminal.

    Raises
    ------
    OptionError
        For an unknown option.

    Examples
    --------
    >>> import xr_anysat
    >>> with xr_anysat.set_options(progress=False):
    ...     pass
    """

    def __init__(self, **options: Any) -> None:
        unknown = set(options) - set(_OPTIONS)
        if unknown:
            raise OptionError(f"unknown options {sorted(unknown)}; there are {sorted(_OPTIONS)}")
        if options.get("progress") not in (None, True, False):
            raise OptionError(f"progress={options['progress']!r} is neither True, False nor None")
        self._before = {name: _OPTIONS[name] for name in options}
        _OPTIONS.update(options)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _OPTIONS.update(self._before)


def get_option(name: str) -> Any:
    """Value of an option."""
    return _OPTIONS[name]
