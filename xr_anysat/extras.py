"""Packages that only some calls need."""

from importlib import import_module
from typing import Any

from .errors import MissingExtraError

__all__ = ["require"]

PACKAGES = {"netCDF4": "netcdf4", "odc": "odc-stac", "sklearn": "scikit-learn"}
"""What to install for a module of another name."""


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
        raise MissingExtraError(
            f"{call} needs {package} ({error}); install it: pip install {package}, or the extra "
            f'{extra!r} with all that belongs to it: pip install "xr-anysat[{extra}]", in a clone '
            f'pip install -e ".[{extra}]".'
        ) from error
