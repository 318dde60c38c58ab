"""Cubes from STAC items."""
