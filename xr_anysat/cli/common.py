"""What every command does: take options in groups, and turn errors into messages and statuses."""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import typer

from xr_anysat.errors import AnySatError, AnySatWarning, CubeError, OptionError

from .wording import in_options

__all__ = ["Teller", "as_command", "say"]

LISTS = ("faults", "doubts", "advice")
"""Fields of reports that hold messages."""


def say(message: str) -> None:
    """Print to standard output."""
    typer.echo(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teller:
    """Says what the library has to say, in the options of the command that runs.

    Parameters
    ----------
    own, others
        Options of this command, and of `embed`, by parameter.
    """

    own: Mapping[str, str]
    others: Mapping[str, str]

    @classmethod
    def of(cls, context: Any) -> "Teller":
        """Take the options from the command line's own knowledge of them."""
        commands = getattr(context.find_root().command, "commands", {})
        return cls(own=_flags(context.command), others=_flags(commands.get("embed")))

    def message(self, text: object) -> str:
        """Give a message of the library as it is to be printed."""
        return in_options(str(text), self.own, self.others)

    def report(self, report: Any) -> str:
        """Give a report, such as a check or a plan, as it is to be printed."""
        lists = {name: getattr(report, name) for name in LISTS if hasattr(report, name)}
        said = {name: tuple(map(self.message, texts)) for name, texts in lists.items()}
        return str(dataclasses.replace(report, **said))

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        """Print the package's own warnings without the place in the code that they come from."""
        if issubclass(category, AnySatWarning):
            said = f"warning: {self.message(message)}"
        else:
            said = warnings.formatwarning(message, category, filename, lineno, line)
        typer.echo(said.rstrip(), err=True)


def _flags(command: Any) -> dict[str, str]:
    """Options of a command by the name of their parameter, as in ``--patch-size``."""
    return {
        param.name: param.opts[0]
        for param in getattr(command, "params", ())
        if param.opts[0].startswith("--")
    }


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function, which may take its options in groups.

    A parameter whose type is a dataclass stands for an option for each of its fields; one called
    `teller` gets the `Teller`, and one called `files` a stack that is closed at the end. Errors
    of the package and of the disk become a message and an exit status.
    """
    asked = inspect.signature(function).parameters
    given = {"teller", "files"}.intersection(asked)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in asked.items()
        if dataclasses.is_dataclass(parameter.annotation) and name not in given
    }
    parameters = [_keyword("context", typer.Context)]
    for name, parameter in asked.items():
        if name in groups:
            fields = dataclasses.fields(groups[name])
            parameters += [_keyword(field.name, field.type, field.default) for field in fields]
        elif name not in given:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        teller = Teller.of(values.pop("context"))
        for name, group in groups.items():
            names = [field.name for field in dataclasses.fields(group)]
            values[name] = group(**{each: values.pop(each) for each in names})
        with _reported(teller) as files:
            known = {"teller": teller, "files": files}
            function(**values, **{name: known[name] for name in given})

    # What typer makes options of, by either of the two ways in which its versions look.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _keyword(name: str, kind: Any, default: Any = dataclasses.MISSING) -> inspect.Parameter:
    given = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=given, annotation=kind)


@contextmanager
def _reported(teller: Teller) -> Iterator[ExitStack]:
    """Turn errors into a message and an exit status, and close at the end what was opened."""
    try:
        with warnings.catch_warnings(), ExitStack() as files:
            warnings.simplefilter("always", AnySatWarning)
            warnings.showwarning = teller.warn
            yield files
    except (CubeError, OptionError) as error:
        typer.echo(f"error: {teller.message(error)}", err=True)
        raise typer.Exit(2) from None
    except (AnySatError, OSError) as error:
        typer.echo(f"error: {teller.message(error)}", err=True)
        raise typer.Exit(1) from None
