"""A job: everything about an embedding decided once, and nothing computed."""

import inspect
import json
from dataclasses import fields, replace

import dask
import numpy as np
import pytest
import shapely
import xarray as xr
from support.cubes import LABELS, NORTH, TINY, WEST, assert_same, make_cube, punch

import xr_anysat
from xr_anysat.embed import build
from xr_anysat.graph.inputs import with_known_stats
from xr_anysat.graph.lazy import embed_array
from xr_anysat.job.fingerprint import canonical_form, fingerprint
from xr_anysat.job.job import EmbedJob
from xr_anysat.job.make import make_job, options_of
from xr_anysat.job.options import Options
from xr_anysat.layout import chunks as chunking
from xr_anysat.results.coords_and_attrs import label_embedding, provenance

MODES = ("grid", "patch", "tile", "pooled")


def job_of(cube, mode="grid", **options):
    return make_job(cube, options_of(mode, {"model": TINY, "tile_size": 16, **options}))


@pytest.fixture(scope="module")
def cube():
    return make_cube(30, 26)


# Options -----------------------------------------------------------------------------------------


def test_options_are_those_of_embed():
    """Fields, their order and their defaults; a progress bar is nothing of the result."""
    parameters = dict(inspect.signature(xr_anysat.embed).parameters)
    del parameters["cube"], parameters["progress"]
    assert {field.name: field.default for field in fields(Options)} == {
        name: parameter.default for name, parameter in parameters.items()
    }
    assert [field.name for field in fields(Options)] == list(parameters)


def test_options_that_there_are_not():
    with pytest.raises(TypeError, match="patchsize"):
        options_of("grid", {"patchsize": 40})
    assert options_of("tile", {"progress": True}).mode == "tile"


# Canonical form ----------------------------------------------------------------------------------

CHANGES = {
    "mode": {"mode": "patch"},
    "patch": {"patch_size": 20},
    "tile": {"tile_size": 32},
    "overlap": {"overlap": 0},
    "prep": {"input_prep": "resize"},
    "frames": {"frames": 1},
    "normalize": {"normalize": "treesatai"},
    "dates": {"dates": ["2020-01-01", "2020-02-01", "2020-03-01"]},
    "model": {"model": replace(TINY, flash_layout=True)},
    "seed": {"model": replace(TINY, weights="random:2")},
    "precision": {"model": replace(TINY, precision="bfloat16")},
    "dtype": {"dtype": "float16"},
    "size": {"input_prep": "resize", "image_size": 12},
    "period": {"frames": 1, "period": ("2019-03-01", "2022-12-31")},
    "mean": {"frames": 2, "period": ("2019-03-01", "2022-12-31"), "frame_date": "mean"},
}

NOT_IN_THE_FORM = {
    "mask": "in the fingerprint, where its values are compared",
    "bands": "the labels that it leads to are",
    **dict.fromkeys(("pooling", "pool_from", "geometry", "geometry_crs", "outside"), "not stored"),
}


def test_no_option_is_forgotten():
    """A store would be resumed with another value of it."""
    tried = {name for options in CHANGES.values() for name in options}
    assert tried | set(NOT_IN_THE_FORM) == {field.name for field in fields(Options)}
    assert not tried & set(NOT_IN_THE_FORM)


def test_equal_calls_have_equal_forms_and_others_have_not(cube):
    forms = {name: canonical_form(job_of(cube, **options)) for name, options in CHANGES.items()}
    forms["default"] = canonical_form(job_of(cube))
    forms["crs"] = canonical_form(job_of(cube.drop_vars("spatial_ref").rio.write_crs(32632)))
    forms["turned"] = canonical_form(job_of(cube.isel(y=slice(None, None, -1))))
    forms["nodata"] = canonical_form(job_of(cube.assign_attrs(nodata=0)))
    forms["moved"] = canonical_form(job_of(cube.assign_coords(x=cube.x + 10)))
    texts = {name: json.dumps(form, sort_keys=True) for name, form in forms.items()}
    assert len(set(texts.values())) == len(texts)
    for name, text in texts.items():
        assert json.loads(text) == forms[name], name  # plain JSON: nothing is lost on the way
    for same in (
        job_of(cube.copy(deep=True)),
        job_of(cube.chunk(x=9)),
        job_of(cube, patch_size=40.0, overlap=0.4),  # rounds to the same tiles
        job_of(cube, model=replace(TINY, batch_size=7)),
        job_of(cube, bands=dict(zip(("B2", "B12"), ("B02", "B12"), strict=True))),
    ):
        assert canonical_form(same) == forms["default"]


def test_the_fingerprint_tells_pixels_of_cubes_in_memory_apart(cube):
    one, other = (fingerprint(job_of(each), None) for each in (cube, cube + 1))
    assert one != other
    assert one["cube"] | {"values": None} == other["cube"] | {"values": None}
    lazy = fingerprint(job_of(cube.chunk(x=9)), None)
    assert lazy["cube"] == one["cube"] | {"values": None}
    assert one == fingerprint(job_of(cube.copy(deep=True)), None)
    assert json.loads(json.dumps(one)) == one


@pytest.mark.parametrize("mode", MODES)
def test_attributes_follow_from_the_canonical_form(cube, mode):
    options = {"frames": 2, "normalize": "treesatai", "tile_size": 8}
    job = job_of(cube.chunk(), mode, **options)
    attrs, form = provenance(job), canonical_form(job)
    asked = form["options"]
    assert attrs["mode"] == asked["mode"] == mode
    assert attrs["patch_size_m"] == asked["patch_size"] == 40
    assert attrs["tile_size_pixels"] == asked["tile_size"] == 8
    assert attrs["overlap"] == asked["overlap"] == 0.5
    assert attrs["normalization"] == asked["normalize"]["name"] == "treesatai"
    numbers = [attrs["normalization_mean"], attrs["normalization_std"]]
    assert numbers == asked["normalize"]["numbers"]
    assert attrs["bands"] == form["cube"]["bands"] == list(LABELS)
    assert (attrs["frames"], attrs["frame_date"]) == (2, "middle")
    assert ("pooling" in attrs) == (mode == "pooled")
    result = xr_anysat.embed(cube.chunk(), mode, model=TINY, **options)
    assert result.attrs == attrs


# One job for all ---------------------------------------------------------------------------------


def test_a_job_is_made_without_computing(cube):
    def never(*_args, **_options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        for mode in MODES:
            job = job_of(cube.chunk(x=9), mode)
            assert isinstance(job, EmbedJob)
            assert job.lazy
            assert job.reference is job.inputs[0]
        assert not job_of(cube).lazy
        assert job_of(cube, mask=(cube[:, 0, :, :] > 0).drop_vars("band").chunk()).lazy


@pytest.mark.parametrize("mode", MODES)
def test_a_job_is_what_is_embedded(cube, mode, monkeypatch):
    """Shapes, chunks and places can be told from it, before and without the graph."""
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 16)
    options = {"normalize": "treesatai", "model": TINY, "tile_size": 16}
    job = job_of(cube.chunk(x=9), mode, **options)
    result = xr_anysat.embed(cube.chunk(x=9), mode, **options)
    assert build(job).data.name == result.data.name
    data = embed_array(job)
    assert data.chunks == job.out_chunks
    assert data.shape[1:] == tuple(job.geobox.shape)
    if mode != "pooled":
        assert result.chunks == job.out_chunks
        assert result.odc.geobox == job.geobox
        xr.testing.assert_identical(label_embedding(data, job).coords.to_dataset(),
                                    result.coords.to_dataset())  # fmt: skip


def test_how_often_a_cube_is_read(cube):
    stats = cube.anysat.band_stats()
    for options, reads in (
        ({}, 2), ({"normalize": "tile_zscore", "overlap": 0}, 1), ({"normalize": stats}, 1),
        ({"normalize": "none"}, 1), ({"normalize": cube.chunk().anysat.band_stats()}, 1),
    ):  # fmt: skip
        assert job_of(cube.chunk(x=9), **options).reference.reads == reads, options
        assert job_of(cube, **options).reference.reads == 1


def test_statistics_of_a_cube_in_memory_are_known_before_the_graph(cube):
    job = with_known_stats(job_of(cube))
    stats = cube.anysat.band_stats()
    assert job.reference.normalization.mean == tuple(stats["mean"].values.tolist())
    assert not job.reference.pending
    lazy = job_of(cube.chunk())
    assert with_known_stats(lazy) is lazy


def test_dates_that_are_not_embedded_are_not_read(cube):
    dates = cube.time.values
    job = job_of(cube.chunk(), frames=2, period=(dates[1], dates[2]))
    each = job.reference
    assert each.used == (1, 2)
    assert each.dates_read == 2
    assert each.groups == ((0,), (1,))
    assert each.frame_positions == [[1], [2]]
    assert canonical_form(job)["options"]["frames"] == [[1], [2]]
    assert job_of(cube).reference.dates_read == 3
    assert job_of(cube).reference.frame_positions is None


def test_what_geometries_need_of_the_map(cube):
    parcel = shapely.box(WEST + 85, NORTH - 115, WEST + 95, NORTH - 85)
    job = job_of(cube, "pooled", geometry=[parcel])
    assert job.output.shares.cells.tolist() == [[2, 2]]
    assert job.selection.has_tiles((0, 0))
    assert job_of(cube, "pooled").selection.cells is None


# Windows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0, 0.5])
@pytest.mark.parametrize("turn", [{}, {"y": slice(None, None, -1)}])
def test_a_window_embeds_as_the_piece_that_it_is(overlap, turn, monkeypatch):
    """Rows of patches from 4 and columns from 2 to their ends: 14 by 18 pixels."""
    monkeypatch.setattr(chunking, "LONGEST_CHUNK", 8)
    cube = punch(make_cube(30, 26, dates=2))
    there = xr.ones_like(cube[:, 0], dtype=bool).drop_vars("band")
    there[:, 20] = False
    given = {"normalize": "treesatai", "overlap": overlap, "tile_size": 16}
    options = {**given, "mask": there.isel(turn)}
    job = job_of(cube.isel(turn).chunk(x=9), "patch", **options)
    window = job.window((4, 8), (2, 7))
    assert window.reference.pixels.shape == (14, 18)
    assert window.cube.values.shape == (2, 10, 14, 18)
    assert max(window.layout.rows.chunks) == max(job.layout.rows.chunks) == 2
    piece = {"y": slice(16, 30), "x": slice(8, 26)}
    alone = cube.isel(piece).anysat.embed("patch", model=TINY, mask=there.isel(piece), **given)
    assert_same(embed_array(window), alone)
    assert np.isfinite(alone).any()
