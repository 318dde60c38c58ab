"""Messages: each has a code that the page on errors explains, and each is used."""

import ast
import contextlib
import io
import re
import string
from collections import Counter
from pathlib import Path

import xr_anysat
from xr_anysat import errors
from xr_anysat.findings import Finding, messages

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
PACKAGE = Path(xr_anysat.__file__).parent
CODES = {Finding(name).code for name in messages()}


def page_codes():
    """Codes in bold, which stand before what is explained of them."""
    return re.findall(r"\*\*`([^`]+)`\*\*", PAGE)


def slots_of(text):
    """Slots of a message that are filled by whoever makes the finding."""
    slots = {slot for _, slot, _, _ in string.Formatter().parse(text) if slot is not None}
    return {slot for slot in slots if not re.fullmatch(r"arg\.[a-z_]+", slot)}


def test_names_of_messages_are_well_formed():
    form = re.compile(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*(/[a-z]+(-[a-z]+)*)?")
    assert [name for name in messages() if not form.fullmatch(name)] == []


def test_messages_have_a_severity_and_slots_with_names_or_numbers():
    for name, (severity, text) in messages().items():
        assert severity in ("error", "warning", "doubt", "advice"), name
        slots = slots_of(text)
        assert all(slot.isidentifier() or slot.isdecimal() for slot in slots), name
        numbers = sorted(int(slot) for slot in slots if slot.isdecimal())
        assert numbers == list(range(len(numbers))), name


def test_every_message_is_used():
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert [name for name in messages() if f'"{name}"' not in source] == []


def calls(code):
    """Findings made in source code: name of the message, remedies and data, None for any."""
    kinds = {"Finding", "warn", *(name for name in errors.__all__ if name.endswith("Error"))}
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(
                func=ast.Name(id=kind), args=[ast.Constant(value=str(name)), *rest], keywords=data
            ) if kind in kinds:
                starred = any(isinstance(each, ast.Starred) for each in rest)
                names = {each.arg for each in data}
                yield name, None if starred else len(rest), None if None in names else names


def test_messages_are_given_what_their_slots_need():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, remedies, data in calls(path.read_text()):
            slots = slots_of(messages()[name][1])
            numbers = {slot for slot in slots if slot.isdecimal()}
            if remedies is not None and remedies != len(numbers):
                wrong.append((path.name, name, f"{remedies} remedies"))
            if data is not None and data != slots - numbers:
                wrong.append((path.name, name, data ^ (slots - numbers)))
    assert wrong == []


def test_every_code_is_on_the_page_once_and_no_other():
    assert sorted(CODES - set(page_codes())) == []
    assert sorted(set(page_codes()) - CODES) == []
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
