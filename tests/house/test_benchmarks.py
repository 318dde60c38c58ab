"""Every benchmark, once in small: that they run, and that what they compare is alike.

The longest of them are marked slow.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed(name, *arguments):
    """What a script prints."""
    command = [sys.executable, BENCHMARKS / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_roofline():
    small = ("--size=tiny", "--pixels=48", "--dates=2", "--rounds=1", "--budget=0.01")
    text = printed("roofline.py", *small)
    assert len(re.findall(r"embed .* = [\d.]+ x limit", text)) == 6
    deviations = [float(found) for found in re.findall(r"difference (\S+)", text)]
    assert len(deviations) == 6
    assert max(deviations) < 1e-4


@pytest.mark.slow
def test_memory(tmp_path):
    text = printed("memory.py", "--pixels", "64", "128", "--dates=1", f"--store={tmp_path}")
    rows = [line.split() for line in text.splitlines()[1:]]
    assert [row[0] for row in rows] == ["64", "128"]
    assert all(float(row[3]) > 100 and float(row[4]) > 100 for row in rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_precision():
    text = printed("precision.py", "--size=tiny", "--pixels=16")
    for row in text.splitlines()[3:]:
        _, _, worst, median, _ = row.split()
        assert 0.99 < float(worst) <= float(median) <= 1.000001
    assert text.count("bfloat16") == text.count("subpatch") == 2


@pytest.mark.slow
def test_seams():
    text = printed("seams.py", "simulated", "--size=tiny", "--pixels=128")
    seams = [float(found) for found in re.findall(r"overlap \S+: ([\d.]+)", text)]
    assert len(seams) == 2
    assert seams[1] < seams[0]


@pytest.mark.slow
def test_graph():
    """Tasks grow with the chunks; a job's with its share of them, and not with the map."""
    small = ("--pixels", "1024", "2048", "--blocks=512", "--dates=3", "--size=tiny", "--jobs=8")
    rows = [line.split() for line in printed("graph.py", *small).splitlines()[1:]]
    assert [row[0] for row in rows] == ["embed"] * 2 + ["to_zarr"] * 2
    chunks, tasks = (np.array([int(row[n]) for row in rows]) for n in (3, 4))
    assert chunks.tolist() == [16, 64, 2, 8]
    assert 13 < tasks[0] / chunks[0] < tasks[1] / chunks[1] < 14
    assert (tasks[2:] < tasks[:2] / 2).all()


@pytest.mark.slow
def test_stages():
    suite = BENCHMARKS / "bench_stages.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        suite,
        "--benchmark-disable",
        "-n0",
        "-k",
        "tiny",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b1\d passed", done.stdout)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.name)
def test_each_says_how_it_is_run(path):
    text = path.read_text()
    if "def main" in text:
        assert f"python benchmarks/{path.name}" in text.split('"""')[1]
