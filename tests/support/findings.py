"""Errors and warnings by what they found, however it is worded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from xr_anysat.errors import AnySatError, AnySatWarning


def codes(said: Any) -> list[str]:
    """Codes of an error, of a warning, or of findings."""
    return [finding.code for finding in getattr(said, "findings", said)]


def findings_of(warnings: Any) -> list[Any]:
    """Findings of those recorded warnings that are ours."""
    ours = [w.message for w in warnings if isinstance(w.message, AnySatWarning)]
    return [finding for message in ours for finding in message.findings]


@contextmanager
def finds(code: str, kind: type[AnySatError] = AnySatError) -> Iterator[Any]:
    """Expect an error that has a finding of a code among its findings."""
    with pytest.raises(kind) as raised:
        yield raised
    assert code in codes(raised.value), f"{codes(raised.value)}: {raised.value}"


@contextmanager
def warns_of(code: str) -> Iterator[Any]:
    """Expect a warning of a code; gives a list that the package's warnings are in afterwards."""
    ours: list[Any] = []
    with pytest.warns(AnySatWarning) as caught:
        yield ours
    ours += [warning for warning in caught if isinstance(warning.message, AnySatWarning)]
    found = [warning.message for warning in ours]
    assert any(code in codes(message) for message in found), list(map(str, found))
