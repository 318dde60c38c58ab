"""What is wrong or doubtful, as data: a code, a sentence with slots, and what can be done.

The sentence and the user's data are kept apart. Only slots are filled in, so a path or a band name
always comes out as it went in, whoever words the finding: Python, the command line or HTML.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["Advice", "Call", "Finding", "Remedy", "SetOption", "Severity", "given", "in_python"]

Severity = Literal["error", "warning", "doubt", "advice"]
"""What `embed` refuses; what it warns of; what `check` asks about; what would cost less."""


@dataclass(frozen=True)
class SetOption:
    """An option to set, or a mention of one.

    Parameters
    ----------
    name
        The parameter's name in Python.
    value
        Its value. Without one, the option is only named. Within a list or a dict, ``...`` stands
        for what the user fills in.
    python
        Python code that sets it, where ``name=value`` does not.
    command
        How the command line sets it, with ``{}`` for the flag, where ``--name value`` does not.
    """

    name: str
    value: Any = ...
    python: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Call:
    """Python code that repairs the cause. It is the same wherever it is shown."""

    code: str


@dataclass(frozen=True)
class Advice:
    """What to do, in words."""

    text: str


Remedy = SetOption | Call | Advice

_PLAIN = (str, int, float, bool, list, tuple, dict, SetOption, type(None))


@dataclass(frozen=True, init=False)
class Finding:
    """Something wrong or doubtful.

    Parameters
    ----------
    code
        What kind of finding it is, as docs/troubleshooting.md indexes it: ``"bands.missing"``.
    text
        The sentence: a format string in which ``{0}``, ``{1}`` stand for the remedies and
        ``{name}`` for the data.
    *remedies
        What can be done about it.
    severity
        How bad it is.
    **data
        What was found. A `SetOption` names an argument in the words of whoever shows the finding.
        Values of foreign types are kept as text, so that findings can be pickled.

    Examples
    --------
    >>> finding = Finding(
    ...     "tile.patches",
    ...     "{given} pixels is no multiple of {patch}; the nearest is {0}.",
    ...     SetOption("tile_size", 96),
    ...     given=SetOption("tile_size", 100),
    ...     patch=4,
    ... )
    >>> str(finding)
    'tile_size=100 pixels is no multiple of 4; the nearest is tile_size=96.'
    """

    code: str
    text: str
    remedies: tuple[Remedy, ...]
    severity: Severity
    data: Mapping[str, Any]

    def __init__(
        self, code: str, text: str, /, *remedies: Remedy, severity: Severity = "error", **data: Any
    ) -> None:
        known = {
            name: value if type(value) in _PLAIN else _plain(value) for name, value in data.items()
        }
        for name, value in (
            ("code", code), ("text", text), ("remedies", remedies), ("severity", severity),
            ("data", known),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return hash((self.code, self.text, str(self)))

    def __str__(self) -> str:
        return self.render()

    def render(
        self, words: "Callable[[Remedy], str] | None" = None, *, with_code: bool = False
    ) -> str:
        """Fill the slots in.

        Parameters
        ----------
        words
            Says remedies and mentions of options. Default: in Python.
        with_code
            Put the code behind the sentence, in brackets.
        """
        words = words or in_python
        data = {
            name: words(value) if isinstance(value, SetOption) else value
            for name, value in self.data.items()
        }
        text = self.text.format(*map(words, self.remedies), **data)
        return f"{text} [{self.code}]" if with_code else text


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.number | np.bool_) else str(value)


def given(name: str, value: Any) -> SetOption:
    """Mention an argument with the value that it has, of whatever type."""
    return SetOption(name, python=f"{name}={value!r}", command=f"{{}} {shlex.quote(str(value))}")


def in_python(remedy: Remedy) -> str:
    """Say a remedy in Python."""
    match remedy:
        case SetOption(python=str() as code) | Call(code=code):
            return code
        case SetOption(name=name, value=value):
            return f"{name}=" if value is ... else f"{name}={_as_code(value)}"
        case Advice(text=text):
            return text


def _as_code(value: Any) -> str:
    """Write a value as Python code, text in double quotes."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_as_code, value))}]"
        case dict():
            pairs = (f"{_as_code(key)}: {_as_code(part)}" for key, part in value.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            return "..." if value is ... else repr(value)
