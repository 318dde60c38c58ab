"""Figures: embeddings and what is made of them, beside the cube in true colour.

Needs the extra ``plot``; matplotlib is imported when a figure is made.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import xarray as xr

from xr_anysat.cube.canonical import Cube
from xr_anysat.cube.grid import crs_name
from xr_anysat.errors import OptionError
from xr_anysat.results.labels import FEATURE_DIM
from xr_anysat.settings import require

from .axes import axis_labels, crs_of, map_extent, rgba, thinned, title_of
from .components import few_components, pca_rgb
from .quicklook import quicklook

__all__ = ["plot"]

Array = npt.NDArray[Any]

PIXELS = 1200
"""Of a panel along an axis, at the most: more would not be seen."""

NAMED_COLOURS = 20
"""Clusters that a qualitative colour map and a legend can tell apart."""


def plot(
    data: xr.DataArray,
    cube: Cube | None = None,
    *,
    fit: xr.Dataset | None = None,
    clip: tuple[float, float] = (2, 98),
    title: str | None = None,
    caption: str = "",
    figure: Any = None,
) -> npt.NDArray[Any]:
    """Draw an embedding, or what was made of one, with the cube in true colour beside it.

    What is lazy is computed.

    Parameters
    ----------
    data : xarray.DataArray
        An embedding (feature, y, x) or (geometry, feature), which is shown by `pca_rgb`; or the
        result of `pca_rgb`, `similarity`, `cluster` or `quicklook`.
    cube : xarray.DataArray or xarray.Dataset, optional
        To show by `quicklook` in a panel of its own.
    fit, clip
        As `pca_rgb` takes them.
    title, caption : str, optional
        Above and below the panels; the default title says which model and weights.
    figure : matplotlib.figure.Figure or SubFigure, optional
        To draw into. Default: a new one of pyplot.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The panels, from left to right; ``axes[0].figure.savefig("map.png")``.

    Raises
    ------
    OptionError
        For an argument that does not fit, or a single vector, which is no picture.
    MissingExtraError
        Without matplotlib, or scikit-learn where a fit is needed.
    """
    require("matplotlib", "plot", "plot()")
    shown = _shown(data, fit, clip)
    panels = [] if cube is None else [_beside(cube, shown)]
    panels.append(shown)
    computed = [thinned(panel, PIXELS).compute() for panel in panels]
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(1.2 + 5.2 * len(panels), 5.8), layout="compressed")
    axes: Array = figure.subplots(
        1, len(panels), sharex=len(panels) > 1, sharey=len(panels) > 1, squeeze=False
    )[0]
    labels = axis_labels(shown)
    for axis, panel in zip(axes, computed, strict=True):
        _draw(axis, panel)
        axis.set_xlabel(labels[0])
        axis.ticklabel_format(style="plain", useOffset=False)
        axis.tick_params(axis="x", rotation=30)
    axes[0].set_ylabel(labels[1])
    figure.suptitle(title_of(data) if title is None else title)
    if caption:
        figure.supxlabel(caption, fontsize="small")
    return axes


def _shown(data: Any, fit: xr.Dataset | None, clip: tuple[float, float]) -> xr.DataArray:
    """Turn an embedding into its picture; a picture is one already."""
    made = isinstance(data, xr.DataArray) and FEATURE_DIM not in data.dims
    if not made or data.name == "embedding":
        data = pca_rgb(data, few_components(data, fit), fit, clip)
    for cells in (("y", "x"), ("geometry",)):
        if {*data.dims} - {"component", "rgb"} == {*cells}:
            drawn: xr.DataArray = data.transpose(..., *cells)
            return drawn
    raise OptionError(
        "plot() draws an embedding, or what was made of one, on a map (y, x) or on geometries, and "
        f"this has dims {data.dims}. Of more, select one, such as data.isel(time=0); a cube is "
        "shown by cube.anysat.quicklook()."
    )


def _beside(cube: Cube, shown: xr.DataArray) -> xr.DataArray:
    picture = quicklook(cube, size=PIXELS)
    own, other = (crs_of(each) for each in (shown, picture))
    if own is not None and own != other:
        raise OptionError(
            f"the cube is in {crs_name(other)} and the map in {crs_name(own)}; give the cube "
            "that was embedded."
        )
    return picture


def _draw(axis: Any, picture: xr.DataArray) -> None:
    if "geometry" in picture.dims:
        _draw_geometries(axis, picture)
        return
    place = {"extent": map_extent(picture), "interpolation": "nearest"}
    if picture.ndim == 3:
        axis.imshow(rgba(picture.values), **place)
        axis.set_title(_name(picture))
    elif "flag_values" in picture.attrs:
        axis.imshow(_cluster_rgba(axis, picture), **place)
        axis.set_title("clusters")
    else:
        image = axis.imshow(picture.values, **place, **_range(picture.values))
        axis.set_title(_name(picture))
        axis.figure.colorbar(image, ax=axis, shrink=0.8, label=str(picture.name or ""))
        _mark(axis, picture)


def _draw_geometries(axis: Any, picture: xr.DataArray) -> None:
    """Fill the geometries of pooled vectors; points and lines as thick as to be seen."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Normalize
    from matplotlib.path import Path

    shapes = np.asarray(picture["geometry"].values)
    if not all(isinstance(shape, shapely.Geometry) for shape in shapes):
        raise OptionError("plot() needs the geometries: the `geometry` coordinate holds none.")
    west, south, east, north = shapely.total_bounds(shapes)
    thick = max(east - west, north - south) / 150 or 1.0
    polygons = [list(_polygons(shape, thick)) for shape in shapes]
    areas = [sum(part.area for part in parts) for parts in polygons]
    order = np.argsort(-np.array(areas), kind="stable")  # the small ones on top
    picture = picture.isel(geometry=order)
    if picture.ndim == 2:
        colours = rgba(picture.values)
    elif "flag_values" in picture.attrs:
        colours = _cluster_rgba(axis, picture)
    else:
        limits = _range(picture.values)
        share = (picture.values - limits["vmin"]) / (limits["vmax"] - limits["vmin"])
        colours = colormaps[limits["cmap"]](np.ma.masked_invalid(share))
        scale = ScalarMappable(Normalize(limits["vmin"], limits["vmax"]), limits["cmap"])
        axis.figure.colorbar(scale, ax=axis, shrink=0.8, label=str(picture.name or ""))
    paths = [
        Path.make_compound_path(
            *(Path(ring.coords, closed=True) for part in polygons[n]
              for ring in (part.exterior, *part.interiors))
        )
        for n in order
    ]  # fmt: skip
    axis.add_collection(PathCollection(paths, facecolors=colours, edgecolors="0.3", linewidths=0.5))
    axis.update_datalim([(west - thick, south - thick), (east + thick, north + thick)])
    axis.autoscale_view()
    axis.set_aspect("equal")
    axis.set_title(_name(picture))


def _polygons(shape: Any, thick: float) -> Iterator[shapely.Polygon]:
    """Polygons of a shape of any kind, with those around its points and lines."""
    if hasattr(shape, "geoms"):
        for part in shape.geoms:
            yield from _polygons(part, thick)
    elif shape.area:
        yield shape
    elif not shape.is_empty:
        yield shapely.buffer(shape, thick)


def _range(values: Array) -> dict[str, Any]:
    """Colours from the second percentile to the highest value: likes stand out."""
    known = values[np.isfinite(values)]
    low, high = (float(np.percentile(known, 2)), float(known.max())) if known.size else (0.0, 1.0)
    return {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1}


def _mark(axis: Any, picture: xr.DataArray) -> None:
    """Show the place that the rest of a map is compared with."""
    if "point" in picture.attrs:
        x, y = picture.attrs["point"]
        axis.plot(x, y, "o", mfc="none", mec="white", ms=9, mew=2.5)
        axis.plot(x, y, "o", mfc="none", mec="black", ms=9, mew=1)


def _cluster_colours(count: int) -> Array:
    """(count, 4) colours, the first ones the most distinct."""
    from matplotlib import colormaps

    if count <= 10:
        return np.asarray(colormaps["tab10"](np.arange(count)))
    if count <= NAMED_COLOURS:
        return np.asarray(colormaps["tab20"](np.arange(count)))
    return np.asarray(colormaps["turbo"](np.linspace(0, 1, count)))


def _cluster_rgba(axis: Any, picture: xr.DataArray) -> Array:
    """Colours of clusters, transparent where there is none, and what they stand for beside."""
    # A map that was read from a file may be of floats, and have a number in place of a list of one.
    flags = np.sort(np.atleast_1d(picture.attrs["flag_values"]))
    colours, values = _cluster_colours(len(flags)), picture.values
    place = np.searchsorted(flags, values).clip(max=len(flags) - 1)
    _legend(axis, flags, colours)
    return np.where((flags[place] == values)[..., None], colours[place], 0)


def _legend(axis: Any, flags: Array, colours: Array) -> None:
    from matplotlib.patches import Patch

    if len(colours) <= NAMED_COLOURS:
        pairs = zip(flags.tolist(), colours, strict=True)
        handles = [Patch(color=colour, label=str(flag)) for flag, colour in pairs]
        axis.legend(
            handles=handles, title="cluster", loc="upper left", bbox_to_anchor=(1.01, 1),
            borderaxespad=0, fontsize="small", ncols=1 + (len(colours) > 10), frameon=False,
        )  # fmt: skip


def _name(picture: xr.DataArray) -> str:
    if picture.name == "true_colour":
        return "true colour"
    if "component" not in picture.dims:
        return str(picture.attrs.get("long_name", picture.name or ""))
    count = picture.sizes["component"]
    name = "first component" if count == 1 else f"first {min(count, 3)} components"
    ratio = picture.coords.get("explained_variance_ratio")
    if ratio is None or not np.isfinite(ratio).all():
        return name
    return f"{name} ({float(ratio[:3].sum()):.0%} of the variance)"
