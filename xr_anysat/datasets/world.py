"""The simulated world: communes, roads, fields, woods, water and villages, whatever looks at it.

A world without end, made from a seed, which answers for any window. Villages lie at the crossings
of a lattice of roads, bent by smooth noise; the land of each has its own direction and size of
fields. There, rows of blocks are cut into strips and the strips into fields, so that four-sided
fields of mostly 1 to 10 hectares come out, of the size that Sentinel-2 sees in western Europe.

A sensor asks `survey` for the land of a window, at its own pixel size, and `Land.view` for how it
looks on a day, with a function that turns a `Surface` into what the sensor measures.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .covers import DEFAULT_GROUND, YEAR, Cover, Ground, seasons
from .noise import F32, F64, I64, U64, hash64, key, smooth_noise, unit

__all__ = ["Land", "Surface", "survey", "wetness"]

U8 = NDArray[np.uint8]

COMMUNE: Final = 2400.0  # metres between villages, typical of the plains of western Europe
NO_PARCEL: Final = 64  # ids below are covers that are no parcel
WOODS: Final = (Cover.BROADLEAF_FOREST, Cover.CONIFER_FOREST)

# Shares of the arable land and of grass, of the magnitude of Eurostat's regional crop statistics
# for central France (table apro_cpshr); vines and orchards stand apart, see `_choose_covers`.
SHARES: Final = {
    Cover.WINTER_WHEAT: 0.29, Cover.WINTER_BARLEY: 0.12, Cover.RAPESEED: 0.13, Cover.MAIZE: 0.12,
    Cover.SUGAR_BEET: 0.06, Cover.SUNFLOWER: 0.07, Cover.POTATO: 0.03, Cover.GRASSLAND: 0.11,
    Cover.ALFALFA: 0.04, Cover.BARE_SOIL: 0.01, Cover.ORCHARD: 0.02,
}  # fmt: skip

# How much crowns and roofs, and the shadows that they throw, vary a cover's brightness.
ROUGHNESS: Final = np.full(len(Cover) + 1, 0.01, dtype=np.float32)
ROUGHNESS[[*WOODS, Cover.ORCHARD, Cover.HEDGE, Cover.BUILT_UP]] = 0.09


class Surface(NamedTuple):
    """What a sensor meets on a day, all of one shape: what plants do not hide is ground."""

    cover: U8
    ground: U8
    green: F32
    brown: F32
    flower: F32
    bright: F32 | int  # factor on the ground's own colour
    wet: F32 | np.float32  # of the ground, 0 to 1


class Land(NamedTuple):
    """What is known of a window without regard to the date. Dims are (y, x) or (field,).

    Attributes
    ----------
    cover, inner : ndarray of uint8
        The class map, and the cover of the field where something else crosses the pixel.
    parcel : ndarray of int32
        An id for each field or wood, 0 elsewhere.
    overlay : ndarray of uint8
        Cover of what crosses or borders the pixel (road, hedge, ...).
    share : ndarray of float32
        Share of the pixel that the overlay takes, 0 to 1.
    ground : ndarray of uint8
        What lies under the plants.
    pattern : ndarray of float32
        Noise of the soil: where it is wetter, it is darker and plants thrive.
    free : ndarray of float32
        Share of the pixel that no building takes, 0 to 1.
    shade : ndarray of float32
        Factor on light: crowns, roofs and their shadows.
    field : ndarray of intp
        Index into the arrays of fields, which follow.
    stand, catch : ndarray of uint8
        Cover, and whether a catch crop is grown there, 0 or 1.
    late, vigour, tilth : ndarray of float32
        Days of delay, and factors on the green cover and on the ground's colour.
    """

    cover: U8
    inner: U8
    parcel: NDArray[np.int32]
    overlay: U8
    share: F32
    ground: U8
    pattern: F32
    free: F32
    shade: F32
    field: NDArray[np.intp]
    stand: U8
    catch: U8
    late: F32
    vigour: F32
    tilth: F32

    def view(self, day: int, wet: float) -> Callable[[Callable[[Surface], F32]], F32]:
        """Look at the land on a day of the year on which the soil's mean wetness is `wet`.

        What is returned takes a sensor's response to a surface and gives values of dims (y, x).
        """
        pixels, typical = self._surface(day, wet), _typical(day, wet)

        def measure(response: Callable[[Surface], F32]) -> F32:
            value = response(pixels) * self.shade
            return value + self.share * (response(typical)[self.overlay] - value)

        return measure

    def _surface(self, day: int, wet: float) -> Surface:
        """Surface of the pixels, without what crosses them."""
        date = np.mod(np.float32(day) - self.late, np.float32(YEAR))
        before = np.minimum(date.astype(np.int64), YEAR - 1)
        first, second = (seasons()[self.stand, self.catch, before + n] for n in (0, 1))
        parts = first + (date - before.astype(np.float32))[:, None] * (second - first)
        growth = self.free * (1 + np.float32(0.09) * self.pattern)
        green = np.clip((parts[:, 0] * self.vigour)[self.field] * growth, 0, 1)
        brown = np.minimum(parts[self.field, 1], 1 - green)
        flower = np.minimum(parts[self.field, 2], 1 - green - brown)
        bright = self.tilth[self.field] * (1 - np.float32(0.06) * self.pattern)
        damp = np.clip(np.float32(0.12) * self.pattern + np.float32(wet), 0, 1)
        return Surface(self.inner, self.ground, green, brown, flower, bright, damp)


def _typical(day: int, wet: float) -> Surface:
    """Surface of the typical stand of each cover, dims (cover,)."""
    covers = np.arange(len(Cover) + 1, dtype=np.uint8)
    green, brown, flower = seasons()[:, 0, day % YEAR].T
    return Surface(covers, DEFAULT_GROUND, green, brown, flower, 1, np.float32(wet))


def wetness(seed: int, day: int) -> float:
    """Mean wetness of the soil's surface, 0 to 1, `day` days after 1970-01-01: season, showers."""
    season = 0.5 + 0.28 * math.cos(2 * math.pi * (day - 15) / 365.25)
    showers = smooth_noise(key(seed, "showers"), np.zeros((1, 1)), np.array([[day + 0.5]]), 9.0)
    return round(min(max(season + 0.2 * float(showers[0, 0]), 0.05), 0.95), 2)


def survey(seed: int, south: F64, east: F64, pixel: int) -> Land:
    """Make the map of a window.

    Parameters
    ----------
    seed
        Of the world.
    south, east
        Metres south and east of the pixels' centres, dims (y, 1) and (1, x).
    pixel
        Side of a pixel, metres.

    Returns
    -------
    Land
        The same numbers for the same pixels, whatever the window.
    """

    def noise(name: str, wavelength: float) -> F32:
        return smooth_noise(key(seed, name), south, east, wavelength)

    y = south + (50.0 * noise("bend y", 1300.0).astype(np.float64) + 5.0 * noise("y", 330.0))
    x = east + (50.0 * noise("bend x", 1300.0).astype(np.float64) + 5.0 * noise("x", 330.0))
    rough = noise("rough", 110.0)
    commune, distance, road = _locate(seed, south, east)
    ids, field_y, field_x, ellipse, edge, edge_cover = _fields(commune, y, x, pixel)
    house, roof, street = _build(commune, y, x, pixel)
    village = (unit(commune, 5) < 0.85) & (distance + 45 * rough < 100 + 150 * unit(commune, 6))
    farm = (unit(ids, 8) < 0.04) & (ellipse + 0.09 * rough < 0.35)

    # Rivers are level lines, 5.2 km apart, of a bent plane; ponds fill fields; lakes are hollows.
    plane = south + 620.0 * noise("valley", 4300.0) + 120.0 * noise("meander", 900.0)
    plane += 26.0 * noise("bank", 300.0)
    river = np.abs(plane - np.floor(plane / 5200) * 5200 - 2600) - 18
    pond = np.where(unit(ids, 9) < 0.010, ellipse + 0.16 * rough, 1)
    lake = noise("lake", 1700.0) + 0.05 * rough
    ids[(river < 14 + 14 * rough) | (pond < 0.86) | (lake > 2.5)] = Cover.BROADLEAF_FOREST
    ids[village | farm] = Cover.BUILT_UP
    ids[(river < 4 * noise("width", 700.0)) | (pond < 0.7) | (lake > 2.58)] = Cover.WATER

    unique, first, field = np.unique(ids, return_index=True, return_inverse=True)
    field_y, field_x = field_y.ravel()[first][:, None], field_x.ravel()[first][:, None]
    stand, soil = _choose_covers(seed, unique, field_y, field_x)
    inner = stand[field]
    built = inner == Cover.BUILT_UP

    # What takes most of each pixel besides its own cover.
    paved = np.maximum(_lines_share(road, 9.0, pixel), np.where(village, street, 0))
    wild = built | (inner == Cover.WATER) | np.isin(inner, WOODS) & (edge_cover == Cover.HEDGE)
    verge = np.where(wild, np.float32(0), edge)
    overlay = np.where(verge > paved, edge_cover, np.uint8(Cover.ROAD))
    share = np.maximum(verge, paved)
    label = (share >= 0.4) & ((overlay == Cover.ROAD) | (overlay == Cover.HEDGE))

    cover = np.where(label, overlay, inner).astype(np.uint8)
    parcel = np.where((ids < NO_PARCEL) | label, 0, ids & 0x7FFFFFFF).astype(np.int32)
    ground = np.where(built, roof, soil[field]).astype(np.uint8)
    pattern = np.clip(noise("pattern", 260.0) + np.float32(0.5) * noise("grain", 60.0), -3, 3)
    free = np.where(built, np.float32(0.88) - house, np.float32(1))  # yards take the rest
    shade = np.clip(1 + ROUGHNESS[inner] * noise("crowns", 24.0), 0.6, 1.4)
    dice = hash64(unique, 11)
    draws = np.stack([unit(dice, turn) for turn in range(1, 7)]).astype(np.float32) - 0.5
    draws[:, unique < NO_PARCEL] = 0
    late, catch = 22 * (draws[0] + draws[1] + draws[2]), (draws[4] < 0).astype(np.uint8)
    crops = (stand, catch, late, 0.97 + 0.22 * draws[3], 1 + 0.24 * draws[5])
    return Land(cover, inner, parcel, overlay, share, ground, pattern, free, shade, field, *crops)


def _locate(seed: int, south: F64, east: F64) -> tuple[U64, F64, F64]:
    """Find the commune of points, and how far its village and the nearest road are, in metres."""

    def bent(straight: F64, name: str) -> tuple[I64, F64]:
        far, near = ((430.0, f"far {name}", 2900.0), (90.0, f"near {name}", 800.0))
        for height, noise, wavelength in (far, near):
            straight = straight + height * smooth_noise(key(seed, noise), south, east, wavelength)
        cell = np.floor(straight / COMMUNE).astype(np.int64)
        return cell, straight - (cell + 0.5) * COMMUNE

    (i, y), (j, x) = bent(south, "y"), bent(east, "x")
    # Roads leave a village in each direction, unless none was built to the next.
    along = unit(hash64(key(seed, "road y"), i + (y > 0), j)) < 0.88
    across = unit(hash64(key(seed, "road x"), i, j + (x > 0))) < 0.88
    road = np.minimum(np.where(along, np.abs(x), COMMUNE), np.where(across, np.abs(y), COMMUNE))
    return hash64(key(seed, "commune"), i, j), np.sqrt(y * y + x * x), road


class Cut(NamedTuple):
    """Where points fall in a line cut at jittered places; metres."""

    number: I64
    start: F64  # of the piece, from the line's origin
    length: F64
    low: F64  # distance to the start
    distance: F64  # to the nearer cut
    nearest: I64  # its number: the same seen from both sides


def _cut(position: F64, size: F64 | float, ids: U64, pieces: F64 | None = None) -> Cut:
    """Cut lines into pieces of about `size` metres, at places hashed from `ids`.

    With `pieces`, the lines run from 0 to `pieces * size` and end there exactly.
    """
    first, last = (-np.inf, np.inf) if pieces is None else (0, pieces)
    scaled = position / size
    number = np.clip(np.floor(scaled), first, last - 1).astype(np.int64)

    def place(of: I64) -> F64:
        jitter = np.where((of > first) & (of < last), 0.55 * unit(hash64(ids, of)), 0)
        return jitter + of

    here = place(number)
    before = scaled < here
    other = place(np.where(before, number - 1, number + 1))
    start, stop = np.where(before, other, here) * size, np.where(before, here, other) * size
    low, high = np.maximum(position - start, 0), np.maximum(stop - position, 0)
    number = number - before
    return Cut(number, start, stop - start, low, np.minimum(low, high), number + (high < low))


def _lines_share(distance: F64, width: F64 | float, pixel: int) -> F32:
    """Share of a pixel that a line of `width` metres takes, `distance` metres from its middle."""
    stop, start = np.minimum(distance + pixel / 2, width / 2), distance - pixel / 2
    return np.clip((stop - np.maximum(start, -width / 2)) / pixel, 0, 1).astype(np.float32)


def _fields(commune: U64, y: F64, x: F64, pixel: int) -> tuple[U64, F64, F64, F64, F32, U8]:
    """Cut communes into blocks, strips and fields.

    Returns
    -------
    tuple of ndarray
        Of the field that each point lies in: its id; y and x of its centre, metres; where in it
        the point lies, 0 at the centre, 1 at the middle of its sides; share of the pixel taken by
        a hedge, track or grass that borders it, and the cover of that.
    """
    small = unit(commune, 1)  # 0: open fields, 1: small fields between hedges
    tangent = 0.83 * (unit(commune, 2) - 0.5)  # of half the angle of the fields' direction
    cosine = (1 - tangent * tangent) / (1 + tangent * tangent)
    sine = 2 * tangent / (1 + tangent * tangent)
    row = _cut(cosine * y - sine * x, 640.0 - 230.0 * small, commune)
    row_ids = hash64(commune, 1, row.number)
    slant = 0.30 * (unit(row_ids, 1) - 0.5) * (row.low - row.length / 2)
    column = _cut(cosine * x + sine * y + slant, 820.0 - 300.0 * small, row_ids)
    block = hash64(row_ids, 2, column.number)

    # Strips run along the columns, and are narrow and long or by chance wide and cut often.
    wide = np.where(unit(block, 1) < 0.35, 2.0, 1.0)
    strips = np.rint(column.length / wide / (205 - 105 * small + 60 * (unit(block, 3) - 0.5)))
    strips = np.maximum(strips, 1)
    strip = _cut(column.low, column.length / strips, block, strips)
    strip_ids = hash64(block, 3, strip.number)
    parts = np.maximum(np.rint(row.length * wide / (270 + 260 * unit(strip_ids, 1))), 1)
    part = _cut(row.low, row.length / parts, strip_ids, parts)
    ids = hash64(strip_ids, 4, part.number) | np.uint64(0x100)
    a, b = 2 * strip.low / strip.length - 1, 2 * part.low / part.length - 1
    u = column.start + strip.start + strip.length / 2
    v = row.start + part.start + part.length / 2

    edge, edge_cover = np.zeros(small.shape, np.float32), np.zeros(small.shape, np.uint8)
    parents, lines = [commune, row_ids, block, strip_ids], [row, column, strip, part]
    for n, tracks in enumerate((0.75, 0.55, 0.05, 0.0)):
        dice = hash64(parents[n], 20 + n, lines[n].nearest)
        track = unit(dice, 1) < tracks
        hedge = ~track & (unit(dice, 2) < 0.06 + 0.5 * small)
        width = np.where(hedge, 8 + 6 * unit(dice, 3), np.where(track, 5.0, 2.5))
        share = _lines_share(lines[n].distance, width, pixel)
        kind = np.where(hedge, Cover.HEDGE, np.where(track, Cover.BARE_SOIL, Cover.GRASSLAND))
        edge_cover = np.where(share > edge, kind, edge_cover).astype(np.uint8)
        edge = np.maximum(edge, share)
    y, x = cosine * v + sine * u, cosine * u - sine * v
    return ids, y, x, np.sqrt(a * a + b * b), edge, edge_cover


def _build(commune: U64, y: F64, x: F64, pixel: int) -> tuple[F32, U8, F32]:
    """Build houses and streets, were all land a village: shares of the pixel, and roofs."""
    streets = (_cut(x, 78.0, commune), _cut(y, 104.0, hash64(commune, 8)))
    street = np.maximum(*(_lines_share(line.distance, 7.0, pixel) for line in streets))
    plots = (_cut(x, 25.0, hash64(commune, 9)), _cut(y, 31.0, hash64(commune, 10)))
    plot = hash64(commune, 11, plots[0].number, plots[1].number)
    house = np.where(unit(plot, 3) < 0.88, 0.88, 0)
    for n, line in enumerate(plots, 1):
        half = line.length * (0.26 + 0.16 * unit(plot, n))
        house *= np.clip((half - np.abs(line.low - line.length / 2)) / pixel + 0.5, 0, 1)
    kinds = np.array([Ground.TILES] * 11 + [Ground.SLATE] * 7 + [Ground.BRIGHT_ROOF] * 2)
    roof = kinds[(20 * unit(plot, 4)).astype(np.int64)]
    return house.astype(np.float32), roof.astype(np.uint8), street


def _choose_covers(seed: int, ids: U64, y: F64, x: F64) -> tuple[U8, U8]:
    """Choose what grows in each field, by chance and by where its centre lies, and the soil."""

    def noise(name: str, wavelength: float) -> F32:
        return smooth_noise(key(seed, name), y, x, wavelength)[:, 0]

    commune, distance, _ = _locate(seed, y, x)
    # Communes grow their own mix.
    taste = np.stack([0.4 + 1.2 * unit(commune[:, 0], 40 + n) for n in range(len(SHARES))], axis=1)
    chances, dice = np.cumsum(taste * list(SHARES.values()), axis=1).T, hash64(ids, 5)
    grown = np.array(list(SHARES))[(unit(dice, 1) * chances[-1] >= chances[:-1]).sum(axis=0)]
    grown[unit(dice, 2) < np.clip(0.5 * (noise("meadows", 900.0) - 0.6), 0, 0.8)] = Cover.GRASSLAND
    grown[(noise("vines", 1200.0) > 1.5) & (unit(dice, 3) < 0.8)] = Cover.VINEYARD
    woods = noise("woods", 1250.0) + 0.35 * noise("copses", 450.0)
    woods = woods - 1.5 * np.clip(1 - distance[:, 0] / 700, 0, 1)  # villages stand in clearings
    dark = noise("needles", 1100.0) + 1.2 * (unit(dice, 4) - 0.5) > 0.5
    grown = np.where((woods > 1.05) | (unit(dice, 5) < 0.02), np.array(WOODS)[dark * 1], grown)
    grown = np.where(ids < NO_PARCEL, ids.astype(np.int64), grown)
    pale, ground = noise("soils", 2100.0) + 0.8 * (unit(ids, 6) - 0.5), DEFAULT_GROUND[grown]
    soil = np.where(pale > 0.6, Ground.PALE_SOIL, np.where(pale < -0.9, Ground.RED_SOIL, ground))
    return grown.astype(np.uint8), np.where(ground == Ground.BROWN_SOIL, soil, ground)
