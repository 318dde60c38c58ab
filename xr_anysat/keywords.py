"""Misspelt keyword arguments, and what was meant by them."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .errors import KeywordError
from .findings import Finding, SetOption

__all__ = ["suggests_keywords"]

P = ParamSpec("P")
R = TypeVar("R")


def suggests_keywords(*passed_to: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that a misspelt keyword raises an error that names the nearest one.

    Parameters
    ----------
    *passed_to
        Functions that take the ``**options`` of the decorated one. Without them, a function with
        ``**options`` takes any keyword.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = [
            parameter
            for each in (function, *passed_to)
            for parameter in inspect.signature(each).parameters.values()
        ]
        options = [parameter for parameter in parameters if parameter.kind == parameter.VAR_KEYWORD]
        known = {parameter.name for parameter in parameters if parameter not in options}
        if options and not passed_to:
            return function

        @wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            for name in options.keys() - known:
                raise KeywordError(_unknown(function.__name__, name, known - {"self"}))
            return function(*args, **options)

        return checked

    return decorate


def _unknown(function: str, name: str, known: set[str]) -> Finding:
    near = get_close_matches(name, known, 1)
    if near:
        return Finding("option.misspelt", SetOption(near[0]), function=function, name=name)
    return Finding("option.unknown", function=function, name=name, known=sorted(known))
