"""Dask graphs, and how they are run; what their tasks compute lies elsewhere."""
