"""Packages that only some calls need."""

from importlib import import_module
from typing import Any

from .errors import MissingExtraError

__all__ = ["require"]


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
        raise MissingExtraError(
            f'{call} needs {module} ({error}); install it: pip install "xr-anysat[{extra}]".'
        ) from error
