"""Dask graphs, and how they are run: nothing of what tasks compute."""
