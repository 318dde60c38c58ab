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
from xr_anysat.errors import OptionError
from xr_anysat.findings import Call
from xr_anysat.formatting import crs_name
from xr_anysat.keywords import suggests_keywords
from xr_anysat.results.coords_and_attrs import FEATURE_DIM
from xr_anysat.settings import require

from .axes import axis_labels, crs_of, map_extent, rgba, thinned, title_of, value_range
from .components import few_components, pca_rgb
from .quicklook import quicklook

__all__ = ["plot"]

Array = npt.NDArray[Any]

PIXELS = 1200
"""Most cells of a panel along an axis: more would not be visible."""

NAMED_COLOURS = 20
"""Clusters that a qualitative colour map and a legend can tell apart."""


@suggests_keywords()
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
    """Turn an embedding into its picture; pictures are returned unchanged."""
    picture = isinstance(data, xr.DataArray) and FEATURE_DIM not in data.dims
    if not picture or data.name == "embedding":
        data = pca_rgb(data, few_components(data, fit), fit, clip)
    for cells in (("y", "x"), ("geometry",)):
        if {*data.dims} - {"component", "rgb"} == {*cells}:
            shown: xr.DataArray = data.transpose(..., *cells)
            return shown
    repairs = Call("data.isel(time=0)"), Call("cube.anysat.quicklook()")
    raise OptionError("plot.dimensions", *repairs, dims=data.dims)


def _beside(cube: Cube, shown: xr.DataArray) -> xr.DataArray:
    picture = quicklook(cube, size=PIXELS)
    own, other = (crs_of(each) for each in (shown, picture))
    if own is not None and own != other:
        raise OptionError("plot.other-crs", other=crs_name(other), own=crs_name(own))
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
        low, high = value_range(picture.values)
        image = axis.imshow(picture.values, cmap="viridis", vmin=low, vmax=high, **place)
        axis.set_title(_name(picture))
        axis.figure.colorbar(image, ax=axis, shrink=0.8, label=str(picture.name or ""))
        _mark(axis, picture)


def _draw_geometries(axis: Any, picture: xr.DataArray) -> None:
    """Fill the geometries of pooled vectors; points and lines are thickened to be visible."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Normalize
    from matplotlib.path import Path

    shapes = np.asarray(picture["geometry"].values)
    if not all(isinstance(shape, shapely.Geometry) for shape in shapes):
        repair = Call("vectors.anysat.decode_geometry()")
        raise OptionError("plot.no-geometries", repair)
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
        scale = ScalarMappable(Normalize(*value_range(picture.values)), "viridis")
        colours = scale.to_rgba(np.ma.masked_invalid(picture.values))
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
    """Polygons of any shape; points and lines become thin ones."""
    if hasattr(shape, "geoms"):
        for part in shape.geoms:
            yield from _polygons(part, thick)
    elif shape.area:
        yield shape
    elif not shape.is_empty:
        yield shapely.buffer(shape, thick)


def _mark(axis: Any, picture: xr.DataArray) -> None:
    """Mark the place that the map is compared with."""
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
    """Colours of clusters, transparent where there is none; adds the legend."""
    # A map read from a file may hold floats, and a single flag in place of a list.
    from matplotlib.patches import Patch

    flags = np.sort(np.atleast_1d(picture.attrs["flag_values"]))
    colours, values = _cluster_colours(len(flags)), picture.values
    place = np.searchsorted(flags, values).clip(max=len(flags) - 1)
    if len(flags) <= NAMED_COLOURS:
        pairs = zip(flags.tolist(), colours, strict=True)
        axis.legend(
            handles=[Patch(color=colour, label=str(flag)) for flag, colour in pairs],
            title="cluster", loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
            fontsize="small", ncols=1 + (len(colours) > 10), frameon=False,
        )  # fmt: skip
    return np.where((flags[place] == values)[..., None], colours[place], 0)


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
