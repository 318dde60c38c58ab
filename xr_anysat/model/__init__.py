"""The AnySat network in PyTorch: it knows no xarray, no dask and no files.

Importing this package does not import torch; its modules `temporal`, `spatial`, `tile` and
`network` do.
"""
