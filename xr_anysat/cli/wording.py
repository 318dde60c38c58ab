"""What the library says in Python, said in the options of a command.

Messages name arguments, ``overlap=0``, and calls, ``cube.anysat.embed(bands={"B2": "my_blue"})``.
Whoever reads them at a prompt is told ``--overlap 0`` and ``--band B2=my_blue``. What has no option
stays as it is.
"""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping

__all__ = ["in_options"]

Options = Mapping[str, str]

RENAMED = {"bands": "band", "dates": "date"}
"""Arguments whose option is given once for each of their values."""

PHRASES = {
    "cube.rio.write_nodata(0)": ("nodata", "{} 0"),
    'dates=cube.indexes["time"] + pd.Timedelta(days=14)': ("date", "{}, once for each image"),
    "labels=, a DataArray (y, x)": ("labels", "{}, a variable or a raster"),
    "normalize=cube.anysat.band_stats().compute()": (
        "normalize",
        '{} stats.nc, a file that cube.anysat.band_stats().to_netcdf("stats.nc") writes in Python',
    ),
    "normalize=stats": ("normalize", "{} stats.nc"),
}
"""What is no literal argument, its parameter, and how to say it with the option."""

_CALL = re.compile(
    r"(?P<call>(?:cube\.anysat\.embed|(?:xr_anysat\.)?Model)\([^()]+\))"
    r"( or cube\.[\w.]+\([^()]*\))?"
)
"""A call, and another way to do the same in Python, which goes where the first is rewritten."""

_FIRST = {"embed": "mode", "Model": "size"}
"""Name of the argument that a call takes without saying its name."""

_VALUE = r"""\"[^"]*\"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|-?\d+(?:\.\d+)?|True"""
_ARGUMENT = re.compile(
    rf"(?<!\w\()(?<![\w.])(?P<name>[a-z_]+)=(?:(?P<value>{_VALUE})(?![\w(\[])|(?![\w\"'(\[{{=.]))"
)


def in_options(message: str, own: Options, others: Options) -> str:
    """Say a message with the options of a command in place of arguments.

    Parameters
    ----------
    message
        As the library says it.
    own, others
        Options of the command, and of one to name where that has more, by parameter.
    """
    said, _ = _rewritten(message, own)
    _, more = _rewritten(said, {name: flag for name, flag in others.items() if name not in own})
    if more:
        said += f"\n`xr-anysat embed` has options for this: {', '.join(more)}"
    return said


def _rewritten(message: str, options: Options) -> tuple[str, list[str]]:
    """Rewrite what has an option, and tell which ones that were."""
    used: dict[str, None] = {}

    def take(text: str | None, found: re.Match[str], *flags: str) -> str:
        used.update(dict.fromkeys(flags if text is not None else ()))
        return found[0] if text is None else text

    def call(found: re.Match[str]) -> str:
        pairs = list(_arguments(found["call"]))
        texts = [_option(name, value, options) for name, value in pairs]
        known = None if None in texts else " ".join(map(str, texts))
        return take(known, found, *(options.get(RENAMED.get(n, n), "") for n, _ in pairs))

    def argument(found: re.Match[str]) -> str:
        name = RENAMED.get(found["name"], found["name"])
        if found["value"] is None:
            return take(options.get(name), found, options.get(name, ""))
        text = _option(found["name"], _parsed(found["value"]), options)
        return take(text, found, options.get(name, ""))

    for phrase, (name, words) in PHRASES.items():
        if name in options and phrase in message:
            message = message.replace(phrase, words.format(options[name]))
            used[options[name]] = None
    message = _ARGUMENT.sub(argument, _CALL.sub(call, message))
    return message, list(used)


def _arguments(call: str) -> Iterator[tuple[str, ast.expr | None]]:
    """Names and values of a call's arguments."""
    node = _parsed(call)
    if not isinstance(node, ast.Call):
        yield "", None
        return
    for place, value in enumerate(node.args):
        yield "" if place else _FIRST[ast.unparse(node.func).rpartition(".")[2]], value
    for keyword in node.keywords:
        yield keyword.arg or "", keyword.value


def _parsed(code: str) -> ast.expr | None:
    """Parse what a message quotes, which may be cut off."""
    try:
        return ast.parse(code, mode="eval").body
    except SyntaxError:
        return None


def _option(name: str, value: ast.expr | None, options: Options) -> str | None:
    """Write an argument as an option; None where that cannot be."""
    flag = options.get(RENAMED.get(name, name))
    if flag is None or value is None:
        return None
    match value:
        case ast.Constant(value=True):
            return flag
        case ast.Constant(value=str() | int() | float() as given):
            return f"{flag} {shlex.quote(str(given))}"
        case ast.List(elts=parts) if name in RENAMED and parts:
            told = [part for part in parts if not _is_open(part)]
            more = " and so on" * (len(told) < len(parts))
            return " ".join(f"{flag} {_word(part)}" for part in told) + more
        case ast.Dict(keys=keys, values=values) if name in RENAMED and keys:
            pairs = zip(keys, values, strict=True)
            return " ".join(f"{flag} {_word(key)}={_word(label)}" for key, label in pairs)
    return None


def _word(node: ast.expr | None) -> str:
    """Write a value within an option."""
    if isinstance(node, ast.Constant):
        return "NAME" if _is_open(node) else shlex.quote(str(node.value))
    return shlex.quote("" if node is None else ast.unparse(node))


def _is_open(node: ast.expr) -> bool:
    """Whether a message leaves it to the reader, by dots."""
    return isinstance(node, ast.Constant) and node.value in (..., "...")
