"""Settings of the test run; importing this imports neither torch nor the package."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Time limits of a single example fail on a busy machine, and say nothing about the code.
common = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "print_blob": True,
}
settings.register_profile("default", max_examples=25, **common)
settings.register_profile("thorough", max_examples=400, **common)  # --hypothesis-profile=thorough
settings.load_profile("default")


# Processes that tests start find `support` too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)


@pytest.fixture
def small_regions(monkeypatch):
    """Regions of 8 pixels, and no pause before a task is tried again."""
    from xr_anysat.graph import retries as guard
    from xr_anysat.layout import chunks as chunking

    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    monkeypatch.setattr(guard, "PAUSE", 0)


@pytest.fixture
def offline(monkeypatch, tmp_path_factory):
    """No published weights, neither on this machine nor in reach."""
    home = tmp_path_factory.mktemp("hf")
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("XR_ANYSAT_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def embedding(cube):
    """A map of the module's cube by the tiny network, a vector for each pixel."""
    from support.cubes import TINY

    return cube.anysat.embed("grid", model=TINY, tile_size=16, progress=False)
