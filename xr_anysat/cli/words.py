"""Findings in the words of a command: its options in place of Python's arguments."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xr_anysat.findings import Remedy, SetOption, in_python

__all__ = ["Words"]

Options = Mapping[str, str]

REPEATED = {"bands": "band", "dates": "date"}
"""Arguments with several values, and the options that are given once for each."""


@dataclass(frozen=True)
class Words:
    """Words remedies and mentions of arguments for whoever runs a command.

    What the command has no option for is said in Python.

    Parameters
    ----------
    own, others
        Options of this command, and of `embed`, by the name of their parameter.
    elsewhere
        Options that were asked for and that only `embed` has, in order; their values are None.
    """

    own: Options
    others: Options
    elsewhere: dict[str, None] = field(default_factory=dict)

    def __call__(self, remedy: Remedy) -> str:
        """Word a remedy."""
        if isinstance(remedy, SetOption):
            flag = self.own.get(REPEATED.get(remedy.name, remedy.name))
            text = None if flag is None else _as_option(remedy, flag)
            if text is not None:
                return text
            if flag is None and (other := self.others.get(REPEATED.get(remedy.name, remedy.name))):
                self.elsewhere[other] = None
        return in_python(remedy)


def _as_option(remedy: SetOption, flag: str) -> str | None:
    """Write an argument as an option; None where that cannot be done."""
    if remedy.command is not None:
        return remedy.command.replace("{}", flag, 1)
    match remedy.value:
        case value if value is ... or value is True:
            return flag
        case str() | int() | float() as value:
            return f"{flag} {shlex.quote(str(value))}" if value is not False else None
        case [*values] if remedy.name in REPEATED and values:
            given = [f"{flag} {shlex.quote(str(value))}" for value in values if value is not ...]
            return " ".join(given) + " and so on" * (len(given) < len(values))
        case dict() as pairs if remedy.name in REPEATED and pairs:
            return " ".join(f"{flag} {_pair(key, value)}" for key, value in pairs.items())
    return None


def _pair(key: Any, value: Any) -> str:
    return shlex.quote(f"{key}={'NAME' if value is ... else value}")
