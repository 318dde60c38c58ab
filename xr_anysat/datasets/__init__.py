"""Data to try things on, made on the spot: nothing is downloaded and nothing is shipped."""

from .simulated import simulated_landscape

__all__ = ["simulated_landscape"]
