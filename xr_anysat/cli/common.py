"""What every command does: take options in groups, and turn errors into messages and statuses."""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import typer

from xr_anysat.errors import AnySatError, AnySatWarning, CubeError, OptionError, message_of
from xr_anysat.findings import Finding

from .words import Options, Words

__all__ = ["Reporter", "as_command", "say"]


def say(message: str) -> None:
    """Print to standard output."""
    typer.echo(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reporter:
    """Words findings and reports in the options of the command that runs.

    Parameters
    ----------
    own, others
        Options of this command, and of `embed`, by the name of their parameter.
    """

    own: Options
    others: Options

    @classmethod
    def of(cls, context: Any) -> "Reporter":
        """Take the options from the command line's own knowledge of them."""
        commands = getattr(context.find_root().command, "commands", {})
        return cls(own=_flags(context.command), others=_flags(commands.get("embed")))

    def message(self, findings: tuple[Finding, ...]) -> str:
        """Word the findings of an error or a warning, with their codes."""
        return self._worded(functools.partial(message_of, findings, with_codes=True))

    def report(self, report: Any) -> str:
        """Word a report, such as a check or a plan."""
        return self._worded(report.render)

    def _worded(self, render: Callable[[Words], str]) -> str:
        words = Words(self.own, self.others)
        text = render(words)
        if words.elsewhere:
            text += f"\n`xr-anysat embed` has options for this: {', '.join(words.elsewhere)}"
        return text

    def warn(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        """Print the package's own warnings without the place in the code that they come from."""
        if isinstance(message, AnySatWarning):
            text = f"warning: {self.message(message.findings)}"
        else:
            text = warnings.formatwarning(message, category, filename, lineno)
        typer.echo(text.rstrip(), err=True)


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
    `reporter` gets the `Reporter`, and one called `files` a stack that is closed at the end.
    Errors of the package and of the disk become a message and an exit status.
    """
    declared = inspect.signature(function).parameters
    provided = {"reporter", "files"}.intersection(declared)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in declared.items()
        if dataclasses.is_dataclass(parameter.annotation) and name not in provided
    }
    parameters = [_keyword("context", typer.Context)]
    for name, parameter in declared.items():
        if name in groups:
            fields = dataclasses.fields(groups[name])
            parameters += [_keyword(field.name, field.type, field.default) for field in fields]
        elif name not in provided:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        reporter = Reporter.of(values.pop("context"))
        with _reported(reporter) as files:
            for name, group in groups.items():
                names = [field.name for field in dataclasses.fields(group)]
                values[name] = group(**{each: values.pop(each) for each in names})
            known = {"reporter": reporter, "files": files}
            function(**values, **{name: known[name] for name in provided})

    # What typer makes options of, by either of the two ways in which its versions look.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _keyword(name: str, kind: Any, default: Any = dataclasses.MISSING) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


@contextmanager
def _reported(reporter: Reporter) -> Iterator[ExitStack]:
    """Turn errors into a message and an exit status, and close at the end what was opened."""
    try:
        with warnings.catch_warnings(), ExitStack() as files:
            warnings.simplefilter("always", AnySatWarning)
            warnings.showwarning = reporter.warn  # type: ignore[assignment]
            yield files
    except AnySatError as error:
        typer.echo(f"error: {reporter.message(error.findings)}", err=True)
        raise typer.Exit(2 if isinstance(error, CubeError | OptionError) else 1) from None
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
