"""What the README prints is what its example prints."""

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_first_example_runs_as_printed():
    section = README.split("## A first example")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    printed = re.search(r"```text\n(.*?)```", section, re.DOTALL)[1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue() == printed


def test_the_two_commands_are_there_once():
    commands = [line for line in README.splitlines() if line.startswith("pip install")]
    assert [command.split("&& ")[1] for command in commands] == [
        "python -m xr_anysat demo",
        "pytest",
    ]
