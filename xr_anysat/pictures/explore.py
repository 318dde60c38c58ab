"""A linked view for notebooks and browsers: click a place, see what is similar.

Needs the extra ``explore``. The page holds all that it shows: it needs neither a network nor
Python.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import dask.base
import numpy as np
import numpy.typing as npt
import xarray as xr

from xr_anysat.atomic import atomic_replace
from xr_anysat.cube.canonical import Cube
from xr_anysat.errors import OptionError
from xr_anysat.job.options import check_whole
from xr_anysat.keywords import suggests_keywords
from xr_anysat.results.coords_and_attrs import FEATURE_DIM
from xr_anysat.settings import require

from .axes import axis_labels, map_extent, rgba, thinned, title_of, value_range
from .cells import as_embedding
from .components import few_components, pca_rgb
from .quicklook import quicklook

__all__ = ["Explorer", "explore"]

Array = npt.NDArray[Any]

RANK = 64
"""Numbers of each vector that the page holds."""

CHECKED = 256
"""Cells whose cosines to all others are compared with the exact ones."""

WIDTH = 300
"""Longer side of a panel, in pixels of the screen."""

ON_CLICK = """
const {width, height, rank, left, right, bottom, top} = grid
const column = Math.floor((cb_obj.x - left) / (right - left) * width)
const row = Math.floor((cb_obj.y - bottom) / (top - bottom) * height)
if (!(column >= 0 && column < width && row >= 0 && row < height)) return
const v = vectors.data.v, out = image.data.image[0], at = (row * width + column) * rank
const known = []
for (let cell = 0; cell < width * height; cell++) {
  let sum = 0
  for (let k = 0; k < rank; k++) sum += v[at + k] * v[cell * rank + k]
  out[cell] = sum
  if (!isNaN(sum)) known.push(sum)
}
known.sort((a, b) => a - b)
mapper.low = known.length ? known[Math.floor(0.02 * (known.length - 1))] : 0
mapper.high = known.length ? Math.max(known[known.length - 1], mapper.low + 1e-6) : 1
const x = left + (column + 0.5) * (right - left) / width
const y = bottom + (row + 0.5) * (top - bottom) / height
place.data = {x: [x], y: [y]}
title.text = (known.length ? "cosine similarity to " : "no data at ") +
  x.toFixed(0) + ", " + y.toFixed(0)
image.change.emit()
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explorer:
    """An interactive page; a notebook shows it by itself.

    Parameters
    ----------
    layout
        Bokeh's.
    title
        Of the page.
    shape
        Rows and columns of the cells that are shown.
    error
        Largest difference found between cosines of the page and exact ones.
    """

    layout: Any
    title: str
    shape: tuple[int, int]
    error: float

    def html(self) -> str:
        """Give the page, with everything in it."""
        from bokeh.embed import file_html
        from bokeh.resources import INLINE

        page: str = file_html(self.layout, resources=INLINE, title=self.title)
        return page

    def save(self, path: str | Path) -> Path:
        """Write the page, some megabytes, to a file that any browser opens.

        The file appears when it is complete, in place of an earlier one.

        Raises
        ------
        StoreError
            Where the folder does not exist, or `path` is a folder.
        """
        path = Path(path)
        with atomic_replace(path) as fresh:
            fresh.write_text(self.html(), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        # A frame of its own: the page brings its script, whatever the notebook has loaded.
        return (
            f'<iframe srcdoc="{escape(self.html())}" style="border:0;width:100%;'
            f'height:{WIDTH + 180}px"></iframe>'
        )


@suggests_keywords()
def explore(
    embedding: xr.DataArray,
    cube: Cube | None = None,
    *,
    size: int = 128,
    fit: xr.Dataset | None = None,
    clip: tuple[float, float] = (2, 98),
) -> Explorer:
    """Make an interactive view: the embedding's colours and, for a clicked cell, what is similar.

    A lazy embedding is computed. The page holds every n-th cell, its vector scaled to length one
    and projected on the 64 axes along which such vectors are longest; `Explorer.error` says how
    far its cosines may be from exact ones.

    Parameters
    ----------
    embedding : xarray.DataArray
        (feature, y, x).
    cube : xarray.DataArray or xarray.Dataset, optional
        To show by `quicklook` in a linked panel.
    size : int
        Largest number of cells of the longer side.
    fit, clip
        As `pca_rgb` takes them.

    Returns
    -------
    Explorer
        Shown by a notebook; ``.save("page.html")`` writes it.

    Raises
    ------
    OptionError
        For an argument that does not fit, or what is no map.
    MissingExtraError
        Without bokeh, or scikit-learn where a fit is needed.
    """
    embedding = as_embedding(embedding, "explore()")
    if {*embedding.dims} != {FEATURE_DIM, "y", "x"}:
        raise OptionError("explore.needs-map", dims=embedding.dims)
    size = check_whole("size", size)
    require("bokeh.plotting", "explore", "explore()")
    picture = thinned(pca_rgb(embedding, few_components(embedding, fit), fit, clip), size)
    cells = thinned(embedding, size).transpose("y", "x", FEATURE_DIM)
    beside = None if cube is None else quicklook(cube)
    picture, cells, beside = dask.base.compute(picture, cells, beside)
    ordered = cells.sortby(["y", "x"])
    vectors, error = _shortened(ordered.values)
    if not np.isfinite(vectors).any():
        raise OptionError("explore.no-values")
    panels = [] if beside is None else [("true colour", beside.sortby(["y", "x"]))]
    panels.append(("first components", picture.sortby(["y", "x"])))
    title = title_of(embedding) or "AnySat embedding"
    layout = _layout(panels, ordered, vectors, title, error)
    return Explorer(layout=layout, title=title, shape=ordered.shape[:2], error=error)


def _shortened(values: Array) -> tuple[Array, float]:
    """(y, x, feature) to unit vectors on fewer axes, and the largest error of their cosines."""
    unit = values.reshape(-1, values.shape[-1]).astype(np.float32)
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(length > 0, length, np.nan)
    known = unit[np.isfinite(unit).all(axis=1)]
    axes = np.linalg.eigh((known.T @ known).astype(np.float64))[1][:, ::-1][:, :RANK]
    short = (unit @ axes).astype(np.float32)
    kept = known @ axes
    some = np.unique(np.linspace(0, len(known) - 1, min(CHECKED, len(known))).astype(int))
    error = np.abs(known[some] @ known.T - kept[some] @ kept.T).max(initial=0)
    return short.reshape(*values.shape[:2], -1), float(error)


def _layout(
    panels: list[tuple[str, xr.DataArray]],
    cells: xr.DataArray,
    vectors: Array,
    title: str,
    error: float,
) -> Any:
    from bokeh.layouts import column, gridplot
    from bokeh.models import ColumnDataSource, CustomJS, Div

    left, right, top, bottom = map_extent(cells)  # rows run north
    row, column_ = _first_place(vectors)
    steps = (right - left) / vectors.shape[1], (top - bottom) / vectors.shape[0]
    x, y = left + (column_ + 0.5) * steps[0], bottom + (row + 0.5) * steps[1]
    similar = xr.DataArray(
        vectors @ vectors[row, column_], dims=("y", "x"), coords={"y": cells["y"], "x": cells["x"]}
    )
    place = ColumnDataSource({"x": [x], "y": [y]}, name="place")
    panels = [*panels, (f"cosine similarity to {x:.0f}, {y:.0f}", similar)]
    figures: list[Any] = []
    for name, picture in panels:
        figures.append(_figure(name, cells, figures))
        _draw(figures[-1], picture)
        for colour, thick in (("white", 4), ("black", 1.5)):
            ring = {"fill_color": None, "line_color": colour, "line_width": thick}
            figures[-1].scatter("x", "y", source=place, size=10, **ring)
    shown = figures[-1].renderers[0]
    shown.data_source.name, figures[-1].name = "similarity", "similar"
    arguments = {
        "grid": {
            "width": vectors.shape[1], "height": vectors.shape[0], "rank": vectors.shape[2],
            "left": left, "right": right, "bottom": bottom, "top": top,
        },
        "vectors": ColumnDataSource({"v": vectors.ravel()}),
        "image": shown.data_source, "mapper": shown.glyph.color_mapper, "place": place,
        "title": figures[-1].title,
    }  # fmt: skip
    for figure in figures:
        for event in ("tap", "doubletap"):  # which a quick click elsewhere counts as
            figure.js_on_event(event, CustomJS(args=arguments, code=ON_CLICK))
    text = f"{escape(title)}. Click a place to see what is similar (cosines within {error:.1g})."
    return column(Div(text=text), gridplot([figures], merge_tools=True))


def _first_place(vectors: Array) -> tuple[int, int]:
    """Find the cell nearest to the middle that has a vector."""
    known = np.isfinite(vectors).all(axis=2)
    rows, columns = np.indices(known.shape)
    middle = [(size - 1) / 2 for size in known.shape]
    distance = np.where(known, np.hypot(rows - middle[0], columns - middle[1]), np.inf)
    row, column = np.unravel_index(distance.argmin(), known.shape)
    return int(row), int(column)


def _figure(name: str, cells: xr.DataArray, others: list[Any]) -> Any:
    """Make a panel of the map's own shape, linked to the other panels."""
    from bokeh.models import BoxZoomTool, NumeralTickFormatter, Range1d
    from bokeh.plotting import figure

    left, right, top, bottom = map_extent(cells)
    labels = axis_labels(cells)
    scale = WIDTH / max(right - left, top - bottom)
    made = figure(
        title=name,
        frame_width=max(WIDTH // 4, round(scale * (right - left))),
        frame_height=max(WIDTH // 4, round(scale * (top - bottom))),
        x_range=others[0].x_range if others else Range1d(left, right),
        y_range=others[0].y_range if others else Range1d(bottom, top),
        x_axis_label=labels[0],
        y_axis_label=labels[1],
        tools="pan,wheel_zoom,reset",
        active_scroll="wheel_zoom",
    )
    made.add_tools(BoxZoomTool(match_aspect=True))
    for axis in (made.xaxis, made.yaxis):
        axis.formatter = NumeralTickFormatter(format="0")
    made.xaxis.major_label_orientation = 0.6
    made.yaxis.visible = not others
    made.grid.visible = False
    return made


def _draw(figure: Any, picture: xr.DataArray) -> None:
    """Draw colours, or numbers with a colour bar; the pointer shows the number below it."""
    from bokeh.models import ColorBar, HoverTool, LinearColorMapper

    left, right, top, bottom = map_extent(picture)
    place = {"x": left, "y": bottom, "dw": right - left, "dh": top - bottom}
    if picture.ndim == 3:
        colours = (rgba(picture.values) * 255).round().astype(np.uint8)
        figure.image_rgba(image=[np.ascontiguousarray(colours).view(np.uint32)[..., 0]], **place)
        return
    values = picture.values.astype(np.float32)
    low, high = value_range(values)
    mapper = LinearColorMapper(palette="Viridis256", low=low, high=high, nan_color=(0, 0, 0, 0))
    shown = figure.image(image=[values], color_mapper=mapper, **place)
    figure.add_layout(ColorBar(color_mapper=mapper), "right")
    tips = [("similarity", "@image{0.000}"), ("at", "$x{0}, $y{0}")]
    figure.add_tools(HoverTool(renderers=[shown], tooltips=tips))
