"""Pages whose examples run, and print what they say."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("check.md", "export.md", "geometries.md", "normalization.md", "pictures.md", "time.md")


@pytest.mark.parametrize("page", PAGES)
def test_examples_run_as_printed(page):
    """All blocks of a page in one namespace; a block of text is what the code before it prints."""
    blocks = re.findall(r"```(python|text)\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert {kind for kind, _ in blocks} == {"python", "text"}
    names, printed = {}, ""
    for kind, block in blocks:
        if kind == "text":
            assert printed == block
            printed = ""
            continue
        assert not printed, f"what is printed before this is not shown: {block}"
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, page, "exec"), names)
        printed = out.getvalue()
    assert not printed
