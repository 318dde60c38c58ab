"""Patches, tiles and chunks of a map: in metres and whole numbers, for any sensor."""
