"""Settings of a process, and packages that only some calls need."""

from importlib import import_module
from typing import Any

from .errors import MissingExtraError, OptionError
from .findings import Call

__all__ = ["get_option", "require", "set_options"]

_OPTIONS: dict[str, Any] = {"progress": None}

PACKAGES = {"netCDF4": "netcdf4", "odc": "odc-stac", "sklearn": "scikit-learn"}
"""What to install for a module of another name."""


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
            raise OptionError("settings.unknown", unknown=sorted(unknown), known=sorted(_OPTIONS))
        if options.get("progress") not in (None, True, False):
            raise OptionError("settings.progress", value=options["progress"])
        self._before = {name: _OPTIONS[name] for name in options}
        _OPTIONS.update(options)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _OPTIONS.update(self._before)


def get_option(name: str) -> Any:
    """Value of an option."""
    return _OPTIONS[name]


def require(module: str, extra: str, call: str) -> Any:
    """Import a module of an extra.

    Parameters
    ----------
    module
        Its full name.
    extra
        The extra that has it.
    call
        What needs it, for the message.

    Raises
    ------
    MissingExtraError
        Where it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        package = PACKAGES.get(name, name)
        ways = package, f'"xr-anysat[{extra}]"', f'-e ".[{extra}]"'
        data = {"call": call, "package": package, "error": error, "extra": extra}
        installs = (Call(f"pip install {what}") for what in ways)
        raise MissingExtraError("extra.missing", *installs, **data) from error
