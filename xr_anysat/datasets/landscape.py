"""The map below the simulated cube: communes, roads, fields, woods, water and villages.

A world without end, made from a seed: every function answers for any window of it. Villages lie
at the jittered nodes of a lattice and roads join neighbours; the land of each village (its
Voronoi cell) has its own direction and size of fields. There, rows of blocks are cut into strips
and the strips into fields, so that four-sided fields of mostly 1 to 10 hectares come out, of the
size that Sentinel-2 sees in western Europe. All of it is bent by smooth noise.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .covers import DEFAULT_SUBSTRATE, Cover, Substrate
from .geometry import (
    PIXEL,
    Fields,
    Local,
    bend,
    cut,
    cut_fields,
    lines_share,
    locate,
    river_distance,
    roads_share,
)
from .noise import F32, F64, I64, U64, hash64, key, scattered_noise, smooth_noise, unit

__all__ = ["Land", "survey"]

NO_PARCEL: Final = 64  # ids below are covers that are no parcel
WOODS: Final = 1250.0  # metres, size of forests

# Shares of the arable land and of grass, of the magnitude of Eurostat's regional crop statistics
# for central France (table apro_cpshr); vines and orchards stand apart, see `_field_covers`.
SHARES: Final = {
    Cover.WINTER_WHEAT: 0.29,
    Cover.WINTER_BARLEY: 0.12,
    Cover.RAPESEED: 0.13,
    Cover.MAIZE: 0.12,
    Cover.SUGAR_BEET: 0.06,
    Cover.SUNFLOWER: 0.07,
    Cover.POTATO: 0.03,
    Cover.GRASSLAND: 0.11,
    Cover.ALFALFA: 0.04,
    Cover.BARE_SOIL: 0.01,
    Cover.ORCHARD: 0.02,
}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Land:
    """What is known of a window without regard to the date.

    Attributes
    ----------
    cover : ndarray of uint8
        Dims (y, x): the class map.
    parcel : ndarray of int32
        Dims (y, x): an id for each field or wood, 0 elsewhere.
    field : ndarray of int64
        Dims (y, x): index into the arrays of fields below.
    overlay : ndarray of uint8
        Dims (y, x): cover of what crosses or borders the pixel (road, hedge, ...).
    overlay_share : ndarray of float32
        Dims (y, x): share of the pixel that the overlay takes, 0 to 1.
    substrate : ndarray of uint8
        Dims (y, x): what lies under the plants.
    brightness : ndarray of float32
        Dims (y, x): factor on the substrate's reflectance.
    moisture : ndarray of float32
        Dims (y, x): how much wetter than the date's mean, about -0.3 to 0.3.
    vigour : ndarray of float32
        Dims (y, x): factor on the green cover.
    shade : ndarray of float32
        Dims (y, x): factor on all bands (crowns, roofs).
    field_cover : ndarray of uint8
        Dims (field,).
    field_shift : ndarray of float32
        Dims (field,): days by which the field is late.
    field_vigour : ndarray of float32
        Dims (field,): factor on the green cover.
    field_catch : ndarray of uint8
        Dims (field,): 1 where a catch crop is grown.
    """

    cover: NDArray[np.uint8]
    parcel: NDArray[np.int32]
    field: NDArray[np.int64]
    overlay: NDArray[np.uint8]
    overlay_share: F32
    substrate: NDArray[np.uint8]
    brightness: F32
    moisture: F32
    vigour: F32
    shade: F32
    field_cover: NDArray[np.uint8]
    field_shift: F32
    field_vigour: F32
    field_catch: NDArray[np.uint8]


def survey(seed: int, rows: I64, cols: I64) -> Land:
    """Make the map of a window.

    Parameters
    ----------
    seed
        Of the world.
    rows, cols
        Consecutive world indices of the window's pixels, int64, south and east.

    Returns
    -------
    Land
        The same numbers for the same pixels, whatever the window.
    """
    x, y = bend(seed, rows, cols)
    local = locate(seed, x, y)
    fields = cut_fields(local)
    ids = _mark_water(seed, rows, cols, fields)
    village, roofs = _mark_buildings(seed, rows, cols, local, fields)
    ids[village & (ids != Cover.WATER)] = Cover.BUILT_UP

    unique, first, field = np.unique(ids, return_index=True, return_inverse=True)
    field = field.reshape(ids.shape).astype(np.int64)
    communes = local.commune.ravel()[first]
    centre_u, centre_v = fields.centre_u.ravel()[first], fields.centre_v.ravel()[first]
    place = local.to_world(first, centre_u, centre_v)
    distance = np.sqrt(centre_u * centre_u + centre_v * centre_v)
    field_cover = _field_covers(seed, unique, communes, distance, *place)
    ground = _field_substrates(seed, unique, field_cover, *place)
    cover = field_cover[field]

    overlay, share = _overlays(cover, fields, roads_share(seed, rows, cols, x, y), roofs.street)
    label = (share >= 0.4) & ((overlay == Cover.ROAD) | (overlay == Cover.HEDGE))
    parcel = (ids & np.uint64(0x7FFFFFFF)).astype(np.int32)
    parcel[(ids < NO_PARCEL) | label] = 0
    built = cover == Cover.BUILT_UP

    real = unique >= NO_PARCEL
    dice = hash64(unique, np.array(11))
    late = (unit(dice, 1) + unit(dice, 2) + unit(dice, 3) - 1.5) * 22  # deviation 11 days
    tilth = (0.88 + 0.24 * unit(dice, 6)).astype(np.float32)  # rough fields are darker
    return Land(
        cover=np.where(label, overlay, cover).astype(np.uint8),
        parcel=parcel,
        field=field,
        overlay=overlay,
        overlay_share=share,
        substrate=np.where(built, roofs.substrate, ground[field]).astype(np.uint8),
        brightness=np.where(
            cover == Cover.WATER,
            1,
            tilth[field] * (1 + _texture(seed, "bright", rows, cols, 0.06, 210.0)),
        ).astype(np.float32),
        moisture=_texture(seed, "wet", rows, cols, 0.14, 320.0),
        vigour=np.where(
            built, 1 - roofs.share, 1 + _texture(seed, "vigour", rows, cols, 0.09, 140.0)
        ).astype(np.float32),
        shade=_shade(seed, rows, cols, cover),
        field_cover=field_cover,
        field_shift=np.where(real, late, 0).astype(np.float32),
        field_vigour=np.where(real, 0.86 + 0.22 * unit(dice, 4), 1).astype(np.float32),
        field_catch=(unit(dice, 5) < 0.5).astype(np.uint8),
    )


def _texture(
    seed: int, name: str, rows: I64, cols: I64, deviation: float, wavelength: float
) -> F32:
    """Two octaves of noise, far apart: patterns of a field's size and finer ones."""
    out = smooth_noise(key(seed, "texture", name), rows, cols, wavelength)
    out += np.float32(0.5) * smooth_noise(key(seed, "texture", name, 1), rows, cols, wavelength / 4)
    np.clip(out, -3, 3, out=out)
    out *= np.float32(deviation)
    return out


def _shade(seed: int, rows: I64, cols: I64, cover: NDArray[np.uint8]) -> F32:
    """Factor on all bands: crowns of trees and their shadows, roofs and theirs."""
    crowns = smooth_noise(key(seed, "crowns"), rows, cols, 24.0)
    dice = hash64(key(seed, "speckle"), rows[:, None], cols[None, :])
    depth = np.full(len(Cover) + 1, 0.008, dtype=np.float32)
    depth[[Cover.BROADLEAF_FOREST, Cover.CONIFER_FOREST, Cover.ORCHARD, Cover.HEDGE]] = 0.08
    depth[Cover.BUILT_UP] = 0.06
    rough = np.float32(0.7) * crowns + np.float32(2.4) * (
        unit(dice).astype(np.float32) - np.float32(0.5)
    )
    shade: F32 = np.clip(1 + depth[cover] * rough, 0.6, 1.4).astype(np.float32)
    return shade


def _overlays(
    cover: NDArray[np.uint8], fields: Fields, road: F32, street: F32
) -> tuple[NDArray[np.uint8], F32]:
    """Find what takes most of each pixel besides its own cover, and its share."""
    wood = (cover == Cover.BROADLEAF_FOREST) | (cover == Cover.CONIFER_FOREST)
    wild = (cover == Cover.WATER) | (cover == Cover.BUILT_UP)
    bare = wild | (wood & (fields.edge_cover == Cover.HEDGE))
    verge = np.where(bare, np.float32(0), fields.edge)
    paved = np.maximum(road, street)
    overlay = np.where(verge > paved, fields.edge_cover, np.uint8(Cover.ROAD))
    return overlay, np.maximum(verge, paved)


def _field_covers(
    seed: int, ids: U64, communes: U64, distance: F64, x: F64, y: F64
) -> NDArray[np.uint8]:
    """Choose what grows in each field, by chance, and by where its centre lies."""
    dice = hash64(ids, np.array(5))
    covers = np.array(list(SHARES))
    # Communes grow their own mix.
    taste = np.stack([0.4 + 1.2 * unit(communes, 40 + n) for n in range(len(covers))])
    chances = np.cumsum(taste * np.array(list(SHARES.values()))[:, None], axis=0)
    chances /= chances[-1]
    grown = covers[np.minimum((unit(dice, 1) >= chances).sum(axis=0), len(covers) - 1)]

    meadows = scattered_noise(key(seed, "meadows"), x, y, 900.0)
    grown = np.where(unit(dice, 2) < np.clip(0.5 * (meadows - 0.6), 0, 0.8), Cover.GRASSLAND, grown)
    slopes = scattered_noise(key(seed, "vines"), x, y, 1200.0)
    grown = np.where((slopes > 1.5) & (unit(dice, 3) < 0.8), Cover.VINEYARD, grown)

    woods = scattered_noise(key(seed, "woods"), x, y, WOODS)
    woods = woods + 0.35 * scattered_noise(key(seed, "woods2"), x, y, 450.0)
    woods = woods - 1.5 * np.clip(1 - distance / 700, 0, 1)  # villages stand in clearings
    dark = scattered_noise(key(seed, "needles"), x, y, 1100.0) + 1.2 * (unit(dice, 4) - 0.5)
    tree = np.where(dark > 0.5, Cover.CONIFER_FOREST, Cover.BROADLEAF_FOREST)
    grown = np.where((woods > 1.05) | (unit(dice, 5) < 0.02), tree, grown)
    return np.where(ids < NO_PARCEL, ids.astype(np.int64), grown).astype(np.uint8)


def _field_substrates(
    seed: int, ids: U64, covers: NDArray[np.uint8], x: F64, y: F64
) -> NDArray[np.uint8]:
    """Choose what lies under each field's plants."""
    soil = scattered_noise(key(seed, "soils"), x, y, 2100.0) + 0.8 * (unit(ids, 6) - 0.5)
    ground = np.select(
        [soil > 0.6, soil < -0.9], [Substrate.PALE_SOIL, Substrate.RED_SOIL], Substrate.BROWN_SOIL
    )
    for cover, substrate in DEFAULT_SUBSTRATE.items():
        ground[covers == cover] = substrate
    return ground.astype(np.uint8)


def _mark_water(seed: int, rows: I64, cols: I64, fields: Fields) -> U64:
    """Ids of the fields, where rivers, ponds and lakes and the trees along them are marked."""
    ids = fields.ids.copy()
    river = river_distance(seed, rows, cols)
    rough = smooth_noise(key(seed, "bank"), rows, cols, 90.0)
    width = 36 + 8 * smooth_noise(key(seed, "width"), rows, cols, 700.0)
    ids[river < width / 2 + 14 + 14 * rough] = Cover.BROADLEAF_FOREST
    pond = unit(fields.ids, 9) < 0.010
    shore = fields.ellipse + 0.16 * rough
    ids[pond & (shore < 0.86)] = Cover.BROADLEAF_FOREST
    lake = smooth_noise(key(seed, "lake"), rows, cols, 1700.0) + np.float32(0.05) * rough
    ids[lake > 2.5] = Cover.GRASSLAND
    ids[(river < np.maximum(width, 14) / 2) | (pond & (shore < 0.70)) | (lake > 2.58)] = Cover.WATER
    return ids


class _Roofs(NamedTuple):
    share: F32  # of the pixel under roofs and yards
    street: F32  # of the pixel under streets
    substrate: NDArray[np.uint8]


def _mark_buildings(
    seed: int, rows: I64, cols: I64, local: Local, fields: Fields
) -> tuple[NDArray[np.bool_], _Roofs]:
    """Where villages and farms stand, and their roofs and streets."""
    dice = local.commune
    radius = np.where(unit(dice, 5) < 0.85, 110 + 260 * unit(dice, 6) * unit(dice, 7), -200)
    rough = smooth_noise(key(seed, "fringe"), rows, cols, 150.0)
    village = local.distance + 45 * rough < radius
    yard = hash64(fields.block, np.array(7))
    farm = (unit(yard, 1) < 0.22) & (unit(fields.ids, 8) < 0.25)
    farm &= fields.radius + 9 * rough < 30 + 22 * unit(yard, 2)
    farm &= smooth_noise(key(seed, "woods"), rows, cols, WOODS) < 0.5

    side, depth = cut(local.u, 78.0, dice), cut(local.v, 104.0, hash64(dice, np.array(8)))
    street = np.maximum(lines_share(side.distance, 7.0), lines_share(depth.distance, 7.0))
    plot_u = cut(local.u, 25.0, hash64(dice, np.array(9)))
    plot_v = cut(local.v, 31.0, hash64(dice, np.array(10)))
    plot = hash64(dice, np.array(11), plot_u.number, plot_v.number)
    house = np.ones(plot.shape, dtype=np.float32)
    dense = 1.25 - 0.5 * np.clip(local.distance / np.maximum(radius, 1), 0, 1)
    for n, line in enumerate((plot_u, plot_v)):
        half = line.length * (0.22 + 0.16 * unit(plot, n + 1)) * np.where(farm, 1.4, dense)
        off = np.abs(line.low - line.length / 2)
        house *= np.clip((half - off) / PIXEL + 0.5, 0, 1).astype(np.float32)
    house *= unit(plot, 3) < 0.88
    kind = unit(plot, 4)
    roof = np.select(
        [kind < np.where(farm, 0.25, 0.62), kind < np.where(farm, 0.7, 0.95)],
        [Substrate.TILES, Substrate.SLATE],
        Substrate.BRIGHT_ROOF,
    )
    share = np.clip(house + np.float32(0.12), 0, 1)  # yards and walls besides
    return village | farm, _Roofs(share, np.where(village, street, 0), roof.astype(np.uint8))
