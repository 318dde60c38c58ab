"""Settings of the test run; importing this imports neither torch nor the package."""

import pytest
from hypothesis import HealthCheck, settings

# Time limits of a single example fail on a busy machine, and say nothing about the code.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")


@pytest.fixture
def small_regions(monkeypatch):
    """Regions of 8 pixels, and no pause before a task is tried again."""
    from xr_anysat.graph import chunking, guard

    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    monkeypatch.setattr(guard, "PAUSE", 0)


@pytest.fixture(scope="module")
def embedding(cube):
    """A map of the module's cube by the tiny network, a vector for each pixel."""
    from cubes import TINY

    return cube.anysat.embed("grid", model=TINY, tile_size=16, progress=False)
