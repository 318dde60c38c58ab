"""What is wrong or doubtful, as data: a code, the user's data, and what can be done.

The sentence of each code lies in ``messages.toml``. Only its slots are filled in, so a path or a
band name always comes out as it went in, whoever words the finding: Python, the command line or
HTML.
"""

import json
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
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


@cache
def messages() -> Mapping[str, tuple[Severity, str]]:
    """Severity and text of every message, by its name in ``messages.toml``."""
    catalogue: dict[Any, dict[str, str]] = tomllib.loads(
        files("xr_anysat").joinpath("messages.toml").read_text("utf-8")
    )
    return {
        name: (severity, text)
        for severity, texts in catalogue.items()
        for name, text in texts.items()
    }


@dataclass(frozen=True, init=False)
class Finding:
    """Something wrong or doubtful.

    Parameters
    ----------
    name
        Name of the message in ``messages.toml``: a code such as ``"bands.missing"``, and behind a
        slash the variant, where a code has several wordings. The message is a format string in
        which ``{0}``, ``{1}`` stand for the remedies and ``{name}`` for the data.
    *remedies
        What can be done about it.
    **data
        What was found. A `SetOption` names an argument, with its value, in the words of whoever
        shows the finding. Values of foreign types are kept as text, so that findings can be
        pickled. Arguments that a message always mentions need no data: ``{arg.mask}``.

    Examples
    --------
    >>> finding = Finding(
    ...     "tile.patches",
    ...     SetOption("tile_size", 96),
    ...     option=SetOption("tile_size", 100),
    ...     patch=8,
    ...     size=80.0,
    ... )
    >>> finding.severity, str(finding).partition("; ")[2]
    ('error', 'the nearest is tile_size=96.')
    """

    name: str
    remedies: tuple[Remedy, ...]
    data: Mapping[str, Any]

    def __init__(self, name: str, /, *remedies: Remedy, **data: Any) -> None:
        plain = {
            key: value if type(value) in _PLAIN else _plain(value) for key, value in data.items()
        }
        for field, value in (("name", name), ("remedies", remedies), ("data", plain)):
            object.__setattr__(self, field, value)

    def __hash__(self) -> int:
        return hash((self.name, str(self)))

    def __str__(self) -> str:
        return self.render()

    @property
    def code(self) -> str:
        """What kind of finding it is, as docs/troubleshooting.md indexes it."""
        return self.name.partition("/")[0]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return messages()[self.name][0]

    @property
    def text(self) -> str:
        """The message, with its slots."""
        return messages()[self.name][1]

    def render(
        self, words: "Callable[[Remedy], str] | None" = None, *, with_code: bool = False
    ) -> str:
        """Fill the slots in.

        Parameters
        ----------
        words
            Says remedies and mentions of options. Default: in Python.
        with_code
            Whether the code follows in brackets.
        """
        words = words or in_python
        data = {
            key: words(value) if isinstance(value, SetOption) else value
            for key, value in self.data.items()
        }
        text = self.text.format(*map(words, self.remedies), arg=_Mentions(words), **data)
        return f"{text} [{self.code}]" if with_code else text


class _Mentions:
    """Arguments by name, as attributes: what ``{arg.mask}`` in a message stands for."""

    def __init__(self, words: Callable[[Remedy], str]) -> None:
        self._words = words

    def __getattr__(self, name: str) -> str:
        return self._words(SetOption(name))


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
