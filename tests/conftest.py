"""Settings of the test run; importing this imports neither torch nor the package."""

from hypothesis import HealthCheck, settings

# Time limits of a single example fail on a busy machine, and say nothing about the code.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("default")
