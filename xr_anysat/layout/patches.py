"""Patches and tiles along an axis of a map, in whole numbers.

Everything is counted from the map's north-west corner. A tile is a square of patches that the
network sees at once. A tile begins every `stride` patches; the fewest tiles that cover an axis are
used, and the last one is cut short where the map ends.
"""

from dataclasses import dataclass

__all__ = ["PatchAxis"]


@dataclass(frozen=True, kw_only=True)
class PatchAxis:
    """Patches and tiles along one axis of a map.

    Parameters
    ----------
    patches
        Length of the axis, the last patch perhaps incomplete.
    tile, stride
        Patches of a tile, and from the beginning of one tile to that of the next.
    """

    patches: int
    tile: int
    stride: int

    @property
    def tiles(self) -> int:
        """Tiles, the last one perhaps incomplete: the fewest that cover every patch."""
        return 1 + max(0, -(-(self.patches - self.tile) // self.stride))

    def tile_range(self, index: int) -> tuple[int, int]:
        """First patch of a tile, and the one after its last within the map."""
        start = index * self.stride
        return start, min(start + self.tile, self.patches)

    @property
    def overlapping(self) -> bool:
        """Whether a patch can lie in more than one tile."""
        return self.stride < self.tile
