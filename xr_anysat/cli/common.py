"""What every command does: say things, and turn errors into messages and exit statuses."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import typer

from xr_anysat.errors import AnySatError, AnySatWarning, CubeError, OptionError

__all__ = ["reported", "say"]


def say(message: str) -> None:
    """Print to standard output."""
    typer.echo(message)


@contextmanager
def reported() -> Iterator[ExitStack]:
    """Turn errors of the package and of the disk into a message and an exit status.

    What the command opens goes on the stack, and is closed at its end.
    """
    try:
        with warnings.catch_warnings(), ExitStack() as files:
            warnings.simplefilter("always", AnySatWarning)
            warnings.showwarning = _show
            yield files
    except (CubeError, OptionError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except (AnySatError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Print the package's own warnings without the place in the code that they come from."""
    plain = issubclass(category, AnySatWarning)
    text = f"warning: {message}" if plain else warnings.formatwarning(message, category, *place[:2])
    typer.echo(text.rstrip(), err=True)
