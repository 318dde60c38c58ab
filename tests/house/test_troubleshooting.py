"""The page on errors explains every code of the package once, and no others."""

import ast
import contextlib
import io
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import xr_anysat
from xr_anysat.findings import Finding

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
PACKAGE = Path(xr_anysat.__file__).parent


def findings(code):
    """First arguments of `Finding(...)` in source code: text, or None where it is computed."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Name(id=Finding.__name__), args=[first, *_]):
                yield first.value if isinstance(first, ast.Constant) else None


@cache
def package_codes():
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path: list(findings(path.read_text())) for path in paths}


def page_codes():
    """Codes in bold, which stand before what is explained of them."""
    return re.findall(r"\*\*`([^`]+)`\*\*", PAGE)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise OptionError(Finding("a.b", "text", given=1))', ["a.b"]),
        ('faults.append(Finding(code, "text"))', [None]),
        ('other("a.b", "text")', []),
    ],
)
def test_findings_are_found(code, found):
    assert list(findings(code)) == found


def test_codes_are_literal_and_well_formed():
    form = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z0-9]+(-[a-z0-9]+)*")
    wrong = {
        path.name: [code for code in codes if not (code and form.fullmatch(code))]
        for path, codes in package_codes().items()
    }
    assert not {name: codes for name, codes in wrong.items() if codes}


def test_every_code_is_on_the_page():
    used = {code for codes in package_codes().values() for code in codes if code}
    assert used - set(page_codes()) == set()


def test_every_code_on_the_page_is_in_the_package_and_there_once():
    used = {code for codes in package_codes().values() for code in codes}
    assert set(page_codes()) - used == set()
    assert [code for code, count in Counter(page_codes()).items() if count > 1] == []


def test_codes_stand_before_an_explanation():
    parts = PAGE.split("\n\n")
    for part, after in zip(parts, [*parts[1:], "#"], strict=True):
        if part.startswith("**`"):
            assert not after.startswith(("**`", "#")), part


def test_the_example_runs_as_printed():
    code, printed = (
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.S)[1] for kind in ("python", "text")
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "troubleshooting.md", "exec"), {})
    assert out.getvalue() == printed
