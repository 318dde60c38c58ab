"""Reports as text and as HTML: tables, lists of findings, and numbers with their units."""

import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

import pyproj

from .errors import Words
from .findings import Finding

__all__ = [
    "amount_text",
    "bytes_text",
    "count_text",
    "crs_name",
    "duration_text",
    "html_findings",
    "html_table",
    "sizes_text",
    "text_findings",
    "text_table",
]

Rows = Sequence[tuple[str, str]]

MARKS = {"error": "fault:", "warning": "doubt:", "doubt": "doubt:"}
"""What a finding begins with in a list, by its severity; advice has no mark."""

WIDTH = 100
"""Columns that wrapped text keeps to."""


def text_table(rows: Rows) -> list[str]:
    """Lines of names and values, the values in one column."""
    return [f"  {name:21} {value}" for name, value in rows]


def text_findings(findings: Iterable[Finding], words: Words | None = None) -> list[str]:
    """Lines of a list of findings, wrapped, each with its code at the end.

    Parameters
    ----------
    findings
        What to list.
    words
        As in `Finding.render`.
    """
    lines: list[str] = []
    for finding in findings:
        mark = f"  {MARKS.get(finding.severity, '-')} "
        lines += textwrap.wrap(
            finding.render(words, with_code=True),
            WIDTH,
            initial_indent=mark,
            subsequent_indent=" " * len(mark),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def html_table(caption: str, rows: Rows) -> str:
    """Table of names and values."""
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left;white-space:pre-wrap'>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption>{escape(caption)}</caption>{lines}</table>"


def html_findings(findings: Iterable[Finding]) -> str:
    """Bulleted list of findings, each with its code at the end."""
    items = "".join(
        f"<li><b>{MARKS.get(finding.severity, '').capitalize()}</b> {escape(str(finding))} "
        f"<small><code>{finding.code}</code></small></li>"
        for finding in findings
    )
    return f"<ul>{items}</ul>" if items else ""


def count_text(number: int, one: str, many: str | None = None) -> str:
    """Count things in words, one or many: 1 block, 4,000 blocks."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def bytes_text(number: float) -> str:
    """Bytes in the unit that suits them, three digits."""
    return _scaled(number, (" B", " kB", " MB", " GB", " TB"))


def amount_text(number: float) -> str:
    """Large number with its prefix, three digits."""
    return _scaled(number, ("", " k", " M", " G", " T", " P"))


def _scaled(number: float, units: Sequence[str]) -> str:
    """Give a number in the first unit in which three digits are enough, or in the last."""
    *smaller, largest = units
    for unit in smaller:
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:,.3g}{largest}"


def duration_text(seconds: float) -> str:
    """Time in the unit that suits it, two digits."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    text = f"{seconds:.2g}"
    return f"{text} second{'s' * (text != '1')}"


def sizes_text(sizes: Sequence[int]) -> str:
    """Sizes of chunks along a dimension, alike ones counted: 3 x 512 + 444."""
    runs = [(len([*run]), size) for size, run in groupby(sizes)]
    if len(runs) > 3:
        return f"{len(sizes)} of up to {max(sizes)}"
    text = " + ".join(str(size) if count == 1 else f"{count}·{size}" for count, size in runs)
    return f"({text})" if len(runs) > 1 else text


def crs_name(crs: pyproj.CRS | None) -> str:
    """Code of a CRS, or its name where it has no code."""
    if crs is None:
        return "no CRS"
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)
