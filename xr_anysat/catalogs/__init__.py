"""Cubes from the items of catalogues."""
