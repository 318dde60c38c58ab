"""Figures, by the numbers in them."""

import sys

import matplotlib
import numpy as np
import pytest
import shapely
import xarray as xr
from matplotlib.figure import Figure
from support.cubes import NORTH, TINY, WEST, make_cube, punch
from support.findings import finds

from xr_anysat import MissingExtraError, OptionError

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def cube():
    return punch(make_cube(20, 25))


def image_of(axis):
    (image,) = axis.images
    return image.get_array(), image.get_extent()


def test_an_embedding_stands_beside_its_cube(cube, embedding, tmp_path):
    colours, components = embedding.anysat.plot(cube, caption="below", figure=Figure())
    figure = components.figure
    place = [WEST, WEST + 250, NORTH - 200, NORTH]
    for axis, picture in (
        (colours, cube.anysat.quicklook()),
        (components, embedding.anysat.pca_rgb()),
    ):
        shown, extent = image_of(axis)
        assert extent == place
        missing = np.isnan(picture.values).any(axis=0)
        assert missing.any()
        np.testing.assert_array_equal(shown[..., 3], ~missing)
        expected = np.moveaxis(picture.values, 0, -1)[~missing]
        np.testing.assert_allclose(shown[..., :3][~missing], expected)
        assert axis.get_xlabel() == "easting (m), EPSG:32631"
    assert colours.get_ylabel() == "northing (m)"
    assert colours.get_title() == "true colour"
    share = float(embedding.anysat.pca_rgb()["explained_variance_ratio"].sum())
    assert components.get_title() == f"first 3 components ({share:.0%} of the variance)"
    assert figure.get_suptitle() == "AnySat tiny, weights random:1 (not pretrained)"
    assert figure.get_supxlabel() == "below"
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_new_figure_is_one_of_pyplot(embedding):
    import matplotlib.pyplot as plt

    (axis,) = embedding[:2].anysat.plot(title="mine")
    assert plt.gcf() is axis.figure
    assert axis.figure.get_suptitle() == "mine"
    assert axis.get_title().startswith("first 2 components (")
    plt.close(axis.figure)


def test_what_is_lazy_and_large_is_thinned_and_computed(embedding, monkeypatch):
    monkeypatch.setattr(sys.modules["xr_anysat.pictures.plot"], "PIXELS", 10)
    lazy = embedding.chunk(y=10).anysat.similarity((WEST + 5, NORTH - 5))
    (axis,) = lazy.anysat.plot(figure=Figure())
    shown, _ = image_of(axis)
    expected = lazy.isel(y=slice(1, None, 3), x=slice(1, None, 3))
    np.testing.assert_allclose(shown.filled(np.nan), expected, rtol=1e-6)


def test_similarity_has_a_colour_bar_and_its_place_marked(embedding):
    found = embedding.anysat.similarity((WEST + 101, NORTH - 99))
    (axis,) = found.anysat.plot(figure=Figure())
    shown, _ = image_of(axis)
    np.testing.assert_array_equal(shown.mask, np.isnan(found.values))
    low, high = axis.images[0].get_clim()
    assert low == pytest.approx(float(found.quantile(0.02)))
    assert high == pytest.approx(1)
    assert axis.lines[0].get_xydata().tolist() == [[WEST + 101, NORTH - 99]]
    bar = axis.figure.axes[1]
    assert bar.get_ylabel() == "similarity"
    assert axis.get_title() == "cosine similarity of AnySat embeddings"


@pytest.mark.parametrize(("n", "named"), [(3, True), (12, True), (21, False)])
def test_clusters_have_colours_of_their_own_and_a_legend(embedding, n, named):
    found = embedding.anysat.cluster(n)
    (axis,) = found.anysat.plot(figure=Figure())
    shown, _ = image_of(axis)
    colours = {tuple(shown[found.values == k][0]) for k in range(n)}
    assert len(colours) == n
    for k in range(n):
        assert (shown[found.values == k] == shown[found.values == k][0]).all()
    assert (shown[found.values == -1] == 0).all()
    legend = axis.get_legend()
    if named:
        assert [text.get_text() for text in legend.get_texts()] == [str(k) for k in range(n)]
    else:
        assert legend is None


@pytest.mark.parametrize(("n", "written"), [(1, "to_netcdf"), (3, "to_netcdf"), (3, "to_zarr")])
def test_clusters_from_a_file_look_as_before(embedding, n, written, tmp_path):
    found = embedding.anysat.cluster(n)
    assert (found == -1).any()
    options = {"consolidated": False} if written == "to_zarr" else {}
    getattr(found, written)(tmp_path / "kinds", **options)
    engine = {"to_netcdf": "netcdf4", "to_zarr": "zarr"}[written]
    with xr.open_dataset(tmp_path / "kinds", engine=engine, **options) as again:
        assert again["cluster"].dtype.kind == "f"
        (axis,) = again["cluster"].anysat.plot(figure=Figure())
    shown, _ = image_of(axis)
    np.testing.assert_array_equal(shown, image_of(found.anysat.plot(figure=Figure())[0])[0])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list("012"[:n])


def boxes(sizes):
    """Squares side by side, the first with a hole."""
    shapes = [shapely.box(WEST + 60 * n, NORTH - 60, WEST + 60 * n + size, NORTH - 10)
              for n, size in enumerate(sizes)]  # fmt: skip
    hole = shapely.box(WEST + 5, NORTH - 50, WEST + 20, NORTH - 30)
    return [shapely.difference(shapes[0], hole), *shapes[1:]]


def test_geometries_are_filled_with_their_colours(cube):
    shapes = [*boxes([50, 40, 30]), shapely.Point(WEST + 200, NORTH - 100)]
    vectors = cube.anysat.embed("pooled", geometry=shapes, model=TINY, progress=False)
    order = [0, 1, 2, 3]  # of falling area
    colours, components = vectors.anysat.plot(cube, figure=Figure())
    assert len(colours.images) == 1
    (drawn,) = components.collections
    expected = vectors.anysat.pca_rgb().values.T[order]
    np.testing.assert_allclose(drawn.get_facecolors()[:, :3], expected, atol=1e-6)
    paths = drawn.get_paths()
    assert len(paths[0]) == 10  # shell and hole
    assert paths[3].contains_point((WEST + 200, NORTH - 100))
    west, east = components.get_xlim()
    assert west < WEST
    assert east > WEST + 200
    (axis,) = vectors.anysat.similarity(vectors[2]).anysat.plot(figure=Figure())
    assert axis.collections[0].get_facecolors()[2].tolist() == pytest.approx(
        matplotlib.colormaps["viridis"](1.0)
    )
    (axis,) = vectors.anysat.cluster(2).anysat.plot(figure=Figure())
    found = {tuple(colour) for colour in axis.collections[0].get_facecolors()}
    assert len(found) == 2
    bare = vectors.assign_coords(geometry=np.arange(4))
    with finds("plot.no-geometries", OptionError):
        bare.anysat.plot(figure=Figure())


def test_points_and_lines_of_a_collection_are_drawn(cube):
    west, north = WEST + 100, NORTH - 100
    line = shapely.LineString([(WEST + 10, north), (WEST + 60, north)])
    inner = shapely.GeometryCollection([shapely.Point(WEST + 200, north), shapely.Polygon()])
    square = shapely.box(west, north, west + 50, north + 50)
    mixed = shapely.GeometryCollection([square, line, inner])
    vectors = cube.anysat.embed("pooled", geometry=[mixed], model=TINY, progress=False)
    (axis,) = vectors.anysat.plot(figure=Figure())
    (path,) = axis.collections[0].get_paths()
    for inside in ((west + 25, north + 25), (WEST + 30, north), (WEST + 200, north)):
        assert path.contains_point(inside)
    assert not path.contains_point((WEST + 80, north))


def test_maps_that_run_north_or_have_no_crs_are_drawn_in_place(embedding):
    north = embedding.sortby("y")
    (axis,) = north.anysat.plot(figure=Figure())
    shown, extent = image_of(axis)
    assert extent == [WEST, WEST + 250, NORTH, NORTH - 200]  # its first row is in the south
    np.testing.assert_allclose(
        shown[::-1, :, :3],
        image_of(embedding.anysat.plot(figure=Figure())[0])[0][..., :3],
        atol=1e-5,
    )
    bare = embedding.drop_vars("spatial_ref").anysat.plot(figure=Figure())[0]
    assert (bare.get_xlabel(), bare.get_ylabel()) == ("x", "y")


def test_axes_are_named_as_in_the_crs(embedding):
    feet = embedding.rio.write_crs("EPSG:2263").anysat.plot(figure=Figure())[0]
    assert feet.get_xlabel() == "easting (US survey foot), EPSG:2263"
    polar = embedding.rio.write_crs("EPSG:3031").anysat.plot(figure=Figure())[0]
    assert (polar.get_xlabel(), polar.get_ylabel()) == ("x (m), EPSG:3031", "y (m)")


@pytest.mark.parametrize(
    ("call", "code", "mentions"),
    [
        (lambda c, e: c.anysat.plot(), "plot.dimensions", ["('time', 'band', 'y', 'x')"]),
        (lambda c, e: e[:, 0].anysat.plot(), "plot.dimensions", ["('component', 'x')"]),
        (lambda c, e: e.mean(("y", "x")).anysat.plot(), "fit.dimensions", ["('feature',)"]),
        (
            lambda c, e: e.anysat.plot(c.rio.write_crs("EPSG:32632")),
            "plot.other-crs",
            ["the cube is in EPSG:32632", "the map in EPSG:32631"],
        ),
    ],
)
def test_errors_say_what_is_needed(call, code, mentions, cube, embedding):
    with finds(code, OptionError) as raised:
        call(cube, embedding)
    for data in mentions:
        assert data in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(embedding, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with finds("extra.missing", MissingExtraError) as raised:
        embedding.anysat.plot()
    assert raised.value.findings[0].data["package"] == "matplotlib"
    assert 'pip install "xr-anysat[plot]"' in str(raised.value)


def test_all_pictures_are_drawn(cube, embedding):
    """Whatever this package makes to look at can be given to `plot`."""
    for picture in (
        cube.anysat.quicklook(),
        embedding.anysat.pca_rgb(1),
        embedding.anysat.pca_rgb(5),
        cube.anysat.embed("patch", model=TINY, progress=False),
        embedding[:2].drop_vars("part").rename(feature="component"),  # as it is stored reduced
        xr.full_like(embedding[:3], np.nan),
        embedding.anysat.similarity(embedding[:, 9, 9]) * np.nan,
    ):
        (axis,) = picture.anysat.plot(figure=Figure())
        axis.figure.canvas.draw()
        assert len(axis.images) == 1
