"""STAC items as three catalogues write them, with small COGs of a simulated landscape beside them.

Keys of assets and names of properties are those of real items; hrefs are files.
"""

import numpy as np
import pandas as pd
import pystac
import rasterio
from odc.geo.geobox import GeoBox

from xr_anysat.datasets import simulated_landscape

LABELS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
COMMON = (
    "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22",
)  # fmt: skip
TEN_METRES = ("B02", "B03", "B04", "B08")
SCHEMA = "https://stac-extensions.github.io"

ASSETS = {
    "pc": dict(zip(LABELS, LABELS, strict=True)) | {"SCL": "SCL"},
    "es": dict(zip(LABELS, COMMON, strict=True)) | {"SCL": "scl"},
    "cdse": {label: f"{label}_{10 if label in TEN_METRES else 20}m" for label in (*LABELS, "SCL")},
}
FLAVOURS = ("pc", "es", "c1", "cdse")


def landscape(shape=(48, 40), dates=3, **options):
    """(time, band, y, x), uint16, 0 where missing: some pixels on every date, dark ones beside."""
    cube = simulated_landscape(shape, dates=dates, **options)
    cube[0, :, 4:10, 6:14] = 0
    cube[1:, :, -8:, :6] = 0
    cube[:, :, 20:22, 20:22] = 1
    return cube


def classes(cube, seed=0):
    """SCL of every date, (time, y, x), in cells of 20 m; 0 where the cube has no data."""
    rng = np.random.default_rng(seed)
    rows, columns = cube.sizes["y"] // 2, cube.sizes["x"] // 2
    cells = rng.integers(1, 12, (cube.sizes["time"], rows, columns), dtype="uint8")
    scl = (
        cube.isel(band=0, drop=True)
        .astype("uint8")
        .copy(data=cells.repeat(2, axis=1).repeat(2, axis=2))
    )
    return scl.where(cube.isel(band=0, drop=True) != 0, 0).astype("uint8")


def write_image(folder, image, scl=None):
    """Write the bands of one date, (band, y, x), as COGs, those of 20 m by every second pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = {str(label): image.sel(band=label) for label in image.band.values}
    for label, layer in layers.items() if scl is None else {**layers, "SCL": scl}.items():
        step = 1 if label in TEN_METRES else 2
        pixels = layer.values[::step, ::step]
        with rasterio.open(
            folder / f"{label}.tif",
            "w",
            driver="COG",
            width=pixels.shape[1],
            height=pixels.shape[0],
            count=1,
            dtype=pixels.dtype,
            crs=f"EPSG:{layer.odc.crs.to_epsg()}",
            transform=layer.odc.geobox.transform * layer.odc.geobox.transform.scale(step),
            nodata=0,
            overviews="NONE",
        ) as file:
            file.write(pixels, 1)
    return folder


def make_item(
    folder,
    geobox: GeoBox,
    when,
    flavour="pc",
    *,
    baseline="02.14",
    name=None,
    applied=None,
    stated=None,
    level="L2A",
    cloud_cover=12.5,
    properties=(),
    drop=(),
):
    """Item of the images in a folder.

    Parameters
    ----------
    applied
        ``earthsearch:boa_offset_applied``.
    stated
        Offset that the raster extension states, in reflectance.
    properties
        Some more, or others.
    drop
        Labels of bands that the item does not have.
    """
    moment = pd.Timestamp(when)
    west, south, east, north = (round(edge, 6) for edge in geobox.geographic_extent.boundingbox)
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    day, tile = moment.strftime("%Y%m%dT%H%M%S"), "32TPS"
    epsg = geobox.crs.to_epsg()
    number = "" if baseline is None else f"N{baseline.replace('.', '')}_"
    plain = {"gsd": 10, "eo:cloud_cover": cloud_cover, "instruments": ["msi"]}
    if flavour == "pc":
        identifier = f"S2A_MSI{level}_{day}_R065_T{tile}_{day}"
        collection, extensions = "sentinel-2-l2a", ["eo/v1.0.0", "sat/v1.0.0", "projection/v1.0.0"]
        props = {
            "platform": "Sentinel-2A", "constellation": "Sentinel 2", "proj:epsg": epsg,
            "s2:mgrs_tile": tile, "s2:product_type": f"S2MSI{level[1:]}",
            "s2:processing_baseline": baseline, "sat:relative_orbit": 65,
        }  # fmt: skip
    elif flavour == "cdse":
        identifier = f"S2A_MSI{level}_{day}_{number}R065_T{tile}_{day}"
        collection = f"sentinel-2-{level.lower()}"
        extensions = ["eo/v2.0.0", "raster/v2.0.0", "projection/v2.0.0", "processing/v1.2.0"]
        props = {
            "platform": "sentinel-2a", "constellation": "sentinel-2", "grid:code": f"MGRS-{tile}",
            "product:type": f"S2MSI{level[1:]}", "processing:level": level[:2],
            "processing:version": baseline, "sat:relative_orbit": 65,
        }  # fmt: skip
    else:
        identifier = f"S2A_{tile}_{moment:%Y%m%d}_0_{level}"
        collection = f"sentinel-2-{'c1-' if flavour == 'c1' else ''}{level.lower()}"
        extensions = ["eo/v1.1.0", "raster/v1.1.0", "processing/v1.1.0"]
        extensions.append(f"projection/v{'2.0.0' if flavour == 'c1' else '1.1.0'}")
        props = {
            "platform": "sentinel-2a", "constellation": "sentinel-2", "grid:code": f"MGRS-{tile}",
            "s2:product_type": f"S2MSI{level[1:]}", "s2:processing_baseline": baseline,
            "processing:software": {"sentinel2-to-stac": "0.1.1"},
            **({"proj:code": f"EPSG:{epsg}"} if flavour == "c1" else {"proj:epsg": epsg}),
            **({} if applied is None else {"earthsearch:boa_offset_applied": applied}),
        }  # fmt: skip
    props = {key: value for key, value in props.items() if value is not None}
    return pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": "1.1.0" if flavour in ("c1", "cdse") else "1.0.0",
            "stac_extensions": [f"{SCHEMA}/{name}/schema.json" for name in extensions],
            "id": name or identifier,
            "collection": collection,
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "bbox": [west, south, east, north],
            "properties": {
                "datetime": f"{moment.isoformat()}Z",
                **plain,
                **props,
                **dict(properties),
            },
            "assets": dict(_assets(folder, geobox, flavour, stated, level, drop)),
            "links": [],
        }
    )


def _assets(folder, geobox, flavour, stated, level, drop):
    keys = ASSETS["es" if flavour == "c1" else flavour]
    code = f"EPSG:{geobox.crs.to_epsg()}"
    for label, key in keys.items():
        if label in drop or (label == "SCL" and level == "L1C"):
            continue
        size = 10 if label in TEN_METRES else 20
        grid = geobox if size == 10 else geobox.zoom_out(2)
        dtype = "uint8" if label == "SCL" else "uint16"
        asset = {
            "href": str(folder / f"{label}.tif"),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": size,
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.transform)[:6],
        }
        offset = {} if stated is None or label == "SCL" else {"offset": stated}
        if flavour in ("es", "c1"):
            band = {"nodata": 0, "data_type": dtype, "spatial_resolution": size, "scale": 0.0001}
            asset["raster:bands"] = [{**band, **offset}]
            # of each pair one leads nowhere: whoever reads it fails
            asset["eo:bands"] = [{"name": key, "common_name": key.rstrip("123")}]
            yield f"{key}-jp2", {"href": str(folder / f"{label}.jp2"), "type": "image/jp2"}
        elif flavour == "cdse":
            asset |= {"proj:code": code, "nodata": 0, "data_type": dtype, "raster:scale": 0.0001}
            asset |= {f"raster:{name}": value for name, value in offset.items()}
            asset |= {"type": "image/jp2", "bands": [{"name": label}]}
            coarse = asset | {"href": str(folder / f"{label}_60m.jp2"), "gsd": 60}
            yield (
                f"{label}_60m",
                coarse
                | {
                    "proj:shape": [-(-side * size // 60) for side in grid.shape],
                    "proj:transform": list(grid.transform * grid.transform.scale(60 / size))[:6],
                },
            )
        else:
            asset["eo:bands"] = [{"name": label, "common_name": "reflectance"}]
        yield key, asset


def add_offset(image, offset=1000):
    """What products of baseline 04.00 and later hold."""
    return image.where(image == 0, image + offset).astype(image.dtype)


def items_of(folder, cube, flavour="pc", scl=None, baselines="02.14", **options):
    """Write a cube date by date, and give an item for each."""
    made = []
    baselines = [baselines] * cube.sizes["time"] if isinstance(baselines, str) else baselines
    for n, baseline in enumerate(baselines):
        image = cube.isel(time=n)
        raised = float(baseline) >= 4 and not options.get("applied")
        place = write_image(
            folder / str(n),
            add_offset(image) if raised else image,
            None if scl is None else scl.isel(time=n),
        )
        when = image.time.values.astype("M8[s]")
        kind = {"pc": None, "es": None, "c1": -0.1, "cdse": -0.1}[flavour]
        stated = options.get("stated", kind if float(baseline) >= 4 else None)
        made.append(
            make_item(
                place,
                image.odc.geobox,
                when,
                flavour,
                baseline=baseline,
                **{**options, "stated": stated},
            )
        )
    return made
