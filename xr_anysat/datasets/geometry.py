"""The lines of the simulated landscape: communes, blocks, fields, rivers and roads.

Pure functions of a seed and of world indices of pixels. Distances are metres, x grows east and y
south, as rows do.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .covers import Cover
from .noise import F32, F64, I64, U64, hash64, key, smooth_noise, unit

__all__ = ["PIXEL", "Cut", "Fields", "Local", "bend", "cut", "cut_fields", "lines_share", "locate"]
__all__ += ["river_distance", "roads_share"]

PIXEL: Final = 10  # metres
COMMUNE: Final = 2400.0  # metres between villages, typical of the plains of western Europe
RIVER: Final = 5200.0  # metres between rivers


class Cut(NamedTuple):
    """Where points fall in a line cut at jittered places."""

    number: I64
    start: F64  # of the piece, metres from the line's origin
    length: F64
    low: F64  # distance to the start, metres
    high: F64  # distance to the end, metres

    @property
    def distance(self) -> F64:
        """Metres to the nearer cut."""
        return np.minimum(self.low, self.high)

    @property
    def nearest(self) -> I64:
        """Number of the nearer cut: the same seen from both sides."""
        return self.number + (self.high < self.low)


class Local(NamedTuple):
    """Points seen from the village whose commune they lie in."""

    commune: U64
    u: F64  # metres along the commune's direction
    v: F64
    distance: F64  # metres to the village
    nearest: I64  # index into the next four
    node_x: F64
    node_y: F64
    cosine: F64
    sine: F64

    def to_world(self, first: NDArray[np.intp], u: F64, v: F64) -> tuple[F64, F64]:
        """World coordinates of local ones in the communes of some of the points.

        Parameters
        ----------
        first
            Flat indices of the points.
        u, v
            Local coordinates of as many points, metres.

        Returns
        -------
        tuple of ndarray of float64
            x and y, metres.
        """
        node = self.nearest.ravel()[first]
        cosine, sine = self.cosine[node], self.sine[node]
        return self.node_x[node] + cosine * u - sine * v, self.node_y[node] + sine * u + cosine * v


class Fields(NamedTuple):
    """The field that each point lies in, and what borders it there."""

    ids: U64
    block: U64
    centre_u: F64
    centre_v: F64
    radius: F64  # metres from the field's centre
    ellipse: F64  # 0 at the field's centre, 1 at the middle of its sides
    edge: F32  # share of the pixel taken by a hedge or track
    edge_cover: NDArray[np.uint8]


def bend(seed: int, rows: I64, cols: I64) -> tuple[F64, F64]:
    """World coordinates of the pixels' centres (metres east and south), bent by smooth noise."""
    x = np.broadcast_to((cols + 0.5) * PIXEL, (rows.size, cols.size))
    y = np.broadcast_to(((rows + 0.5) * PIXEL)[:, None], (rows.size, cols.size))
    out = []
    for name, straight in (("x", x), ("y", y)):
        far = smooth_noise(key(seed, "bend", name), rows, cols, 1300.0)
        near = smooth_noise(key(seed, "bend2", name), rows, cols, 330.0)
        out.append(straight + (52.0 * far.astype(np.float64) + 5.0 * near))
    return out[0], out[1]


@lru_cache(maxsize=1)
def _directions() -> F64:
    """Cosine and sine of 64 directions, dims (2, direction)."""
    angles = np.arange(64) * (np.pi / 64) - np.pi / 4
    return np.stack([np.cos(angles), np.sin(angles)])


def _node(seed: int, i: I64, j: I64) -> tuple[U64, F64, F64]:
    """Village of a lattice cell: its id and where it lies."""
    ids = hash64(key(seed, "node"), i, j)
    y = (i + 0.5 + 0.62 * (unit(ids, 1) - 0.5)) * COMMUNE
    x = (j + 0.5 + 0.62 * (unit(ids, 2) - 0.5)) * COMMUNE
    return ids, x, y


def _lattice(x: F64, y: F64, margin: int) -> tuple[I64, I64]:
    i = np.arange(np.floor(y.min() / COMMUNE) - margin, np.floor(y.max() / COMMUNE) + margin + 1)
    j = np.arange(np.floor(x.min() / COMMUNE) - margin, np.floor(x.max() / COMMUNE) + margin + 1)
    rows, cols = np.meshgrid(i.astype(np.int64), j.astype(np.int64), indexing="ij")
    return rows, cols


def locate(seed: int, x: F64, y: F64) -> Local:
    """Nearest village of each point, and the point in that commune's own coordinates."""
    # A point is within 1.2 lattice spacings of its own cell's village, so none three cells off
    # can be nearer.
    ids, node_x, node_y = _node(seed, *_lattice(x, y, 2))
    ids, node_x, node_y = ids.ravel(), node_x.ravel(), node_y.ravel()
    best = np.full(x.shape, np.inf)
    nearest = np.zeros(x.shape, dtype=np.int64)
    for n in range(ids.size):
        squared = (x - node_x[n]) * (x - node_x[n]) + (y - node_y[n]) * (y - node_y[n])
        closer = squared < best
        best = np.where(closer, squared, best)
        nearest[closer] = n
    cosine, sine = np.take(_directions(), (ids >> np.uint64(58)).astype(np.int64), axis=1)
    dx, dy = x - node_x[nearest], y - node_y[nearest]
    u = cosine[nearest] * dx + sine[nearest] * dy
    v = cosine[nearest] * dy - sine[nearest] * dx
    return Local(ids[nearest], u, v, np.sqrt(best), nearest, node_x, node_y, cosine, sine)


def cut(position: F64, size: F64 | float, ids: U64, pieces: F64 | None = None) -> Cut:
    """Cut lines into pieces of about `size` metres at places hashed from `ids`.

    With `pieces`, the lines run from 0 to `pieces * size` and end there exactly.
    """
    scaled = position / size
    cell = np.floor(scaled)
    if pieces is not None:
        cell = np.clip(cell, 0, pieces - 1)
    number = cell.astype(np.int64)

    def place(of: I64) -> F64:
        jitter = 0.55 * unit(hash64(ids, of))
        if pieces is not None:
            jitter = np.where((of <= 0) | (of >= pieces), 0, jitter)
        return of + jitter

    here = place(number)
    before = scaled < here
    start = np.where(before, place(number - 1), here)
    stop = np.where(before, here, place(number + 1))
    return Cut(
        number - before,
        start * size,
        (stop - start) * size,
        np.maximum((scaled - start) * size, 0),
        np.maximum((stop - scaled) * size, 0),
    )


def lines_share(distance: Any, width: Any) -> F32:
    """Share of a pixel that a line of `width` metres takes, `distance` metres from its middle."""
    half, pixel = width / 2, PIXEL / 2
    overlap = np.minimum(distance + pixel, half) - np.maximum(distance - pixel, -half)
    share: F32 = (np.clip(overlap, 0, PIXEL) / PIXEL).astype(np.float32)
    return share


def cut_fields(local: Local) -> Fields:
    """Cut communes into blocks, strips and fields."""
    style = local.commune
    small = unit(style, 1)  # 0: open fields, 1: small fields between hedges
    rows = cut(local.v, 640.0 - 230.0 * small, style)
    row = hash64(style, np.array(1), rows.number)
    slant = 0.30 * (unit(row, 1) - 0.5)
    u = local.u + slant * (rows.low - rows.length / 2)
    columns = cut(u, 820.0 - 300.0 * small, row)
    block = hash64(row, np.array(2), columns.number)

    # Strips run along v, or along u where the block is wider than long (or by chance).
    along_u = unit(block, 1) < 0.35
    across, across_length = columns.low, columns.length
    along, along_length = rows.low, rows.length
    across, along = np.where(along_u, along, across), np.where(along_u, across, along)
    across_length, along_length = (
        np.where(along_u, along_length, across_length),
        np.where(along_u, across_length, along_length),
    )
    relative = along / along_length - 0.5
    inside = across / across_length
    skewed = (
        across + 0.5 * (unit(block, 2) - 0.5) * relative * inside * (1 - inside) * across_length
    )
    strips = np.maximum(
        np.rint(across_length / (205 - 105 * small + 60 * (unit(block, 3) - 0.5))), 1
    )
    strip = cut(skewed, across_length / strips, block, strips)
    strip_id = hash64(block, np.array(3), strip.number)

    parts = np.maximum(np.rint(along_length / (270 + 260 * unit(strip_id, 1))), 1)
    part = cut(along, along_length / parts, strip_id, parts)
    field = hash64(strip_id, np.array(4), part.number) | np.uint64(0x100)

    middle_across = strip.start + strip.length / 2 - across_length / 2
    middle_along = part.start + part.length / 2 - along_length / 2
    middle_u = columns.start + columns.length / 2
    middle_v = rows.start + rows.length / 2
    a = (strip.low / strip.length - 0.5) * 2
    b = (part.low / part.length - 0.5) * 2
    edge, edge_cover = _edges(small, style, row, block, strip_id, rows, columns, strip, part)
    return Fields(
        ids=field,
        block=block,
        centre_u=middle_u + np.where(along_u, middle_along, middle_across),
        centre_v=middle_v + np.where(along_u, middle_across, middle_along),
        radius=np.sqrt(a * a * strip.length * strip.length + b * b * part.length * part.length) / 2,
        ellipse=np.sqrt(a * a + b * b),
        edge=edge,
        edge_cover=edge_cover,
    )


def _edges(
    small: F64, style: U64, row: U64, block: U64, strip_id: U64,
    rows: Cut, columns: Cut, strip: Cut, part: Cut,
) -> tuple[F32, NDArray[np.uint8]]:  # fmt: skip
    """Hedges, tracks and grass between the fields: the share of the pixel, and which."""
    share = np.zeros(small.shape, dtype=np.float32)
    cover = np.zeros(small.shape, dtype=np.uint8)
    hedged = 0.06 + 0.5 * small
    for level, (parent, line, tracks) in enumerate(
        ((style, rows, 0.75), (row, columns, 0.55), (block, strip, 0.05), (strip_id, part, 0.0))
    ):
        dice = hash64(parent, np.array(20 + level), line.nearest)
        track = unit(dice, 1) < tracks
        hedge = ~track & (unit(dice, 2) < hedged)
        width = np.where(hedge, 8 + 6 * unit(dice, 3), np.where(track, 5.0, 2.5))
        taken = lines_share(line.distance, width)
        kind = np.where(hedge, Cover.HEDGE, np.where(track, Cover.BARE_SOIL, Cover.GRASSLAND))
        cover = np.where(taken > share, kind, cover).astype(np.uint8)
        share = np.maximum(share, taken)
    return share, cover


def river_distance(seed: int, rows: I64, cols: I64) -> F32:
    """Metres to the middle of the nearest river."""
    # One row and column more, for the slope of the field whose levels the rivers are.
    tall, wide = np.append(rows, rows[-1] + 1), np.append(cols, cols[-1] + 1)
    level = np.broadcast_to(((tall + 0.5) * PIXEL)[:, None], (tall.size, wide.size))
    level = level + 620.0 * smooth_noise(key(seed, "river"), tall, wide, 4300.0)
    level += 120.0 * smooth_noise(key(seed, "meander"), tall, wide, 900.0)
    level += 26.0 * smooth_noise(key(seed, "meander2"), tall, wide, 300.0)
    slope_x = (level[:-1, 1:] - level[:-1, :-1]) / PIXEL
    slope_y = (level[1:, :-1] - level[:-1, :-1]) / PIXEL
    level = level[:-1, :-1] / RIVER
    cell = np.floor(level)
    middle = cell + 0.5 + 0.3 * (unit(hash64(key(seed, "course"), cell.astype(np.int64))) - 0.5)
    slope = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    return (np.abs(level - middle) * RIVER / np.maximum(slope, 0.35)).astype(np.float32)


def roads_share(seed: int, rows: I64, cols: I64, x: F64, y: F64) -> F32:
    """Share of each pixel under the roads from village to village."""
    x = x + 22.0 * smooth_noise(key(seed, "curve", "x"), rows, cols, 420.0)
    y = y + 22.0 * smooth_noise(key(seed, "curve", "y"), rows, cols, 420.0)
    i, j = _lattice(x, y, 2)
    ids, node_x, node_y = _node(seed, i, j)
    nearest = np.full(x.shape, 100.0)
    for di, dj, built in ((0, 1, 0.88), (1, 0, 0.88), (1, 1, 0.25)):
        rows, cols = i.shape[0] - di, i.shape[1] - dj
        wanted = unit(ids[:rows, :cols], 20 + 2 * di + dj) < built
        for a, b in zip(*np.nonzero(wanted), strict=True):
            start = (node_x[a, b], node_y[a, b])
            stop = (node_x[a + di, b + dj], node_y[a + di, b + dj])
            _draw(nearest, x, y, start, stop)
    return lines_share(nearest, 9.0)


def _draw(
    nearest: F64, x: F64, y: F64, start: tuple[float, float], stop: tuple[float, float]
) -> None:
    """Lower `nearest` to the distance from a straight road, where that is under 30 metres."""
    reach = 30.0
    near = (x > min(start[0], stop[0]) - reach) & (x < max(start[0], stop[0]) + reach)
    near &= (y > min(start[1], stop[1]) - reach) & (y < max(start[1], stop[1]) + reach)
    if not near.any():
        return
    px, py = x[near] - start[0], y[near] - start[1]
    rx, ry = stop[0] - start[0], stop[1] - start[1]
    along = np.clip((px * rx + py * ry) / (rx * rx + ry * ry), 0, 1)
    off_x, off_y = px - along * rx, py - along * ry
    nearest[near] = np.minimum(nearest[near], np.sqrt(off_x * off_x + off_y * off_y))
