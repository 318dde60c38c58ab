"""The page on errors quotes the source, and leaves no message of the source out."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import xr_anysat
from xr_anysat import errors

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
PACKAGE = Path(xr_anysat.__file__).parent

CALLS = {*errors.__all__, "warn"}
"""What is called with a message. Reasons (of ValueError and the like) become part of one."""

KEPT = {"faults", "notes", "found"}
"""Lists of messages to be raised, warned of or advised together."""

BUILT = {"doubt", "what"}
"""Variables that a doubt is put together in."""

DOUBTS = {"checks/doubts.py", "checks/values.py", "stac/offsets.py"}
"""Modules that yield doubts, or put them together."""

SAYS_IT_ALL = (
    # one argument goes with another
    "period= goes with frames=",
    "goes with frames=, whose composites it dates",
    "geometry_crs= is the CRS of geometry=, which is not given",
    "--labels goes with a cube",
    # a call's own grammar, with an example
    "unknown options",
    "is neither True, False nor None",
    "is not of the form B2=my_blue",
    "there is a column",
    "two integers of 1 or more are needed",
    "left and top edge are needed",
    "a projected CRS in metres is needed",
    "an integer of 1 or more is needed, or None",
    "lies before start=",
    "is not a date:",
    "does not fit sizes",
    # of the file system
    "cannot write …:",
    "does not exist",
    "is no folder; make it first",
    "is a folder; give the name of a file in it",
    # another message follows, or is as good
    "--normalize: …",
    "the cube is empty",
)


def shape(node: ast.AST) -> str:
    """Text of a literal on one line, with … for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"\s+", " ", text)
        case ast.JoinedStr(values=parts):
            return "".join(map(shape, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return shape(left) + shape(right)
    return "…"


def texts(node: ast.AST) -> Iterator[str]:
    """Texts that an argument may be: one, each of a list, either of two branches."""
    match node:
        case ast.List(elts=parts) | ast.BoolOp(values=parts):
            for part in parts:
                yield from texts(part)
        case ast.IfExp(body=body, orelse=other):
            yield from texts(body)
            yield from texts(other)
        case _:
            if re.search("[a-z]{3}", text := shape(node).strip()):
                yield text


def messages(code: str, doubts: bool = False) -> Iterator[str]:
    """Messages that code raises, warns with, or has a cube's faults and doubts told in."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in CALLS:
                yield from texts(first)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[first]
            ) if name in KEPT:
                yield from texts(first)
            case ast.Yield(value=ast.expr() as value) if doubts:
                yield from texts(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if doubts and name in BUILT:
                yield from texts(value)


def literals(code: str) -> Iterator[str]:
    """Texts in code, docstrings aside."""
    nodes = list(ast.walk(ast.parse(code)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in docstrings:
            yield shape(node)


@cache
def sources() -> dict[str, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in paths}


@cache
def quotes() -> tuple[str, ...]:
    return tuple(re.sub(r"\s+", " ", found) for found in re.findall(r"\*\*`([^`]+)`\*\*", PAGE))


@cache
def all_messages() -> tuple[str, ...]:
    return tuple(
        text for name, code in sources().items() for text in messages(code, name in DOUBTS)
    )


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise OptionError(f"size={size!r} is\\n not known")', ["size=… is not known"]),
        ('raise CubeError(faults or [f"lacks {band}", "no date"])', ["lacks …", "no date"]),
        ('raise CubeError([f"{path} holds " + reason])', ["… holds …"]),
        ('warn("too large" if large else f"{n} is too small")', ["too large", "… is too small"]),
        ('faults.append("the cube" f" has {n} bands")', ["the cube has … bands"]),
        ('names.append("the cube")', []),
        ('raise ValueError("a string")', []),
        ('raise CubeError(faults)\nwarn(f"{ids} {n}")', []),
    ],
)
def test_messages_are_found(code, found):
    assert list(messages(code)) == found


def test_doubts_are_found():
    code = 'def f():\n    yield "is that so?"\n    what = f"{n} dates are"\n    other = "a name"'
    assert sorted(messages(code, doubts=True)) == ["is that so?", "… dates are"]
    assert list(messages(code)) == []


def test_every_quote_is_in_the_source():
    known = [text for code in sources().values() for text in literals(code)]
    assert [quote for quote in quotes() if not any(quote in text for text in known)] == []


def test_every_quote_is_there_once_and_long_enough_to_search_for():
    assert [quote for quote, count in Counter(quotes()).items() if count > 1] == []
    assert [quote for quote in quotes() if " " not in quote or len(quote) < 9] == []


def test_every_message_is_on_the_page():
    known = (*quotes(), *SAYS_IT_ALL)
    assert [text for text in all_messages() if not any(part in text for part in known)] == []


def test_what_says_it_all_is_still_said_and_nowhere_explained():
    left = [text for text in all_messages() if not any(quote in text for quote in quotes())]
    assert [part for part in SAYS_IT_ALL if not any(part in text for text in left)] == []


def test_quotes_stand_before_an_explanation():
    """A paragraph of quotes is followed by one that is none."""
    parts = PAGE.split("\n\n")
    for quoted, after in zip(parts, [*parts[1:], "**`"], strict=True):
        if quoted.startswith("**`"):
            assert not after.startswith(("**`", "#")), quoted
